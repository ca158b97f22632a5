"""`reloaderCompat`: an old values file of stakater/Reloader's chart."""

from __future__ import annotations

import base64
import re
import shutil
import subprocess
from collections.abc import Mapping
from datetime import timedelta
from itertools import combinations
from pathlib import Path

import pytest
import yaml

from controller_runtime import Grant, Json, ManagerOptions, Roles
from controller_runtime.rbac import without_repetition
from controllers.rbac import RoleOptions
from controllers.reload.options import Strategy
from controllers.reloader.rbac import roles
from controllers.reloader.settings import ReloaderSettings, read
from rendering import NAMESPACE, RELEASE, ROOT, Rendered, Renderer, RenderError

OLD = ROOT / "test" / "data" / "reloader-values.yaml"
NAME = f"{RELEASE}-reloader"


def old_values() -> Json:
    values: Json = yaml.safe_load(OLD.read_text(encoding="utf-8"))
    return values


def render(chart: Renderer, **reloader: object) -> Rendered:
    return chart.render({"reloaderCompat": {"reloader": reloader}})


def environ_of(rendered: Rendered) -> Mapping[str, str]:
    """Return the variables as the kubelet would fill them in."""
    fields = {
        "metadata.name": "pod-1",
        "metadata.namespace": rendered.one("Deployment")["metadata"]["namespace"],
        "spec.nodeName": "node-1",
    }
    environ = {}
    for variable in rendered.container["env"]:
        source = variable.get("valueFrom", {})
        if "fieldRef" in source:
            environ[variable["name"]] = fields[source["fieldRef"]["fieldPath"]]
        elif "secretKeyRef" in source:
            environ[variable["name"]] = _secret(rendered, source["secretKeyRef"])
        else:
            environ[variable["name"]] = variable["value"]
    return environ


def _secret(rendered: Rendered, reference: Mapping[str, str]) -> str:
    for secret in rendered.of("Secret"):
        if secret["metadata"]["name"] == reference["name"]:
            return base64.b64decode(secret["data"][reference["key"]]).decode()
    return "http://elsewhere:3128"


def settings_of(rendered: Rendered) -> ReloaderSettings:
    """Read the arguments as the stand-in will."""
    verb, *arguments = rendered.container["args"]
    assert verb == "reloader"
    return read(arguments, environ_of(rendered))


def granted(rendered: Rendered, name: str = NAME) -> frozenset[Grant]:
    """Return what the account of the pods may do."""
    account = rendered.pod["serviceAccountName"]
    bindings = rendered.of("ClusterRoleBinding") + rendered.of("RoleBinding")
    grants: set[Grant] = set()
    for binding in bindings:
        assert [it["name"] for it in binding["subjects"]] == [account]
        place = binding["metadata"].get("namespace")
        (role,) = [
            it
            for it in rendered.of(binding["roleRef"]["kind"])
            if it["metadata"]["name"] == binding["roleRef"]["name"]
            and it["metadata"].get("namespace") == place
        ]
        assert role["metadata"]["name"].startswith(name)
        grants |= Roles.read(role["metadata"]["name"], [role]).grants
    return without_repetition(grants)


def needed(rendered: Rendered) -> frozenset[Grant]:
    """Return what `pilothouse rbac reloader` writes."""
    arguments = rendered.container["args"][1:]
    text = roles(arguments, environ_of(rendered), RoleOptions(name="it")).text
    return without_repetition(Roles.read("it", yaml.safe_load_all(text)).grants)


def test_without_values_it_is_the_original_out_of_the_box(chart: Renderer) -> None:
    rendered = render(chart)
    deployment = rendered.one("Deployment")

    assert deployment["metadata"]["name"] == NAME
    assert deployment["spec"]["replicas"] == 1
    assert deployment["spec"]["revisionHistoryLimit"] == 2
    labels = {"app": NAME, "release": RELEASE}
    assert deployment["spec"]["selector"]["matchLabels"] == labels
    assert rendered.container["args"] == ["reloader", "--log-level=info"]
    assert rendered.pod["securityContext"]["runAsUser"] == 65534
    assert rendered.kinds == {
        *("ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"),
        *("CustomResourceDefinition", "Deployment", "ServiceAccount"),
    }


