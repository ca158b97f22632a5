"""The platform's kinds, as far as a catalogue touches them, as CRDs.

    <catalogue>/platform.yaml ──▶ PlatformKind ──▶ CustomResourceDefinition

A catalogue describes the kinds that it writes and reads: names, scope, and of the
schema the fields that it sets, with what server-side apply and validation depend on
(defaults, enums, list types). `render --validate` checks objects against that without
a cluster, the lint rules too; a local control plane and the tests install it in place
of CRDs that are megabytes and move.

A schema is written briefly:

    field: boolean               the types string, integer, number, boolean
    field: integer = 5           with a default
    field: A | B                 an enumeration of strings, also with a default
    field: map                   strings by name
    field: any                   an object about which nothing is known
    field: int-or-string
    field: [string]              a list
    field: {a: string}           an object with these fields
    $: {…}                       in an object: schema keywords of the object itself
    field: [string, {…}]         in a list: keywords of the list itself
    field: {$schema: {…}}        a schema as it is
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from controller_runtime import Json
from controllers.autopilot.errors import CatalogError
from controllers.autopilot.loader import CATALOGS

FILE = "platform.yaml"

_SCALARS = ("string", "integer", "number", "boolean")
_PRESERVE = "x-kubernetes-preserve-unknown-fields"


class PlatformVersion(BaseModel):
    """One version of a kind."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    metadata: Mapping[str, Any] = {}
    """Schema keywords of `metadata`."""

    fields: Mapping[str, Any] = {}
    """Top-level fields in the brief notation, `spec` and `status` as a rule."""

    status: bool = True
    """It has the status subresource."""


class PlatformKind(BaseModel):
    """One kind, or one of the ways in which releases of the platform have it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    """`plural.group`."""

    kind: str
    namespaced: bool
    variant: str = ""
    """What tells descriptions of one kind apart; empty is what there is by default."""

    versions: tuple[PlatformVersion, ...] = Field(min_length=1)
    """The first is stored."""


def platform_kinds(file: Path = CATALOGS / "kubevirt" / FILE) -> list[PlatformKind]:
    """Read the description of a platform. Blocks: call it in a thread.

    Raises:
        CatalogError: It cannot be read.
    """
    try:
        content = yaml.load(file.read_text(encoding="utf-8"), yaml.CSafeLoader)
        return [PlatformKind.model_validate(entry) for entry in content["kinds"]]
    except (OSError, yaml.YAMLError, ValidationError, KeyError, TypeError) as error:
        raise CatalogError(
            f"cannot read the platform's kinds in {file}: {error}"
        ) from (error)


def platform_crds(
    variants: Mapping[str, str] | None = None,
    *,
    file: Path = CATALOGS / "kubevirt" / FILE,
) -> Iterator[Json]:
    """Yield a CRD for every kind of a platform. Blocks: call it in a thread.

    Args:
        variants: Name of a CRD → the variant to have of it.
        file: The description.

    Raises:
        CatalogError: There is no such variant, or the file cannot be read.
    """
    kinds = platform_kinds(file)
    wanted = dict(variants or {})
    for kind in kinds:
        if kind.variant == wanted.get(kind.name, ""):
            yield crd_of(kind)
    known = {(kind.name, kind.variant) for kind in kinds}
    for missing in wanted.items() - known:
        raise CatalogError(f"{file} has no variant {missing[1]!r} of {missing[0]}")


def platform_crd(name: str, variant: str = "") -> Json:
    """Return one CRD of the built-in platform. Blocks: call it in a thread.

    Raises:
        CatalogError: There is none of that name and variant.
    """
    for kind in platform_kinds():
        if (kind.name, kind.variant) == (name, variant):
            return crd_of(kind)
    raise CatalogError(f"the platform has no {name} {variant}".rstrip())


def crd_of(kind: PlatformKind) -> Json:
    """Write the CRD of a kind."""
    plural, _, group = kind.name.partition(".")
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": kind.name,
            # Groups under k8s.io are the Kubernetes project's to approve.
            **(_APPROVED if group.endswith(".k8s.io") else {}),
        },
        "spec": {
            "group": group,
            "scope": "Namespaced" if kind.namespaced else "Cluster",
            "names": {
                "kind": kind.kind,
                "listKind": f"{kind.kind}List",
                "plural": plural,
                "singular": kind.kind.lower(),
            },
            "versions": [
                _version(version, stored=index == 0)
                for index, version in enumerate(kind.versions)
            ],
        },
    }


_APPROVED: Json = {"annotations": {"api-approved.kubernetes.io": "unapproved, local"}}


def _version(version: PlatformVersion, *, stored: bool) -> Json:
    properties: Json = {
        "apiVersion": {"type": "string"},
        "kind": {"type": "string"},
        "metadata": {"type": "object", **version.metadata},
        **{name: _schema(short) for name, short in version.fields.items()},
    }
    return {
        "name": version.name,
        "served": True,
        "storage": stored,
        "schema": {"openAPIV3Schema": {"type": "object", "properties": properties}},
        **({"subresources": {"status": {}}} if version.status else {}),
    }


def _schema(short: Any) -> Json:
    if isinstance(short, str):
        return _of_text(short)
    if isinstance(short, list) and short:
        keywords = short[1] if len(short) > 1 else {}
        return {"type": "array", "items": _schema(short[0]), **keywords}
    if not isinstance(short, dict):
        raise CatalogError(f"{short!r} is no type of a field")
    if "$schema" in short:
        return dict(short["$schema"])
    properties = {name: _schema(of) for name, of in short.items() if name != "$"}
    made: Json = {"type": "object", **short.get("$", {})}
    return made | ({"properties": properties} if properties else {})


def _of_text(text: str) -> Json:
    kind, _, default = (part.strip() for part in text.partition("="))
    values = [value.strip() for value in kind.split("|")]
    match kind:
        case "any":
            return {"type": "object", _PRESERVE: True}
        case "map":
            return {"type": "object", "additionalProperties": {"type": "string"}}
        case "int-or-string":
            return {"x-kubernetes-int-or-string": True}
        case _ if kind in _SCALARS:
            schema: Json = {"type": kind}
        case _ if len(values) > 1:
            schema = {"type": "string", "enum": values}
        case _:
            raise CatalogError(f"{text!r} is no type of a field")
    if default:
        schema["default"] = _default(default, schema["type"])
    return schema


def _default(text: str, kind: str) -> object:
    if kind == "boolean" and text in {"true", "false"}:
        return text == "true"
    if kind == "integer" and re.fullmatch(r"-?\d+", text):
        return int(text)
    if kind == "string":
        return text
    raise CatalogError(f"{text!r} is no default of a field of type {kind}")
