"""Policy, sources and record → what one patch of a workload has to say, if anything.

    decide ─▶ Plan ─▶ `patches`

For each source that concerns the workload, what it holds is compared with the record
that the workload carries (an annotation of its metadata, which restarts nothing):

    the record has its hash                            nothing
    the record has another hash                        reload
    … of other keys, or made with another secret       adopt
    no record, but a marker of other content           reload
    no record, and a marker of this content, or none   adopt: write the record alone
    no record, but it has just appeared, and that is asked for         reload
    the record says that it has appeared, and that is asked for        reload
    no record, but it changed before the workload was known            reload
    the record has a hash, the source is gone, and that is asked for   reload
    the workload's namespace has just become ours                      adopt
    the workload is new, with marks of its own, and the source older   adopt
    the record has an old hash, and what is known is this one          adopt
    the record has none, and no room for it (`room`)                   nothing

Whether a source concerns the workload, annotations say, or a ReloaderConfig.

A marker is what the original Reloader left in the pod template: changing over to
this controller neither restarts pods nor misses a change.

The comparison needs no memory. After a restart, a missed event or a source that was
deleted and created again it gives the same answer, and gives it once: marker and
record travel in one patch, which the server refuses if the workload is no longer the
version that was looked at.

`kubectl rollout undo` restores annotations of the metadata too, so the record goes
back in time with the template. Telling that from a change takes a `memory`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from datetime import datetime, timedelta
from functools import partial
from hashlib import sha256
from typing import NamedTuple

from api.argoproj.v1alpha1 import Rollout
from api.core.v1 import Container, PodSpec
from controllers.reload.happenings import Happened
from controllers.reload.options import ExtraReference, LegacyTrigger
from controllers.reload.plan import Marker, Plan
from controllers.reload.policy import Match, Problem, ReloadPolicy, Wish
from controllers.reload.record import (
    RECORD,
    RELOADED_AT,
    UNREAD,
    last_reloaded_from,
    read_record,
)
from controllers.reload.references import Reference, container_for
from controllers.reload.room import entry_size, is_full, room_for_more
from controllers.reload.sources import Source, SourceKey
from controllers.reload.sources.digest import DELETED
from controllers.reload.workloads import Workload


class _Want(NamedTuple):
    """Who wants reloads for a source, and which container it is about."""

    container: str
    is_annotated: bool
    wishes: tuple[Wish, ...] = ()


class _Target(NamedTuple):
    source: Source
    container: str
    variable: str
    seen: frozenset[str]
    """Markers of the source that the pod template has; two are rare, and both old."""

    want: _Want


_NOTHING = Happened()

_FULL = (
    "has no room for more sources, as annotations have 256 KiB together; those that it "
    "does not list do not reload this workload: name fewer, or narrow the patterns and "
    "selectors"
)

_READ_AFTER = timedelta(seconds=10)
"""Between the last write of a source and the birth of pods that have surely read it: a
kubelet's cache is a watch, seconds behind when it is slow."""


def decide(
    workload: Workload,
    policy: ReloadPolicy,
    sources: Iterable[Source],
    happened: Happened = _NOTHING,
) -> Plan | None:
    """Compare what a workload runs with what there is.

    Args:
        workload: The version that the plan is for.
        policy: What its annotations ask for.
        sources: At least those that may concern it, in any order.
        happened: What cannot be seen any more.

    Returns:
        What to write, or `None` when the record is up to date.
    """
    record = read_record(workload) or {}
    applied = dict(record)
    markers: list[Marker] = []
    changes: list[str] = []
    room = _room(workload)
    there = list(sources)
    gone = _gone(workload, policy, there, happened)
    for target in _targets(workload, policy, [*there, *gone]):
        key, digest = target.source.key, target.source.digest
        recorded = key.recorded_in(workload.key.namespace)
        had = happened.known.get(recorded, record.get(recorded))
        if recorded not in record:
            room -= (size := entry_size(recorded, digest.recorded))
            if room < 0:
                room += size
                continue
        applied[recorded] = digest.recorded
        if had == digest.recorded:
            continue
        has_appeared = had == UNREAD or key in happened.appeared
        had = had or None
        is_change = (
            _is_change(target, had)
            or (had is None and _is_missed(workload, target, happened))
        ) and not _has_read(workload, target, happened)
        is_wanted = is_change or (has_appeared and _is_wanted(target, policy))
        if is_wanted and not happened.joined:
            markers.append(_marker(workload.template.spec, target))
            changes.append(f"{recorded} {digest.recorded} {had}")
    if applied == record and not markers:
        return None
    change = _change(workload, changes)
    triggers = policy.trigger is LegacyTrigger.ALWAYS or (
        policy.trigger is LegacyTrigger.CRD and any(m.configs for m in markers)
    )
    is_undone = policy.terms.is_canary and bool(record and happened.known)
    is_undone &= not markers
    return Plan(
        *(applied, tuple(markers), policy.strategy, change, triggers),
        is_undone=is_undone,
    )


