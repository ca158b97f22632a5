"""How we prove who we are: challenge in, `Authorization` out, tokens remembered.

    first ──▶ what worked the last time here, or a token of the user's own
    401   ──▶ answer its challenge: Basic   name and password
                                   Bearer  a token from the realm it names
    401 again ──▶ AuthenticationFailed

A token is asked for once, however many wait for it, and kept until 30 s before its end.
Ways to one, in this order (distribution/spec/auth: token, oauth):

    identity token     POST grant_type=refresh_token
    name, password     GET with Basic; after 401, 404, 405 POST grant_type=password
    nothing            GET: public repositories want a token, too

The realm is an address that a registry chose, and our password goes there. So it must
be https unless the registry itself is not, and must not be in a private network unless
the registry is in one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import NamedTuple, Protocol
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from controllers.oci.answers import Asked, Complaint, error_for
from controllers.oci.challenge import Challenge
from controllers.oci.credentials import TOKEN_USER, Credential
from controllers.oci.errors import (
    AuthenticationFailedError,
    RegistryError,
    RegistryProtocolError,
)
from controllers.oci.memo import Kept, Memo
from controllers.oci.target import Target
from controllers.web import Answer, Login, Reach, Request, UrlError, origin_of

PULL = "pull"
PUSH = "pull,push"
"""What is done to a repository, as scopes call it."""

MARGIN = 30
"""Seconds before its end at which a token is no longer used."""

DEFAULT_LIFE = 60
"""Seconds that a token holds if its server does not say (distribution/spec/auth)."""

_TOKEN_ANSWER_MAX = 1 << 20
"""Largest answer of a token server in bytes."""

_TOKEN_MAX = 16 << 10
"""Longest token; servers refuse longer headers."""

_REMEMBERED = 4096
"""Tokens and challenges remembered."""

_FORM = "application/x-www-form-urlencoded"


class Asker(Protocol):
    """Puts a question to a server, in its turn."""

    def __call__(
        self, target: Target, request: Request, /
    ) -> AbstractAsyncContextManager[Answer]:
        """Ask; a 429 is raised, every other answer is given."""
        ...


class Locator(Protocol):
    """Says how far away a host is."""

    async def __call__(self, host: str, /) -> Reach:
        """Look the host up."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class LoginOptions:
    """How we introduce ourselves."""

    client_id: str = "pilothouse"
    """What token servers call us in their logs."""

    private_realms: bool = False
    """Whether a registry in the open may send us to a private address for a token."""


class Attempt(NamedTuple):
    """An `Authorization` header, and whether this very request made it."""

    header: str
    is_fresh: bool


class _Question(NamedTuple):
    """What a token is good for, and whose it is."""

    realm: str
    service: str
    scope: str
    credential: Credential


class Logins:
    """Headers for requests, out of credentials and what registries ask for."""

    def __init__(self, ask: Asker, locate: Locator, options: LoginOptions) -> None:
        self._ask = ask
        self._locate = locate
        self._options = options
        self._tokens: Memo[_Question, str] = Memo(_REMEMBERED)
        self._challenges: dict[tuple[Target, str], Challenge] = {}

    async def first(self, target: Target, actions: str) -> Attempt | None:
        """Return what to send unasked.

        Args:
            target: Who will be asked.
            actions: What will be done: `PULL` or `PUSH`.

        Raises:
            RegistryError: The token had to be renewed, and that failed.
        """
        challenge = self._challenges.get((target, actions))
        credential = target.access.credential
        if challenge is None:
            token = credential.registry_token
            return Attempt(f"Bearer {token}", is_fresh=False) if token else None
        if challenge.scheme == "basic":
            return Attempt(_basic(target), is_fresh=False)
        question = _question(target, challenge, actions)
        is_fresh = self._tokens.find(question) is None
        return Attempt(f"Bearer {await self._token(target, question)}", is_fresh)

    async def next(
        self,
        target: Target,
        actions: str,
        challenges: list[Challenge],
        refused: Attempt | None,
    ) -> Attempt:
        """Return what to send after a 401.

        Raises:
            AuthenticationFailedError: There is nothing that has not been refused.
            RegistryError: The token server did not answer as it should.
        """
        if refused is not None and refused.is_fresh:
            self.forget(target)
            raise _failed(target, "the credentials are not accepted")
        challenge = _chosen(target, challenges)
        if challenge.scheme == "basic":
            header = _basic(target)
            if refused is not None and refused.header == header:
                raise _failed(target, "user name or password is wrong")
        else:
            question = _question(target, challenge, actions)
            kept = self._tokens.find(question)
            if kept and refused and refused.header == f"Bearer {kept.value}":
                self._tokens.drop(question)
            header = f"Bearer {await self._token(target, question)}"
        self._remember(target, actions, challenge)
        return Attempt(header, is_fresh=True)

    def forget(self, target: Target) -> None:
        """Drop what is known about a target, its tokens included."""
        for key in [key for key in self._challenges if key[0] == target]:
            challenge = self._challenges.pop(key)
            if challenge.scheme == "bearer":
                self._tokens.drop(_question(target, challenge, key[1]))

    def _remember(self, target: Target, actions: str, challenge: Challenge) -> None:
        self._challenges.pop((target, actions), None)
        self._challenges[target, actions] = challenge
        if len(self._challenges) > _REMEMBERED:
            del self._challenges[next(iter(self._challenges))]

    async def _token(self, target: Target, question: _Question) -> str:
        async def ask() -> Kept[str]:
            return await self._fetch(target, question)

        return await self._tokens.get(question, ask)

    async def _fetch(self, target: Target, question: _Question) -> Kept[str]:
        realm = await self._realm(target, question.realm)
        ways = [make(realm) for make in _ways(question, self._options.client_id)]
        while True:
            async with self._ask(target, ways.pop(0)) as answer:
                status = answer.status
                if status == 200:
                    body = await answer.read(_TOKEN_ANSWER_MAX)
                    return _read_token(target, question.realm, body)
            if not ways or status not in {401, 404, 405}:
                break
        # Never the body: token servers echo what they were sent.
        raise error_for(
            target,
            Asked.TOKEN,
            status,
            Complaint(),
            what=f"asking {urlsplit(question.realm).hostname} for a token",
        )

    async def _realm(self, target: Target, realm: str) -> Request:
        """Return a request to a realm, if it may be asked."""
        try:
            origin = origin_of(realm)
        except UrlError as error:
            raise _strange(
                target, f"its token server cannot be asked: {error}"
            ) from None
        access = target.access
        if origin.scheme != "https" and not access.insecure:
            raise _strange(
                target,
                f"its token server {origin.host} speaks plain HTTP, where the password "
                "would be seen; only with insecure is it asked",
            )
        registry = origin_of(target.url)
        furthest = Reach.LOCAL
        is_own = origin.host == registry.host or access.proxy is not None
        if not is_own and not self._options.private_realms:
            furthest = await self._locate(registry.host)
        same = origin == registry
        return Request(
            url=realm,
            tls=access.tls if same else access.tls.without_certificate(),
            proxy=access.proxy,
            furthest=min(furthest, Reach.LOCAL),
        )


