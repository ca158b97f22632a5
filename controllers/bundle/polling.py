"""When a bundle's registry is asked, and what its answer is for the status.

    never, on request, at its time, or asked about something else ─▶ look
        an answer    ─▶ candidate ─▶ new to us? ─▶ validate
        no answer    ─▶ back off
    a candidate that is no bundle ─▶ told, and not fetched again until it changes

Times are in the status, so a restart asks nobody. Bundles whose time came while no
manager ran are spread, since they would all ask at once.
"""

from __future__ import annotations

from random import Random

from controller_runtime import NamespacedName
from controllers.bundle import status
from controllers.bundle.artifact import VALID
from controllers.bundle.errors import BlockedError
from controllers.bundle.intention import RECONCILE_REQUESTED, Intention
from controllers.bundle.options import BundleOptions
from controllers.bundle.registry import (
    REACHABLE,
    Login,
    Poller,
    Seen,
    login,
    scope_of,
)
from controllers.bundle.schedule import (
    FAILED_FROM,
    after_failure,
    counts,
    next_poll,
    whole,
)
from controllers.bundle.sources import Sources
from controllers.bundle.status import Draft
from controllers.bundle.versions import GONE
from controllers.bundle.versions import RESOLVED as VERSION_RESOLVED
from controllers.oci import AuthenticationFailedError, RegistryError


