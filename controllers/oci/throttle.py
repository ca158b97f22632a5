"""How often registries are asked, all users of the process together.

    turn ──▶ one of 4 for the host ──▶ the host's bucket: 5 a second after 10 at once
         ──▶ one of 10 for all     ──▶ ask

A 429 closes the host for everyone until the time it names; a registry that counts down
(`RateLimit-Remaining`) is asked more slowly towards the end of its window. Who waits
for a host takes no turn from others.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta

from controller_runtime import Backoff, TokenBucket

_HOSTS = 1000
"""Hosts remembered; idle ones are forgotten first."""

_SCARCE = 0.05
"""Share of a window's requests below which the rest is spread over the window."""

_GAP_MAX = 10.0
"""Longest gap in seconds that spreading makes: a poll has to end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ThrottleOptions:
    """How much at a time."""

    requests: int = 10
    """Requests in flight, to all hosts."""

    requests_per_host: int = 4
    """Requests in flight to one host."""

    rate_per_host: float = 5.0
    """Requests a second to one host, in the long run."""

    burst_per_host: int = 10
    """Requests at once after a rest."""

    pause: Backoff = field(default_factory=lambda: Backoff(base=60, ceiling=1800))
    """How long a host is left alone that answers 429 and does not say how long."""


class Throttle:
    """Turns to ask a host."""

    def __init__(self, options: ThrottleOptions) -> None:
        self._options = options
        self._all = asyncio.Semaphore(options.requests)
        self._hosts: dict[str, _Host] = {}

    def closed_for(self, host: str) -> timedelta | None:
        """Return how long a host is not to be asked; `None` if it may be."""
        known = self._hosts.get(host)
        left = known.closed_until - _now() if known is not None else 0.0
        return timedelta(seconds=left) if left > 0 else None

    @asynccontextmanager
    async def turn(self, host: str) -> AsyncIterator[None]:
        """Wait for a turn, and hold it while the context lasts."""
        known = self._host(host)
        known.users += 1
        try:
            async with known.slots:
                await asyncio.sleep(known.reserve(_now()))
                async with self._all:
                    yield
        finally:
            known.users -= 1

    def refuse(self, host: str, asked: timedelta | None) -> timedelta:
        """Close a host that answered 429, and return for how long.

        Args:
            host: Who answered.
            asked: The pause that it asked for.
        """
        known = self._host(host)
        pause = asked or timedelta(seconds=self._options.pause.delay(known.refusals))
        known.refusals += 1
        known.closed_until = max(known.closed_until, _now() + pause.total_seconds())
        return pause

    def answered(self, host: str, headers: Mapping[str, str]) -> None:
        """Note an answer that was no refusal, and what it says about the rest."""
        known = self._host(host)
        known.refusals = 0
        known.gap = gap_of(headers)

    def _host(self, host: str) -> _Host:
        known = self._hosts.get(host)
        if known is None:
            if len(self._hosts) >= _HOSTS:
                self._forget()
            known = self._hosts[host] = _Host(self._options)
        return known

    def _forget(self) -> None:
        now = _now()
        for name, host in list(self._hosts.items()):
            if not host.users and host.closed_until <= now:
                del self._hosts[name]


class _Host:
    def __init__(self, options: ThrottleOptions) -> None:
        self.slots = asyncio.Semaphore(options.requests_per_host)
        self.users = 0
        self.refusals = 0
        self.closed_until = 0.0
        self.gap = 0.0
        self._bucket = TokenBucket(
            rate=options.rate_per_host, burst=options.burst_per_host
        )
        self._last = 0.0

    def reserve(self, now: float) -> float:
        """Take a turn and return the seconds until it comes."""
        wait = max(self._bucket.reserve(now), self._last + self.gap - now, 0.0)
        self._last = now + wait
        return wait


def gap_of(headers: Mapping[str, str]) -> float:
    """Return the seconds between requests that a countdown leaves room for.

    Docker Hub's form: `ratelimit-limit: 100;w=21600`, `ratelimit-remaining: 3;w=21600`.
    """
    limit, remaining, window = (
        _number(headers.get("RateLimit-Limit", ""), r"\s*([0-9]{1,9})"),
        _number(headers.get("RateLimit-Remaining", ""), r"\s*([0-9]{1,9})"),
        _number(headers.get("RateLimit-Remaining", ""), r".*;\s*w=([0-9]{1,9})"),
    )
    if limit is None or remaining is None or remaining > limit * _SCARCE:
        return 0.0
    return min((window or 60) / (remaining + 1), _GAP_MAX)


def _number(text: str, pattern: str) -> int | None:
    match = re.match(pattern, text)
    return int(match[1]) if match else None


def _now() -> float:
    return asyncio.get_running_loop().time()
