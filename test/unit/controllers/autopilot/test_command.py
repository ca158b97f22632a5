"""`pilothouse render`, offline."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from conformance.catalogs import CONFIG_MAP, write_catalog
from controller_runtime import ConfigError, Json
from controllers.autopilot.command import RenderOptions, read_options, render
from controllers.autopilot.errors import CatalogError
from controllers.autopilot.offline import Files
from controllers.autopilot.patchlint import lint_patch
from controllers.autopilot.platformcrds import platform_crd, platform_crds

HCO = """\
apiVersion: hco.kubevirt.io/v1
kind: HyperConverged
metadata:
  name: kubevirt-hyperconverged
  namespace: openshift-cnv
  annotations: {platform.kubevirt.io/autopilot: "true"}
spec: {virtualization: {liveMigrationConfig: {parallelMigrationsPerCluster: 8}}}
"""


@pytest.fixture
def hco(tmp_path: Path) -> Path:
    return written(tmp_path / "hco.yaml", HCO)


def written(file: Path, text: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


def all_crds(folder: Path) -> Path:
    for crd in platform_crds():
        written(folder / f"{crd['metadata']['name']}.yaml", yaml.safe_dump(crd))
    return folder


async def shown(
    capsys: pytest.CaptureFixture[str], hco: Path, code: int = 0, **options: Any
) -> str:
    files = {
        name: options.pop(name)
        for name in ("nodes", "objects", "crds", "facts")
        if name in options
    }
    capsys.readouterr()
    assert await render(RenderOptions(files=Files(source=hco, **files), **options)) == (
        code
    )
    return capsys.readouterr().out


async def test_what_would_be_applied_is_yaml_that_can_be(
    capsys: pytest.CaptureFixture[str], hco: Path, tmp_path: Path
) -> None:
    """Scenario 62."""
    text = await shown(capsys, hco, crds=all_crds(tmp_path / "crds"))

    objects = [obj for obj in yaml.safe_load_all(text) if obj]
    assert [obj["kind"] for obj in objects] == [
        "HyperConverged",
        "MachineConfig",
        "KubeDescheduler",
    ]
    for obj in objects:
        label = obj["metadata"]["labels"]["platform.kubevirt.io/managed-by"]
        assert label == "virt-platform-autopilot"
    assert objects[2]["spec"]["profiles"] == ["KubeVirtRelieveAndMigrate"]
    assert objects[2]["spec"]["evictionLimits"]["total"] == 8
    assert "# Asset: swap-enable\n# Path: active/machine-config/" in text
    assert "# Status: INCLUDED" in text
    assert "EXCLUDED" not in text


async def test_what_would_not_be_applied_is_shown_on_request_with_the_reason(
    capsys: pytest.CaptureFixture[str], hco: Path, tmp_path: Path
) -> None:
    crds = all_crds(tmp_path / "crds")

    text = await shown(capsys, hco, crds=crds, show_excluded=True)
    items = json.loads(
        await shown(capsys, hco, crds=crds, show_excluded=True, output="json")
    )

    assert (
        "# Asset: mtv-operator\n# Path: active/operators/mtv.yaml\n"
        "# Component: ForkliftController\n# Status: EXCLUDED\n"
        '# Reason: annotation platform.kubevirt.io/enable-mtv="true" is wanted'
    ) in text
    mtv = next(item for item in items if item["asset"] == "mtv-operator")
    assert mtv["status"] == "EXCLUDED"
    assert mtv["object"] is None
    assert mtv["conditions"] == [
        {
            "condition": 'annotation platform.kubevirt.io/enable-mtv="true"',
            "actual": "it is absent",
            "met": False,
        }
    ]


async def test_the_table_has_columns_and_a_sum(
    capsys: pytest.CaptureFixture[str], hco: Path, tmp_path: Path
) -> None:
    crds = all_crds(tmp_path / "crds")

    text = await shown(capsys, hco, crds=crds, output="status", show_excluded=True)

    lines = text.splitlines()
    assert lines[0] == f"{'ASSET':<30} {'STATUS':<15} {'COMPONENT':<20} REASON"
    assert lines[1].startswith(f"{'hco-golden-config':<30} {'INCLUDED':<15} ")
    assert any(line.endswith("...") for line in lines)
    assert lines[-1] == "Summary: 3 included, 3 excluded, 0 filtered, 0 errors"


async def test_what_is_not_known_is_said_and_never_guessed(
    capsys: pytest.CaptureFixture[str], hco: Path
) -> None:
    """The original's offline output differs silently from what it applies (E11)."""
    text = await shown(capsys, hco, asset="descheduler-loadaware")

    assert (
        "whether there is kubedeschedulers.operator.openshift.io is not known" in text
    )
    assert (
        "# Warning: not known here, so it may differ: CustomResourceDefinition "
        "(apiextensions.k8s.io/v1) kubedeschedulers.operator.openshift.io"
    ) in text


