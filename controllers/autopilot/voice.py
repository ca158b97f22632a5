"""What is told of one object: Events, metrics and log, in the same breath.

One method for each thing that can happen to an object, so that the code that decides
says what happened and not how that is told.
"""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from controllers.autopilot import drift, masks
from controllers.autopilot.annotations import AnnotationKeys, Wishes
from controllers.autopilot.gauges import AutopilotMetrics, Customization
from controllers.autopilot.notices import Notices, Reason, first_few
from controllers.autopilot.overrides import Patched
from controllers.autopilot.pointers import Pointer, format_pointer
from controllers.autopilot.throttle import ThrottleOptions
from controllers.autopilot.wanted import Wanted

log = structlog.get_logger(__name__)


class Voice:
    """Tells what happens to objects."""

    def __init__(
        self, notices: Notices, metrics: AutopilotMetrics, keys: AnnotationKeys
    ) -> None:
        self._notices = notices
        self._metrics = metrics
        self._keys = keys

    def failed(self, wanted: Wanted, error: Exception) -> None:
        """It could not be brought in line."""
        self._metrics.compliant(wanted.target, is_so=False)
        name, target = wanted.asset.name, wanted.target
        why = str(error) or type(error).__name__
        self._tell(
            wanted,
            Reason.APPLY_FAILED,
            f"{name}: {target} could not be applied: {why}",
        )

    def unmanaged(self, wanted: Wanted) -> None:
        """A user has taken it over."""
        self._leave(wanted, [Customization.UNMANAGED])
        self._tell(
            wanted,
            Reason.UNMANAGED_MODE,
            f"{wanted.target} is unmanaged by annotation and left alone",
        )

    def excluded(self, wanted: Wanted) -> None:
        """The source object says that it is not to be applied."""
        self._metrics.incomparable(wanted.target)
        self._metrics.paused(wanted.target, is_so=False)

    def homeless(self, wanted: Wanted) -> None:
        """Its namespace or kind is not there: nothing is wrong, nothing to be done."""
        self._metrics.incomparable(wanted.target)
        log.debug("no place for it yet", target=str(wanted.target))

    def wishes(self, wanted: Wanted, wishes: Wishes) -> None:
        """Users have said something about it, or nothing."""
        present = {
            Customization.PATCH: wishes.patch,
            Customization.IGNORE: wishes.ignore_fields,
        }
        kinds = [kind for kind, text in present.items() if text]
        self._metrics.customized(wanted.target, kinds)
        if wishes.has_unknown_mode:
            self._tell(
                wanted,
                Reason.INVALID_MODE,
                f"{self._keys.mode} of {wanted.target}: {wishes.mode[:100]!r} is not "
                "unmanaged; the object is managed",
            )

    def bad_patch(self, wanted: Wanted, made: Patched) -> None:
        """A user's patch cannot be used."""
        target = wanted.target
        self._metrics.invalid(target, Customization.PATCH)
        self._tell(
            wanted,
            Reason.INVALID_PATCH,
            f"{self._keys.patch} of {target} cannot be used: {made.problem}",
        )
        if made.is_held:
            self._tell(
                wanted,
                Reason.PATCH_HELD,
                f"the last good patch of {target} stays in force "
                f"({made.operations} operations)",
            )

    def bad_masks(self, wanted: Wanted, problems: Sequence[str]) -> None:
        """Some of the fields that a user wants left alone are none."""
        self._metrics.invalid(wanted.target, Customization.IGNORE)
        for problem in first_few(problems):
            self._tell(
                wanted,
                Reason.INVALID_IGNORE_FIELDS,
                f"{self._keys.ignore_fields} of {wanted.target}: {problem}; the other "
                "fields are left alone",
            )

    def released(self, wanted: Wanted, fields: Sequence[Pointer]) -> None:
        """Fields are ours no more."""
        self._tell(
            wanted,
            Reason.OWNERSHIP_RELEASED,
            f"{wanted.target}: {masks.describe(fields)} left to others",
        )

    def shared(self, wanted: Wanted, fields: Sequence[Pointer]) -> None:
        """Fields keep their values, and stay ours as well."""
        self._tell(
            wanted,
            Reason.OWNERSHIP_RELEASED,
            f"{wanted.target}: {masks.describe(fields)} left alone, and co-owned: part "
            "of what the server treats as one value (atomic)",
        )

    def taken(
        self, wanted: Wanted, managers: Sequence[str], fields: Sequence[Pointer]
    ) -> None:
        """What was written by hand is ours: nothing could be applied beside it."""
        target, who = wanted.target, ", ".join(managers)
        places = [format_pointer(field) for field in fields]
        log.info(
            "ownership taken", target=str(target), managers=managers, fields=places
        )
        self._tell(
            wanted,
            Reason.OWNERSHIP_TAKEN,
            f"{target}: {drift.describe(places)} taken over from {who}, since the API "
            "server takes nothing of ours beside it",
        )

    def synced(self, wanted: Wanted) -> None:
        """It is as wanted."""
        self._metrics.compliant(wanted.target, is_so=True)
        self._metrics.paused(wanted.target, is_so=False)

    def drifted(self, wanted: Wanted, places: Sequence[str]) -> None:
        """It is not as wanted."""
        self._metrics.compliant(wanted.target, is_so=False)
        self._tell(
            wanted,
            Reason.DRIFT_DETECTED,
            f"{wanted.target} is not as wanted at {drift.describe(places)}",
        )

    def throttled(self, wanted: Wanted, options: ThrottleOptions) -> None:
        """It was corrected too often to be corrected again now."""
        self._metrics.compliant(wanted.target, is_so=False)
        self._tell(
            wanted,
            Reason.THROTTLED,
            f"{wanted.target} was applied {options.capacity} times within "
            f"{options.window:g} s; the next time is when there is a turn",
        )

    def still_paused(self, wanted: Wanted) -> None:
        """It stays paused."""
        self._metrics.paused(wanted.target, is_so=True)

    def compared(self, wanted: Wanted, *, is_as_wanted: bool) -> None:
        """It was compared, and nothing will be done about it."""
        self._metrics.compliant(wanted.target, is_so=is_as_wanted)

    def war(
        self, wanted: Wanted, *, against: str, edits: int, places: Sequence[str]
    ) -> None:
        """Somebody undid every correction, and it is paused."""
        target = wanted.target
        self._metrics.war(target)
        self._metrics.paused(target, is_so=True)
        self._metrics.compliant(target, is_so=False)
        log.warning("paused after an edit war", target=str(target), against=against)
        self._tell(
            wanted,
            Reason.THRASHING_DETECTED,
            f"{against} undid {edits} corrections of {target} at "
            f"{drift.describe(places)}; it is paused. Stop {against}, then remove the "
            f"annotation {self._keys.paused} to go on, or set {self._keys.mode}="
            "unmanaged to leave the object to it",
        )

    def resumed(self, wanted: Wanted) -> None:
        """A user has ended the pause."""
        self._metrics.paused(wanted.target, is_so=False)
        self._notices.forget(
            str(wanted.target), Reason.THRASHING_DETECTED, Reason.THROTTLED
        )
        log.info("resumed", target=str(wanted.target))

    def applied(self, wanted: Wanted, made: Patched, *, is_new: bool) -> None:
        """It was created, or corrected."""
        target, name = wanted.target, wanted.asset.name
        self.synced(wanted)
        log.info("applied", asset=name, target=str(target), created=is_new)
        self._tell(wanted, Reason.ASSET_APPLIED, f"{name}: {target} applied")
        if not is_new:
            self._tell(wanted, Reason.DRIFT_CORRECTED, f"{target} is as wanted again")
        if made.in_force:
            self._tell(
                wanted,
                Reason.PATCH_APPLIED,
                f"{target} applied with a patch of {made.operations} operations",
            )

    def _leave(self, wanted: Wanted, kinds: Sequence[Customization]) -> None:
        self._metrics.incomparable(wanted.target)
        self._metrics.paused(wanted.target, is_so=False)
        self._metrics.customized(wanted.target, kinds)

    def _tell(self, wanted: Wanted, reason: Reason, note: str) -> None:
        self._notices.tell(
            reason, note, what=str(wanted.target), target=wanted.reference
        )
