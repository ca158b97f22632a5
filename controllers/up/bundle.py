"""What the bundle controller does: a version is published, a Job deploys it.

kwok plays the node, so the Job's pod completes without werf having run: what is shown
is what the controller decides, from the registry's tags to the command of the Job.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import NamedTuple

from rich.table import Table

from controller_runtime import GroupVersionKind, Json
from controller_runtime.patch import merge_patch
from controller_runtime.testing.eventually import eventually
from controllers.up.bundle_samples import push_bundle
from controllers.up.conditions import conditions
from controllers.up.events import event_about, told
from controllers.up.samples import FIELD_OWNER, apply_samples
from controllers.up.stage import PATIENCE, Shown, Stage

WERF_BUNDLE = GroupVersionKind("werf.io", "v1alpha1", "WerfBundle")
JOB = GroupVersionKind("batch", "v1", "Job")

SAMPLE = "werf.io_v1alpha1_werfbundle.yaml"

_FIRST, _SECOND = "v1.0.0", "v1.1.0"
_NOW = "werf.io/reconcile-requested-at"


class Deployed(NamedTuple):
    """One version, and what deployed it."""

    tag: str
    digest: str
    job: str
    command: str
    seconds: float


async def show_bundle(stage: Stage) -> Shown:
    """Publish a version, and then a newer one; a `Showcase`."""
    # One of its own each time: the registry keeps what earlier runs have pushed.
    path = f"{stage.namespace}/bundle"
    repository = stage.repository(path)
    await push_bundle(repository, _FIRST)
    stage.say(f"pushed {path}:{_FIRST}")

    def here(document: Json) -> None:
        if document["kind"] == WERF_BUNDLE.kind:
            registry = document["spec"]["registry"]
            registry["url"] = f"{stage.registry}/{path}"
            registry["insecure"] = True
            registry.pop("secretRef", None)

    applied = await apply_samples(stage.client, SAMPLE, stage.namespace, edit=here)
    name = next(
        each["metadata"]["name"] for each in applied if each["kind"] == WERF_BUNDLE.kind
    )
    stage.say(f"applied config/samples/{SAMPLE}")
    first = await _deployed(stage, name, _FIRST)
    stage.say(f"Job {first.job} has deployed {_FIRST}")

    await push_bundle(repository, _SECOND)
    stage.say(f"pushed {path}:{_SECOND}")
    await _poll_now(stage, name)
    second = await _deployed(stage, name, _SECOND)
    bundle = await stage.client.get(WERF_BUNDLE, name, stage.namespace)
    event = await event_about(
        stage.client, stage.namespace, name, "Synced", mentions=_SECOND
    )
    hints = (
        f"kubectl -n {stage.namespace} get werfbundles,jobs",
        f"kubectl -n {stage.namespace} edit werfbundle {name}   # a Job applies it",
    )
    table = _table(first, second, bundle, event)
    return Shown(table, tuple(_amiss(first, second, event)), hints)


async def _poll_now(stage: Stage, name: str) -> None:
    """Do not wait for the interval, as `kubectl annotate` would."""
    annotations = {"metadata": {"annotations": {_NOW: "now"}}}
    await stage.client.patch(
        WERF_BUNDLE,
        name,
        stage.namespace,
        patch=merge_patch(annotations),
        field_owner=FIELD_OWNER,
    )


async def _deployed(stage: Stage, name: str, tag: str) -> Deployed:
    """Wait until a version is deployed, and look at the Job that did it."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    bundle = await eventually(
        stage.client,
        WERF_BUNDLE,
        name,
        stage.namespace,
        _has_applied(tag),
        timeout=PATIENCE,
    )
    seconds = loop.time() - began
    status = bundle["status"]
    entry = status["versionHistory"][0]
    where = status.get("resolvedTargetNamespace") or stage.namespace
    job = await stage.client.get(JOB, entry["jobName"], where)
    container = job["spec"]["template"]["spec"]["containers"][0]
    words = [*container.get("command", ()), *container.get("args", ())]
    return Deployed(tag, entry["digest"], entry["jobName"], " ".join(words), seconds)


def _has_applied(tag: str) -> Callable[[Json], bool]:
    def has_applied(bundle: Json) -> bool:
        status = bundle.get("status", {})
        at = (status.get("phase"), status.get("lastAppliedTag"))
        return at == ("Synced", tag)

    return has_applied


def _amiss(first: Deployed, second: Deployed, event: Json | None) -> Iterator[str]:
    for each in (first, second):
        if f"{each.tag}@{each.digest}" not in each.command:
            yield f"Job {each.job} does not pin {each.tag} to its digest"
    if first.job == second.job:
        yield f"both versions have the Job {first.job}"
    if event is None:
        yield f"no Event Synced about {second.tag} came"


def _table(
    first: Deployed, second: Deployed, bundle: Json, event: Json | None
) -> Table:
    table = Table(title="bundle: a version was published, a Job deployed it")
    for heading in ("", _FIRST, _SECOND):
        table.add_column(heading, overflow="fold")
    table.add_row("digest", first.digest, second.digest)
    table.add_row("Job", first.job, second.job)
    table.add_row("command", first.command, second.command)
    table.add_row("deployed after", f"{first.seconds:.1f} s", f"{second.seconds:.1f} s")
    table.add_row("conditions", "", conditions(bundle))
    table.add_row("Event", "", told(event))
    return table
