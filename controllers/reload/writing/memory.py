"""Which content workloads are known to run with, against records that go back in time.

    written, and answered          known, as of the version in the answer
    a later version agrees         known, as of that version
    refused                        known as before
    written, and no answer         in doubt until a later version agrees: what was known
                                   counts only if there is no record at all
    the first of all, not written  known: what changes until it is written reloads

`kubectl rollout undo` of a Deployment gives it the template of an old ReplicaSet, and
the annotations that the Deployment had then, the record among them. Compared with the
sources this looks like a change. But the pods are made anew by the rollback itself,
with what the sources hold now.

So a record that is one of those that were true before, and not the last of them, was
put back by somebody. What is known of the last then counts: a source that still holds
it has not changed, and is written into the record without a reload; one that holds
something else has changed, and reloads.

Nor is a record that is gone a reason to begin anew: its owner writes all annotations.

A record that was never seen before is believed: another process has written it. That
a version counts only if it is later than the last write keeps a cache that lags from
teaching what is past.

For each workload that is the last record, which the cache has as well and which is not
kept twice, and eight bytes for each before it. It is lost with the process, which ends
with the Lease. After a rollback while nobody looked there is one reload too many:
nothing that the workload carries tells it from a change, and in doubt a workload
reloads.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from hashlib import blake2b

import msgspec

from controllers.reload.record import NO_RECORD
from controllers.reload.workloads import Workload, WorkloadKey

_PAST_MAX = 10
"""Records before the last that are known of a workload: with it, as many as a
Deployment keeps templates, by default, and the present one."""

_WIDTH = 8
"""Bytes of the hash of one: they need only be told from others of the same workload."""


class _Known(msgspec.Struct, frozen=True, gc=False):
    uid: str
    version: tuple[int, str]
    """That it is known of, or since which it is in doubt."""

    latest: str | None = None
    """The record that was true last."""

    past: bytes = b""
    """Hashes of those that were true before it, oldest first."""

    is_sure: bool = True

    def then(self, text: str, version: tuple[int, str]) -> _Known:
        """Return what is known once a record was true."""
        past = self.past
        if self.latest not in {None, text}:
            past = (past + _hash(self.latest or ""))[-_PAST_MAX * _WIDTH :]
        return _Known(self.uid, version, text, past)

    def is_past(self, text: str) -> bool:
        """Tell whether a record was true before the last."""
        if not self.past:
            return False
        sought = _hash(text)
        places = range(0, len(self.past), _WIDTH)
        return any(self.past[at : at + _WIDTH] == sought for at in places)


class Memory:
    """Records of workloads, as annotations have them."""

    def __init__(self) -> None:
        self._known: dict[WorkloadKey, _Known] = {}

    def __len__(self) -> int:
        return len(self._known)

    def learn(self, workload: Workload, text: str, version: str = "") -> None:
        """Note a record that is true.

        Args:
            workload: Whose it is.
            text: The record.
            version: Resource version that it was written at; by default it was seen,
                at that of `workload`.
        """
        seen = _order(version or workload.meta.resource_version)
        known = self._of(workload) or _Known(workload.meta.uid, _BEFORE_ALL)
        is_known = known.is_sure and (seen, text) == (known.version, known.latest)
        if seen <= known.version and not is_known:
            return  # a cache that lags
        # Also what is known: the text that the cache has takes the place of our own.
        self._known[workload.key] = known.then(text, seen)

    def doubt(self, workload: Workload) -> Callable[[], None]:
        """Note that a write of a workload begins, whose answer may be lost.

        Returns:
            Takes that back: to be called if the write was surely not made.
        """
        known = self._of(workload)
        base = known or _Known(workload.meta.uid, _BEFORE_ALL)
        version = max(_order(workload.meta.resource_version), base.version)
        self._known[workload.key] = msgspec.structs.replace(
            base, version=version, is_sure=False
        )
        return partial(self._restore, workload.key, known)

    def overrides(self, workload: Workload, text: str) -> str | None:
        """Return the record that is true, if `text`, which a workload has, is older."""
        known = self._of(workload)
        if known is None or known.latest in {None, text}:
            return None
        if text == NO_RECORD:
            return known.latest  # in doubt, too: what was written would be there
        is_older = known.is_sure and known.is_past(text)
        return known.latest if is_older else None

    def is_latest(self, workload: Workload, text: str) -> bool:
        """Tell whether this is the record that a workload is known to have had."""
        known = self._of(workload)
        return known is not None and known.is_sure and known.latest == text

    def forget(self, key: WorkloadKey) -> None:
        """Let go of a workload that is no more."""
        self._known.pop(key, None)

    def _restore(self, key: WorkloadKey, known: _Known | None) -> None:
        if known is None:
            self._known.pop(key, None)
        else:
            self._known[key] = known

    def _of(self, workload: Workload) -> _Known | None:
        known = self._known.get(workload.key)
        return known if known is not None and known.uid == workload.meta.uid else None


_BEFORE_ALL = (-1, "")


def _order(version: str) -> tuple[int, str]:
    return len(version), version  # numbers, of any length


def _hash(text: str) -> bytes:
    return blake2b(text.encode(), digest_size=_WIDTH).digest()
