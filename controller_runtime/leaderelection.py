"""One leader among the replicas: whoever holds a Lease, as long as it is renewed.

    waiting ──free, or expired as observed here──▶ leading ──cancelled──▶ released
                                                      └──▶ lost: `LeaderLostError`

Nobody compares clocks. Who waits measures, by its own event loop, for how long the
record has not changed, and takes the Lease when that exceeds the duration which is
written in it. Who leads counts from the moment at which its last successful write was
sent, which is earlier than anybody else can count from:

    sent ──────── renew deadline: lost, work is cancelled
      └────────────────────── lease duration: the process is ended
        └────────────────────── others may take over, at the earliest

The end of the process is up to a thread (`ExitGuard`), because a loop that is blocked
can neither renew nor notice that it did not. It is also up to whoever acts (`ensure`),
because a process that was stopped and resumed may act before that thread runs.

Record and protocol are client-go's (`tools/leaderelection`): replicas in Go could stand
for the same Lease. Stricter here: a leader that finds another holder, or none, has lost
at once; and the renew deadline counts from the request, not from its answer.
"""

from __future__ import annotations

import asyncio
import os
import random
import socket
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import structlog

from controller_runtime.clock import Clock, monotonic
from controller_runtime.errors import (
    AlreadyExistsError,
    ApiError,
    ConfigError,
    ConflictError,
    ControllerRuntimeError,
    ForbiddenError,
    LeaderLostError,
    NotFoundError,
)
from controller_runtime.exitguard import ExitGuard
from controller_runtime.lease import LeaseLock, Record, claim, release
from controller_runtime.metrics import Metrics
from controller_runtime.rbac import Permission
from controller_runtime.recorder import WRITES_EVENTS, EventRecorder
from controller_runtime.restconfig import SERVICE_ACCOUNT
from controller_runtime.transport import TRANSPORT_ERRORS, Transport

log = structlog.get_logger(__name__)

_JITTER = 1.2
"""Who waits for the Lease adds up to this share of the retry period (client-go)."""

_TIMER_SLACK = 0.01
"""Seconds; timers may fire early by the resolution of the loop's clock."""

_CONFLICT_PAUSE = 0.1
"""Seconds between two tries to release; a storm of writes is not joined."""

_FAILURES: tuple[type[Exception], ...] = (*TRANSPORT_ERRORS, ControllerRuntimeError)
"""What a call may raise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaderElectionOptions:
    """Which Lease to stand for, and how patiently. Defaults are controller-runtime's.

    Raises:
        ConfigError: The values do not fit each other; the text says how they would.
    """

    name: str
    """Of the Lease; the same for all replicas, and for nothing else."""

    namespace: str = ""
    """Of the Lease; empty is that of the pod, as its service account says."""

    identity: str | None = None
    """Unique among the replicas; `None` makes one of the host's name and a UUID."""

    lease_duration: timedelta = timedelta(seconds=15)
    """How long others wait after the last renewal that they saw. Whole seconds."""

    renew_deadline: timedelta = timedelta(seconds=10)
    """How long the leader tries to renew before it gives up."""

    retry_period: timedelta = timedelta(seconds=2)
    """Between two tries to get or renew the Lease."""

    release_on_cancel: bool = True
    """Let go of the Lease at the end, so that another replica takes over at once. Go's
    default is off, since work may go on there; here it has ended by then."""

    labels: Mapping[str, str] | None = None
    """Set on the Lease by whoever leads; labels of others stay."""

    def __post_init__(self) -> None:
        if problem := _problem(self):
            raise ConfigError(f"leader election: {problem}")


def _problem(options: LeaderElectionOptions) -> str:
    """Say what cannot be; empty if all is well."""
    lease, renew, retry = (
        options.lease_duration,
        options.renew_deadline,
        options.retry_period,
    )
    if not options.name:
        return "the Lease needs a name"
    if options.identity == "":
        return "identity must not be empty; leave it out to have one made"
    if retry <= timedelta():
        return f"retry_period ({retry}) must be positive"
    if renew <= retry * _JITTER:
        return (
            f"renew_deadline ({renew}) must be longer than {_JITTER} times "
            f"retry_period ({retry})"
        )
    if lease <= renew:
        return f"lease_duration ({lease}) must be longer than renew_deadline ({renew})"
    if lease % timedelta(seconds=1):
        return f"lease_duration ({lease}) must be whole seconds: so it is written"
    return ""


def own_namespace(folder: Path = SERVICE_ACCOUNT) -> str:
    """Return the namespace of the pod that this process runs in.

    Raises:
        ConfigError: It does not run in one.
    """
    try:
        namespace = (folder / "namespace").read_text(encoding="utf-8").strip()
    except OSError:
        namespace = ""
    if not namespace:
        raise ConfigError(
            "leader election: not in a pod, so the namespace of the Lease must be "
            "given (--leader-election-namespace)"
        )
    return namespace


def _nothing(*_: object) -> None:
    """Be a callback that is not needed."""


