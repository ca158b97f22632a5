"""What the reload controller does, shown on two samples at once.

    shop     asks for reloads by an annotation
    orders   a ReloaderConfig asks for them, and counts them in its status

The password in the Secret of each changes; the pods that use it are replaced. The table
names what anybody can check with kubectl: the pods before and after, the marker in the
pod template, the Event, and what the ReloaderConfig says.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Iterable, Iterator
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

CONFIG = GroupVersionKind("reloader.stakater.com", "v1alpha1", "ReloaderConfig")

_RECORD = "reloader.stakater.com/applied-hashes"
_MARKER_PREFIX = "STAKATER_"


class Sample(NamedTuple):
    """A Deployment and its Secret."""

    file: str
    """In `config/samples`."""

    workload: str
    asked_by: str
    """What asks for its reloads, in a word or two."""

    is_configured: bool = False
    """There is a ReloaderConfig of the same name."""

    @property
    def secret(self) -> str:
        """The Secret that changes."""
        return f"{self.workload}-database"


SAMPLES = (
    Sample("reload_annotations.yaml", "shop", "an annotation"),
    Sample("reload_reloaderconfig.yaml", "orders", "a ReloaderConfig", True),
)


class Seen(NamedTuple):
    """What of a sample a user would look at."""

    pods: frozenset[str]
    markers: dict[str, str]
    generation: int


class Change(NamedTuple):
    """What a changed Secret came to."""

    sample: Sample
    before: Seen
    after: Seen
    noticed: float
    """Seconds from the change until the template was patched."""

    rolled: float
    """Seconds from the change until all pods were new."""

    event: Json | None
    """About the Deployment."""

    said: str = ""
    """What the ReloaderConfig says, if there is one."""


async def show_reload(stage: Stage) -> Shown:
    """Change both Secrets and show the restarts; a `Showcase`."""
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(_changed(stage, one)) for one in SAMPLES]
    changes = [task.result() for task in running]
    amiss = tuple(why for change in changes for why in _amiss(change))
    kubectl = f"kubectl -n {stage.namespace}"
    hints = (
        f"{kubectl} get rlc,deployments,pods,events",
        f"{kubectl} edit configmap shop-settings   # the shop restarts",
    )
    return Shown(_table(changes), amiss, hints)


async def _changed(stage: Stage, sample: Sample) -> Change:
    client, namespace, name = stage.client, stage.namespace, sample.workload
    await apply_samples(client, sample.file, namespace)
    stage.say(f"applied config/samples/{sample.file}")
    await _until(client, namespace, name, is_rolled_out)
    await _until(client, namespace, name, _is_adopted)
    before = await _see(client, namespace, name)
    stage.say(f"Deployment {name} is rolled out: {len(before.pods)} pods Ready")

    loop = asyncio.get_running_loop()
    await _change(client, namespace, sample.secret)
    changed_at = loop.time()
    stage.say(f"changed Secret {sample.secret}")
    await _until(client, namespace, name, _is_newer_than(before.generation))
    noticed = loop.time() - changed_at
    await _until(client, namespace, name, is_rolled_out)
    rolled = loop.time() - changed_at

    after = await _see(client, namespace, name)
    event = await event_about(client, namespace, name, "Reloaded")
    said = ""
    if sample.is_configured:
        said = await _said(client, namespace, name)
    return Change(sample, before, after, noticed, rolled, event, said)


async def _said(client: Client, namespace: str, name: str) -> str:
    """Wait for what a ReloaderConfig says in the end."""
    config = await eventually(
        client, CONFIG, name, namespace, _is_counted, timeout=PATIENCE
    )
    status = config["status"]
    return "\n".join(
        (
            f"reloadCount {status['reloadCount']}",
            *(f"{c['type']}={c['status']} {c['reason']}" for c in status["conditions"]),
        )
    )


def _is_counted(config: Json) -> bool:
    status = config.get("status", {})
    said = {c["type"]: c["status"] for c in status.get("conditions", ())}
    is_well = said == {"Available": "True", "Progressing": "False", "Degraded": "False"}
    return bool(status.get("reloadCount") == 1 and is_well)


async def _until(
    client: Client, namespace: str, name: str, condition: Callable[[Json], bool]
) -> None:
    await eventually(client, DEPLOYMENT, name, namespace, condition, timeout=PATIENCE)


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


async def _see(client: Client, namespace: str, name: str) -> Seen:
    deployment = await client.get(DEPLOYMENT, name, namespace)
    pods = await client.list(POD, namespace, label_selector=f"app={name}")
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


async def _change(client: Client, namespace: str, secret: str) -> None:
    password = {"stringData": {"password": secrets.token_urlsafe(12)}}
    await client.patch(
        SECRET,
        secret,
        namespace,
        patch=merge_patch(password),
        field_owner=FIELD_OWNER,
    )


def _amiss(change: Change) -> Iterator[str]:
    before, after, name = change.before, change.after, change.sample.workload
    if not after.pods.isdisjoint(before.pods):
        yield f"pods were not replaced: {', '.join(sorted(after.pods & before.pods))}"
    if len(after.pods) != len(before.pods):
        yield f"{name} has {len(after.pods)} pods instead of {len(before.pods)}"
    if after.markers == before.markers:
        yield f"the pod template of {name} has no new marker"
    if change.event is None:
        yield f"no Event Reloaded about Deployment {name} came"


def _table(changes: Iterable[Change]) -> Table:
    table = Table(title="reload: Secrets changed, the pods that use them restarted")
    for heading in ("", "before", "after"):
        table.add_column(heading, overflow="fold")
    for change in changes:
        _add(table, change)
    return table


def _add(table: Table, change: Change) -> None:
    sample, before, after = change.sample, change.before, change.after
    table.add_section()
    table.add_row(f"{sample.workload}, by", "", sample.asked_by)
    table.add_row("pods", "\n".join(sorted(before.pods)), "\n".join(sorted(after.pods)))
    table.add_row("marker", _lines(before.markers), _lines(after.markers))
    table.add_row("generation", str(before.generation), str(after.generation))
    table.add_row(
        "template patched", "", f"{change.noticed * 1000:.0f} ms after the change"
    )
    table.add_row("all pods new", "", f"{change.rolled:.1f} s after the change")
    event = change.event
    note = "none came" if event is None else f"{event['reason']}: {event['note']}"
    table.add_row("Event", "", note)
    if change.said:
        table.add_row("ReloaderConfig", "", change.said)


def _lines(markers: dict[str, str]) -> str:
    return "\n".join(f"{name}={value}" for name, value in markers.items()) or "none"
