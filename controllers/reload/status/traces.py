"""What a workload says of its reloads, in the words of a status. Pure.

    its record       which content it runs with, of which source
    several stamps   when it was reloaded last

Whoever did not see a reload can tell by both that there was one. The record alone does
not do: the workload runs with other content after an adoption, too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

import msgspec

from controllers.reload.record import (
    LAST_RELOADED_FROM,
    RELOADED_AT,
    UNREAD,
    read_record,
)
from controllers.reload.sources import SourceKey, SourceKind
from controllers.reload.workloads import Workload, WorkloadKey
from controllers.reload.writing.patches import LAST_RELOAD, TRIGGERED_AT

_KINDS: Mapping[SourceKind, str] = {
    SourceKind.CONFIG_MAP: "ConfigMap",
    SourceKind.SECRET: "Secret",
    SourceKind.SECRET_PROVIDER_CLASS: "SecretProviderClass",
}


class _LastReloadedFrom(msgspec.Struct, rename="camel"):
    observed_at: int = 0


_last_decoder = msgspec.json.Decoder(_LastReloadedFrom)


def source_name(source: SourceKey) -> str:
    """Name a source as a status does: namespace/Kind/name."""
    return f"{source.namespace}/{_KINDS[source.kind]}/{source.name}"


def workload_name(key: WorkloadKey) -> str:
    """Name a workload as a status does: namespace/Kind/name."""
    return f"{key.namespace}/{key.kind}/{key.name}"


def recorded_hashes(workload: Workload) -> Mapping[str, str]:
    """Return which content a workload runs with: name of a source → 20 hex digits."""
    record = read_record(workload) or {}
    keys = (SourceKey.of_record(text, workload.key.namespace) for text in record)
    return {
        source_name(key): digits(hash_)
        for key, hash_ in zip(keys, record.values(), strict=True)
        if key is not None and hash_ != UNREAD
    }


def partly_recorded(workload: Workload) -> Iterator[str]:
    """Name the sources of which a workload has the hash of a part, or a keyed one."""
    for text, hash_ in (read_record(workload) or {}).items():
        key = SourceKey.of_record(text, workload.key.namespace)
        if key is not None and hash_ != digits(hash_):
            yield source_name(key)


def digits(hash_: str) -> str:
    """Return the digits of a hash of a record, without the form that they are of."""
    return hash_.rpartition(":")[2]


def reloaded_at(workload: Workload) -> datetime | None:
    """Return when a workload was last reloaded, in whole seconds, if it tells."""
    template = workload.template.metadata.annotations
    moments = [
        _moment(workload.meta.annotations.get(RELOADED_AT, "")),
        _moment(template.get(LAST_RELOAD, "")),
        _observed_at(template.get(LAST_RELOADED_FROM, "")),
        *(
            _moment(one.value)
            for container in workload.template.spec.containers
            for one in container.env
            if one.name == TRIGGERED_AT
        ),
    ]
    return max((moment for moment in moments if moment is not None), default=None)


def _moment(text: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            return None
        return moment.astimezone(UTC).replace(microsecond=0)
    except (ValueError, OverflowError):  # the year 0 of UTC, say
        return None


def _observed_at(text: str) -> datetime | None:
    try:
        seconds = _last_decoder.decode(text).observed_at
        return datetime.fromtimestamp(seconds, UTC) if seconds else None
    except (msgspec.MsgspecError, ValueError, OverflowError, OSError):
        return None
