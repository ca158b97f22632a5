"""The steps that change something: one class a file, one Protocol.

    Step ─▶ Action ─run─▶ done, or the error of whoever refused

An action does one thing once. What led to it, what is written about it, and what
follows from its failure are the controller's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from controllers.release.helm.engine import Order
from controllers.release.records import Revision


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What an action is about."""

    order: Order
    newest: Revision | None = None
    """The newest record of the release, if it has any."""
    revision: int = 0
    """Which revision to go back to."""
    labels: Mapping[str, str]
    """That make a record ours."""
    reason: str = ""
    """Why, for the record."""


class Action(Protocol):
    """One thing that moves a release."""

    async def run(self, work: Work, /) -> None:
        """Do it.

        Raises:
            EngineError: Helm did not.
            ApiError: The API server did not.
        """
        ...
