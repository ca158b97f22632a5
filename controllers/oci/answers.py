"""What answers mean that are not what was asked for: status and code → error. Pure.

The body of an error is `{"errors": [{"code", "message", "detail"}]}` (distribution
specification, "Error Codes"); of a HEAD there is none.
"""

from __future__ import annotations

import json
from datetime import timedelta
from enum import Enum, auto
from http.client import responses
from typing import NamedTuple

from controllers.oci.errors import (
    AccessForbiddenError,
    AuthenticationFailedError,
    BlobNotFoundError,
    RateLimitedError,
    RegistryError,
    RegistryNetworkError,
    RegistryProtocolError,
    RegistryServerError,
    RegistryTimeoutError,
    RepositoryNotFoundError,
    TagNotFoundError,
    TlsVerificationError,
)
from controllers.oci.target import Target
from controllers.web import (
    NetworkError,
    TlsError,
    TooSlowError,
    WebError,
)


class Asked(Enum):
    """What was asked for, which decides what a 404 means."""

    TAGS = auto()
    MANIFEST = auto()
    BLOB = auto()
    UPLOAD = auto()
    TOKEN = auto()


class Complaint(NamedTuple):
    """What a registry says is wrong."""

    code: str = ""
    message: str = ""


_NO_COMPLAINT = (
    ValueError,
    RecursionError,
    KeyError,
    IndexError,
    TypeError,
    AttributeError,
)


def read_complaint(body: bytes) -> Complaint:
    """Read the first error of a body; what is none is a message, if it is short."""
    try:
        first = json.loads(body)["errors"][0]
        code, message = first.get("code"), first.get("message")
    except _NO_COMPLAINT:
        text = body.decode(errors="replace").strip()
        return Complaint("", "" if text.startswith("<") else text)
    return Complaint(
        code if isinstance(code, str) else "",
        message if isinstance(message, str) else "",
    )


def error_for(
    target: Target,
    asked: Asked,
    status: int,
    complaint: Complaint,
    *,
    what: str,
    retry_after: timedelta | None = None,
) -> RegistryError:
    """Make the error of an answer.

    Args:
        target: Who was asked.
        asked: What for.
        status: HTTP status code.
        complaint: What the registry says about it.
        what: The question, for the message.
        retry_after: The pause that applies from now on.
    """
    kind = _kind(asked, status, complaint)
    name = f"{status} {responses.get(status, '')}".strip()
    said = ": ".join(filter(None, (target.clean(complaint.code), complaint.message)))
    text = f"{target.repository}: {what}: {target.host} answers {name}"
    if said:
        text = f"{text} ({target.clean(said)})"
    if kind is RegistryProtocolError and "HTTPS server" in complaint.message:
        text += "; the port speaks TLS: remove insecure"
    return kind(
        text, status=status, code=target.clean(complaint.code), retry_after=retry_after
    )


def error_from(target: Target, error: WebError) -> RegistryError:
    """Make the error of no answer."""
    match error:
        case TooSlowError():
            kind: type[RegistryError] = RegistryTimeoutError
        case TlsError():
            kind = TlsVerificationError
        case NetworkError():
            kind = RegistryNetworkError
        case _:
            kind = RegistryProtocolError
    return kind(f"{target.repository}: {error}")


def _kind(asked: Asked, status: int, complaint: Complaint) -> type[RegistryError]:
    match status:
        case 401:
            return AuthenticationFailedError
        case 403:
            return AccessForbiddenError
        case 404:
            return _missing(asked, complaint)
        case 408:
            return RegistryTimeoutError
        case 429:
            return RateLimitedError
        case 400 if asked is Asked.TOKEN:  # `invalid_grant` (RFC 6749, 5.2)
            return AuthenticationFailedError
        case _ if status >= 500:
            return RegistryServerError
        case _:
            return RegistryProtocolError


def _missing(asked: Asked, complaint: Complaint) -> type[RegistryError]:
    if complaint.code == "NAME_UNKNOWN":
        return RepositoryNotFoundError
    match asked:
        case Asked.TAGS | Asked.UPLOAD:
            return RepositoryNotFoundError
        case Asked.MANIFEST:
            return TagNotFoundError
        case Asked.BLOB:
            return BlobNotFoundError
        case Asked.TOKEN:
            return RegistryProtocolError
