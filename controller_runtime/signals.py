"""SIGTERM and SIGINT: the first asks the manager to stop, the second ends the process.

The handlers are `signal.signal`'s, not the event loop's: they run even when the
loop is blocked, which is just when somebody presses Ctrl-C a second time
(controller-runtime `pkg/manager/signals`).
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from controller_runtime.errors import AlreadyStartedError

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class _Handler:
    """Asks to stop, and no second time."""

    def __init__(self, stop: Callable[[], object]) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = stop
        self._asked = False

    def __call__(self, _signal: int, _frame: FrameType | None) -> None:
        if self._asked:
            os._exit(1)  # the loop may be blocked, so nothing else is sure to happen
        self._asked = True
        self._loop.call_soon_threadsafe(self._stop)


@contextmanager
def on_stop_signal(stop: Callable[[], object]) -> Iterator[None]:
    """Call `stop` on the running loop at the first signal; exit with 1 at the second.

    Must be entered on the main thread. Leaving puts the previous handlers back.

    Raises:
        AlreadyStartedError: It is entered already, and that one would hear nothing.
    """
    if any(isinstance(signal.getsignal(it), _Handler) for it in STOP_SIGNALS):
        raise AlreadyStartedError(
            "SIGTERM and SIGINT stop something already: let one function stop it all"
        )
    handler = _Handler(stop)
    before = {number: signal.signal(number, handler) for number in STOP_SIGNALS}
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)
