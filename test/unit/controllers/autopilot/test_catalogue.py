"""The built-in catalogue: what its assets are, and that nothing is wrong with them."""

from __future__ import annotations

import base64
import itertools
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from typing import Any

import pytest

from conformance.catalogs import asset, catalog, source
from controller_runtime import Json
from controllers.autopilot.asks import asked_kinds
from controllers.autopilot.assets import Catalog
from controllers.autopilot.context import CrdState, RenderContext
from controllers.autopilot.errors import CatalogError
from controllers.autopilot.gates import Scope, Why, judge
from controllers.autopilot.lint import (
    entry_problems,
    object_problems,
    template_problems,
)
from controllers.autopilot.loader import load_builtin
from controllers.autopilot.lookups import CRD, Answer, Lookup
from controllers.autopilot.platformcrds import platform_crd, platform_crds
from controllers.autopilot.render import Renderer

DESCHEDULERS = "kubedeschedulers.operator.openshift.io"
VARIANTS = ["", "4.19", "4.17"]
AMPLIFIED = "descheduler:node:linear_amplified_ideal_point_positive_distance:k3:avg1m"


@cache
def builtin() -> Catalog:
    return load_builtin()


@cache
def crds() -> Mapping[str, Json]:
    return {crd["metadata"]["name"]: crd for crd in platform_crds()}


def rendered(
    name: str,
    answers: Mapping[Lookup, Answer] | None = None,
    *,
    params: Mapping[str, str] | None = None,
    **fields: Any,
) -> Json:
    wanted = builtin().asset(name)
    assert wanted is not None
    if params is not None:
        wanted = replace(wanted, params=params)
    context = RenderContext(
        source=source(**fields), identity=builtin().identity, crds={}
    )
    made = Renderer(builtin()).render_now(wanted, context, answers or {})
    assert made.object is not None
    assert not list(object_problems(wanted, made.object, made.text, crds()))
    return made.object


@cache
def descheduler(variant: str = "") -> dict[Lookup, Answer]:
    crd = platform_crd(DESCHEDULERS, variant)
    return {Lookup(CRD, name=DESCHEDULERS): (crd,)}


def test_nothing_is_wrong_with_it() -> None:
    """Scenarios 58 and 60: quoting, opt-in, kinds; the rest is told by loading it."""
    assert not list(entry_problems(builtin()))
    assert not list(template_problems(builtin()))
    assert {kind.kind for kind in asked_kinds(builtin())} == {
        "CustomResourceDefinition",
        "PrometheusRule",
    }


@pytest.mark.parametrize(
    ("name", "variant", "version"),
    [
        (each.name, variant, version)
        for each, variant, version in itertools.product(
            load_builtin().assets, VARIANTS, ["v1", "v1beta1"]
        )
    ],
)
def test_every_asset_fits_the_platform(name: str, variant: str, version: str) -> None:
    """The lint rules: fields, types and values of the CRDs, in all variants."""
    made = rendered(name, descheduler(variant), version=version)

    assert made["metadata"]["name"]


@pytest.mark.parametrize(
    ("variant", "profile", "customizations", "limits"),
    [
        ("", "KubeVirtRelieveAndMigrate", None, {"total": 5, "node": 2}),
        ("4.19", "DevKubeVirtRelieveAndMigrate", None, {"total": 5}),
        (
            "4.17",
            "LongLifecycle",
            {"devEnableEvictionsInBackground": True},
            {"total": 5},
        ),
    ],
)
def test_the_descheduler_gets_the_newest_profile_that_it_knows(
    variant: str, profile: str, customizations: Json | None, limits: Json
) -> None:
    """Scenario 50. What a release does not know is left out: it would refuse it."""
    spec = rendered("descheduler-loadaware", descheduler(variant))["spec"]

    assert spec["profiles"] == [profile]
    assert spec.get("profileCustomizations") == customizations
    assert spec["evictionLimits"] == limits


@pytest.mark.parametrize("version", ["v1", "v1beta1"])
@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({}, {"total": 5, "node": 2}),
        ({"parallelMigrationsPerCluster": 9}, {"total": 9, "node": 2}),
        (
            {"parallelMigrationsPerCluster": 9, "parallelOutboundMigrationsPerNode": 4},
            {"total": 9, "node": 4},
        ),
    ],
)
def test_migration_limits_are_those_of_the_source_object(
    version: str, limits: Json, expected: Json
) -> None:
    """Scenarios 51 and 72: unset, partial, set; in both versions."""
    config = {"liveMigrationConfig": limits}
    spec = {"virtualization": config} if version == "v1" else config

    made = rendered("descheduler-loadaware", descheduler(), spec=spec, version=version)

    assert made["spec"]["evictionLimits"] == expected


@pytest.mark.parametrize(
    ("records", "profile"),
    [
        (["other"], "PrometheusCPUCombined"),
        ([AMPLIFIED], "PrometheusCPUMemoryCombinedProfile"),
    ],
)
def test_the_descheduler_uses_the_metrics_that_there_are(
    records: list[str], profile: str
) -> None:
    kind = next(k for k in asked_kinds(builtin()) if k.kind == "PrometheusRule")
    rules = Lookup(kind, "openshift-kube-descheduler-operator", "descheduler-rules")
    groups = [{"name": "g", "rules": [{"record": record} for record in records]}]
    answers = descheduler() | {rules: ({"spec": {"groups": groups}},)}

    spec = rendered("descheduler-loadaware", answers)["spec"]

    assert spec["profileCustomizations"] == {"devActualUtilizationProfile": profile}


