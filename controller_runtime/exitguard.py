"""The end of a process that may no longer act and has not noticed.

arm(until) ─▶ arm(later) ─▶ … ─▶ disarm
                 └─ nobody did in time ─▶ exit code 1, whatever the loop is doing

A thread sees to it. Whoever is about to act looks as well (`check`): a process that was
stopped wakes with all of its threads at once, and the loop may be the first to run.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

from controller_runtime.clock import monotonic


class ExitGuard:
    """Ends the process if it is not armed anew, or disarmed, in time.

    There is no lock between the thread and the loop: one writes a number, the other
    reads it, and whoever reads the old one looks again when that is over.
    """

    def __init__(self, reason: str, exit_process: Callable[[int], object]) -> None:
        """Make a guard that is not armed.

        Args:
            reason: What to say on stderr at the end.
            exit_process: Called with 1, on a thread; it should not return.
        """
        self._reason = reason
        self._exit = exit_process
        self._until = 0.0
        self._disarmed: threading.Event | None = None

    @property
    def is_armed(self) -> bool:
        """Whether it would end the process at some time."""
        return self._disarmed is not None

    def arm(self, until: float) -> None:
        """End the process at a moment of `monotonic`, instead of an earlier one."""
        self._until = until
        if self._disarmed is None:
            self._disarmed = threading.Event()
            threading.Thread(
                target=self._watch,
                args=(self._disarmed,),
                name="leader election guard",
                daemon=True,
            ).start()

    def disarm(self) -> None:
        """Let the process live."""
        if self._disarmed is not None:
            self._disarmed.set()
            self._disarmed = None

    @property
    def is_overdue(self) -> bool:
        """Whether the process should have ended by now."""
        return self.is_armed and monotonic() >= self._until

    def check(self) -> None:
        """End the process here if it should have ended by now."""
        if self.is_overdue:
            self._strike()

    def _watch(self, disarmed: threading.Event) -> None:
        while (left := self._until - monotonic()) > 0:
            if disarmed.wait(left):
                return
        self._strike()

    def _strike(self) -> None:
        self._say_why()
        self._exit(1)

    def _say_why(self) -> None:
        # On a thread: stderr may be what blocks the process.
        text = f"{self._reason}\n".encode()
        writer = threading.Thread(target=os.write, args=(2, text), daemon=True)
        writer.start()
        writer.join(0.5)
