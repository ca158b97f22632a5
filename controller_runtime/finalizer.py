"""Finalizers: what has to be done before an object may go.

    live, without the key ──▶ key is added
    deleting, with it     ──▶ finalizer runs ─┬─ done ───────▶ key is removed
                                              ├─ unfinished ─▶ key stays, until later
                                              └─ error ──────▶ key stays, and a retry
    deleting, without it  ──▶ nothing: too late to add one, the server refuses

A registry holds the finalizers of a kind by key. All that apply run, in the order in
which they were registered, whatever becomes of the others; their errors come together
as one. `Finalizers.finalize` decides and runs; `Finalizers.apply` writes as well, so
that a reconciler needs three lines:

    held = await finalizers.apply(client, site)
    if held.is_deleting:
        return held.after
    site = held.obj

A finalizer may be run again after it has ended: the manager may die, or another write
come between, before its key is gone. It has to find its work done then.

As controller-runtime's `pkg/finalizer`, where objects are changed in place; here a
finalizer returns what it changed.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Generic, TypeAlias, TypeVar, cast

from controller_runtime.client import Client
from controller_runtime.errors import (
    ConfigError,
    ControllerRuntimeError,
    NotFoundError,
)
from controller_runtime.meta import Json, KubeObject, RawObject
from controller_runtime.patch import Patch, document, merge_patch_from
from controller_runtime.selectors import is_qualified_name
from controller_runtime.transport import TRANSPORT_ERRORS

D = TypeVar("D", bound=KubeObject | dict[str, Any])


_FAILURES: tuple[type[Exception], ...] = (*TRANSPORT_ERRORS, ControllerRuntimeError)
"""What a write may raise."""


class FinalizersError(ExceptionGroup[Exception], ControllerRuntimeError):
    """Some finalizers failed; each error has a note of which one."""


def finalizers_of(obj: KubeObject | Mapping[str, Any] | RawObject) -> tuple[str, ...]:
    """Return the finalizers that hold an object."""
    match obj:
        case RawObject():
            return obj.meta.finalizers
        case KubeObject():
            return obj.metadata.finalizers
        case _:
            return tuple(_metadata(obj).get("finalizers") or ())


def has_finalizer(obj: KubeObject | Mapping[str, Any] | RawObject, key: str) -> bool:
    """Return whether `key` is among the finalizers of an object."""
    return key in finalizers_of(obj)


def add_finalizer(obj: D, key: str) -> D:
    """Return `obj` with a finalizer; the very same one if it has it already."""
    if has_finalizer(obj, key):
        return obj
    return _with_finalizers(obj, [*finalizers_of(obj), key])


def remove_finalizer(obj: D, key: str) -> D:
    """Return `obj` without a finalizer; the very same one if it does not have it."""
    if not has_finalizer(obj, key):
        return obj
    return _with_finalizers(obj, [it for it in finalizers_of(obj) if it != key])


def is_deleting(obj: KubeObject | Mapping[str, Any] | RawObject) -> bool:
    """Return whether the end of an object was asked for."""
    match obj:
        case RawObject():
            return bool(obj.meta.deletion_timestamp)
        case KubeObject():
            return bool(obj.metadata.deletion_timestamp)
        case _:
            return bool(_metadata(obj).get("deletionTimestamp"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Unfinished(Generic[D]):
    """What a finalizer returns that has more to do and has not failed."""

    obj: D | None = None
    """The object with what there is to tell of it, such as a condition."""

    after: timedelta | None = None
    """When to look again; `None` leaves that to a watch."""


Finalizer: TypeAlias = Callable[[D], Awaitable[D | Unfinished[D] | None]]
"""Undoes what goes with an object that is being deleted, as often as it is asked.

