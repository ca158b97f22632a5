"""`config/`: what kustomize reads, and `make install` and `make deploy` apply."""

from __future__ import annotations

import re
from functools import cache

import pytest
import yaml

from controller_runtime import Json, Roles
from controllers.rbac import RoleOptions, manifest
from controllers.settings import Settings, load, version
from rendering import ROOT, Renderer
from rendering.kustomize import build

CONFIG = ROOT / "config"
FOLDERS = sorted(path.parent for path in CONFIG.glob("*/kustomization.yaml"))
NAMESPACE = "pilothouse-system"


@cache
def everything() -> list[Json]:
    return build(CONFIG / "default")


def of(kind: str) -> list[Json]:
    return [it for it in everything() if it["kind"] == kind]


def one(kind: str) -> Json:
    (found,) = of(kind)
    return found


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda it: it.name)
def test_every_file_that_is_named_has_objects(folder: object) -> None:
    for obj in build(CONFIG / str(folder)):
        assert {"apiVersion", "kind", "metadata"} <= obj.keys()
        assert obj["metadata"].get("namespace", NAMESPACE) == NAMESPACE


def test_every_crd_is_installed() -> None:
    bases = {path.name for path in (CONFIG / "crd" / "bases").glob("*.yaml")}
    named = (CONFIG / "crd" / "kustomization.yaml").read_text(encoding="utf-8")

    resources = yaml.safe_load(named)["resources"]
    assert {it.removeprefix("bases/") for it in resources} == bases
    assert len(of("CustomResourceDefinition")) == len(bases)


def test_the_account_of_the_manager_has_what_it_asks_for() -> None:
    pod = one("Deployment")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    verb, *arguments = container["args"]
    flags = {it.removeprefix("--").replace("-", "_"): True for it in arguments}
    settings = load({**flags, "leader_election_namespace": NAMESPACE}, {}, None)

    assert (verb, settings.leader_elect) == ("run", True)
    roles = [*of("ClusterRole"), *of("Role")]
    given = Roles.read("pilothouse", roles).grants
    text = manifest(settings, RoleOptions()).text
    written = Roles.read("pilothouse", yaml.safe_load_all(text)).grants
    assert given == written
    for binding in (one("ClusterRoleBinding"), one("RoleBinding")):
        role = binding["roleRef"]
        assert (role["kind"], role["name"]) in {
            (it["kind"], it["metadata"]["name"]) for it in roles
        }
        (subject,) = binding["subjects"]
        assert subject["name"] == pod["serviceAccountName"]
        assert subject["name"] == one("ServiceAccount")["metadata"]["name"]


def test_it_is_what_the_chart_installs(chart: Renderer) -> None:
    pod = one("Deployment")["spec"]["template"]["spec"]
    of_chart = chart.render().pod
    (container,), (of_theirs,) = pod["containers"], of_chart["containers"]

    for field in ("securityContext", "terminationGracePeriodSeconds"):
        assert pod[field] == of_chart[field]
    for field in (
        *("image", "ports", "livenessProbe", "readinessProbe"),
        *("resources", "securityContext"),
    ):
        assert container[field] == of_theirs[field], field


def test_metrics_are_where_prometheus_looks_for_them() -> None:
    labels = one("Deployment")["spec"]["template"]["metadata"]["labels"]
    service = one("Service")
    monitor, *rules = build(CONFIG / "prometheus")
    (policy,) = build(CONFIG / "network-policy")

    assert service["spec"]["selector"].items() <= labels.items()
    assert Settings().metrics_bind_address == f":{service['spec']['ports'][0]['port']}"
    selector = monitor["spec"]["selector"]["matchLabels"]
    assert selector.items() <= service["metadata"]["labels"].items()
    (endpoint,) = monitor["spec"]["endpoints"]
    assert endpoint["port"] == service["spec"]["ports"][0]["name"]
    assert {it["kind"] for it in rules} == {"PrometheusRule"}
    assert policy["spec"]["podSelector"]["matchLabels"].items() <= labels.items()


def test_make_deploy_finds_the_image_to_replace() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    (pattern,) = re.findall(r"sed 's\|(\S*) (\S*)\|image: \$\(IMG\)\|'", makefile)
    (container,) = one("Deployment")["spec"]["template"]["spec"]["containers"]

    image = f"image: {container['image']}"
    assert re.fullmatch(" ".join(pattern), image)
    assert image.endswith(f":v{version()}")
