"""Conversion reviews on the wire, and the webhook that answers them.

    body ─▶ ConversionReview ─▶ Conversions ─▶ ConversionReview
               └──────────┬──────────┘
                          ▼ anything that goes wrong
                   result Failure with a message, and no object at all

The API server wants all objects of a review, in order, or none.
"""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import structlog

from controller_runtime.nesting import UNREADABLE, surface, why
from controller_runtime.webhook.admission import TIMEOUT, Answer, Bug, unheard
from controller_runtime.webhook.conversion import (
    ConversionError,
    Conversions,
    UnexpectedConversionError,
)
from controller_runtime.webhook.review import is_json

log = structlog.get_logger(__name__)

_API_VERSION = "apiextensions.k8s.io/v1"
_KIND = "ConversionReview"


class _Request(msgspec.Struct):
    uid: str = ""
    desired_api_version: str = msgspec.field(default="", name="desiredAPIVersion")
    objects: list[dict[str, Any]] | None = None


class _Review(msgspec.Struct, rename="camel"):
    request: _Request
    api_version: str = ""
    kind: str = ""


class _Uid(msgspec.Struct):
    uid: str = ""


class _Head(msgspec.Struct):
    request: _Uid = msgspec.field(default_factory=_Uid)


_decode = msgspec.json.Decoder(_Review).decode
_decode_head = msgspec.json.Decoder(_Head).decode


_NO_REVIEW: tuple[type[Exception], ...] = (*UNREADABLE, ValueError)


class ConversionWebhook:
    """Reads reviews, has the objects converted, and writes the answers."""

    def __init__(
        self, name: str, conversions: Conversions, *, on_panic: Bug = unheard
    ) -> None:
        """Make a webhook.

        Args:
            name: In logs; best its path.
            conversions: What it converts.
            on_panic: Called with what a conversion should not have raised, such as to
                count it.
        """
        self.name = name
        self._conversions = conversions
        self._on_panic = on_panic

    async def answer(
        self, content_type: str, body: bytes | None, *, seconds: float = TIMEOUT
    ) -> Answer:
        """Answer a body, `None` if it was too long, within some seconds."""
        if body is None:
            return _failure("", "the review is too large", 413)
        if not is_json(content_type):
            return _failure("", f"{content_type or 'nothing'} is not application/json")
        try:
            request = _readable(body)
        except _NO_REVIEW as error:
            return _failure(
                _uid(body), f"cannot read the conversion review: {why(error)}"
            )
        return await self._convert(request, seconds)

    async def _convert(self, request: _Request, seconds: float) -> Answer:
        objects, wanted = request.objects or [], request.desired_api_version
        try:
            async with asyncio.timeout(seconds):
                converted = await self._conversions.convert(objects, wanted)
        except TimeoutError:
            message = f"{len(objects)} objects took more than {seconds:g} s"
            log.warning("webhook is too slow", webhook=self.name, uid=request.uid)
            return _failure(request.uid, message, 504)
        except ConversionError as error:
            log.warning("not converted", webhook=self.name, error=str(error))
            return _failure(request.uid, str(error), 200)
        except UnexpectedConversionError as error:
            self._on_panic(error.__cause__ or error)
            log.exception("webhook failed", webhook=self.name, uid=request.uid)
            return _failure(request.uid, str(error), 500)
        response = {"convertedObjects": converted, "result": {"status": "Success"}}
        try:
            return Answer(_write(request.uid, response), 200)
        except RecursionError as error:
            return _failure(
                request.uid, f"cannot write what was converted: {why(error)}"
            )


def _readable(body: bytes) -> _Request:
    review = _decode(body)
    if review.kind not in {"", _KIND}:
        raise ValueError(f"its kind is {review.kind}")
    if review.api_version not in {"", _API_VERSION}:
        raise ValueError(f"its apiVersion is {review.api_version}")
    return review.request


def _uid(body: bytes) -> str:
    """Return the uid of a review that cannot be read, if that can."""
    try:
        return surface(_decode_head, body).request.uid
    except msgspec.MsgspecError:
        return ""


def _failure(uid: str, message: str, code: int = 400) -> Answer:
    result = {"status": "Failure", "message": message}
    return Answer(_write(uid, {"convertedObjects": [], "result": result}), code)


def _write(uid: str, response: dict[str, Any]) -> bytes:
    review = {
        "apiVersion": _API_VERSION,
        "kind": _KIND,
        "response": {"uid": uid, **response},
    }
    return msgspec.json.encode(review)
