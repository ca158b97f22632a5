"""Who may read what this process serves: the API server is asked, and remembered.

    Authorization header ─▶ token ──TokenReview──▶ User ──SubjectAccessReview──▶ served
           │ none                     │ nobody's              │ may not
           ▼                          ▼                       ▼
          401                        401                     403
                    either review cannot be had ─▶ 500

It stands in for kube-rbac-proxy: whoever scrapes needs an account whose role has
`get` on the path (`nonResourceURLs`). Answers are kept for as long as kube-apiserver's
own delegation keeps them (`DelegatingAuthenticatorConfig` and
`DelegatingAuthorizerConfig` of k8s.io/apiserver, as controller-runtime's
`pkg/metrics/filters` sets them): a minute for a user, five for a yes, half of one for a
no. A token that is nobody's is forgotten after ten seconds, since an API server may not
have heard yet of an account that was just made.

Of a token no more is kept than a keyed hash. Requests that ask the same at a time share
one review; a flood of wrong tokens is let through to the API server a few at a time.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import secrets
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Hashable
from contextlib import asynccontextmanager
from typing import Generic, NamedTuple, TypeVar
from weakref import WeakValueDictionary

import msgspec
import structlog

from controller_runtime.errors import (
    AccessReviewError,
    ControllerRuntimeError,
    DecodeError,
    ForbiddenError,
    ServerError,
    TooManyRequestsError,
)
from controller_runtime.meta import GroupVersionKind, Json
from controller_runtime.nesting import UNREADABLE, why
from controller_runtime.rbac import Permission
from controller_runtime.transport import TRANSPORT_ERRORS, Transport

log = structlog.get_logger(__name__)

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

TOKEN_REVIEW = GroupVersionKind("authentication.k8s.io", "v1", "TokenReview")
SUBJECT_ACCESS_REVIEW = GroupVersionKind(
    "authorization.k8s.io", "v1", "SubjectAccessReview"
)

PERMISSIONS = (
    Permission(TOKEN_REVIEW, ("create",)),
    Permission(SUBJECT_ACCESS_REVIEW, ("create",)),
)
"""What asking takes. `system:auth-delegator` has it too."""

_TIMEOUT = 10.0
"""Seconds for a review with all of its tries; Prometheus gives up then, too."""

_USER_SECONDS = 60.0
_NOBODY_SECONDS = 10.0
_YES_SECONDS = 300.0
_NO_SECONDS = 30.0

_TRIES = 5
_PAUSE = 0.5
"""Seconds before the second try, then half as many again each time."""

_PAUSE_FACTOR = 1.5
_PAUSE_JITTER = 0.2

_KEPT = 1024
"""Answers of each sort: many times the scrapers of a cluster."""

_REVIEWS_AT_ONCE = 8

_TOKEN_LENGTH = 16_384
"""Characters of a token that is worth a question: real ones have some thousands."""

_REPEATABLE: tuple[type[Exception], ...] = (
    ServerError,
    TooManyRequestsError,
    *TRANSPORT_ERRORS,
)


class User(NamedTuple):
    """Whose token it is, as the API server says."""

    name: str
    uid: str = ""
    groups: tuple[str, ...] = ()
    extra: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """Key → values, sorted."""


class Refusal(NamedTuple):
    """Why a request is not served."""

    status: int
    """401, 403 or 500."""
    text: str
    """For who asked: nothing in it that they may not know."""


class Remembered(Generic[K, V]):
    """Answers that count for a while: a bounded number, the oldest use goes first."""

    def __init__(self, size: int, now: Callable[[], float]) -> None:
        self._size = size
        self._now = now
        self._answers: OrderedDict[K, tuple[float, V]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._answers)

    def get(self, key: K) -> V | None:
        """Return what counts for `key` now."""
        until, answer = self._answers.get(key, (0.0, None))
        if answer is None:
            return None
        if until <= self._now():
            del self._answers[key]
            return None
        self._answers.move_to_end(key)
        return answer

    def put(self, key: K, answer: V, seconds: float) -> None:
        """Let an answer count for some seconds."""
        self._answers[key] = self._now() + seconds, answer
        self._answers.move_to_end(key)
        while len(self._answers) > self._size:
            self._answers.popitem(last=False)


class AccessReviewer:
    """Decides about requests, by the API server's word."""

    permissions = PERMISSIONS

    def __init__(
        self, transport: Transport, *, randomness: random.Random | None = None
    ) -> None:
        """Make a reviewer; it asks nothing yet.

        Args:
            transport: Of an account that has `PERMISSIONS`.
            randomness: Spreads the tries of many processes.
        """
        self._transport = transport
        self._random = randomness or random.Random()  # noqa: S311 - jitter, no secret
        self._hash_key = secrets.token_bytes(32)
        self._users: Remembered[bytes, User] = Remembered(_KEPT, _now)
        self._nobodies: Remembered[bytes, bool] = Remembered(_KEPT, _now)
        self._decisions: Remembered[Hashable, bool] = Remembered(_KEPT, _now)
        self._locks: WeakValueDictionary[Hashable, asyncio.Lock] = WeakValueDictionary()
        self._asking = asyncio.Semaphore(_REVIEWS_AT_ONCE)

    async def check(self, method: str, path: str, authorization: str) -> Refusal | None:
        """Decide about a request.

        Args:
            method: Such as `GET`; in lower case it is the verb of the review.
            path: As in `nonResourceURLs` of a role.
            authorization: The header; empty if there is none.

        Returns:
            Why it is not to be served; `None` when it is.
        """
        token = bearer_token(authorization)
        if token is None:
            return Refusal(401, "a bearer token is needed")
        try:
            user = await self.authenticate(token)
            if user is None:
                return Refusal(401, "the bearer token is not valid here")
            if await self.authorize(user, method.lower(), path):
                return None
        except AccessReviewError as error:
            log.warning("access cannot be reviewed", path=path, error=str(error))
            return Refusal(500, "whether you may cannot be found out now")
        return Refusal(403, f"{user.name} may not {method.lower()} {path}")

    async def authenticate(self, token: str) -> User | None:
        """Return whose token it is; `None` if it is nobody's.

        Raises:
            AccessReviewError: It could not be found out.
        """
        if len(token) > _TOKEN_LENGTH:
            return None
        key = hashlib.blake2b(token.encode(), key=self._hash_key).digest()
        async with _deadline("whose token it is"), self._lock(key):
            if (user := self._users.get(key)) is not None:
                return user
            if self._nobodies.get(key):
                return None
            status = await self._review(TOKEN_REVIEW, {"token": token}, _TokenStatus)
            if not status.authenticated or not status.user.username:
                self._nobodies.put(key, True, _NOBODY_SECONDS)
                return None
            user = status.user.read()
            self._users.put(key, user, _USER_SECONDS)
            return user

    async def authorize(self, user: User, verb: str, path: str) -> bool:
        """Return whether a user may do that.

        Raises:
            AccessReviewError: It could not be found out.
        """
        key = (user, verb, path)
        async with _deadline(f"whether {user.name} may {verb} {path}"), self._lock(key):
            if (known := self._decisions.get(key)) is not None:
                return known
            spec = {
                "user": user.name,
                "uid": user.uid,
                "groups": user.groups,
                "extra": dict(user.extra),
                "nonResourceAttributes": {"path": path, "verb": verb},
            }
            status = await self._review(SUBJECT_ACCESS_REVIEW, spec, _AccessStatus)
            allowed = status.allowed and not status.denied
            if not allowed:
                log.warning("access denied", user=user.name, verb=verb, path=path)
            self._decisions.put(key, allowed, _YES_SECONDS if allowed else _NO_SECONDS)
            return allowed

    def _lock(self, key: Hashable) -> asyncio.Lock:
        return self._locks.setdefault(key, asyncio.Lock())

    async def _review(self, gvk: GroupVersionKind, spec: Json, kind: type[V]) -> V:
        """Ask until there is an answer, five times at most."""
        path = f"/apis/{gvk.api_version}/{gvk.kind.lower()}s"
        head = {"apiVersion": gvk.api_version, "kind": gvk.kind}
        body = msgspec.json.encode({**head, "spec": spec})
        pause, tries = _PAUSE, 0
        async with self._asking:
            while True:
                tries += 1
                try:
                    answer = await self._transport.request(
                        "POST", path, body=body, timeout=_TIMEOUT
                    )
                    return _read(gvk, answer.body, kind)
                except _REPEATABLE as error:
                    if tries == _TRIES:
                        raise _failed(gvk, error) from error
                    log.debug("review failed", review=gvk.kind, error=str(error))
                except ControllerRuntimeError as error:
                    raise _failed(gvk, error) from error
                await asyncio.sleep(pause * (1 + _PAUSE_JITTER * self._random.random()))
                pause *= _PAUSE_FACTOR


