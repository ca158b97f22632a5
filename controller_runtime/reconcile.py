"""The contract between the framework and the code that does the work.

Three ways to say it, from the plainest:

    async def reconcile(widget: Widget)         `reconciles_objects(client, Widget, f)`
    async def reconcile(request: Request)       `reconciles(f)`
    class with `reconcile(request)`             as it is
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from datetime import timedelta
from typing import Generic, NamedTuple, Protocol, TypeAlias, TypeVar

from controller_runtime.errors import NotFoundError
from controller_runtime.meta import KubeObject, NamespacedName

R = TypeVar("R", bound=Hashable)
R_contra = TypeVar("R_contra", bound=Hashable, contravariant=True)
T = TypeVar("T", bound=KubeObject)


Request: TypeAlias = NamespacedName
"""Which object to reconcile. It never says what happened to it."""


class Result(NamedTuple):
    """What to do with the request once it is reconciled."""

    requeue_after: timedelta | None = None
    """Look again after this long; `None` waits for the next event."""

    priority: int | None = None
    """Priority of that next look; `None` keeps the one it had."""


DONE = Result()
"""Nothing more to do until something changes."""


class Reconciler(Protocol[R_contra]):
    """Drives one object towards its spec."""

    async def reconcile(self, request: R_contra, /) -> Result | timedelta | None:
        """Bring the world in line with the object named by `request`.

        Called with one request per key at a time. It must be safe to call again
        at any moment, and with a key whose object is gone. `None` means done, a
        `timedelta` is short for `Result(requeue_after=…)`.

        Raises:
            TerminalError: Retrying cannot help; the request is dropped.
            Exception: Anything else is retried with backoff.
        """
        ...


class Reader(Protocol):
    """Finds objects: a client, or a cache with the manners of one."""

    async def get(self, kind: type[T], name: str, namespace: str = "", /) -> T:
        """Return an object.

        Raises:
            NotFoundError: It does not exist.
        """
        ...


def reconciles(
    function: Callable[[R], Awaitable[Result | timedelta | None]],
) -> Reconciler[R]:
    """Make a reconciler of a coroutine function, which has nothing but requests."""
    return _Function(function)


def reconciles_objects(
    reader: Reader,
    kind: type[T],
    function: Callable[[T], Awaitable[Result | timedelta | None]],
) -> Reconciler[Request]:
    """Make a reconciler of a coroutine function that is given the object itself.

    An object that is gone needs nothing, so the function is not called for it: what
    has to be undone belongs under a finalizer. Only the first read is forgiven; a
    `NotFoundError` of the function's own is a failure like any other.

    Args:
        reader: Where the object is read.
        kind: The kind that the requests name.
        function: Brings the world in line with one object.
    """
    return _ObjectFunction(reader, kind, function)


@dataclass(frozen=True, slots=True)
class _Function(Generic[R]):
    function: Callable[[R], Awaitable[Result | timedelta | None]]

    async def reconcile(self, request: R, /) -> Result | timedelta | None:
        return await self.function(request)


@dataclass(frozen=True, slots=True)
class _ObjectFunction(Generic[T]):
    reader: Reader
    kind: type[T]
    function: Callable[[T], Awaitable[Result | timedelta | None]]

    async def reconcile(self, request: Request, /) -> Result | timedelta | None:
        try:
            obj = await self.reader.get(self.kind, request.name, request.namespace)
        except NotFoundError:
            return None
        return await self.function(obj)
