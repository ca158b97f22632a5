"""Why a registry did not give what was asked of it.

    RegistryError                  `.reason` is what a condition shows
    ├── AuthenticationFailedError  401: no, wrong or expired credentials
    ├── AccessForbiddenError       403: the account may not read this
    ├── RepositoryNotFoundError    404, or 401 and 403 from those that do not say
    ├── TagNotFoundError           404 of a manifest
    ├── BlobNotFoundError          404 of a blob that a manifest names
    ├── RateLimitedError           429: `.retry_after` says how long not to ask the host
    ├── TlsVerificationError       the certificate, or no TLS at all
    ├── RegistryNetworkError   ┐
    ├── RegistryServerError    ├── `.is_transient`: ask again after a while
    ├── RegistryTimeoutError   ┘
    ├── RegistryProtocolError      an answer that makes no sense, or is too large
    ├── DigestMismatchError        bytes that are not those that were named
    └── BlobTooLargeError          more bytes than the caller wants

    InvalidReferenceError          an address that cannot be read; its author changes it
    InvalidCredentialError         a Secret that cannot be read; likewise

Texts name host, repository, status and the registry's own code and message, never a
credential: whatever the registry echoes is searched for it.
"""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from typing import ClassVar

from controller_runtime import ControllerRuntimeError, TerminalError


class Reason(StrEnum):
    """What the conditions of a WerfBundle call it."""

    AUTHENTICATION_FAILED = "AuthenticationFailed"
    FORBIDDEN = "Forbidden"
    REPOSITORY_NOT_FOUND = "RepositoryNotFound"
    TAG_NOT_FOUND = "TagNotFound"
    BLOB_NOT_FOUND = "BlobNotFound"
    RATE_LIMITED = "RateLimited"
    TLS_VERIFICATION_FAILED = "TLSVerificationFailed"
    NETWORK_ERROR = "NetworkError"
    SERVER_ERROR = "ServerError"
    TIMEOUT = "Timeout"
    PROTOCOL_ERROR = "ProtocolError"
    DIGEST_MISMATCH = "DigestMismatch"
    TOO_LARGE = "TooLarge"


class RegistryError(ControllerRuntimeError):
    """A registry did not give what was asked of it."""

    reason: ClassVar[Reason]

    is_transient: ClassVar[bool] = False
    """Whether the same question may be answered after a while without anybody's doing,
    and the failure counts towards giving up."""

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        code: str = "",
        retry_after: timedelta | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        """HTTP status code, if there was an answer."""
        self.code = code
        """The registry's own, such as `MANIFEST_UNKNOWN`; may be empty."""
        self.retry_after = retry_after
        """How long not to ask this host, if it said so or is to be spared."""


class AuthenticationFailedError(RegistryError):
    """The registry does not know us; the Secret may have changed since it was read."""

    reason = Reason.AUTHENTICATION_FAILED


class AccessForbiddenError(RegistryError):
    """The registry knows us and will not show this."""

    reason = Reason.FORBIDDEN


class RepositoryNotFoundError(RegistryError):
    """There is no such repository, or nothing was ever pushed to it."""

    reason = Reason.REPOSITORY_NOT_FOUND


class TagNotFoundError(RegistryError):
    """The repository has no such tag or manifest."""

    reason = Reason.TAG_NOT_FOUND


class BlobNotFoundError(RegistryError):
    """The repository has no such blob."""

    reason = Reason.BLOB_NOT_FOUND


class RateLimitedError(RegistryError):
    """The host wants to be left alone for `retry_after`, whoever asks."""

    reason = Reason.RATE_LIMITED


class TlsVerificationError(RegistryError):
    """The handshake failed; an authority is missing, or the port does not speak TLS."""

    reason = Reason.TLS_VERIFICATION_FAILED


class RegistryNetworkError(RegistryError):
    """No connection, or it broke."""

    reason = Reason.NETWORK_ERROR
    is_transient = True


class RegistryServerError(RegistryError):
    """The registry's own trouble (5xx)."""

    reason = Reason.SERVER_ERROR
    is_transient = True


class RegistryTimeoutError(RegistryError):
    """The registry took longer than it may."""

    reason = Reason.TIMEOUT
    is_transient = True


class RegistryProtocolError(RegistryError):
    """The answer is not what the distribution specification has in its place."""

    reason = Reason.PROTOCOL_ERROR


class DigestMismatchError(RegistryError):
    """The bytes are not those that were named; do not use them."""

    reason = Reason.DIGEST_MISMATCH


class BlobTooLargeError(RegistryError):
    """A blob is larger than the caller wants; nothing of it was fetched."""

    reason = Reason.TOO_LARGE


class InvalidReferenceError(TerminalError):
    """An address of a repository that cannot be read."""


class InvalidCredentialError(TerminalError):
    """A Secret that does not hold what it should; the text names the key."""
