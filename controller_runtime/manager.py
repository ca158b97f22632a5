"""The owner of every task: starts them in order, and stops them in order.

    start:  recorders ─▶ HTTP ─▶ webhooks ─▶ caches ─▶ others ─▶ (elected) leader's
    stop:   others ─▶ leader's ─▶ caches ─▶ webhooks ─▶ HTTP ─▶ (released) recorders

HTTP comes early and goes late, so that probes and metrics answer while caches fill
and while work drains. Webhooks come before caches: the API server may need a
conversion of ours to answer our own first list. Caches outlive the controllers, which
read from them until their last reconcile is over. Recorders outlive all that records.

Stopping drains, then cancels: a runnable with `stop` is asked to take no new work and
is given the grace period less a fifth to end what it has begun; what still runs
then is cancelled. Go cancels at once; in Python that would strike at the next await
of a half-done reconcile.

What is added inside `part` is a part of its own (`part`): it begins when the server
serves its kinds, and what is forbidden to it may leave the others alone.

With an election, the last group starts when this replica is elected, and the Lease is
renewed until everything that may use it has ended. A replica that waits stops waiting
as soon as it is asked to stop. One that loses the Lease has no grace: what acts is
cancelled at once, and the process is ended if that takes too long (`leaderelection`).
Before each reconcile on the leader, and each call through `transport`, the Lease is
looked at (`fence`): a process that slept past its end acts no more when it wakes.

The first error stops everything; `start` raises it when all is down, together
with what failed on the way down.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain
from typing import TYPE_CHECKING, Any

import structlog
from opentelemetry.trace import Tracer, TracerProvider

from controller_runtime.cache import Cache
from controller_runtime.cachedclient import CachedClient
from controller_runtime.client import Client
from controller_runtime.clock import Clock, SystemClock
from controller_runtime.controller import Controller
from controller_runtime.debug import Inspector
from controller_runtime.discovery import Discovery
from controller_runtime.errors import AlreadyStartedError, ControllerRuntimeError
from controller_runtime.fence import FencedTransport
from controller_runtime.garbage import GarbageTuning
from controller_runtime.httpserver import Handler as HttpHandler
from controller_runtime.httpserver import Probes
from controller_runtime.leaderelection import LeaderElector
from controller_runtime.manageroptions import ManagerOptions
from controller_runtime.metrics import Metrics
from controller_runtime.part import Part, PartState
from controller_runtime.rbac import Grant, Permission, needed
from controller_runtime.recorder import (
    WRITES_EVENTS,
    EventBroadcaster,
    EventRecorder,
)
from controller_runtime.runnable import Group, Runnable, end_group, name_of
from controller_runtime.scheme import Scheme
from controller_runtime.servers import Servers
from controller_runtime.tracing import TracedTransport
from controller_runtime.transport import Transport
from controller_runtime.warmup import WarmUp
from controller_runtime.watchdog import Watchdog

if TYPE_CHECKING:  # imported by a manager that serves webhooks, and by no other
    from controller_runtime.webhookserver import WebhookServer

log = structlog.get_logger(__name__)

_DRAIN_SHARE = 0.8
"""Part of the grace period in which work may end by itself."""

_LAST_WORDS = 2.0
"""Seconds that Events have to be written in, however late the rest was."""

_STOP_ORDER = (
    Group.OTHERS,
    Group.LEADER_ELECTION,
    Group.CACHES,
    Group.WEBHOOKS,
    Group.HTTP,
    Group.RECORDERS,
)


class Manager:
    """Shared dependencies of controllers, and the life of everything that runs."""

    def __init__(
        self,
        transport: Transport,
        *,
        scheme: Scheme | None = None,
        options: ManagerOptions | None = None,
        metrics: Metrics | None = None,
        clock: Clock | None = None,
        randomness: random.Random | None = None,
        tracer_provider: TracerProvider | None = None,
        lease_transport: Transport | None = None,
        exit_process: Callable[[int], object] = os._exit,
    ) -> None:
        """Make a manager that has not started.

        Args:
            transport: The way to the API server.
            scheme: Kinds that have a model.
            options: How to run.
            metrics: Where to count; that of the transport, to have its calls as well.
            clock: Tells the wall-clock time.
            randomness: Where jitter and ids come from.
            tracer_provider: Gets a span of each reconcile and each call to the API
                server; without one none are made.
            lease_transport: Carries renewals of the Lease; better another one than
                `transport`, so that nothing else can hold them up.
            exit_process: Ends a process that works on without its Lease.

        Raises:
            ConfigError: The namespace of the Lease is not known.
        """
        self.options = options or ManagerOptions()
        self.metrics = metrics or Metrics()
        self.clock = clock or SystemClock()
        self.random = randomness or random.Random()  # noqa: S311 - jitter, no secret
        self.scheme = scheme or Scheme()
        self.controllers: list[Controller[Any]] = []
        self.parts: list[Part] = []
        self.tracer: Tracer | None = None
        if tracer_provider is not None:
            self.tracer = tracer_provider.get_tracer("controller_runtime")
            transport = TracedTransport(transport, self.tracer)
        lease_transport = lease_transport or transport
        if self.options.leader_election is not None:
            transport = FencedTransport(transport, self._ensure_lease)
        self.transport = transport
        self.discovery = Discovery(transport)
        self.api_reader = Client(
            transport,
            scheme=self.scheme,
            discovery=self.discovery,
            field_owner=self.options.field_owner,
        )
        """Reads live, for what is not cached or must not be late."""
        self.cache = Cache(
            transport,
            self.discovery,
            options=self.options.cache,
            randomness=self.random,
        )
        self.client = CachedClient(
            self.cache,
            transport,
            scheme=self.scheme,
            discovery=self.discovery,
            field_owner=self.options.field_owner,
            metrics=self.metrics,
            disable_for=self.options.disable_cache_for,
        )
        """Reads from the cache, and sees its own writes there."""
        self.metrics.stores(self.cache.report)
        self.probes = Probes()
        self._servers = Servers(
            self.options,
            transport=transport,
            metrics=self.metrics,
            probes=self.probes,
            inspector=Inspector(self.controllers, self.cache),
            clock=self.clock,
            randomness=self.random,
        )
        self._permissions: set[Permission] = set(self._servers.permissions)
        self._claimants: list[object] = []
        self._events = EventBroadcaster(
            self.api_reader,
            clock=self.clock,
            randomness=self.random,
            metrics=self.metrics,
        )
        self._part: Part | None = None
        """The one that is set up at the moment."""
        self._pending: dict[Group, list[tuple[Runnable, Part | None]]] = {
            group: [] for group in Group
        }
        self._running: dict[Group, dict[asyncio.Task[None], Runnable]] = {}
        self._tasks: asyncio.TaskGroup | None = None
        self._stop = asyncio.Event()
        self._elected = asyncio.Event()
        self._errors: list[Exception] = []
        self._started = False
        self._election: asyncio.Task[None] | None = None
        self._is_lost = False
        self.add(self._events, group=Group.RECORDERS)
        self.add(self.cache, group=Group.CACHES)
        self.probes.add_ready_check("cache-sync", self._check_caches)
        if self.options.watchdog is not None:
            watchdog = Watchdog(options=self.options.watchdog, metrics=self.metrics)
            self.add(watchdog, group=Group.HTTP)
            self.probes.add_ready_check("event-loop", watchdog.check_ready)
        if self.options.tune_gc:
            self.add(GarbageTuning(self.cache.synced), group=Group.OTHERS)
        self._elector = self._new_elector(lease_transport, exit_process)

    def add(self, runnable: Runnable, *, group: Group | None = None) -> None:
        """Own `runnable`: start it with its group, or now if that is past.

        Args:
            runnable: What to run.
            group: When to start it; by default on the leader alone, except for a
                controller whose options say that it needs no election.

        Its `permissions`, if it has any, become part of `grants`.

        Raises:
            AlreadyStartedError: The manager is stopping.
        """
        if self._stop.is_set():
            raise AlreadyStartedError(f"cannot add {runnable!r}: the manager stops")
        self._claimants.append(runnable)
        if group is None:
            group = _default_group(runnable)
        if isinstance(runnable, Controller):
            self.controllers.append(runnable)
            if group is Group.LEADER_ELECTION:
                runnable.fence = self._ensure_lease
                if runnable.options.enable_warmup and self._elector is not None:
                    self.add(WarmUp(runnable), group=Group.OTHERS)
        if group in self._running:
            self._spawn(group, runnable, self._part)
        else:
            self._pending[group].append((runnable, self._part))

    @contextmanager
    def part(self, name: str, *, required: bool = False) -> Iterator[Part]:
        """Make what is added and declared inside a part, whose trouble is its own.

        It begins when the server serves every kind that was declared, and says so in
        its ready check. See the module `part`.

        Args:
            name: Of the ready check, in logs, Events and metrics.
            required: What is forbidden to it stops the manager; else switches it off.

        Raises:
            AlreadyStartedError: The manager has started, or there is a check `name`.
        """
        part = Part(
            name,
            cache=self.cache,
            discovery=self.discovery,
            metrics=self.metrics,
            recorder=self.recorder(name),
            about=self.options.about,
            is_needed=lambda part: required or self._is_last(part),
        )
        self.probes.add_ready_check(name, part.check)
        with self.cache.holding() as informers:
            self._part = part
            try:
                yield part
            finally:
                self._part = None
        part.needs(informers)
        self.parts.append(part)
        self.add(part, group=Group.OTHERS)

    @property
    def grants(self) -> frozenset[Grant]:
        """What the account needs for all that was added and declared so far.

        Watches are those of the cache; what else is asked of the API server is what
        controllers and the manager's own parts declare. See `rbac.Roles` for the roles
        that give it.
        """
        election = self._elector.permissions if self._elector else ()
        claims = (getattr(it, "permissions", ()) for it in self._claimants)
        return needed(
            self.cache.watched,
            (*self._permissions, *election, *chain.from_iterable(claims)),
            model_for=self.scheme.model_for,
        )

    def recorder(self, controller: str) -> EventRecorder:
        """Return the recorder of a controller's Events."""
        self._permissions.add(WRITES_EVENTS)
        return self._events.recorder(controller)

    @property
    def webhooks(self) -> WebhookServer:
        """Where webhooks are added; a manager that never looks here serves none.

        Raises:
            AlreadyStartedError: There are none, and the manager has started.
        """
        webhooks = self._servers.webhooks
        if webhooks is None:
            if self._started:
                raise AlreadyStartedError(
                    "cannot add webhooks: the manager has started without"
                )
            webhooks = self._servers.add_webhooks()
            self.add(webhooks, group=Group.WEBHOOKS)
            self.probes.add_ready_check("webhook", webhooks.check)
        return webhooks

    @property
    def metrics_url(self) -> str:
        """Where `/metrics` is reached from this machine; empty until `start`."""
        return self._servers.metrics_url

    def add_debug_route(self, path: str, handler: HttpHandler) -> None:
        """Serve `path`, and what is below it, beside `/debug`.

        Raises:
            AlreadyStartedError: The manager has started, or the path is taken.
        """
        self._servers.add_debug_route(path, handler)

    @property
    def debug_url(self) -> str:
        """Where `/debug` is reached from this machine; empty until `start`."""
        return self._servers.debug_url

    def stop(self) -> None:
        """Begin to stop; `start` returns when everything has ended.

        Before the start it means that nothing is to run: `start` returns at once.
        """
        self._stop.set()

    async def elected(self) -> None:
        """Wait until the group that needs leadership was started."""
        await self._elected.wait()

    async def start(self) -> None:
        """Run everything until `stop`, an error, or cancellation.

        Raises:
            AlreadyStartedError: This manager ran before.
            ConfigError: A port cannot be had.
            ControllerRuntimeError: The grace period was exceeded.
            Exception: What stopped the manager; several come as an ExceptionGroup.
        """
        if self._started:
            raise AlreadyStartedError("a manager starts once; make another")
        self._started = True
        try:
            if not self._stop.is_set():
                await self._servers.bind()
            if not self._stop.is_set():
                await self._run()
        finally:
            # A server that ran has closed its port; one that never did has it still.
            await self._servers.close()
        self._raise_errors()

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            try:
                self._start_groups()
                await self._stop.wait()
            finally:
                self._stop.set()
                await self._shut_down()

    def _new_elector(
        self, transport: Transport, exit_process: Callable[[int], object]
    ) -> LeaderElector | None:
        if self.options.leader_election is None:
            return None
        elector = LeaderElector(
            transport,
            self.options.leader_election,
            clock=self.clock,
            randomness=self.random,
            metrics=self.metrics,
            recorder=self._events.recorder("leader-election"),
            on_started=self._lead,
            exit_process=exit_process,
        )
        self.probes.add_health_check("leader-election", elector.check)
        return elector

    def _start_groups(self) -> None:
        for server in self._servers.http:
            self.add(server, group=Group.HTTP)
        for group in Group:
            if group is not Group.LEADER_ELECTION:
                self._start_group(group)
        if self._elector is None:
            self._lead()
        else:
            self._election = self._task(self._elector)
        log.info("manager started")

    def _start_group(self, group: Group) -> None:
        self._running[group] = {}
        for runnable, part in self._pending.pop(group):
            self._spawn(group, runnable, part)

    def _lead(self) -> None:
        """Start what the leader does, unless that was decided too late."""
        if not self._stop.is_set():
            self._start_group(Group.LEADER_ELECTION)
            self._elected.set()

    def _spawn(self, group: Group, runnable: Runnable, part: Part | None) -> None:
        task = self._task(runnable, part)
        running = self._running[group]
        running[task] = runnable
        task.add_done_callback(lambda done: running.pop(done, None))
        if part is not None:
            part.tasks.add(task)
            task.add_done_callback(part.tasks.discard)

    def _task(self, runnable: Runnable, part: Part | None = None) -> asyncio.Task[None]:
        assert self._tasks is not None  # noqa: S101 - only called while `start` runs
        guarded = self._guard(runnable, part)
        return self._tasks.create_task(guarded, name=name_of(runnable))

    async def _guard(self, runnable: Runnable, part: Part | None) -> None:
        """Run, and turn an error into a stop: a TaskGroup would cancel at once."""
        try:
            if part is None or await part.may_run():
                await runnable.run()
        except Exception as error:  # noqa: BLE001 - collected, and raised by `start`
            if part is not None and part.takes(error):
                return
            self._errors.append(error)
            self._stop.set()
            if runnable is self._elector and self._elected.is_set():
                self._lose()

    def _is_last(self, part: Part) -> bool:
        """Tell whether without this part there would be nothing left to do."""
        others = (other for other in self.parts if other is not part)
        return all(other.state is PartState.OFF for other in others)

    def _ensure_lease(self) -> None:
        if self._elector is not None:
            self._elector.ensure()

    def _lose(self) -> None:
        """Cancel at once all that acts, also in the middle of a drain."""
        self._is_lost = True
        for task in (
            *self._running[Group.LEADER_ELECTION],
            *self._running[Group.OTHERS],
        ):
            task.cancel()
        self._disarm_if_harmless()

    def _disarm_if_harmless(self) -> None:
        """Let the process end in good order when nothing needs the Lease any more."""
        if self._elector and self._is_lost and not self._running[Group.LEADER_ELECTION]:
            self._elector.disarm()

    def _resign(self) -> None:
        # Only once: again would break off the release.
        if self._election and not self._election.cancelling():
            self._election.cancel()

    async def _end_election(self) -> None:
        """Release the Lease, which takes a few seconds at most."""
        self._resign()
        if self._election:
            await asyncio.wait({self._election})

    def _grace(self) -> float:
        """Return how many seconds stopping may take; none after a loss, as in Go."""
        if self._is_lost:
            return 0
        grace = self.options.graceful_shutdown_timeout
        return float("inf") if grace is None else grace.total_seconds()

    async def _shut_down(self) -> None:
        log.info("manager stops")
        for part in self.parts:
            part.end()
        if not self._elected.is_set():
            self._resign()  # or it would be elected while the rest drains
        seconds = self._grace()
        loop = asyncio.get_running_loop()
        drain_until = loop.time() + seconds * _DRAIN_SHARE
        end = loop.time() + seconds
        late: list[str] = []
        for group in _STOP_ORDER:
            if group is Group.RECORDERS:
                await self._end_election()  # it has a last thing to tell
                end = max(end, loop.time() + _LAST_WORDS)
            running = self._running.get(group, {})
            names = await end_group(running, drain_until=drain_until, end=end)
            if group is not Group.RECORDERS:  # no Event is worth a failure
                late += names
            self._disarm_if_harmless()
        if late and seconds:
            self._errors.append(
                ControllerRuntimeError(
                    f"still running after the grace period of {seconds:g} s, "
                    f"and cancelled: {', '.join(late)}"
                )
            )

    def _raise_errors(self) -> None:
        match self._errors:
            case []:
                return
            case [error]:
                raise error
            case errors:
                raise ExceptionGroup("the manager failed", errors)

    def _check_caches(self) -> None:
        if unsynced := self.cache.unsynced:
            kinds = ", ".join(map(str, unsynced))
            raise ControllerRuntimeError(f"not listed yet: {kinds}")


def _default_group(runnable: Runnable) -> Group:
    if isinstance(runnable, Controller) and not runnable.options.needs_leader_election:
        return Group.OTHERS
    return Group.LEADER_ELECTION
