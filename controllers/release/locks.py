"""Whether an operation that Helm calls pending is still alive: pure.

    status.operation ─┐
    pending record  ──┼─▶ Lock: HELD until …, or ABANDONED
    our own process ──┘

Helm leaves a release `pending-…` when it is killed, and refuses everything afterwards.
Who started the operation is written into the status before it begins, so it can be
told whether that process may still be at it:

    it is this process, and it does no such thing          abandoned
    it was on this host, and is no more                    abandoned
    another replica, and we hold the Lease                 abandoned: its workers died
                                                           with it
    another process, nobody was elected                    held until its deadline
    nothing is recorded, so it is a human with a CLI       held for a while
    somebody asked for it                                  abandoned
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import NamedTuple

from api.release.status import Operation

UNKNOWN_PATIENCE = timedelta(minutes=5)
"""Shortest time that an operation which nobody recorded is given."""


class Holder(NamedTuple):
    """A process that runs operations."""

    host: str
    pid: int
    instance: str
    """A random name: hosts and pids come again."""

    def __str__(self) -> str:
        return f"{self.host}/{self.pid}/{self.instance}"

    @classmethod
    def parse(cls, text: str) -> Holder:
        """Read a holder; one that is not written so is nobody we know."""
        host, _, rest = text.partition("/")
        pid, _, instance = rest.partition("/")
        return cls(host, int(pid) if pid.isdecimal() else 0, instance)


class Lock(NamedTuple):
    """What is known about a pending operation."""

    is_abandoned: bool
    reason: str
    until: datetime | None = None
    """When to judge it again, if it is held."""


def judge(
    operation: Operation | None,
    *,
    modified: datetime,
    timeout: timedelta,
    ours: Holder,
    is_elected: bool,
    is_alive: Callable[[int], bool],
    now: datetime,
) -> Lock:
    """Judge a pending record that this process is not working on.

    Args:
        operation: What the status says is being done.
        modified: When Helm last wrote the record.
        timeout: Longest that an operation may wait.
        ours: Who we are.
        is_elected: Whether we hold a Lease, so that nobody else can be at it.
        is_alive: Tells of a process of this host whether it runs.
        now: The time.
    """
    if operation is None:
        until = modified + max(timeout, UNKNOWN_PATIENCE)
        return Lock(now > until, "nobody recorded who does it", until)
    holder = Holder.parse(operation.holder)
    if holder.instance == ours.instance:
        return Lock(is_abandoned=True, reason="it ended without a word")
    if holder.host == ours.host and (
        holder.pid == ours.pid or not is_alive(holder.pid)
    ):
        return Lock(is_abandoned=True, reason="the process that did it is gone")
    if is_elected:
        return Lock(is_abandoned=True, reason=f"{holder.host} leads no more")
    return Lock(
        now > operation.deadline,
        f"{holder.host} may be at it",
        operation.deadline,
    )
