"""What the release controller does: a chart is installed, and upgraded when it changes.

Helm is real, and so are the objects that it makes; kwok plays the node, so that pods
become Ready without being run.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import NamedTuple

from rich.table import Table

from controller_runtime import GroupVersionKind, Json
from controller_runtime.patch import merge_patch
from controller_runtime.testing.eventually import eventually
from controllers.up.charts import Chart, push_chart
from controllers.up.conditions import conditions
from controllers.up.events import event_about, told
from controllers.up.reload import DEPLOYMENT, is_rolled_out
from controllers.up.samples import FIELD_OWNER, apply_samples
from controllers.up.stage import PATIENCE, Shown, Stage

MANAGED_ROOST = GroupVersionKind("roost.birb.party", "v1alpha1", "ManagedRoost")

SAMPLE = "roost_v1alpha1_managedroost.yaml"

_DEPLOYMENT = """\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ .Release.Name }}
spec:
  replicas: {{ .Values.replicas }}
  selector:
    matchLabels: {app: {{ .Release.Name }}}
  template:
    metadata:
      labels: {app: {{ .Release.Name }}}
      annotations: {greeting: {{ .Values.greeting | quote }}}
    spec:
      containers:
        - {name: web, image: "registry.k8s.io/pause:3.10"}
"""


# What the sample asks for.
_CHART = Chart(
    name="shop",
    version="1.0.0",
    values={"replicas": 1, "greeting": "Hello"},
    files={"templates/deployment.yaml": _DEPLOYMENT},
)


class Revision(NamedTuple):
    """One revision of the release, and what it made of the Deployment."""

    number: int
    status: str
    chart: str
    replicas: int
    ready: int
    seconds: float


async def show_release(stage: Stage) -> Shown:
    """Install a chart, and change a value of it; a `Showcase`."""
    client, namespace = stage.client, stage.namespace
    folder = f"{namespace}/charts"
    await push_chart(stage.repository(f"{folder}/{_CHART.name}"), _CHART)
    stage.say(f"pushed {folder}/{_CHART.name}:{_CHART.version}")

    def here(document: Json) -> None:
        if document["kind"] == MANAGED_ROOST.kind:
            url = f"oci://{stage.registry}/{folder}"
            repository = {"url": url, "plainHTTP": True}
            document["spec"]["chart"]["repository"] = repository

    applied = await apply_samples(client, SAMPLE, namespace, edit=here)
    name = next(
        each["metadata"]["name"]
        for each in applied
        if each["kind"] == MANAGED_ROOST.kind
    )
    stage.say(f"applied config/samples/{SAMPLE}")
    first = await _revision(stage, name, 1)
    stage.say(f"revision 1 is {first.status}, with {first.replicas} replicas")
    await _ask_for(stage, name, first.replicas + 1)
    stage.say(f"asked for {first.replicas + 1} replicas")
    second = await _revision(stage, name, 2)
    roost = await client.get(MANAGED_ROOST, name, namespace)
    event = await event_about(client, namespace, name, "ReleaseUpgraded")
    table = _table(first, second, roost, event)
    hints = (
        f"kubectl -n {namespace} edit managedroost {name}   # the release follows",
        f"kubectl -n {namespace} delete managedroost {name}   # and is uninstalled",
    )
    return Shown(table, tuple(_amiss(first, second, event)), hints)


async def _ask_for(stage: Stage, name: str, replicas: int) -> None:
    values = {"inline": f"replicas: {replicas}\n"}
    await stage.client.patch(
        MANAGED_ROOST,
        name,
        stage.namespace,
        patch=merge_patch({"spec": {"chart": {"values": values}}}),
        field_owner=FIELD_OWNER,
    )


async def _revision(stage: Stage, name: str, number: int) -> Revision:
    """Wait until a revision is deployed and its pods are Ready, and look at it."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    where = stage.namespace
    roost = await eventually(
        stage.client, MANAGED_ROOST, name, where, _is_ready(number), timeout=PATIENCE
    )
    release = roost["status"]["helmRelease"]
    deployment = await eventually(
        stage.client,
        DEPLOYMENT,
        release["name"],
        where,
        is_rolled_out,
        timeout=PATIENCE,
    )
    return Revision(
        release["revision"],
        release["status"],
        f"{release['chartName']} {release['chartVersion']}",
        deployment["spec"]["replicas"],
        deployment["status"].get("readyReplicas", 0),
        loop.time() - began,
    )


def _is_ready(number: int) -> Callable[[Json], bool]:
    def is_ready(roost: Json) -> bool:
        status = roost.get("status", {})
        ready = any(
            condition["type"] == "Ready" and condition["status"] == "True"
            for condition in status.get("conditions", ())
        )
        return ready and status.get("helmRelease", {}).get("revision") == number

    return is_ready


def _amiss(first: Revision, second: Revision, event: Json | None) -> Iterator[str]:
    for each in (first, second):
        if each.status != "deployed":
            yield f"revision {each.number} is {each.status}"
    if second.replicas != first.replicas + 1:
        yield f"there are {second.replicas} replicas after the upgrade"
    if event is None:
        yield "no Event ReleaseUpgraded came"


def _table(first: Revision, second: Revision, roost: Json, event: Json | None) -> Table:
    table = Table(title="release: a chart was installed, and upgraded for a value")
    for heading in ("", "installed", "upgraded"):
        table.add_column(heading, overflow="fold")
    for label, value in (
        ("revision", lambda it: f"{it.number} {it.status}"),
        ("chart", lambda it: it.chart),
        ("replicas", lambda it: f"{it.replicas}, {it.ready} Ready"),
        ("deployed after", lambda it: f"{it.seconds:.1f} s"),
    ):
        table.add_row(label, value(first), value(second))
    table.add_row("conditions", "", conditions(roost))
    table.add_row("Event", "", told(event))
    return table
