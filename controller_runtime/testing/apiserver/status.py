"""The `Status` that refuses a request, and the causes in it (apimachinery)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import NamedTuple

import msgspec

from controller_runtime.meta import Json


class Cause(NamedTuple):
    """One field that is wrong, as `details.causes` lists it."""

    field: str
    reason: str
    message: str

    def body(self) -> Json:
        """The entry in `details.causes`."""
        return {"reason": self.reason, "message": self.message, "field": self.field}

    @classmethod
    def required(cls, field: str, detail: str = "") -> Cause:
        """A field that is missing."""
        text = f"Required value: {detail}" if detail else "Required value"
        return cls(field, "FieldValueRequired", text)

    @classmethod
    def invalid(cls, field: str, value: object, detail: str) -> Cause:
        """A field with a value that cannot be."""
        shown = f'"{value}"'
        if not isinstance(value, str):
            shown = msgspec.json.encode(value).decode()
        text = f"Invalid value: {shown}: {detail}"
        return cls(field, "FieldValueInvalid", text)

    @classmethod
    def forbidden(cls, field: str, detail: str) -> Cause:
        """A field that may not be given here."""
        return cls(field, "FieldValueForbidden", f"Forbidden: {detail}")

    @classmethod
    def unsupported(cls, field: str, value: str, supported: Iterable[str]) -> Cause:
        """A field with a value that is not among those it may have."""
        known = ", ".join(f'"{name}"' for name in supported)
        text = f"Unsupported value: {value}: supported values: {known}"
        return cls(field, "FieldValueNotSupported", text)


class StatusError(Exception):
    """A request that is answered with a `Status` instead of an object."""

    def __init__(
        self,
        code: int,
        reason: str,
        message: str,
        *,
        details: Mapping[str, object] | None = None,
        metadata: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.details = details
        self.metadata = dict(metadata or {})

    @property
    def retry_after(self) -> int | None:
        """Seconds for the `Retry-After` header, if the Status names any."""
        seconds = (self.details or {}).get("retryAfterSeconds")
        return seconds if isinstance(seconds, int) else None

    def body(self) -> Json:
        """The `Status` itself."""
        status: Json = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": self.metadata,
            "status": "Failure",
            "message": self.message,
        }
        if self.reason:
            status["reason"] = self.reason
        if self.details is not None:
            status["details"] = dict(self.details)
        return {**status, "code": self.code}


_REASONS: Mapping[int, str] = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    405: "MethodNotAllowed",
    406: "NotAcceptable",
    409: "Conflict",
    410: "Expired",
    413: "RequestEntityTooLarge",
    415: "UnsupportedMediaType",
    422: "Invalid",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServiceUnavailable",
    504: "Timeout",
}


def generic(
    code: int, message: str = "", *, reason: str = "", retry_after: int | None = None
) -> StatusError:
    """Return a refusal that says no more than its code does."""
    phrase = message or HTTPStatus(code).phrase
    details = None if retry_after is None else {"retryAfterSeconds": retry_after}
    return StatusError(code, reason or _REASONS.get(code, ""), phrase, details=details)


def join(causes: Iterable[Cause]) -> str:
    """Write causes as a message does: each text once, in brackets if several."""
    texts = list(dict.fromkeys(f"{cause.field}: {cause.message}" for cause in causes))
    return texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"


def bad_request(message: str) -> StatusError:
    """Refuse a request that cannot be understood."""
    return StatusError(400, "BadRequest", message)


def internal(message: str) -> StatusError:
    """Refuse as the server does for some mistakes of clients: 500, no reason."""
    return StatusError(500, "", message)


def invalid_options(kind: str, causes: Iterable[Cause]) -> StatusError:
    """Refuse the query of a request, `ListOptions` or the like."""
    found = list(causes)
    listed = [cause.body() for cause in found]
    details = {"group": "meta.k8s.io", "kind": kind, "causes": listed}
    message = f'{kind}.meta.k8s.io "" is invalid: {join(found)}'
    return StatusError(422, "Invalid", message, details=details)


def no_such_resource() -> StatusError:
    """Refuse a path below a group and version that is served."""
    message = "the server could not find the requested resource"
    return StatusError(404, "NotFound", message, details={})


def method_not_allowed() -> StatusError:
    """Refuse a method that the path does not take."""
    message = "the server does not allow this method on the requested resource"
    return StatusError(405, "MethodNotAllowed", message, details={})


def unauthorized() -> StatusError:
    """Refuse someone whose credentials are not accepted."""
    return StatusError(401, "Unauthorized", "Unauthorized")


def unsupported_media_type(accepted: Iterable[str]) -> StatusError:
    """Refuse a body of a type that is not read here."""
    message = (
        "the body of the request was in an unknown format - accepted media types "
        f"include: {', '.join(accepted)}"
    )
    return StatusError(415, "UnsupportedMediaType", message)


def expired(message: str, *, continue_: str = "") -> StatusError:
    """Say that a resource version is gone; `continue_` offers an inconsistent rest."""
    metadata = {"continue": continue_} if continue_ else {}
    return StatusError(410, "Expired", message, metadata=metadata)


def too_old(requested: int, oldest: int) -> StatusError:
    """Say that a watch cannot start where it wants to."""
    return expired(f"too old resource version: {requested} ({oldest})")


def too_large(requested: int, current: int) -> StatusError:
    """Say that a resource version is still to come."""
    message = f"Timeout: Too large resource version: {requested}, current: {current}"
    text = "Too large resource version"
    cause = {"reason": "ResourceVersionTooLarge", "message": text}
    details = {"causes": [cause], "retryAfterSeconds": 1}
    return StatusError(504, "Timeout", message, details=details)
