"""What can be wrong with a catalogue or with what is made of it.

    AutopilotError
    ├── CatalogError     the catalogue cannot be used; its author has to change it
    ├── ConditionError   a condition of an asset has no answer on this source object
    └── RenderError      a template did not become an object

Texts name the file or asset, what is wrong with it, and what would be right.
"""

from __future__ import annotations

from controller_runtime import ControllerRuntimeError


class AutopilotError(ControllerRuntimeError):
    """Base of what goes wrong in this controller."""


class CatalogError(AutopilotError):
    """The catalogue cannot be used; the text names the file and the remedy."""


class ConditionError(AutopilotError):
    """A condition cannot be evaluated; the asset is skipped, not judged."""


class RenderError(AutopilotError):
    """A template failed, or what it made is no object; nothing must be applied."""
