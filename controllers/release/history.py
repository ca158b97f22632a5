"""What a status remembers of a release: pure.

    records, payload, what we did ─▶ helmRelease, history

Of the records, Helm keeps `maxHistory`; of the snapshots there are five at most, and
each is a few hundred bytes, so a status never grows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from api.release.status import HelmReleaseStatus, ManagedRoostStatus, Snapshot
from controllers.release.identity import ReleaseKey
from controllers.release.records import HelmStatus, Payload, Revision

MAX_SNAPSHOTS = 5
MAX_NOTES = 4096
"""Characters of notes that a status has."""

_GOOD = frozenset({HelmStatus.DEPLOYED, HelmStatus.SUPERSEDED})


def last_good(revisions: Iterable[Revision]) -> Revision | None:
    """Return the newest revision that was deployed, if Helm still has one."""
    good = (it for it in revisions if it.status in _GOOD)
    return max(good, key=lambda it: it.number, default=None)


def release_status(
    key: ReleaseKey, newest: Revision, payload: Payload, *, chart_digest: str
) -> HelmReleaseStatus:
    """Return what a status says about the newest revision."""
    return HelmReleaseStatus(
        name=key.name,
        namespace=key.namespace,
        revision=newest.number,
        status=newest.status.value,
        description=payload.description[:1024],
        notes=payload.notes[:MAX_NOTES],
        first_deployed=payload.first_deployed,
        last_deployed=payload.last_deployed,
        chart_name=payload.chart_name,
        chart_version=payload.chart_version,
        app_version=payload.app_version,
        chart_digest=chart_digest,
        config_digest=newest.digest,
    )


def with_snapshot(
    history: Sequence[Snapshot],
    release: HelmReleaseStatus,
    *,
    action: str,
    revisions: Iterable[Revision],
) -> tuple[Snapshot, ...]:
    """Return the history with the newest revision in front.

    Args:
        history: As it was.
        release: The newest revision.
        action: What made it, if it is not in the history yet.
        revisions: All that Helm has, for what became of the others.
    """
    statuses: Mapping[int, str] = {it.number: it.status.value for it in revisions}
    known = next((it for it in history if it.revision == release.revision), None)
    newest = Snapshot(
        revision=release.revision,
        status=release.status,
        action=known.action if known else action,
        chart_version=release.chart_version,
        chart_digest=release.chart_digest,
        config_digest=release.config_digest,
        deployed_at=release.last_deployed,
    )
    older = (
        it.model_copy(update={"status": statuses.get(it.revision, it.status)})
        for it in history
        if it.revision < release.revision
    )
    return (newest, *older)[:MAX_SNAPSHOTS]


def is_recorded(status: ManagedRoostStatus, newest: Revision) -> bool:
    """Tell whether a status speaks of the newest revision as it is now."""
    release = status.helm_release
    return (
        release is not None
        and release.revision == newest.number
        and release.status == newest.status.value
        and release.config_digest == newest.digest
        and status.inventory is not None
    )
