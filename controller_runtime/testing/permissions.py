"""What a manager asked of the API server, to hold against its role.

    transport = RecordingTransport(HttpTransport(config of the account with the role))
    … the manager does everything that it can do …
    assert not transport.forbidden
    assert not roles.unused(transport.requests)

The first says that the role lacks nothing, the second that it has nothing to spare.
What every account may do, such as to ask which kinds are served, is in no role and is
not counted. A patch or an update that made its object counts as a creation, too: the
server asks for that permission then.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Unpack

from controller_runtime.errors import ForbiddenError
from controller_runtime.rbac import OPEN_TO_ALL
from controller_runtime.requestinfo import RequestInfo, request_info
from controller_runtime.transport import (
    ListenOptions,
    RequestOptions,
    Response,
    Transport,
)


class RecordingTransport:
    """A `Transport` that notes what is asked of another."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self.requests: list[RequestInfo] = []
        """What was asked, in order, and whatever the answer was."""
        self.forbidden: list[RequestInfo] = []
        """Those of them that were answered with 403."""

    async def request(
        self, method: str, path: str, **options: Unpack[RequestOptions]
    ) -> Response:
        asked = request_info(method, path, options.get("params", {}))
        with self._noted(asked):
            answer = await self._transport.request(method, path, **options)
        if answer.status == 201 and asked.verb in {"patch", "update"}:
            self.requests.append(asked._replace(verb="create"))
        return answer

    @asynccontextmanager
    async def stream(
        self, path: str, **options: Unpack[ListenOptions]
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        with self._noted(request_info("GET", path, options["params"])):
            async with self._transport.stream(path, **options) as chunks:
                yield chunks

    @contextmanager
    def _noted(self, request: RequestInfo) -> Iterator[None]:
        if OPEN_TO_ALL.allow(request):
            yield
            return
        self.requests.append(request)
        try:
            yield
        except ForbiddenError:
            self.forbidden.append(request)
            raise
