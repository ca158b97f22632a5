"""Which content workloads are known to run with, against records that go back in time.

    written, and answered          known, as of the version in the answer
    a later version agrees         known, as of that version
    refused                        known as before
    written, and no answer         nothing is known until a later version agrees

`kubectl rollout undo` of a Deployment gives it the template of an old ReplicaSet, and
the annotations that the Deployment had then, the record among them. Compared with the
sources this looks like a change. But the pods are made anew by the rollback itself,
with what the sources hold now.

So a record that is one of those that were true before, and not the last of them, was
put back by somebody. What is known of the last then counts: a source that still holds
it has not changed, and is written into the record without a reload; one that holds
something else has changed, and reloads.

A record that was never seen before is believed: another process has written it. That
a version counts only if it is later than the last write keeps a cache that lags from
teaching what is past.

It is one short text for a workload, mostly; lost with the process, which ends with
the Lease. After a rollback while nobody looked there is one reload too many: nothing
that the workload carries tells it from a change, and in doubt a workload reloads.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from controllers.reload.workloads import Workload, WorkloadKey

_TEXTS_MAX = 11
"""Records that are kept for a workload: as many as a Deployment keeps templates, by
default, and the present one."""


class _Known(NamedTuple):
    uid: str
    version: tuple[int, str]
    """That it is known of, or since which it is in doubt."""

    texts: tuple[str, ...] = ()
    """Records that were true, oldest first, no two neighbours alike."""

    is_sure: bool = True


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
        known = self._of(workload)
        if known is not None and seen <= known.version:
            return  # a cache that lags, or nothing new
        texts = () if known is None else known.texts
        if texts[-1:] != (text,):
            texts = (*texts, text)[-_TEXTS_MAX:]
        self._known[workload.key] = _Known(workload.meta.uid, seen, texts)

    def doubt(self, workload: Workload) -> Callable[[], None]:
        """Note that a write of a workload begins, whose answer may be lost.

        Returns:
            Takes that back: to be called if the write was surely not made.
        """
        known = self._of(workload)
        texts = () if known is None else known.texts
        version = _order(workload.meta.resource_version)
        if known is not None:
            version = max(version, known.version)
        self._known[workload.key] = _Known(
            workload.meta.uid, version, texts, is_sure=False
        )
        return partial(self._restore, workload.key, known)

    def overrides(self, workload: Workload, text: str) -> str | None:
        """Return the record that is true, if `text`, which a workload has, is older."""
        known = self._of(workload)
        if known is None or not known.is_sure or text not in known.texts[:-1]:
            return None
        latest = known.texts[-1]
        return None if text == latest else latest

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


def _order(version: str) -> tuple[int, str]:
    return len(version), version  # numbers, of any length
