"""What the chart renders under which values."""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from itertools import combinations
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest
import yaml
from pydantic import BaseModel

from controller_runtime import Grant, Json, Roles
from controller_runtime.rbac import without_repetition
from controllers.rbac import RoleOptions, manifest
from controllers.settings import CONTROLLERS, Settings, load, version
from hack import gen_chart
from hack.gen_rbac import users
from rendering import CHART, NAMESPACE, Rendered, Renderer, RenderError

FULL = "platform-pilothouse"
PRESETS = sorted(CHART.glob("values-*.yaml"))

EVERYTHING: Json = {
    "global": {"imagePullSecrets": ["one", {"name": "two"}]},
    "commonLabels": {"team": "platform"},
    "commonAnnotations": {"note": "ours"},
    "controllers": ["reload", "release"],
    "reload": {"namespacesToIgnore": ["kube-system"], "debounce": "2s", "qps": 5},
    "release": {"cacheBytes": 1 << 31, "helmWorkers": 2},
    "metrics": {
        "certificateSecret": "metrics-tls",
        "readers": [{"name": "prometheus", "namespace": "monitoring"}],
    },
    "serviceMonitor": {"enabled": True, "interval": "30s", "namespace": "monitoring"},
    "podMonitor": {
        "enabled": True,
        "authorization": {"credentials": {"name": "token", "key": "token"}},
    },
    "prometheusRule": {"enabled": True},
    "dashboard": {"enabled": True},
    "networkPolicy": {"enabled": True, "egress": [{"ports": [{"port": 443}]}]},
    "autoscaling": {"enabled": True},
    "priorityClassName": "system-cluster-critical",
    "extraArgs": ["--reload-workers=3"],
    "extraEnv": [{"name": "HTTPS_PROXY", "value": "http://proxy:3128"}],
    "extraEnvFrom": [{"secretRef": {"name": "settings"}}],
    "extraVolumes": [{"name": "keys", "secret": {"secretName": "keys"}}],
    "extraVolumeMounts": [{"name": "keys", "mountPath": "/keys"}],
    "nodeSelector": {"kubernetes.io/os": "linux"},
    "tolerations": [{"operator": "Exists"}],
    "affinity": {"nodeAffinity": {}},
    "podAnnotations": {"sidecar": "no"},
    "podLabels": {"tier": "platform"},
    "deploymentAnnotations": {"by": "hand"},
    "rbac": {"extraRules": [{"apiGroups": ["x"], "resources": ["y"], "verbs": ["z"]}]},
}


def settings_of(rendered: Rendered, folder: Path) -> Settings:
    """Read the settings as the manager will, flags and all."""
    file = folder / "config.yaml"
    file.write_text(rendered.config, encoding="utf-8")
    verb, config, *flags = rendered.container["args"]
    assert (verb, config) == ("run", "--config=/etc/pilothouse/config.yaml")
    given = dict(flag.removeprefix("--").split("=", 1) for flag in flags)
    names = {name.replace("-", ".", 1): value for name, value in given.items()}
    return load(names, {}, file)


def granted(rendered: Rendered, name: str = FULL) -> frozenset[Grant]:
    """Return what the roles give that are bound to the account of the pods."""
    account = rendered.pod["serviceAccountName"]
    for binding in rendered.of("ClusterRoleBinding") + rendered.of("RoleBinding"):
        if binding["roleRef"]["name"] == name:
            (subject,) = binding["subjects"]
            assert (subject["name"], subject["namespace"]) == (account, NAMESPACE)
    bound = {
        (it["roleRef"]["kind"], it["metadata"].get("namespace"))
        for it in rendered.of("ClusterRoleBinding") + rendered.of("RoleBinding")
        if it["roleRef"]["name"] == name
    }
    roles = [
        it
        for it in rendered.of("ClusterRole") + rendered.of("Role")
        if (it["kind"], it["metadata"].get("namespace")) in bound
    ]
    return without_repetition(Roles.read(name, roles).grants)


