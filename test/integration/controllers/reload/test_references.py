"""Every way for a pod to use a source, in every kind of workload."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import pytest

from api.apps.v1 import DaemonSet, Deployment, StatefulSet
from api.argoproj.v1alpha1 import Rollout
from api.openshift.v1 import DeploymentConfig
from conformance.reloads import AUTO, IMAGE, Shop, variable, variables
from controller_runtime import GroupVersionKind, Json

KINDS = (Deployment, StatefulSet, DaemonSet, Rollout, DeploymentConfig)


class Use(NamedTuple):
    """What a container says, and what its pod says besides."""

    container: Json
    volumes: Sequence[Json] = ()


Way = Callable[[str, str], Use]
"""Kind and name of a source → how it is used."""


def value_from(kind: str, name: str) -> Use:
    key = {"cm": "configMapKeyRef", "secret": "secretKeyRef"}[kind]
    reference = {key: {"name": name, "key": "k"}}
    return Use({"env": [{"name": "V", "valueFrom": reference}]})


def env_from(kind: str, name: str) -> Use:
    ref = {"cm": "configMapRef", "secret": "secretRef"}[kind]
    return Use({"envFrom": [{ref: {"name": name}}]})


def volume(kind: str, name: str) -> Use:
    if kind == "cm":
        return _mounted({"configMap": {"name": name}})
    return _mounted({"secret": {"secretName": name}})


def projected(kind: str, name: str) -> Use:
    field = {"cm": "configMap", "secret": "secret"}[kind]
    return _mounted({"projected": {"sources": [{field: {"name": name}}]}})


def projected_beside_another(kind: str, name: str) -> Use:
    sources = {"configMap": "other", "secret": "other"}
    sources[{"cm": "configMap", "secret": "secret"}[kind]] = name
    listed = [{field: {"name": used}} for field, used in sources.items()]
    return _mounted({"projected": {"sources": listed}})


def _mounted(volume: Json) -> Use:
    mount = {"name": "v", "mountPath": "/v"}
    return Use({"volumeMounts": [mount]}, [{"name": "v", **volume}])


WAYS: Mapping[str, Way] = {
    "value-from": value_from,
    "env-from": env_from,
    "volume": volume,
    "projected": projected,
    "mixed": projected_beside_another,
}


@dataclass(frozen=True, eq=False)
class Case:
    """A source of its own, and a pod that uses it one way."""

    name: str
    source: str
    pod: Json


def cases() -> Iterator[Case]:
    for label, way in WAYS.items():
        for kind in ("cm", "secret"):
            for place in ("regular", "init"):
                name = f"{label}-{kind}-{place}"
                use = way(kind, name)
                app: Json = {"name": "app", "image": IMAGE}
                pod: Json = {"containers": [app], "volumes": list(use.volumes)}
                if place == "init":
                    init = {"name": "init", "image": IMAGE, **use.container}
                    pod["initContainers"] = [init]
                else:
                    app |= use.container
                yield Case(name, f"{kind}/{name}", pod)


@pytest.mark.parametrize(
    "gvk", [kind.gvk for kind in KINDS], ids=lambda gvk: str(gvk.kind)
)
async def test_every_way_to_use_a_source_is_seen_and_marked(
    shop: Shop, served: None, gvk: GroupVersionKind
) -> None:
    """Scenario 16: twenty workloads side by side, each with a source of its own."""
    await shop.sources("cm/other", "secret/other")
    all_of_them = list(cases())
    for case in all_of_them:
        await shop.sources(case.source)

    async with shop.manager():
        workloads = [
            await shop.workload(case.name, AUTO, gvk=gvk, pod=case.pod)
            for case in all_of_them
        ]
        pairs = list(zip(all_of_them, workloads, strict=True))
        before = {case: await w.adopted(case.source) for case, w in pairs}

        for case in all_of_them:
            await shop.change(case.source)
        after = {case: await w.reloaded(before[case]) for case, w in pairs}

    found = {case.name: variables(template) for case, template in after.items()}
    assert found == {
        case.name: {name: set[str]() for name in variables(before[case])}
        | {"app": {variable(case.source)}}
        for case in all_of_them
    }
