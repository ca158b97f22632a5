"""The Helm operations of this process, and how one of them is overtaken.

    reconcile ──run──▶ operation ──▶ done
                           ▲
    event of the object ───┴ notice: a newer generation cancels it

The worker that reconciles an object waits for its operation, for half an hour if need
be, so the queue cannot tell it that the spec has changed meanwhile. The event itself
does. No two operations on one release overlap, whoever wants them: Helm does not see
to that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from controller_runtime import ControllerRuntimeError, Meta, Request
from controllers.release.identity import ReleaseKey


class SupersededError(ControllerRuntimeError):
    """The object has changed since the operation began; look at it again."""


class ReleaseBusyError(ControllerRuntimeError):
    """Another object has an operation on the same release; look again soon."""


@dataclass(frozen=True, slots=True)
class _Running:
    operation: str
    generation: int
    scope: asyncio.Timeout


class Operations:
    """What runs now."""

    def __init__(self) -> None:
        self._running: dict[Request, _Running] = {}
        self._releases: set[ReleaseKey] = set()
        self._newest: dict[Request, int] = {}
        """Newest generation that an event told of."""

    def notice(self, meta: Meta, *, is_gone: bool = False) -> None:
        """Hear of a version of an object; cancel what is done for an older spec."""
        if is_gone:
            self._newest.pop(meta.key, None)
            return
        self._newest[meta.key] = meta.generation
        running = self._running.get(meta.key)
        if running is None or running.scope.expired():
            return  # it may take seconds to cancel, and be heard of meanwhile
        if running.generation < meta.generation:
            running.scope.reschedule(asyncio.get_running_loop().time())

    def require_free(self, release: ReleaseKey) -> None:
        """Do nothing, unless somebody is at a release.

        Raises:
            ReleaseBusyError: Somebody is.
        """
        if release in self._releases:
            raise ReleaseBusyError(f"another operation on release {release} goes on")

    async def run(
        self,
        request: Request,
        release: ReleaseKey,
        *,
        operation: str,
        generation: int,
        work: Callable[[], Awaitable[None]],
    ) -> None:
        """Do `work`, unless it is overtaken.

        Raises:
            SupersededError: The object has a newer generation; work was cancelled, or
                not begun.
            ReleaseBusyError: Somebody is at the release.
        """
        self.require_free(release)
        if self._newest.get(request, generation) > generation:
            raise SupersededError(f"{request} has changed before {operation} began")
        scope = asyncio.timeout(None)
        self._releases.add(release)
        self._running[request] = _Running(operation, generation, scope)
        try:
            async with scope:
                await work()
        except TimeoutError:
            if scope.expired():
                raise SupersededError(f"{request} has changed") from None
            raise
        finally:
            del self._running[request]
            self._releases.discard(release)
