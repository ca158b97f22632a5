"""Bring one object about: read it, say what it should be, write what differs.

    create_or_update   whole objects; refused when somebody else wrote in between
    create_or_patch    only what differs, the status too; others' fields stay theirs
    create_or_apply    the fields that we have an opinion on; no read is needed

Each writes nothing when there is nothing to change, and tells what it did in a word
that completes "the Deployment has been …". `create_or_apply` is the one to begin with:
it keeps nobody else's fields, removes what we no longer want, and needs no function.

Reads go through the client that is given, so for a reconciler they come from the
cache, and may be late. A write that the server refuses for that reason (the object is
there already, or is another version) is followed by one live read and one more try; the
second refusal is raised. What is late and makes no conflict brings an event, and with
it the next reconcile.

`create_or_update`, `create_or_patch` and the words are those of controller-runtime's
`controllerutil`; its functions for owner references are in `ownership`, those for
finalizers in `finalizer`.
"""

from __future__ import annotations

import copy
from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import Any, Generic, NamedTuple, TypeVar, cast

from controller_runtime.client import Client
from controller_runtime.discovery import bad_request
from controller_runtime.errors import (
    AlreadyExistsError,
    ConflictError,
    ControllerRuntimeError,
    NotFoundError,
)
from controller_runtime.managedfields import is_applied
from controller_runtime.meta import Json, KubeObject, is_partial
from controller_runtime.patch import Patch, document, merge_patch_from

Obj = TypeVar("Obj", bound=KubeObject | dict[str, Any])

Mutate = Callable[[Obj], Obj]
"""Makes of an object what it should be; must not change its kind, name or namespace."""


class OperationResult(StrEnum):
    """What has been done, as in "the Deployment has been created"."""

    UNCHANGED = "unchanged"
    CREATED = "created"
    UPDATED = "updated"
    UPDATED_STATUS = "updatedStatus"
    """The object and its status."""
    UPDATED_STATUS_ONLY = "updatedStatusOnly"


class Ensured(NamedTuple, Generic[Obj]):
    """An object that is as it should be."""

    obj: Obj
    """As the server has it now; as it was read, if nothing was written."""
    result: OperationResult


class MutationError(ControllerRuntimeError):
    """A function made another object of the one that it should change."""


async def create_or_update(
    client: Client, obj: Obj, mutate: Mutate[Obj]
) -> Ensured[Obj]:
    """Create an object, or replace it if `mutate` changes it.

    What the server fills in must not be taken back by `mutate`, or every call writes:
    it sees the object with defaults. Changes of the status are dropped by the server
    where the status is a subresource.

    Args:
        client: Reads and writes.
        obj: Kind, name and namespace; also what `mutate` gets if there is none yet.
        mutate: Returns the object as it should be; gets one of its own.

    Raises:
        MutationError: `mutate` changed what identifies the object.
        ConflictError: The object changed twice meanwhile.
        BadRequestError: The cache keeps only a part of the object: patch or apply.
    """

    async def attempt(before: Obj | None) -> Ensured[Obj]:
        if before is None:
            return await _create(client, obj, mutate)
        if is_partial(before):
            raise bad_request("the cache keeps a part of this object: patch or apply")
        after = _mutated(client, mutate, before)
        if _is_empty(merge_patch_from(before, after)):
            return Ensured(before, OperationResult.UNCHANGED)
        return Ensured(await client.update(after), OperationResult.UPDATED)

    return await _twice(client, obj, attempt)


async def create_or_patch(
    client: Client, obj: Obj, mutate: Mutate[Obj]
) -> Ensured[Obj]:
    """Create an object, or patch what `mutate` changes of it and of its status.

    Patches are merge patches without a version: what others change meanwhile stays,
    except that a list is one value. The status is written only of an object that
    exists, and only where it is a subresource.

    Args:
        client: Reads and writes.
        obj: Kind, name and namespace; also what `mutate` gets if there is none yet.
        mutate: Returns the object as it should be; gets one of its own.

    Raises:
        MutationError: `mutate` changed what identifies the object.
    """

    async def attempt(before: Obj | None) -> Ensured[Obj]:
        if before is None:
            return await _create(client, obj, mutate)
        after = _mutated(client, mutate, before)
        old, new = dict(document(before)), dict(document(after))
        status = merge_patch_from(_taken(old, "status"), _taken(new, "status"))
        patch = merge_patch_from(old, new)
        written, result = before, OperationResult.UNCHANGED
        if not _is_empty(patch):
            written = await _patch(client, before, patch)
            result = OperationResult.UPDATED
        if not _is_empty(status):
            written = await _patch(client, before, status, subresource="status")
            result = (
                OperationResult.UPDATED_STATUS
                if result is OperationResult.UPDATED
                else OperationResult.UPDATED_STATUS_ONLY
            )
        return Ensured(written, result)

    return await _twice(client, obj, attempt)