async def test_every_condition_is_explained_on_request(
    capsys: pytest.CaptureFixture[str], hco: Path
) -> None:
    text = await shown(capsys, hco, show_excluded=True, explain=True)

    assert (
        '# Condition: annotation platform.kubevirt.io/enable-mtv="true": not met, '
        "it is absent\n"
    ) in text
    assert "# Input: PrometheusRule (monitoring.coreos.com/v1) openshift-kube" in text


HARDWARE: dict[str, Any] = {
    "assets": [
        {
            "name": "gpu",
            "path": "active/gpu.yaml",
            "conditions": [{"type": "hardware-detection", "detector": "gpuPresent"}],
        },
        {
            "name": "hcp",
            "path": "active/gpu.yaml",
            "conditions": [{"type": "topology", "field": "isHCP"}],
        },
    ],
    "files": {"active/gpu.yaml": CONFIG_MAP},
}
NODES = """\
apiVersion: v1
kind: NodeList
items:
- metadata: {name: a}
  status: {capacity: {nvidia.com/gpu: "1"}}
"""
INFRASTRUCTURE = """\
apiVersion: config.openshift.io/v1
kind: Infrastructure
metadata: {name: cluster}
status: {controlPlaneTopology: External}
"""


async def statuses(
    capsys: pytest.CaptureFixture[str], hco: Path, **options: Any
) -> dict[str, str]:
    text = await shown(capsys, hco, output="json", show_excluded=True, **options)
    return {item["asset"]: item["status"] for item in json.loads(text)}


async def test_facts_come_from_files_and_are_unknown_without(
    capsys: pytest.CaptureFixture[str], hco: Path, tmp_path: Path
) -> None:
    folder = write_catalog(tmp_path / "catalog", **HARDWARE)
    nodes = written(tmp_path / "nodes.yaml", NODES)
    objects = written(tmp_path / "objects/i.yaml", INFRASTRUCTURE).parent
    facts = written(tmp_path / "f", "hardware: {gpuPresent: false}")

    without = await statuses(capsys, hco, catalog=folder)
    seen = await statuses(capsys, hco, catalog=folder, nodes=nodes, objects=objects)
    said = await statuses(capsys, hco, catalog=folder, nodes=nodes, facts=facts)

    assert without == {"gpu": "UNKNOWN", "hcp": "UNKNOWN"}
    assert seen == {"gpu": "INCLUDED", "hcp": "INCLUDED"}
    assert said == {"gpu": "EXCLUDED", "hcp": "UNKNOWN"}


async def test_objects_of_a_folder_answer_templates(
    capsys: pytest.CaptureFixture[str], hco: Path, tmp_path: Path
) -> None:
    rule: Json = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {
            "name": "descheduler-rules",
            "namespace": "openshift-kube-descheduler-operator",
        },
    }
    written(tmp_path / "objects/rule.json", json.dumps(rule))
    crd = platform_crd("kubedeschedulers.operator.openshift.io", "4.19")
    written(tmp_path / "crds/d.yaml", yaml.safe_dump(crd))

    text = await shown(
        capsys,
        hco,
        crds=tmp_path / "crds",
        objects=tmp_path / "objects",
        asset="descheduler-loadaware",
    )

    spec = next(yaml.safe_load_all(text))["spec"]
    assert spec["profileCustomizations"] == {
        "devActualUtilizationProfile": "PrometheusCPUCombined"
    }
    assert spec["profiles"] == ["DevKubeVirtRelieveAndMigrate"]
    assert "Warning" not in text


