"""What a controller is for, owns and watches: the front door of a manager.

    builder.controller(
        manager, Website, reconcile,
        owns=[Deployment],                                  their controller is queued
        watches=[Watch(Secret, mapped(websites_with))],     whatever the handler says
        event_filters=[resource_version_changed()],         before each watch's own
        sources=[channel],                                  taken as they are
        permissions=[Permission(Deployment, ("create", "patch"))],   for its role
        concurrency=4,
    )

Everything that is watched by kind reads the one store that the manager's cache has of
the kind, whether it is named by a model or by its `GroupVersionKind`: predicates and
handlers see metadata alone, so there is no second, metadata-only watch to ask for.
The kinds are declared to the cache here, so that it lists them all while the manager
starts, and a permission that is missing shows at once.

Rules of controller-runtime's `pkg/builder`, held by the signature or checked here:
one kind at most is reconciled, owning needs such a kind, something must be watched,
and requests of another type than `Request` leave no room for either.
"""

from __future__ import annotations

import re
from collections.abc import (
    Awaitable,
    Callable,
    Hashable,
    Iterable,
    Iterator,
    Sequence,
)
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar, overload

from controller_runtime.backoff import Limiter
from controller_runtime.cache import Cache
from controller_runtime.controller import Controller, ControllerOptions
from controller_runtime.discovery import Discovery
from controller_runtime.errors import ConfigError
from controller_runtime.event import Event
from controller_runtime.handler import Handler, for_object, for_owner
from controller_runtime.manager import Manager
from controller_runtime.meta import GroupVersionKind, Json, Kind, KubeObject, kind_of
from controller_runtime.rbac import Permission
from controller_runtime.reconcile import Reconciler, Request, Result, reconciles
from controller_runtime.source import Informer, KindSource, Source

if TYPE_CHECKING:  # imported by those who serve webhooks, and by nobody else
    from controller_runtime.webhook import (
        Defaulter,
        DefaultFunction,
        Hub,
        ValidateFunction,
        Validator,
        WebhookOptions,
    )

R = TypeVar("R", bound=Hashable)
K = TypeVar("K", bound=KubeObject)

Filter: TypeAlias = Callable[[Event], bool]
"""Whether an event matters; a `Predicate` is one."""

Reconcile: TypeAlias = (
    Reconciler[R] | Callable[[R], Awaitable[Result | timedelta | None]]
)
"""What may stand for a reconciler: the thing itself, or a coroutine function."""

_NAME = re.compile(r"[A-Za-z0-9_]+")
"""What the names of metrics allow, so that a controller's may be part of one."""


@dataclass(frozen=True, slots=True)
class Owns:
    """A kind whose objects belong to those that are reconciled."""

    kind: Kind
    """The kind of the dependents."""

    predicates: Sequence[Filter] = ()
    """All must admit an event of theirs."""

    match_every_owner: bool = False
    """Queue every owner of the reconciled kind, not only the controller."""


@dataclass(frozen=True, slots=True)
class Watch(Generic[R]):
    """A kind whose objects have something to do with those that are reconciled."""

    kind: Kind
    """What is watched."""

    handler: Handler[R]
    """What to reconcile for an event."""

    predicates: Sequence[Filter] = ()
    """All must admit an event."""


@overload
def controller(
    manager: Manager,
    kind: Kind,
    reconciler: Reconcile[Request],
    *,
    name: str = ...,
    predicates: Sequence[Filter] = ...,
    owns: Iterable[Kind | Owns] = ...,
    watches: Iterable[Watch[Request]] = ...,
    sources: Iterable[Source[Request]] = ...,
    event_filters: Sequence[Filter] = ...,
    concurrency: int | None = ...,
    options: ControllerOptions | None = ...,
    limiter: Limiter[Request] | None = ...,
    permissions: Iterable[Permission] = ...,
    skip_name_validation: bool = ...,
) -> Controller[Request]: ...
@overload
def controller(
    manager: Manager,
    kind: None,
    reconciler: Reconcile[R],
    *,
    name: str,
    watches: Iterable[Watch[R]] = ...,
    sources: Iterable[Source[R]] = ...,
    event_filters: Sequence[Filter] = ...,
    concurrency: int | None = ...,
    options: ControllerOptions | None = ...,
    limiter: Limiter[R] | None = ...,
    permissions: Iterable[Permission] = ...,
    skip_name_validation: bool = ...,
) -> Controller[R]: ...


