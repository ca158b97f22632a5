"""Whether a soak was survived: evidence in, verdicts out, without a look at the world.

one leader        who has acted after another never acts again
late writes       what arrives after that was on its way before
nothing missed    the last version of every object was reconciled
nothing left      no task, socket, descriptor or thread outlives a manager
memory flat       who lives long does not grow
ends              every process ended for a reason that it was given
exercised         everything that was planned has happened
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from soak.evidence import Evidence, Life
from soak.holding import memory_flat, nothing_left
from soak.leading import late_writes, one_leader
from soak.records import Ended, Over, Struck
from soak.verdict import Bounds, Verdict


def judge(evidence: Evidence, bounds: Bounds) -> Sequence[Verdict]:
    """Apply every rule."""
    rules: Sequence[Callable[[Evidence, Bounds], Verdict]] = (
        one_leader,
        late_writes,
        nothing_missed,
        nothing_left,
        memory_flat,
        ends,
        exercised,
    )
    return [rule(evidence, bounds) for rule in rules]


def nothing_missed(evidence: Evidence, bounds: Bounds) -> Verdict:
    """The store, the server, and what the last leader saw last are the same."""
    problems = []
    seen = last_seen(evidence.lives)
    for key, stored in sorted(evidence.stored.items()):
        if stored.digest != stored.wanted:
            problems.append(f"{key}: the digest is that of other data")
        if seen.get(key) != stored.version:
            problems.append(
                f"{key} is at version {stored.version}, and was last reconciled at "
                f"{seen.get(key, 'none')}"
            )
    problems += [
        f"{key} is gone, and was last reconciled at {version}"
        for key, version in sorted(seen.items())
        if version and key not in evidence.stored
    ]
    if evidence.settled is None:
        problems.append(f"not all was reconciled within {bounds.tempo.settle:g} s")
    took = "" if evidence.settled is None else f" in {evidence.settled:.1f} s"
    figures = f"{len(evidence.stored)} objects, all reconciled{took}"
    if problems:
        figures = f"{len(evidence.stored)} objects, {len(problems)} problems"
    return Verdict("nothing missed", figures, problems)


def last_seen(lives: Sequence[Life]) -> Mapping[str, str]:
    """Return what the last leader reconciled last: `namespace/name` → version.

    Whoever led before may have seen more; a leader owes to know what is there now.
    """
    leaders = [life for life in lives if life.acts]
    if not leaders:
        return {}
    last = max(leaders, key=lambda life: life.acts[0])
    return {it.key: it.version for it in last.all(Ended) if not it.error}


_LOST = frozenset({"LeaderLostError"})

_REFUSED = frozenset({"ForbiddenError", "UnauthorizedError"})
"""Whoever starts and may not do what it must says so and ends."""


def ends(evidence: Evidence, _: Bounds) -> Verdict:
    """Every end has its reason, nothing was a bug, and stderr is clean."""
    problems: list[str] = []
    counts: Counter[str] = Counter()
    for life in evidence.lives:
        reason = _reason(life)
        counts[reason or "without a reason"] += 1
        if not reason:
            why = [name for it in life.all(Over) for name in it.why]
            problems.append(
                f"{life.identity} ended with code {life.code}, "
                f"{', '.join(why) or 'without a word'}"
            )
        problems += [f"{life.identity} said: {it}" for it in life.complaints]
        problems += [
            f"{life.identity}: reconciling {it.key} raised {it.error}"
            for it in life.all(Ended)
            if it.is_panic
        ]
    figures = ", ".join(f"{count} {reason}" for reason, count in sorted(counts.items()))
    return Verdict("ends", figures, problems)


def _reason(life: Life) -> str:
    """Say why a process ended; empty if it had no reason to."""
    why = {name for it in life.all(Over) for name in it.why}
    if life.was_killed and life.code == -9:
        return "killed"
    if life.was_asked and life.code == 0 and not why:
        return "stopped"
    if life.code == 1 and any(life.all(Struck)):
        return "struck by the guard"
    if life.code == 1 and why and why <= _LOST:
        return "lost the Lease"
    if life.code == 1 and why and why <= _REFUSED and life.refusals:
        return "refused"
    return ""


def exercised(evidence: Evidence, _: Bounds) -> Verdict:
    """The plan was carried out, and there was work to be disturbed."""
    problems = [
        f"{count} times planned and {evidence.done.get(kind, 0)} times done: {kind}"
        for kind, count in sorted(evidence.planned.items())
        if evidence.done.get(kind, 0) < count
    ]
    if not evidence.takeovers:
        problems.append("nobody took over from a frozen leader")
    reconciles = sum(1 for life in evidence.lives for _ in life.all(Ended))
    for what, count in (
        ("fault met a request", evidence.struck),
        ("object was written", evidence.writes),
        ("object was reconciled", reconciles),
    ):
        if not count:
            problems.append(f"no {what}")
    figures = (
        f"{evidence.writes} writes, {reconciles} reconciles, "
        f"{evidence.struck} requests struck, {sum(evidence.done.values())} blows, "
        f"{evidence.takeovers} takeovers from the frozen"
    )
    return Verdict("exercised", figures, problems)
