"""Templates become objects, the same bytes for the same input.

    asset + context ──▶ Jinja, in a sandbox, in a thread ──▶ YAML ──▶ one object
                               │ asks                            └──▶ nothing at all
                               ▼
                            lookups

A template that asks about the cluster is rendered again with the answers, until it asks
nothing new. No time, no randomness, no environment can be had in one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta

from controller_runtime import Json
from controllers.autopilot.assets import Asset, Catalog
from controllers.autopilot.context import RenderContext
from controllers.autopilot.lookups import Lookup, Resolve, knows_nothing

DEADLINE = timedelta(seconds=5)
"""How long one template may take."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """What came of an asset."""

    object: Json | None
    """A fresh one; `None` if the template says that there is nothing to do here."""

    inputs: frozenset[Lookup] = field(default=frozenset())
    """What it asked of the cluster: render again when one of these changes."""

    unknown: tuple[str, ...] = ()
    """What it asked and could not be told; the object may be another where it is
    known."""


class Renderer:
    """Renders the assets of one catalogue; keeps its templates compiled."""

    def __init__(self, catalog: Catalog, *, deadline: timedelta = DEADLINE) -> None:
        self._catalog = catalog
        self._deadline = deadline

    async def render(
        self, asset: Asset, context: RenderContext, resolve: Resolve = knows_nothing
    ) -> Rendered:
        """Make the object of an asset.

        The object is as the template says, label and all: nothing is added to it.

        Raises:
            RenderError: The template is wrong, undefined values included; takes too
                long; makes too much, no object, or several.
        """
        raise NotImplementedError
