"""What is asked over HTTP and what is answered, as plain values.

Between `httplistener`, which knows the HTTP library, and `httpserver`, which knows what
a manager answers. The library's server takes longer to import than it takes to list a
thousand objects, so it is loaded with the first connection, and nothing here needs it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import NamedTuple, Protocol, TypeAlias

Query: TypeAlias = Mapping[str, Sequence[str]]
"""Name → its values, in the order of the URL."""


class Reply(NamedTuple):
    """What a route answers."""

    body: bytes
    status: int = 200
    content_type: str = "text/plain; charset=utf-8"


class HttpRequest(Protocol):
    """What a client asks."""

    @property
    def method(self) -> str: ...

    @property
    def path(self) -> str: ...

    @property
    def query(self) -> Query: ...

    def header(self, name: str) -> str:
        """Return a header as it came; empty if it did not."""
        ...

    async def body(self, limit: int) -> bytes | None:
        """Receive the body; `None` if it is longer than `limit` bytes."""
        ...


Answer: TypeAlias = Callable[[HttpRequest], Awaitable[Reply]]