@pytest.mark.parametrize("name", ["hco-golden-config", "hco-golden-config-v1beta1"])
def test_the_source_object_is_configured_little_or_much(name: str) -> None:
    little = rendered(name)
    much = rendered(name, params={"profile": "opinionated"})

    assert little["spec"] == {}
    assert little["metadata"]["annotations"] == {
        "platform.kubevirt.io/managed-by": "virt-platform-autopilot",
        "platform.kubevirt.io/version": "1.0.0",
    }
    assert little["metadata"]["namespace"] == "openshift-cnv"
    config = much["spec"].get("virtualization", much["spec"])["liveMigrationConfig"]
    assert config["completionTimeoutPerGiB"] == 150


def test_the_source_object_is_configured_in_a_version_that_is_served() -> None:
    """Scenario 72: one of the two applies, and none of them reports a missing CRD."""
    name = "hyperconvergeds.hco.kubevirt.io"
    active = {}
    for served in (("v1", "v1beta1"), ("v1beta1",)):
        context = RenderContext(
            source=source(version=served[0]),
            identity=builtin().identity,
            crds={name: CrdState(name=name, versions=served)},
        )
        verdicts = [
            judge(each, context, Scope(all=True))
            for each in builtin().assets
            if each.is_source_config
        ]
        assert not any(verdict.missing_crds for verdict in verdicts)
        active[served] = [v.asset.kind.version for v in verdicts if v.active]
        assert Why.CRD not in {verdict.why for verdict in verdicts}

    assert active == {("v1", "v1beta1"): ["v1"], ("v1beta1",): ["v1beta1"]}


def test_swap_comes_with_what_keeps_a_node_responsive() -> None:
    """Scenario 1, in part: what the MachineConfig is."""
    made = rendered("swap-enable")

    config = made["spec"]["config"]
    files = {file["path"]: file for file in config["storage"]["files"]}
    units = {unit["name"] for unit in config["systemd"]["units"]}
    assert made["metadata"]["name"] == "90-worker-swap-online"
    assert made["metadata"]["labels"] == {
        "machineconfiguration.openshift.io/role": "worker"
    }
    assert config["ignition"]["version"] == "3.5.0"
    kubelet = files["/etc/openshift/kubelet.conf.d/90-swap.conf"]
    assert kubelet["mode"] == 0o644
    assert "swapBehavior: LimitedSwap" in _content(kubelet)
    scripts = [file for path, file in files.items() if path.startswith("/usr/local")]
    assert {script["mode"] for script in scripts} == {0o755}
    assert {"virt-swap-partition.service", "system.slice"} <= units


def _content(file: Json) -> str:
    kind, _, data = file["contents"]["source"].partition(",")
    assert kind == "data:text/plain;charset=utf-8;base64"
    return base64.b64decode(data, validate=True).decode()


def test_scripts_are_shell() -> None:
    bash = shutil.which("bash")
    assert bash is not None
    for path, text in builtin().files.items():
        if path.endswith(".sh"):
            checked = subprocess.run(  # noqa: S603 - our own script, not run
                [bash, "-n"], input=text, text=True, capture_output=True, check=False
            )
            assert checked.returncode == 0, f"{path}: {checked.stderr}"


@pytest.mark.parametrize(
    "expression",
    [
        "source.spec.x",
        "hco['spec']['x']",
        "hco_get('spec.x', 1)",
        "source_get('spec.x') | upper",
        "'a' ~ source_ns",
        "source.spec.x if source.spec.y else 'z'",
        "[source.spec.x] | join",
        "get_config_map_data('a', 'b', 'c')",
        "taken",
        "each",
        "ns.x",
        "within",
    ],
)
def test_a_value_that_is_not_the_catalogues_has_to_be_quoted(expression: str) -> None:
    template = (
        "{% set ns = namespace() %}{% set ns.x = source.a %}{% set taken = source.a %}"
        "{% for each in source.list %}{% with within = source.a %}{{ EXPRESSION }}"
        "{% endwith %}{% endfor %}"
    )

    def problems(expression: str) -> list[str]:
        text = template.replace("EXPRESSION", expression)
        made = catalog(asset(), files={"active/made.yaml.j2": text})
        return list(template_problems(made))

    assert len(problems(expression)) == 1
    assert not problems(f"({expression}) | q")
    assert not problems("params.x")
    assert not problems("'yes' if source.spec.x else 'no'")


def test_a_kind_that_a_role_cannot_name_is_refused() -> None:
    text = "{{ object_exists('v1', params.kind, 'a', 'b') }}"

    with pytest.raises(CatalogError, match="wants apiVersion and kind in words"):
        asked_kinds(catalog(asset(), files={"active/made.yaml.j2": text}))


def test_a_boolean_where_a_string_is_wanted_is_pointed_out() -> None:
    forklift = builtin().asset("mtv-operator")
    assert forklift is not None
    made: Json = {"spec": {"feature_ui_plugin": True, "feature_uii": "true"}}

    found = list(object_problems(forklift, made, "a: yes", crds()))

    assert found[0] == (
        "mtv-operator: .spec.feature_ui_plugin must be of type string, not "
        "the boolean True"
    )
    assert "feature_uii is no field" in found[1]
    assert "line 1 made: yes is a boolean to some readers" in found[2]
