"""Events: one collection behind two kinds, core/v1 and events.k8s.io/v1.

Stored as core/v1, as the real server does; the newer kind has other names for most
fields and stricter rules (kubernetes `pkg/apis/core/validation/events.go`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType

from controller_runtime.meta import Json
from controller_runtime.testing.apiserver.status import Cause

SELECTABLE: Mapping[str, str] = MappingProxyType(
    dict.fromkeys(
        (
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "involvedObject.apiVersion",
            "involvedObject.resourceVersion",
            "involvedObject.fieldPath",
            "reason",
            "reportingComponent",
            "source",
            "type",
        ),
        "",
    )
)

_NEW_NAMES: Mapping[str, str] = MappingProxyType(
    {
        "involvedObject": "regarding",
        "message": "note",
        "reportingComponent": "reportingController",
        "firstTimestamp": "deprecatedFirstTimestamp",
        "lastTimestamp": "deprecatedLastTimestamp",
        "count": "deprecatedCount",
        "source": "deprecatedSource",
    }
)
_OLD_NAMES = {new: old for old, new in _NEW_NAMES.items()}

SELECTABLE_NEW: Mapping[str, str] = MappingProxyType(
    {
        ".".join([_NEW_NAMES.get(first, first), *rest]): ""
        for first, *rest in (name.split(".") for name in SELECTABLE)
    }
)

_IMMUTABLE = (
    "involvedObject",
    "reason",
    "message",
    "type",
    "eventTime",
    "action",
    "related",
    "reportingController",
    "reportingInstance",
)
_LIMITS = {"reportingInstance": 128, "action": 128, "reason": 128, "message": 1024}
"""Longest values, in bytes."""


def to_core(event: Json) -> Json:
    """Return an events.k8s.io Event as a core Event."""
    renamed = {_OLD_NAMES.get(name, name): value for name, value in event.items()}
    return {**renamed, "apiVersion": "v1"}


def from_core(event: Json) -> Json:
    """Return a core Event as an events.k8s.io Event."""
    renamed = {_NEW_NAMES.get(name, name): value for name, value in event.items()}
    return {**renamed, "apiVersion": "events.k8s.io/v1"}


def check_core(new: Json, old: Json | None) -> list[Cause]:
    """Check what was written as a core Event."""
    return list(_legacy(new, controller="reportingComponent"))


def check_new(new: Json, old: Json | None) -> list[Cause]:
    """Check what was written as an events.k8s.io Event."""
    event = to_core(new)
    event["reportingController"] = event.pop("reportingComponent", "")
    causes = [*_legacy(event, controller="reportingController")]
    causes += _series(event)
    if old is None:
        return causes + list(_strict(event))
    before = to_core(old)
    before["reportingController"] = before.pop("reportingComponent", "")
    return causes + [
        Cause.invalid(name, event.get(name, ""), "field is immutable")
        for name in _IMMUTABLE
        if event.get(name) != before.get(name)
    ]


def _legacy(event: Json, *, controller: str) -> Iterator[Cause]:
    namespace = event["metadata"].get("namespace", "")
    about = event.get("involvedObject", {}).get("namespace", "")
    in_place = {"default", "kube-system"} if event.get("eventTime") else {"default"}
    fits = namespace in in_place if not about else about == namespace
    if not fits and (not event.get("eventTime") or not about):
        detail = "does not match event.namespace"
        yield Cause.invalid("involvedObject.namespace", about, detail)
    if not event.get("eventTime"):
        return
    for name in (controller, "reportingInstance", "action", "reason"):
        if not event.get(name):
            yield Cause.required(name)
    for name, limit in _LIMITS.items():
        if len(event.get(name, "").encode()) > limit:
            yield Cause.invalid(name, "", f"can have at most {limit} characters")


def _strict(event: Json) -> Iterator[Cause]:
    if not event.get("eventTime"):
        yield Cause.required("eventTime")
    if event.get("type") not in {"Normal", "Warning"}:
        detail = f"has invalid value: {event.get('type', '')}"
        yield Cause.invalid("type", "", detail)
    for name in ("firstTimestamp", "lastTimestamp", "count", "source"):
        if event.get(name):
            yield Cause.invalid(name, "", "needs to be unset")


def _series(event: Json) -> Iterator[Cause]:
    series = event.get("series")
    if series is None:
        return
    if series.get("count", 0) < 2:
        yield Cause.invalid("series.count", "", "should be at least 2")
    if not series.get("lastObservedTime"):
        yield Cause.required("series.lastObservedTime")
