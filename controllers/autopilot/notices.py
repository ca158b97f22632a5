"""Events of the autopilot: one voice, no repetition, no cause lost.

    Notice ─▶ told lately? ─no─▶ Event on the source object, and on the target

Events of one reason, action and object are one to Kubernetes, and keep the first note.
So the action names the target and, where causes differ, a hash of the cause: two ways
to get a patch wrong are two Events. The same notice is told again after ten minutes at
the soonest, however often the reason for it comes up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum
from hashlib import blake2b

from controller_runtime import EventRecorder, ObjectReference

_QUIET = 600.0
"""Seconds until the same is told again."""

_MOST = 5
"""Problems of one annotation that are told one by one."""

_NOTE_BYTES = 1000
"""Longest note; the API server takes 1024."""


class Reason(StrEnum):
    """Why there is an Event; scripts may look for these."""

    ASSET_APPLIED = "AssetApplied"
    ASSET_SKIPPED = "AssetSkipped"
    APPLY_FAILED = "ApplyFailed"
    CRD_DISCOVERED = "CRDDiscovered"
    CRD_MISSING = "CRDMissing"
    DRIFT_CORRECTED = "DriftCorrected"
    DRIFT_DETECTED = "DriftDetected"
    INVALID_EXCLUSION = "InvalidExclusion"
    INVALID_IGNORE_FIELDS = "InvalidIgnoreFields"
    INVALID_MODE = "InvalidMode"
    INVALID_PATCH = "InvalidPatch"
    OWNERSHIP_RELEASED = "OwnershipReleased"
    OWNERSHIP_TAKEN = "OwnershipTaken"
    PATCH_APPLIED = "PatchApplied"
    PATCH_HELD = "PatchHeld"
    RECONCILE_FAILED = "ReconcileFailed"
    RECONCILE_SUCCEEDED = "ReconcileSucceeded"
    RENDER_FAILED = "RenderFailed"
    THRASHING_DETECTED = "ThrashingDetected"
    THROTTLED = "Throttled"
    TOMBSTONE_DELETED = "TombstoneDeleted"
    TOMBSTONE_FAILED = "TombstoneFailed"
    TOMBSTONE_SKIPPED = "TombstoneSkipped"
    UNMANAGED_MODE = "UnmanagedMode"


_WARNINGS = frozenset(Reason) - {
    Reason.ASSET_APPLIED,
    Reason.ASSET_SKIPPED,
    Reason.CRD_DISCOVERED,
    Reason.DRIFT_CORRECTED,
    Reason.OWNERSHIP_RELEASED,
    Reason.OWNERSHIP_TAKEN,
    Reason.PATCH_APPLIED,
    Reason.RECONCILE_SUCCEEDED,
    Reason.TOMBSTONE_DELETED,
    Reason.UNMANAGED_MODE,
}

_CAUSES_DIFFER = frozenset(
    {
        Reason.APPLY_FAILED,
        Reason.INVALID_EXCLUSION,
        Reason.INVALID_IGNORE_FIELDS,
        Reason.INVALID_PATCH,
        Reason.OWNERSHIP_RELEASED,
        Reason.OWNERSHIP_TAKEN,
        Reason.RECONCILE_FAILED,
        Reason.RENDER_FAILED,
        Reason.TOMBSTONE_FAILED,
    }
)
"""Reasons of which there may be several at once about one object."""


class Notices:
    """Tells of what happens, about one source object.

    Args:
        recorder: Writes the Events.
        now: Seconds on a clock that does not go back.
    """

    def __init__(self, recorder: EventRecorder, now: Callable[[], float]) -> None:
        self._recorder = recorder
        self._now = now
        self._source: ObjectReference | None = None
        self._told: dict[tuple[Reason, str, str], float] = {}

    def about(self, source: ObjectReference) -> None:
        """Let Events be about this source object from now on."""
        # Without a version, so that a source that changes does not split series.
        self._source = source._replace(resource_version="")

    def tell(
        self,
        reason: Reason,
        note: str,
        *,
        what: str,
        target: ObjectReference | None = None,
    ) -> bool:
        """Write an Event, unless the same was told lately; return whether it was.

        Args:
            reason: Why.
            note: The sentence for people; cut where it is too long.
            what: What it is about, such as `MachineConfig/90-swap` or an asset.
            target: That object, if it has a namespace to hold an Event of its own.
        """
        key = (reason, what, note)
        now = self._now()
        if now - self._told.get(key, float("-inf")) < _QUIET:
            return False
        self._told = {k: at for k, at in self._told.items() if now - at < _QUIET}
        self._told[key] = now
        for regarding in filter(None, (self._source, target)):
            self._recorder.event(
                regarding,
                type="Warning" if reason in _WARNINGS else "Normal",
                reason=reason,
                action=_action(reason, what, note),
                note=cut_note(note),
            )
        return True

    def forget(self, what: str, *reasons: Reason) -> None:
        """Tell again at once what is told of this for these reasons."""
        self._told = {
            key: at
            for key, at in self._told.items()
            if key[1] != what or key[0] not in reasons
        }


def first_few(problems: Iterable[str]) -> Sequence[str]:
    """Return the first of many problems: an annotation has room for thousands."""
    every = list(problems)
    more = len(every) - _MOST
    return every if more <= 0 else [*every[:_MOST], f"and {more} more problems"]


def cut_note(note: str) -> str:
    """Shorten a note to what an Event holds, at the end of a character."""
    encoded = note.encode()
    if len(encoded) <= _NOTE_BYTES:
        return note
    return encoded[: _NOTE_BYTES - 3].decode(errors="ignore") + "…"


def _action(reason: Reason, what: str, note: str) -> str:
    """Name what was done, in the 128 bytes that there are."""
    words = [reason.value, what]
    if reason in _CAUSES_DIFFER:
        words.append(_hash(note))
    action = " ".join(words)
    if len(action.encode()) <= 128:
        return action
    # The end of a long name may be what tells it from others.
    return f"{reason.value} {_hash(what)} {_hash(note)}"


def _hash(text: str) -> str:
    return blake2b(text.encode(), digest_size=4).hexdigest()
