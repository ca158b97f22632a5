"""The load shapes of stakater/Reloader's own load test, S1 to S13.

They are named and sized as there (`test/loadtest`); what is done is ours. Each says
what there is, and what one write is; a `Bench` lets writers write for a while, and
looks when every workload has come to the last text of what it uses.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count, cycle

from benchmarks.reload.cluster import AUTO, Cluster, Source, User, pairs
from benchmarks.reload.program import flags_of

_STRATEGY = "reloader.stakater.com/reload-strategy"

_PAUSE = "deployment.reloader.stakater.com/pause-period"


def _randomly(cluster: Cluster, users: Sequence[User]) -> Iterator[Awaitable[None]]:
    """Change a source at random."""
    dice = random.Random(0)  # noqa: S311 - a load, no secret
    sources = list(dict.fromkeys(it for user in users for it in user.sources))
    while True:
        yield cluster.change(dice.choice(sources))


def _in_turn(cluster: Cluster, users: Sequence[User]) -> Iterator[Awaitable[None]]:
    """Change one source after the other."""
    for source in cycle(dict.fromkeys(it for user in users for it in user.sources)):
        yield cluster.change(source)


def _labels(cluster: Cluster, users: Sequence[User]) -> Iterator[Awaitable[None]]:
    """Change metadata alone."""
    for user in cycle(users):
        yield cluster.label(user.sources[0])


def _churn(cluster: Cluster, users: Sequence[User]) -> Iterator[Awaitable[None]]:
    """Delete and create workloads, and change a source with every fourth."""
    for number in count():
        user = users[number // 2 % len(users)]
        yield _and(
            cluster.create_user(user) if number % 2 else cluster.delete(user),
            cluster.change(users[-1].sources[0]) if number % 4 == 3 else None,
        )


async def _and(first: Awaitable[None], second: Awaitable[None] | None) -> None:
    await first
    if second is not None:
        await second


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """One load."""

    name: str
    what: str
    users: Sequence[User]
    """What there is, with what it uses; in the namespace of its name."""

    period: float
    """Seconds from one write to the next, of one writer."""

    seconds: float = 30.0
    """How long is written."""

    writers: int = 1
    flags: Sequence[str] = ()
    """Of the manager."""

    dies: bool = False
    """The manager is killed after a third of the time, and started again."""

    writes: Callable[[Cluster, Sequence[User]], Iterator[Awaitable[None]]] = _randomly
    """The writes, one after the other, without end."""

    def at_once(self) -> Shape:
        """Return it with a reload for each change, as the original makes them."""
        flags = flags_of(debounce=False, brake=False)
        return replace(self, name=f"{self.name} at once", flags=flags)


def shapes() -> Iterator[Shape]:
    """Yield S1 to S13."""
    exact = flags_of(brake=False)
    yield Shape(
        name="S1",
        what="10 pairs, one of them every 100 ms",
        users=pairs("s1", 10),
        period=0.1,
        flags=exact,
    )
    shared = Source("s2", "shared")
    yield Shape(
        name="S2",
        what="one ConfigMap of 50 Deployments, every 5 s",
        users=[User("s2", f"user-{n}", (shared,)) for n in range(50)],
        period=5.0,
        flags=exact,
    )
    yield Shape(
        name="S3",
        what="220 pairs, one every 200 ms",
        users=pairs("s3", 220),
        period=0.2,
        flags=exact,
    )
    yield Shape(
        name="S4",
        what="metadata of 10 sources, every 100 ms",
        users=pairs("s4", 10),
        period=0.1,
        writes=_labels,
    )
    common = Source("s5", "common")
    yield Shape(
        name="S5",
        what="Deployments come and go every 500 ms, their ConfigMap changes every 2 s",
        users=[User("s5", f"user-{n}", (common,)) for n in range(10)],
        period=0.5,
        writes=_churn,
        flags=exact,
    )
    yield Shape(
        name="S6",
        what="20 pairs, one every 200 ms, and the manager is killed",
        users=pairs("s6", 20),
        period=0.2,
        dies=True,
        flags=exact,
    )
    yield Shape(
        name="S7",
        what="50 pairs, 10 writers of 10 a second",
        users=pairs("s7", 50),
        period=0.1,
        seconds=25.0,
        writers=10,
        flags=exact,
    )
    large = [Source("s8", f"source-{n}", size=200_000) for n in range(10)]
    yield Shape(
        name="S8",
        what="10 ConfigMaps of 200 KB, one every 2 s",
        users=[User("s8", f"user-{n}", (it,)) for n, it in enumerate(large)],
        period=2.0,
        writes=_in_turn,
    )
    yield Shape(
        name="S9",
        what="5 Deployments, 3 StatefulSets and 2 DaemonSets, one every 5 s",
        users=list(_mixed()),
        period=5.0,
        writes=_in_turn,
    )
    yield Shape(
        name="S10",
        what="5 Secrets and 5 ConfigMaps, one every 500 ms",
        users=[
            *pairs("s10", 5, "Secret"),
            *(u._replace(name=f"{u.name}-c") for u in pairs("s10", 5)),
        ],
        period=0.5,
        flags=exact,
    )
    strategy = {**AUTO, _STRATEGY: "annotations"}
    yield Shape(
        name="S11",
        what="10 pairs of the annotations strategy, one every 500 ms",
        users=[it._replace(annotations=strategy) for it in pairs("s11", 10)],
        period=0.5,
        flags=exact,
    )
    paused = {**AUTO, _PAUSE: "15s"}
    yield Shape(
        name="S12",
        what="5 Deployments that pause for 15 s, one every 2 s",
        users=[it._replace(annotations=paused) for it in pairs("s12", 5)],
        period=2.0,
        flags=exact,
    )
    yield Shape(
        name="S13",
        what="init containers, valueFrom and projected volumes, every 500 ms",
        users=list(_references()),
        period=0.5,
        flags=exact,
    )


def _mixed() -> Iterator[User]:
    for number in range(10):
        kind = ("Deployment", "StatefulSet", "DaemonSet")[(number > 4) + (number > 7)]
        source = Source("s9", f"source-{number}")
        yield User("s9", f"user-{number}", (source,), kind)


def _references() -> Iterator[User]:
    for number in range(9):
        how = ("init", "valueFrom", "projected")[number % 3]
        kind = "Secret" if number % 2 else "ConfigMap"
        source = Source("s13", f"source-{number}", kind)
        yield User("s13", f"user-{number}", (source,), reference=how)
