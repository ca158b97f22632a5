"""Spans of reconciles, and of API calls: a transport around a transport.

    client, cache ─▶ TracedTransport ─▶ HttpTransport ─▶ API server
                          └─ span: method, path without names, status

A span never has what a call carries: no body, no query, no names of objects, no
header. Of an error it has the class and the status; a text only where this framework
has composed it, and of nothing that it read: what the server says of an invalid object
quotes it, and so may a bug or a reconciler. A watch lasts for minutes, so its
span covers the opening and ends when the stream is there.

Who traces nothing uses the inner transport and pays nothing.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import (
    AbstractContextManager,
    AsyncExitStack,
    asynccontextmanager,
    contextmanager,
)
from http import HTTPStatus
from typing import Unpack

from opentelemetry.trace import Span, SpanKind, StatusCode, Tracer

from controller_runtime.errors import (
    AlreadyStartedError,
    ApiError,
    CacheNotStartedError,
    NoKindMatchError,
    NotCachedError,
    NotIndexedError,
    ShutDownError,
    StalledError,
    SyncTimeoutError,
)
from controller_runtime.requestinfo import path_template
from controller_runtime.transport import (
    ListenOptions,
    RequestOptions,
    Response,
    Transport,
)

_OUR_WORDS = frozenset(
    {
        AlreadyStartedError,
        CacheNotStartedError,
        NoKindMatchError,
        NotCachedError,
        NotIndexedError,
        ShutDownError,
        StalledError,
        SyncTimeoutError,
    }
)
"""Errors whose texts name kinds, places and options, and quote nothing."""


class TracedTransport:
    """A `Transport` that makes a span of each call to another."""

    def __init__(self, transport: Transport, tracer: Tracer) -> None:
        self._transport = transport
        self._tracer = tracer

    async def request(
        self, method: str, path: str, **options: Unpack[RequestOptions]
    ) -> Response:
        with self._span(method, path) as span:
            answer = await self._transport.request(method, path, **options)
            span.set_attribute("http.response.status_code", answer.status)
            return answer

    @asynccontextmanager
    async def stream(
        self, path: str, **options: Unpack[ListenOptions]
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        opened = self._transport.stream(path, **options)
        async with AsyncExitStack() as stack:
            with self._span("GET", path) as span:
                chunks = await stack.enter_async_context(opened)
                span.set_attribute("http.response.status_code", HTTPStatus.OK)
            yield chunks

    def _span(self, method: str, path: str) -> AbstractContextManager[Span]:
        template = path_template(path)
        return discreet_span(
            self._tracer,
            f"{method} {template}",
            kind=SpanKind.CLIENT,
            attributes={"http.request.method": method, "url.template": template},
        )


@contextmanager
def discreet_span(
    tracer: Tracer,
    name: str,
    *,
    kind: SpanKind = SpanKind.INTERNAL,
    attributes: Mapping[str, str | Sequence[str]],
) -> Iterator[Span]:
    """Make a span that is current inside, and tells of errors what is safe to tell."""
    with tracer.start_as_current_span(
        name,
        kind=kind,
        attributes=attributes,
        # Either would put the text of the error into the span.
        record_exception=False,
        set_status_on_exception=False,
    ) as span:
        try:
            yield span
        except Exception as error:
            if isinstance(error, ApiError):
                span.set_attribute("http.response.status_code", error.status)
            span.set_attribute("error.type", type(error).__name__)
            text = str(error) if type(error) in _OUR_WORDS else None
            span.set_status(StatusCode.ERROR, text)
            raise