async def create_or_apply(
    client: Client, desired: Obj, *, force: bool = True, field_owner: str = ""
) -> Ensured[Obj]:
    """Own the fields of `desired` and no others, unless that is so already.

    The object is read first: what its managedFields prove to be applied is not sent
    (see `managedfields`). A cache that strips them proves nothing: then every call is a
    request, which the server answers without writing.

    What is told compares the object with the one that was read: `created` if there was
    none, `unchanged` if it is the same version, else `updated`; a version that somebody
    else made in between counts, where the read proved nothing.

    Args:
        client: Reads and writes.
        desired: The fields that we have an opinion on. Not an object that was read.
        force: Take fields over from others, as a controller should that is in charge of
            them.
        field_owner: Who owns the fields; the client's owner by default.

    Raises:
        ConflictError: Another manager owns a field, and `force` is off.
    """
    manager = field_owner or client.field_owner
    live = await _read(client, desired)
    if live is not None and is_applied(
        document(desired), document(live), manager=manager
    ):
        return Ensured(live, OperationResult.UNCHANGED)
    written = await client.apply(desired, force=force, field_owner=manager)
    if live is None:
        return Ensured(written, OperationResult.CREATED)
    is_same = _version(live) == _version(written)
    return Ensured(
        written, OperationResult.UNCHANGED if is_same else OperationResult.UPDATED
    )


async def _twice(
    client: Client, obj: Obj, attempt: Callable[[Obj | None], Awaitable[Ensured[Obj]]]
) -> Ensured[Obj]:
    """Attempt with what the client reads, and once more with what the server has."""
    try:
        return await attempt(await _read(client, obj))
    except (AlreadyExistsError, ConflictError):
        return await attempt(await _read(client, obj, live=True))


async def _read(client: Client, obj: Obj, *, live: bool = False) -> Obj | None:
    kind, namespace, name = _identity(client, obj)
    try:
        if live:  # the method of the base class asks the server, whoever inherits it
            return cast(Obj, await Client.get(client, kind, name, namespace))
        return cast(Obj, await client.get(kind, name, namespace))
    except NotFoundError:
        return None


async def _create(client: Client, obj: Obj, mutate: Mutate[Obj]) -> Ensured[Obj]:
    made = await client.create(_mutated(client, mutate, obj))
    return Ensured(made, OperationResult.CREATED)


async def _patch(
    client: Client, obj: Obj, patch: Patch, *, subresource: str = ""
) -> Obj:
    kind, namespace, name = _identity(client, obj)
    written = await client.patch(
        kind, name, namespace, patch=patch, subresource=subresource
    )
    return cast(Obj, written)


def _mutated(client: Client, mutate: Mutate[Obj], obj: Obj) -> Obj:
    made = mutate(copy.deepcopy(obj))
    before, after = _identity(client, obj), _identity(client, made)
    if before != after:
        raise MutationError(
            f"cannot make {' '.join(map(str, after))} of {' '.join(map(str, before))}: "
            "a function that changes an object must leave kind, name and namespace"
        )
    return made


def _identity(client: Client, obj: KubeObject | Json) -> tuple[Any, str, str]:
    """Return what a client is to be asked for: kind, namespace and name."""
    kind = type(obj) if isinstance(obj, KubeObject) else client.scheme.gvk_of(obj)
    metadata = document(obj).get("metadata") or {}
    assert isinstance(metadata, dict)  # noqa: S101 - for the type checker
    return kind, str(metadata.get("namespace") or ""), str(metadata.get("name") or "")


def _taken(fields: Json, name: str) -> Json:
    """Take a field out of an object."""
    return {name: fields.pop(name)} if name in fields else {}


def _version(obj: KubeObject | Json) -> str:
    if isinstance(obj, KubeObject):
        return obj.metadata.resource_version
    return str(obj["metadata"]["resourceVersion"])


def _is_empty(patch: Patch) -> bool:
    return patch.body == b"{}"
