"""One subresource of one kind: a part of an object that has an address of its own.

    scale = client.subresource(Deployment, "scale")
    now = await scale.get("web", "shop", kind=Scale)

    tokens = client.subresource(ServiceAccount, "token")
    made = await tokens.create("builder", "shop", body=TokenRequest(spec=...))

Many have a kind of their own: what is sent and what comes back is of that kind, while
the path names the object. Each write is one to the object, as far as readers of their
own writes are concerned.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TypeVar, Unpack, cast, overload

import msgspec

from controller_runtime.calls import Calls, Target, WriteOptions
from controller_runtime.meta import GroupVersionKind, Json, Kind, KubeObject
from controller_runtime.nesting import surface
from controller_runtime.patch import Patch
from controller_runtime.scheme import Scheme

T = TypeVar("T", bound=KubeObject)
Obj = TypeVar("Obj", bound=KubeObject | Json)


class SubResource:
    """One subresource of all objects of a kind."""

    def __init__(
        self, calls: Calls, scheme: Scheme, gvk: GroupVersionKind, subresource: str
    ) -> None:
        """Name it; see `Client.subresource`."""
        self._calls = calls
        self._scheme = scheme
        self._gvk = gvk
        self._subresource = subresource

    @overload
    async def get(self, name: str, namespace: str = "", *, kind: type[T]) -> T: ...
    @overload
    async def get(
        self, name: str, namespace: str = "", *, kind: GroupVersionKind
    ) -> Json: ...

    async def get(
        self, name: str, namespace: str = "", *, kind: Kind
    ) -> KubeObject | Json:
        """Read the subresource of an object.

        Args:
            name: Of the object.
            namespace: Of the object; empty for cluster-scoped kinds.
            kind: What the server answers with.

        Raises:
            NotFoundError: The object does not exist, or its kind has no such part.
        """
        _, path = await self._where(name, namespace)
        answer = await self._calls.transport.request("GET", path)
        return self._scheme.decode(kind, answer.body)

    async def create(
        self,
        name: str,
        namespace: str = "",
        *,
        body: Obj,
        **options: Unpack[WriteOptions],
    ) -> Obj:
        """Ask for something to be done to an object, as for `eviction` or `token`.

        Returns:
            What the server answers; `body` where it says no more than that it is done.

        Raises:
            NotFoundError: The object does not exist, or its kind has no such part.
            TooManyRequestsError: Of an eviction: a disruption budget forbids it now.
        """
        return await self._send("POST", name, namespace, body, options)

    async def update(
        self,
        name: str,
        namespace: str = "",
        *,
        body: Obj,
        **options: Unpack[WriteOptions],
    ) -> Obj:
        """Replace the subresource of an object by `body`.

        Raises:
            ConflictError: The object has changed since; read it again.
            NotFoundError: The object does not exist, or its kind has no such part.
        """
        return await self._send("PUT", name, namespace, body, options)

    @overload
    async def patch(
        self,
        name: str,
        namespace: str = "",
        *,
        patch: Patch,
        kind: type[T],
        force: bool | None = None,
        **options: Unpack[WriteOptions],
    ) -> T: ...
    @overload
    async def patch(
        self,
        name: str,
        namespace: str = "",
        *,
        patch: Patch,
        kind: GroupVersionKind,
        force: bool | None = None,
        **options: Unpack[WriteOptions],
    ) -> Json: ...

    async def patch(
        self,
        name: str,
        namespace: str = "",
        *,
        patch: Patch,
        kind: Kind,
        force: bool | None = None,
        **options: Unpack[WriteOptions],
    ) -> KubeObject | Json:
        """Change the subresource of an object as `patch` says.

        Args:
            name: Of the object.
            namespace: Of the object; empty for cluster-scoped kinds.
            patch: What to change.
            kind: What the server answers with.
            force: Of an apply patch: take fields over from other owners.
            options: See `WriteOptions`.

        Raises:
            ConflictError: The patch has a resourceVersion, and it is stale.
            NotFoundError: The object does not exist, or its kind has no such part.
        """
        target, path = await self._where(name, namespace)
        content_type, body = patch
        answer = await self._calls.write(
            "PATCH",
            path,
            target,
            params=self._calls.params(options, content_type, force),
            body=body,
            content_type=content_type,
        )
        return self._scheme.decode(kind, answer)

    async def _send(
        self, method: str, name: str, namespace: str, body: Obj, options: WriteOptions
    ) -> Obj:
        target, path = await self._where(name, namespace)
        gvk = self._scheme.gvk_of(body)
        answer = await self._calls.write(
            method,
            path,
            target,
            params=self._calls.params(options),
            body=self._scheme.encode(body),
        )
        if _says_done(answer):
            return body
        kind = type(body) if isinstance(body, KubeObject) else gvk
        return cast(Obj, self._scheme.decode(kind, answer))

    async def _where(self, name: str, namespace: str) -> tuple[Target, str]:
        return await self._calls.target(self._gvk, name, namespace, self._subresource)


class _Head(msgspec.Struct):
    kind: str = ""


_read_head = msgspec.json.Decoder(_Head).decode


def _says_done(answer: bytes) -> bool:
    with suppress(msgspec.MsgspecError):
        return surface(_read_head, answer).kind == "Status"
    return False
