"""From a kind to its place in the API: what the server serves, asked when needed.

    resource(gvk) ─▶ known? ─yes─▶ answer
                       │no
                       ▼
      first question of the core group, or of all others?
                       │yes
                       ▼
              GET /api or /apis, aggregated ─▶ remember every kind in it ─▶ known?
                       │ refused, or not in it                 no          │
                       ▼                           ┌───────────────────────┘
              asked for this kind a moment ago? ◀──┘ ─yes─▶ NoKindMatchError
                       │no
                       ▼
              GET /apis/<group>/<version> ─▶ remember every kind in it ─▶ known?

So two requests tell all that a server serves (KEP-3352), of which the second is not
made for core kinds, and concurrent questions share them. Older servers, proxies that do
not pass the `Accept` header on, and groups whose own server was away at the time are
asked for one by one. What is known stays known: `forget` is for a kind whose CRD was
taken away. What is not known is asked for again, so a CRD that appears later is found.
"""

from __future__ import annotations

import asyncio
import math
from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple

import msgspec
import structlog

from controller_runtime.errors import (
    ApiError,
    BadRequestError,
    ControllerRuntimeError,
    DecodeError,
    ForbiddenError,
    NoKindMatchError,
    NotFoundError,
    ServerError,
    TooManyRequestsError,
    UnauthorizedError,
)
from controller_runtime.meta import GroupVersionKind
from controller_runtime.nesting import UNREADABLE, why
from controller_runtime.transport import TRANSPORT_ERRORS, Transport

log = structlog.get_logger(__name__)

_VERSION_TIMEOUT = 5.0
"""Seconds for a server to say which Kubernetes it is: nothing depends on it but speed,
and what a read waits for."""

_SILENCE = 30.0
"""Seconds until a server that did not say which Kubernetes it is, or was too busy to
tell of all groups at once, is asked for that again."""

_PATIENCE = 5.0
"""Seconds between two questions for a kind that is not served."""

_AGGREGATED = ",".join(
    f"application/json;g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList"
    for version in ("v2", "v2beta1")
)
"""Since Kubernetes 1.30, and 1.26. A server that has neither answers with its groups
alone, or with 406."""

_STALE = "Stale"


class ApiResource(NamedTuple):
    """How a kind is served."""

    gvk: GroupVersionKind
    plural: str
    namespaced: bool
    verbs: frozenset[str]
    subresources: frozenset[str]

    def path(self, namespace: str = "", name: str = "", subresource: str = "") -> str:
        """Return the path of an object or, without a name, of a collection.

        A namespace is ignored for cluster-scoped kinds; without one the collection of
        a namespaced kind is that of all namespaces.

        Raises:
            BadRequestError: A part would lead somewhere else.
        """
        group, version, _ = self.gvk
        parts = ["apis", group, version] if group else ["api", version]
        if self.namespaced and namespace:
            parts += ["namespaces", namespace]
        elif self.namespaced and name:
            raise bad_request(f"{self.gvk} {name} needs a namespace")
        parts.append(self.plural)
        if name:
            parts.append(name)
        if subresource:
            parts.append(subresource)
        for part in (namespace, name):
            # client-go's path.IsValidPathSegmentName
            if part in {".", ".."} or "/" in part or "%" in part:
                raise bad_request(f"{part!r} is no name of an object")
        return "/" + "/".join(parts)


def bad_request(message: str) -> BadRequestError:
    """Refuse what the server would refuse, or worse, take for something else."""
    return BadRequestError(message, status=400, reason="BadRequest")


