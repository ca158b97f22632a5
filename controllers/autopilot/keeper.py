"""One managed object, from what is wanted to what is there.

    read ─▶ unmanaged? ─▶ paused? ─▶ effective ─▶ dry run ─┬─ clean ─▶ remembered
              │ leave       │ leave     │ patch, masks     └─ drift ─▶ token? ─▶ apply
              ▼             ▼           ▼ label                         │ none
             kept          kept      what is applied                    ▼ wait, or pause

Steps and their order are those of the Patched Baseline Algorithm (S3 to S14). Whoever
calls is told what became of the object (`Kept`), or gets an error, after which the
object counts as not compliant and is tried again later.

What is read from the cache may be older than what we wrote a moment ago. A dry run
answers with the version that the server has: if it is another one, the object is read
live and everything is decided once more, before anything is written.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from datetime import timedelta
from typing import NamedTuple

from controller_runtime import (
    ApiError,
    Clock,
    ConflictError,
    InvalidError,
    Json,
    NotFoundError,
)
from controllers.autopilot import drift, masks
from controllers.autopilot.annotations import Wishes, read_wishes
from controllers.autopilot.apply import (
    FAILURES,
    Applier,
    culprit,
    is_about_content,
    is_about_kind,
)
from controllers.autopilot.customizer import Customizer, Seen, StaleError
from controllers.autopilot.errors import AutopilotError
from controllers.autopilot.gauges import Target
from controllers.autopilot.lookups import Lookup
from controllers.autopilot.metadata import Drift
from controllers.autopilot.overrides import Patched, PatchRules
from controllers.autopilot.pointers import format_pointer
from controllers.autopilot.throttle import Throttle, Turn
from controllers.autopilot.voice import Voice
from controllers.autopilot.wanted import Became, Kept, Memory, Wanted
from controllers.autopilot.watches import Watches

_UNSERVED = timedelta(seconds=5)
"""Until a kind that the server does not serve is looked for again, which doubles up to
five minutes; the event of its CRD is sooner, as a rule."""

_SECRET = "Secret"  # noqa: S105 - a kind, not a password

_TRIES = 5
"""Looks at an object that changes while it is looked at."""


class _Look(NamedTuple):
    """One look at an object."""

    wanted: Wanted
    memory: Memory
    live: Json | None
    is_fresh: bool = False
    """Read from the server, not from the cache."""


class Keeper:
    """Keeps objects as they are wanted.

    Args:
        watches: Read from the cache.
        applier: Reads and writes the server.
        voice: Tells what happens.
        rules: What users' patches may do.
        overridden: Field managers whose fields may be taken over.
        throttle: How often an object is corrected.
        clock: When a war began.
        now: Seconds on a clock that does not go back.
        verdict_age: How long a clean dry run is believed while nothing changes.
    """

    def __init__(
        self,
        watches: Watches,
        applier: Applier,
        voice: Voice,
        *,
        rules: PatchRules,
        overridden: Collection[str],
        throttle: Throttle[Target],
        clock: Clock,
        now: Callable[[], float],
        verdict_age: timedelta,
    ) -> None:
        self._watches = watches
        self._applier = applier
        self._voice = voice
        self._rules = rules
        self._customizer = Customizer(applier, voice, rules, overridden)
        self._throttle = throttle
        self._clock = clock
        self._now = now
        self._verdict_age = verdict_age.total_seconds()
        self._memories: dict[Target, Memory] = {}

    async def keep(self, wanted: Wanted) -> Kept:
        """Bring an object in line with what is wanted, as far as users let us.

        Raises:
            ControllerRuntimeError: The server refuses, or the kind cannot be watched.
                The object counts as not compliant.
        """
        try:
            return await self._keep(wanted)
        except FAILURES as error:
            if is_about_kind(error) or not self._watches.serves(wanted.gvk):
                return self._unserved(wanted)
            if wanted.gvk.kind == _SECRET:
                error = _without_content(wanted, error)
                self._voice.failed(wanted, error)
                raise error from None
            self._voice.failed(wanted, error)
            raise

    def _unserved(self, wanted: Wanted) -> Kept:
        """Wait for a kind: its CRD comes or goes, which a sweep will know."""
        memory = self._memories.setdefault(wanted.target, Memory())
        memory.unserved += 1
        again = _UNSERVED * 2 ** min(memory.unserved - 1, 6)
        self._voice.homeless(wanted)
        return Kept(Became.SKIPPED, again=again)

    def exclude(self, wanted: Wanted) -> Kept:
        """Leave an object alone because the source object says so."""
        self._memories.pop(wanted.target, None)
        self._voice.excluded(wanted)
        return Kept(Became.EXCLUDED)

    def forget(self, target: Target) -> None:
        """Let go of an object that nothing wants any more; it stays as it is."""
        self._memories.pop(target, None)
        self._throttle.reset(target)

    async def _keep(self, wanted: Wanted) -> Kept:
        memory = self._memories.setdefault(wanted.target, Memory())
        baseline = drift.digest(wanted.baseline)
        if (memory.epoch, memory.baseline) != (wanted.epoch, baseline):
            memory.epoch, memory.baseline, memory.refused = wanted.epoch, baseline, {}
        look = _Look(wanted, memory, await self._read(wanted))
        memory.unserved = 0
        for _ in range(_TRIES):
            try:
                return await self._once(look)
            except (StaleError, ConflictError):
                live = await self._applier.read(wanted.gvk, wanted.key)
                look = look._replace(live=live, is_fresh=True)
        raise ConflictError(
            f"{wanted.target} changes faster than it can be looked at", status=409
        )

    async def _read(self, wanted: Wanted) -> Json | None:
        gvk, key = wanted.gvk, wanted.key
        if wanted.is_source:
            found = await self._watches.single(Lookup(gvk, *key))
            return found[0] if found else None
        live = await self._watches.managed(gvk, key)
        if live is None and self._has_place(wanted):
            # It may be there without our label.
            live = await self._applier.read(gvk, key)
        return live

    async def _once(self, look: _Look) -> Kept:
        wanted, memory, live, is_fresh = look
        wishes = read_wishes(live, self._rules.keys)
        if wishes.is_unmanaged:
            return self._leave(wanted, live)
        self._voice.wishes(wanted, wishes)
        made = self._customizer.patched(wanted, memory, wishes)
        if live is None:
            return await self._create(wanted, memory, made)
        fields = self._customizer.fields(wanted, memory, wishes)
        if wishes.is_paused:
            return await self._stay_paused(
                Seen(wanted, memory, live, wishes, made, fields)
            )
        live = await self._resumed(wanted, memory, wishes, live, is_fresh=is_fresh)
        live = await self._customizer.release(wanted, live, fields)
        return await self._compare(Seen(wanted, memory, live, wishes, made, fields))

    # Left alone (S4)

    def _leave(self, wanted: Wanted, live: Json | None) -> Kept:
        self._memories[wanted.target] = Memory()
        self._throttle.reset(wanted.target)
        self._voice.unmanaged(wanted)
        return Kept(Became.UNMANAGED, live)

    # Paused, step S5

    async def _stay_paused(self, seen: Seen) -> Kept:
        """Leave it alone; compare it once a version, for who looks at the metric."""
        wanted, memory, live = seen[:3]
        memory.is_paused = True
        self._voice.still_paused(wanted)
        if memory.paused_checked != _version(live):
            self._voice.compared(wanted, is_as_wanted=await self._would_fit(seen))
            memory.paused_checked = _version(live)
        return Kept(Became.PAUSED, live)

    async def _would_fit(self, seen: Seen) -> bool:
        effective = self._customizer.as_if_masked(seen)
        try:
            result = await self._applier.dry_run(effective)
        except ApiError as error:
            if not is_about_content(error):
                raise
            return False  # what is wrong is told when it is to be applied
        return not drift.differences(seen.live, result)

    async def _resumed(
        self,
        wanted: Wanted,
        memory: Memory,
        wishes: Wishes,
        live: Json,
        *,
        is_fresh: bool,
    ) -> Json:
        """Begin anew if a user has taken the pause away."""
        # An annotation that others have copied is no pause of ours that has ended: the
        # throttle would begin anew with each look.
        is_ours = bool(wishes.paused_reason) and self._applier.has_paused(live)
        if not (memory.is_paused or is_ours):
            return live
        if not is_fresh:
            # What the cache does not show yet may be the pause itself.
            raise StaleError(f"{wanted.target} may be paused")
        memory.is_paused, memory.paused_checked = False, ""
        memory.edits, memory.since = 0, ""
        self._throttle.reset(wanted.target)
        self._voice.resumed(wanted)
        return await self._applier.resume(live) if is_ours else live

    # Is it so? (S10, S11)

    async def _compare(self, seen: Seen) -> Kept:
        wanted, memory, live = seen[:3]
        effective = self._customizer.effective(seen)
        if self._is_known_clean(seen, effective) or wanted.asset.drift is Drift.OFF:
            return self._clean(seen, effective)
        try:
            result = await self._applier.dry_run(effective)
        except ApiError as error:
            return await self._refused(seen, error)
        if _version(result) != _version(live):
            raise StaleError(f"{wanted.target} has changed")
        moved = masks.moved(live, result, seen.fields)
        if held := frozenset(moved) - memory.atomic:
            memory.atomic |= held
            self._voice.shared(wanted, moved)
            return await self._compare(seen)
        if places := drift.differences(live, result):
            return await self._correct(seen, effective, places)
        return self._clean(seen, effective)

    async def _refused(self, seen: Seen, error: ApiError) -> Kept:
        """Find out whether it is a user's patch or edit that the server does not take.

        Raises:
            ApiError: It does not take the object without them either.
        """
        if not is_about_content(error):
            raise error
        if not seen.made.in_force:
            return await self._take_over(seen, error)
        try:
            await self._applier.dry_run(seen.wanted.baseline)
        except InvalidError as plain:
            return await self._take_over(seen, plain)
        why = f"the API server does not take it: {error}"
        seen.memory.refused[seen.made.in_force] = why
        made = self._customizer.patched(seen.wanted, seen.memory, seen.wishes)
        return await self._compare(seen._replace(made=made))

    async def _take_over(self, seen: Seen, error: ApiError) -> Kept:
        """Take what was written by hand and stands in the way, once a look (S10)."""
        found = await self._customizer.contested(seen, error)
        if seen.taken_from or not found:
            raise error
        if seen.wanted.asset.drift is Drift.WARN:
            places = [format_pointer(each.pointer) for each in found]
            self._voice.drifted(seen.wanted, places)
            return Kept(Became.DRIFTED, seen.live)
        seen = await self._customizer.take_over(seen, found)
        try:
            return await self._compare(seen)
        except InvalidError as again:
            raise AutopilotError(
                f"{again}; fields of {', '.join(seen.taken_from)} were taken over, "
                f"since it was refused before: {error}"
            ) from error

    def _is_known_clean(self, seen: Seen, effective: Json) -> bool:
        verdict = seen.memory.verdict
        return verdict is not None and verdict.holds(
            drift.digest(effective),
            drift.digest(seen.live),
            now=self._now(),
            epoch=seen.wanted.epoch,
            age=self._verdict_age,
        )

    def _clean(self, seen: Seen, effective: Json) -> Kept:
        if not self._is_known_clean(seen, effective):
            self._remember(seen.wanted, seen.memory, effective, seen.live)
        self._throttle.clean(seen.wanted.target, self._now())
        self._voice.synced(seen.wanted)
        return Kept(Became.SYNCED, seen.live)

    def _remember(
        self, wanted: Wanted, memory: Memory, effective: Json, live: Json
    ) -> None:
        memory.applied = drift.digest(effective)
        memory.verdict = drift.Verdict(
            memory.applied, drift.digest(live), self._now(), wanted.epoch
        )

    # What is done about it (S12 to S14)

    def _has_place(self, wanted: Wanted) -> bool:
        namespace = wanted.key.namespace
        return not namespace or self._watches.has_namespace(namespace)

    async def _create(self, wanted: Wanted, memory: Memory, made: Patched) -> Kept:
        if wanted.is_source or not self._has_place(wanted):
            self._voice.homeless(wanted)
            return Kept(Became.SKIPPED)
        match self._turn(wanted, memory, made.object):
            case Turn.GO:
                return await self._apply(wanted, memory, made.object, made, live=None)
            case Turn.WAIT | Turn.WAR:  # there is nothing to put a pause on
                return self._wait(wanted, None)

    async def _correct(
        self, seen: Seen, effective: Json, places: Sequence[str]
    ) -> Kept:
        wanted, memory, live = seen[:3]
        self._voice.drifted(wanted, places)
        if wanted.asset.drift is Drift.WARN:
            return Kept(Became.DRIFTED, live)
        match self._turn(wanted, memory, effective):
            case Turn.GO:
                return await self._apply(
                    wanted, memory, effective, seen.made, live=live
                )
            case Turn.WAR:
                return await self._pause(seen, places)
            case Turn.WAIT:
                return self._wait(wanted, live)

    def _turn(self, wanted: Wanted, memory: Memory, effective: Json) -> Turn:
        # What we applied last would be in place, had nobody else written.
        is_foreign = memory.applied == drift.digest(effective)
        turn = self._throttle.turn(wanted.target, self._now(), is_foreign=is_foreign)
        if turn is Turn.GO and is_foreign:
            memory.edits += 1
            memory.since = memory.since or self._clock.now().isoformat()
        return turn

    def _wait(self, wanted: Wanted, live: Json | None) -> Kept:
        self._voice.throttled(wanted, self._throttle.options)
        seconds = self._throttle.due(wanted.target, self._now())
        return Kept(Became.THROTTLED, live, timedelta(seconds=seconds))

    async def _pause(self, seen: Seen, places: Sequence[str]) -> Kept:
        wanted, memory, live = seen[:3]
        manager = self._applier.field_manager
        against = ", ".join(seen.taken_from) or culprit(live, field_manager=manager)
        reason = {
            "manager": against,
            "fields": places[:8],
            "edits": memory.edits,
            "since": memory.since,
        }
        paused = await self._applier.pause(live, reason)
        memory.is_paused, memory.paused_checked = True, _version(paused)
        self._voice.war(
            wanted, against=against or "somebody", edits=memory.edits, places=places
        )
        return Kept(Became.PAUSED, paused)

    async def _apply(
        self,
        wanted: Wanted,
        memory: Memory,
        effective: Json,
        made: Patched,
        *,
        live: Json | None,
    ) -> Kept:
        try:
            applied = await self._applier.apply(effective, live=live)
        except NotFoundError as error:
            if error.details.get("kind") != "namespaces":
                raise
            self._voice.homeless(wanted)
            return Kept(Became.SKIPPED)
        self._remember(wanted, memory, effective, applied)
        self._voice.applied(wanted, made, is_new=live is None)
        return Kept(Became.APPLIED, applied)


def _without_content(wanted: Wanted, error: Exception) -> AutopilotError:
    """Say what failed in words of our own: the server's may quote a Secret."""
    reason = error.reason if isinstance(error, ApiError) else ""
    return AutopilotError(
        f"{wanted.target}: {reason or type(error).__name__}; what the server says is "
        "withheld, it may quote the Secret"
    )


def _version(obj: Json) -> str:
    return str(obj["metadata"].get("resourceVersion", ""))
