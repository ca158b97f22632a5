"""News → `Alert`: what is told, apart from how a sink wants it written.

An event is called as the topic of its news is, so a new topic needs one line, and a
place among `KINDS`. What waits is no alert, but for what the storm brake holds; nor is
what was planned in a dry run, or was left alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from controllers.reload.gates import HoldReason
from controllers.reload.news import News
from controllers.reload.sources import SourceKey, SourceKind
from controllers.reload.workloads import WorkloadKey

SOURCES_MAX = 5
"""Sources that one alert names; chats cut messages of more than 28 KB."""

ERROR_MAX = 500
"""Characters of an error that are told."""


class Severity(StrEnum):
    """How bad it is: the colour."""

    GOOD = "good"
    WARNING = "warning"
    BAD = "bad"


class Kind(NamedTuple):
    """A sort of alert."""

    event: str
    """As the topic of news, the settings and generic JSON name it."""

    title: str
    severity: Severity


class Change(NamedTuple):
    """A source that changed."""

    source: SourceKey
    hash: str
    """The marker that the pods get: says that content differs, not what it is."""

    @property
    def kind(self) -> str:
        """`ConfigMap`, `Secret` or `SecretProviderClass`."""
        return _KINDS[self.source.kind]


class Alert(NamedTuple):
    """One thing that is told."""

    kind: Kind
    workload: WorkloadKey
    changes: tuple[Change, ...]
    """None where they are not known, for a rollout that another process began."""

    strategy: str
    time: datetime
    """With a zone."""

    text: str
    """What came of it, after the name of the workload."""

    error: str = ""

    @property
    def resources(self) -> str:
        """The sources, as `Secret/db`."""
        names = [f"{it.kind}/{it.source.name}" for it in self.changes[:SOURCES_MAX]]
        return ", ".join([*names, *_more(self)])


RELOADED = Kind("reloaded", "Workload reloaded", Severity.GOOD)
FAILED = Kind("failed", "Reload failed", Severity.BAD)
ROLLOUT_COMPLETE = Kind("rolloutComplete", "Rollout complete", Severity.GOOD)
ROLLOUT_FAILED = Kind("rolloutFailed", "Rollout failed", Severity.BAD)
THROTTLED = Kind("throttled", "Reloads throttled", Severity.WARNING)

KINDS = (RELOADED, FAILED, ROLLOUT_COMPLETE, ROLLOUT_FAILED, THROTTLED)

EVENTS = tuple(kind.event for kind in KINDS)
"""Every event that there is."""

_TOLD: Mapping[str, Kind] = {kind.event: kind for kind in KINDS}

_HELD: Mapping[HoldReason, Kind] = {HoldReason.THROTTLED: THROTTLED}
"""Reasons to wait that are told."""

_KINDS: Mapping[SourceKind, str] = {
    SourceKind.CONFIG_MAP: "ConfigMap",
    SourceKind.SECRET: "Secret",
    SourceKind.SECRET_PROVIDER_CLASS: "SecretProviderClass",
}


def alert_of(news: News) -> Alert | None:
    """Return what is told of news; `None` if nothing is."""
    kind = _TOLD.get(news.topic)
    if news.hold is not None:
        kind = _HELD.get(news.hold.reason)
    if kind is None:
        return None
    plan = news.plan
    return Alert(
        kind=kind,
        workload=news.workload.key,
        changes=tuple(Change(it.source, it.hash) for it in plan.markers),
        strategy=plan.strategy.value,
        time=news.now,
        text=_cut(news.outcome.text),
        error="" if news.error is None else _cut(str(news.error)),
    )


def sentence(alert: Alert, info: str = "") -> str:
    """Say it in one sentence, with names between asterisks: bold in chats.

    Name, type and namespace of each source, then those of the workload, stand in the
    order of stakater's Reloader, and so does what the user adds to all of them.
    """
    sources = [
        f"*{name}* of type *{kind.type_name}* in namespace *{namespace}*"
        for kind, namespace, name in (it.source for it in alert.changes[:SOURCES_MAX])
    ]
    kind, namespace, name = alert.workload
    changed = ", ".join([*sources, *_more(alert)])
    text = f"*{name}* of type *{kind}* in namespace *{namespace}* {alert.text}"
    if changed:
        text = f"{changed} changed: {text}"
    return f"{info} : {text}" if info else text


def _more(alert: Alert) -> list[str]:
    left = len(alert.changes) - SOURCES_MAX
    return [f"{left} more"] if left > 0 else []


def _cut(text: str) -> str:
    return text if len(text) <= ERROR_MAX else f"{text[: ERROR_MAX - 1]}…"
