"""How many messages are on their way at once, and whose.

A receiver that hangs has its place until it is given up. So that those that hang leave
places to those that do not, whoever named them, a message needs one of each kind:

    a server         few, however many sinks lead to it
    a namespace      some, however many configs it has
    in trouble       half, for sinks that did not take their last message, all together
    all              as many as there are connections

They are taken in this order: who waits for one of the last has none that others need.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaceOptions:
    """How many there are."""

    server: int = 16
    """For each host and port."""

    namespace: int = 40
    """For the configs of each namespace."""

    in_trouble: int = 100
    """For sinks that do not take messages at the moment."""

    all: int = 200
    """Altogether."""


class _Row:
    """Places of one kind for one name, while anybody has or wants one."""

    def __init__(self, places: int) -> None:
        self.free = asyncio.Semaphore(places)
        self.users = 0


class Places:
    """Hands them out."""

    def __init__(self, options: PlaceOptions) -> None:
        self._options = options
        self._rows: dict[tuple[int, Hashable], _Row] = {}

    def __len__(self) -> int:
        """Count what is kept: nothing, when nobody has or wants a place."""
        return len(self._rows)

    @asynccontextmanager
    async def place(
        self, server: Hashable, namespace: str, *, in_trouble: bool
    ) -> AsyncIterator[None]:
        """Wait for a place, and have it while inside.

        Args:
            server: Who is asked.
            namespace: Whose message it is; empty for that of the settings.
            in_trouble: The sink did not take its last message.
        """
        options = self._options
        half = options.in_trouble if in_trouble else options.all
        async with (
            self._one(0, server, options.server),
            self._one(1, namespace, options.namespace),
            self._one(2, in_trouble, half),
            self._one(3, None, options.all),
        ):
            yield

    @asynccontextmanager
    async def _one(self, kind: int, name: Hashable, places: int) -> AsyncIterator[None]:
        row = self._rows.setdefault((kind, name), _Row(places))
        row.users += 1
        try:
            async with row.free:
                yield
        finally:
            row.users -= 1
            if not row.users:
                del self._rows[kind, name]
