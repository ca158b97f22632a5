"""Jobs between their end and their new start, written down where a crash leaves them.

    note ─▶ delete ─▶ create ─▶ strike out

A Job's template cannot change, so it is deleted and created again, and a process that
is killed in between would lose it. What is owed is therefore noted first, in the
namespace of the Job, and listed by whoever begins to act:

    killed after   there is                 what the next one does
    note           the Job as it was        strikes out: the look decides anew
    delete         no Job, or its end       creates it, tells of it, strikes out
    create         a Job of another uid     strikes out

Two processes may be at one Job: who is cut off learns late that another leads, and what
a dead one has asked for may arrive after it. So each writes notes of its own, and
strikes out none but these and what it has taken over. What has become of a Job is
believed from the server alone. One that is as it was is given another version before
its note goes: a deletion names the version that it is for, so one that is still on its
way is refused. And notes are listed again, until nobody from before can write one.

A note is a ControllerRevision: a kind that every server has, made to keep the document
of one version of a workload, and that whoever may view Jobs may view. A ConfigMap
would be a source to ourselves and to others, an annotation needs an object that stays,
and an owner would take the note away together with the Job.

Whoever may write ControllerRevisions in a namespace could write a note, too. What it
says is believed of Jobs in that namespace alone: the right to make pods there is what
ControllerRevisions give by way of a StatefulSet, and a note gives no more.

Without the right to write notes Jobs reload as the original's do, from memory alone,
and a warning says so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from enum import StrEnum
from hashlib import sha256
from typing import NamedTuple

import msgspec
import structlog

from api.apps.v1 import ControllerRevision
from api.batch.v1 import Job
from api.core.v1 import PodTemplateSpec
from controller_runtime import (
    TRANSPORT_ERRORS,
    ApiError,
    Client,
    ControllerRuntimeError,
    ForbiddenError,
    Json,
    Meta,
    NotFoundError,
    merge_patch,
)
from controllers.reload.plan import Plan
from controllers.reload.workloads import Workload, WorkloadKey
from controllers.reload.writing.patches import FIELD_MANAGER

log = structlog.get_logger(__name__)

LABEL = "reloader.stakater.com/owed"
"""Of a note; says of which kind it is."""

AGAIN = 5.0
"""Seconds until notes are asked for again, when the server has not answered."""

KEPT = "reloader.stakater.com/kept"
"""Annotation of a Job: the version that was found when it might have been deleted."""

_NAME_MAX = 240
"""Characters of a Job's name that fit before a dash and ten digits."""

TROUBLE: tuple[type[Exception], ...] = (ControllerRuntimeError, *TRANSPORT_ERRORS)
"""What asking the server may raise."""


class Owed(NamedTuple):
    """A Job that was deleted, or is about to be, and is to be created again."""

    workload: Workload
    """What it was."""

    plan: Plan
    """Why it is started anew; nothing if an older note does not say."""

    document: Json
    """What is to be created."""

    note: str
    """Name of the note about it."""

    is_recalled: bool = False
    """Another process has noted it."""

    is_deleted: bool = False
    """It is surely gone, or going; else nobody knows how far that got."""


class Fate(StrEnum):
    """What has become of a Job that is owed."""

    AS_IT_WAS = "as it was"
    ENDING = "ending"
    GONE = "gone"
    REPLACED = "replaced"


class _Note(msgspec.Struct):
    """What a note holds."""

    uid: str
    job: Json
    plan: object = None
    by: str = ""


