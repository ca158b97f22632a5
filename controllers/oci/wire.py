"""One question to one registry: its turn, its login, and what a refusal means.

    turn ──▶ closed by a 429? ──▶ RateLimitedError, nothing is sent
         ──▶ ask ──▶ 401 ──▶ answer its challenge, in a turn of its own ──▶ ask again
                 ──▶ 429 ──▶ close the host for everyone ──▶ RateLimitedError
                 ──▶ any other answer is the caller's

Nothing else is repeated: whoever polls has a schedule, and knows what a failure costs.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from typing import NoReturn

from controller_runtime import Clock
from controllers.oci.answers import (
    Asked,
    Complaint,
    error_for,
    error_from,
    read_complaint,
)
from controllers.oci.challenge import parse_challenges
from controllers.oci.errors import RateLimitedError, RegistryError
from controllers.oci.logins import PULL, LoginOptions, Logins
from controllers.oci.target import Target
from controllers.oci.throttle import Throttle, ThrottleOptions
from controllers.web import (
    Answer,
    Http,
    Login,
    Request,
    WebError,
    origin_of,
    retry_after,
)

_COMPLAINT_MAX = 64 << 10
"""Bytes of an error that are read."""

Observe = Callable[[str, str, str], None]
"""Told of every answer: host, method, status code or `<error>`. For metrics."""


def _unobserved(host: str, method: str, code: str) -> None:
    """Do nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WireOptions:
    """How registries are asked."""

    throttle: ThrottleOptions = field(default_factory=ThrottleOptions)
    login: LoginOptions = field(default_factory=LoginOptions)
    observe: Observe = _unobserved


class Wire:
    """Puts questions to registries, for everyone in the process."""

    def __init__(self, http: Http, *, clock: Clock, options: WireOptions) -> None:
        self._http = http
        self._clock = clock
        self._observe = options.observe
        self._throttle = Throttle(options.throttle)
        self._logins = Logins(self._ask, http.reach, options.login)

    @asynccontextmanager
    async def open(
        self, target: Target, request: Request, *, actions: str = PULL
    ) -> AsyncIterator[Answer]:
        """Ask as who and how the target's access says, and yield the answer.

        Its status is any but 401 and 429.

        Raises:
            RegistryError: No answer, or one of these two.
        """
        access = target.access
        request = replace(request, tls=access.tls, proxy=access.proxy)
        with _failures(target):
            attempt = await self._logins.first(target, actions)
            while True:
                if attempt is not None:
                    login = Login(header=attempt.header, origin=origin_of(target.url))
                    request = replace(request, login=login)
                async with self._ask(target, request) as answer:
                    if answer.status != 401:
                        if answer.status == 403:
                            self._logins.forget(target)
                        yield answer
                        return
                    challenges = parse_challenges(answer.all("WWW-Authenticate"))
                attempt = await self._logins.next(target, actions, challenges, attempt)

    async def refuse(
        self, target: Target, asked: Asked, answer: Answer, *, what: str
    ) -> NoReturn:
        """Raise what an unwelcome answer means.

        Raises:
            RegistryError: Always.
        """
        with _failures(target):
            complaint = await _complaint(answer)
        raise error_for(target, asked, answer.status, complaint, what=what)

    def forget(self, target: Target) -> None:
        """Drop tokens and challenges of a target, before it is asked anew."""
        self._logins.forget(target)

    @asynccontextmanager
    async def _ask(self, target: Target, request: Request) -> AsyncIterator[Answer]:
        host = _host(request.url)
        async with self._throttle.turn(host):
            self._require_open(target, host)
            try:
                async with self._http.open(request) as answer:
                    self._observe(host, request.method, str(answer.status))
                    if answer.status == 429:
                        await self._rate_limited(target, host, answer)
                    self._throttle.answered(host, answer.headers)
                    yield answer
            except WebError:
                self._observe(host, request.method, "<error>")
                raise

    def _require_open(self, target: Target, host: str) -> None:
        left = self._throttle.closed_for(host)
        if left is not None:
            raise RateLimitedError(
                f"{target.repository}: {host} asked to be left alone for another "
                f"{left.total_seconds():.0f} s",
                retry_after=left,
            )

    async def _rate_limited(
        self, target: Target, host: str, answer: Answer
    ) -> NoReturn:
        asked = retry_after(answer.headers.get("Retry-After"), self._clock.now())
        pause = self._throttle.refuse(host, asked)
        raise error_for(
            target,
            Asked.TAGS,
            429,
            await _complaint(answer),
            what=f"not to be asked for {pause.total_seconds():.0f} s",
            retry_after=pause,
        )


async def _complaint(answer: Answer) -> Complaint:
    try:
        return read_complaint(await answer.read(_COMPLAINT_MAX))
    except WebError:
        return Complaint()  # the status says enough


@contextmanager
def _failures(target: Target) -> Iterator[None]:
    try:
        yield
    except RegistryError:
        raise
    except WebError as error:
        raise error_from(target, error) from None


def _host(url: str) -> str:
    """Name who is asked, with the port unless it is the usual one."""
    scheme, host, port = origin_of(url)
    return host if port == {"https": 443}.get(scheme, 80) else f"{host}:{port}"
