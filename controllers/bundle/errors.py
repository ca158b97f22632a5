"""Why a pass over a bundle ends early: what its conditions say, and when it goes on."""

from __future__ import annotations

from datetime import timedelta

from controller_runtime import ControllerRuntimeError


class BlockedError(ControllerRuntimeError):
    """Nothing more can be done for a bundle now; its status is told why.

    The text is for its author: which object and field, and what to do.
    """

    def __init__(
        self,
        message: str,
        *,
        reason: str,
        condition: str = "",
        is_stalled: bool = False,
        retry_after: timedelta | None = None,
    ) -> None:
        super().__init__(message)
        self.reason = reason
        """One CamelCase word."""
        self.condition = condition
        """Type of the condition that is False for it; empty if none but `Ready`."""
        self.is_stalled = is_stalled
        """Whether it takes a human, or another spec."""
        self.retry_after = retry_after
        """When to look again, if nothing happens before."""