class Discovery:
    """What a server serves, as far as somebody asked."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._known: dict[GroupVersionKind, ApiResource] = {}
        self._missed: dict[GroupVersionKind, float] = {}
        self._surveyed: dict[str, float] = {}
        """Root → until when it is not asked for all groups; loop time, in seconds."""
        self._asking: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._version: tuple[int, int] | None = None
        self._silent_until = 0.0
        self._asking_version = asyncio.Lock()

    async def resource(self, gvk: GroupVersionKind) -> ApiResource:
        """Return how `gvk` is served.

        Raises:
            NoKindMatchError: It is not, or was not a few seconds ago.
            ApiError: The server does not tell.
        """
        if (found := self._known.get(gvk)) is not None:
            return found
        root = "/apis" if gvk.group else "/api"
        async with self._asking[root]:
            if _now() >= self._surveyed.get(root, 0.0):
                await self._survey(root)
        path = f"{root}/{gvk.api_version}"
        async with self._asking[path]:
            if gvk not in self._known and not self._missed_lately(gvk):
                await self._ask(path, gvk)
        if (found := self._known.get(gvk)) is not None:
            return found
        raise NoKindMatchError(
            f"the server does not serve {gvk}: install its CRD or correct the version"
        )

    async def server_version(self) -> tuple[int, int]:
        """Return which Kubernetes the server is, such as (1, 36); (0, 0) if unknown.

        It is asked once, for five seconds at most. One that does not answer is asked
        again by who wants to know half a minute later: it may have been away.
        """
        async with self._asking_version:
            if self._version is None and _now() >= self._silent_until:
                self._version = await server_version(self._transport)
                self._silent_until = _now() + _SILENCE
        return self._version or (0, 0)

    def forget(self, gvk: GroupVersionKind) -> None:
        """Ask again at the next use of `gvk`."""
        self._known.pop(gvk, None)
        self._missed.pop(gvk, None)

    def _missed_lately(self, gvk: GroupVersionKind) -> bool:
        missed = self._missed.get(gvk)
        return missed is not None and _now() < missed + _PATIENCE

    async def _survey(self, root: str) -> None:
        """Ask for all groups at once; who refuses is not asked for that again.

        Who is in trouble is, after a while.
        """
        until = math.inf
        try:
            answer = await self._transport.request("GET", root, accept=_AGGREGATED)
            served = list(read_groups(root, answer.body))
        except (ApiError, DecodeError) as error:
            log.debug("no aggregated discovery", path=root, error=str(error))
            if isinstance(error, _TROUBLE):
                until = _now() + _SILENCE
        else:
            self._known |= {resource.gvk: resource for resource in served}
        self._surveyed[root] = until

    async def _ask(self, path: str, gvk: GroupVersionKind) -> None:
        try:
            answer = await self._transport.request("GET", path)
        except NotFoundError:
            # The group or version is not served: no CRD of it is there, or any more.
            served = {}
        else:
            found = read_resources(gvk.group, gvk.version, answer.body)
            served = {resource.gvk: resource for resource in found}
        for known in [it for it in self._known if it[:2] == gvk[:2]]:
            del self._known[known]
        self._known |= served
        if gvk in self._known:
            self._missed.pop(gvk, None)
        else:
            self._missed[gvk] = _now()


_TROUBLE = (TooManyRequestsError, ServerError, UnauthorizedError)
"""How a server fails that may do better a moment later."""


def _now() -> float:
    return asyncio.get_running_loop().time()


class _About(msgspec.Struct):
    major: str
    minor: str
    """May end in a sign, such as `35+`."""


_decode_version = msgspec.json.Decoder(_About).decode

_NO_ANSWER: tuple[type[Exception], ...] = (
    ControllerRuntimeError,
    *UNREADABLE,
    *TRANSPORT_ERRORS,
)


async def server_version(transport: Transport) -> tuple[int, int] | None:
    """Ask a server which Kubernetes it is.

    Returns:
        Such as (1, 36); (0, 0) for what is no Kubernetes or does not tell whoever we
        are; `None` without an answer.
    """
    try:
        # For all attempts: a busy server may ask for ten pauses between them.
        async with asyncio.timeout(_VERSION_TIMEOUT):
            answer = await transport.request(
                "GET", "/version", timeout=_VERSION_TIMEOUT
            )
        version = _decode_version(answer.body)
    except ForbiddenError:
        return 0, 0  # a role without /version: who asks again, asks for nothing
    except _NO_ANSWER:
        return None
    minor = version.minor.rstrip("+")
    if version.major.isdecimal() and minor.isdecimal():
        return int(version.major), int(minor)
    return 0, 0


class _Resource(msgspec.Struct, rename="camel"):
    name: str
    kind: str
    namespaced: bool = False
    verbs: list[str] | None = None


class _ResourceList(msgspec.Struct):
    resources: list[_Resource] | None = None


_decoder = msgspec.json.Decoder(_ResourceList)


def read_resources(group: str, version: str, body: bytes) -> Iterator[ApiResource]:
    """Read an `APIResourceList`, in the server's order.

    Raises:
        DecodeError: It is not one.
    """
    try:
        listed = _decoder.decode(body).resources or []
    except UNREADABLE as error:
        raise DecodeError(
            f"cannot read what {group}/{version} serves: {why(error)}"
        ) from error
    subresources: defaultdict[str, set[str]] = defaultdict(set)
    for resource in listed:
        plural, slash, subresource = resource.name.partition("/")
        if slash:
            subresources[plural].add(subresource)
    for resource in listed:
        if "/" not in resource.name:
            yield ApiResource(
                GroupVersionKind(group, version, resource.kind),
                resource.name,
                resource.namespaced,
                frozenset(resource.verbs or ()),
                frozenset(subresources[resource.name]),
            )


class _Groups(msgspec.Struct):
    """`apidiscovery.k8s.io/v2` APIGroupDiscoveryList; v2beta1 has the same form."""

    kind: str
    items: list[_Group] | None = None


class _Group(msgspec.Struct):
    metadata: _GroupName
    versions: list[_Version] | None = None


class _GroupName(msgspec.Struct):
    name: str = ""
    """Absent for the core group."""


class _Version(msgspec.Struct):
    version: str
    resources: list[_Served] | None = None
    freshness: str = ""


class _Served(msgspec.Struct, rename="camel"):
    resource: str
    scope: str
    response_kind: _Kind | None = None
    verbs: list[str] | None = None
    subresources: list[_Subresource] | None = None


class _Kind(msgspec.Struct):
    kind: str


class _Subresource(msgspec.Struct):
    subresource: str


_groups_decoder = msgspec.json.Decoder(_Groups)


def read_groups(root: str, body: bytes) -> Iterator[ApiResource]:
    """Read an `APIGroupDiscoveryList`, in the server's order.

    What a group's own server served when it was last reached (`Stale`) is left out.

    Args:
        root: `/api` or `/apis`, for messages.
        body: The list.

    Raises:
        DecodeError: It is not one, but what servers answer that know none, say.
    """
    try:
        listed = _groups_decoder.decode(body)
    except UNREADABLE as error:
        raise DecodeError(f"cannot read what {root} serves: {why(error)}") from error
    if listed.kind != "APIGroupDiscoveryList":
        raise DecodeError(f"{root} does not say what its groups serve: {listed.kind}")
    # A cluster has thousands of kinds, and few sets of verbs.
    sets: dict[tuple[str, ...], frozenset[str]] = {}
    for group in listed.items or ():
        for version in group.versions or ():
            if version.freshness == _STALE:
                continue
            for served in version.resources or ():
                if served.response_kind is None:
                    continue
                verbs = tuple(served.verbs or ())
                parts = tuple(it.subresource for it in served.subresources or ())
                yield ApiResource(
                    GroupVersionKind(
                        group.metadata.name, version.version, served.response_kind.kind
                    ),
                    served.resource,
                    served.scope == "Namespaced",
                    sets.setdefault(verbs, frozenset(verbs)),
                    sets.setdefault(parts, frozenset(parts)),
                )
