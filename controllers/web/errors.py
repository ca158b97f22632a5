"""What can go wrong with a request to somebody else's server.

    WebError
    ├── UrlError            it may not be asked for: its scheme, or where it leads
    ├── NetworkError        refused, reset, cut short, no such name
    ├── TlsError            the other side cannot be believed, or does not believe us
    ├── TooSlowError        connecting, or a silence in the middle, took too long
    ├── RedirectError       sent on too often, or from https to http
    ├── TooLargeError       more bytes than were wanted
    ├── BrokenAnswerError   what came is not HTTP
    ├── StatusError         an answer, and not a good one
    └── TlsSettingsError    a certificate or key that cannot be used; nothing was sent

Texts name the method, host and path. Query, user name and password of a URL, headers
and bodies are not in them, nor in exceptions below: those of the HTTP library show
headers and proxies, so they are cut off (`from None`).
"""

from __future__ import annotations

from datetime import timedelta

from controller_runtime import ControllerRuntimeError


class WebError(ControllerRuntimeError):
    """A request to a server that is not the API server failed."""


class UrlError(WebError):
    """The URL is none, or leads to where requests may not go."""


class NetworkError(WebError):
    """No connection, or it broke before everything had come."""


class TlsError(WebError):
    """The handshake failed: unknown authority, wrong name, or not TLS at all."""


class TooSlowError(WebError):
    """The server took longer than it may."""


class RedirectError(WebError):
    """The server sends us on in a way that we do not follow."""


class TooLargeError(WebError):
    """The answer has more bytes than the caller wants; reading was given up."""


class BrokenAnswerError(WebError):
    """The server does not speak HTTP."""


class StatusError(WebError):
    """The server refused or failed."""

    def __init__(
        self, message: str, *, status: int, retry_after: timedelta | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        """HTTP status code."""
        self.retry_after = retry_after
        """How long the server asked to be left alone, if it did."""


class TlsSettingsError(WebError):
    """A certificate or key is not what it should be; its owner has to change it."""
