"""What processes hold: nothing when they have ended, and no more than at the start."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from statistics import median
from typing import NamedTuple

from soak.evidence import Evidence, Life
from soak.records import Census, Ended, Led, Over, Sample, Struck
from soak.verdict import Bounds, Verdict


def nothing_left(evidence: Evidence, bounds: Bounds) -> Verdict:
    """Who has ended left nothing; who lives has what it had when all was quiet."""
    problems, ended = [], 0
    for life in evidence.lives:
        if life.code not in {0, 1} or any(life.all(Struck)):
            continue  # struck down: nothing of it is left to look
        ended += 1
        problems += [f"{life.identity}: {it}" for it in _left_of(life)]
    roles = _by_role(evidence)
    for (role, quiet), (_, calm) in zip(*roles, strict=True):
        if quiet is None or calm is None:
            problems.append(f"there was no {role} to look at")
            continue
        problems += [f"{role}: {it}" for it in _more(quiet, calm, bounds)]
    problems += _more_files(evidence, bounds)
    shown = [f"{role} {_holds(calm)}" for role, calm in roles[1] if calm]
    figures = f"{ended} ends in order; at the end {', '.join(shown)}"
    return Verdict("nothing left", figures, problems)


def _left_of(life: Life) -> Iterator[str]:
    censuses, over = list(life.all(Census)), list(life.all(Over))
    if len(censuses) != 2 or len(over) != 1:
        yield "did not say what it left behind"
        return
    before, after = censuses
    for task in over[0].tasks:
        yield f"left the task {task}"
    for thread in (Counter(after.threads) - Counter(before.threads)).elements():
        yield f"left the thread {thread}"
    opened = Counter(after.descriptors) - Counter(before.descriptors)
    for descriptor in opened.elements():
        yield f"left {descriptor} open"


_Roles = Sequence[tuple[str, Sample | None]]


def _by_role(evidence: Evidence) -> tuple[_Roles, _Roles]:
    """Return the least that leader and heir held while quiet, and while calm."""
    return _least(evidence, evidence.quiet), _least(evidence, evidence.calm)


def _least(evidence: Evidence, window: tuple[float, float]) -> _Roles:
    begin, end = window
    found: dict[bool, Sample] = {}
    for life in evidence.lives:
        samples = [it for it in life.samples if begin <= it.t <= end]
        if samples:
            leads = any(it.t <= end for it in life.all(Led))
            found[leads] = min(samples, key=lambda it: (it.tasks, it.sockets))
    return [("leader", found.get(True)), ("heir", found.get(False))]


def _more(quiet: Sample, calm: Sample, bounds: Bounds) -> Iterator[str]:
    if calm.tasks > quiet.tasks + bounds.tasks:
        yield f"{calm.tasks} tasks at the end, {quiet.tasks} at the start"
    if calm.sockets > quiet.sockets + bounds.sockets:
        yield f"{calm.sockets} sockets at the end, {quiet.sockets} at the start"
    if calm.threads > quiet.threads + 1:
        yield f"{calm.threads} threads at the end, {quiet.threads} at the start"


def _more_files(evidence: Evidence, bounds: Bounds) -> Iterator[str]:
    """Compare what is no socket by replica: each has a loop of its own kind."""
    quiet, calm = _files(evidence, evidence.quiet), _files(evidence, evidence.calm)
    for replica in quiet.keys() & calm.keys():
        if calm[replica] > quiet[replica] + bounds.files:
            yield (
                f"{replica}: {calm[replica]} files and pipes at the end, "
                f"{quiet[replica]} at the start"
            )


def _files(evidence: Evidence, window: tuple[float, float]) -> Mapping[str, int]:
    begin, end = window
    found: dict[str, int] = {}
    for life in evidence.lives:
        replica = life.identity.partition("-")[0]
        for it in life.samples:
            if begin <= it.t <= end:
                held = it.descriptors - it.sockets
                found[replica] = min(held, found.get(replica, held))
    return found


def _holds(sample: Sample) -> str:
    return (
        f"{sample.tasks} tasks, {sample.sockets} sockets, "
        f"{sample.descriptors} descriptors"
    )


class _Growth(NamedTuple):
    seconds: float
    resident: float
    """Bytes from the first third to the last."""
    reconciles: int
    who: str


def memory_flat(evidence: Evidence, bounds: Bounds) -> Verdict:
    """No process that was observed for long enough has grown by more than allowed."""
    grown = [it for life in evidence.lives for it in _growths(life, bounds)]
    problems = [
        f"{it.who} grew by {_mib(it.resident)} in {it.seconds:.0f} s and "
        f"{it.reconciles} reconciles; {_mib(_allowed(it, bounds))} are allowed"
        for it in grown
        if it.resident > _allowed(it, bounds)
    ]
    if not any(it.reconciles for it in grown):
        needed = bounds.tempo.warm_up + bounds.tempo.observed
        problems.append(f"nobody led for {needed:g} s")
        return Verdict("memory flat", "not observed", problems)
    longest = max(it for it in grown if it.reconciles)
    figures = (
        f"{len(grown)} observed, at most {_mib(max(it.resident for it in grown))}; "
        f"the longest leader {_mib(longest.resident)} in {longest.seconds:.0f} s and "
        f"{longest.reconciles} reconciles"
    )
    return Verdict("memory flat", figures, problems)


def _allowed(growth: _Growth, bounds: Bounds) -> float:
    if growth.seconds < bounds.long:
        return bounds.growth
    return min(bounds.growth, bounds.growth_per_minute * growth.seconds / 60)


def _growths(life: Life, bounds: Bounds) -> Iterator[_Growth]:
    """Yield how much a life grew as an heir, and as the leader: to lead takes more.

    Thirds are compared, by their medians: a peak is no growth.
    """
    led = next((it.t for it in life.all(Led)), float("inf"))
    ended = [it.t for it in life.all(Ended)]
    for role, samples in (
        ("heir", [it for it in life.samples if it.t < led]),
        ("leader", [it for it in life.samples if it.t >= led]),
    ):
        begin = samples[0].t + bounds.tempo.warm_up if samples else 0
        warm = [it for it in samples if it.t >= begin]
        if not warm or warm[-1].t - warm[0].t < bounds.tempo.observed:
            continue
        third = len(warm) // 3
        early = median(it.resident for it in warm[:third])
        late = median(it.resident for it in warm[-third:])
        yield _Growth(
            seconds=warm[-1].t - warm[0].t,
            resident=late - early,
            reconciles=sum(warm[0].t <= at <= warm[-1].t for at in ended),
            who=f"{life.identity} as {role}",
        )


def _mib(size: float) -> str:
    return f"{size / (1 << 20):+.1f} MiB"
