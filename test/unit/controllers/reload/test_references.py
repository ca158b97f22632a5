"""Which objects a pod template uses, where, and how its workload is found by them."""

from __future__ import annotations

import pytest

from api.core.v1 import PodSpec, PodTemplateSpec
from controller_runtime import Json, Meta
from controllers.reload.annotations import read_policy
from controllers.reload.options import ExtraReference, ReloadOptions
from controllers.reload.policy import Match
from controllers.reload.references import (
    Reference,
    container_for,
    index_values,
    lookup_values,
    references,
)
from controllers.reload.sources import SourceKey, SourceKind
from controllers.reload.workloads import Workload, WorkloadKey

CONFIG = Reference(SourceKind.CONFIG_MAP, "c")
SECRET = Reference(SourceKind.SECRET, "s")
PULL = ExtraReference.IMAGE_PULL_SECRETS
DRIVER = ExtraReference.CSI_NODE_PUBLISH

VOLUMES: list[Json] = [
    {"name": "c1", "configMap": {"name": "c"}},
    {"name": "c2", "configMap": {"name": "c"}},
    {"name": "s1", "secret": {"secretName": "s"}},
    {"name": "both", "projected": {"sources": [{"configMap": {"name": "c"}},
                                               {"secret": {"name": "s"}},
                                               {"serviceAccountToken": {}}]}},
    {"name": "scratch", "emptyDir": {}},
    {"name": "driver", "csi": {"nodePublishSecretRef": {"name": "s"}}},
]  # fmt: skip


def container(name: str, *mounts: str, **fields: object) -> Json:
    return {"name": name, "volumeMounts": [{"name": m} for m in mounts], **fields}


def variable(**value_from: str) -> Json:
    """A container field: one variable from `configMapKeyRef=` or `secretKeyRef=`."""
    return {"env": [{"name": "V", "valueFrom": _named(value_from)}]}


def all_of(**sources: str) -> Json:
    """A container field: every key of `configMapRef=` or `secretRef=`."""
    return {"envFrom": [_named(sources)]}


def _named(names: dict[str, str]) -> Json:
    return {field: {"name": name} for field, name in names.items()}


def pod(*containers: Json, init: tuple[Json, ...] = ()) -> PodSpec:
    return PodSpec.model_validate(
        {"containers": containers, "initContainers": init, "volumes": VOLUMES}
    )


NOTHING = container("app")


@pytest.mark.parametrize(
    ("spec", "used"),
    [
        pytest.param(pod(NOTHING), set(), id="nothing"),
        pytest.param(pod(container("app", "c1")), {CONFIG}, id="ConfigMap volume"),
        pytest.param(pod(container("app", "s1")), {SECRET}, id="Secret volume"),
        pytest.param(pod(container("app", "both")), {CONFIG, SECRET}, id="projected"),
        pytest.param(pod(container("app", "c2")), {CONFIG}, id="the second volume"),
        pytest.param(pod(container("app", "scratch")), set(), id="another volume"),
        pytest.param(
            pod(container("app", **variable(configMapKeyRef="c"))),
            {CONFIG},
            id="ConfigMap in a variable",
        ),
        pytest.param(
            pod(container("app", **variable(secretKeyRef="s"))),
            {SECRET},
            id="Secret in a variable",
        ),
        pytest.param(
            pod(container("app", **all_of(configMapRef="c"))),
            {CONFIG},
            id="ConfigMap as variables",
        ),
        pytest.param(
            pod(container("app", **all_of(secretRef="s"))),
            {SECRET},
            id="Secret as variables",
        ),
        pytest.param(
            pod(NOTHING, init=(container("i", "s1", **all_of(configMapRef="c")),)),
            {CONFIG, SECRET},
            id="in an init container",
        ),
        pytest.param(
            PodSpec.model_validate(
                {
                    "containers": [NOTHING],
                    "ephemeralContainers": [container("e", **all_of(secretRef="s"))],
                }
            ),
            set(),
            id="in an ephemeral container",
        ),
        pytest.param(
            pod(container("app", env=[{"name": "V", "value": "c"}])),
            set(),
            id="a plain variable",
        ),
    ],
)
def test_pods_use_what_they_have_in_variables_and_mounted_volumes(
    spec: PodSpec, used: set[Reference]
) -> None:
    """Scenarios 16 and 40: a volume that nobody mounts is not used."""
    assert references(spec) == used


