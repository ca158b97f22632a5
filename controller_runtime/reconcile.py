"""The contract between the framework and the code that does the work."""

from __future__ import annotations

from collections.abc import Hashable
from datetime import timedelta
from typing import NamedTuple, Protocol, TypeAlias, TypeVar

from controller_runtime.meta import NamespacedName

R_contra = TypeVar("R_contra", bound=Hashable, contravariant=True)


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
