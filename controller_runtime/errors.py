"""Every error this framework raises on purpose.

    ControllerRuntimeError
    ├── ApiError                  the API server answered with a Status
    │   ├── BadRequestError       400, the request itself is wrong
    │   ├── UnauthorizedError     401, the credentials are missing, wrong or expired
    │   ├── ForbiddenError        403, the account lacks the permission
    │   ├── NotFoundError         404, the object or its kind is not there
    │   ├── AlreadyExistsError    409, another object has the name
    │   ├── ConflictError         409, the resourceVersion was stale
    │   ├── ExpiredError          410, the watch must start over with a list
    │   ├── InvalidError          422, a field of the object is refused
    │   ├── TooManyRequestsError  429, wait and ask again
    │   └── ServerError           5xx, the server's own trouble
    ├── ConfigError               a kubeconfig, flag or file that cannot be used
    ├── NoKindMatchError          the server does not serve this kind
    ├── DecodeError               an answer that is not the JSON it should be
    ├── StalledError              a watch that went silent and was dropped
    ├── CacheNotStartedError      a cached read before the manager started
    ├── NotCachedError            a cached read of a kind that nothing watches
    ├── NotIndexedError           a cached list by a field without an index
    ├── SyncTimeoutError          a cache did not fill in time
    ├── SchemaError               a model that no CRD can be made of
    ├── AlreadyStartedError       something that runs once was started twice
    ├── AccessReviewError         whether somebody may do something is not known
    ├── LeaderLostError           the Lease was not renewed, or is another's
    ├── TerminalError             retrying cannot help; report and stop
    └── ShutDownError             the queue was closed while someone waited on it

`ApiError` is divided by what the caller can do next, not by status code alone.
Transport failures (refused connections, TLS, timeouts) are not wrapped: they
keep the type the transport gave them.

Errors that carry words of a higher module are beside them: `SelectorError` in
`selectors`, `OwnershipError` and `AlreadyOwnedError` in `ownership`, `MutationError` in
`controllerutil`, `FinalizersError` (a group) in `finalizer`, those of a local control
plane in `testing.envtest.errors`. Each is a `ControllerRuntimeError`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta


class ControllerRuntimeError(Exception):
    """Base of every error in this module."""


class ApiError(ControllerRuntimeError):
    """The API server refused a request and said why.

    Its text is the server's message, preceded by what was asked of it.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int,
        reason: str = "",
        details: Mapping[str, object] | None = None,
        retry_after: timedelta | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        """HTTP status code, or the `code` of the Status when it came in a watch."""
        self.reason = reason
        """Machine-readable reason, such as `AlreadyExists`; may be empty."""
        self.details = details or {}
        """The Status' `details` as the server sent it."""
        self.retry_after = retry_after
        """How long the server asked to be left alone, if it did."""


class BadRequestError(ApiError):
    """The request is malformed; the same request will always fail."""


class UnauthorizedError(ApiError):
    """The server does not accept the credentials, even after a refresh."""


class ForbiddenError(ApiError):
    """The account may not do this; its role must change first."""


class NotFoundError(ApiError):
    """The object does not exist, or no longer does."""


class AlreadyExistsError(ApiError):
    """An object with this name exists already."""


class ConflictError(ApiError):
    """The object changed after it was read."""


class ExpiredError(ApiError):
    """The resource version is too old to list or watch from."""


class InvalidError(ApiError):
    """The server's validation refuses the object."""


class TooManyRequestsError(ApiError):
    """The server is shedding load; `retry_after` says for how long."""


class ServerError(ApiError):
    """The server failed or timed out; the request may or may not have been done."""


_BY_STATUS: Mapping[int, type[ApiError]] = {
    400: BadRequestError,
    401: UnauthorizedError,
    403: ForbiddenError,
    404: NotFoundError,
    409: ConflictError,
    410: ExpiredError,
    422: InvalidError,
    429: TooManyRequestsError,
}


def error_for(status: int, reason: str) -> type[ApiError]:
    """Choose the class for an answer; the reason decides where the code is shared.

    Codes and reasons: `metav1.StatusReason` of k8s.io/apimachinery.
    """
    if reason == "AlreadyExists":
        return AlreadyExistsError
    if reason in {"Expired", "Gone"}:
        return ExpiredError
    if status >= 500:
        return ServerError
    return _BY_STATUS.get(status, ApiError)


class ConfigError(ControllerRuntimeError):
    """A setting cannot be used; the text names it, its origin and the remedy."""


class NoKindMatchError(ControllerRuntimeError):
    """The server serves no such kind: its CRD is missing or the version is wrong."""


class DecodeError(ControllerRuntimeError):
    """Bytes from the server or the cache are not the object they should be."""


class StalledError(ControllerRuntimeError):
    """A watch sent nothing for longer than it may and was dropped."""


class CacheNotStartedError(ControllerRuntimeError):
    """The cache serves reads only once its manager runs."""


class NotCachedError(ControllerRuntimeError):
    """No store holds the kind, namespace or part of the object that was asked for."""


class NotIndexedError(ControllerRuntimeError):
    """The store has no index of that name."""


class SyncTimeoutError(ControllerRuntimeError):
    """A cache did not receive its first list in time; the text names the kind."""


class SchemaError(ControllerRuntimeError):
    """A model has no structural schema; the text names field, reason and remedy."""


class AlreadyStartedError(ControllerRuntimeError):
    """What runs once was started again, or changed after it started."""


class AccessReviewError(ControllerRuntimeError):
    """The API server did not say whether somebody may do something."""


class LeaderLostError(ControllerRuntimeError):
    """Another replica leads or may lead by now; end the process, never go on."""


class TerminalError(ControllerRuntimeError):
    """A failure that no retry can fix; it waits for the spec to change."""


class ShutDownError(ControllerRuntimeError):
    """The queue closed; the worker that waited on it should return."""
