"""One admission webhook: a review in, a review out, whatever happens in between.

    body ─▶ review ─▶ handler ─▶ response ─▶ review
              │          ├─ DeniedError, ApiError ─▶ a refusal, as it says
              │          ├─ framework, network    ─▶ 500 with its text
              │          ├─ too late              ─▶ 504
              └─ 400,413 └─ anything else         ─▶ 500, counted and logged as a panic

Nothing is raised to who serves it. What a bug says goes to the log and not to the user:
it may quote what no user should read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import NamedTuple, Protocol, TypeAlias

import jsonpatch
import structlog

from controller_runtime.nesting import LEVELS, depth
from controller_runtime.webhook.response import (
    AdmissionResponse,
    errored,
    respond_to,
)
from controller_runtime.webhook.review import (
    AdmissionRequest,
    BadReviewError,
    Review,
    read_review,
    write_review,
)

log = structlog.get_logger(__name__)

AdmissionHandler: TypeAlias = Callable[[AdmissionRequest], Awaitable[AdmissionResponse]]
"""Decides about a request, as it came. It may raise what `respond_to` knows."""

TIMEOUT = 30.0
"""Seconds; the most that a webhook configuration can give a webhook."""


class Answer(NamedTuple):
    """What is sent back, always with HTTP status 200."""

    body: bytes

    code: int
    """200 if there was a decision, also a no; else the code that is in the body."""


class Hook(Protocol):
    """Answers what the API server posts to one path."""

    async def answer(
        self, content_type: str, body: bytes | None, *, seconds: float = TIMEOUT
    ) -> Answer:
        """Answer a body, `None` if it was too long, within some seconds."""
        ...


Bug: TypeAlias = Callable[[BaseException], object]
"""Hears of what a handler should not have raised, while that is answered."""


def unheard(_: BaseException) -> None:
    """Be a `Bug` that nobody hears of."""


class AdmissionWebhook:
    """Reads reviews, has them decided, and writes the answers."""

    def __init__(
        self, name: str, handler: AdmissionHandler, *, on_panic: Bug = unheard
    ) -> None:
        """Make a webhook.

        Args:
            name: In logs and messages; best its path.
            handler: Decides.
            on_panic: Called with what the handler should not have raised, such as to
                count it.
        """
        self.name = name
        self._handler = handler
        self._on_panic = on_panic

    async def answer(
        self, content_type: str, body: bytes | None, *, seconds: float = TIMEOUT
    ) -> Answer:
        """Answer a body, `None` if it was too long, within some seconds."""
        try:
            review = read_review(content_type, body)
        except BadReviewError as error:
            log.warning("not a review", webhook=self.name, error=str(error))
            refusal = errored(str(error), code=error.code)
            answer = write_review(error.api_version, error.uid, refusal)
            return Answer(answer, error.code)
        return await self._decide(review, seconds, body or b"")

    async def _decide(self, review: Review, seconds: float, body: bytes) -> Answer:
        request, deadline = review.request, asyncio.timeout(seconds)
        try:
            async with deadline:
                return self._say(review, await answered(self._handler, request))
        except Exception as error:
            if deadline.expired():
                log.warning("webhook is too slow", webhook=self.name, **_names(request))
                late = errored(f"no decision after {seconds:g} s", code=504)
                return self._say(review, late)
            if _is_about_depth(error, body):
                log.warning("nested too deeply", webhook=self.name, **_names(request))
                return self._say(review, errored(_TOO_DEEP, code=400))
            self._on_panic(error)
            log.exception("webhook failed", webhook=self.name, **_names(request))
            failure = errored(
                f"the webhook {self.name} failed with a {type(error).__name__}; "
                f"its log has more under the uid {request.uid}"
            )
            return self._say(review, failure)

    def _say(self, review: Review, response: AdmissionResponse) -> Answer:
        answer = write_review(review.api_version, review.request.uid, response)
        log.debug(
            "reviewed",
            webhook=self.name,
            allowed=response.allowed,
            code=response.code,
            **_names(review.request),
        )
        is_decided = response.allowed or response.code < 500
        return Answer(answer, 200 if is_decided else response.code)


async def answered(
    handler: AdmissionHandler, request: AdmissionRequest
) -> AdmissionResponse:
    """Ask a handler, and make answers of the errors that are meant as such."""
    try:
        return await handler(request)
    except Exception as error:
        response = respond_to(error)
        if response is None:
            raise
        return response


def multi_mutating(*handlers: AdmissionHandler) -> AdmissionHandler:
    """Ask handlers in turn, each about what those before have made of the object.

    The first no ends it. The patches are sent as one, one after the other.
    """

    async def mutate(request: AdmissionRequest) -> AdmissionResponse:
        together = AdmissionResponse(allowed=True)
        for handler in handlers:
            response = await answered(handler, request)
            if not response.allowed:
                return response.warned(together.warnings)
            if response.patch:
                changed = jsonpatch.apply_patch(request.object, response.patch)
                request = replace(request, object=changed)
            together = _joined(together, response)
        return together

    return mutate


def multi_validating(*handlers: AdmissionHandler) -> AdmissionHandler:
    """Ask handlers in turn until one says no; the warnings of all are passed on."""

    async def validate(request: AdmissionRequest) -> AdmissionResponse:
        together = AdmissionResponse(allowed=True)
        for handler in handlers:
            response = await answered(handler, request)
            if not response.allowed:
                return response.warned(together.warnings)
            together = _joined(together, replace(response, patch=()))
        return together

    return validate


def _joined(first: AdmissionResponse, second: AdmissionResponse) -> AdmissionResponse:
    return replace(
        second.warned(first.warnings),
        patch=(*first.patch, *second.patch),
        audit_annotations={**first.audit_annotations, **second.audit_annotations},
    )


_TOO_DEEP = "the object is nested too deeply to be reviewed; make it flatter"


def _is_about_depth(error: Exception, body: bytes) -> bool:
    """Tell whether it was what was sent that Python or pydantic could not walk."""
    # pydantic writes 250 levels; what it raises for more is a ValueError.
    kinds = RecursionError, ValueError
    return isinstance(error, kinds) and depth(body) > 2 * LEVELS


def _names(request: AdmissionRequest) -> dict[str, object]:
    return {
        "uid": request.uid,
        "operation": request.operation,
        "kind": str(request.kind),
        "namespace": request.namespace,
        "object": request.name,
    }
