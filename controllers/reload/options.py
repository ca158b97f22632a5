"""What can be set about the reload controller."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta

_GROUP = "reloader.stakater.com"


@dataclass(frozen=True, slots=True, kw_only=True)
class AnnotationKeys:
    """Names of the annotations that users write; each can be changed by a flag."""

    auto: str = f"{_GROUP}/auto"
    """Workload: reload for any object that the pods use."""

    configmap_auto: str = f"configmap.{_GROUP}/auto"
    """Workload: the same, for ConfigMaps alone."""

    secret_auto: str = f"secret.{_GROUP}/auto"
    """Workload: the same, for Secrets alone."""

    configmap_reload: str = f"configmap.{_GROUP}/reload"
    """Workload: ConfigMaps to reload for, whether the pods use them or not."""

    secret_reload: str = f"secret.{_GROUP}/reload"
    """Workload: Secrets to reload for, whether the pods use them or not."""

    configmap_exclude: str = f"configmaps.exclude.{_GROUP}/reload"
    """Workload: ConfigMaps never to reload for. The plural is the original's."""

    secret_exclude: str = f"secrets.exclude.{_GROUP}/reload"
    """Workload: Secrets never to reload for. The plural is the original's."""

    search: str = f"{_GROUP}/search"
    """Workload: reload for used objects that carry `match`."""

    match: str = f"{_GROUP}/match"
    """ConfigMap or Secret: what `search` looks for."""

    ignore: str = f"{_GROUP}/ignore"
    """Workload, ConfigMap or Secret: leave it alone, whatever else is said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReloadOptions:
    """How the reload controller behaves."""

    keys: AnnotationKeys = field(default_factory=AnnotationKeys)
    """Annotations that it obeys."""

    auto_reload_all: bool = False
    """Treat a workload that says nothing about `auto` as if it said `true`."""

    namespaces: tuple[str, ...] = ()
    """Only workloads and sources of these namespaces; empty for all."""

    workers: int = 10
    """Workloads that are looked at at once; each waits for one request at most."""

    resync: timedelta = timedelta(minutes=10)
    """Look at every workload again after this long, events or not: a net that should
    catch nothing."""