def needed(settings: Settings, *, namespaced: bool = False) -> frozenset[Grant]:
    """Return what `pilothouse rbac` writes for each controller by itself.

    For all at once it gives one of them that is limited to namespaces the places of
    the others too, where it cannot tell them apart.
    """
    at_home = settings.model_copy(update={"leader_election_namespace": NAMESPACE})
    grants: set[Grant] = set()
    for name in settings.controllers:
        alone = at_home.model_copy(update={"controllers": (name,)})
        text = manifest(alone, RoleOptions(namespaced=namespaced)).text
        grants |= Roles.read("pilothouse", yaml.safe_load_all(text)).grants
    return without_repetition(grants)


def test_by_default_it_is_one_role_for_all_that_rbac_writes(chart: Renderer) -> None:
    settings = Settings(
        leader_elect=True,
        leader_election_name=FULL,
        leader_election_namespace=NAMESPACE,
    )
    text = manifest(settings, RoleOptions()).text
    written = Roles.read("pilothouse", yaml.safe_load_all(text))

    assert granted(chart.render()) == without_repetition(written.grants)


def test_what_is_made_from_code_is_what_is_checked_in() -> None:
    differing = [
        str(path) for path, text in gen_chart.files().items()
        if path.read_text(encoding="utf-8") != text
    ]  # fmt: skip
    assert differing == [], "run `make manifests`"
    assert gen_chart.main(["--check"]) == 0


def test_chart_and_image_have_the_version_of_the_checkout(chart: Renderer) -> None:
    metadata = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))

    assert (metadata["version"], metadata["appVersion"]) == (version(), version())
    assert chart.render().container["image"].endswith(f":v{version()}")


@pytest.mark.parametrize("values", [(), *((it,) for it in PRESETS)], ids=str)
def test_linting_finds_nothing(chart: Renderer, values: tuple[Path, ...]) -> None:
    found = chart.lint({}, *values)

    assert found["errors"] == []
    assert [it["error"] for it in found["messages"]] == ["icon is recommended"]


@pytest.mark.parametrize("preset", PRESETS, ids=lambda it: it.stem)
def test_a_preset_renders_what_the_manager_takes(
    chart: Renderer, preset: Path, tmp_path: Path
) -> None:
    rendered = chart.render({}, preset)

    settings = settings_of(rendered, tmp_path)
    assert settings.leader_elect == ("production" in preset.stem)
    assert granted(rendered) == needed(settings)


def test_by_default_two_replicas_take_turns_with_all_controllers(
    chart: Renderer, tmp_path: Path
) -> None:
    rendered = chart.render()

    assert rendered.one("Deployment")["spec"]["replicas"] == 2
    settings = settings_of(rendered, tmp_path)
    assert settings == Settings(leader_elect=True, leader_election_name=FULL)
    assert not settings.is_named("reload")
    assert granted(rendered) == needed(settings)


