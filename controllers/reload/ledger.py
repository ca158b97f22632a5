"""Jobs between their end and their new start, written down where a crash leaves them.

    note ─▶ delete ─▶ create ─▶ strike out

A Job's template cannot change, so it is deleted and created again, and a process that
is killed in between would lose it. What is owed is therefore noted first, in the
namespace of the Job, and listed once by whoever begins to act:

    killed after   there is                 what the next one does
    note           the Job as it was        strikes out: the look decides anew
    delete         no Job, or its end       creates it, tells of it, strikes out
    create         a Job of another uid     strikes out

What the dead one has asked for may arrive after it: that a Job is as it was is believed
from the server alone, and a note that is there already is not struck out in its stead.

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
from collections.abc import Callable, Iterable
from hashlib import sha256
from typing import NamedTuple

import msgspec
import structlog

from api.apps.v1 import ControllerRevision
from api.batch.v1 import Job
from api.core.v1 import PodTemplateSpec
from controller_runtime import (
    TRANSPORT_ERRORS,
    AlreadyExistsError,
    ApiError,
    Client,
    ControllerRuntimeError,
    ForbiddenError,
    Json,
    Meta,
    NotFoundError,
)
from controllers.reload.patches import FIELD_MANAGER
from controllers.reload.plan import Plan
from controllers.reload.workloads import Workload, WorkloadKey

log = structlog.get_logger(__name__)

LABEL = "reloader.stakater.com/owed"
"""Of a note; says of which kind it is."""

_AGAIN = 5.0
"""Seconds until notes are asked for again, when the server has not answered."""

_NAME_MAX = 240
"""Characters of a Job's name that fit before a dash and ten digits."""

_TROUBLE: tuple[type[Exception], ...] = (ControllerRuntimeError, *TRANSPORT_ERRORS)


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
    """Another process has noted it, and how far that got nobody knows."""


def owe(workload: Workload, plan: Plan, document: Json) -> Owed:
    """Make what is to be noted; the note is named after the Job and the change."""
    text = f"{workload.meta.uid} {plan.change}"
    digits = sha256(text.encode()).hexdigest()[:10]
    name = f"{workload.key.name[:_NAME_MAX].rstrip('-.')}-{digits}"
    return Owed(workload, plan, document, name)


class _Note(msgspec.Struct):
    """What a note holds."""

    uid: str
    job: Json
    plan: object = None


class Ledger:
    """Writes notes, reads them, and strikes them out."""

    def __init__(self, client: Client) -> None:
        """Begin without asking anybody.

        Args:
            client: Reads from the server, not from a cache.
        """
        self._client = client
        self._is_warned = False
        self._left: dict[tuple[str, str], None] = {}
        """Namespace and name of notes that could not be struck out."""
        self._is_left = asyncio.Event()

    async def note(self, owed: Owed) -> bool:
        """Write down what will be owed.

        Returns:
            Whether nobody has noted the same before, and perhaps begun with it.

        Raises:
            ApiError: It is not written, and nothing may be deleted.
        """
        self._left.pop(_place(owed), None)
        plan = msgspec.to_builtins(owed.plan)
        data = _Note(owed.workload.meta.uid, owed.document, plan)
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
        except AlreadyExistsError:
            return False
        except ForbiddenError as error:
            self._warn(error)
        return True

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
            await asyncio.sleep(_AGAIN)
            self._is_left.clear()
            for place in tuple(self._left):
                await self._strike(*place)

    async def _strike(self, namespace: str, note: str) -> None:
        try:
            await self._client.delete(ControllerRevision, note, namespace)
        except (NotFoundError, ForbiddenError):
            pass
        except _TROUBLE as error:
            log.info("note of a Job stays for now", note=note, error=str(error))
            self._left[namespace, note] = None
            self._is_left.set()
            return
        self._left.pop((namespace, note), None)

    async def is_untouched(self, owed: Owed) -> bool:
        """Tell whether the Job of a note is there, and nobody has deleted it.

        Raises:
            ApiError: The server does not say.
        """
        _, namespace, name = owed.workload.key
        job = await self.job(namespace, name)
        return (
            job is not None
            and job["metadata"]["uid"] == owed.workload.meta.uid
            and "deletionTimestamp" not in job["metadata"]
        )

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

    async def recall(self, namespaces: Iterable[str]) -> list[Owed]:
        """List what others have left.

        Args:
            namespaces: Where to look; an empty name means all of them.

        Raises:
            ApiError: The server does not say.
        """
        found: list[Owed] = []
        for namespace in namespaces:
            listed = await self._client.list(
                ControllerRevision.gvk, namespace, label_selector=LABEL
            )
            found.extend(filter(None, map(_read, listed.items)))
        return found

    def _warn(self, error: ApiError) -> None:
        if not self._is_warned:
            self._is_warned = True
            log.warning(
                "Jobs are started anew without a note: a crash may lose one",
                error=str(error),
                remedy="allow list, create and delete on controllerrevisions",
            )


class Recall:
    """Brings back, once, what others have left, and cleans up; a runnable."""

    name = "reload-owed-jobs"

    def __init__(
        self,
        ledger: Ledger,
        namespaces: Iterable[str],
        owe: Callable[[Owed], None],
        look: Callable[[WorkloadKey], None],
    ) -> None:
        """Begin without asking anybody.

        Args:
            ledger: Where it is noted.
            namespaces: Where to look; none means everywhere.
            owe: Takes each over.
            look: Makes the controller look at a Job.
        """
        self._ledger = ledger
        self._namespaces = tuple(namespaces) or ("",)
        self._owe = owe
        self._look = look

    async def run(self) -> None:
        """Ask until there is an answer; then clean up, until cancelled."""
        await self._recall()
        await self._ledger.strike_left()

    async def _recall(self) -> None:
        while True:
            try:
                await self._take_over()
            except ForbiddenError as error:
                log.warning("Jobs of before a crash are not found", error=str(error))
                return
            except _TROUBLE as error:
                log.info("Jobs of before a crash: asking again", error=str(error))
                await asyncio.sleep(_AGAIN)
            else:
                return

    async def _take_over(self) -> None:
        for owed in await self._ledger.recall(self._namespaces):
            self._owe(owed)
            self._look(owed.workload.key)


def _place(owed: Owed) -> tuple[str, str]:
    return owed.workload.key.namespace, owed.note


def _read(note: Json) -> Owed | None:
    """Read a note; `None`, and a warning, if it is none of ours."""
    metadata = note["metadata"]
    namespace, name = metadata.get("namespace", ""), metadata["name"]
    try:
        read = msgspec.convert(note.get("data"), _Note)
        job = read.job
        template = PodTemplateSpec.model_validate(job["spec"]["template"])
        key = _named(job, namespace)
    except (msgspec.MsgspecError, KeyError, TypeError, ValueError) as error:
        # Without the error's text: it may quote what the Job holds.
        log.warning("note cannot be read", note=name, error=type(error).__name__)
        return None
    meta = Meta(name=key.name, namespace=namespace, uid=read.uid)
    workload = Workload(key, meta, template, msgspec.json.encode(job))
    plan = _plan(read.plan, namespace)
    return Owed(workload, plan, job, name, is_recalled=True)


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