def controller(
    manager: Manager,
    kind: Kind | None,
    reconciler: Reconcile[Any],
    *,
    name: str = "",
    predicates: Sequence[Filter] = (),
    owns: Iterable[Kind | Owns] = (),
    watches: Iterable[Watch[Any]] = (),
    sources: Iterable[Source[Any]] = (),
    event_filters: Sequence[Filter] = (),
    concurrency: int | None = None,
    options: ControllerOptions | None = None,
    limiter: Limiter[Any] | None = None,
    permissions: Iterable[Permission] = (),
    skip_name_validation: bool = False,
) -> Controller[Any]:
    """Make a controller and give it to the manager, which starts it with the others.

    Args:
        manager: Has what a controller needs, and runs it.
        kind: Whose objects are reconciled; each event of one queues the object.
            `None` if requests are something else, or only other kinds tell of them.
        reconciler: Has a coroutine `reconcile`, or is a coroutine function itself.
        name: In logs, metrics and `/debug`: letters, digits and `_`, one controller a
            name. By default that of the kind, in lower case.
        predicates: All must admit an event of the reconciled kind.
        owns: Kinds of dependents; their controller, if of `kind`, is queued.
        watches: Other kinds, and what their events mean.
        sources: Anything else that fills the queue. No predicate applies to them.
        event_filters: Come before the predicates of every kind that is watched.
        concurrency: Reconciles at once; beats the one in `options`.
        options: How the controller runs, in all; by default as the manager's options
            say, of which `replace(manager.options.controller, …)` changes some.
        limiter: How long a failed key waits.
        permissions: What it writes, and reads live; `Manager.grants` adds the watches.
        skip_name_validation: Allow a second controller of the name; both then count
            into the same metrics.

    Raises:
        ConfigError: It watches nothing, owns without a kind of its own, or its name
            is missing, taken, or nothing that a metric could be called.
    """
    owned = [_owned(each) for each in owns]
    if kind is None and owned:
        raise ConfigError(
            f"to own {kind_of(owned[0].kind)} a controller must reconcile a kind: "
            "its dependents queue their owners of that kind"
        )
    named = name or (kind_of(kind).kind.lower() if kind is not None else "")
    if not skip_name_validation:
        _check_name(named, {other.name for other in manager.controllers})
    kinds = [
        *([Watch(kind, for_object(), predicates)] if kind is not None else ()),
        *watches,
    ]
    feeds: list[Source[Any]] = [
        *_feeds(manager.cache, kinds, event_filters),
        *_owned_feeds(manager, kind, owned, event_filters),
        *sources,
    ]
    if not feeds:
        raise ConfigError(
            f"controller {named} watches nothing, so it would never do anything: "
            "give it a kind, watches or sources"
        )
    for watched in (*kinds, *owned):
        manager.cache.declare(watched.kind)
    options = options or _usual_options(manager, kind)
    if concurrency is not None:
        options = replace(options, max_concurrent_reconciles=concurrency)
    made: Controller[Any] = Controller(
        named,
        _reconciler(reconciler),
        sources=feeds,
        options=options,
        kind=kind,
        limiter=limiter,
        metrics=manager.metrics,
        randomness=manager.random,
        tracer=manager.tracer,
        permissions=permissions,
    )
    manager.add(made)
    return made


@overload
def webhook(
    manager: Manager,
    kind: type[K],
    *,
    defaulter: Defaulter[K] | DefaultFunction[K] | None = ...,
    validator: Validator[K] | ValidateFunction[K] | None = ...,
    converter: Hub[Any] | None = ...,
    mutate_path: str = ...,
    validate_path: str = ...,
    mutating: WebhookOptions | None = ...,
    validating: WebhookOptions | None = ...,
) -> None: ...
@overload
def webhook(
    manager: Manager,
    kind: GroupVersionKind,
    *,
    defaulter: Defaulter[Json] | DefaultFunction[Json] | None = ...,
    validator: Validator[Json] | ValidateFunction[Json] | None = ...,
    converter: Hub[Any] | None = ...,
    mutate_path: str = ...,
    validate_path: str = ...,
    mutating: WebhookOptions | None = ...,
    validating: WebhookOptions | None = ...,
) -> None: ...


