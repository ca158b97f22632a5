"""The newest record of a release, as a status tells of it."""

from __future__ import annotations

from controllers.release.history import is_recorded, release_status, with_snapshot
from controllers.release.identity import is_same_digest
from controllers.release.inventory import to_status
from controllers.release.look import Look
from controllers.release.observe import Observer


class Snapshots:
    """Unpacks records that a status does not know yet."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer

    async def take(self, look: Look) -> None:
        """Have the status of a look speak of the newest record.

        Raises:
            DecodeError: It cannot be read.
        """
        newest = look.newest
        if newest is None:
            look.update(helm_release=None, inventory=None)
            return
        if is_recorded(look.status, newest):
            return
        payload = await self._observer.payload(newest)
        items = await self._observer.items(payload, look.key)
        release = release_status(
            look.key, newest, payload, chart_digest=_chart_digest(look)
        )
        last = look.status.last_attempted
        history = with_snapshot(
            look.status.history,
            release,
            action=last.action if last is not None else "adopt",
            revisions=look.revisions,
        )
        look.update(helm_release=release, history=history, inventory=to_status(items))


def _chart_digest(look: Look) -> str:
    """Return the digest of the chart that the newest record deploys, if known."""
    if look.newest is None:
        return ""
    digest = look.newest.digest
    if is_same_digest(digest, look.desired.digest):
        return look.desired.chart.digest
    known = (it for it in look.status.history if it.config_digest == digest)
    return next((it.chart_digest for it in known), "")
