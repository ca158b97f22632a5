"""Owner references: whose an object is, and with whom it goes.

    owner, dependent ──set──▶ dependent with a reference ──remove──▶ dependent without

The garbage collector deletes an object when the last of its owners is gone. At most
one owner is its controller, the one that reconciles it. A reference is to an object
if group, kind and name agree; the version may be another that is served, and the uid
that of a predecessor of the same name, which setting it again brings up to date.

The functions return a new dependent and leave the given one alone. They answer as
controller-runtime's `controllerutil` does, and refuse an owner in another namespace,
which the server would accept: its collector takes such an owner for gone.
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias, TypeVar, cast

import msgspec

from controller_runtime.errors import ControllerRuntimeError
from controller_runtime.meta import (
    GroupVersionKind,
    Json,
    KubeObject,
    NamespacedName,
    OwnerReference,
    RawObject,
)

Object: TypeAlias = KubeObject | Json
"""An object with a model or without; plain JSON needs `apiVersion` and `kind`."""

D = TypeVar("D", bound=KubeObject | dict[str, Any])


class OwnershipError(ControllerRuntimeError):
    """A reference that must not be made, or is not there to be removed."""


class AlreadyOwnedError(OwnershipError):
    """Another object is the controller; it has to let go first."""

    def __init__(
        self, message: str, *, owner: OwnerReference, dependent: NamespacedName
    ) -> None:
        super().__init__(message)
        self.owner = owner
        """The present controller."""
        self.dependent = dependent
        """Which object it controls."""


def owner_references(obj: Object | RawObject) -> tuple[OwnerReference, ...]:
    """Return the owners of an object."""
    if isinstance(obj, RawObject):
        return obj.meta.owner_references
    return msgspec.convert(_references(obj), tuple[OwnerReference, ...])


def find_controller(obj: Object | RawObject) -> OwnerReference | None:
    """Return the controller of an object, if it has one."""
    return next((owner for owner in owner_references(obj) if owner.controller), None)


def has_controller_reference(obj: Object | RawObject) -> bool:
    """Return whether any object is the controller of `obj`."""
    return find_controller(obj) is not None


def is_controlled_by(owner: Object, obj: Object | RawObject) -> bool:
    """Return whether this very `owner`, not a namesake, is the controller of `obj`."""
    controller = find_controller(obj)
    return controller is not None and controller.uid == _identify(owner).uid


def has_owner_reference(owner: Object, obj: Object | RawObject) -> bool:
    """Return whether `obj` refers to `owner`, as its controller or not."""
    identity = _identify(owner)
    return any(identity.is_meant_by(reference) for reference in owner_references(obj))


def set_controller_reference(
    owner: Object, dependent: D, *, block_owner_deletion: bool = True
) -> D:
    """Make `owner` the controller of `dependent`.

    Args:
        owner: An object as the server returned it.
        dependent: An object in the owner's namespace; anywhere if it has none.
        block_owner_deletion: A foreground deletion of the owner waits for it.

    Raises:
        AlreadyOwnedError: Another object is the controller.
        OwnershipError: The two cannot be related, or the owner has no uid.
    """
    identity = _related(owner, dependent)
    current = find_controller(dependent)
    if current is not None and not identity.is_meant_by(current):
        it = _identify(dependent)
        raise AlreadyOwnedError(
            f"{identity} cannot control {it}: {current.kind} {current.name} does",
            owner=current,
            dependent=NamespacedName(it.namespace, it.name),
        )
    flags = {"controller": True, "blockOwnerDeletion": block_owner_deletion}
    return _upsert(dependent, identity, flags)


def set_owner_reference(
    owner: Object, dependent: D, *, block_owner_deletion: bool = False
) -> D:
    """Make `owner` an owner of `dependent`, and its controller no longer.

    Arguments as for the controller.

    Raises:
        OwnershipError: The two cannot be related, or the owner has no uid.
    """
    flags = {"blockOwnerDeletion": True} if block_owner_deletion else {}
    return _upsert(dependent, _related(owner, dependent), flags)


def remove_owner_reference(owner: Object, dependent: D) -> D:
    """Make `owner` no owner of `dependent`, whether it was the controller or not.

    Raises:
        OwnershipError: It was none.
    """
    identity = _identify(owner)
    index = _find(dependent, identity)
    if index is None:
        raise OwnershipError(f"{identity} does not own {_identify(dependent)}")
    references = _references(dependent)
    return _with_references(dependent, references[:index] + references[index + 1 :])


def remove_controller_reference(owner: Object, dependent: D) -> D:
    """Make `owner`, which must be the controller, no owner of `dependent`.

    Raises:
        OwnershipError: It was not the controller.
    """
    current = find_controller(dependent)
    identity = _identify(owner)
    if current is None or not identity.is_meant_by(current):
        raise OwnershipError(f"{identity} does not control {_identify(dependent)}")
    return remove_owner_reference(owner, dependent)


class _Identity(NamedTuple):
    gvk: GroupVersionKind
    namespace: str
    name: str
    uid: str

    def __str__(self) -> str:
        place = f"{self.namespace}/{self.name}" if self.namespace else self.name
        return f"{self.gvk.kind} {place}"

    def is_meant_by(self, reference: OwnerReference) -> bool:
        group = GroupVersionKind.parse(reference.api_version, reference.kind).group
        mine = (self.gvk.group, self.gvk.kind, self.name)
        return mine == (group, reference.kind, reference.name)


def _identify(obj: Object) -> _Identity:
    if isinstance(obj, KubeObject):
        return _Identity(obj.gvk, *obj.key, obj.metadata.uid)
    metadata = obj.get("metadata", {})
    return _Identity(
        GroupVersionKind.parse(obj.get("apiVersion", ""), obj.get("kind", "")),
        metadata.get("namespace", ""),
        metadata.get("name", ""),
        metadata.get("uid", ""),
    )


def _related(owner: Object, dependent: Object) -> _Identity:
    """Return who the owner is, if it may own the dependent at all."""
    it, other = _identify(owner), _identify(dependent)
    if not it.uid or not it.gvk.kind:
        raise OwnershipError(
            f"{it} cannot own {other}: it has no uid or no kind; "
            "use the object that the server returned"
        )
    if it.namespace and not other.namespace:
        raise OwnershipError(
            f"{it} cannot own {other}: a cluster-scoped object needs an owner "
            "that is cluster-scoped too"
        )
    if it.namespace and it.namespace != other.namespace:
        raise OwnershipError(
            f"{it} cannot own {other}: an owner must be in the same namespace"
        )
    return it


def _references(obj: Object) -> list[Json]:
    if isinstance(obj, KubeObject):
        found = (obj.metadata.model_extra or {}).get("ownerReferences")
    else:
        found = obj.get("metadata", {}).get("ownerReferences")
    return list(found or ())


def _find(dependent: Object, identity: _Identity) -> int | None:
    owners = enumerate(owner_references(dependent))
    return next((n for n, owner in owners if identity.is_meant_by(owner)), None)


def _upsert(dependent: D, identity: _Identity, flags: Json) -> D:
    reference = {
        "apiVersion": identity.gvk.api_version,
        "kind": identity.gvk.kind,
        "name": identity.name,
        "uid": identity.uid,
        **flags,
    }
    references = _references(dependent)
    index = _find(dependent, identity)
    if index is None:
        references.append(reference)
    else:
        references[index] = reference
    return _with_references(dependent, references)


def _with_references(dependent: D, references: list[Json]) -> D:
    change = {"ownerReferences": references}
    if isinstance(dependent, KubeObject):
        metadata = dependent.metadata.model_copy(update=change)
        return cast(D, dependent.model_copy(update={"metadata": metadata}))
    return cast(D, dependent | {"metadata": dependent.get("metadata", {}) | change})
