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

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def on_stop_signal(stop: Callable[[], object]) -> Iterator[None]:
    """Call `stop` on the running loop at the first signal; exit with 1 at the second.

    Must be entered on the main thread. Leaving puts the previous handlers back.
    """
    loop = asyncio.get_running_loop()
    asked = False

    def handle(_signal: int, _frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            os._exit(1)  # the loop may be blocked, so nothing else is sure to happen
        asked = True
        loop.call_soon_threadsafe(stop)

    before = {number: signal.signal(number, handle) for number in STOP_SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