class Polling:
    """Keeps the candidates of bundles up to date."""

    def __init__(
        self,
        poller: Poller,
        sources: Sources,
        randomness: Random,
        options: BundleOptions,
    ) -> None:
        self._poller = poller
        self._sources = sources
        self._randomness = randomness
        self._options = options
        self._met: set[NamespacedName] = set()
        """Bundles that were looked at since the manager started."""

    def forget(self, key: NamespacedName) -> None:
        """Forget a bundle that is gone."""
        self._met.discard(key)

    async def poll(
        self, draft: Draft, intention: Intention, known: Login, *, fresh: bool
    ) -> None:
        """Ask the registry if it is time, and write down when to ask again.

        Args:
            draft: Gets the candidate, or what was wrong.
            intention: What is wanted.
            known: As whom to ask.
            fresh: Whether to ask in any case.

        Raises:
            BlockedError: Nothing is there that is wanted, or it is no bundle.
        """
        if self._is_due(draft, scope_of(intention, known), fresh=fresh):
            await self._poll(draft, intention, known, fresh=fresh)

    def _is_due(self, draft: Draft, scope: str, *, fresh: bool) -> bool:
        key, seen = draft.bundle.key, draft.status
        is_new, at = key not in self._met, seen.next_poll_time
        self._met.add(key)
        if fresh or at is None or seen.etag_scope != scope:
            return True
        if draft.now < at:
            return False
        if is_new and seen.last_poll_time is not None and self._options.spread:
            span = min(draft.bundle.spec.registry.poll_interval, self._options.spread)
            wait = span * self._randomness.random()
            draft.set(next_poll_time=whole(draft.now + wait))
            return False
        return True

    async def _poll(
        self, draft: Draft, intention: Intention, known: Login, *, fresh: bool
    ) -> None:
        scope = scope_of(intention, known)
        interval = intention.registry.poll_interval
        later = whole(draft.now + next_poll(interval, self._randomness))
        draft.set(last_poll_time=draft.now, next_poll_time=later)
        try:
            seen = await self._look(draft, intention, known, fresh=fresh)
            draft.set(etag_scope=scope)
            if seen is not None:
                draft.set(last_e_tag=seen.etag)
                await self._take(draft, intention, known, seen, fresh=fresh)
            # Not before all of it was fetched: failures are counted until then.
            status.reached(draft, is_unchanged=seen is not None and seen.is_unchanged)
        except RegistryError as error:
            draft.set(etag_scope=scope, last_e_tag="")
            status.unreached(draft, error, counts=counts(error.reason))
            wait = after_failure(
                error.reason,
                draft.status.consecutive_failures,
                interval=interval,
                first=self._options.first_failure,
                randomness=self._randomness,
                retry_after=error.retry_after,
            )
            draft.set(next_poll_time=whole(draft.now + wait))
        except BlockedError as error:
            draft.set(etag_scope=scope)
            if error.condition != REACHABLE:
                status.reached(draft, is_unchanged=False)
            raise

    async def _look(
        self, draft: Draft, intention: Intention, known: Login, *, fresh: bool
    ) -> Seen | None:
        """Find the candidate; `None` if the one that is known stays."""
        poller = self._poller
        try:
            try:
                return await poller.look(intention, known, draft.status, fresh=fresh)
            except AuthenticationFailedError:
                # The token may be old, or the Secret new: once more, and no more.
                poller.forget(intention, known)
                known = await login(
                    draft.bundle, intention, self._sources, self._options
                )
                return await poller.look(intention, known, draft.status, fresh=True)
        except BlockedError as error:
            if error.reason != "DowngradeBlocked":
                raise
            if draft.is_true(VERSION_RESOLVED):
                draft.warn("DowngradeBlocked", "Poll", str(error))
            draft.condition(VERSION_RESOLVED, "False", error.reason, str(error))
            return None

    async def _take(
        self,
        draft: Draft,
        intention: Intention,
        known: Login,
        seen: Seen,
        *,
        fresh: bool,
    ) -> None:
        """Make what was seen the candidate, and check it if it is new."""
        observed, before = seen.observed, draft.status.observed
        draft.condition(VERSION_RESOLVED, "True", "Resolved", observed.tag)
        if before is None or (before.tag, before.digest) != (
            observed.tag,
            observed.digest,
        ):
            _announce(draft, intention, known, seen)
        draft.set(observed=observed)
        is_known = before is not None and before.digest == observed.digest
        if _is_refused(draft) and (fresh or not is_known):
            draft.drop(VALID)  # it spoke of another one, or is to be looked at anew
        if observed.validated_at is None and not _is_refused(draft):
            chart = await self._poller.validate(intention, known, observed)
            observed = observed.model_copy(
                update={"chart_version": chart.version, "validated_at": draft.now}
            )
            draft.set(observed=observed)
        if observed.validated_at is not None:
            draft.condition(VALID, "True", "Valid", observed.digest)

    def has_candidate(self, draft: Draft, intention: Intention) -> bool:
        """Tell whether there is something that may be applied."""
        observed = draft.status.observed
        if observed is None or observed.selection != intention.selection:
            return False
        if draft.status.consecutive_failures >= FAILED_FROM:
            return False
        missing = draft.find(VERSION_RESOLVED)
        if missing is not None and missing.reason in GONE:
            raise BlockedError(
                missing.message, condition=VERSION_RESOLVED, reason=missing.reason
            )
        if observed.validated_at is None:
            refusal = draft.find(VALID)
            if refusal is not None and _is_refused(draft):
                raise BlockedError(
                    refusal.message, condition=VALID, reason=refusal.reason
                )
            return False
        return True


def _is_refused(draft: Draft) -> bool:
    refusal = draft.find(VALID)
    return refusal is not None and refusal.status == "False"


def take_request(draft: Draft) -> bool:
    """Take note of a request to look now; return whether there is a new one."""
    asked = draft.bundle.metadata.annotations.get(RECONCILE_REQUESTED, "")
    if not asked or asked == draft.status.handled_reconcile_at:
        return False
    draft.set(handled_reconcile_at=asked, apply_attempts=0, next_retry_time=None)
    return True


def _announce(draft: Draft, intention: Intention, known: Login, seen: Seen) -> None:
    """Tell of a new candidate, and of what is odd about it."""
    tag, found = seen.observed.tag, seen.observed.digest
    draft.tell("VersionResolved", "Poll", f"{tag} is the candidate ({found})")
    if seen.is_guess:
        note = f"no tag is a version: {tag}, the last in the alphabet, is taken"
        draft.warn("UnorderedTags", "Poll", note)
    if known.tls.skip_verify:
        note = f"{intention.repository.host} is believed without verification"
        draft.warn("InsecureTLS", "Poll", note)
