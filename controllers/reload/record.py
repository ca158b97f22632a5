"""What a workload carries of its reloads: content that it runs with, time, template.

    annotations of the workload       record, time, revision   restart nothing
    annotation of the pod template    the original's marker    restarts pods

All of it is written by `patches`, and may be edited or restored by anybody.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from api.apps.v1 import Deployment
from controller_runtime import Meta
from controllers.reload.sources import SourceKey
from controllers.reload.workloads import Workload

RECORD = "reloader.stakater.com/applied-hashes"
"""Annotation of a workload: JSON, source → `Digest.recorded` of what it runs with."""

UNREAD = ""
"""In a record, in place of a hash: the source has appeared, and the workload waits to
reload for it. So that is not lost with the process that saw it."""

NO_RECORD = "{}"
"""What a workload without a record is taken to have."""

RELOADED_AT = "reloader.stakater.com/reloaded-at"
"""Annotation of a workload: when it was reloaded last, in RFC 3339."""

PACE = "reloader.stakater.com/reload-pace"
"""Annotation of a workload: how it reloaded lately, if more than once (`braking`)."""

REVISION = "reloader.stakater.com/reloaded-revision"
"""Annotation of a workload: names the pod template that its last reload has made."""

PUT_BACK = "reloader.stakater.com/rolled-back"
"""Annotation of a canary: the `RELOADED_AT` of the reload that was taken back, by us or
by `kubectl rollout undo`. It counts until the next reload."""

_DEPLOYMENT_REVISION = "deployment.kubernetes.io/revision"
"""Annotation that the controller of Deployments counts templates with."""

LAST_RELOADED_FROM = "reloader.stakater.com/last-reloaded-from"
"""Annotation of a pod template: the original's marker where it writes no variable."""


class _LastReloadedFrom(msgspec.Struct):
    type: str = ""
    name: str = ""
    namespace: str = ""
    hash: str = ""


_record_decoder = msgspec.json.Decoder(dict[str, str])
_last_decoder = msgspec.json.Decoder(_LastReloadedFrom)


def read_record(workload: Workload) -> Mapping[str, str] | None:
    """Return which content the workload runs with; `None` if it is unreadable."""
    return parse_record(recorded_text(workload))


def recorded_text(workload: Workload) -> str:
    """Return the record as the workload has it; that of none is an empty one."""
    return workload.meta.annotations.get(RECORD, NO_RECORD)


def parse_record(text: str) -> Mapping[str, str] | None:
    """Read a record; `None` if it is unreadable."""
    try:
        return _record_decoder.decode(text)
    except msgspec.MsgspecError:
        return None


def next_revision(kind: str, meta: Meta) -> str:
    """Name the pod template that a change of this version will make.

    It is the next generation; but of a Deployment, where annotations count as well,
    and its controller writes one, it is the next revision.
    """
    return str(_revision(kind, meta) + 1)


def is_as_reloaded(kind: str, meta: Meta) -> bool:
    """Tell whether nobody has changed a pod template since the last reload."""
    made, now = meta.annotations.get(REVISION, ""), _revision(kind, meta)
    if kind != Deployment.gvk.kind:
        return made == str(now)
    return made in {str(now), str(now + 1)}  # it may not have been seen yet


def put_back_note(meta: Meta) -> Mapping[str, str]:
    """Return the annotation that says that the last reload was taken back."""
    return {PUT_BACK: meta.annotations.get(RELOADED_AT, "")}


def is_put_back(meta: Meta) -> bool:
    """Tell whether the last reload was taken back, as far as that was noted."""
    return put_back_note(meta).items() <= meta.annotations.items()


def _revision(kind: str, meta: Meta) -> int:
    if kind != Deployment.gvk.kind:
        return meta.generation
    text = meta.annotations.get(_DEPLOYMENT_REVISION, "")
    return int(text) if text.isdecimal() and len(text) < 19 else 0  # anybody's text


def last_reloaded_from(workload: Workload, source: SourceKey) -> frozenset[str]:
    """Return the hash in the original's marker, if that is about a source."""
    text = workload.template.metadata.annotations.get(LAST_RELOADED_FROM, "{}")
    try:
        last = _last_decoder.decode(text)
    except msgspec.MsgspecError:
        return frozenset()
    named = (last.type, last.namespace, last.name)
    is_it = named == (source.kind.type_name, source.namespace, source.name)
    return frozenset({last.hash} if is_it else ())