def test_pods_are_restricted_and_probed_where_the_manager_answers(
    chart: Renderer, tmp_path: Path
) -> None:
    rendered = chart.render()
    container, settings = rendered.container, settings_of(rendered, tmp_path)

    assert rendered.pod["securityContext"]["runAsNonRoot"] is True
    assert rendered.pod["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault"
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    ports = {it["name"]: it["containerPort"] for it in container["ports"]}
    assert settings.health_probe_bind_address == f":{ports['probes']}"
    assert settings.metrics_bind_address == f":{ports['metrics']}"
    probes = {
        it: container[it]["httpGet"] for it in ("livenessProbe", "readinessProbe")
    }
    assert {(it["path"], it["port"]) for it in probes.values()} == {
        ("/healthz", "probes"),
        ("/readyz", "probes"),
    }
    grace = rendered.pod["terminationGracePeriodSeconds"]
    assert grace > settings.graceful_shutdown_timeout.total_seconds()


def test_everything_at_once_renders(chart: Renderer, tmp_path: Path) -> None:
    rendered = chart.render(EVERYTHING)

    settings = settings_of(rendered, tmp_path)
    assert settings.reload.workers == 3
    assert settings.reload.debounce.total_seconds() == 2
    assert settings.release.cache_bytes == 1 << 31
    assert settings.controllers == ("reload", "release")
    assert granted(rendered) == needed(settings) | {Grant("z", "x", "y")}
    labels = {it["metadata"]["labels"]["team"] for it in rendered.objects}
    notes = {it["metadata"]["annotations"]["note"] for it in rendered.objects}
    assert (labels, notes) == ({"platform"}, {"ours"})
    assert {"ServiceMonitor", "PodMonitor", "PrometheusRule"} <= rendered.kinds
    assert {"NetworkPolicy", "HorizontalPodAutoscaler"} <= rendered.kinds
    assert "replicas" not in rendered.one("Deployment")["spec"]


def test_nothing_that_selects_pods_misses_them(chart: Renderer) -> None:
    rendered = chart.render(EVERYTHING)
    labels = rendered.one("Deployment")["spec"]["template"]["metadata"]["labels"]
    service = rendered.one("Service")

    chosen = [
        rendered.one("Deployment")["spec"]["selector"]["matchLabels"],
        rendered.one("PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        rendered.one("NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
        rendered.one("PodMonitor")["spec"]["selector"]["matchLabels"],
        service["spec"]["selector"],
    ]
    for selector in chosen:
        assert selector.items() <= labels.items()
    monitor = rendered.one("ServiceMonitor")["spec"]["selector"]["matchLabels"]
    assert monitor.items() <= service["metadata"]["labels"].items()
    (production,) = [it for it in PRESETS if "production" in it.stem]
    for constraint in chart.render({}, production).pod["topologySpreadConstraints"]:
        selector = constraint["labelSelector"]["matchLabels"]
        assert selector.items() <= labels.items()


RELOAD: Mapping[str, Mapping[str, Any]] = {
    "namespaces": {"namespaces": ["shop", "blog"]},
    "secrets": {"resourcesToIgnore": ["secrets"]},
    "jobs": {"ignoredWorkloadTypes": "jobs,cronjobs"},
    "cronjobs": {"ignoredWorkloadTypes": ["cronjobs"]},
    "dry run": {"dryRun": True},
    "no optional kinds": {"optionalKinds": False},
    "selector": {"namespaceSelector": "a=b"},
}


def _joined(names: Iterable[str]) -> Json:
    return {key: value for name in names for key, value in RELOAD[name].items()}


CASES = [
    *({"controllers": [name]} for name in CONTROLLERS),
    *(
        {"controllers": ["reload"], "reload": _joined(names)}
        for count in (1, 2, 3)
        for names in combinations(RELOAD, count)
    ),
    {"controllers": ["reload"], "reload": {"resourcesToIgnore": ["configmaps"]}},
    {"controllers": ["bundle"], "bundle": {"watchValues": False}},
    {"controllers": ["bundle"], "bundle": {"watchValues": False, "namespaces": ["a"]}},
    {"controllers": ["bundle", "release"], "release": {"namespaces": "a,ops"}},
    {"namespaces": ["shop", "ops"]},
    {"controllers": ["reload"], "reload": {"namespaces": " , "}},
    {"controllers": ["reload"], "reload": {"ignoredWorkloadTypes": ["jobs"]}},
    {"namespaces": ["shop"], "reload": {"namespaces": []}},
    {"metrics": {"secure": False}},
    {"metrics": {"enabled": False}},
    {"replicaCount": 1},
    {"replicaCount": 1, "leaderElection": {"enabled": True}},
]  # fmt: skip


@pytest.mark.parametrize("values", CASES, ids=str)
def test_roles_are_those_that_the_code_asks_for(
    chart: Renderer, values: Json, tmp_path: Path
) -> None:
    rendered = chart.render(values)

    assert granted(rendered) == needed(settings_of(rendered, tmp_path))


def test_roles_alone_are_those_of_rbac_namespaced(
    chart: Renderer, tmp_path: Path
) -> None:
    values = {
        "controllers": ["reload", "bundle", "release"],
        "namespaces": ["shop", "blog"],
        "metrics": {"secure": False},
        "rbac": {"namespacedOnly": True},
    }
    rendered = chart.render(values)

    assert not {"ClusterRole", "ClusterRoleBinding"} & rendered.kinds
    settings = settings_of(rendered, tmp_path)
    assert granted(rendered) == needed(settings, namespaced=True)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"replicas": 3}, "'replicas' not allowed"),
        ({"reload": {"worker": 3}}, "'worker' not allowed"),
        ({"reload": {"workers": 0}}, "/reload/workers"),
        ({"reload": {"strategy": "none"}}, "/reload/strategy"),
        ({"reload": {"alertWebhookUrl": "https://x"}}, "'alertWebhookUrl' not allowed"),
        ({"reload": {"debounce": "soon"}}, "/reload/debounce"),
        ({"controllers": ["reloads"]}, "/controllers/0"),
        ({"metrics": {"path": "/m"}}, "/metrics/path"),
        ({"image": {"digest": "sha256:12"}}, "/image/digest"),
        ({"leaderElection": {"enabled": False}}, "would do everything twice"),
        ({"rbac": {"namespacedOnly": True}}, "the autopilot works on the whole"),
        (
            {"rbac": {"namespacedOnly": True}, "controllers": ["reload"]},
            "set metrics.secure: false",
        ),
        (
            {
                "rbac": {"namespacedOnly": True},
                "controllers": ["reload"],
                "metrics": {"secure": False},
            },
            "reload works in the whole cluster; set namespaces",
        ),
        ({"podMonitor": {"enabled": True}}, "podMonitor.authorization"),
        ({"metrics": {"port": 8081}}, "8081 is that of the probes"),
        (
            {"alerts": {"enabled": True, "slack": {"enabled": True}}},
            "needs webhookURL or webhookURLSecret",
        ),
    ],
)
def test_values_that_make_no_sense_are_refused_by_name(
    chart: Renderer, values: Json, reason: str
) -> None:
    with pytest.raises(RenderError) as refused:
        chart.render(values)

    assert reason in str(refused.value)


