"""Specs: what is wanted, what cannot be, and what is not acted on."""

from __future__ import annotations

import pytest

from api.bundle.status import BundleStatus, Observed
from api.bundle.v1alpha1 import RegistrySpec, WerfBundle
from controller_runtime import Json
from controllers.bundle.errors import BlockedError
from controllers.bundle.intention import read_intention, unsupported
from controllers.bundle.options import BundleOptions
from controllers.bundle.versions import choose, selection_hash
from controllers.versions import parse_constraint

TAGS = ["v1.2.0", "latest", "v1.10.0", "2.0.0-rc.1", "sha256-" + "a" * 64, "main"]


def bundle(**spec: Json) -> WerfBundle:
    registry = {"url": "ghcr.io/org/app", **spec.pop("registry", {})}
    return WerfBundle.model_validate(
        {
            "metadata": {"name": "app", "namespace": "shop"},
            "spec": {"registry": registry, **spec},
        }
    )


@pytest.mark.parametrize(
    ("url", "host", "path"),
    [
        ("ghcr.io/org/app", "ghcr.io", "org/app"),
        ("oci://localhost:5000/app", "localhost:5000", "app"),
        ("app", "docker.io", "library/app"),
    ],
)
def test_addresses_are_read_as_registries_mean_them(
    url: str, host: str, path: str
) -> None:
    found = read_intention(bundle(registry={"url": url}), BundleOptions())

    assert (found.repository.host, found.repository.path) == (host, path)


@pytest.mark.parametrize(
    ("spec", "reason", "field"),
    [
        ({"registry": {"url": "invalid://x"}}, "InvalidURL", "spec.registry.url"),
        ({"registry": {"url": "a.io/b:tag"}}, "InvalidURL", "tag"),
        (
            {"registry": {"versionConstraint": ">=one"}},
            "InvalidConstraint",
            "versionConstraint",
        ),
        (
            {"registry": {"tagFilter": {"include": "("}}},
            "InvalidConstraint",
            "tagFilter",
        ),
        (
            {
                "registry": {
                    "verify": {"provider": "cosign", "secretRef": {"name": "k"}}
                }
            },
            "NotImplemented",
            "spec.registry.verify",
        ),
        (
            {"registry": {"proxySecretRef": {"name": "p"}}},
            "NotImplemented",
            "proxySecretRef",
        ),
        ({"updatePolicy": {"mode": "Manual"}}, "NotImplemented", "updatePolicy.mode"),
        (
            {"updatePolicy": {"windows": [{"start": "09:00", "end": "10:00"}]}},
            "NotImplemented",
            "windows",
        ),
    ],
)
def test_what_cannot_be_acted_on_stops_the_bundle(
    spec: Json, reason: str, field: str
) -> None:
    """Scenarios 4 and 65."""
    with pytest.raises(BlockedError, match=field) as caught:
        read_intention(bundle(**spec), BundleOptions())

    assert caught.value.reason == reason
    assert caught.value.is_stalled


def test_settings_may_forbid_images_and_insecure_registries() -> None:
    options = BundleOptions(
        allowed_werf_images=("registry.werf.io/*",), allow_insecure=False
    )

    read_intention(bundle(converge={"image": "registry.werf.io/werf:2"}), options)
    for spec in (
        {"converge": {"image": "evil.example/werf"}},
        {"registry": {"insecure": True}},
        {"registry": {"tlsConfig": {"insecureSkipVerify": True}}},
    ):
        with pytest.raises(BlockedError) as caught:
            read_intention(bundle(**spec), options)
        assert caught.value.reason == "InvalidSpec"


@pytest.mark.parametrize(
    ("spec", "annotations", "said"),
    [
        ({}, {}, []),
        ({"converge": {"driftDetection": {"mode": "Disabled"}}}, {}, []),
        ({"converge": {"driftDetection": {"enabled": True}}}, {}, ["driftDetection"]),
        ({"converge": {"driftDetection": {"mode": "Detect"}}}, {}, ["driftDetection"]),
        ({"converge": {"valuesMode": "Set"}}, {}, ["valuesMode"]),
        ({"deletionPolicy": "Uninstall"}, {}, ["deletionPolicy"]),
        ({"rollbackHold": "Manual"}, {}, ["rollbackHold"]),
        ({}, {"werf.io/rollback-to-version": "v1"}, ["rollback-to-version"]),
        ({}, {"werf.io/approve": "v1"}, ["approve"]),
    ],
)
def test_what_is_not_acted_on_is_named(
    spec: Json, annotations: dict[str, str], said: list[str]
) -> None:
    found = unsupported(bundle(**spec).spec, annotations)

    assert len(found) == len(said)
    assert all(part in text for part, text in zip(said, found, strict=True))


def chosen(tags: list[str], status: BundleStatus | None = None, **spec: object) -> str:
    registry = RegistrySpec.model_validate({"url": "x", **spec})
    return choose(
        tags,
        registry=registry,
        constraint=parse_constraint(registry.version_constraint),
        keeps=None,
        status=status or BundleStatus(),
    ).tag


def test_the_newest_release_is_chosen_and_signatures_are_no_versions() -> None:
    """Scenario 65."""
    assert chosen(TAGS) == "v1.10.0"
    assert chosen(TAGS, includePrereleases=True) == "2.0.0-rc.1"
    assert chosen(["latest", "beta", "alpha"]) == "beta"


@pytest.mark.parametrize(
    ("tags", "constraint", "reason"),
    [
        ([], "", "NoTags"),
        (TAGS, ">=3", "NoMatchingVersion"),
        (["2.0.0-rc.1"], "", "NoMatchingVersion"),
        (["main"], ">=1", "NoMatchingVersion"),
    ],
)
def test_nothing_that_fits_is_told(
    tags: list[str], constraint: str, reason: str
) -> None:
    """Scenario 66."""
    with pytest.raises(BlockedError) as caught:
        chosen(tags, versionConstraint=constraint)
    assert caught.value.reason == reason
    assert not caught.value.is_stalled


def ran(tag: str, **spec: object) -> BundleStatus:
    selection = selection_hash(RegistrySpec.model_validate({"url": "x", **spec}))
    observed = Observed(tag=tag, digest="sha256:0", selection=selection)
    return BundleStatus(last_applied_tag=tag, observed=observed)


def test_what_runs_is_not_replaced_by_a_lower_version_unless_the_user_says_so() -> None:
    """Scenario 81."""
    with pytest.raises(BlockedError, match="allowDowngrade") as caught:
        chosen(["v1.0.0"], ran("v2.0.0"))
    assert caught.value.reason == "DowngradeBlocked"

    narrowed = {"versionConstraint": "<2"}
    assert chosen(["v1.0.0"], ran("v2.0.0"), **narrowed) == "v1.0.0"
    allowed = {"allowDowngrade": True}
    assert chosen(["v1.0.0"], ran("v2.0.0", **allowed), **allowed) == "v1.0.0"
    assert chosen(["v1.0.0", "v3.0.0"], ran("v2.0.0")) == "v3.0.0"


def test_a_downgrade_that_was_decided_on_stays_decided() -> None:
    """Scenario 81: the lower version is the candidate, and not applied yet."""
    narrowed = {"versionConstraint": "<2"}
    status = ran("v1.0.0", **narrowed).model_copy(update={"last_applied_tag": "v2.0.0"})

    assert chosen(["v1.0.0"], status, **narrowed) == "v1.0.0"