def _ways(question: _Question, client_id: str) -> list[Callable[[Request], Request]]:
    """Return the requests that may lead to a token, the usual one first."""
    credential = question.credential
    if credential.identity_token:
        grant = {
            "grant_type": "refresh_token",
            "refresh_token": credential.identity_token,
        }
        return [lambda request: _post(request, question, client_id, grant)]
    if not credential.has_password:
        return [lambda request: _get(request, question, client_id)]
    grant = {
        "grant_type": "password",
        "username": credential.username,
        "password": credential.password,
    }
    return [
        lambda request: _get(request, question, client_id),
        lambda request: _post(request, question, client_id, grant),
    ]


def _get(request: Request, question: _Question, client_id: str) -> Request:
    parts = urlsplit(request.url)
    query = [
        *parse_qsl(parts.query),
        ("service", question.service),
        *(("scope", scope) for scope in question.scope.split()),
        ("client_id", client_id),
    ]
    login = None
    credential = question.credential
    if credential.has_password:
        query.append(("account", credential.username))
        login = Login.basic(request.url, credential.username, credential.password)
    url = urlunsplit(parts._replace(query=urlencode(query)))
    return Request(
        url=url,
        login=login,
        tls=request.tls,
        proxy=request.proxy,
        furthest=request.furthest,
    )


def _post(
    request: Request, question: _Question, client_id: str, grant: Mapping[str, str]
) -> Request:
    form = {
        "service": question.service,
        "scope": question.scope,
        "client_id": client_id,
        **grant,
    }
    return Request(
        url=request.url,
        method="POST",
        headers={"Content-Type": _FORM},
        body=urlencode(form).encode(),
        tls=request.tls,
        proxy=request.proxy,
        furthest=request.furthest,
    )


def _read_token(target: Target, realm: str, body: bytes) -> Kept[str]:
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        answer = None
    fields = answer if isinstance(answer, dict) else {}
    token = fields.get("token") or fields.get("access_token")
    # Anything else could end the header that it is put into.
    if not isinstance(token, str) or not re.fullmatch(r"[!-~]+", token):
        raise _strange(target, f"{urlsplit(realm).hostname} answers with no token")
    if len(token) > _TOKEN_MAX:
        raise _strange(target, f"{urlsplit(realm).hostname} answers with a huge token")
    life = fields.get("expires_in")
    if not isinstance(life, int) or life <= 0:
        life = DEFAULT_LIFE
    return Kept(token, life - MARGIN)


def _chosen(target: Target, challenges: list[Challenge]) -> Challenge:
    """Choose the challenge that we can answer best."""
    credential = target.access.credential
    for challenge in challenges:
        is_answerable = credential.has_password or (
            credential.identity_token or not credential.registry_token
        )
        if challenge.scheme == "bearer" and challenge.get("realm") and is_answerable:
            return challenge
    for challenge in challenges:
        if challenge.scheme == "basic" and credential.has_password:
            return challenge
    schemes = ", ".join(sorted({each.scheme for each in challenges})) or "nothing known"
    if credential.is_anonymous:
        raise _failed(target, f"it asks for credentials ({schemes}); name a Secret")
    raise _failed(target, f"it asks for {schemes}, which the Secret does not serve")


def _basic(target: Target) -> str:
    credential = target.access.credential
    username = credential.username or TOKEN_USER
    return Login.basic(target.url, username, credential.password).header


def _question(target: Target, challenge: Challenge, actions: str) -> _Question:
    scope = f"repository:{target.repository.path}:{actions}"
    if actions == PULL:
        scope = challenge.get("scope") or scope  # else it names one step of the push
    return _Question(
        challenge.get("realm"),
        challenge.get("service"),
        scope,
        target.access.credential,
    )


def _failed(target: Target, why: str) -> RegistryError:
    return AuthenticationFailedError(
        f"{target.repository}: {target.host} does not know us: {why}", status=401
    )


def _strange(target: Target, why: str) -> RegistryError:
    return RegistryProtocolError(f"{target.repository}: {target.host}: {why}")
