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
from collections.abc import Mapping
from typing import (
    Any,
    Literal,
    TypeAlias,
    TypedDict,
    TypeVar,
    Unpack,
    cast,
    overload,
)

import msgspec

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
from controller_runtime.scheme import ObjectList, Scheme, read_list
from controller_runtime.transport import JSON, Transport

T = TypeVar("T", bound=KubeObject)
Obj = TypeVar("Obj", bound=KubeObject | Json)

__all__ = ["Client", "DeleteOptions", "ListOptions", "ObjectList", "WriteOptions"]

FieldValidation: TypeAlias = Literal["Ignore", "Warn", "Strict"]
PropagationPolicy: TypeAlias = Literal["Orphan", "Background", "Foreground"]

_YIELD_AFTER = 256
"""Objects of a list that are read in one go: about 10 ms of models."""


class ListOptions(TypedDict, total=False):
    """What a list may ask for."""

    label_selector: str
    """As kubectl's `--selector` takes it."""

    field_selector: str
    """As kubectl's `--field-selector` takes it."""

    limit: int
    """Objects a page; 0, the default, asks for all at once."""

    continue_: str
    """That of the page before."""

    resource_version: str
    """The oldest version that will do: `0` takes any the server has at hand; empty, the
    default, takes the newest."""


class WriteOptions(TypedDict, total=False):
    """What every write may ask for."""

    dry_run: bool
    """Answer what would be, change nothing."""

    field_owner: str | None
    """Who owns the fields that are written; the client's owner by default."""


