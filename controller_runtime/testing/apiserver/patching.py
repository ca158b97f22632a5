"""What a patch makes of an object: merge, strategic merge and JSON patches.

Server-side apply, the fourth kind, is in `fields`: it is about who owns what.
Every function returns a new object and leaves its arguments alone.
"""

from __future__ import annotations

import copy

import jsonpatch

from controller_runtime.meta import Json
from controller_runtime.testing.apiserver import strategic
from controller_runtime.testing.apiserver.resources import Resource
from controller_runtime.testing.apiserver.status import StatusError, bad_request

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_MERGE_PATCH = "application/strategic-merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"


def media_types(resource: Resource) -> tuple[str, ...]:
    """Return the kinds of patch that a resource takes, in the server's order."""
    strategic_too = (STRATEGIC_MERGE_PATCH,) if resource.built_in else ()
    return (JSON_PATCH, MERGE_PATCH, *strategic_too, APPLY_PATCH)


def patch_object(
    resource: Resource, object_: Json, media_type: str, patch: object
) -> Json:
    """Return `object_` patched.

    Raises:
        StatusError: 400, the patch is not of its type's form; 422, it does not fit
            the object.
    """
    if media_type == JSON_PATCH:
        patched = json_patch(object_, patch)
        if not isinstance(patched, dict):
            raise _does_not_fit()
        return patched
    if not isinstance(patch, dict):
        raise bad_request(
            "error decoding patch: json: cannot unmarshal array into Go value of type "
            "map[string]interface {}"
        )
    if media_type == STRATEGIC_MERGE_PATCH:
        return strategic.merge(object_, patch, resource.merge_keys)
    return merge_patch(object_, patch)


def merge_patch(target: object, patch: Json) -> Json:
    """Merge as RFC 7386 says: null removes, lists are replaced."""
    result: Json = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        elif isinstance(value, dict):
            result[name] = merge_patch(result.get(name), value)
        else:
            result[name] = copy.deepcopy(value)
    return result


def json_patch(object_: Json, patch: object) -> object:
    """Apply the operations of RFC 6902, all or none."""
    if not isinstance(patch, list):
        raise bad_request(
            "error decoding patch: json: cannot unmarshal object into Go value of type "
            "[]handlers.jsonPatchOp"
        )
    try:
        return jsonpatch.apply_patch(object_, patch)
    except (jsonpatch.JsonPatchException, jsonpatch.JsonPointerException) as error:
        raise _does_not_fit() from error


def _does_not_fit() -> StatusError:
    message = "the server rejected our request due to an error in our request"
    return StatusError(422, "Invalid", message, details={})
