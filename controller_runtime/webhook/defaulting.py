"""Mutating webhooks: set what the user left out.

    object as sent ─▶ model or dict ─▶ defaulter ─▶ what it changed ─▶ patch

The patch is about the object as it was sent, and holds what the defaulter changed and
nothing else: fields that the model does not know stay, and a value that the model would
write in another way is left as it is. Go's CustomDefaulter has to drop the removals
that its types cause; here none are made. Nothing is defaulted on DELETE.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol, TypeAlias, TypeVar, overload

from controller_runtime.meta import GroupVersionKind, Json, Kind, KubeObject, kind_of
from controller_runtime.patch import document
from controller_runtime.scheme import Scheme
from controller_runtime.webhook.admission import AdmissionHandler
from controller_runtime.webhook.objects import read_object, refuse_unknown
from controller_runtime.webhook.response import AdmissionResponse, allow, patched
from controller_runtime.webhook.review import AdmissionRequest, Operation

T = TypeVar("T")
K = TypeVar("K", bound=KubeObject)


class Defaulter(Protocol[T]):
    """Sets what an object should say and does not."""

    async def default(self, obj: T, request: AdmissionRequest, /) -> T | None:
        """Return what the object shall be; `None` takes `obj` as it is by then.

        It runs again after other webhooks have changed the object, so its own result
        must satisfy it. Raise `DeniedError` or an `ApiError` to refuse.
        """
        ...


DefaultFunction: TypeAlias = Callable[[T, AdmissionRequest], Awaitable[T | None]]
"""A `Defaulter.default` by itself."""


@overload
def defaulting(
    kind: type[K], defaulter: Defaulter[K] | DefaultFunction[K]
) -> AdmissionHandler: ...
@overload
def defaulting(
    kind: GroupVersionKind, defaulter: Defaulter[Json] | DefaultFunction[Json]
) -> AdmissionHandler: ...


def defaulting(
    kind: Kind, defaulter: Defaulter[Any] | DefaultFunction[Any]
) -> AdmissionHandler:
    """Make a handler of a defaulter, which gets the object as `kind` says."""
    function = defaulter.default if hasattr(defaulter, "default") else defaulter

    async def mutate(request: AdmissionRequest) -> AdmissionResponse:
        refuse_unknown(request)
        if request.operation in {Operation.DELETE, Operation.CONNECT}:
            return allow()
        obj = read_object(kind, request)
        sent = request.object or {}
        before = sent if isinstance(obj, dict) else document(obj)
        returned = await function(obj, request)
        wanted = obj if returned is None else returned
        _check_kind(wanted, kind_of(kind))
        return patched(sent, overlay(sent, before, document(wanted)))

    return mutate


def overlay(sent: Any, before: Any, after: Any) -> Any:
    """Make of `sent` what `after` is to `before`, and leave the rest as it is.

    Args:
        sent: JSON as it came.
        before: The same as a model writes it: it may lack fields, or spell values in
            another way.
        after: `before`, changed.
    """
    if _equal(before, after):
        return sent
    match sent, before, after:
        case dict(), dict(), dict():
            kept = {k: v for k, v in sent.items() if k in after or k not in before}
            changes = {
                key: overlay(sent.get(key), before.get(key), value)
                for key, value in after.items()
                if key not in before or not _equal(before[key], value)
            }
            return {**kept, **changes}
        case list(), list(), list() if len(sent) == len(before):
            return _overlay_items(sent, before, after)
        case _:
            return after


def _overlay_items(sent: list[Any], before: list[Any], after: list[Any]) -> list[Any]:
    if len(before) == len(after):
        return [overlay(*items) for items in zip(sent, before, after, strict=True)]
    left = list(zip(sent, before, strict=True))
    items = []
    for item in after:
        found = next((n for n, (_, was) in enumerate(left) if _equal(was, item)), None)
        items.append(item if found is None else left.pop(found)[0])
    return items


def _equal(one: Any, other: Any) -> bool:
    """Compare JSON as JSON: to Python, 1 is true."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(
            _equal(value, other[key]) for key, value in one.items()
        )
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_equal, one, other))
    return type(one) is type(other) and bool(one == other)


def _check_kind(
    wanted: KubeObject | Mapping[str, object], gvk: GroupVersionKind
) -> None:
    found = Scheme().gvk_of(wanted)
    if found != gvk:
        raise TypeError(f"a defaulter of {gvk} returned a {found}")