class DeleteOptions(TypedDict, total=False):
    """What a deletion may ask for."""

    grace_period_seconds: int | None
    """Instead of the kind's; 0 is at once."""

    propagation_policy: PropagationPolicy | None
    """What happens to the objects that it owns; the kind's default by default."""

    dry_run: bool
    """Change nothing."""


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
    """

    def __init__(
        self,
        transport: Transport,
        *,
        scheme: Scheme,
        discovery: Discovery | None = None,
        field_owner: str = "pilothouse",
        field_validation: FieldValidation | None = None,
    ) -> None:
        self.transport = transport
        self.scheme = scheme
        self.discovery = discovery or Discovery(transport)
        self.field_owner = field_owner
        self._field_validation = field_validation

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
        path = await self._path(kind, name, namespace, subresource)
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
        path = (await self.resource(kind)).path(namespace)
        limit = options.get("limit", 0)
        params = {
            "labelSelector": options.get("label_selector", ""),
            "fieldSelector": options.get("field_selector", ""),
            "limit": str(limit) if limit else "",
            "continue": options.get("continue_", ""),
            "resourceVersion": options.get("resource_version", ""),
        }
        answer = await self.transport.request("GET", path, params=_given(params))
        return await self._read_list(kind, answer.body)

    async def create(self, obj: Obj, **options: Unpack[WriteOptions]) -> Obj:
        """Create an object; `metadata.generateName` may stand in for its name.

        Raises:
            AlreadyExistsError: Another object has the name.
            InvalidError: The server's validation refuses it.
        """
        path = await self._collection(obj)
        return await self._write("POST", path, self._params(options), obj)

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
        path = await self._path_of(obj, subresource)
        return await self._write("PUT", path, self._params(options), obj)

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
        if _metadata(obj).get("managedFields"):
            raise bad_request("an object with managedFields cannot be applied")
        path = await self._path_of(obj, subresource)
        params = self._params(options, APPLY, force=force or None)
        return await self._write("PATCH", path, params, obj, content_type=APPLY)

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
        path = await self._path(kind, name, namespace, subresource)
        content_type, body = patch
        params = self._params(options, content_type, force)
        answer = await self.transport.request(
            "PATCH", path, params=params, body=body, content_type=content_type
        )
        if not options.get("dry_run"):
            self._wrote(kind_of(kind), answer.body)
        return self.scheme.decode(kind, answer.body)

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
        path = await self._path(kind, name, namespace)
        conditions = _given({"uid": uid, "resourceVersion": resource_version})
        body = _delete_body(options, conditions)
        answer = await self.transport.request("DELETE", path, body=body)
        if not options.get("dry_run"):
            self._deleted(kind, name, namespace, answer.body)

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
        resource = await self.resource(kind)
        if resource.namespaced and not namespace:
            raise bad_request(f"deleting all {resource.plural} needs a namespace")
        path = resource.path(namespace)
        params = {"labelSelector": label_selector, "fieldSelector": field_selector}
        body = _delete_body(options, {})
        await self.transport.request("DELETE", path, params=_given(params), body=body)

    def _wrote(self, gvk: GroupVersionKind, answer: bytes) -> None:
        """Called with the answer to a write, for a client that remembers."""

    def _deleted(self, kind: Kind, name: str, namespace: str, answer: bytes) -> None:
        """Called with the answer to a deletion, for a client that remembers."""

    async def _path(
        self, kind: Kind, name: str, namespace: str, subresource: str = ""
    ) -> str:
        # An empty name would turn one object into all of them.
        if not name:
            raise bad_request(f"{kind_of(kind)} needs a name")
        return (await self.resource(kind)).path(namespace, name, subresource)

    async def _path_of(self, obj: KubeObject | Json, subresource: str) -> str:
        metadata = _metadata(obj)
        name, namespace = metadata.get("name"), metadata.get("namespace")
        gvk = self.scheme.gvk_of(obj)
        return await self._path(gvk, str(name or ""), str(namespace or ""), subresource)

    async def _collection(self, obj: KubeObject | Json) -> str:
        resource = await self.resource(self.scheme.gvk_of(obj))
        namespace = str(_metadata(obj).get("namespace") or "")
        if resource.namespaced and not namespace:
            raise bad_request(f"{resource.gvk} needs a namespace")
        return resource.path(namespace)

    def _params(
        self, options: WriteOptions, content_type: str = JSON, force: bool | None = None
    ) -> Mapping[str, str]:
        # What is applied the server validates in any case.
        validation = None if content_type == APPLY else self._field_validation
        params = {
            "fieldManager": options.get("field_owner") or self.field_owner,
            "fieldValidation": validation or "",
            "dryRun": "All" if options.get("dry_run") else "",
            "force": "" if force is None else str(force).lower(),
        }
        return _given(params)

    async def _write(
        self,
        method: str,
        path: str,
        params: Mapping[str, str],
        obj: Obj,
        content_type: str = JSON,
    ) -> Obj:
        answer = await self.transport.request(
            method,
            path,
            params=params,
            body=self.scheme.encode(obj),
            content_type=content_type,
        )
        kind = type(obj) if isinstance(obj, KubeObject) else self.scheme.gvk_of(obj)
        if "dryRun" not in params:
            self._wrote(kind_of(kind), answer.body)
        return cast(Obj, self.scheme.decode(kind, answer.body))

    async def _read_list(self, kind: Kind, body: bytes) -> ObjectList[Any]:
        page = read_list(kind_of(kind), body)
        items = []
        for number, item in enumerate(page.items):
            if number % _YIELD_AFTER == _YIELD_AFTER - 1:
                await asyncio.sleep(0)
            items.append(self.scheme.decode(kind, bytes(item)))
        return ObjectList(items, *page[1:])


def _given(values: Mapping[str, str | None]) -> Mapping[str, str]:
    return {name: value for name, value in values.items() if value}


def _delete_body(options: DeleteOptions, preconditions: Mapping[str, str]) -> bytes:
    given = {
        "preconditions": preconditions or None,
        "gracePeriodSeconds": options.get("grace_period_seconds"),
        "propagationPolicy": options.get("propagation_policy"),
        "dryRun": ["All"] if options.get("dry_run") else None,
    }
    given = {name: value for name, value in given.items() if value is not None}
    return msgspec.json.encode({"apiVersion": "v1", "kind": "DeleteOptions", **given})


def _metadata(obj: KubeObject | Json) -> Mapping[str, object]:
    if isinstance(obj, KubeObject):
        metadata = obj.metadata
        kept = metadata.model_extra or {}
        return {"name": metadata.name, "namespace": metadata.namespace, **kept}
    return obj.get("metadata") or {}