def webhook(
    manager: Manager,
    kind: Kind,
    *,
    defaulter: Defaulter[Any] | DefaultFunction[Any] | None = None,
    validator: Validator[Any] | ValidateFunction[Any] | None = None,
    converter: Hub[Any] | None = None,
    mutate_path: str = "",
    validate_path: str = "",
    mutating: WebhookOptions | None = None,
    validating: WebhookOptions | None = None,
) -> None:
    """Serve the webhooks of a kind on the manager's webhook port.

    Args:
        manager: Serves them; the API server is told of them with
            `webhook_configurations` and `crd_conversion`.
        kind: What they are about; its model is what a defaulter and a validator get,
            plain JSON if it is a `GroupVersionKind`.
        defaulter: Has a coroutine `default`, or is a coroutine function itself.
        validator: Has `validate_create`, `validate_update` and `validate_delete`, or
            is one coroutine function for the three.
        converter: The hub of the kind's versions, served at `/convert`.
        mutate_path: By default `/mutate-<group, dots as dashes>-<version>-<kind>`.
        validate_path: By default the same with `/validate-`.
        mutating: Which requests the defaulter gets.
        validating: Which requests the validator gets.

    Raises:
        AlreadyStartedError: The manager has started.
        ConfigError: There is nothing to serve, a path is taken or no path, or a
            version of the kind that has a model cannot be converted.
    """
    if defaulter is None and validator is None and converter is None:
        raise ConfigError(
            f"the webhooks of {kind_of(kind)} would do nothing: give a defaulter, a "
            "validator or a converter"
        )
    from controller_runtime import webhook as package  # noqa: PLC0415 - costs memory

    if converter is not None:
        _check_converter(manager, kind_of(kind), converter)
        manager.webhooks.convert(converter)
    if defaulter is not None:
        manager.webhooks.mutate(
            kind,
            package.defaulting(kind, defaulter),
            path=mutate_path,
            options=mutating,
        )
    if validator is not None:
        manager.webhooks.validate(
            kind,
            package.validating(kind, validator),
            path=validate_path,
            options=validating,
        )


def _check_converter(
    manager: Manager, gvk: GroupVersionKind, converter: Hub[Any]
) -> None:
    """Raise unless all versions that the manager knows of a kind can be converted."""
    if (gvk.group, gvk.kind) != (converter.gvk.group, converter.gvk.kind):
        raise ConfigError(f"the hub of {converter.gvk} converts no {gvk}")
    converter.check({gvk.version, *manager.scheme.versions(gvk.group, gvk.kind)})


class _Owners:
    """The handler of owned objects, which first learns where their owners live.

    Whether the owner of an object is to be found in its namespace only the server
    knows. It is asked by the source that starts, which waits for a kind that is not
    served yet.
    """

    def __init__(
        self, cache: Cache, discovery: Discovery, owner: Kind, *, is_controller: bool
    ) -> None:
        self._cache = cache
        self._discovery = discovery
        self._owner = kind_of(owner)
        self._is_controller = is_controller
        self._handler: Handler[Request] = for_owner(owner, is_controller=is_controller)

    async def informer(self, kind: Kind, /) -> Informer:
        resource = await self._discovery.resource(self._owner)
        self._handler = for_owner(
            self._owner,
            is_controller=self._is_controller,
            namespaced=resource.namespaced,
        )
        return await self._cache.informer(kind)

    def requests(self, event: Event, /) -> Iterable[Request]:
        return self._handler.requests(event)


def _owned(given: Kind | Owns) -> Owns:
    return given if isinstance(given, Owns) else Owns(given)


def _feeds(
    cache: Cache, watches: Iterable[Watch[Any]], filters: Sequence[Filter]
) -> Iterator[Source[Any]]:
    for watch in watches:
        yield KindSource(
            cache, watch.kind, watch.handler, [*filters, *watch.predicates]
        )


def _owned_feeds(
    manager: Manager,
    owner: Kind | None,
    owned: Iterable[Owns],
    filters: Sequence[Filter],
) -> Iterator[Source[Request]]:
    if owner is None:
        return
    for each in owned:
        owners = _Owners(
            manager.cache,
            manager.discovery,
            owner,
            is_controller=not each.match_every_owner,
        )
        yield KindSource(owners, each.kind, owners, [*filters, *each.predicates])


def _reconciler(given: Reconcile[R]) -> Reconciler[R]:
    return given if hasattr(given, "reconcile") else reconciles(given)


def _usual_options(manager: Manager, kind: Kind | None) -> ControllerOptions:
    usual, limits = manager.options.controller, manager.options.group_kind_concurrency
    if kind is None:
        return usual
    group, _, name = kind_of(kind)
    limit = limits.get(f"{name}.{group}" if group else name)
    return usual if limit is None else replace(usual, max_concurrent_reconciles=limit)


def _check_name(name: str, taken: set[str]) -> None:
    if not name:
        raise ConfigError("a controller that reconciles no kind needs a name")
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"{name!r} is no name of a controller: it becomes a label of metrics and "
            "may have letters, digits and _"
        )
    if name in taken:
        raise ConfigError(
            f"there is a controller {name} already, and both would count into the "
            "same metrics; give one of them another name"
        )
