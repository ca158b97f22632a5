"""What the reload controller does, shown on the sample shop.

The password in a Secret changes; the pods that mount it are replaced. The table
names what anybody can check with kubectl: the pods before and after, the marker
in the pod template, the Event.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Iterator
from typing import NamedTuple

from rich.table import Table

from controller_runtime import (
    Client,
    GroupVersionKind,
    Json,
)
from controller_runtime.patch import merge_patch
from controller_runtime.testing.eventually import eventually
from controllers.up.events import event_about
from controllers.up.samples import FIELD_OWNER, apply_samples
from controllers.up.stage import PATIENCE, Shown, Stage

DEPLOYMENT = GroupVersionKind("apps", "v1", "Deployment")
SECRET = GroupVersionKind("", "v1", "Secret")
POD = GroupVersionKind("", "v1", "Pod")

_WORKLOAD = "shop"
_CHANGED = "shop-database"
_RECORD = "reloader.stakater.com/applied-hashes"
_MARKER_PREFIX = "STAKATER_"


class Seen(NamedTuple):
    """What of the shop a user would look at."""

    pods: frozenset[str]
    markers: dict[str, str]
    generation: int


async def show_reload(stage: Stage) -> Shown:
    """Change the Secret and show the restart; a `Showcase`."""
    client, namespace = stage.client, stage.namespace
    await apply_samples(client, "reload_annotations.yaml", namespace)
    stage.say("applied config/samples/reload_annotations.yaml")
    await _until(client, namespace, is_rolled_out)
    await _until(client, namespace, _is_adopted)
    before = await _see(client, namespace)
    stage.say(f"Deployment {_WORKLOAD} is rolled out: {len(before.pods)} pods Ready")

    loop = asyncio.get_running_loop()
    await _change(client, namespace)
    changed_at = loop.time()
    stage.say(f"changed Secret {_CHANGED}")
    await _until(client, namespace, _is_newer_than(before.generation))
    noticed_after = loop.time() - changed_at
    await _until(client, namespace, is_rolled_out)
    rolled_after = loop.time() - changed_at

    after = await _see(client, namespace)
    event = await event_about(client, namespace, _WORKLOAD, "Reloaded")
    table = _table(before, after, event, noticed_after, rolled_after)
    hints = (
        f"kubectl -n {namespace} get deployments,pods,events",
        f"kubectl -n {namespace} edit configmap shop-settings   # the shop restarts",
    )
    return Shown(table, tuple(_amiss(before, after, event)), hints)


async def _until(
    client: Client, namespace: str, condition: Callable[[Json], bool]
) -> None:
    await eventually(
        client, DEPLOYMENT, _WORKLOAD, namespace, condition, timeout=PATIENCE
    )


def is_rolled_out(deployment: Json) -> bool:
    """Tell what `kubectl rollout status` waits for."""
    wanted = deployment["spec"]["replicas"]
    status = deployment.get("status", {})
    counts = (status.get(f"{n}eplicas") for n in ("r", "updatedR", "availableR"))
    seen = status.get("observedGeneration", 0) >= deployment["metadata"]["generation"]
    return seen and all(count == wanted for count in counts)


def _is_adopted(deployment: Json) -> bool:
    return _RECORD in deployment["metadata"].get("annotations", {})


def _is_newer_than(generation: int) -> Callable[[Json], bool]:
    def is_newer(deployment: Json) -> bool:
        return bool(deployment["metadata"]["generation"] > generation)

    return is_newer


async def _see(client: Client, namespace: str) -> Seen:
    deployment = await client.get(DEPLOYMENT, _WORKLOAD, namespace)
    pods = await client.list(POD, namespace, label_selector=f"app={_WORKLOAD}")
    living = (p for p in pods.items if "deletionTimestamp" not in p["metadata"])
    containers = deployment["spec"]["template"]["spec"]["containers"]
    return Seen(
        frozenset(pod["metadata"]["name"] for pod in living),
        {
            env["name"]: env["value"]
            for container in containers
            for env in container.get("env", [])
            if env["name"].startswith(_MARKER_PREFIX)
        },
        deployment["metadata"]["generation"],
    )


async def _change(client: Client, namespace: str) -> None:
    password = {"stringData": {"password": secrets.token_urlsafe(12)}}
    await client.patch(
        SECRET,
        _CHANGED,
        namespace,
        patch=merge_patch(password),
        field_owner=FIELD_OWNER,
    )


def _amiss(before: Seen, after: Seen, event: Json | None) -> Iterator[str]:
    if not after.pods.isdisjoint(before.pods):
        yield f"pods were not replaced: {', '.join(sorted(after.pods & before.pods))}"
    if len(after.pods) != len(before.pods):
        yield f"there are {len(after.pods)} pods instead of {len(before.pods)}"
    if after.markers == before.markers:
        yield "the pod template has no new marker"
    if event is None:
        yield f"no Event Reloaded about Deployment {_WORKLOAD} came"


def _table(
    before: Seen, after: Seen, event: Json | None, noticed: float, rolled: float
) -> Table:
    table = Table(title="reload: a Secret changed, the pods that use it restarted")
    for heading in ("", "before", "after"):
        table.add_column(heading, overflow="fold")
    table.add_row("pods", "\n".join(sorted(before.pods)), "\n".join(sorted(after.pods)))
    table.add_row("marker", _lines(before.markers), _lines(after.markers))
    table.add_row("generation", str(before.generation), str(after.generation))
    table.add_row("template patched", "", f"{noticed * 1000:.0f} ms after the change")
    table.add_row("all pods new", "", f"{rolled:.1f} s after the change")
    note = "none came" if event is None else f"{event['reason']}: {event['note']}"
    table.add_row("Event", "", note)
    return table


def _lines(markers: dict[str, str]) -> str:
    return "\n".join(f"{name}={value}" for name, value in markers.items()) or "none"