def test_every_value_of_an_old_file_becomes_its_argument(chart: Renderer) -> None:
    rendered = chart.render({"reloaderCompat": old_values()})

    assert rendered.container["args"] == [
        "reloader",
        "--log-format=json",
        "--log-level=debug",
        "--resources-to-ignore=secrets",
        "--ignored-workload-types=jobs,cronjobs",
        "--namespaces-to-ignore=kube-system,kube-public",
        '--namespace-selector="env=prod,team in (a,b)"',
        "--resource-label-selector=app=shop",
        "--enable-pprof",
        "--pprof-addr=:6061",
        "--enable-csi-integration=true",
        *("--configmap-annotation", "corp/configmap"),
        *("--secret-annotation", "corp/secret"),
        *("--auto-annotation", "corp/auto"),
        *("--secret-auto-annotation", "corp/secret-auto"),
        *("--configmap-auto-annotation", "corp/configmap-auto"),
        *("--auto-search-annotation", "corp/search"),
        *("--search-match-annotation", "corp/match"),
        *("--ignore-annotation", "corp/ignore"),
        *("--pause-deployment-annotation", "corp/pause-period"),
        *("--pause-deployment-time-annotation", "corp/paused-at"),
        *("--webhook-url", "https://hooks.corp/reload"),
        "--is-Argo-Rollouts=true",
        "--reload-on-create=true",
        "--reload-on-delete=true",
        "--sync-after-restart=true",
        "--reload-strategy=annotations",
        "--enable-ha=true",
        "--auto-reload-all=true",
    ]


def test_the_stand_in_takes_these_arguments_and_variables(chart: Renderer) -> None:
    settings = settings_of(chart.render({"reloaderCompat": old_values()}))
    options = settings.options

    assert settings.remarks == ()
    assert settings.webhook_url == "https://hooks.corp/reload"
    assert settings.debug_address == ":6061"
    assert settings.election is not None
    assert (settings.deployment, settings.namespace) == ("restarter", NAMESPACE)
    assert options.strategy is Strategy.ANNOTATIONS
    assert options.namespace_selector == "env=prod,team in (a,b)"
    assert options.resource_label_selector == "app=shop"
    assert options.namespaces_to_ignore == {"kube-system", "kube-public"}
    assert options.keys.auto == "corp/auto"
    assert options.keys.paused_at == "corp/paused-at"
    assert options.count_by_namespace
    assert options.auto_reload_all
    assert options.alerts.url == "https://hooks.corp/alerts"
    assert options.alerts.format.value == "slack"
    assert options.alerts.info == "production"
    assert options.alerts.proxy == "http://elsewhere:3128"
    assert options.cooldown == timedelta()


def test_every_value_of_an_old_file_comes_out_where_it_belongs(
    chart: Renderer,
) -> None:
    rendered = chart.render({"reloaderCompat": old_values()})
    deployment, pod = rendered.one("Deployment"), rendered.pod
    container = rendered.container
    given = old_values()["reloader"]["deployment"]

    assert deployment["metadata"]["annotations"] == {"note": f"of {RELEASE}"}
    assert deployment["metadata"]["labels"]["provider"] == "corp"
    assert deployment["spec"]["replicas"] == 3
    assert deployment["spec"]["selector"]["matchLabels"]["owner"] == "platform"
    template = deployment["spec"]["template"]["metadata"]
    assert template["annotations"] == {"sidecar": "false"}
    assert template["labels"]["version"] == "v1.4.21"
    for field in (
        *("hostUsers", "nodeSelector", "affinity", "tolerations", "dnsConfig"),
        *("topologySpreadConstraints", "priorityClassName"),
        *("runtimeClassName", "schedulerName", "automountServiceAccountToken"),
    ):
        assert pod[field] == given[field], field
    seccomp = {"seccompProfile": {"type": "RuntimeDefault"}}  # of the defaults
    assert pod["securityContext"] == {**given["securityContext"], **seccomp}
    assert pod["imagePullSecrets"] == [{"name": "first"}, {"name": "second"}]
    assert container["resources"] == given["resources"]
    assert container["securityContext"] == {
        **given["containerSecurityContext"],
        "readOnlyRootFilesystem": True,
    }
    assert [it["name"] for it in container["volumeMounts"]] == ["tmp-volume", "spare"]
    assert [it["name"] for it in pod["volumes"]] == ["tmp-volume", "spare"]
    assert container["imagePullPolicy"] == "Always"
    assert container["livenessProbe"]["timeoutSeconds"] == 6
    assert container["livenessProbe"]["failureThreshold"] == 5
    assert container["readinessProbe"]["periodSeconds"] == 11
    assert environ_of(rendered)["LOG_COLOR"] == "no"
    assert environ_of(rendered)["NODE"] == "node-1"


