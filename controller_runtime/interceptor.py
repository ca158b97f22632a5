"""Hooks around the calls to an API server: a transport around a transport.

    client, cache ─▶ InterceptedTransport ─▶ hook ─proceed─▶ HttpTransport ─▶ API server
                            ▲                  └─ or not: an answer or error of its own
                            └── chosen by verb, with all that is known of the call

A hook sees a call in the words of roles and audit logs, and decides: it lets it pass,
looks at the answer, puts another in its place, or raises. Faults for tests, records of
what was asked, and traces are all made of that:

    async def refuse(call, proceed):
        raise ForbiddenError(f"no {call.info}", status=403)

    transport = InterceptedTransport(inner, {"create": refuse})

What a hook raises after it has proceeded is an answer that was lost. A hook that
suspends holds up its own call and no other.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import NamedTuple, Protocol, Unpack

from controller_runtime.requestinfo import RequestInfo, request_info
from controller_runtime.transport import (
    ListenOptions,
    RequestOptions,
    Response,
    Transport,
)

_NO_PARAMS: Mapping[str, str] = {}

EVERY_CALL = "*"
"""Stands for the calls whose verb has no hook, and for those without a resource."""


class Call(NamedTuple):
    """One call, before it is made."""

    info: RequestInfo
    """Verb, resource, namespace and name, as an authorizer sees them."""

    method: str
    """Such as `GET`."""

    path: str
    """Absolute, below the server's URL."""

    params: Mapping[str, str]
    """The query."""

    body: bytes | None
    """Content of an object, maybe of a Secret: not for logs."""


class Proceed(Protocol):
    """Makes a call, or makes it once more; of a watch, opens the one stream."""

    async def __call__(self) -> Response:
        """Return or raise what the server answers; of a watch, without a body."""
        ...


class Hook(Protocol):
    """Stands around the calls of a verb."""

    async def __call__(self, call: Call, proceed: Proceed, /) -> Response:
        """Return what the caller shall get; `await proceed()` is what it would get.

        For a watch that it does not let pass, the body is what the stream sends before
        it ends.
        """
        ...


class InterceptedTransport:
    """A `Transport` that asks hooks about each call to another."""

    def __init__(self, transport: Transport, hooks: Mapping[str, Hook]) -> None:
        """Put hooks around a transport.

        Args:
            transport: Carries the calls.
            hooks: By the verb that is done to a resource, such as `list`, `watch` or
                `deletecollection`; `*` is for all other calls, also for discovery and
                what else is no resource.
        """
        self._transport = transport
        self._hooks = dict(hooks)

    async def request(
        self, method: str, path: str, **options: Unpack[RequestOptions]
    ) -> Response:
        async def proceed() -> Response:
            return await self._transport.request(method, path, **options)

        params, body = options.get("params", _NO_PARAMS), options.get("body")
        call = Call(request_info(method, path, params), method, path, params, body)
        hook = self._hook(call)
        return await (proceed() if hook is None else hook(call, proceed))

    @asynccontextmanager
    async def stream(
        self, path: str, **options: Unpack[ListenOptions]
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        async with AsyncExitStack() as stack:
            opened: list[AsyncIterator[bytes]] = []

            async def proceed() -> Response:
                if not opened:
                    stream = self._transport.stream(path, **options)
                    opened.append(await stack.enter_async_context(stream))
                return Response(200, {}, b"")

            params = options["params"]
            call = Call(request_info("GET", path, params), "GET", path, params, None)
            hook = self._hook(call)
            answer = await (proceed() if hook is None else hook(call, proceed))
            yield opened[0] if opened else _once(answer.body)

    def _hook(self, call: Call) -> Hook | None:
        rest = self._hooks.get(EVERY_CALL)
        return self._hooks.get(call.info.verb, rest) if call.info.resource else rest


async def _once(body: bytes) -> AsyncIterator[bytes]:
    if body:
        yield body
