"""pydantic models → CustomResourceDefinitions, their YAML and their documentation.

    model ──models──▶ JSON schema ──structural──▶ structural schema ┐
    CrdOptions ────────────────────────────────────────────────────┴─crd──▶ CRD
                                     CRD ──files──▶ YAML, ──reference──▶ Markdown

    class WebsiteSpec(ApiModel):
        image: Annotated[str, Field(min_length=1)]
        replicas: Annotated[int, Field(ge=0)] = 1

    class Website(KubeObject):
        gvk: ClassVar = GroupVersionKind("example.com", "v1", "Website")
        crd: ClassVar = schema.CrdOptions(short_names=("web",))

        spec: WebsiteSpec

    $ python -m controller_runtime.schema website --output crds

Whatever the API server would refuse is refused here if it can be known, with the name
of the field and what to do (`SchemaError`). Every trait with its marker: docs/crds.md.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from controller_runtime.schema.markers import (
    Default,
    EmbeddedResource,
    Format,
    ListAtomic,
    ListMap,
    ListSet,
    MapAtomic,
    Marker,
    NoDefault,
    Nullable,
    Open,
    PreserveUnknownFields,
    ValidationRule,
    marked,
)
from controller_runtime.schema.options import (
    AGE,
    CrdOptions,
    PrinterColumn,
    Scale,
    WebhookConversion,
)
from controller_runtime.schema.rules import (
    at_least_one_of,
    at_most_one_of,
    discriminated_by,
    exactly_one_of,
    immutable,
)

if TYPE_CHECKING:
    from controller_runtime.schema.crd import crd_for, crds_for
    from controller_runtime.schema.files import (
        drift,
        models_in,
        render,
        render_reference,
        write,
    )
    from controller_runtime.schema.reference import reference_of
    from controller_runtime.schema.validation import problems

__all__ = [
    "AGE",
    "CrdOptions",
    "Default",
    "EmbeddedResource",
    "Format",
    "ListAtomic",
    "ListMap",
    "ListSet",
    "MapAtomic",
    "Marker",
    "NoDefault",
    "Nullable",
    "Open",
    "PreserveUnknownFields",
    "PrinterColumn",
    "Scale",
    "ValidationRule",
    "WebhookConversion",
    "at_least_one_of",
    "at_most_one_of",
    "crd_for",
    "crds_for",
    "discriminated_by",
    "drift",
    "exactly_one_of",
    "immutable",
    "marked",
    "models_in",
    "problems",
    "reference_of",
    "render",
    "render_reference",
    "write",
]

_TOOLS = {
    "crd_for": "crd",
    "crds_for": "crd",
    "drift": "files",
    "models_in": "files",
    "problems": "validation",
    "reference_of": "reference",
    "render": "files",
    "render_reference": "files",
    "write": "files",
}
"""What makes CRDs of models, and its module: imported when it is asked for, since
nothing that runs needs it."""


def __getattr__(name: str) -> object:
    if name not in _TOOLS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_TOOLS[name]}"), name)
