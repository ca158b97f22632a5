"""How answers go onto the wire, and how faults spoil them there."""

from __future__ import annotations

import asyncio
import contextlib

import msgspec
from aiohttp import web

from controller_runtime.meta import Json
from controller_runtime.testing.apiserver import partial, status
from controller_runtime.testing.apiserver.faults import Effect, Fault
from controller_runtime.testing.apiserver.status import StatusError
from controller_runtime.testing.apiserver.watching import Watch

_BODY_LIMIT = 3 * 1024 * 1024
"""Longest body of a request, in bytes (apiserver `MaxRequestBodyBytes`)."""

_GARBAGE = b'{"type":"MODIFIED","object":{"kind":\x00}}\n'
_HALF_A_LINE = b'{"type":"MODIFIED","object":{"kind":"Conf'


def json_answer(code: int, answer: Json) -> web.Response:
    """Answer with an object."""
    headers = {"Content-Type": "application/json", "Cache-Control": "no-cache, private"}
    body = msgspec.json.encode(answer) + b"\n"
    return web.Response(status=code, body=body, headers=headers)


def refusal(error: StatusError) -> web.Response:
    """Answer with the Status of a refusal."""
    response = json_answer(error.code, error.body())
    if error.retry_after is not None:
        response.headers["Retry-After"] = str(error.retry_after)
    return response


def spoilt(request: web.BaseRequest, fault: Fault) -> web.Response:
    """Answer with what is not JSON, or to a connection that is broken now."""
    if fault.effect is Effect.CUT:
        cut(request)
    return web.Response(body=_GARBAGE, content_type="application/json")


def cut(request: web.BaseRequest) -> None:
    """Break the connection; what was not sent yet is lost."""
    if request.transport is not None:
        request.transport.abort()


async def read_body(request: web.BaseRequest) -> bytes:
    """Read the body of a request.

    Raises:
        StatusError: 413, it is longer than the server takes.
    """
    body = bytearray()
    async for chunk in request.content.iter_any():
        body += chunk
        if len(body) > _BODY_LIMIT:
            text = f"Request entity too large: limit is {_BODY_LIMIT}"
            raise status.generic(413, text)
    return bytes(body)


async def stream(
    request: web.BaseRequest, watch: Watch, fault: Fault | None
) -> web.StreamResponse:
    """Write events until the watch ends, the client leaves or a fault strikes."""
    is_partial = partial.is_wanted(request.headers.get("Accept", ""))
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    response.enable_chunked_encoding()
    await response.prepare(request)
    told = 0
    with contextlib.suppress(ConnectionResetError):
        while True:
            if fault is not None and told == fault.after:
                if fault.effect is Effect.CUT:
                    await _break_off(request, response)
                    return response
                await _spoil(response, fault)
            event = await watch.next()
            if event is None:
                break
            shown = partial.of_event(event) if is_partial else event
            await response.write(msgspec.json.encode(shown) + b"\n")
            told += 1
        await response.write_eof()
    return response


async def _spoil(response: web.StreamResponse, fault: Fault) -> None:
    if fault.effect is Effect.STALL:
        await asyncio.Event().wait()
    await response.write(_GARBAGE)


async def _break_off(request: web.BaseRequest, response: web.StreamResponse) -> None:
    """Close the connection in the middle of a line.

    Closing, unlike aborting, lets the client read what was written before.
    """
    await response.write(_HALF_A_LINE)
    if request.transport is not None:
        request.transport.close()
