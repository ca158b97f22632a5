"""What can be set about the release controller."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseOptions:
    """How the release controller behaves."""

    namespaces: tuple[str, ...] = ()
    """Only ManagedRoosts of these namespaces; empty for all."""

    workers: int = 10
    """ManagedRoosts that are looked at at once. Most wait for somebody else."""

    helm_workers: int = 4
    """Helm operations at once, each in a process of its own (67 MB)."""

    default_service_account: str = ""
    """Account that releases are made as whose object names none; empty for the
    manager's own."""

    allow_cross_namespace_refs: bool = False
    """Let values and credentials come from other namespaces than the object's."""

    allow_cross_namespace_target: bool = False
    """Let objects without an account of their own install in other namespaces."""

    allow_plain_http: bool = False
    """Let registries outside of the cluster be spoken to without TLS."""

    registry_config: Path | None = None
    """File like Docker's `config.json`, for sources that bring no login."""

    cache: Path | None = None
    """Folder of charts and indexes; by default among the system's temporary files."""

    cache_bytes: int = 1 << 30
    """Of charts, and as much again of indexes."""

    requeue_dependency: timedelta = timedelta(seconds=30)
    """Time between two looks at a dependency that is not ready."""

    debounce: timedelta = timedelta(seconds=2)
    """Time from a change of a ConfigMap or Secret to the upgrade that it leads to:
    several changes in it lead to one."""

    leads: bool = False
    """Only the holder of a Lease runs this. A release that another replica left
    pending can then be unlocked at once."""