def unread(workload: Workload, plan: Plan, happened: Happened) -> Plan | None:
    """Return what to write while a plan waits, so that what it is for is not forgotten.

    The record tells of changes, and of what has appeared once it says so.
    """
    record, own = read_record(workload) or {}, workload.key.namespace
    appeared = {
        marker.source.recorded_in(own): UNREAD
        for marker in plan.markers
        if marker.source in happened.appeared
    }
    return None if appeared.keys() <= record.keys() else Plan({**appeared, **record})


def concerns(workload: Workload, policy: ReloadPolicy, source: Source) -> bool:
    """Tell whether a workload reloads for a source."""
    return _want(workload, policy, source) is not None


def _change(workload: Workload, changes: Iterable[str]) -> str:
    """Name a change of content; the same one after another reload is another."""
    after = workload.meta.annotations.get(RELOADED_AT, "")
    text = "\n".join(changes)
    return sha256(f"{after}\n{text}".encode()).hexdigest()[:10] if text else ""


def problems(workload: Workload, policy: ReloadPolicy) -> tuple[Problem, ...]:
    """Name what cannot be read of a workload that wants to reload."""
    found = list(policy.problems)
    if read_record(workload) is None:
        found.append(Problem(RECORD, "is no JSON object of strings; begun again"))
    if is_full(_room(workload)):
        found.append(Problem(RECORD, _FULL, "RecordFull"))
    if workload.key.is_extra and not workload.template.spec.containers:
        path = "." + ".".join(workload.path)
        found.append(Problem(path, "is no pod template with containers"))
    return tuple(found)


def _room(workload: Workload) -> int:
    annotations = workload.meta.annotations
    return room_for_more(annotations, annotations.get(RECORD, ""))


def variable_name(source: SourceKey) -> str:
    """Name the variable for a source as stakater/Reloader does; others may share it."""
    name = re.sub(r"[^A-Z0-9]+", "_", source.name.upper()).lstrip("_")
    return f"STAKATER_{name}_{source.kind.type_name}"


def _targets(
    workload: Workload, policy: ReloadPolicy, sources: Iterable[Source]
) -> Iterator[_Target]:
    """Yield what concerns the workload, in the order of names, its namespace first."""
    pod, own = workload.template.spec, workload.key.namespace
    chosen = [
        (source, want)
        for source in sorted(sources, key=lambda source: _order(source.key, own))
        if (want := _want(workload, policy, source)) is not None
    ]
    uses = Counter(variable_name(source.key) for source, _ in chosen)
    taken: set[str] = set()
    for source, want in chosen:
        variable = variable_name(source.key)
        seen = last_reloaded_from(workload, source.key)
        if uses[variable] == 1:  # else it is the marker of neither
            seen |= _values(pod.containers, variable)
        if variable in taken:
            variable += f"_{_short(source.key, own)}"
        taken.add(variable)
        yield _Target(source, want.container, variable, seen, want)


def _order(source: SourceKey, own: str) -> tuple[object, ...]:
    return source.kind, source.namespace != own, source.namespace, source.name


def _short(source: SourceKey, own: str) -> str:
    """Tell sources with one variable apart: 6 hex digits of the name."""
    place = "" if source.namespace == own else f"{source.namespace}/"
    return sha256(f"{place}{source.name}".encode()).hexdigest()[:6]


def _want(workload: Workload, policy: ReloadPolicy, source: Source) -> _Want | None:
    """Say who wants reloads for a source; annotations choose the container first."""
    if policy.vetoes(source):
        return None
    place = partial(_container, workload, source, policy.extra)
    match = policy.match_from(workload.key.namespace, source)
    asked = place(match)
    if asked is None and match is Match.EXPLICIT and _has_no_pods(workload, policy):
        asked = ""
    found = [
        (wish, container)
        for wish in policy.wishes
        if (container := place(wish.match(source), wish.containers)) is not None
    ]
    containers = [asked, *(container for _, container in found)]
    container = next((it for it in containers if it is not None), None)  # "" is one
    if container is None:
        return None
    return _Want(container, asked is not None, tuple(wish for wish, _ in found))