class LeaderElector:
    """Stands for election until it leads, and then renews until it is cancelled."""

    name = "leader election"

    def __init__(
        self,
        transport: Transport,
        options: LeaderElectionOptions,
        *,
        clock: Clock,
        randomness: random.Random,
        metrics: Metrics,
        recorder: EventRecorder | None = None,
        on_started: Callable[[], None] = _nothing,
        on_stopped: Callable[[], None] = _nothing,
        on_new_leader: Callable[[str], None] = _nothing,
        exit_process: Callable[[int], object] = os._exit,
    ) -> None:
        """Make an elector; it does nothing before `run`.

        Args:
            transport: Best one of its own, so that nothing else delays a renewal.
            options: Which Lease.
            clock: The times in the Lease, which only people read.
            randomness: Spreads the tries of several replicas, and makes the identity.
            metrics: Where `leader_election_master_status` is kept.
            recorder: Told, as an Event on the Lease, when leading starts and stops.
            on_started: Called when this replica begins to lead.
            on_stopped: Called when `run` ends, however that comes about, and whether
                or not this replica ever led.
            on_new_leader: Called with the identity of each new holder, ours included;
                empty when nobody holds the Lease any more.
            exit_process: Called with 1, on a thread, when the Lease has run out and
                `disarm` was not called.

        Raises:
            ConfigError: The namespace of the Lease is not known.
        """
        self._options = options
        self._lease_duration = options.lease_duration.total_seconds()
        self._renew_deadline = options.renew_deadline.total_seconds()
        self._retry_period = options.retry_period.total_seconds()
        self._call_timeout = max(self._renew_deadline / 2, 1.0)
        self.identity = options.identity or _identity(randomness)
        self._lock = LeaseLock(
            transport,
            namespace=options.namespace or own_namespace(),
            name=options.name,
            labels=options.labels or {},
            timeout=self._call_timeout,
        )
        self._clock = clock
        self._random = randomness
        self._recorder = recorder
        self._on_started = on_started
        self._on_stopped = on_stopped
        self._on_new_leader = on_new_leader
        self._status = metrics.leader(options.name)
        self._guard = ExitGuard(
            f"the Lease {self._lock} has run out and another may lead, but this "
            "process still works or its event loop is blocked: it ends now",
            exit_process,
        )
        self._record: Record | None = None
        self._observed = 0.0
        self._renewed = 0.0
        self._reported = ""
        self._leads = False
        self._wrote = False

    @property
    def permissions(self) -> tuple[Permission, ...]:
        """What the election asks of the API server, all of it beside the Lease."""
        if self._recorder is None:
            return self._lock.permissions
        there = (self._lock.namespace,)
        return (*self._lock.permissions, replace(WRITES_EVENTS, namespaces=there))

    @property
    def is_leader(self) -> bool:
        """Whether this replica leads now."""
        return self._leads

    @property
    def leader(self) -> str:
        """Who held the Lease when it was last looked at; may be empty."""
        return self._record.holder_identity if self._record else ""

    async def run(self) -> None:
        """Wait for the Lease, and hold it until cancelled.

        Cancel it only after everything has ended that needs leadership: it then lets
        go of the Lease. After a loss, end all of that within lease duration less renew
        deadline and call `disarm`, or the process is ended.

        Raises:
            LeaderLostError: The Lease could not be renewed, or is another's.
            ForbiddenError: The account may not read or create the Lease at all.
            NotFoundError: There is no such namespace.
        """
        try:
            try:
                await self._acquire()
                self._start_leading()
                await self._renew()
            finally:
                self._stop_leading()
        except asyncio.CancelledError:
            self.disarm()
            await self._release()
            raise

    def ensure(self) -> None:
        """Return if one may act, for whoever is about to; it costs a look at a clock.

        That is so while the Lease lasts, while we wait for it, and when everything
        that needs it has ended. Otherwise the process ends here.

        Raises:
            LeaderLostError: The process goes on although it was ended.
        """
        self._guard.check()
        if self._guard.is_overdue:
            raise LeaderLostError(f"the Lease {self._lock} has run out: act no more")

    def disarm(self) -> None:
        """Call off the end of the process: nothing that needs the Lease still runs."""
        self._guard.disarm()

    def check(self, tolerance: timedelta = timedelta(seconds=20)) -> None:
        """Be a health check: fail when we lead on a Lease that has long run out.

        Raises:
            LeaderLostError: It ran out more than `tolerance` ago.
        """
        age = asyncio.get_running_loop().time() - self._renewed
        if self._leads and age > self._lease_duration + tolerance.total_seconds():
            raise LeaderLostError(f"the Lease {self._lock} is {age:.0f} s old")

    async def _acquire(self) -> None:
        lease = str(self._lock)
        log.info("waiting for the lease", lease=lease, identity=self.identity)
        while not await self._attempt():  # noqa: ASYNC110 - nobody would set an event
            await asyncio.sleep(self._pause())

    def _pause(self) -> float:
        """Return the seconds until the next try, which is no later than the expiry."""
        pause = self._retry_period * (1 + _JITTER * self._random.random())
        left = self._expiry() - asyncio.get_running_loop().time()
        return min(pause, max(left, _TIMER_SLACK)) if left > 0 else pause

    async def _renew(self) -> None:
        """Renew until that fails for too long."""
        while True:
            try:
                async with asyncio.timeout_at(self._renewed + self._renew_deadline):
                    await asyncio.sleep(self._retry_period)
                    await self._renew_once()
            except TimeoutError:
                raise LeaderLostError(
                    f"leader election lost: the Lease {self._lock} could not be "
                    f"renewed for {self._renew_deadline:g} s"
                ) from None

    async def _renew_once(self) -> None:
        """Try until it succeeds; a call that hung is repeated without a pause."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        while not await self._attempt():
            if self._record and self._record.holder_identity != self.identity:
                holder = self._record.holder_identity or "nobody"
                raise LeaderLostError(
                    f"leader election lost: the Lease {self._lock} is held by {holder}"
                )
            await asyncio.sleep(max(began + self._retry_period - loop.time(), 0))
            began = loop.time()

    async def _attempt(self) -> bool:
        """Try once to get or renew the Lease; tell whether that went well."""
        try:
            return await self._claim()
        except (ConflictError, AlreadyExistsError):
            log.debug("another was faster", lease=str(self._lock))
        except _FAILURES as error:
            if self._is_refused(error):
                raise
            log.warning("lease not reached", lease=str(self._lock), error=str(error))
        finally:
            self._report()
        return False

    async def _claim(self) -> bool:
        if self._leads and self._lock.is_seen and self._is_valid():
            try:
                return await self._write()
            except ApiError as error:
                log.debug("lease must be read", lease=str(self._lock), error=str(error))
        record = await self._lock.read()
        if record != self._record:
            self._observe(record, asyncio.get_running_loop().time())
        return self._is_ours_to_take() and await self._write()

    def _is_ours_to_take(self) -> bool:
        holder = self.leader
        if self._record is None or holder == self.identity:
            return True
        # A leader that finds it taken from it has lost, whatever came of it since.
        return not self._leads and (not holder or not self._is_valid())

    async def _write(self) -> bool:
        """Write that we hold the Lease; an answer that took too long is none."""
        loop = asyncio.get_running_loop()
        sent, sent_for_guard = loop.time(), monotonic()
        self._wrote = True
        now = self._clock.now()
        seconds = int(self._lease_duration)
        record = claim(self._record, self.identity, seconds, now)
        self._observe(await self._lock.write(record), sent)
        if loop.time() >= sent + self._renew_deadline:
            return False
        self._renewed = sent
        self._guard.arm(sent_for_guard + self._lease_duration)
        return True

    def _observe(self, record: Record | None, at: float) -> None:
        self._record, self._observed = record, at

    def _expiry(self) -> float:
        """Return the loop time at which the record runs out, if it does not change."""
        seconds = self._record.lease_duration_seconds if self._record else 0
        return self._observed + seconds

    def _is_valid(self) -> bool:
        return asyncio.get_running_loop().time() < self._expiry()

    def _is_refused(self, error: Exception) -> bool:
        """Whether it could never work: then the start fails, instead of waiting."""
        hopeless = isinstance(error, (ForbiddenError, NotFoundError))
        return hopeless and not self._lock.is_seen and not self._leads

    def _start_leading(self) -> None:
        self._leads = True
        self._status.set(1)
        log.info("became leader", lease=str(self._lock), identity=self.identity)
        self._record_event("BecomeLeader", "became leader")
        self._on_started()

    def _stop_leading(self) -> None:
        if self._leads:
            self._leads = False
            self._status.set(0)
            log.info("stopped leading", lease=str(self._lock), identity=self.identity)
            self._record_event("StopLeading", "stopped leading")
        self._on_stopped()

    def _record_event(self, action: str, what: str) -> None:
        if self._recorder is not None:
            self._recorder.event(
                self._lock.reference,
                reason="LeaderElection",
                action=action,
                note=f"{self.identity} {what}",
            )

    def _report(self) -> None:
        if self.leader != self._reported:
            self._reported = self.leader
            log.info("new leader", lease=str(self._lock), leader=self.leader)
            self._on_new_leader(self.leader)

    async def _release(self) -> None:
        """Let go of the Lease if it may be ours, even by a write without an answer."""
        if not self._wrote or not self._options.release_on_cancel:
            return
        try:
            async with asyncio.timeout(self._call_timeout):
                while not await self._is_released():  # noqa: ASYNC110 - as above
                    await asyncio.sleep(_CONFLICT_PAUSE)
        except _FAILURES as error:
            log.warning("lease not released", lease=str(self._lock), error=str(error))

    async def _is_released(self) -> bool:
        record = await self._lock.read()
        if record is None or record.holder_identity != self.identity:
            return True
        try:
            await self._lock.write(release(record, self._clock.now()))
        except ConflictError:  # a renewal of ours that was still under way
            return False
        log.info("lease released", lease=str(self._lock))
        return True


def _identity(randomness: random.Random) -> str:
    unique = uuid.UUID(int=randomness.getrandbits(128), version=4)
    return f"{socket.gethostname()}_{unique}"
