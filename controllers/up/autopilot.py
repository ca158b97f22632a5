"""What the autopilot does: assets are applied, an edit is undone, a wish is granted.

The platform's kinds are there as CRDs alone, with nothing behind them: what is shown is
what the autopilot writes, and to what it comes back.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from rich.table import Table

from controller_runtime import Client, GroupVersionKind, Json, NotFoundError
from controller_runtime.patch import merge_patch
from controller_runtime.testing.eventually import eventually, eventually_gone
from controllers.up.events import event_about, told
from controllers.up.samples import FIELD_OWNER, apply_samples
from controllers.up.stage import PATIENCE, Shown, Stage

HYPER_CONVERGED = GroupVersionKind("hco.kubevirt.io", "v1", "HyperConverged")

SAMPLE = "autopilot_hyperconverged.yaml"

_HOME = "openshift-cnv"
_DOMAIN = "platform.kubevirt.io"
_OURS = "virt-platform-autopilot"
_USER = "somebody"
"""Field manager of the edit by hand."""


class Asset(NamedTuple):
    """An object that the sample makes the autopilot apply."""

    kind: GroupVersionKind
    name: str
    namespace: str = ""

    def __str__(self) -> str:
        return f"{self.kind.kind} {self.name}"


_DESCHEDULER = Asset(
    GroupVersionKind("operator.openshift.io", "v1", "KubeDescheduler"),
    "cluster",
    "openshift-kube-descheduler-operator",
)
_MACHINE_CONFIG = "machineconfiguration.openshift.io"
_LEFT_OUT = Asset(
    GroupVersionKind(_MACHINE_CONFIG, "v1", "MachineConfig"), "90-worker-swap-online"
)
"""What the sample wants to be left alone."""

_ASSETS = (
    Asset(
        GroupVersionKind(_MACHINE_CONFIG, "v1", "KubeletConfig"), "virt-perf-settings"
    ),
    _DESCHEDULER,
    Asset(
        GroupVersionKind("forklift.konveyor.io", "v1beta1", "ForkliftController"),
        "forklift-controller",
        "openshift-mtv",
    ),
)

_FIELD = "deschedulingIntervalSeconds"
_WANTED, _BY_HAND, _WISHED = 60, 1010, 120


async def show_autopilot(stage: Stage) -> Shown:
    """Let a platform be set up, edit it, and ask for something else; a `Showcase`."""
    client = stage.client
    await _start_afresh(client)
    source, *_ = await apply_samples(client, SAMPLE, _HOME)
    stage.say(f"applied config/samples/{SAMPLE}")
    applied = {asset: await _applied(client, asset) for asset in _ASSETS}
    stage.say(f"{len(applied)} assets are applied")

    await _patch(client, {"spec": {_FIELD: _BY_HAND}})
    stage.say(f"{_DESCHEDULER}: set {_FIELD} to {_BY_HAND} by hand")
    undone = await _until(client, _WANTED)
    corrected = await _event(client, source, "DriftCorrected")

    wish = [{"op": "replace", "path": f"/spec/{_FIELD}", "value": _WISHED}]
    annotations = {f"{_DOMAIN}/patch": json.dumps(wish)}
    await _patch(client, {"metadata": {"annotations": annotations}})
    stage.say(f"{_DESCHEDULER}: asked for {_WISHED} by annotation")
    granted = await _until(client, _WISHED)
    patched = await _event(client, source, "PatchApplied")

    events = {"DriftCorrected": corrected, "PatchApplied": patched}
    made = await client.list(
        _LEFT_OUT.kind, field_selector=f"metadata.name={_LEFT_OUT.name}"
    )
    is_left_out = not made.items
    table = _table(applied, undone, granted, events)
    if is_left_out:
        table.add_row(str(_LEFT_OUT), f"left out, as {_DOMAIN}/disabled-resources says")
    _, name, namespace = _DESCHEDULER
    hints = (f"kubectl -n {namespace} edit kubedescheduler {name}   # it comes back",)
    return Shown(table, tuple(_amiss(events, is_left_out=is_left_out)), hints)


async def _start_afresh(client: Client) -> None:
    """Make the namespaces, and let go of what an earlier run has left."""
    for name in {_HOME, *(asset.namespace for asset in _ASSETS if asset.namespace)}:
        head = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
        await client.apply(head, field_owner=FIELD_OWNER, force=True)
    sources = await client.list(HYPER_CONVERGED, _HOME)
    names = [each["metadata"]["name"] for each in sources.items]
    left = [Asset(HYPER_CONVERGED, name, _HOME) for name in names]
    # The source first: without it nothing is applied again.
    for kind, name, namespace in (*left, *_ASSETS, _LEFT_OUT):
        try:
            await client.delete(kind, name, namespace)
        except NotFoundError:
            continue
        await eventually_gone(client, kind, name, namespace, timeout=PATIENCE)


async def _applied(client: Client, asset: Asset) -> Json:
    def is_ours(obj: Json) -> bool:
        labels = obj["metadata"].get("labels", {})
        return bool(labels.get(f"{_DOMAIN}/managed-by") == _OURS)

    kind, name, namespace = asset
    return await eventually(client, kind, name, namespace, is_ours, timeout=PATIENCE)


async def _patch(client: Client, change: Mapping[str, object]) -> None:
    kind, name, namespace = _DESCHEDULER
    patch = merge_patch(change)
    await client.patch(kind, name, namespace, patch=patch, field_owner=_USER)


async def _until(client: Client, seconds: int) -> float:
    """Wait until the field has a value; return how long it took."""

    def is_so(obj: Json) -> bool:
        return bool(obj["spec"].get(_FIELD) == seconds)

    loop = asyncio.get_running_loop()
    began = loop.time()
    kind, name, namespace = _DESCHEDULER
    await eventually(client, kind, name, namespace, is_so, timeout=PATIENCE)
    return loop.time() - began


async def _event(client: Client, source: Json, reason: str) -> Json | None:
    metadata = source["metadata"]
    return await event_about(
        client, _HOME, metadata["name"], reason, uid=metadata["uid"], mentions="cluster"
    )


def _amiss(events: Mapping[str, Json | None], *, is_left_out: bool) -> Iterator[str]:
    if not is_left_out:
        yield f"{_LEFT_OUT} was made although it is to be left out"
    for reason, event in events.items():
        if event is None:
            yield f"no Event {reason} about {_DESCHEDULER} came"


def _table(
    applied: Mapping[Asset, Json],
    undone: float,
    granted: float,
    events: Mapping[str, Json | None],
) -> Table:
    table = Table(title="autopilot: assets applied, an edit undone, a wish granted")
    for heading in ("what", "came to"):
        table.add_column(heading, overflow="fold")
    for asset, obj in applied.items():
        managers = {entry["manager"] for entry in obj["metadata"]["managedFields"]}
        table.add_row(str(asset), f"applied by {', '.join(sorted(managers))}")
    table.add_row(
        f"{_FIELD} set to {_BY_HAND} by hand",
        f"{_WANTED} again after {undone * 1000:.0f} ms",
    )
    table.add_row(
        f"{_WISHED} asked for by {_DOMAIN}/patch",
        f"{_WISHED} after {granted * 1000:.0f} ms",
    )
    for event in events.values():
        table.add_row("Event", told(event))
    return table