@pytest.mark.parametrize(
    ("values", "image", "policy"),
    [
        ({}, f"ghcr.io/pilothouse/pilothouse:v{version()}", "IfNotPresent"),
        ({"image": {"tag": "v9"}}, "ghcr.io/pilothouse/pilothouse:v9", "IfNotPresent"),
        (
            {"image": {"tag": "v9"}, "global": {"imageTag": "v10"}},
            "ghcr.io/pilothouse/pilothouse:v10",
            "IfNotPresent",
        ),
        (
            {"image": {"tag": "v9", "digest": f"sha256:{'a' * 64}"}},
            f"ghcr.io/pilothouse/pilothouse@sha256:{'a' * 64}",
            "IfNotPresent",
        ),
        (
            {"global": {"imageRegistry": "registry.corp:5000"}},
            f"registry.corp:5000/pilothouse/pilothouse:v{version()}",
            "IfNotPresent",
        ),
        (
            {"image": {"tag": "latest"}},
            "ghcr.io/pilothouse/pilothouse:latest",
            "Always",
        ),
        (
            {"image": {"tag": "latest", "pullPolicy": "Never"}},
            "ghcr.io/pilothouse/pilothouse:latest",
            "Never",
        ),
    ],
)
def test_an_image_is_found_by_digest_then_tag_then_version(
    chart: Renderer, values: Json, image: str, policy: str
) -> None:
    container = chart.render(values).container

    assert (container["image"], container["imagePullPolicy"]) == (image, policy)


def test_other_settings_are_other_pods(chart: Renderer) -> None:
    def checksum(values: Json) -> str:
        template = chart.render(values).one("Deployment")["spec"]["template"]
        found: str = template["metadata"]["annotations"]["checksum/config"]
        return found

    assert checksum({}) == checksum({"service": {"type": "NodePort"}})
    assert checksum({}) != checksum({"reload": {"workers": 11}})


@pytest.mark.parametrize("keep", [True, False])
def test_crds_are_those_of_the_controllers_that_run(
    chart: Renderer, keep: bool
) -> None:
    values: Json = {"controllers": ["reload", "bundle"], "crds": {"keep": keep}}
    crds = chart.render(values).of("CustomResourceDefinition")

    assert {it["metadata"]["name"] for it in crds} == {
        "reloaderconfigs.reloader.stakater.com",
        "werfbundles.werf.io",
    }
    for crd in crds:
        kept = crd["metadata"].get("annotations", {}).get("helm.sh/resource-policy")
        assert kept == ("keep" if keep else None)
    assert not chart.render({"crds": {"install": False}}).of("CustomResourceDefinition")