def _has_no_pods(workload: Workload, policy: ReloadPolicy) -> bool:
    """Tell whether it restarts pods whose template is elsewhere: `spec.workloadRef`."""
    is_rollout = workload.key.kind == Rollout.gvk.kind
    return is_rollout and policy.restarts and not workload.template.spec.containers


def _container(
    workload: Workload,
    source: Source,
    extra: Collection[ExtraReference],
    match: Match | None,
    only: Collection[str] = (),
) -> str | None:
    if match is None:
        return None
    kind, namespace, name = source.key
    if namespace != workload.key.namespace:
        name = ""  # no pod can use it, and another of its name is not it
    pod = workload.template.spec
    return container_for(pod, Reference(kind, name), match, extra, only)


def _is_change(target: _Target, had: str | None) -> bool:
    """Tell a change from a first sight, when the record lacks this content."""
    digest = target.source.digest
    if had is not None:
        return not digest.is_recorded(had)
    return bool(target.seen) and not digest.is_marked(target.seen)


def _is_missed(workload: Workload, target: _Target, happened: Happened) -> bool:
    """Tell whether it changed when nobody knew that the workload runs with it."""
    if target.seen or target.source.key not in happened.missed:
        return False
    created, written = workload.meta.creation_timestamp, target.source.written
    if not (created and written):
        return True
    return datetime.fromisoformat(created) <= datetime.fromisoformat(written)


def _has_read(workload: Workload, target: _Target, happened: Happened) -> bool:
    """Tell whether all pods were made after what the source holds now.

    So it is when the workload is younger: its marks came with a manifest that was
    written down elsewhere. When a template came about that was changed later nothing
    says for sure (an owner's time in managedFields moves with all that it writes, the
    conditions of a Deployment with its pods), and in doubt it reloads.
    """
    written = target.source.written
    if not (happened.is_new and written and workload.meta.creation_timestamp):
        return False
    created = datetime.fromisoformat(workload.meta.creation_timestamp)
    return created - datetime.fromisoformat(written) >= _READ_AFTER


def _is_wanted(target: _Target, policy: ReloadPolicy) -> bool:
    """Tell whether the appearance of a source is to count as a change."""
    asks = target.source.annotations.get(policy.keys.on_create) == "true"
    by_config = any(wish.on_create for wish in target.want.wishes)
    return policy.on_create or asks or by_config


def _gone(
    workload: Workload,
    policy: ReloadPolicy,
    there: Iterable[Source],
    happened: Happened,
) -> Iterator[Source]:
    """Yield the sources that are missed, as if they held `DELETED`."""
    present = {source.key for source in there}
    for recorded, had in (read_record(workload) or {}).items():
        key = SourceKey.of_record(recorded, workload.key.namespace)
        if had == UNREAD or key is None or key in present or not key.kind.is_missed:
            continue
        if key.namespace != workload.key.namespace and key not in happened.gone:
            continue  # its namespace may have left us, and it is there
        source = happened.gone.get(key, Source(key, DELETED, {}))
        asks = source.annotations.get(policy.keys.on_delete) == "true"
        by_config = any(w.on_delete and w.match(source) for w in policy.wishes)
        if policy.on_delete or asks or by_config:
            yield source


def _marker(pod: PodSpec, target: _Target) -> Marker:
    """Return a marker that the container does not have yet, or nothing would roll."""
    key, digest = target.source.key, target.source.digest
    container = [c for c in pod.containers if c.name == target.container]
    values = _values(container, target.variable)
    value: str | None = digest.marker
    if digest == DELETED and values:
        value = None  # as the original does
    elif digest.marker in values:
        value = digest.other_marker
    return Marker(
        source=key,
        container=target.container,
        variable=target.variable,
        value=value,
        hash=digest.marker,
        configs=tuple(sorted({wish.config for wish in target.want.wishes})),
        content=digest.canonical,
        is_annotated=target.want.is_annotated,
        version=target.source.version,
        whole=target.source.whole,
    )


def _values(containers: Iterable[Container], variable: str) -> frozenset[str]:
    return frozenset(
        one.value for c in containers for one in c.env if one.name == variable
    ) - {""}