@pytest.mark.parametrize(
    ("spec", "chosen"),
    [
        pytest.param(
            pod(NOTHING, container("b", "c1"), container("c", "c1")),
            "b",
            id="the first that mounts it",
        ),
        pytest.param(
            pod(container("a", **all_of(configMapRef="c")), container("b", "c1")),
            "b",
            id="a mount goes before a variable",
        ),
        pytest.param(
            pod(NOTHING, container("b", **variable(configMapKeyRef="c"))),
            "b",
            id="the first with a variable",
        ),
        pytest.param(
            pod(NOTHING, container("b"), init=(container("i", "c1"),)),
            "app",
            id="the first of all for a mount of an init container",
        ),
        pytest.param(
            pod(
                NOTHING,
                container("b", **all_of(configMapRef="c")),
                init=(container("i", "c1"),),
            ),
            "app",
            id="a mount of an init container goes before a variable",
        ),
        pytest.param(
            pod(
                NOTHING,
                container("b"),
                init=(container("i", **all_of(configMapRef="c")),),
            ),
            "app",
            id="the first of all for a variable of an init container",
        ),
        pytest.param(
            pod(NOTHING, container("b", "c2")), "b", id="a mount of the second volume"
        ),
        pytest.param(pod(NOTHING, container("b", "both")), "b", id="projected"),
    ],
)
def test_the_container_that_uses_a_source_takes_its_marker(
    spec: PodSpec, chosen: str
) -> None:
    assert container_for(spec, CONFIG, Match.AUTO) == chosen
    assert container_for(spec, CONFIG, Match.EXPLICIT) == chosen


PULLS = PodSpec.model_validate(
    {
        "containers": [NOTHING, container("b", "driver")],
        "volumes": VOLUMES,
        "imagePullSecrets": [{"name": "s"}],
    }
)


@pytest.mark.parametrize(
    ("spec", "extra", "chosen"),
    [
        pytest.param(PULLS, {PULL}, "app", id="to pull images: the first of all"),
        pytest.param(PULLS, {DRIVER}, "b", id="of a driver: who mounts the volume"),
        pytest.param(PULLS, {PULL, DRIVER}, "b", id="both"),
        pytest.param(PULLS, set(), None, id="nobody asks"),
        pytest.param(pod(NOTHING), {PULL, DRIVER}, None, id="not used, not mounted"),
    ],
)
def test_other_uses_of_secrets_count_when_they_are_asked_for(
    spec: PodSpec, extra: set[ExtraReference], chosen: str | None
) -> None:
    used = references(spec, extra)

    assert (SECRET in used) is (chosen is not None)
    assert container_for(spec, SECRET, Match.AUTO, extra) == chosen


def test_a_listed_source_that_is_not_used_takes_the_first_container() -> None:
    spec = pod(NOTHING, container("b", "s1"))

    assert container_for(spec, CONFIG, Match.EXPLICIT) == "app"


def test_an_unused_source_has_no_container_unless_it_is_listed() -> None:
    assert container_for(pod(NOTHING), CONFIG, Match.AUTO) is None


def test_a_pod_with_init_containers_alone_has_no_container() -> None:
    spec = pod(init=(container("i", "c1"),))

    assert container_for(spec, CONFIG, Match.AUTO) is None
    assert container_for(spec, CONFIG, Match.EXPLICIT) is None


def found_under(annotations: dict[str, str]) -> set[str]:
    workload = Workload(
        key=WorkloadKey("Deployment", "shop", "web"),
        meta=Meta(annotations=annotations),
        template=PodTemplateSpec(spec=pod(container("app", "both"))),
    )
    options = ReloadOptions(allow_cross_namespace=True)
    return set(index_values(workload, read_policy(annotations, {}, options)))


@pytest.mark.parametrize(
    ("annotations", "values"),
    [
        pytest.param({}, set(), id="no annotations"),
        pytest.param({"reloader.stakater.com/auto": "false"}, set(), id="off"),
        pytest.param(
            {"reloader.stakater.com/auto": "true"},
            {"configmap/shop/c", "secret/shop/s"},
            id="auto: what it uses",
        ),
        pytest.param(
            {"secret.reloader.stakater.com/auto": "true"},
            {"secret/shop/s"},
            id="auto of a kind: what of it it uses",
        ),
        pytest.param(
            {"reloader.stakater.com/search": "true"},
            {"configmap/shop/c", "secret/shop/s"},
            id="search: what it uses",
        ),
        pytest.param(
            {"configmap.reloader.stakater.com/reload": "a,b"},
            {"configmap/shop/a", "configmap/shop/b"},
            id="names: used or not",
        ),
        pytest.param(
            {"configmap.reloader.stakater.com/reload": "a.*,b"},
            {"configmap/shop/*", "configmap/shop/b"},
            id="a pattern: all of the namespace",
        ),
        pytest.param(
            {"configmap.reloader.stakater.com/reload": "ops/a"},
            {"configmap/ops/a"},
            id="a name of another namespace",
        ),
        pytest.param(
            {
                "reloader.stakater.com/auto": "true",
                "reloader.stakater.com/ignore": "true",
            },
            set(),
            id="ignored",
        ),
    ],
)
def test_a_workload_is_found_by_what_may_concern_it(
    annotations: dict[str, str], values: set[str]
) -> None:
    assert found_under(annotations) == values


def test_a_source_looks_under_its_name_and_under_patterns() -> None:
    key = SourceKey(SourceKind.SECRET, "shop", "s")

    assert lookup_values(key) == ("secret/shop/s", "secret/shop/*")
