"""Where showcases are performed, side by side, and what they come to.

    Showcase ──(Stage)──▶ Shown: a table of what its controller did, and what is amiss
                 │
                 └─ client, namespace, registry, and a line of progress now and then

One that fails says why and leaves the others alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from rich.console import Console
from rich.table import Table

from controller_runtime import Client, ControllerRuntimeError
from controllers.oci import RemoteRepository

PATIENCE = 120.0
"""Seconds that each step of a showcase may take: a busy laptop takes its time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """What a showcase works with."""

    client: Client
    """Reads live: what is shown is what kubectl would show."""

    namespace: str
    """Fresh, and for this showcase alone."""

    registry: str
    """Host and port of the registry beside the control plane; it speaks plain HTTP."""

    repository: Callable[[str], RemoteRepository]
    """Path → repository of that registry, to push to."""

    say: Callable[[str], None]
    """Tells the user how far it is."""


class Shown(NamedTuple):
    """What a showcase came to."""

    table: Table
    """What the controller did, in words that kubectl can check."""

    amiss: Sequence[str] = ()
    """What is not as expected, a phrase each; empty is success."""

    hints: Sequence[str] = ()
    """Commands to try while the manager goes on reacting."""


class Showcase(Protocol):
    """Shows one controller at work: a sample, its end, a change, what came of it."""

    async def __call__(self, stage: Stage, /) -> Shown:
        """Perform.

        Raises:
            AssertionError: A step did not come in time; the text says which.
            ControllerRuntimeError: A call was refused.
        """
        ...


class Ended(NamedTuple):
    """How a showcase went."""

    name: str
    seconds: float
    why_not: str
    """Empty when everything was as expected."""

    hints: Sequence[str] = ()


class Performance(NamedTuple):
    """How all showcases together went."""

    is_as_expected: bool
    hints: Sequence[str]


async def perform(
    showcases: Mapping[str, Showcase], stage: Callable[[str], Stage], out: Console
) -> Performance:
    """Run all at once, print the table of each, and tell how it went.

    Args:
        showcases: By the name of their controller.
        stage: Name → what the showcase works with.
        out: Where tables go, and at the end a line for each showcase.
    """
    async with asyncio.TaskGroup() as tasks:
        running = [
            tasks.create_task(_performed(name, showcase, stage(name), out))
            for name, showcase in showcases.items()
        ]
    ends = [task.result() for task in running]
    out.print()
    for end in ends:
        out.print(_line(end), markup=False)
    return Performance(
        not any(end.why_not for end in ends),
        [hint for end in ends for hint in end.hints],
    )


async def _performed(
    name: str, showcase: Showcase, stage: Stage, out: Console
) -> Ended:
    loop = asyncio.get_running_loop()
    began = loop.time()
    try:
        shown = await showcase(stage)
    except (AssertionError, ControllerRuntimeError) as error:
        return Ended(name, loop.time() - began, str(error))
    out.print()
    out.print(shown.table)
    seconds = loop.time() - began
    return Ended(name, seconds, "; ".join(shown.amiss), shown.hints)


def _line(end: Ended) -> str:
    if not end.why_not:
        return f"✓ {end.name}: as expected after {end.seconds:.1f} s"
    return f"✗ {end.name}: not as expected: {end.why_not}"