async def test_an_asset_that_cannot_be_made_is_exit_code_2(
    capsys: pytest.CaptureFixture[str], hco: Path, tmp_path: Path
) -> None:
    assets = [{"name": "bad", "path": "active/bad.yaml.j2"}]
    files = {"active/bad.yaml.j2": CONFIG_MAP + "{{ nobody }}"}
    folder = write_catalog(tmp_path / "catalog", assets=assets, files=files)

    text = await shown(capsys, hco, 2, catalog=folder)

    assert "# Status: ERROR\n# Reason: active/bad.yaml.j2:4: 'nobody' is und" in text


async def test_objects_are_checked_against_crds_on_request(
    capsys: pytest.CaptureFixture[str], hco: Path, tmp_path: Path
) -> None:
    metal = {
        "name": "metal",
        "path": "active/metal.yaml",
        "required_crd": "forkliftcontrollers.forklift.konveyor.io",
    }
    text = (
        "apiVersion: forklift.konveyor.io/v1beta1\nkind: ForkliftController\n"
        "metadata: {name: a}\nspec: {feature_ui_plugin: true}\n"
    )
    folder = write_catalog(
        tmp_path / "catalog", assets=[metal], files={"active/metal.yaml": text}
    )
    crds = all_crds(tmp_path / "crds")

    assert "INCLUDED" in await shown(capsys, hco, catalog=folder, crds=crds)
    refused = await shown(capsys, hco, 2, catalog=folder, crds=crds, validate=True)
    unknown = await shown(capsys, hco, 2, catalog=folder, validate=True)
    ours = await shown(capsys, hco, validate=True)

    assert ".spec.feature_ui_plugin must be of type string" in refused
    assert "no schema of forkliftcontrollers" in unknown
    assert "ERROR" not in ours


async def test_the_source_object_says_what_it_wants(
    capsys: pytest.CaptureFixture[str], hco: Path
) -> None:
    written(hco, HCO.replace('"true"', '"swap-enable,nobody"'))
    assert await render(
        RenderOptions(files=Files(source=hco), output="status", show_excluded=True)
    ) == (0)
    out, err = capsys.readouterr()
    assert "Summary: 1 included, 5 excluded" in out
    assert "platform.kubevirt.io/autopilot names nobody, which there is not" in err

    written(hco, HCO.replace("platform.kubevirt.io/autopilot", "x/y"))
    await render(RenderOptions(files=Files(source=hco), output="status"))
    out, err = capsys.readouterr()
    assert "Summary: 3 included" in out
    assert "so nothing would be applied" in err


async def test_what_the_source_object_disables_is_filtered(
    capsys: pytest.CaptureFixture[str], hco: Path
) -> None:
    """Scenarios 30 and 62: the same rules as the controller's."""
    disabled = (
        '\n    platform.kubevirt.io/disabled-resources: "[{kind: Machine*, name: x},'
    )
    rules = disabled + " {kind: KubeDescheduler, name: 'clus*'}, {kind: Node}]\""
    text = HCO.replace("{platform", "\n    platform").replace('"true"}', '"true"')
    written(hco, text.replace('autopilot: "true"', 'autopilot: "true"' + rules))

    out = await shown(capsys, hco, output="status", show_excluded=True)

    assert "2 included, 3 excluded, 1 filtered, 0 errors" in out
    assert "the annotation platform.kubevirt.io/disabled-resources disables it" in out