def test_crds_come_through_helm_unchanged(chart: Renderer) -> None:
    rendered = {
        it["metadata"]["name"]: it["spec"]
        for it in chart.render().of("CustomResourceDefinition")
    }
    bases = [
        yaml.safe_load(path.read_text(encoding="utf-8"))
        for path in (gen_chart.ROOT / "config/crd/bases").glob("*.yaml")
    ]
    assert rendered == {it["metadata"]["name"]: it["spec"] for it in bases}


def test_who_may_edit_may_write_reloaderconfigs(chart: Renderer) -> None:
    found = {
        it["metadata"]["name"].removeprefix(f"{FULL}-"): it
        for it in chart.render().of("ClusterRole")
    }
    for role in yaml.safe_load_all(users()):
        ours = found[role["metadata"]["name"]]
        assert ours["rules"] == role["rules"]
        assert role["metadata"]["labels"].items() <= ours["metadata"]["labels"].items()


def test_dashboards_and_rules_come_through_helm_unchanged(chart: Renderer) -> None:
    on = {"enabled": True}
    rendered = chart.render({"dashboard": on, "prometheusRule": on})
    config = gen_chart.ROOT / "config"

    rules = (config / "prometheus" / "reload.rules.yaml").read_text(encoding="utf-8")
    assert rendered.one("PrometheusRule")["spec"] == yaml.safe_load(rules)
    (board,) = [
        it for it in rendered.of("ConfigMap") if "config.yaml" not in it["data"]
    ]
    text = (config / "grafana" / "reload.json").read_text(encoding="utf-8")
    assert json.loads(board["data"]["pilothouse-reload.json"]) == json.loads(text)


def test_values_of_reloader_operator_are_taken(chart: Renderer, tmp_path: Path) -> None:
    values: Json = {
        "replicaCount": 2,
        "controllers": ["reload"],
        "operator": {
            "logLevel": "debug",
            "leaderElection": {
                "enabled": True,
                "leaseDuration": "15s",
                "renewDeadline": "10s",
                "retryPeriod": "2s",
            },
            "watchNamespaces": ["default", "development"],
            "syncPeriod": "5m",
            "maxConcurrentReconciles": 3,
        },
        "metrics": {"enabled": True, "port": 8090, "path": "/metrics"},
        "crds": {"install": True, "keep": True},
        "serviceMonitor": {"enabled": True, "additionalLabels": {"prometheus": "main"}},
        "podDisruptionBudget": {"enabled": True, "minAvailable": 1},
        "autoscaling": {"enabled": True, "minReplicas": 2, "maxReplicas": 5},
        "networkPolicy": {"enabled": False},
        "extraEnv": [{"name": "DEBUG", "value": "true"}],
        "alerts": {
            "enabled": True,
            "slack": {
                "enabled": True,
                "webhookURLSecret": {"name": "slack", "key": "webhook-url"},
            },
        },
    }
    rendered = chart.render(values)

    file = tmp_path / "config.yaml"
    file.write_text(rendered.config, encoding="utf-8")
    url = "PILOTHOUSE_RELOAD_ALERT_WEBHOOK_URL"
    settings = load({}, {url: "https://hooks.corp"}, file)
    assert settings.log_level == "debug"
    assert settings.leader_elect
    assert settings.metrics_bind_address == ":8090"
    assert settings.reload.workers == 3
    assert settings.reload.namespaces == ("default", "development")
    assert (settings.reload.alert_on_reload, settings.reload.alert_sink) == (
        True,
        "slack",
    )
    secret = {"name": "slack", "key": "webhook-url"}
    given = {it["name"]: it for it in rendered.container["env"]}
    assert given[url]["valueFrom"]["secretKeyRef"] == secret
    assert rendered.one("PodDisruptionBudget")["spec"]["minAvailable"] == 1
    assert rendered.one("HorizontalPodAutoscaler")["spec"]["maxReplicas"] == 5
    monitor = rendered.one("ServiceMonitor")
    assert monitor["metadata"]["labels"]["prometheus"] == "main"


