"""Catalogues, as a whole or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from conformance.catalogs import CONFIG_MAP, METADATA, write_catalog
from controller_runtime import GroupVersionKind, Json, NamespacedName
from controllers.autopilot.documents import MAX_BYTES
from controllers.autopilot.errors import CatalogError
from controllers.autopilot.loader import guess_crd, load_builtin, load_catalog
from controllers.autopilot.metadata import Install

ONE = {"name": "one", "path": "active/one.yaml"}
FILES = {"active/one.yaml": CONFIG_MAP}
LABELS = {"platform.kubevirt.io/managed-by": "tests"}


def test_a_catalogue_is_read_in_the_order_in_which_it_is_written(
    tmp_path: Path,
) -> None:
    assets: list[Json] = [
        {"name": "b", "path": "active/one.yaml", "reconcile_order": 2},
        {"name": "a", "path": "active/one.yaml", "install": "opt-in"},
        {"name": "c", "path": "active/one.yaml", "group": "g"},
    ]
    write_catalog(tmp_path, assets=assets, files=FILES)

    catalog = load_catalog(tmp_path)

    assert [asset.name for asset in catalog.assets] == ["b", "a", "c"]
    assert [asset.name for asset in catalog.in_order()] == ["a", "c", "b"]
    assert list(catalog.groups()) == ["g"]
    first = catalog.asset("a")
    assert first is not None
    assert first.kind == GroupVersionKind("", "v1", "ConfigMap")
    assert first.install is Install.OPT_IN
    assert first.required_crd == ""


def test_equal_orders_are_the_catalogues_order_each_time(tmp_path: Path) -> None:
    """Scenario 61."""
    names = [f"n{number * 7 % 20}" for number in range(20)]
    assets: list[Json] = [{"name": name, "path": "active/one.yaml"} for name in names]
    write_catalog(tmp_path, assets=assets, files=FILES)

    catalog = load_catalog(tmp_path)

    for _ in range(100):
        assert [asset.name for asset in catalog.in_order()] == names


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"apiVersion": "autopilot/v2"}, "apiVersion"),
        ({"assetz": []}, "assetz"),
        ({"assets": [ONE, ONE]}, "two assets are named 'one'"),
        ({"assets": [ONE | {"path": "active/two.yaml"}]}, "no file active/two.yaml"),
        ({"assets": [ONE | {"component": "Secret"}]}, "makes a ConfigMap"),
        ({"assets": [ONE | {"reconcile_order": 0}]}, "for HyperConverged alone"),
        ({"assets": [ONE | {"depends_on": ["two"]}]}, "depends on two: no such"),
        ({"assets": [ONE | {"conditions": [{"type": "moon"}]}]}, r"\(one\)"),
        (
            {"assets": [ONE | {"conditions": [{"type": "annotation"}]}]},
            "conditions.0.annotation.key",
        ),
        (
            {
                "assets": [
                    ONE
                    | {"conditions": [{"type": "hardware-detection", "detector": "x"}]}
                ]
            },
            "no fact is named x; there are gpuPresent",
        ),
        (
            {
                "assets": [
                    ONE
                    | {
                        "conditions": [
                            {
                                "type": "not",
                                "condition": {"type": "topology", "field": "isMars"},
                            }
                        ]
                    }
                ]
            },
            "isMars is no yes-or-no field",
        ),
        ({"excluded_assets": []}, "asset one is in no feature"),
        ({"excluded_assets": ["one", "two"]}, "excluded_assets has two"),
        (
            {"features": [{"name": "f", "description": "d", "assets": ["two"]}]},
            "feature f: no asset is named two",
        ),
        (
            {"features": [{"name": "f", "description": "d", "groups": ["two"]}]},
            "feature f: no group is named two",
        ),
        ({"features": [{"name": "f", "description": "d"}]}, "feature f has no assets"),
    ],
)
def test_a_catalogue_that_is_wrong_anywhere_is_not_loaded(
    tmp_path: Path, change: dict[str, Any], reason: str
) -> None:
    """Scenario 60: duplicate names, unknown types, uncovered assets and the rest."""
    write_catalog(tmp_path, **({"assets": [ONE]} | change), files=FILES)
    if "excluded_assets" not in change:
        write_catalog(
            tmp_path,
            **({"assets": [ONE]} | change | {"excluded_assets": ["one"]}),
            files=FILES,
        )

    with pytest.raises(CatalogError, match=reason):
        load_catalog(tmp_path)


@pytest.mark.parametrize(
    ("path", "content", "reason"),
    [
        ("active/one.yaml", b"\xff", "is not UTF-8"),
        ("active/one.yaml", b"#" * (MAX_BYTES + 1), "is longer than"),
        ("active/one.yaml", b"a: 1", "must have apiVersion and kind"),
        ("active/one.yaml", CONFIG_MAP.encode() + b"---\na: 1", "has 2 documents"),
        ("active/one.yaml", b"kind: A\napiVersion: v1\nb: " + b"[" * 200, "deeper"),
        ("metadata.yaml", b"[]", "must be a map"),
        ("metadata.yaml", b"\t", "is not YAML"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(
    tmp_path: Path, path: str, content: bytes, reason: str
) -> None:
    """Scenario 59, for files of a catalogue."""
    write_catalog(tmp_path, assets=[ONE], files=FILES)
    (tmp_path / path).write_bytes(content)

    with pytest.raises(CatalogError, match=reason) as caught:
        load_catalog(tmp_path)

    assert path in str(caught.value)


def test_a_kind_that_is_not_written_out_is_refused(tmp_path: Path) -> None:
    template = {"name": "one", "path": "active/one.yaml.j2"}
    files = {"active/one.yaml.j2": "apiVersion: {{ params.v }}\nkind: ConfigMap\n"}
    write_catalog(tmp_path, assets=[template], files=files)

    with pytest.raises(CatalogError, match="without anything to render in them"):
        load_catalog(tmp_path)


def test_a_link_out_of_the_catalogue_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("not for templates")
    folder = write_catalog(tmp_path / "catalog", assets=[ONE], files=FILES)
    (folder / "active/two.yaml").symlink_to(tmp_path / "secret")

    with pytest.raises(CatalogError, match="leads out of the catalogue"):
        load_catalog(folder)


def test_what_is_buried_carries_the_label(tmp_path: Path) -> None:
    """Scenario 49: a file without it fails the load, which says which file it is."""
    stone = (
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: old\n"
        "  labels: {platform.kubevirt.io/managed-by: tests}\n"
    )
    write_catalog(tmp_path, assets=[], files={"tombstones/v0/old.yaml": stone})
    tombstone = load_catalog(tmp_path).tombstones[0]
    assert tombstone.key == NamespacedName("", "old")
    assert tombstone.file == "tombstones/v0/old.yaml"

    for wrong in ("name: old", "tests", "apiVersion: v1\n", "kind: ConfigMap\n"):
        (tmp_path / tombstone.file).write_text(stone.replace(wrong, "x: y\n", 1))
        with pytest.raises(CatalogError, match=r"tombstones/v0/old\.yaml"):
            load_catalog(tmp_path)


def test_the_digest_is_of_names_and_contents(tmp_path: Path) -> None:
    folder = write_catalog(tmp_path, assets=[ONE], files=FILES)
    digest = load_catalog(folder).digest
    assert load_catalog(folder).digest == digest

    (folder / "active/extra").write_text("")

    assert load_catalog(folder).digest != digest


@pytest.mark.parametrize(
    ("api_version", "kind", "crd"),
    [
        ("metallb.io/v1beta1", "MetalLB", "metallbs.metallb.io"),
        ("a.io/v1", "Box", "boxes.a.io"),
        ("a.io/v1", "Torch", "torches.a.io"),
        ("a.io/v1", "Class", "classes.a.io"),
        (
            "security.openshift.io/v1",
            "SecurityContextConstraints",
            "securitycontextconstraints.security.openshift.io",
        ),
        ("v1", "ConfigMap", ""),
        ("apps/v1", "DaemonSet", ""),
        ("rbac.authorization.k8s.io/v1", "ClusterRole", ""),
    ],
)
def test_the_crd_of_a_kind_is_guessed(api_version: str, kind: str, crd: str) -> None:
    assert guess_crd(GroupVersionKind.parse(api_version, kind)) == crd


def test_features_are_sorted_by_maturity_and_say_what_turns_them_on(
    tmp_path: Path,
) -> None:
    def condition(kind: str, **fields: str) -> Json:
        return {"type": kind, **fields}

    always = ONE | {"name": "always"}
    chosen = ONE | {
        "name": "chosen",
        "group": "g",
        "install": "opt-in",
        "conditions": [
            condition("annotation", key="a/b", value="true"),
            condition("feature-gate", value="Gate"),
            condition("hardware-detection", detector="gpuPresent"),
        ],
    }
    features = [
        {"name": "z", "description": "d", "groups": ["g"]},
        {"name": "y", "description": "d", "assets": ["chosen"], "maturity": "tp"},
        {"name": "x", "description": "d", "assets": ["always"]},
    ]
    metadata = METADATA | {"features": features, "excluded_assets": []}
    write_catalog(
        tmp_path, assets=[always, chosen], files=FILES, **_without_assets(metadata)
    )

    found = load_catalog(tmp_path).features

    assert [(each.name, each.maturity) for each in found] == [
        ("x", "GA"),
        ("y", "TP"),
        ("z", "DP"),
    ]
    assert found[0].install is Install.ALWAYS
    assert found[0].opt_in == ()
    assert found[2].install is Install.OPT_IN
    assert found[2].opt_in == (
        'annotate with a/b="true"',
        "turn the feature gate Gate on",
    )


def _without_assets(metadata: Json) -> Json:
    return {name: value for name, value in metadata.items() if name != "assets"}


def test_the_built_in_catalogue_is_loaded() -> None:
    catalog = load_builtin()

    assert {asset.name for asset in catalog.assets} >= {
        "hco-golden-config",
        "swap-enable",
        "kubelet-perf-settings",
        "descheduler-loadaware",
        "mtv-operator",
    }
    assert catalog.identity.managed_by_label == "platform.kubevirt.io/managed-by"
    assert len(catalog.tombstones) == 2
