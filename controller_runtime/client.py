"""Reads and writes of objects, straight to the API server.

A call names a kind by its model, and gets models, or by a `GroupVersionKind`, and
gets dicts. What is written comes back in the form in which it was given, as the
server has it now.

    kind ─discovery─▶ path ─transport─▶ answer ─scheme─▶ object

Nothing is cached here except what discovery knows, and nothing is retried except what
the transport repeats. Errors are those of the transport, and `DecodeError` for an
answer that is not the object it should be.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import Any, Self, TypedDict, TypeVar, Unpack, cast, overload

from controller_runtime.calls import (
    Calls,
    Defaults,
    DeleteOptions,
    FieldValidation,
    ListOptions,
    NoLog,
    WriteLog,
    WriteOptions,
    given,
    name_of,
)
from controller_runtime.discovery import ApiResource, Discovery, bad_request
from controller_runtime.meta import (
    GroupVersionKind,
    Json,
    Kind,
    KubeObject,
    is_partial,
    kind_of,
)
from controller_runtime.patch import APPLY, Patch
from controller_runtime.rawwatch import RawWatch, StreamOptions, WatchEvent
from controller_runtime.scheme import ObjectList, Scheme, read_list
from controller_runtime.subresource import SubResource
from controller_runtime.transport import JSON, Transport

T = TypeVar("T", bound=KubeObject)
Obj = TypeVar("Obj", bound=KubeObject | Json)

__all__ = [
    "Client",
    "DeleteOptions",
    "FieldValidation",
    "ListOptions",
    "ObjectList",
    "WriteOptions",
]

_YIELD_AFTER = 256
"""Objects of a list that are read in one go: about 10 ms of models."""


class DefaultChanges(TypedDict, total=False):
    """What `Client.with_defaults` may change."""

    field_owner: str
    field_validation: FieldValidation | None
    dry_run: bool
    namespace: str


class Client:
    """The API of one server.

    Args:
        transport: Carries the requests.
        scheme: Reads and writes the objects.
        discovery: Finds the paths; a new one by default.
        field_owner: Who owns the fields that this client writes, unless a call says
            otherwise.
        field_validation: What the server does about unknown or duplicate fields;
            `None` leaves it to the server, which warns.
        log: Hears of every write.
    """

    def __init__(
        self,
        transport: Transport,
        *,
        scheme: Scheme,
        discovery: Discovery | None = None,
        field_owner: str = "pilothouse",
        field_validation: FieldValidation | None = None,
        log: WriteLog | None = None,
    ) -> None:
        self.transport = transport
        self.scheme = scheme
        self.discovery = discovery or Discovery(transport)
        self._calls = Calls(
            transport=transport,
            discovery=self.discovery,
            defaults=Defaults(
                field_owner=field_owner, field_validation=field_validation
            ),
            log=log or NoLog(),
        )

    @property
    def defaults(self) -> Defaults:
        """What calls say unless they say otherwise."""
        return self._calls.defaults

    @property
    def field_owner(self) -> str:
        """Who owns the fields that are written, unless a call says otherwise."""
        return self.defaults.field_owner

    def with_defaults(self, **changes: Unpack[DefaultChanges]) -> Self:
        """Return this client with other defaults: same cache, same connections.

        `with_defaults(dry_run=True)` changes nothing in the cluster, whatever is
        written with it; `with_defaults(namespace="shop")` need not be told where
        things are, and refuses what is elsewhere. See `Defaults`.
        """
        other = copy.copy(self)
        defaults = replace(self.defaults, **changes)
        other._calls = replace(self._calls, defaults=defaults)  # noqa: SLF001 - ours
        return other

    async def resource(self, kind: Kind) -> ApiResource:
        """Return how `kind` is served.

        Raises:
            NoKindMatchError: It is not.
        """
        return await self.discovery.resource(kind_of(kind))

    @overload
    async def get(
        self, kind: type[T], name: str, namespace: str = "", *, subresource: str = ""
    ) -> T: ...
    @overload
    async def get(
        self,
        kind: GroupVersionKind,
        name: str,
        namespace: str = "",
        *,
        subresource: str = "",
    ) -> Json: ...

    async def get(
        self, kind: Kind, name: str, namespace: str = "", *, subresource: str = ""
    ) -> KubeObject | Json:
        """Read the newest version of an object.

        Raises:
            NotFoundError: It does not exist.
        """
        _, path = await self._calls.target(kind_of(kind), name, namespace, subresource)
        answer = await self.transport.request("GET", path)
        return self.scheme.decode(kind, answer.body)

    @overload
    async def list(
        self, kind: type[T], namespace: str = "", **options: Unpack[ListOptions]
    ) -> ObjectList[T]: ...
    @overload
    async def list(
        self,
        kind: GroupVersionKind,
        namespace: str = "",
        **options: Unpack[ListOptions],
    ) -> ObjectList[Json]: ...

    async def list(
        self, kind: Kind, namespace: str = "", **options: Unpack[ListOptions]
    ) -> ObjectList[Any]:
        """Read the collection of a namespace, or of all of them; or a page of it.

        Raises:
            ExpiredError: The pages took too long; list again from the start.
        """
        _, path = await self._calls.collection(kind_of(kind), namespace)
        limit = options.get("limit", 0)
        params = {
            "labelSelector": options.get("label_selector", ""),
            "fieldSelector": options.get("field_selector", ""),
            "limit": str(limit) if limit else "",
            "continue": options.get("continue_", ""),
            "resourceVersion": options.get("resource_version", ""),
        }
        params = {**options.get("raw", {}), **given(params)}
        answer = await self.transport.request("GET", path, params=params)
        return await self._read_list(kind, answer.body)

    async def create(self, obj: Obj, **options: Unpack[WriteOptions]) -> Obj:
        """Create an object; `metadata.generateName` may stand in for its name.

        Raises:
            AlreadyExistsError: Another object has the name.
            InvalidError: The server's validation refuses it.
        """
        gvk, (name, namespace) = self.scheme.gvk_of(obj), name_of(obj)
        target, path = await self._calls.collection(gvk, namespace, doing="creating")
        params = self._calls.params(options)
        target = target._replace(name=name)
        body = self.scheme.encode(obj)
        answer = await self._calls.write("POST", path, target, params=params, body=body)
        return self._read_as(obj, answer)

    async def update(
        self, obj: Obj, *, subresource: str = "", **options: Unpack[WriteOptions]
    ) -> Obj:
        """Replace an object, or its status, by what is given.

        Raises:
            ConflictError: It has changed since; read it again.
            BadRequestError: It was read from a cache that keeps less than all of it.
        """
        if is_partial(obj):
            raise bad_request("the cache keeps a part of this object: patch or apply")
        return await self._write("PUT", obj, subresource, options)

    async def apply(
        self,
        obj: Obj,
        *,
        force: bool = False,
        subresource: str = "",
        **options: Unpack[WriteOptions],
    ) -> Obj:
        """Own the fields that `obj` sets, and no others (server-side apply).

        Fields that were applied before and are missing now are removed.

        Args:
            obj: The fields that we have an opinion on. Not an object that was read.
            force: Take fields over from other owners instead of failing.
            subresource: Such as `status`.
            options: See `WriteOptions`.

        Raises:
            ConflictError: Another manager owns a field, and `force` is off.
            BadRequestError: `obj` carries managedFields, so it was read.
        """
        if _has_managed_fields(obj):
            raise bad_request("an object with managedFields cannot be applied")
        return await self._write("PATCH", obj, subresource, options, APPLY, force=force)

    @overload
    async def patch(
        self,
        kind: type[T],
        name: str,
        namespace: str = "",
        *,
        patch: Patch,
        subresource: str = "",
        force: bool | None = None,
        **options: Unpack[WriteOptions],
    ) -> T: ...
    @overload
    async def patch(
        self,
        kind: GroupVersionKind,
        name: str,
        namespace: str = "",
        *,
        patch: Patch,
        subresource: str = "",
        force: bool | None = None,
        **options: Unpack[WriteOptions],
    ) -> Json: ...

    async def patch(
        self,
        kind: Kind,
        name: str,
        namespace: str = "",
        *,
        patch: Patch,
        subresource: str = "",
        force: bool | None = None,
        **options: Unpack[WriteOptions],
    ) -> KubeObject | Json:
        """Change an object as `patch` says.

        Args:
            kind: What to patch.
            name: Of the object.
            namespace: Of the object; empty for cluster-scoped kinds.
            patch: What to change.
            subresource: Such as `status`.
            force: Of an apply patch: take fields over from other owners.
            options: See `WriteOptions`.

        Raises:
            NotFoundError: It does not exist; an apply patch creates it instead.
            ConflictError: The patch has a resourceVersion, and it is stale.
        """
        part = self.subresource(kind_of(kind), subresource)
        return await part.patch(
            name, namespace, patch=patch, kind=kind, force=force, **options
        )

    def subresource(self, kind: Kind, name: str) -> SubResource:
        """Return a part of the objects of a kind that has an address of its own.

        `status` takes and gives the object itself, so that `get`, `update`, `apply` and
        `patch` reach it with `subresource="status"`. Others have a kind of their own,
        such as `scale`, or can only be created, such as `token` and `eviction`.
        """
        return SubResource(self._calls, self.scheme, kind_of(kind), name)

    @overload
    def watch(
        self, kind: type[T], namespace: str = "", **options: Unpack[StreamOptions]
    ) -> AbstractAsyncContextManager[AsyncIterator[WatchEvent[T]]]: ...
    @overload
    def watch(
        self,
        kind: GroupVersionKind,
        namespace: str = "",
        **options: Unpack[StreamOptions],
    ) -> AbstractAsyncContextManager[AsyncIterator[WatchEvent[Json]]]: ...

    def watch(
        self, kind: Kind, namespace: str = "", **options: Unpack[StreamOptions]
    ) -> AbstractAsyncContextManager[AsyncIterator[WatchEvent[Any]]]:
        """Follow one stream of changes to its end, for tools and tests.

            async with client.watch(Pod, "shop", label_selector="app=web") as events:
                async for event in events: ...

        Always live, and raw: nothing is retried or resumed, and without a version the
        stream begins with an `ADDED` for what is there. The iteration ends when the
        server ends the stream, and the stream when the context is left. What must
        survive trouble takes an informer.

        Raises:
            ExpiredError: The version is too old; on entering or in the iteration.
            ApiError: The server refuses, or reports an error in the stream.
            StalledError: The server fell silent.
        """
        return RawWatch(self._calls, self.scheme, kind).follow(namespace, options)

    async def delete(
        self,
        kind: Kind,
        name: str,
        namespace: str = "",
        *,
        uid: str | None = None,
        resource_version: str | None = None,
        **options: Unpack[DeleteOptions],
    ) -> None:
        """Ask for the end of an object, which finalizers may hold up.

        Args:
            kind: What to delete.
            name: Of the object.
            namespace: Of the object; empty for cluster-scoped kinds.
            uid: Delete it only if it is this one.
            resource_version: Delete it only if it has not changed since.
            options: See `DeleteOptions`.

        Raises:
            NotFoundError: It is gone already.
            ConflictError: It is another one, or it has changed.
        """
        target, path = await self._calls.target(kind_of(kind), name, namespace)
        conditions = given({"uid": uid, "resourceVersion": resource_version})
        await self._calls.delete(path, target, options, preconditions=conditions)

    async def delete_all_of(
        self,
        kind: Kind,
        namespace: str = "",
        *,
        label_selector: str = "",
        field_selector: str = "",
        **options: Unpack[DeleteOptions],
    ) -> None:
        """Delete what the selectors match in one namespace; all of it without them.

        Raises:
            BadRequestError: The kind is namespaced and no namespace is given.
        """
        target, path = await self._calls.collection(
            kind_of(kind), namespace, doing="deleting all"
        )
        chosen = {"labelSelector": label_selector, "fieldSelector": field_selector}
        await self._calls.delete(path, target, options, params=given(chosen))

    async def _write(
        self,
        method: str,
        obj: Obj,
        subresource: str,
        options: WriteOptions,
        content_type: str = JSON,
        *,
        force: bool = False,
    ) -> Obj:
        gvk, (name, namespace) = self.scheme.gvk_of(obj), name_of(obj)
        target, path = await self._calls.target(gvk, name, namespace, subresource)
        answer = await self._calls.write(
            method,
            path,
            target,
            params=self._calls.params(options, content_type, force or None),
            body=self.scheme.encode(obj),
            content_type=content_type,
        )
        return self._read_as(obj, answer)

    def _read_as(self, obj: Obj, answer: bytes) -> Obj:
        kind = type(obj) if isinstance(obj, KubeObject) else self.scheme.gvk_of(obj)
        return cast(Obj, self.scheme.decode(kind, answer))

    async def _read_list(self, kind: Kind, body: bytes) -> ObjectList[Any]:
        page = read_list(kind_of(kind), body)
        items = []
        for number, item in enumerate(page.items):
            if number % _YIELD_AFTER == _YIELD_AFTER - 1:
                await asyncio.sleep(0)
            items.append(self.scheme.decode(kind, bytes(item)))
        return ObjectList(items, *page[1:])


def _has_managed_fields(obj: KubeObject | Json) -> bool:
    if isinstance(obj, KubeObject):
        return bool((obj.metadata.model_extra or {}).get("managedFields"))
    return bool((obj.get("metadata") or {}).get("managedFields"))
