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

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import TypeAlias

from controller_runtime.transport import JSON, Response, Transport

Fence: TypeAlias = Callable[[], None]
"""Returns if one may act now; ends the process, or raises `LeaderLostError`, if not."""

_NO_PARAMS: Mapping[str, str] = {}


class FencedTransport:
    """A `Transport` that makes a call only while that is allowed.

    Watches pass: to listen is not to act, and on a replica that waits they go on.
    """

    def __init__(self, transport: Transport, fence: Fence) -> None:
        self._transport = transport
        self._fence = fence

    async def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] = _NO_PARAMS,
        body: bytes | None = None,
        content_type: str = JSON,
        accept: str = JSON,
        timeout: float | None = 30.0,
    ) -> Response:
        self._fence()
        return await self._transport.request(
            method,
            path,
            params=params,
            body=body,
            content_type=content_type,
            accept=accept,
            timeout=timeout,
        )

    def stream(
        self,
        path: str,
        *,
        params: Mapping[str, str],
        idle_timeout: float,
        accept: str = JSON,
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        return self._transport.stream(
            path, params=params, idle_timeout=idle_timeout, accept=accept
        )
