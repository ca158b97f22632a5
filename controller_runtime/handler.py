"""What to reconcile when something happened: event → requests.

    for_object()         the object itself
    for_owner(kind)      the owner of that kind
    mapped(function)     whatever the function says

Handlers are pure: the source that asks them fills the queue. An update is about two
versions of an object, and both have a say, so that an owner which lost a dependent
hears of it as well as the one that won it. Nobody is named twice. Semantics:
controller-runtime's `pkg/handler`.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from controller_runtime.event import Event, Updated
from controller_runtime.meta import (
    GroupVersionKind,
    Kind,
    Meta,
    NamespacedName,
    OwnerReference,
    RawObject,
    kind_of,
)
from controller_runtime.reconcile import Request

R = TypeVar("R", bound=Hashable)
R_co = TypeVar("R_co", bound=Hashable, covariant=True)


class Handler(Protocol[R_co]):
    """Turns events into requests."""

    def requests(self, event: Event, /) -> Iterable[R_co]:
        """Return what to reconcile, each request once."""
        ...


def for_object() -> Handler[Request]:
    """Reconcile the object that the event is about."""
    return _ForObject()


def for_owner(
    kind: Kind, *, is_controller: bool = True, namespaced: bool = True
) -> Handler[Request]:
    """Reconcile the owners of the object that are of `kind`, in whatever version.

    Args:
        kind: The kind of the owner.
        is_controller: Only the owner that is the controller; else all of that kind.
        namespaced: The owner lives in the namespace of its dependents; `False` if
            its kind is cluster-scoped.
    """
    return _ForOwner(kind_of(kind), is_controller, namespaced)


def mapped(function: Callable[[RawObject], Iterable[R]]) -> Handler[R]:
    """Reconcile what `function` makes of the object, of both versions in an update."""
    return _Mapped(function)


class _ForObject:
    def requests(self, event: Event, /) -> Iterable[Request]:
        return (event.object.key,)


@dataclass(frozen=True, slots=True)
class _ForOwner:
    kind: GroupVersionKind
    is_controller: bool
    namespaced: bool

    def requests(self, event: Event, /) -> Iterable[Request]:
        owners: dict[Request, None] = {}
        for obj in _versions(event):
            owners.update(dict.fromkeys(self._owners(obj.meta)))
        return owners

    def _owners(self, meta: Meta) -> Iterator[Request]:
        namespace = meta.namespace if self.namespaced else ""
        for reference in meta.owner_references:
            if self._is_meant_by(reference):
                yield NamespacedName(namespace, reference.name)

    def _is_meant_by(self, reference: OwnerReference) -> bool:
        if reference.kind != self.kind.kind:
            return False
        if self.is_controller and not reference.controller:
            return False
        return reference.api_version.rpartition("/")[0] == self.kind.group


@dataclass(frozen=True, slots=True)
class _Mapped(Generic[R]):
    function: Callable[[RawObject], Iterable[R]]

    def requests(self, event: Event, /) -> Iterable[R]:
        return dict.fromkeys(
            request for obj in _versions(event) for request in self.function(obj)
        )


def _versions(event: Event) -> tuple[RawObject, ...]:
    return (event.old, event.object) if isinstance(event, Updated) else (event.object,)
