"""Models of one kind → its CustomResourceDefinition."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from controller_runtime.errors import SchemaError
from controller_runtime.meta import Json, KubeObject
from controller_runtime.resources import resource_of
from controller_runtime.schema.keys import INT_OR_STRING, PRESERVE, SCALARS
from controller_runtime.schema.models import json_schema_of
from controller_runtime.schema.options import (
    KIND_OPTIONS,
    CrdOptions,
    PrinterColumn,
    WebhookConversion,
)
from controller_runtime.schema.structural import structural

_STEP = re.compile(r"\.([A-Za-z0-9_-]+)|\[[^\]]*\]")


def crd_for(*versions: type[KubeObject], description_limit: int | None = None) -> Json:
    """Return the CRD of a kind.

    Args:
        versions: Its models, each with `crd: ClassVar = CrdOptions(…)`.
        description_limit: Longest description, in characters; 0 leaves them out.

    Raises:
        SchemaError: A model or its options make no CRD; the text says why.
    """
    stored = _stored(versions)
    kind, options = stored.gvk.kind, options_of(stored)
    group, plural, namespaced = resource_of(stored)
    names: Json = {
        "kind": kind,
        "listKind": options.list_kind or f"{kind}List",
        "plural": plural,
        "singular": options.singular or kind.lower(),
    }
    if options.short_names:
        names["shortNames"] = list(options.short_names)
    if options.categories:
        names["categories"] = list(options.categories)
    scope = "Namespaced" if namespaced else "Cluster"
    spec: Json = {"group": group, "scope": scope, "names": names}
    if options.conversion is not None:
        spec["conversion"] = _conversion(options.conversion)
    spec["versions"] = [_version(it, description_limit) for it in versions]
    metadata: Json = {"name": f"{plural}.{group}"}
    if options.annotations:
        metadata["annotations"] = dict(options.annotations)
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": metadata,
        "spec": spec,
    }


def crds_for(
    models: Iterable[type[KubeObject]], *, description_limit: int | None = None
) -> list[Json]:
    """Return the CRDs of many models, ordered by name; versions of a kind make one."""
    kinds: dict[tuple[str, str], list[type[KubeObject]]] = {}
    for model in models:
        kinds.setdefault((model.gvk.group, model.gvk.kind), []).append(model)
    made = [
        crd_for(*them, description_limit=description_limit) for them in kinds.values()
    ]
    return sorted(made, key=lambda crd: str(crd["metadata"]["name"]))


def options_of(model: type[KubeObject]) -> CrdOptions:
    """Return what a model says about its CRD.

    Raises:
        SchemaError: Nothing.
    """
    options = getattr(model, "crd", None)
    if not isinstance(options, CrdOptions):
        raise SchemaError(
            f"{model.__name__} does not say that it is ours: give it "
            "`crd: ClassVar = CrdOptions()`"
        )
    return options


def _stored(versions: Sequence[type[KubeObject]]) -> type[KubeObject]:
    stored = [model for model in versions if options_of(model).storage]
    names = ", ".join(str(model.gvk) for model in versions)
    if len(stored) != 1:
        raise SchemaError(
            f"{names}: exactly one version is stored; give the others "
            "`CrdOptions(storage=False)`"
        )
    if len({(model.gvk.group, model.gvk.kind) for model in versions}) > 1:
        raise SchemaError(f"{names}: these are several kinds; a CRD has one")
    if len({model.gvk for model in versions}) < len(versions):
        raise SchemaError(f"{names}: a version has two models; a CRD takes one")
    if len({resource_of(model) for model in versions}) > 1:
        raise SchemaError(f"{names}: plural and scope are the same in all versions")
    wanted, silent = options_of(stored[0]), CrdOptions()
    for model in versions:
        for option in KIND_OPTIONS:
            said = getattr(options_of(model), option)
            if said not in (getattr(wanted, option), getattr(silent, option)):
                raise SchemaError(
                    f"{model.__name__}: {option} is about the kind, and the stored "
                    f"version {stored[0].__name__} says something else; say it there"
                )
    return stored[0]


def _conversion(conversion: WebhookConversion) -> Json:
    service = {
        "name": conversion.service,
        "namespace": conversion.namespace,
        "path": conversion.path,
        "port": conversion.port,
    }
    return {
        "strategy": "Webhook",
        "webhook": {
            "conversionReviewVersions": ["v1"],
            "clientConfig": {"service": service},
        },
    }


def _version(model: type[KubeObject], description_limit: int | None) -> Json:
    options, name = options_of(model), model.__name__
    schema = structural(
        json_schema_of(model), name=name, description_limit=description_limit
    )
    version: Json = {
        "name": model.gvk.version,
        "served": options.served,
        "storage": options.storage,
    }
    if options.deprecated or options.deprecation_warning:
        version["deprecated"] = True
    if options.deprecation_warning:
        version["deprecationWarning"] = options.deprecation_warning
    if options.printer_columns:
        version["additionalPrinterColumns"] = [
            _column(schema, column, name) for column in options.printer_columns
        ]
    if options.selectable_fields:
        version["selectableFields"] = [
            _selectable(schema, path, name) for path in options.selectable_fields
        ]
    if subresources := _subresources(schema, options, name):
        version["subresources"] = subresources
    version["schema"] = {"openAPIV3Schema": schema}
    return version


def _subresources(schema: Json, options: CrdOptions, name: str) -> Json:
    """A status is always a subresource: who writes it cannot change the spec by it."""
    found: Json = {}
    if "status" in schema.get("properties", {}):
        found["status"] = {}
    if options.scale is not None:
        paths = {
            "specReplicasPath": options.scale.spec_replicas_path,
            "statusReplicasPath": options.scale.status_replicas_path,
            "labelSelectorPath": options.scale.label_selector_path,
        }
        found["scale"] = {key: path for key, path in paths.items() if path}
        for key, path in found["scale"].items():
            schema_at(schema, path, f"{name}: {key} of the scale subresource")
    return found


def _column(schema: Json, column: PrinterColumn, name: str) -> Json:
    who = f"{name}: the printer column {column.name!r}"
    at = schema_at(schema, column.path, who)
    kind = column.type or _column_type(at, column, who)
    found: Json = {"name": column.name, "type": kind, "jsonPath": column.path}
    if column.description:
        found["description"] = column.description
    if column.format:
        found["format"] = column.format
    if column.priority:
        found["priority"] = column.priority
    return found


def _column_type(at: Json, column: PrinterColumn, who: str) -> str:
    if "[" in column.path or INT_OR_STRING in at:
        return "string"  # several values: the server prints no list of numbers
    kind = at.get("type")
    if kind not in SCALARS:
        raise SchemaError(
            f"{who}: {column.path} is {kind or 'anything'}; name a scalar in it, or "
            "give the column a type"
        )
    return "date" if at.get("format") in {"date-time", "date"} else str(kind)


def _selectable(schema: Json, path: str, name: str) -> Json:
    who = f"{name}: the selectable field"
    at = schema_at(schema, path, who)
    if at.get("type") not in {"string", "integer", "boolean"} or "[" in path:
        raise SchemaError(f"{who}: {path} must be a string, an integer or a boolean")
    return {"jsonPath": path}


def schema_at(schema: Json, path: str, who: str) -> Json:
    """Return the schema at a JSON path; of what no schema describes, an empty one.

    Raises:
        SchemaError: There is nothing at that path.
    """
    at: Json = schema
    if path.startswith((".metadata.", ".kind", ".apiVersion")):
        return {}
    for field in _steps(path, who):
        if field is None:
            inner: Any = at.get("items", at.get("additionalProperties"))
        else:
            inner = at.get("properties", {}).get(field, at.get("additionalProperties"))
        if inner is None and at.get(PRESERVE):
            return {}
        if inner is None:
            raise SchemaError(f"{who}: there is no {path} in the schema")
        at = inner
    return at


def _steps(path: str, who: str) -> Iterator[str | None]:
    """Yield the fields of a path, and None for what is in brackets."""
    position = 0
    while position < len(path):
        step = _STEP.match(path, position)
        if step is None:
            raise SchemaError(f"{who}: {path!r} is no JSON path such as .spec.image")
        position = step.end()
        yield step[1]
