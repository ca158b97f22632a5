"""How a cluster is laid out: roles of Nodes, and what OpenShift says (pure).

    Nodes           masterCount workerCount totalNodeCount isCompact
    Infrastructure  controlPlaneTopology isHCP cloudProvider isAWS isAzure isGCP …
    Scheduler       hasSchedulableMasters

The three are read apart, and each can be missing: what comes from it is unknown then,
and the rest is not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from controllers.autopilot.facts import Fact, NodeView

_ROLE = "node-role.kubernetes.io/"
_MASTERS = (f"{_ROLE}control-plane", f"{_ROLE}master")
_WORKER = f"{_ROLE}worker"

_PROVIDERS: Mapping[str, str] = {
    "isAWS": "AWS",
    "isAzure": "Azure",
    "isGCP": "GCP",
    "isBareMetal": "BareMetal",
    "isVSphere": "VSphere",
    "isOpenStack": "OpenStack",
}
"""Field → `status.platformStatus.type` of the Infrastructure."""

YES_OR_NO = frozenset({"isHCP", "isCompact", "hasSchedulableMasters", *_PROVIDERS})
"""Fields that a condition can ask for."""

UNKNOWN = Fact(None)


def topology_facts(
    nodes: Iterable[NodeView] | None,
    infrastructure: Mapping[str, Any] | None,
    scheduler: Mapping[str, Any] | None,
) -> Mapping[str, Fact]:
    """Tell how the cluster is laid out.

    Args:
        nodes: Those that are there now.
        infrastructure: `cluster` of `infrastructures.config.openshift.io`.
        scheduler: `cluster` of `schedulers.config.openshift.io`.

    `None` for what could not be read, for whatever reason: its facts are unknown.
    """
    return {
        **_of_nodes(None if nodes is None else list(nodes)),
        **_of_infrastructure(infrastructure),
        "hasSchedulableMasters": _of_scheduler(scheduler),
    }


def _of_nodes(nodes: list[NodeView] | None) -> dict[str, Fact]:
    if nodes is None:
        names = ("masterCount", "workerCount", "totalNodeCount", "isCompact")
        return dict.fromkeys(names, UNKNOWN)
    masters = {n.name for n in nodes if any(role in n.labels for role in _MASTERS)}
    workers = {n.name for n in nodes if _WORKER in n.labels}
    dedicated = workers - masters
    compact = bool(masters) and masters == workers
    because = (f"{len(nodes)} nodes",)
    return {
        "masterCount": Fact(len(masters), because),
        "workerCount": Fact(len(dedicated), because),
        "totalNodeCount": Fact(len(nodes), because),
        "isCompact": Fact(compact, because),
    }


def _of_infrastructure(infrastructure: Mapping[str, Any] | None) -> dict[str, Fact]:
    names = ("controlPlaneTopology", "isHCP", "cloudProvider", *_PROVIDERS)
    if infrastructure is None:
        return dict.fromkeys(names, UNKNOWN)
    status = infrastructure.get("status") or {}
    topology = status.get("controlPlaneTopology") or ""
    provider = (status.get("platformStatus") or {}).get("type") or ""
    layout = (f"Infrastructure cluster: controlPlaneTopology {topology or 'unset'}",)
    place = (f"Infrastructure cluster: platform {provider or 'unset'}",)
    return {
        "controlPlaneTopology": Fact(topology, layout),
        "isHCP": Fact(topology == "External", layout),
        "cloudProvider": Fact(provider, place),
        **{name: Fact(provider == it, place) for name, it in _PROVIDERS.items()},
    }


def _of_scheduler(scheduler: Mapping[str, Any] | None) -> Fact:
    if scheduler is None:
        return UNKNOWN
    schedulable = (scheduler.get("spec") or {}).get("mastersSchedulable") is True
    said = str(schedulable).lower()
    return Fact(schedulable, (f"Scheduler cluster: mastersSchedulable {said}",))