def bearer_token(authorization: str) -> str | None:
    """Return the token of a header such as `Bearer abc` (RFC 6750, 2.1)."""
    match authorization.split():
        case [scheme, token] if scheme.lower() == "bearer":
            return token
    return None


class _User(msgspec.Struct):
    username: str = ""
    uid: str = ""
    groups: tuple[str, ...] | None = None
    extra: dict[str, tuple[str, ...] | None] | None = None

    def read(self) -> User:
        extra = {key: values or () for key, values in (self.extra or {}).items()}
        groups = self.groups or ()
        return User(self.username, self.uid, groups, tuple(sorted(extra.items())))


class _TokenStatus(msgspec.Struct):
    authenticated: bool = False
    user: _User = msgspec.field(default_factory=_User)


class _AccessStatus(msgspec.Struct):
    allowed: bool = False
    denied: bool = False


class _Review(msgspec.Struct):
    status: msgspec.Raw


def _read(gvk: GroupVersionKind, body: bytes, kind: type[V]) -> V:
    try:
        status = msgspec.json.decode(body, type=_Review).status
        return msgspec.json.decode(status, type=kind)
    except UNREADABLE as error:  # quotes no values
        raise DecodeError(f"cannot read a {gvk.kind}: {why(error)}") from None


def _failed(gvk: GroupVersionKind, error: Exception) -> AccessReviewError:
    remedy = "the API server is in trouble, or out of reach"
    if isinstance(error, ForbiddenError):
        remedy = f"let this account create {gvk.kind.lower()}s.{gvk.group}"
    reason = str(error) or type(error).__name__
    return AccessReviewError(f"cannot have a {gvk.kind}: {reason}; {remedy}")


@asynccontextmanager
async def _deadline(question: str) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(_TIMEOUT):
            yield
    except TimeoutError:
        raise AccessReviewError(
            f"cannot find out {question}: no answer in {_TIMEOUT:g} s"
        ) from None


def _now() -> float:
    return asyncio.get_running_loop().time()
