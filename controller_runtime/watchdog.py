"""Notice and name what blocks the event loop.

    thread:  ask ──────────▶ wait 200 ms ──▶ no answer: log the loop's stack, once
    loop:        (busy…)                 answer ─▶ gauge, and the next question

One blocked callback stops every controller, the probes, and the renewal of a lease, and
leaves no trace of its own. So a thread asks the loop for a sign of life ten times a
second; the time until the answer is the loop's lag. The loop has no timer for this, so
an idle or a virtual loop is not driven by its watchdog.

A stack is files, lines and names of functions: no source lines, no local values.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType

import structlog

from controller_runtime.errors import ControllerRuntimeError
from controller_runtime.metrics import Metrics

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchdogOptions:
    """When a lag matters. All are in seconds."""

    interval: float = 0.1
    """Between an answer and the next question."""

    stall: float = 0.2
    """Without an answer after which the loop's stack is logged. A stall that begins
    between two questions is noticed up to `interval` later."""

    unready: float = 5.0
    """Lag with which the process is not ready: half of what a leader has to renew."""


class Watchdog:
    """Asks one loop for signs of life, from a thread of its own."""

    def __init__(
        self,
        *,
        options: WatchdogOptions | None = None,
        metrics: Metrics | None = None,
        timer: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.options = options or WatchdogOptions()
        self.name = "watchdog"
        measured = metrics or Metrics()
        self._gauge = measured.loop_lag
        self._stalls = measured.loop_stalls
        self._timer = timer
        self._end = threading.Event()
        self._answered = threading.Event()
        self._asked = 0.0
        self._lag = 0.0

    @property
    def lag(self) -> float:
        """Seconds that the loop was behind when it was last asked."""
        return self._lag

    def check_ready(self) -> None:
        """Fail while the loop is too far behind to do its work.

        Raises:
            ControllerRuntimeError: It is.
        """
        if self._lag > self.options.unready:
            raise ControllerRuntimeError(
                f"the event loop was blocked for {self._lag:.1f} s"
            )

    async def run(self) -> None:
        """Watch the loop that runs this until cancelled; the thread ends with it."""
        loop = asyncio.get_running_loop()
        thread = threading.Thread(
            target=self._watch,
            args=(loop, threading.get_ident()),
            name=self.name,
            daemon=True,
        )
        thread.start()
        try:
            await loop.create_future()  # until cancelled
        finally:
            self._end.set()
            await asyncio.to_thread(thread.join)

    def _watch(self, loop: asyncio.AbstractEventLoop, watched: int) -> None:
        while not self._end.wait(self.options.interval):
            self._answered.clear()
            self._asked = self._timer()
            try:
                loop.call_soon_threadsafe(self._answer)
            except RuntimeError:
                return  # the loop is closed: whoever ran it let go of us
            if not self._answered.wait(self.options.stall):
                self._report(sys._current_frames().get(watched))  # noqa: SLF001 - the documented way
                self._answered.wait()

    def _answer(self) -> None:
        self._lag = self._timer() - self._asked
        self._gauge.set(self._lag)
        self._answered.set()

    def _report(self, frame: FrameType | None) -> None:
        self._stalls.inc()
        seconds = self._timer() - self._asked
        self._gauge.set(seconds)
        log.warning(
            "event loop is blocked", seconds=round(seconds, 3), blocked_in=_stack(frame)
        )


def _stack(frame: FrameType | None) -> list[str]:
    """Name the functions that run, the outermost first."""
    if frame is None:
        return []
    frames = [
        f"{one.f_code.co_filename}:{line} {one.f_code.co_qualname}"
        for one, line in traceback.walk_stack(frame)
    ]
    return frames[::-1]