def test_the_address_of_alerts_is_in_a_secret_alone(chart: Renderer) -> None:
    def rendered(url: str) -> Rendered:
        slack = {"enabled": True, "webhookURL": url}
        return chart.render({"alerts": {"enabled": True, "slack": slack}})

    def template(of: Rendered) -> Json:
        found: Json = of.one("Deployment")["spec"]["template"]
        return found

    one = rendered("https://hooks.corp/secret")
    (variable,) = one.container["env"]
    reference = variable["valueFrom"]["secretKeyRef"]
    secret = one.one("Secret")
    assert secret["metadata"]["name"] == reference["name"]
    kept = base64.b64decode(secret["data"][reference["key"]])
    assert kept == b"https://hooks.corp/secret"
    others = [it for it in one.objects if it["kind"] != "Secret"]
    assert "hooks.corp" not in json.dumps(others)
    assert template(one) != template(rendered("https://hooks.corp/other"))


@pytest.mark.parametrize("name", ["123", "1e3", "on", "null", "0x1f"])
@pytest.mark.parametrize("compat", [{}, {"reloader": {"enableHA": True}}], ids=str)
def test_names_that_read_as_something_else_stay_names(
    chart: Renderer, name: str, compat: Json
) -> None:
    on = {"enabled": True}
    values: Json = {
        "nameOverride": name,
        "fullnameOverride": name,
        "namespaces": [name],
        "serviceMonitor": on,
        "networkPolicy": on,
        "priorityClassName": name,
        "metrics": {"readers": [{"name": name, "namespace": name}]},
        "serviceAccount": {"name": name},
    }
    if compat:
        named = {"nameOverride": name, "fullnameOverride": name, "namespace": name}
        monitored = {**compat["reloader"], "serviceMonitor": on}
        values["reloaderCompat"] = {**named, "reloader": monitored}
    rendered = chart.render(values, name=name, namespace=name)

    for obj in rendered.objects:
        metadata = obj["metadata"]
        texts = [metadata["name"], metadata.get("namespace", "")]
        texts += [*metadata["labels"], *metadata["labels"].values()]
        for subject in obj.get("subjects", ()):
            texts += subject.values()
        texts += obj.get("roleRef", {}).values()
        assert {type(it) for it in texts} == {str}, obj
    spec = rendered.one("Deployment")["spec"]
    texts = [*spec["selector"]["matchLabels"].values()]
    texts += [rendered.pod["serviceAccountName"], rendered.container["name"]]
    texts += [it.get("value", "") for it in rendered.container.get("env", ())]
    assert {type(it) for it in texts} == {str}
    matched = rendered.one("ServiceMonitor")["spec"]["namespaceSelector"]["matchNames"]
    assert matched == [name]


def test_two_releases_beside_each_other_stand_for_two_leases(
    chart: Renderer, tmp_path: Path
) -> None:
    # Or the one that comes second would wait for the first to end.
    releases = [
        chart.render({"controllers": [name]}, name=name)
        for name in ("reload", "bundle")
    ]
    names = set()
    for rendered in releases:
        settings = settings_of(rendered, tmp_path)
        names.add(settings.leader_election_name)
        full = rendered.one("Deployment")["metadata"]["name"]
        assert granted(rendered, full) == needed(settings)
    assert len(names) == 2
    objects = [
        {(it["kind"], it["metadata"]["name"]) for it in rendered.objects}
        for rendered in releases
    ]
    assert objects[0] & objects[1] == set()


def test_a_long_release_name_makes_names_that_fit(chart: Renderer) -> None:
    names = []
    for last in "ab":
        rendered = chart.render(EVERYTHING, name="r" * 52 + last)
        for obj in rendered.objects:
            values = obj["metadata"]["labels"].values()
            assert max(map(len, values)) <= 63
        names.append(rendered.one("Service")["metadata"]["name"])
        assert len(names[-1]) <= 63
    assert len(set(names)) == 2


def test_a_dot_in_a_release_name_is_none_in_a_service_name(chart: Renderer) -> None:
    for name in ("shop.eu", "pilothouse.eu"):
        service = chart.render(name=name).one("Service")["metadata"]["name"]
        assert re.fullmatch("[a-z]([-a-z0-9]*[a-z0-9])?", service)


