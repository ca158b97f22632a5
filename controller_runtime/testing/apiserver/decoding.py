"""What a Go struct would not decode: the maps of strings of the built-in kinds.

The real server decodes whole objects into structs. This one keeps JSON, and looks
only at what a controller gets wrong in practice: a number where text belongs.
"""

from __future__ import annotations

import base64
import binascii

from controller_runtime.meta import Json
from controller_runtime.testing.apiserver.resources import Resource
from controller_runtime.testing.apiserver.status import StatusError, bad_request

_TEXT = {"ConfigMap": ("data",), "Secret": ("data", "stringData")}
_BASE64 = {"ConfigMap": ("binaryData",), "Secret": ("data",)}


def check(resource: Resource, object_: Json) -> None:
    """Refuse labels, annotations and data that are not text.

    Raises:
        StatusError: 400, as for any object that does not decode.
    """
    metadata = object_.get("metadata") or {}
    for name in ("labels", "annotations"):
        _check_text(resource, f"ObjectMeta.metadata.{name}", metadata.get(name))
    if not resource.built_in:
        return
    kind = resource.gvk.kind
    for name in _TEXT.get(kind, ()):
        _check_text(resource, f"{kind}.{name}", object_.get(name))
    for name in _BASE64.get(kind, ()):
        _check_base64(resource, object_.get(name))


def _check_text(resource: Resource, field: str, values: object) -> None:
    if not isinstance(values, dict):
        return
    for value in values.values():
        if not isinstance(value, str | None):
            raise _undecodable(
                resource,
                f"json: cannot unmarshal {_go_name(value)} into Go struct field "
                f"{field} of type string",
            )


def _check_base64(resource: Resource, values: object) -> None:
    if not isinstance(values, dict):
        return
    for value in values.values():
        try:
            base64.b64decode(value or "", validate=True)
        except (binascii.Error, TypeError) as error:
            text = "illegal base64 data at input byte 0"
            raise _undecodable(resource, text) from error


def _go_name(value: object) -> str:
    match value:
        case bool():
            return "bool"
        case int() | float():
            return "number"
        case list():
            return "array"
        case _:
            return "object"


def _undecodable(resource: Resource, why: str) -> StatusError:
    kind, version = resource.gvk.kind, resource.gvk.version
    return bad_request(
        f'{kind} in version "{version}" cannot be handled as a {kind}: {why}'
    )