@pytest.mark.parametrize(
    ("asset", "patch", "ignored", "code", "said"),
    [
        (
            "descheduler-loadaware",
            '[{"op": "replace", "path": "/spec/mode", "value": "Predictive"}]',
            "",
            0,
            "mode: Predictive",
        ),
        ("descheduler-loadaware", "", "/spec/mode, /spec/profiles", 0, "total: 8"),
        ("descheduler-loadaware", "[", "", 2, "the patch is not JSON"),
        (
            "descheduler-loadaware",
            '[{"op": "replace", "path": "/metadata/name", "value": "x"}]',
            "",
            2,
            "forbidden",
        ),
        (
            "descheduler-loadaware",
            '[{"op": "replace", "path": "/spec/mode", "value": "Sometimes"}]',
            "",
            2,
            ".spec.mode must be one of Automatic, Predictive",
        ),
        (
            "mtv-operator",
            '[{"op": "replace", "path": "/spec/feature_validation", "value": true}]',
            "",
            2,
            ".spec.feature_validation must be of type string, not the boolean True",
        ),
        (
            "swap-enable",
            '[{"op": "remove", "path": "/spec"}]',
            "",
            2,
            "MachineConfig is sensitive",
        ),
        ("mtv-operator", "", "spec", 2, "ignore-fields: "),
    ],
)
async def test_a_patch_is_judged_before_it_is_written(
    capsys: pytest.CaptureFixture[str],
    hco: Path,
    asset: str,
    patch: str,
    ignored: str,
    code: int,
    said: str,
) -> None:
    """Scenarios 6, 8, 9, 17, without a cluster."""
    file = written(hco.parent / "patch.json", patch)
    options = RenderOptions(files=Files(source=hco), asset=asset)

    assert await lint_patch(options, patch=file, ignore_fields=ignored) == code

    out, err = capsys.readouterr()
    assert said in (err if code else out)
    made = yaml.safe_load(out)
    assert made["metadata"]["labels"]
    assert not ignored.startswith("/spec/mode") or "mode" not in made["spec"]


FLAGS: dict[str, Any] = {
    "hco_file": None,
    "nodes": None,
    "facts": None,
    "objects": None,
    "crds": None,
    "image": [],
    "catalog": None,
    "output": "yaml",
    "kubeconfig": None,
}
FILE = Path("some")


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        ({}, "give either --hco-file or --kubeconfig, and not both"),
        ({"hco_file": FILE, "kubeconfig": FILE}, "and not both"),
        ({"kubeconfig": FILE, "nodes": FILE}, "--nodes goes with --hco-file"),
        ({"hco_file": FILE, "diff": True}, "--diff compares with a cluster"),
        ({"hco_file": FILE, "output": "xml"}, "it can be yaml, json, status"),
        ({"hco_file": FILE, "image": ["x"]}, "given as name=reference"),
        ({"hco_file": FILE, "image": ["x=a", "x=b"]}, "each name once"),
    ],
)
def test_flags_that_do_not_go_together_are_refused(
    flags: dict[str, Any], reason: str
) -> None:
    with pytest.raises(ConfigError, match=reason):
        read_options(**(FLAGS | flags))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("kind: ConfigMap\napiVersion: v1\n", "has no HyperConverged of hco.kubevirt"),
        (HCO.replace("io/v1", "io/v7"), "known are v1 and v1beta1"),
        ("[a]", "has a document that is no map"),
        ("\t", "is not YAML"),
    ],
)
async def test_a_file_that_is_none_is_named(hco: Path, text: str, reason: str) -> None:
    written(hco, text)

    with pytest.raises(ConfigError, match=reason):
        await render(RenderOptions(files=Files(source=hco)))


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"asset": "nobody"}, "no asset is named nobody; there are hco-golden"),
        ({"nodes": FILE}, "cannot read some"),
        ({"crds": FILE}, "some is no folder"),
    ],
)
async def test_what_there_is_not_is_named(
    hco: Path, options: dict[str, Any], reason: str
) -> None:
    asset = options.pop("asset", "")

    with pytest.raises(ConfigError, match=reason):
        await render(RenderOptions(files=Files(source=hco, **options), asset=asset))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("hardware: {moon: true}", "no fact is named moon"),
        ("moon: {}", "must have the maps hardware and topology alone"),
        ("hardware: x", "must have the maps"),
    ],
)
async def test_facts_that_there_are_not_are_refused(
    hco: Path, tmp_path: Path, text: str, reason: str
) -> None:
    facts = written(tmp_path / "facts.yaml", text)

    with pytest.raises(ConfigError, match=reason):
        await render(RenderOptions(files=Files(source=hco, facts=facts)))


async def test_a_catalogue_that_is_none_is_named(hco: Path, tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match=r"cannot read .*metadata\.yaml"):
        await render(RenderOptions(files=Files(source=hco), catalog=tmp_path))
