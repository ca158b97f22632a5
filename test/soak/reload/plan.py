"""What changes and what goes wrong in a reload soak, drawn from a seed before it runs.

    step ─▶ step ─▶ … each a change of the data, and now and then a blow with it

Steps follow each other by number, not by the clock: the same seed gives the same
changes with the same blows at them, whatever the machine is busy with.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from soak.plan import KillServer, deck
from soak.reload.world import PLURALS, Source, Workload, World, draw_world


class Update(NamedTuple):
    """Sources get another text, all at once."""

    sources: tuple[Source, ...]


class Relabel(NamedTuple):
    """A source gets another label, which is nobody's business."""

    source: Source


class Delete(NamedTuple):
    """A source goes."""

    source: Source


class Recreate(NamedTuple):
    """A source comes, or comes back."""

    source: Source
    is_same: bool
    """With the text that it had."""


class Touch(NamedTuple):
    """Somebody writes to a workload, and leaves the pod template alone."""

    workload: Workload


class Rebuild(NamedTuple):
    """A workload is deleted and made again."""

    workload: Workload


Change: TypeAlias = Update | Relabel | Delete | Recreate | Touch | Rebuild


class Write(NamedTuple):
    """What the leader sends for a change."""

    workload: Workload
    verb: str
    resource: str

    def __str__(self) -> str:
        return f"{self.verb} {self.resource} for {self.workload.name}"


class KillAt(NamedTuple):
    """SIGKILL for the leader when it sends a certain write for the change."""

    write: Write
    is_handled: bool
    """The server does what was asked, and the leader never hears of it."""

    def __str__(self) -> str:
        when = "after" if self.is_handled else "before"
        return f"leader killed {when} {self.write}"


class FreezeAt(NamedTuple):
    """SIGSTOP for the leader; what it sends comes when another leads; and SIGCONT."""

    write: Write

    def __str__(self) -> str:
        return f"leader frozen at {self.write}"


class Usurp(NamedTuple):
    """Another leads too, until the first finds out, whose write is lost with it."""

    write: Write

    def __str__(self) -> str:
        return f"two leaders, one cut off at {self.write}"


class KillSoon(NamedTuple):
    """SIGKILL for the leader some time after the change."""

    seconds: float

    def __str__(self) -> str:
        return f"leader killed after {self.seconds:.2f} s"


class KillAll(NamedTuple):
    """SIGKILL for both managers; they are kept down for some changes."""

    steps: int

    def __str__(self) -> str:
        return f"all killed, for {self.steps} changes"


class TakeLease(NamedTuple):
    """The Lease is nobody's, and the leader finds out when it renews it."""

    def __str__(self) -> str:
        return "Lease taken away"


class Refuse(NamedTuple):
    """Some writes are answered with an error."""

    status: int
    verb: str
    times: int

    def __str__(self) -> str:
        return f"{self.verb} refused {self.times} times with {self.status}"


class Lose(NamedTuple):
    """A write is done and its answer lost."""

    verb: str

    def __str__(self) -> str:
        return f"answer of {self.verb} lost"


class Forbid(NamedTuple):
    """Patches of a workload are forbidden for some changes."""

    workload: Workload
    steps: int

    def __str__(self) -> str:
        return f"{self.workload.name} forbidden for {self.steps} changes"


AtWrite: TypeAlias = KillAt | FreezeAt | Usurp


class Silence(NamedTuple):
    """A watch of both managers says nothing more for some changes, and stays open."""

    resource: str
    steps: int

    def __str__(self) -> str:
        return f"watch of {self.resource} silent for {self.steps} changes"


Heavy: TypeAlias = AtWrite | KillSoon | KillAll | TakeLease | KillServer
Light: TypeAlias = Refuse | Lose | Forbid | Silence
Blow: TypeAlias = Heavy | Light


class Step(NamedTuple):
    """A change, and what goes wrong with it."""

    change: Change
    pause: float
    """Seconds until the next."""
    blow: Blow | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One reload soak."""

    seed: int
    world: World
    steps: Sequence[Step]

    def describe(self) -> Iterator[str]:
        """Yield what to show at the start."""
        yield (
            f"seed {self.seed}: {len(self.steps)} changes, "
            f"{len(self.world.workloads)} workloads, {len(self.world.sources)} sources"
        )
        for number, step in enumerate(self.steps):
            if step.blow is not None:
                yield f"{number:5}  {step.blow}"


def draw(seed: int, changes: int) -> Plan:
    """Draw a plan.

    Args:
        seed: The same seed and count give the same plan.
        changes: At least 50; deleted sources come back beyond that.
    """
    if changes < 50:
        raise ValueError(f"{changes} changes leave no room for every kind of blow")
    dice = random.Random(seed)  # noqa: S311 - a plan, no secret
    world = draw_world(dice)
    drawn = list(_changes(dice, world, changes))
    blows = dict(_blows(dice, world, changes))
    steps = list(_steps(dice, world, drawn, blows))
    return Plan(seed=seed, world=world, steps=steps)


def _steps(
    dice: random.Random,
    world: World,
    drawn: Sequence[Change],
    blows: Mapping[int, Blow],
) -> Iterator[Step]:
    """Put blows to changes; what is for a workload gets a change that concerns it.

    A blow that finds none waits for a later change: in the end all sources are there.
    """
    since = {it: -_KNOWN for it in world.sources if it not in world.absent}
    due: list[Blow] = []
    for number, change in enumerate([*drawn, *[None] * (_KNOWN + len(blows))]):
        due.extend([blows[number]] if number in blows else ())
        here = {it for it, at in since.items() if at <= number - _KNOWN}
        causes = ((it, cause_for(it, here, change)) for it in due)
        blow, cause = next(((it, c) for it, c in causes if c), (None, change))
        if blow is not None:
            due.remove(blow)
        if cause is not None:
            yield Step(cause, dice.uniform(0.02, 0.4), blow)
        if cause is not change and isinstance(change, (Delete, Recreate)):
            yield Step(change, dice.uniform(0.02, 0.4))
        match change:
            case Delete(source):
                del since[source]
            case Recreate(source, _):
                since[source] = number
            case _:
                pass


_KNOWN = 3
"""Changes after which it is likely that workloads know of a source that came: before
that, another content is the first that they see of it."""


def cause_for(
    blow: Blow, here: Collection[Source], change: Change | None = None
) -> Change | None:
    """Return the change that a blow is to come with; `None` if there is none.

    Args:
        blow: What is for a workload comes with another content that this one uses.
        here: Sources that are there: without another content there is no write.
        change: What any other blow comes with.
    """
    match blow:
        case KillAt(write) | FreezeAt(write) | Usurp(write):
            workload = write.workload
        case Forbid(workload):
            pass
        case _:
            return change
    there = [source for source in workload.sources if source in here]
    return Update((there[0],)) if there else None


_CHANGES: Sequence[tuple[str, int]] = (
    ("update", 10),
    ("both", 2),
    ("relabel", 2),
    ("delete", 4),
    ("touch", 3),
    ("rebuild", 1),
)

_REBUILT = ("Deployment", "StatefulSet", "DaemonSet", "CronJob")
"""A Job that is gone may be the controller's doing: nobody else makes one anew."""


