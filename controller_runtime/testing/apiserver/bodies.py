"""What the body and the query of a request say (pure)."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import yaml

from controller_runtime.meta import Json
from controller_runtime.testing.apiserver import patching, status
from controller_runtime.testing.apiserver.deletion import DeleteOptions
from controller_runtime.testing.apiserver.registry import WriteOptions
from controller_runtime.testing.apiserver.resources import Resource
from controller_runtime.testing.apiserver.status import Cause, invalid_options

OBJECT_TYPES = (
    "application/json",
    "application/yaml",
    "application/vnd.kubernetes.protobuf",
)
"""Media types of objects as the server names them; protobuf is not read here."""


def media_type(content_type: str) -> str:
    """Return a Content-Type without its parameters."""
    return content_type.partition(";")[0].strip().lower()


def read_object(resource: Resource, content_type: str, body: bytes) -> Json:
    """Decode the object of a POST or PUT.

    Raises:
        StatusError: 415, not a type of an object; 400, not an object.
    """
    kind = media_type(content_type) or "application/json"
    if kind not in OBJECT_TYPES[:2]:
        raise status.unsupported_media_type(OBJECT_TYPES)
    decoded = _decode(body, kind, f"(must be of type {resource.gvk.kind})")
    if not isinstance(decoded, dict):
        text = (
            f"the object provided is unrecognized (must be of type {resource.gvk.kind})"
        )
        raise status.bad_request(text)
    return decoded


def read_patch(resource: Resource, content_type: str, body: bytes) -> object:
    """Decode a patch of one of the types that the resource takes.

    Raises:
        StatusError: 415, not a type of a patch, or not for this kind; 400, it does
            not parse.
    """
    kind = media_type(content_type)
    accepted = patching.media_types(resource)
    if kind not in accepted:
        if kind == patching.STRATEGIC_MERGE_PATCH:
            raise status.unsupported_media_type(accepted)
        message = "415: Unsupported Media Type"
        raise status.StatusError(415, "UnsupportedMediaType", message, details={})
    try:
        return _parse(body, kind)
    except ValueError as error:
        raise status.bad_request(f"error decoding patch: {error}") from error


def read_write_options(
    kind: str, query: Mapping[str, str], *, user_agent: str, patch_type: str = ""
) -> WriteOptions:
    """Read `CreateOptions`, `UpdateOptions` or `PatchOptions` from a query.

    Raises:
        StatusError: 422, options that there are not, or not for this patch.
    """
    is_apply = patch_type == patching.APPLY_PATCH
    causes = _dry_run_causes(query)
    if is_apply and not query.get("fieldManager"):
        causes.append(Cause.required("fieldManager", "is required for apply patch"))
    if "force" in query and kind == "PatchOptions" and not is_apply:
        detail = "may not be specified for non-apply patch"
        causes.append(Cause.forbidden("force", detail))
    if causes:
        raise invalid_options(kind, causes)
    return WriteOptions(
        manager=query.get("fieldManager") or _manager(user_agent),
        dry_run="dryRun" in query,
        force=query.get("force", "false").lower() in {"true", "1"},
    )


def read_delete_options(
    content_type: str, body: bytes, query: Mapping[str, str]
) -> DeleteOptions:
    """Read `DeleteOptions` from the body of a deletion or, without one, its query.

    Raises:
        StatusError: 415, 400, 422, as for other options and bodies.
    """
    if body:
        return DeleteOptions.read(_delete_body(content_type, body))
    options: Json = {}
    for name in ("propagationPolicy", "dryRun"):
        if name in query:
            options[name] = query[name]
    if "gracePeriodSeconds" in query:
        options["gracePeriodSeconds"] = int(query["gracePeriodSeconds"])
    if causes := _dry_run_causes(query):
        raise invalid_options("DeleteOptions", causes)
    return DeleteOptions.read(options)


def _delete_body(content_type: str, body: bytes) -> Json:
    kind = media_type(content_type) or "application/json"
    if kind not in OBJECT_TYPES[:2]:
        raise status.unsupported_media_type(OBJECT_TYPES)
    decoded = _decode(body, kind, "(must be of type DeleteOptions)")
    return decoded if isinstance(decoded, dict) else {}


def _dry_run_causes(query: Mapping[str, str]) -> list[Cause]:
    value = query.get("dryRun", "All")
    if value == "All":
        return []
    return [Cause.unsupported("dryRun", f'["{value}"]', ("All",))]


def _manager(user_agent: str) -> str:
    """Name the manager after the program, as the server does."""
    return user_agent.partition("/")[0] or "unknown"


def _decode(body: bytes, kind: str, expected: str) -> object:
    try:
        return _parse(body, kind)
    except ValueError as error:
        text = f"the object provided is unrecognized {expected}: {error}"
        raise status.bad_request(text) from error


def _parse(body: bytes, kind: str) -> object:
    """Parse JSON, or YAML where the type says so.

    Raises:
        ValueError: It does not parse.
    """
    try:
        if kind.endswith("yaml"):
            return yaml.safe_load(body)
        return msgspec.json.decode(body)
    except (msgspec.MsgspecError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(str(error)) from error
