"""Rollouts that reloads began, followed to their end.

    reload ─▶ under way ──all pods new──────────────▶ complete, told
                 │  ▲
                 │  └─ paused: has no place meanwhile
                 └──given up, or no headway────────▶ failed, told ──▶ complete, told
                                                        └─ taken back ─▶ complete

What is followed is looked at when its status changes, and once more when it would have
taken too long. The cache is all that is asked. A status counts from the generation on
that the reload has made: the version that it was decided for, and one more.

Which template a reload makes is written down on the workload, in the same patch. So a
process that starts finds what it has to follow on: a workload whose template nobody
has touched since, and whose pods are not all new. Whether the end of what is over was
told, nobody knows; then it is not told.

Each rollout under way takes places: one in the cluster, one in its namespace, and one
of each ReloaderConfig that counts. `budget` decides how many there are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from math import ceil
from typing import NamedTuple, TypeAlias

from controller_runtime import NamespacedName
from controllers.reload.gates import Gate, Turn
from controllers.reload.plan import Plan
from controllers.reload.policy import ReloadPolicy
from controllers.reload.record import is_as_reloaded
from controllers.reload.rollouts.progress import (
    ROLLING_KINDS,
    RolloutState,
    Stage,
    deadline_seconds,
    rollout_state,
)
from controllers.reload.rollouts.restarts import is_evicted, read_restarting
from controllers.reload.workloads import Workload, WorkloadKey, waits_for_deletion

Scope: TypeAlias = tuple[str, ...]
"""Where places are counted: `("cluster",)`, `("namespace", …)`, `("config", …, …)`."""

CLUSTER: Scope = ("cluster",)

_UNDER_WAY = frozenset({Stage.PENDING, Stage.PROGRESSING})

_GRACE = 30.0
"""Seconds after the deadline of its own controller, until we do not wait for it."""


class Ended(NamedTuple):
    """A rollout that is over, for now."""

    plan: Plan
    """Why it began; without markers if another process knew."""

    stage: Stage
    """`COMPLETE`, or `FAILED`."""

    text: str
    seconds: float
    """Since it began, or since this process knows of it."""

    is_timeout: bool = False
    """No headway was made for too long."""

    claimants: tuple[NamespacedName, ...] = ()
    """The ReloaderConfigs that may have wanted it, if another process knew."""


@dataclass(frozen=True, slots=True)
class _Following:
    uid: str
    plan: Plan
    scopes: tuple[Scope, ...]
    generation: int
    """What the status has to be of, at least."""

    limit: float
    """Seconds that it may be without headway."""

    began: float
    moved: float
    """When there was headway last; seconds of the event loop's clock, as `began`."""

    stage: Stage = Stage.PENDING
    score: int = -1
    is_restart: bool = False
    """Pods are evicted, and the template stays: `finish` says when that is over."""

    is_inherited: bool = False
    """Begun by another process."""

    claimants: tuple[NamespacedName, ...] = ()
    """The ReloaderConfigs that may have wanted what another process began."""

    is_taken_back: bool = False
    """It has failed, and what becomes complete now is what was before."""

    @property
    def has_place(self) -> bool:
        return self.stage in _UNDER_WAY


