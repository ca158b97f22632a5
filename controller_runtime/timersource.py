"""The same keys again and again, for what changes without telling anybody.

    start ─▶ keys ─every period─▶ keys ─…─▶ stop

It has no task: the loop's timer calls it, and it adds keys to a queue, which keeps
each of them once.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Hashable, Iterable
from datetime import timedelta
from typing import Generic, TypeVar

import structlog

from controller_runtime.errors import AlreadyStartedError
from controller_runtime.workqueue import WorkQueue

log = structlog.get_logger(__name__)

R = TypeVar("R", bound=Hashable)


class TimerSource(Generic[R]):
    """A `Source` of keys that come up at regular times, first of all at the start."""

    def __init__(
        self,
        period: timedelta,
        requests: Callable[[], Iterable[R]],
        *,
        jitter: float = 0.1,
        priority: int = 0,
        name: str = "timer",
        randomness: random.Random | None = None,
    ) -> None:
        """Describe a source; `start` begins it.

        Args:
            period: Between two times.
            requests: The keys, asked for each time; must be quick. One that raises is
                logged, and asked again the next time.
            jitter: Fraction by which a period may be longer or shorter, so that
                replicas and controllers do not keep step.
            priority: Of the keys.
            name: What to call the source in messages and causes.
            randomness: Where the jitter comes from.

        Raises:
            ValueError: The period is not positive, or the jitter 1 or more.
        """
        if period <= timedelta(0) or not 0 <= jitter < 1:
            raise ValueError(f"{name}: {period} with jitter {jitter} is no period")
        self._period = period.total_seconds()
        self._requests = requests
        self._jitter = jitter
        self._priority = priority
        self._name = name
        self._random = randomness or random.Random()  # noqa: S311 - jitter, no secret
        self._timer: asyncio.TimerHandle | None = None

    def describe(self) -> str:
        return self._name

    async def start(self, queue: WorkQueue[R], /) -> None:
        """Add the keys now, and again from time to time.

        Raises:
            AlreadyStartedError: The source feeds a queue already.
        """
        if self._timer is not None:
            raise AlreadyStartedError(f"the source {self._name} feeds a queue already")
        self._tick(queue)

    async def synced(self) -> None:
        """Return: the first keys are in the queue since the start."""

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _tick(self, queue: WorkQueue[R]) -> None:
        spread = self._random.uniform(1 - self._jitter, 1 + self._jitter)
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._period * spread, self._tick, queue)
        try:
            for request in self._requests():
                queue.add(request, priority=self._priority, cause=self._name)
        except Exception:
            # A user's function, called by the loop: nobody else could tell of it.
            log.exception("keys skipped", source=self._name)
