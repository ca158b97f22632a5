"""Documents of the web: an index, a chart, into memory or into a file.

    what was remembered (ETag, Last-Modified) ──▶ 304 NotModified
                                             └──▶ 200 Document, at most so many bytes

A file appears whole or not at all: it is written beside its place and renamed.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO

from controller_runtime import Clock
from controllers.web.errors import StatusError, TooSlowError
from controllers.web.headers import retry_after
from controllers.web.requests import Request
from controllers.web.session import Answer, Http

_BLOCK = 1 << 18
"""Bytes gathered before a thread writes them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Validators:
    """What a server said about a document, to ask whether it has changed since."""

    etag: str = ""
    last_modified: str = ""

    @property
    def headers(self) -> Mapping[str, str]:
        """The conditions of a request (RFC 9110, 13)."""
        asked = {
            "If-None-Match": self.etag,
            "If-Modified-Since": self.last_modified,
        }
        return {name: value for name, value in asked.items() if value}


NOTHING_KNOWN = Validators()


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """What was fetched; its bytes are here or in the file that was named."""

    url: str
    """Where it was in the end: relative links in it are meant from there."""

    size: int
    """In bytes."""

    validators: Validators = NOTHING_KNOWN
    content: bytes = field(default=b"", repr=False)


class NotModified:
    """The document is what it was."""


async def fetch(
    http: Http,
    request: Request,
    *,
    limit: int,
    timeout: float,
    clock: Clock,
    known: Validators = NOTHING_KNOWN,
) -> Document | NotModified:
    """Get a document into memory.

    Args:
        http: The pool of connections.
        request: What is asked; `known` adds its conditions.
        limit: Most bytes.
        timeout: Seconds for all of it.
        clock: For a server that names the date at which to ask again.
        known: What the server said the last time.

    Raises:
        StatusError: Not 200, nor 304 where that can be.
        WebError: No whole answer; the class says why.
    """
    async with _opened(http, request, known, timeout, clock) as answer:
        if answer.status == 304:
            return NotModified()
        content = await answer.read(limit)
        return _document(answer, len(content), content)


async def download(
    http: Http,
    request: Request,
    target: Path,
    *,
    limit: int,
    timeout: float,
    clock: Clock,
    known: Validators = NOTHING_KNOWN,
) -> Document | NotModified:
    """Get a document into a file; as `fetch`, but memory holds a block of it at most.

    After an error or a cancellation the file is what it was before.
    """
    async with _opened(http, request, known, timeout, clock) as answer:
        if answer.status == 304:
            return NotModified()
        return _document(answer, await save(answer.chunks(limit), target))


async def save(chunks: AsyncIterator[bytes], target: Path) -> int:
    """Write bytes into a file as they come, and return how many there were."""
    size = 0
    async with _replacing(target) as file:
        block = bytearray()
        async for chunk in chunks:
            block += chunk
            if len(block) >= _BLOCK:
                size += await asyncio.to_thread(file.write, bytes(block))
                block.clear()
        size += await asyncio.to_thread(file.write, bytes(block))
    return size


@asynccontextmanager
async def _opened(
    http: Http, request: Request, known: Validators, timeout: float, clock: Clock
) -> AsyncIterator[Answer]:
    request = replace(request, headers={**request.headers, **known.headers})
    try:
        async with asyncio.timeout(timeout), http.open(request) as answer:
            expected = {200, 304} if known.headers else {200}
            if answer.status not in expected:
                pause = retry_after(answer.headers.get("Retry-After"), clock.now())
                raise StatusError(
                    f"{answer.request}: the server answers {answer.status}",
                    status=answer.status,
                    retry_after=pause,
                )
            yield answer
    except TimeoutError:
        raise TooSlowError(f"{request}: not done after {timeout:g} s") from None


def _document(answer: Answer, size: int, content: bytes = b"") -> Document:
    validators = Validators(
        etag=answer.headers.get("ETag", ""),
        last_modified=answer.headers.get("Last-Modified", ""),
    )
    return Document(
        url=answer.request.url, size=size, validators=validators, content=content
    )


@asynccontextmanager
async def _replacing(target: Path) -> AsyncIterator[IO[bytes]]:
    """Lend a file that takes the target's place if all goes well."""
    file, path = await asyncio.to_thread(_temporary, target)
    try:
        yield file
        await asyncio.to_thread(_finish, file, path, target)
    except BaseException:
        await asyncio.to_thread(_abandon, file, path)
        raise


def _temporary(target: Path) -> tuple[IO[bytes], Path]:
    number, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    return os.fdopen(number, "wb"), Path(name)


def _abandon(file: IO[bytes], path: Path) -> None:
    file.close()
    path.unlink(missing_ok=True)


def _finish(file: IO[bytes], path: Path, target: Path) -> None:
    file.close()
    path.replace(target)