class Ledger:
    """Writes notes, reads them, and strikes them out."""

    def __init__(self, client: Client, *, by: str) -> None:
        """Begin without asking anybody.

        Args:
            client: Reads from the server, not from a cache.
            by: Who writes the notes: no other process has this name, or had it.
        """
        self._client = client
        self._by = by
        self._count = 0
        self._is_warned = False
        self._unreadable: set[tuple[str, str]] = set()
        self._left: dict[tuple[str, str], None] = {}
        """Namespace and name of notes that could not be struck out."""
        self._is_left = asyncio.Event()

    def owe(self, workload: Workload, plan: Plan, document: Json) -> Owed:
        """Make what is to be noted; no two notes have the same name."""
        self._count += 1
        text = f"{self._by} {self._count}"
        digits = sha256(text.encode()).hexdigest()[:10]
        name = f"{workload.key.name[:_NAME_MAX].rstrip('-.')}-{digits}"
        document["metadata"].get("annotations", {}).pop(KEPT, None)
        return Owed(workload, plan, document, name)

    async def note(self, owed: Owed) -> None:
        """Write down what will be owed.

        Raises:
            ApiError: It is not written, and nothing may be deleted.
        """
        plan = msgspec.to_builtins(owed.plan)
        data = _Note(owed.workload.meta.uid, owed.document, plan, self._by)
        document = {
            "apiVersion": ControllerRevision.gvk.api_version,
            "kind": ControllerRevision.gvk.kind,
            "metadata": {
                "name": owed.note,
                "namespace": owed.workload.key.namespace,
                "labels": {LABEL: Job.gvk.kind},
            },
            "revision": 1,
            "data": msgspec.to_builtins(data),
        }
        try:
            await self._client.create(document, field_owner=FIELD_MANAGER)
        except ForbiddenError as error:
            self._warn(error)
        except TROUBLE:
            self._leave(_place(owed))  # perhaps it is written
            raise

    async def strike(self, owed: Owed) -> None:
        """Strike out what is owed no more; what fails is left to `strike_left`."""
        await self._strike(*_place(owed))

    async def strike_left(self) -> None:
        """Strike out what could not be, until cancelled.

        A note that stays would run its Job once more, after a start in some days when
        the Job has ended and is gone.
        """
        while True:
            await self._is_left.wait()
            await asyncio.sleep(AGAIN)
            self._is_left.clear()
            for place in tuple(self._left):
                await self._strike(*place)

    async def _strike(self, namespace: str, note: str) -> None:
        try:
            await self._client.delete(ControllerRevision, note, namespace)
        except (NotFoundError, ForbiddenError):
            pass
        except TROUBLE as error:
            log.info("note of a Job stays for now", note=note, error=str(error))
            self._leave((namespace, note))
            return
        self._left.pop((namespace, note), None)

    def _leave(self, place: tuple[str, str]) -> None:
        self._left[place] = None
        self._is_left.set()

    async def fate(self, owed: Owed) -> Fate:
        """Ask what has become of a Job; if nothing has, see to it that it stays so.

        Raises:
            ConflictError: It changes just now.
            ApiError: The server does not say.
        """
        _, namespace, name = owed.workload.key
        job = await self.job(namespace, name)
        if job is None:
            return Fate.GONE
        metadata = job["metadata"]
        if metadata["uid"] != owed.workload.meta.uid:
            return Fate.REPLACED
        if "deletionTimestamp" in metadata:
            return Fate.ENDING
        await self._keep(namespace, name, metadata["resourceVersion"])
        return Fate.AS_IT_WAS

    async def job(self, namespace: str, name: str) -> Json | None:
        """Return what the server has under the name of a Job.

        It lists the one of that name: to get it would be a permission more.

        Raises:
            ApiError: The server does not say.
        """
        found = await self._client.list(
            Job.gvk, namespace, field_selector=f"metadata.name={name}"
        )
        return next(iter(found.items), None)

    async def _keep(self, namespace: str, name: str, version: str) -> None:
        """Give a Job another version: what was asked of this one is refused."""
        noted = {"resourceVersion": version, "annotations": {KEPT: version}}
        patch = merge_patch({"metadata": noted})
        with suppress(ForbiddenError):
            await self._client.patch(
                Job.gvk, name, namespace, patch=patch, field_owner=FIELD_MANAGER
            )

    async def of_others(self, owed: Owed) -> Owed | None:
        """Return what another process has noted of the same Job; its last note.

        Raises:
            ApiError: The server does not say.
        """
        uid = owed.workload.meta.uid
        with suppress(ForbiddenError):
            noted = await self.recall([owed.workload.key.namespace])
            return next((it for it in noted if it.workload.meta.uid == uid), None)
        return None

    async def recall(self, namespaces: Iterable[str]) -> list[Owed]:
        """List what others have left, the last note first.

        Args:
            namespaces: Where to look; an empty name means all of them.

        Raises:
            ApiError: The server does not say.
        """
        found: list[Json] = []
        for namespace in namespaces:
            listed = await self._client.list(
                ControllerRevision.gvk, namespace, label_selector=LABEL
            )
            found.extend(listed.items)
        found.sort(key=_version, reverse=True)
        return [owed for it in found if (owed := self._read(it)) is not None]

    def _read(self, note: Json) -> Owed | None:
        """Read a note; `None` if it is our own or, with a warning, if it is none."""
        try:
            owed, by = _read(note)
        except (msgspec.MsgspecError, KeyError, TypeError, ValueError) as error:
            metadata = note["metadata"]
            place = metadata["namespace"], metadata["name"]
            if place not in self._unreadable:
                # Without the error's text: it may quote what the Job holds.
                kind = type(error).__name__
                log.warning("note cannot be read", note=place[1], error=kind)
                self._unreadable.add(place)
            return None
        return None if by == self._by else owed

    def _warn(self, error: ApiError) -> None:
        if not self._is_warned:
            self._is_warned = True
            log.warning(
                "Jobs are started anew without a note: a crash may lose one",
                error=str(error),
                remedy="allow list, create and delete on controllerrevisions",
            )


