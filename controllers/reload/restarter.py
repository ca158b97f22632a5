"""Evicts the pods of workloads that restart: a controller beside that of the looks.

    look ──key──▶ queue ──▶ Restarter.reconcile
     ▲                        list   the pods, live: nothing watches them
     │                        bound  write down which are old, once
     └──────key, when done────evict  a few, and come again

A step is short and safe to repeat, since all that has to be remembered is in the
annotation (`restarts`). Looks bring a key up whenever the status of the workload
changes, so pods are listed when there is news of them; the clock is the net below.

An eviction honours disruption budgets: what one forbids is asked for again. It names
the uid of the pod, so that one of the same name that came in its place stays.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta

import structlog

from controller_runtime import (
    ApiError,
    Client,
    ConflictError,
    EventRecorder,
    GroupVersionKind,
    Json,
    NotFoundError,
    Result,
    TooManyRequestsError,
    merge_patch,
    reference,
)
from controllers.reload.observe import Observer
from controllers.reload.rollouts import Rollouts
from controllers.reload.rollouts.progress import desired_pods
from controllers.reload.rollouts.restarts import (
    RESTARTING,
    Pod,
    Restarting,
    batch_of,
    next_step,
    pods_of,
    read_restarting,
    selector_of,
    youngest,
)
from controllers.reload.workloads import Workload, WorkloadKey

log = structlog.get_logger(__name__)

POD = GroupVersionKind("", "v1", "Pod")

_EVICTION = GroupVersionKind("policy", "v1", "Eviction")

_SOON = Result(requeue_after=timedelta(seconds=0.2))
"""The cache was behind: it is so for milliseconds."""

_SECOND = 1.0
"""Between the list that says which pods are old and the first eviction: what comes in
their place is younger then, as timestamps without fractions say it."""

_LATER = Result(requeue_after=timedelta(seconds=10))
"""If no look comes before: pods have to become ready, a budget to allow for more."""

FIELD_MANAGER = "Reloader"


class Restarter:
    """Reconciles workloads that have the annotation of a restart."""

    def __init__(
        self,
        client: Client,
        observer: Observer,
        *,
        recorder: EventRecorder,
        rollouts: Rollouts,
        poke: Callable[[WorkloadKey], None],
        wake: Callable[[WorkloadKey], None],
    ) -> None:
        """Make one.

        Args:
            client: Reads what is there, not the cache.
            observer: Knows the workloads.
            recorder: Of Events about what keeps a restart from going on.
            rollouts: Told of headway.
            poke: Brings a key up here.
            wake: Has the controller of the looks look at a key.
        """
        self._client = client
        self._observer = observer
        self._recorder = recorder
        self._rollouts = rollouts
        self._poke = poke
        self._wake = wake
        self._done: dict[WorkloadKey, str] = {}
        self._told: dict[WorkloadKey, str] = {}
        self._bounded: dict[WorkloadKey, float] = {}
        """Since when it is known which pods are old: on the event loop's clock."""

    def go_on(self, key: WorkloadKey, restarting: Restarting) -> bool:
        """Have the next step made; tell whether all of them were."""
        if self._done.get(key) == restarting.change:
            return True
        self._poke(key)
        return False

    def forget(self, key: WorkloadKey) -> None:
        """Let go of a workload that does not restart any more."""
        self._done.pop(key, None)
        self._told.pop(key, None)
        self._bounded.pop(key, None)

    async def reconcile(self, key: WorkloadKey) -> Result | None:
        workload = self._observer.workload(key)
        restarting = None if workload is None else read_restarting(workload)
        if workload is None or restarting is None:
            self.forget(key)
            return None
        try:
            return await self._step(workload, restarting)
        except NotFoundError:
            return None  # gone, and the cache will say so
        except ConflictError:
            return _SOON
        except ApiError as error:
            self._tell(workload, f"its restart cannot go on: {error}")
            raise

    async def _step(self, workload: Workload, restarting: Restarting) -> Result | None:
        pods = await self._pods(workload)
        if pods and not restarting.older_than:
            self._bounded[workload.key] = _now()
            await self._bound(workload, restarting, youngest(pods))
            return _SOON
        if (left := self._bounded.get(workload.key, 0.0) + _SECOND - _now()) > 0:
            return Result(requeue_after=timedelta(seconds=left))
        step = next_step(
            pods,
            older_than=restarting.older_than,
            want=desired_pods(workload),
            batch=batch_of(workload),
        )
        if step.is_done:
            self._done[workload.key] = restarting.change
            self._wake(workload.key)
            return None
        for pod in step.evict:
            if not await self._evict(workload, pod):
                break
        return _LATER

    async def _pods(self, workload: Workload) -> tuple[Pod, ...]:
        found = await self._client.list(
            POD, workload.key.namespace, label_selector=selector_of(workload)
        )
        return pods_of(workload, found.items)

    async def _bound(
        self, workload: Workload, restarting: Restarting, older_than: str
    ) -> None:
        bounded = Restarting(restarting.change, older_than)
        _, namespace, name = workload.key
        patch = merge_patch(
            {
                "metadata": {
                    "resourceVersion": workload.meta.resource_version,
                    "annotations": {RESTARTING: bounded.text},
                }
            }
        )
        await self._client.patch(
            workload.key.gvk, name, namespace, patch=patch, field_owner=FIELD_MANAGER
        )

    async def _evict(self, workload: Workload, pod: Pod) -> bool:
        """Evict a pod; tell whether another one may be tried."""
        namespace = workload.key.namespace
        body: Json = {
            "apiVersion": _EVICTION.api_version,
            "kind": _EVICTION.kind,
            "metadata": {"name": pod.name, "namespace": namespace},
            "deleteOptions": {"preconditions": {"uid": pod.uid}},
        }
        eviction = self._client.subresource(POD, "eviction")
        try:
            await eviction.create(pod.name, namespace, body=body)
        except (NotFoundError, ConflictError):
            return True  # it is gone, or another one has its name
        except TooManyRequestsError as error:
            text = f"its restart waits at pod '{pod.name}': {error}"
            self._tell(workload, text, is_bad=False)
            return False
        log.info("evicted", pod=pod.name, kind=workload.key.kind)
        self._told.pop(workload.key, None)
        self._rollouts.touch(workload.key, _now())
        return True

    def _tell(self, workload: Workload, text: str, *, is_bad: bool = True) -> None:
        """Write an Event, once for what goes on being so."""
        key = workload.key
        if self._told.get(key) == text:
            return
        self._told[key] = text
        self._recorder.event(
            reference(key.gvk, workload.meta),
            type="Warning" if is_bad else "Normal",
            reason="ReloadFail" if is_bad else "ReloadHeld",
            action="Reload",
            note=f"'{key.name}' of type '{key.kind}' in namespace "
            f"'{key.namespace}': {text}",
        )


def _now() -> float:
    return asyncio.get_running_loop().time()