def test_the_rest_of_an_old_file_comes_out_as_well(chart: Renderer) -> None:
    rendered = chart.render({"reloaderCompat": old_values()})
    given = old_values()["reloader"]

    service = rendered.one("Service")
    assert service["spec"]["ports"][0]["port"] == 9091
    assert service["spec"]["ipFamilies"] == ["IPv4"]
    assert service["metadata"]["annotations"] == {"note": "scraped"}
    account = rendered.one("ServiceAccount")
    assert account["metadata"]["name"] == rendered.pod["serviceAccountName"]
    assert account["automountServiceAccountToken"] is False
    assert account["imagePullSecrets"] == [{"name": "first"}, {"name": "second"}]
    for kind, endpoints in (
        ("ServiceMonitor", "endpoints"),
        ("PodMonitor", "podMetricsEndpoints"),
    ):
        monitor = rendered.one(kind)
        (endpoint,) = monitor["spec"][endpoints]
        assert monitor["metadata"]["namespace"] == "monitoring"
        assert monitor["metadata"]["labels"]["prometheus"] == "main"
        assert (endpoint["interval"], endpoint["scrapeTimeout"]) == ("10s", "5s")
    assert rendered.one("PodDisruptionBudget")["spec"]["maxUnavailable"] == 2
    policy = rendered.one("NetworkPolicy")["spec"]
    assert policy["ingress"][0]["from"] == given["netpol"]["from"]
    assert policy["egress"] == [{"ports": [{"port": 443}], "to": given["netpol"]["to"]}]
    autoscaler = rendered.one("VerticalPodAutoscaler")["spec"]
    assert autoscaler["updatePolicy"] == given["verticalPodAutoscaler"]["updatePolicy"]
    (policy,) = autoscaler["resourcePolicy"]["containerPolicies"]
    assert policy["containerName"] == rendered.container["name"]
    assert rendered.one("ClusterRoleBinding")["metadata"]["labels"]["kind"] == "rights"


def test_the_image_is_ours_from_the_registry_of_the_old_file(chart: Renderer) -> None:
    rendered = chart.render({"reloaderCompat": old_values(), "image": {"tag": "v9"}})

    image = "registry.corp:5000/pilothouse/pilothouse:v9"
    assert rendered.container["image"] == image
    assert image in rendered.notes


def test_probes_and_service_are_where_the_stand_in_listens(chart: Renderer) -> None:
    rendered = render(chart, service={"port": 80})
    (port,) = rendered.container["ports"]

    assert settings_of(rendered).bind_address == f":{port['containerPort']}"
    assert rendered.one("Service")["spec"]["ports"][0]["targetPort"] == port["name"]
    labels = rendered.one("Deployment")["spec"]["template"]["metadata"]["labels"]
    assert rendered.one("Service")["spec"]["selector"].items() <= labels.items()
    assert rendered.container["livenessProbe"]["httpGet"]["path"] == "/live"


WORDS: Mapping[str, Mapping[str, object]] = {
    "secrets": {"ignoreSecrets": True},
    "jobs": {"ignoreJobs": True},
    "cronjobs": {"ignoreCronJobs": True},
    "ha": {"enableHA": True},
    "csi": {"enableCSIIntegration": True},
    "here": {"watchGlobally": False},
    "there": {"watchGlobally": False, "namespaces": ["team-a", "team-b"]},
    "selector": {"namespaceSelector": "env=prod"},
}
CASES = [
    *({**WORDS[a], **WORDS[b]} for a, b in combinations(WORDS, 2)),
    *WORDS.values(),
    {"ignoreConfigMaps": True},
]


@pytest.mark.parametrize("values", CASES, ids=str)
def test_roles_are_those_that_the_code_asks_for(
    chart: Renderer, values: Mapping[str, object]
) -> None:
    rendered = render(chart, **values)

    assert granted(rendered) == needed(rendered)
    is_scoped = values.get("watchGlobally") is False
    assert ("ClusterRole" in rendered.kinds) == (not is_scoped)