def _place(owed: Owed) -> tuple[str, str]:
    return owed.workload.key.namespace, owed.note


def _version(note: Json) -> tuple[int, str]:
    text: str = note["metadata"]["resourceVersion"]
    return len(text), text  # numbers, of any length


def _read(note: Json) -> tuple[Owed, str]:
    """Read a note, and who wrote it.

    Raises:
        MsgspecError, KeyError, TypeError, ValueError: It is none.
    """
    metadata = note["metadata"]
    namespace, name = metadata["namespace"], metadata["name"]
    read = msgspec.convert(note.get("data"), _Note)
    job = read.job
    template = PodTemplateSpec.model_validate(job["spec"]["template"])
    key = _named(job, namespace)
    meta = Meta(name=key.name, namespace=namespace, uid=read.uid)
    workload = Workload(key, meta, template, msgspec.json.encode(job))
    plan = _plan(read.plan, namespace)
    return Owed(workload, plan, job, name, is_recalled=True), read.by


def _named(job: Json, namespace: str) -> WorkloadKey:
    """Name what is to be created: a Job in the namespace of its note, nothing else.

    Raises:
        ValueError: It is something else.
    """
    metadata = job["metadata"]
    head = (job["apiVersion"], job["kind"], metadata["namespace"])
    name = metadata["name"]
    if head != (Job.gvk.api_version, Job.gvk.kind, namespace) or type(name) is not str:
        raise ValueError
    return WorkloadKey(Job.gvk.kind, namespace, name)


def _plan(stored: object, namespace: str) -> Plan:
    """Read why a Job is started anew; a version that says it otherwise says nothing.

    ReloaderConfigs of other namespaces are left out: nobody is to speak to them, or to
    their chats, by a note.
    """
    try:
        plan = msgspec.convert(stored, Plan)
    except msgspec.ValidationError:
        return Plan({})
    markers = (
        marker._replace(
            configs=tuple(it for it in marker.configs if it.namespace == namespace)
        )
        for marker in plan.markers
    )
    return plan._replace(markers=tuple(markers))
