"""Never two leaders: who acts, and who acted, as the processes noted it themselves.

    a-1   ─act─act─act─┐ stopped ······ resumed ─(nothing)─ ended
    b-1                     └ the Lease ─act─act─act─act─▶

To act is to begin a reconcile, or to send a write. "Never two leaders" cannot mean
more than that: a write that is handed to the network is out of anybody's hands, and a
process that is stopped between two instructions learns of it from nobody. The second
rule says how much of that there was, and that there was no more.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from soak.evidence import Evidence, Life
from soak.records import Answered, Began, Ended, Sent
from soak.verdict import Bounds, Verdict


class _Reign(NamedTuple):
    """When a life acted first and last."""

    life: Life
    first: float
    last: float


def _reigns(evidence: Evidence) -> Sequence[_Reign]:
    """Return who acted, in order of their first act."""
    acting = [(life, life.acts) for life in evidence.lives]
    reigns = [_Reign(life, min(acts), max(acts)) for life, acts in acting if acts]
    return sorted(reigns, key=lambda reign: reign.first)


def one_leader(evidence: Evidence, bounds: Bounds) -> Verdict:
    """Nobody acts once another has; a leader that was overtaken asleep ends."""
    problems, gaps, afterlives = [], [0.0], [0.0]
    reigns = _reigns(evidence)
    for reign, heir in pairwise(reigns):
        gaps.append(heir.first - reign.last)
    for number, heir in enumerate(reigns):
        for reign in reigns[:number]:
            overlap = max(_overlaps(reign.life, heir.first), default=0)
            if overlap > bounds.overlap:
                problems.append(
                    f"a reconcile of {reign.life.identity} went on for {overlap:.3f} s "
                    f"when {heir.life.identity} had begun to act"
                )
            late = [at for at in reign.life.acts if at >= heir.first]
            if late:
                problems.append(
                    f"{reign.life.identity} acted {len(late)} times after "
                    f"{heir.life.identity} had begun to, the last time "
                    f"{late[-1] - heir.first:.3f} s after"
                )
            afterlives += [
                reign.life.ended - nap.resumed
                for nap in reign.life.freezes
                if nap.stopped < heir.first < nap.resumed
            ]
    if max(afterlives) > bounds.afterlife:
        problems.append(
            f"a leader that was overtaken asleep lived on for {max(afterlives):.1f} s"
        )
    figures = (
        f"{len(reigns)} reigns, {max(gaps):.1f} s at most without a leader at work; "
        f"overtaken asleep, a process ended within {max(afterlives):.3f} s"
    )
    return Verdict("one leader", figures, problems)


def _overlaps(life: Life, since: float) -> Iterator[float]:
    """Yield for how long reconciles went on, awake, after a moment."""
    begun: dict[str, float] = {}
    for it in life.records:
        if isinstance(it, Began):
            begun[it.key] = it.t
        elif isinstance(it, Ended) and it.t > since:
            start = max(begun[it.key], since)
            asleep = (min(it.t, b) - max(start, a) for a, b in life.freezes)
            yield it.t - start - sum(max(each, 0) for each in asleep)


def late_writes(evidence: Evidence, _: Bounds) -> Verdict:
    """Late are only writes that were on their way when another began to act."""
    problems, late = [], 0
    came: dict[str, list[float]] = {}
    for arrival in evidence.arrivals:
        came.setdefault(arrival.identity, []).append(arrival.at)
    reigns = _reigns(evidence)
    for reign, heir in pairwise(reigns):
        after = [at for at in came.get(reign.life.identity, ()) if at > heir.first]
        under_way = _under_way(reign.life, heir.first)
        late += len(after)
        if len(after) > under_way:
            problems.append(
                f"{len(after)} writes of {reign.life.identity} came after "
                f"{heir.life.identity} had begun to act, and only {under_way} of "
                "them had been sent before"
            )
    figures = f"{len(evidence.arrivals)} writes, {late} of them late"
    return Verdict("late writes", figures, problems)


def _under_way(life: Life, at: float) -> int:
    """Return how many writes had been sent at a moment, and not been answered."""
    sent = {it.number for it in life.all(Sent) if it.t < at}
    return len(sent - {it.number for it in life.all(Answered) if it.t < at})