@pytest.mark.parametrize("names", [["team-b", "team-a"], "team-b, team-a,"])
def test_namespaces_are_a_list_or_a_text_and_its_own_is_among_them(
    chart: Renderer, names: object
) -> None:
    rendered = render(chart, watchGlobally=False, namespaces=names)

    assert settings_of(rendered).options.namespaces == (NAMESPACE, "team-a", "team-b")
    places = {it["metadata"]["namespace"] for it in rendered.of("Role")}
    assert places == {NAMESPACE, "team-a", "team-b"}


def test_without_a_name_it_works_where_it_runs(chart: Renderer) -> None:
    rendered = render(chart, watchGlobally=False)

    assert settings_of(rendered).options.namespaces == (NAMESPACE,)


def test_namespaces_take_leave_of_the_whole_cluster(chart: Renderer) -> None:
    with pytest.raises(RenderError, match=r"set reloader\.watchGlobally=false"):
        render(chart, namespaces=["team-a"])


def test_more_replicas_than_one_take_turns(chart: Renderer) -> None:
    alone = render(chart, deployment={"replicas": 3})
    turns = render(chart, deployment={"replicas": 3}, enableHA=True)

    assert alone.one("Deployment")["spec"]["replicas"] == 1
    assert turns.one("Deployment")["spec"]["replicas"] == 3
    for rendered in (alone, turns):
        # The original asks for a leader here and does not say who stands for it.
        assert "--enable-ha=true" in rendered.container["args"]
        assert settings_of(rendered).election is not None
        assert granted(rendered) == needed(rendered)


def test_the_stand_in_has_the_time_that_it_takes_to_end(chart: Renderer) -> None:
    takes = ManagerOptions().graceful_shutdown_timeout

    assert takes is not None
    grace = render(chart).pod["terminationGracePeriodSeconds"]
    assert grace > takes.total_seconds()


def test_a_webhook_needs_no_annotation_of_ones_own(chart: Renderer) -> None:
    rendered = render(chart, webhookUrl="https://hooks.corp")

    assert settings_of(rendered).webhook_url == "https://hooks.corp"


def test_the_values_that_the_original_is_delivered_with_render(
    chart: Renderer, tmp_path: Path
) -> None:
    # As in its values.yaml: keys without a value, and false where that is not empty.
    values = tmp_path / "values.yaml"
    values.write_text(
        """
        reloaderCompat:
          kubernetes: {host: https://kubernetes.default}
          image: {name: stakater/reloader, repository: ghcr.io/stakater/reloader}
          reloader:
            legacy: {rbac: false}
            logFormat: ""
            deployment:
              hostUsers: null
              nodeSelector:
              env: {open: , secret: , field: , existing: }
              volumes: []
              pod: {annotations: {}}
            service: {}
            serviceAccount: {create: true, name: }
            rbac: {enabled: false}
            podDisruptionBudget: {enabled: false}
        """,
        encoding="utf-8",
    )
    rendered = chart.render({}, values)

    assert rendered.container["args"] == ["reloader", "--log-level=info"]
    assert rendered.pod["serviceAccountName"] == NAME
    assert not rendered.of("RoleBinding")


def test_the_line_of_the_docs_nests_an_old_file(
    chart: Renderer, tmp_path: Path
) -> None:
    page = (ROOT / "docs" / "reload.md").read_text(encoding="utf-8")
    (line,) = re.findall(r"^\{ echo reloaderCompat:;.*$", page, re.MULTILINE)
    shutil.copy(OLD, tmp_path / "values.yaml")

    subprocess.run(["/bin/sh", "-c", line], cwd=tmp_path, check=True)  # noqa: S603 - ours

    nested = (tmp_path / "pilothouse.yaml").read_text(encoding="utf-8")
    assert yaml.safe_load(nested) == {"reloaderCompat": old_values()}
    assert chart.render({}, tmp_path / "pilothouse.yaml").of("Deployment")


def test_nothing_of_the_manager_comes_with_it(chart: Renderer) -> None:
    rendered = chart.render(
        {
            "reloaderCompat": {"reloader": {}},
            "autoscaling": {"enabled": True},
            "networkPolicy": {"enabled": True},
            "serviceMonitor": {"enabled": True},
        }
    )

    assert len(rendered.of("Deployment")) == 1
    others = {"ConfigMap", "Service", "NetworkPolicy", "HorizontalPodAutoscaler"}
    assert not others & rendered.kinds


def test_a_strategy_that_is_none_is_refused(chart: Renderer) -> None:
    with pytest.raises(RenderError, match="reloadStrategy"):
        render(chart, reloadStrategy="restart")