class Rollouts(Gate):
    """Knows which workloads roll out; lets every reload pass, and follows it."""

    def __init__(self, *, timeout: float) -> None:
        """Follow nothing yet.

        Args:
            timeout: Seconds without headway after which a rollout has failed, unless
                its own controller allows for more.
        """
        self._timeout = timeout
        self._followed: dict[WorkloadKey, _Following] = {}
        self._before: dict[WorkloadKey, _Following | None] = {}
        self._places: Counter[Scope] = Counter()
        self._listeners: list[Callable[[WorkloadKey], None]] = []

    def __contains__(self, key: object) -> bool:
        return key in self._followed

    def __len__(self) -> int:
        """Return how many are under way."""
        return self._places[CLUSTER]

    def subscribe(self, listener: Callable[[WorkloadKey], None]) -> None:
        """Have a function called for each rollout that gives up its places, or ends."""
        self._listeners.append(listener)

    def taken(self, scope: Scope) -> int:
        """Return how many places are taken."""
        return self._places[scope]

    def has_place(self, key: WorkloadKey) -> bool:
        """Tell whether a workload is counted."""
        one = self._followed.get(key)
        return one is not None and one.has_place

    def stage(self, key: WorkloadKey) -> Stage | None:
        """Return how far a workload is that is followed."""
        one = self._followed.get(key)
        return None if one is None else one.stage

    # --- of reloads -----------------------------------------------------------------

    def begin(self, turn: Turn) -> None:
        """Take the places of a reload, before it is written."""
        if is_followed(turn.workload, turn.policy):
            self._before[turn.key] = self._followed.get(turn.key)
            self._put(turn.key, self._new(turn))

    def end(self, turn: Turn, *, is_reloaded: bool) -> None:
        """Follow what was written; give back the places of what was not."""
        key = turn.key
        if key not in self._before:
            return
        before = self._before.pop(key)
        if not is_reloaded:
            self._put(key, before)

    def forget(self, key: WorkloadKey) -> None:
        """Let go of a workload that is no more."""
        self._before.pop(key, None)
        self._put(key, None)

    def _new(self, turn: Turn) -> _Following:
        workload = turn.workload
        restarts = is_evicted(turn.key, turn.policy)
        return _Following(
            uid=workload.meta.uid,
            plan=turn.plan,
            scopes=scopes_of(turn.key, turn.policy),
            generation=workload.meta.generation + (0 if restarts else 1),
            limit=self._limit(workload),
            began=turn.at,
            moved=turn.at,
            is_restart=restarts,
        )

    # --- of looks -------------------------------------------------------------------

    def look(self, workload: Workload, at: float) -> Ended | None:
        """Compare a workload with what was known; return what is over now.

        Args:
            workload: What the cache has.
            at: Seconds of the event loop's clock.
        """
        key = workload.key
        one = self._followed.get(key)
        if one is None:
            return None
        if one.uid != workload.meta.uid:
            self.forget(key)  # created anew, and nothing rolls out any more
            return None
        state = RolloutState(Stage.PENDING, "it was not begun yet")
        if workload.meta.generation >= one.generation:
            state = rollout_state(workload)
        if one.is_restart and state.stage is not Stage.PAUSED:
            state = state._replace(stage=Stage.PROGRESSING)
        return self._judge(key, one, state, at)

    def touch(self, key: WorkloadKey, at: float) -> None:
        """Note headway that no status shows: a pod was evicted."""
        if (one := self._followed.get(key)) is not None:
            self._followed[key] = replace(one, moved=at)

    def take_back(self, key: WorkloadKey) -> None:
        """Note that the template of what has failed is replaced by the one before."""
        if (one := self._followed.get(key)) is not None:
            self._followed[key] = replace(one, is_taken_back=True)

    def finish(self, key: WorkloadKey, at: float) -> Ended | None:
        """Note that all pods were restarted; return what is over, if it was known."""
        one = self._followed.get(key)
        if one is None:
            return None
        self._put(key, None)
        ended = Ended(one.plan, Stage.COMPLETE, "", at - one.began)
        return ended._replace(claimants=one.claimants)

    def seconds_left(self, key: WorkloadKey, at: float) -> float | None:
        """Return until when to look again at a workload, whatever happens."""
        one = self._followed.get(key)
        if one is None or not one.has_place:
            return None
        return max(0.0, one.moved + one.limit - at)

    def inherit(self, workload: Workload, policy: ReloadPolicy, at: float) -> None:
        """Follow on what another process began, if it is not over."""
        key = workload.key
        restarts = read_restarting(workload) is not None
        is_ours = restarts or is_as_reloaded(key.kind, workload.meta)
        if key in self._followed or not is_ours:
            return
        state = rollout_state(workload)
        if not restarts and (state.stage is Stage.COMPLETE or state.has_rolled):
            return
        one = _Following(
            uid=workload.meta.uid,
            plan=Plan({}, strategy=policy.strategy),
            scopes=scopes_of(key, policy),
            generation=workload.meta.generation,
            limit=self._limit(workload),
            began=at,
            moved=at,
            stage=Stage.PROGRESSING if restarts else state.stage,
            score=state.score,
            is_restart=restarts,
            is_inherited=True,
            claimants=tuple(sorted({wish.config for wish in policy.wishes})),
        )
        self._put(key, one)

    def _judge(
        self, key: WorkloadKey, one: _Following, state: RolloutState, at: float
    ) -> Ended | None:
        ended = Ended(one.plan, state.stage, "", at - one.began)
        ended = ended._replace(claimants=one.claimants)
        if state.stage is Stage.COMPLETE:
            self._put(key, None)
            return None if one.is_taken_back else ended
        if one.stage is Stage.FAILED:
            return None  # as before; in the end it may still be complete
        if state.score > one.score or state.stage is Stage.PAUSED:
            one = replace(one, score=max(state.score, one.score), moved=at)
        is_timeout = state.stage in _UNDER_WAY and at >= one.moved + one.limit
        if is_timeout or state.stage is Stage.FAILED:
            self._put(key, replace(one, stage=Stage.FAILED))
            if is_timeout and one.is_inherited:
                return None  # the process before may have told it
            return ended._replace(
                stage=Stage.FAILED, text=state.text, is_timeout=is_timeout
            )
        self._put(key, replace(one, stage=state.stage))
        return None

    def _limit(self, workload: Workload) -> float:
        own = deadline_seconds(workload)
        return max(self._timeout, own + _GRACE if own else 0.0)

    def _put(self, key: WorkloadKey, one: _Following | None) -> None:
        """Replace what is known of a workload, and count its places anew."""
        before = self._followed.pop(key, None)
        if before is not None and before.has_place:
            self._places.subtract(before.scopes)
        if one is not None:
            self._followed[key] = one
            if one.has_place:
                self._places.update(one.scopes)
        if before is not None and (one is None or before.has_place > one.has_place):
            self._places += Counter()  # drops what is at zero
            for listener in self._listeners:
                listener(key)


def is_followed(workload: Workload, policy: ReloadPolicy) -> bool:
    """Tell whether a reload begins a rollout that comes to an end by itself."""
    if workload.key.kind not in ROLLING_KINDS:
        return False
    return is_evicted(workload.key, policy) or not waits_for_deletion(workload)


def scopes_of(key: WorkloadKey, policy: ReloadPolicy) -> tuple[Scope, ...]:
    """Name where a rollout of a workload takes a place."""
    configs = (("config", *limit.config) for limit in policy.terms.max_concurrent)
    return (CLUSTER, ("namespace", key.namespace), *configs)


def describe_end(ended: Ended) -> str:
    """Say for an Event what became of a rollout, after the name of the workload."""
    if ended.stage is Stage.COMPLETE:
        return f"has rolled out within {max(1, ceil(ended.seconds))} s"
    why = ended.text or "no reason is given"
    if ended.is_timeout:
        return (
            f"makes no headway with its rollout ({why}): see its pods; if it only "
            "takes long, a longer rollout timeout helps"
        )
    return f"has failed to roll out ({why}): see its pods"