def test_without_an_election_the_old_pod_goes_before_the_new_one(
    chart: Renderer,
) -> None:
    def strategy(values: Json) -> Json:
        found: Json = chart.render(values).one("Deployment")["spec"]["strategy"]
        return found

    assert strategy({"replicaCount": 1}) == {"type": "Recreate"}
    elects = {"enabled": True}
    for turns in ({}, {"replicaCount": 1, "leaderElection": elects}):
        assert strategy(turns)["type"] == "RollingUpdate"
        # What Helm does not own would stay behind when the type changes.
        assert strategy(turns)["rollingUpdate"].keys() == {"maxSurge", "maxUnavailable"}


def test_annotations_of_pods_do_not_replace_the_checksum(chart: Renderer) -> None:
    mine = {"checksum/config": "mine", "note": "ours"}
    rendered = chart.render({"podAnnotations": mine})

    template = rendered.one("Deployment")["spec"]["template"]["metadata"]
    assert template["annotations"]["note"] == "ours"
    assert template["annotations"]["checksum/config"] != "mine"


def test_what_is_kept_and_what_runs_at_once_fits(chart: Renderer) -> None:
    rendered, release = chart.render(), Settings().release
    (tmp,) = [it for it in rendered.pod["volumes"] if it["name"] == "tmp"]
    room = _bytes(tmp["emptyDir"]["sizeLimit"])
    memory = _bytes(rendered.container["resources"]["limits"]["memory"])

    # Charts, as many indexes, and the folders of Helm; a pod with more is evicted.
    assert room >= 2 * release.cache_bytes + (512 << 20)
    assert memory >= (256 + 300 * release.helm_workers) << 20


def _bytes(quantity: str) -> int:
    units = {"Mi": 1 << 20, "Gi": 1 << 30}
    return int(quantity[:-2]) * units[quantity[-2:]]


def test_every_setting_of_a_controller_reaches_it(
    chart: Renderer, tmp_path: Path
) -> None:
    for name in CONTROLLERS:
        model = type(getattr(Settings(), name))
        for field, value in _others(model):
            rendered = chart.render({name: {gen_chart.camel(field): value}})
            section = getattr(settings_of(rendered, tmp_path), name)
            assert section.model_dump()[field] == _read(model, field, value), field
            assert section != model(), field


def _others(model: type[BaseModel]) -> Iterator[tuple[str, object]]:
    """Yield a value that is not the default for each setting of a section."""
    for field, info in model.model_fields.items():
        if field in gen_chart.SECRETS:
            continue
        default = info.default
        known = _SPECIAL.get(field)
        if known is not None:
            yield field, known
        elif isinstance(default, bool):
            yield field, not default
        elif isinstance(default, int | float):
            yield field, default + 1
        elif isinstance(default, timedelta):
            yield field, f"{default.total_seconds() + 60:g}s"
        elif isinstance(default, tuple):
            yield field, ["one", "123"]
        elif get_origin(info.annotation) is Literal:
            yield field, next(it for it in get_args(info.annotation) if it != default)
        else:
            yield field, "x123"


_SPECIAL: Mapping[str, object] = {
    "resources_to_ignore": ["secrets"],
    "ignored_workload_types": ["jobs"],
    "extra_references": ["imagePullSecrets"],
    "alert_sink": "slack",
    "alert_additional_info": "a: 'b' \"{{ c }}\"\n# d\n",
    "window": "0 2 * * 1-5; 2h; Europe/Berlin",
    "namespace_selector": "a=b,!c",
}


def _read(model: type[BaseModel], field: str, value: object) -> object:
    return model.model_validate({field: value}).model_dump()[field]


def test_one_replica_is_not_scaled(chart: Renderer) -> None:
    rendered = chart.render({"replicaCount": 1, "autoscaling": {"enabled": True}})

    assert "HorizontalPodAutoscaler" not in rendered.kinds
    assert "no effect" in rendered.notes


def test_no_path_of_this_machine_is_in_the_chart() -> None:
    for path in CHART.rglob("*"):
        if path.is_file():
            assert os.fspath(gen_chart.ROOT) not in path.read_text(encoding="utf-8")
