"""What is applied: the baseline as users have it.

    baseline ─▶ patch ─▶ fields left out, or copied ─▶ effective object
                  │            │
                  ▼            ▼
               told        let go of on the server

Steps S6 to S9 of the Patched Baseline Algorithm. What patches and masks mean is decided
in `overrides` and `masks`; here that meets one object, what is remembered of it, and
the server.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from controller_runtime import ApiError, ControllerRuntimeError, Json
from controllers.autopilot import masks, ownership
from controllers.autopilot.annotations import Wishes, with_metadata
from controllers.autopilot.apply import Applier
from controllers.autopilot.overrides import Patched, PatchRules, patched
from controllers.autopilot.ownership import Contested
from controllers.autopilot.pointers import Pointer
from controllers.autopilot.voice import Voice
from controllers.autopilot.wanted import Memory, Wanted


class StaleError(ControllerRuntimeError):
    """The cache showed an older version than the server has: read it, look again."""


class Seen(NamedTuple):
    """An object that is there, and what users ask for."""

    wanted: Wanted
    memory: Memory
    live: Json
    wishes: Wishes
    made: Patched
    fields: tuple[Pointer, ...]
    """Left to others."""
    taken_from: tuple[str, ...] = ()
    """Managers whose fields were taken over in this look."""


class Customizer:
    """Makes what is applied to an object, and what stands in its way ours.

    Args:
        applier: Writes the server.
        voice: Tells of it.
        rules: What users' patches may do.
        overridden: Field managers that are people: what they wrote may be taken over.
    """

    def __init__(
        self,
        applier: Applier,
        voice: Voice,
        rules: PatchRules,
        overridden: Collection[str],
    ) -> None:
        self._applier = applier
        self._voice = voice
        self._rules = rules
        self._overridden = frozenset(overridden)

    def patched(self, wanted: Wanted, memory: Memory, wishes: Wishes) -> Patched:
        """Apply the patch that is in force, and tell of one that cannot be (S7)."""
        asked = {wishes.patch, wishes.last_good}
        memory.refused = {t: why for t, why in memory.refused.items() if t in asked}
        made = patched(
            wanted.baseline,
            wishes,
            self._rules,
            is_sensitive=wanted.asset.sensitive,
            refused=memory.refused,
        )
        if made.problem and made.problem != memory.problem:
            self._voice.bad_patch(wanted, made)
        memory.problem = made.problem
        return made

    def fields(
        self, wanted: Wanted, memory: Memory, wishes: Wishes
    ) -> tuple[Pointer, ...]:
        """Return the fields left to others, and tell of what is no field."""
        text = wishes.ignore_fields
        read = masks.read_masks(text, protected=self._rules.protected)
        if memory.masks != text:
            memory.masks, memory.atomic = text, frozenset()
            if read.problems:
                self._voice.bad_masks(wanted, read.problems)
        return read.pointers

    async def release(
        self, wanted: Wanted, live: Json, fields: tuple[Pointer, ...]
    ) -> Json:
        """Let go of fields on the server (S8); return the object as it then is.

        Raises:
            ConflictError: It has changed meanwhile.
        """
        manager = self._applier.field_manager
        ours = ownership.owned(live, manager=manager, pointers=fields)
        operations = ownership.release(live, manager=manager, pointers=ours)
        if operations is None:
            return live
        released = await self._applier.rewrite(live, operations)
        self._voice.released(wanted, ours)
        return released

    async def contested(self, seen: Seen, error: ApiError) -> tuple[Contested, ...]:
        """Return what was written by hand and may be why an apply is refused (S10)."""
        about = ownership.complaints(error)
        if not (about and self._overridden):
            return ()
        return ownership.contested(
            await self._with_owners(seen.live),
            self.effective(seen),
            about=about,
            managers=self._overridden,
            masked=seen.fields,
        )

    async def _with_owners(self, live: Json) -> Json:
        """Return an object with managedFields, even if somebody has cleared them."""
        metadata = live["metadata"]
        if metadata.get("managedFields"):
            return live
        entries = await self._applier.first_owners(live)
        return {**live, "metadata": {**metadata, "managedFields": entries}}

    async def take_over(self, seen: Seen, found: tuple[Contested, ...]) -> Seen:
        """Make it ours on the server, so that the next apply removes it.

        Raises:
            ConflictError: The object has changed meanwhile.
        """
        manager = self._applier.field_manager
        owned = await self._with_owners(seen.live)
        operations = ownership.take(owned, found, manager=manager)
        live = await self._applier.rewrite(seen.live, operations)
        managers = tuple(dict.fromkeys(each.manager for each in found))
        self._voice.taken(seen.wanted, managers, [each.pointer for each in found])
        return seen._replace(live=live, taken_from=managers)

    def as_if_masked(self, seen: Seen) -> Json:
        """Return what an apply would be told that changes no field left to others."""
        return masks.copied(self._marked(seen.made), seen.live, seen.fields)

    def _marked(self, made: Patched) -> Json:
        """Let the object remember the patch that is in force."""
        if not made.in_force:
            return made.object
        note = {self._rules.keys.last_good: made.in_force}
        return with_metadata(made.object, annotations=note)

    def effective(self, seen: Seen) -> Json:
        """Return what is applied: patched, and without the fields left to others.

        Those that cannot be let go of are copied from the object.
        """
        held = seen.memory.atomic
        free = [pointer for pointer in seen.fields if pointer not in held]
        effective = masks.out_of(self._marked(seen.made), free)
        return masks.copied(effective, seen.live, held.intersection(seen.fields))
