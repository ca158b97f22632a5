"""No act without the Lease: who leads is asked right before each call and reconcile.

    client ─▶ FencedTransport ─(is the Lease ours?)─▶ transport ─▶ API server
                     └─ no, it has run out: the process ends here

A process that is stopped and resumed (SIGSTOP, a paused virtual machine, swapping) does
not notice how long it was away. It goes on where it was, in the middle of a reconcile,
until the thread that watches the Lease gets the interpreter's lock. What can still
slip through is a call that was under way: it waited for a connection, for its answer,
or through a pause that the server had asked for before the same call is made again.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import TypeAlias, Unpack

from controller_runtime.transport import (
    ListenOptions,
    RequestOptions,
    Response,
    Transport,
)

Fence: TypeAlias = Callable[[], None]
"""Returns if one may act now; ends the process, or raises `LeaderLostError`, if not."""


class FencedTransport:
    """A `Transport` that makes a call only while that is allowed.

    Watches pass: to listen is not to act, and on a replica that waits they go on.
    """

    def __init__(self, transport: Transport, fence: Fence) -> None:
        self._transport = transport
        self._fence = fence

    async def request(
        self, method: str, path: str, **options: Unpack[RequestOptions]
    ) -> Response:
        self._fence()
        return await self._transport.request(method, path, **options)

    def stream(
        self, path: str, **options: Unpack[ListenOptions]
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        return self._transport.stream(path, **options)
