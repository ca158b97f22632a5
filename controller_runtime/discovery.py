"""From a kind to its place in the API: what the server serves, asked when needed.

    resource(gvk) ─▶ known? ─yes─▶ answer
                       │no
                       ▼
              asked for this kind a moment ago? ─yes─▶ NoKindMatchError
                       │no
                       ▼
              GET /apis/<group>/<version> ─▶ remember every kind in it ─▶ known?

One request tells all kinds of a group and version, and concurrent questions share it.
What is known stays known: `forget` is for a kind whose CRD was taken away. What is
not known is asked for again, so a CRD that appears later is found.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from controller_runtime.errors import (
    BadRequestError,
    DecodeError,
    NoKindMatchError,
    NotFoundError,
)
from controller_runtime.meta import GroupVersionKind
from controller_runtime.transport import Transport

_PATIENCE = 5.0
"""Seconds between two questions for a kind that is not served."""


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
        self._asking: defaultdict[tuple[str, str], asyncio.Lock] = defaultdict(
            asyncio.Lock
        )

    async def resource(self, gvk: GroupVersionKind) -> ApiResource:
        """Return how `gvk` is served.

        Raises:
            NoKindMatchError: It is not, or was not a few seconds ago.
            ApiError: The server does not tell.
        """
        if (found := self._known.get(gvk)) is not None:
            return found
        async with self._asking[gvk.group, gvk.version]:
            if gvk not in self._known and not self._missed_lately(gvk):
                await self._ask(gvk)
        if (found := self._known.get(gvk)) is not None:
            return found
        raise NoKindMatchError(
            f"the server does not serve {gvk}: install its CRD or correct the version"
        )

    def forget(self, gvk: GroupVersionKind) -> None:
        """Ask again at the next use of `gvk`."""
        self._known.pop(gvk, None)
        self._missed.pop(gvk, None)

    def _missed_lately(self, gvk: GroupVersionKind) -> bool:
        missed = self._missed.get(gvk)
        now = asyncio.get_running_loop().time()
        return missed is not None and now < missed + _PATIENCE

    async def _ask(self, gvk: GroupVersionKind) -> None:
        root = f"/apis/{gvk.group}" if gvk.group else "/api"
        try:
            answer = await self._transport.request("GET", f"{root}/{gvk.version}")
        except NotFoundError:
            pass  # the group or version is not served: no CRD of it is there yet
        else:
            served = read_resources(gvk.group, gvk.version, answer.body)
            self._known |= {resource.gvk: resource for resource in served}
        if gvk in self._known:
            self._missed.pop(gvk, None)
        else:
            self._missed[gvk] = asyncio.get_running_loop().time()


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
    except msgspec.MsgspecError as error:
        raise DecodeError(
            f"cannot read what {group}/{version} serves: {error}"
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
