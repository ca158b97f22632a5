"""The rules of writing, one by one (pure): what is refused, kept, or counted.

They are those of apiserver `registry/rest` and `registry/generic/registry/store.go`;
`registry` says in which order they apply.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import NamedTuple

from controller_runtime.meta import Json
from controller_runtime.testing.apiserver import decoding, refusals, status
from controller_runtime.testing.apiserver.resources import Resource
from controller_runtime.testing.apiserver.storage import Key
from controller_runtime.testing.apiserver.validation import (
    metadata_causes,
    update_causes,
)


class Place(NamedTuple):
    """Where a request is about."""

    resource: Resource
    namespace: str
    name: str = ""
    subresource: str = ""

    @property
    def key(self) -> Key:
        """Where the storage has it."""
        return Key(self.resource.collection, self.namespace, self.name)


SYSTEM_FIELDS = (
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "generation",
    "managedFields",
)
"""Metadata that only the server writes, beside uid and resourceVersion."""


def clean(resource: Resource, body: Json) -> Json:
    """Return a copy, without what a Go struct does not keep: nulls, empty lists."""
    decoding.check(resource, body)
    copied = copy.deepcopy(body)
    if resource.built_in:
        _drop_absent(copied)
    return copied


def _drop_absent(value: object) -> None:
    if isinstance(value, dict):
        for name, child in list(value.items()):
            if child is None or child == []:
                del value[name]
            else:
                _drop_absent(child)
    elif isinstance(value, list):
        for child in value:
            _drop_absent(child)


def drop_empty(metadata: Json) -> None:
    """Drop the metadata that is the same as none."""
    for name in ("labels", "annotations", "finalizers", "ownerReferences"):
        if not metadata.get(name):
            metadata.pop(name, None)


def placed(place: Place, object_: Json) -> Json:
    """Fill in kind and namespace from the path, or refuse what contradicts it.

    Returns:
        The metadata.
    """
    resource = place.resource
    metadata: Json = object_.setdefault("metadata", {})
    _check_kind(resource, object_, metadata.get("name", ""))
    if not resource.namespaced:
        metadata.pop("namespace", None)
    elif metadata.setdefault("namespace", place.namespace) != place.namespace:
        raise status.bad_request(
            "the namespace of the provided object does not match the namespace sent "
            "on the request"
        )
    return metadata


def _check_kind(resource: Resource, object_: Json, name: str) -> None:
    gvk = resource.gvk
    if resource.built_in:
        object_.setdefault("apiVersion", gvk.api_version)
        object_.setdefault("kind", gvk.kind)
    version, kind = object_.get("apiVersion", ""), object_.get("kind", "")
    if (version, kind) == (gvk.api_version, gvk.kind):
        return
    if resource.built_in:
        raise status.bad_request(
            f'{kind} in version "{version.rpartition("/")[2]}" cannot be handled as a '
            f"{gvk.kind}: no such conversion"
        )
    if not kind:
        raise status.bad_request(
            f"the object provided is unrecognized (must be of type {gvk.kind}): "
            "Object 'Kind' is missing"
        )
    if version != gvk.api_version:
        raise status.bad_request(
            f"the API version in the data ({version}) does not match the expected API "
            f"version ({gvk.api_version})"
        )
    cause = status.Cause.invalid("kind", kind, f"must be {gvk.kind}")
    other = replace(resource, gvk=gvk._replace(kind=kind))
    raise refusals.invalid(other, name, [cause])


def check_config(place: Place, config: Json) -> None:
    """Refuse what server-side apply cannot take."""
    gvk = place.resource.gvk
    if (config.get("apiVersion"), config.get("kind")) != (gvk.api_version, gvk.kind):
        named = f"{config.get('apiVersion', '/')}, Kind={config.get('kind', '')}"
        raise status.bad_request(f"invalid object type: {named}")
    metadata = config.setdefault("metadata", {})
    if metadata.get("managedFields"):
        raise status.bad_request("metadata.managedFields must be nil")
    _check_name(place, metadata.setdefault("name", place.name))


def _check_name(place: Place, name: str) -> None:
    if name != place.name:
        raise status.bad_request(
            f"the name of the object ({name}) does not match the name on the URL "
            f"({place.name})"
        )


def named_in(place: Place, config: Json) -> Json:
    """Return the part of an applied object that its path has a say in."""
    if place.subresource == "status":
        return {"status": config["status"]} if "status" in config else {}
    if place.resource.has_status:
        return {name: value for name, value in config.items() if name != "status"}
    return config


def check(resource: Resource, new: Json, old: Json | None) -> None:
    """Refuse an object, or what an update would make of it.

    Raises:
        StatusError: 422, with all that is wrong with it.
    """
    metadata = new["metadata"]
    causes = metadata_causes(metadata, built_in=resource.built_in)
    if old is not None:
        causes += update_causes(old["metadata"], metadata)
    causes += resource.check(new, old)
    if causes:
        raise refusals.invalid(resource, metadata.get("name", ""), causes)


def check_identity(place: Place, old: Json, metadata: Json) -> None:
    """Make sure that an update is of the object that its path names."""
    if not metadata.get("name"):
        raise status.bad_request(
            f"the name of the object ({place.name} based on URL) was undeterminable: "
            "name must be provided"
        )
    _check_name(place, metadata["name"])
    metadata.setdefault("uid", old["metadata"]["uid"])


def check_revision(resource: Resource, old: Json, new: Json) -> None:
    """Make sure that an update is of the newest version.

    Raises:
        StatusError: 409, it is not; 422, it does not say and the kind requires it.
    """
    name, current = old["metadata"]["name"], old["metadata"]["resourceVersion"]
    given = new["metadata"].get("resourceVersion") or "0"
    if not given.isdecimal():
        text = f'strconv.ParseUint: parsing "{given}": invalid syntax'
        raise status.internal(text)
    if given == "0" and resource.unconditional_update:
        new["metadata"]["resourceVersion"] = current
    elif given == "0":
        raise refusals.version_required(resource, name)
    elif given != current:
        raise refusals.conflict(resource, name)


def merge_subresource(place: Place, old: Json, new: Json) -> Json:
    """Keep what the path of the request has no say in."""
    resource = place.resource
    if place.subresource == "status":
        return _with_status_of(resource, old, new)
    if place.subresource == "finalize":
        finalizers = new.get("spec", {}).get("finalizers")
        spec = {"finalizers": finalizers} if finalizers else {}
        return {**old, "metadata": new["metadata"], "spec": spec}
    if resource.has_status:
        new.pop("status", None)
        if "status" in old:
            new["status"] = old["status"]
    return new


def _with_status_of(resource: Resource, old: Json, new: Json) -> Json:
    """Return `old` with the status of `new`; a built-in kind takes annotations too."""
    merged = copy.deepcopy({**old, "metadata": old["metadata"]})
    merged["metadata"]["resourceVersion"] = new["metadata"]["resourceVersion"]
    if resource.built_in:
        for name in ("annotations", "finalizers"):
            merged["metadata"][name] = new["metadata"].get(name)
    merged.pop("status", None)
    if "status" in new:
        merged["status"] = new["status"]
    return merged


def keep_system_fields(old: Json, new: Json) -> None:
    """Undo what an update has done to the fields that are the server's."""
    for name in SYSTEM_FIELDS:
        new["metadata"].pop(name, None)
        if name in old["metadata"]:
            new["metadata"][name] = old["metadata"][name]


def counted(resource: Resource, object_: Json) -> object:
    """Return the part of an object whose changes `generation` counts."""
    if resource.generation is None:
        return None
    if resource.generation:
        return [_read(object_, path) for path in resource.generation]
    ignored = {"metadata", "status"} if resource.has_status else {"metadata"}
    return {name: value for name, value in object_.items() if name not in ignored}


def _read(object_: Json, path: str) -> object:
    value: object = object_
    for part in path.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value
