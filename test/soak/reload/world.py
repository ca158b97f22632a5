"""What a reload soak has on its server: sources, and workloads that use them.

    Source    a ConfigMap or Secret; each of its versions holds a text of its own
    Workload  of any native kind; uses one to three of them

Texts are never used twice, so that a hash on a workload names one version of a source.
"""

from __future__ import annotations

import random
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from api.apps.v1 import DaemonSet, Deployment, StatefulSet
from api.batch.v1 import CronJob, Job
from api.core.v1 import ConfigMap, Secret
from api.reload.v1alpha1 import ReloaderConfig
from controller_runtime import GroupVersionKind, Json
from controllers.reload.sources.digest import Digest, config_map_digest, secret_digest

NAMESPACE = "soak"

KINDS: Mapping[str, GroupVersionKind] = {
    model.gvk.kind: model.gvk
    for model in (
        *(Deployment, StatefulSet, DaemonSet, CronJob, Job),
        *(ConfigMap, Secret, ReloaderConfig),
    )
}

PLURALS: Mapping[str, str] = {
    "Deployment": "deployments",
    "StatefulSet": "statefulsets",
    "DaemonSet": "daemonsets",
    "CronJob": "cronjobs",
    "Job": "jobs",
}
"""Kinds of workloads, as paths have them."""

_GROUP = "reloader.stakater.com"


class Source(NamedTuple):
    """A ConfigMap or Secret."""

    kind: str
    name: str

    @property
    def recorded(self) -> str:
        """It as a workload's record names it."""
        return f"{'cm' if self.kind == 'ConfigMap' else 'secret'}/{self.name}"

    def digest(self, text: str) -> Digest:
        """Hash a version of it."""
        if self.kind == "ConfigMap":
            return config_map_digest({"text": text}, {})
        return secret_digest({"text": text.encode()})

    def body(self, text: str) -> Json:
        """Describe a version of it."""
        value = text if self.kind == "ConfigMap" else b64encode(text.encode()).decode()
        return {**_head(self.kind, self.name), "data": {"text": value}}


class Workload(NamedTuple):
    """Something with a pod template."""

    kind: str
    name: str
    sources: tuple[Source, ...]
    """What it uses."""
    annotations: tuple[tuple[str, str], ...]
    """How it asks for reloads; none where a ReloaderConfig does."""

    @property
    def place(self) -> tuple[str, str]:
        """Its kind and name."""
        return self.kind, self.name

    def body(self) -> Json:
        """Describe it."""
        labels = {"app": self.name}
        pod: Json = {
            "metadata": {"labels": labels},
            "spec": {
                "containers": [
                    {
                        "name": "app",
                        "image": "example.com/app:1",
                        "envFrom": [_use(source) for source in self.sources],
                    }
                ]
            },
        }
        made = _head(self.kind, self.name)
        made["metadata"]["annotations"] = dict(self.annotations)
        made["spec"] = _SPECS[self.kind](pod, labels)
        return made

    def config(self) -> Json:
        """Describe the ReloaderConfig that asks for its reloads."""
        names: dict[str, list[str]] = {"configMaps": [], "secrets": []}
        for source in self.sources:
            key = "configMaps" if source.kind == "ConfigMap" else "secrets"
            names[key].append(source.name)
        made = _head(ReloaderConfig.gvk.kind, self.name)
        targets = [{"kind": self.kind, "name": self.name}]
        return {**made, "spec": {"watchedResources": names, "targets": targets}}


class World(NamedTuple):
    """All of it."""

    sources: tuple[Source, ...]
    absent: frozenset[Source]
    """Those that are not there at the start."""
    workloads: tuple[Workload, ...]


def users(world: World, sources: Sequence[Source]) -> Iterator[Workload]:
    """Yield the workloads that use one of these."""
    return (it for it in world.workloads if set(sources) & set(it.sources))


def draw_world(dice: random.Random) -> World:
    """Draw sources, and workloads of every kind that use them."""
    sources = [
        *(Source("ConfigMap", f"c{n}") for n in range(8)),
        *(Source("Secret", f"s{n}") for n in range(6)),
    ]
    left = dice.sample(sources, len(sources))
    workloads = []
    turn = dice.randrange(len(_WAYS))
    for kind, count in _COUNTS.items():
        for number in range(count):
            first = left.pop() if left else dice.choice(sources)
            more = dice.sample(sources, dice.randrange(3))
            used = tuple(dict.fromkeys([first, *more]))
            ways = _MARKED_WAYS if kind == "CronJob" else _WAYS
            turn += 1
            asks = ways[turn % len(ways)](used)
            name = f"{kind.lower()}-{number}"
            workloads.append(Workload(kind, name, used, tuple(asks.items())))
    absent = frozenset(dice.sample(sources, 2))
    return World(tuple(sources), absent, tuple(workloads))


_COUNTS = {"Deployment": 6, "StatefulSet": 3, "DaemonSet": 3, "CronJob": 3, "Job": 3}


def _by_auto(_: Sequence[Source]) -> Mapping[str, str]:
    return {f"{_GROUP}/auto": "true"}


def _by_annotation(_: Sequence[Source]) -> Mapping[str, str]:
    return {f"{_GROUP}/auto": "true", f"{_GROUP}/reload-strategy": "annotations"}


def _by_name(used: Sequence[Source]) -> Mapping[str, str]:
    names: dict[str, list[str]] = {}
    for kind, name in used:
        names.setdefault(f"{kind.lower()}.{_GROUP}/reload", []).append(name)
    return {key: ",".join(found) for key, found in names.items()}


def _by_config(_: Sequence[Source]) -> Mapping[str, str]:
    return {}


_WAYS = (_by_auto, _by_annotation, _by_name, _by_config)

_MARKED_WAYS = (_by_auto, _by_name, _by_config)
"""Those by which every changed source leaves a marker: what a run of a CronJob is for
is seen from nothing else."""


def _head(kind: str, name: str) -> Json:
    return {
        "apiVersion": KINDS[kind].api_version,
        "kind": kind,
        "metadata": {"name": name, "namespace": NAMESPACE},
    }


def _use(source: Source) -> Mapping[str, object]:
    key = "configMapRef" if source.kind == "ConfigMap" else "secretRef"
    return {key: {"name": source.name, "optional": True}}


def _rolling(pod: Json, labels: Mapping[str, str]) -> Mapping[str, Any]:
    return {"selector": {"matchLabels": labels}, "template": pod}


def _once(pod: Json, _: Mapping[str, str]) -> Mapping[str, Any]:
    pod["spec"]["restartPolicy"] = "Never"
    return {"template": pod, "backoffLimit": 0}


def _scheduled(pod: Json, labels: Mapping[str, str]) -> Mapping[str, Any]:
    return {"schedule": "0 0 1 1 *", "jobTemplate": {"spec": _once(pod, labels)}}


_SPECS = {
    "Deployment": _rolling,
    "StatefulSet": _rolling,
    "DaemonSet": _rolling,
    "CronJob": _scheduled,
    "Job": _once,
}