It returns `None` or the object with its changes when all is done, `Unfinished` when
not, and raises when that failed.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finalized(Generic[D]):
    """What finalizers made of an object; nothing of it is written."""

    obj: D
    updated: bool = False
    """Something but the status changed: a finalizer was added or removed, at least."""
    status_updated: bool = False
    """The status changed."""
    after: timedelta | None = None
    """When to look again, if one is not finished: the soonest that was asked for."""
    errors: tuple[Exception, ...] = ()
    """What failed, in the order of registration."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Held(Generic[D]):
    """An object whose finalizers are as they should be."""

    obj: D
    """As the server has it now."""
    is_deleting: bool
    """It is on its way out: do nothing more for it."""
    after: timedelta | None = None
    """When to look again, if a finalizer is not finished."""


class Finalizers(Generic[D]):
    """The finalizers of one kind, by key."""

    def __init__(self, finalizers: Mapping[str, Finalizer[D]] | None = None) -> None:
        """Make a registry.

        Args:
            finalizers: Key → what it stands for.

        Raises:
            ConfigError: See `register`.
        """
        self._finalizers: dict[str, Finalizer[D]] = {}
        for key, finalizer in (finalizers or {}).items():
            self.register(key, finalizer)

    def register(self, key: str, finalizer: Finalizer[D]) -> None:
        """Add a finalizer.

        Args:
            key: What the object carries: `domain/name`, so that nobody else has it.
            finalizer: What it stands for.

        Raises:
            ConfigError: The key is taken, or is none.
        """
        if key in self._finalizers:
            raise ConfigError(f"finalizer {key!r} is registered already")
        if "/" not in key or not is_qualified_name(key):
            raise ConfigError(
                f"cannot register finalizer {key!r}: "
                "a key is a domain, a slash and a name, such as example.com/volume"
            )
        self._finalizers[key] = finalizer

    async def finalize(self, obj: D) -> Finalized[D]:
        """Add what is missing, or run what is due; write nothing, raise nothing.

        Every finalizer gets the object as the one before it left it.
        """
        if not is_deleting(obj):
            held = obj
            for key in self._finalizers:
                held = add_finalizer(held, key)
            return Finalized(obj=held, updated=held is not obj)
        left, errors, pauses = obj, [], []
        for key, finalizer in self._finalizers.items():
            if not has_finalizer(left, key):
                continue
            try:
                answer = await finalizer(left)
            except Exception as error:  # noqa: BLE001 - collected, for all to have a go
                error.add_note(f"raised by finalizer {key!r}")
                errors.append(error)
                continue
            if isinstance(answer, Unfinished):
                left = left if answer.obj is None else answer.obj
                pauses += [] if answer.after is None else [answer.after]
            else:
                left = remove_finalizer(left if answer is None else answer, key)
        before, after = document(obj), document(left)
        return Finalized(
            obj=left,
            updated=_without_status(before) != _without_status(after),
            status_updated=before.get("status") != after.get("status"),
            after=min(pauses, default=None),
            errors=tuple(errors),
        )

    async def apply(self, client: Client, obj: D) -> Held[D]:
        """Add what is missing, or run what is due, and write what came of it.

        The status is written first, since with the last finalizer the object goes.
        Writes are merge patches of what changed, and hold only for the version that was
        read. What succeeded is written also if something else failed.

        Args:
            client: Writes.
            obj: As it was read.

        Raises:
            FinalizersError: Finalizers failed.
            ConflictError: The object has changed since it was read; read it again.
        """
        outcome = await self.finalize(obj)
        failed = f"finalizers of {_place(obj)} failed"
        try:
            written = await _write(client, obj, outcome)
        except _FAILURES as error:
            if outcome.errors:
                raise FinalizersError(failed, [*outcome.errors, error]) from error
            raise
        if outcome.errors:
            raise FinalizersError(failed, outcome.errors)
        return Held(obj=written, is_deleting=is_deleting(obj), after=outcome.after)


async def _write(client: Client, before: D, outcome: Finalized[D]) -> D:
    """Write what changed; return the object as the server has it."""
    old, new = document(before), document(outcome.obj)
    written = before
    try:
        if outcome.status_updated:
            patch = merge_patch_from(
                _status(old, old), _status(new, old), optimistic_lock=True
            )
            written = await _patch(client, before, patch, subresource="status")
        if outcome.updated:
            version = _metadata(document(written))["resourceVersion"]
            patch = merge_patch_from(
                _at(version, _without_status(old)),
                _at(version, _without_status(new)),
                optimistic_lock=True,
            )
            written = await _patch(client, before, patch)
    except NotFoundError:
        if not is_deleting(before):
            raise
        return outcome.obj  # gone, which was the aim
    return written


async def _patch(client: Client, obj: D, patch: Patch, *, subresource: str = "") -> D:
    kind = type(obj) if isinstance(obj, KubeObject) else client.scheme.gvk_of(obj)
    metadata = _metadata(document(obj))
    name, namespace = str(metadata["name"]), str(metadata.get("namespace") or "")
    written = await client.patch(
        kind, name, namespace, patch=patch, subresource=subresource
    )
    return cast(D, written)


def _place(obj: KubeObject | Mapping[str, Any]) -> str:
    fields = document(obj)
    names = [_metadata(fields).get(it) for it in ("namespace", "name")]
    return f"{fields.get('kind')} {'/'.join(filter(None, names))}"


def _metadata(obj: Mapping[str, Any]) -> Mapping[str, Any]:
    return obj.get("metadata") or {}


def _without_status(obj: Mapping[str, Any]) -> Json:
    return {name: value for name, value in obj.items() if name != "status"}


def _status(obj: Mapping[str, Any], versioned: Mapping[str, Any]) -> Json:
    """Return nothing but the status, and the version to lock on."""
    version = _metadata(versioned).get("resourceVersion")
    status = {"status": obj["status"]} if "status" in obj else {}
    return {"metadata": {"resourceVersion": version}, **status}


def _at(version: object, obj: Mapping[str, Any]) -> Json:
    return {**obj, "metadata": {**_metadata(obj), "resourceVersion": version}}


def _with_finalizers(obj: D, finalizers: list[str]) -> D:
    if isinstance(obj, KubeObject):
        change = {"finalizers": tuple(finalizers)}
        metadata = obj.metadata.model_copy(update=change)
        return cast(D, obj.model_copy(update={"metadata": metadata}))
    # The same type again: a part of an object has to stay known as one.
    metadata_ = {**_metadata(obj), "finalizers": finalizers}
    return cast(D, type(obj)({**obj, "metadata": metadata_}))