def _changes(dice: random.Random, world: World, count: int) -> Iterator[Change]:
    """Deal changes; every source that goes comes back."""
    kinds = deck(dice, [kind for kind, number in _CHANGES for _ in range(number)])
    gone = {source: count // 4 + n for n, source in enumerate(sorted(world.absent))}
    for number in range(count):
        back = [source for source, at in gone.items() if at <= number]
        if back:
            is_new = back[0] in world.absent and number < count // 2
            del gone[back[0]]
            yield Recreate(back[0], is_same=not is_new and dice.random() < 0.4)
            continue
        here = [source for source in world.sources if source not in gone]
        match next(kinds):
            case "update":
                yield Update((dice.choice(here),))
            case "both":
                yield Update(tuple(dice.sample(here, 2)))
            case "relabel":
                yield Relabel(dice.choice(here))
            case "delete":
                source = dice.choice(here)
                gone[source] = number + dice.randrange(2, 6)
                yield Delete(source)
            case "touch":
                yield Touch(dice.choice(world.workloads))
            case _:
                some = [it for it in world.workloads if it.kind in _REBUILT]
                yield Rebuild(dice.choice(some))
    for source in gone:
        yield Recreate(source, is_same=False)


_BETWEEN = 6
"""Changes from one heavy blow to the next: 50 have each kind."""

_KINDS = ("kill", "kill", "freeze", "usurp", "lease", "server", "all", "soon")


def _blows(dice: random.Random, world: World, count: int) -> Iterator[tuple[int, Blow]]:
    """Deal blows to changes: each kind once, before any comes again."""
    kinds, points = deck(dice, _KINDS), _points(world)
    kills = deck(dice, [KillAt(it, done) for it in points for done in (False, True)])
    freezes = deck(dice, [FreezeAt(it) for it in points])
    usurps = deck(dice, [Usurp(it) for it in points])
    for number in range(4, count - 2, _BETWEEN):
        match next(kinds):
            case "kill":
                yield number, next(kills)
            case "freeze":
                yield number, next(freezes)
            case "usurp":
                yield number, next(usurps)
            case "soon":
                yield number, KillSoon(dice.uniform(0, 1.5))
            case "all":
                yield number, KillAll(dice.randrange(2, 6))
            case "lease":
                yield number, TakeLease()
            case _:
                yield number, KillServer(dice.choice((0, 1, 3)))
    statuses = deck(dice, (409, 429, 500, 503, 403))
    verbs = deck(dice, ("patch", "patch", "create", "delete"))
    lesser = deck(dice, ("refuse", "lose", "refuse", "forbid", "silence"))
    watched = deck(dice, (*PLURALS.values(), "configmaps", "secrets"))
    struck = {it.workload for it in points}
    rolling = [it for it in world.workloads if it.kind == "Deployment"]
    for number in range(1, count - 2, _BETWEEN):
        match next(lesser):
            case "refuse":
                yield number, Refuse(next(statuses), next(verbs), dice.randrange(1, 5))
            case "lose":
                yield number, Lose(next(verbs))
            case "silence":
                yield number, Silence(next(watched), dice.randrange(3, 9))
            case _:
                others = [it for it in rolling if it not in struck]
                yield number, Forbid(dice.choice(others), dice.randrange(4, 9))


def _points(world: World) -> Sequence[Write]:
    """Return every write that a reload makes, for one workload of each kind."""
    return [
        Write(workload, verb, resource)
        for workload in {it.kind: it for it in world.workloads}.values()
        for verb, resource in _WRITES.get(
            workload.kind, (("patch", PLURALS[workload.kind]),)
        )
    ]


_WRITES = {
    "CronJob": (("create", "jobs"), ("patch", "cronjobs")),
    "Job": (
        ("create", "controllerrevisions"),
        ("delete", "jobs"),
        ("create", "jobs"),
    ),
}


def heavy_blows(plan: Plan) -> Sequence[Heavy]:
    """Return the heavy blows of a plan, in their order."""
    return [step.blow for step in plan.steps if isinstance(step.blow, Heavy)]
