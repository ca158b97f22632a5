"""What a manager runs, in which order, and how it comes to an end.

    asked to stop ──(drain)──▶ cancelled ──(until the end)──▶ late, and cancelled again

A runnable that can stop in good order is asked to, and has until a moment to end
what it has begun; the others are cancelled at once. Who is late is named, and the
group is over when nothing of it runs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from enum import IntEnum
from typing import Protocol, runtime_checkable


class Runnable(Protocol):
    """Something that works until it is cancelled or has nothing left to do."""

    async def run(self) -> None:
        """Work. An error stops the manager; to return early is fine."""
        ...


@runtime_checkable
class Stoppable(Protocol):
    """A runnable that can end in good order."""

    def stop(self) -> None:
        """Take no new work; `run` returns when the present work is done."""
        ...


class Group(IntEnum):
    """When a runnable starts; the manager says in which order groups stop."""

    RECORDERS = 0
    HTTP = 1
    WEBHOOKS = 2
    """On every replica; before the caches, whose lists may need a conversion."""
    CACHES = 3
    OTHERS = 4
    """On every replica, leader or not."""
    LEADER_ELECTION = 5
    """On the leader alone."""


def name_of(runnable: Runnable) -> str:
    """Return what a runnable calls itself, or else the name of its class."""
    return str(getattr(runnable, "name", "") or type(runnable).__name__)


async def end_group(
    running: Mapping[asyncio.Task[None], Runnable], *, drain_until: float, end: float
) -> list[str]:
    """End the runnables of a group.

    Args:
        running: Those that run now; a task leaves it when it ends.
        drain_until: Loop time until which work in progress may end by itself.
        end: Loop time at which whoever still runs is late.

    Returns:
        The names of those that were late. They have ended too.
    """
    drains = [r for r in running.values() if isinstance(r, Stoppable)]
    for task, runnable in tuple(running.items()):
        if isinstance(runnable, Stoppable):
            runnable.stop()
        else:
            task.cancel()
    if drains:
        await _wait(running, until=drain_until)
    for task in tuple(running):
        task.cancel()
    await _wait(running, until=end)
    late = [name_of(runnable) for runnable in running.values()]
    while running:
        # Somebody caught the cancellation, or cleans up without an end to it.
        for task in tuple(running):
            task.cancel()
        await _wait(running, until=asyncio.get_running_loop().time() + 1)
    return late


async def _wait(tasks: Iterable[asyncio.Task[None]], *, until: float) -> None:
    """Wait for tasks to end, but not beyond a moment of the loop's clock."""
    waiting = set(tasks)
    if not waiting:
        return
    left = max(until - asyncio.get_running_loop().time(), 0)
    await asyncio.wait(waiting, timeout=None if left == float("inf") else left)
