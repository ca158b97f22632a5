"""What may be read and written: kube-apiserver's rules for every kind.

The rules are those of apiserver `registry/rest` and `registry/generic/registry`.
Each write is: look at what is stored, work out what would be stored, refuse or
commit. A dry run stops before the commit. Objects that are returned are shared with
the storage and must not be changed.
"""

from __future__ import annotations

import copy
import random as random_module
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

from controller_runtime.clock import Clock
from controller_runtime.meta import Json
from controller_runtime.testing.apiserver import decoding, fields, refusals, status
from controller_runtime.testing.apiserver.deletion import (
    DeleteOptions,
    check_preconditions,
    is_finished,
    marked,
    timestamp,
)
from controller_runtime.testing.apiserver.fields import Writer
from controller_runtime.testing.apiserver.resources import Resource
from controller_runtime.testing.apiserver.storage import Key, Storage
from controller_runtime.testing.apiserver.validation import (
    metadata_causes,
    update_causes,
)

Transform = Callable[[Json], Json]
"""A copy of the stored object → the object as the request wants it."""

_GENERATE_TRIES = 8
"""How often a taken generated name is replaced (apiserver `RetryGenerateName`)."""


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


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteOptions:
    """How to write, `metav1.CreateOptions` and its siblings."""

    manager: str = "unknown"
    """Who the fields will belong to."""
    dry_run: bool = False
    force: bool = False
    """On apply: take fields from their owners."""


class Registry:
    """Reads and writes of single objects, as the rules allow them."""

    def __init__(
        self,
        storage: Storage,
        *,
        clock: Clock,
        random: random_module.Random,
        require_namespaces: bool = False,
    ) -> None:
        self._storage = storage
        self._clock = clock
        self._random = random
        self._require_namespaces = require_namespaces

    def exists(self, place: Place) -> bool:
        """Whether the object is there."""
        return self._storage.get(place.key) is not None

    def get(self, place: Place) -> Json:
        """Return the object.

        Raises:
            StatusError: 404, it is not there.
        """
        stored = self._storage.get(place.key)
        if stored is None:
            raise refusals.not_found(place.resource, place.name)
        return place.resource.shown(stored)

    def create(self, place: Place, body: Json, options: WriteOptions) -> Json:
        """Make a new object; the server fills in what is its own to say."""
        object_ = _clean(place.resource, body)
        metadata = _placed(place, object_)
        if metadata.get("resourceVersion"):
            raise status.internal(
                "resourceVersion should not be set on objects to be created"
            )
        self._check_namespace(place, metadata.get("name", ""))
        self._name(place, metadata)
        self._initialise(place.resource, object_)
        _check(place.resource, object_, None)
        key = place._replace(name=metadata["name"]).key
        if self._storage.get(key) is not None:
            raise refusals.already_exists(place.resource, key.name)
        writer = _writer(place, options, "Update")
        fields.track(place.resource, {}, object_, writer, self._now())
        return object_ if options.dry_run else self._put(place.resource, key, object_)

    def update(self, place: Place, transform: Transform, options: WriteOptions) -> Json:
        """Replace an object by what `transform` makes of it, if the rules allow it.

        What the object already is, is not written again: no revision, no event.
        """
        old = self.get(place)
        new = self._updated(place, old, transform(copy.deepcopy(old)))
        writer = _writer(place, options, "Update")
        fields.track(place.resource, old, new, writer, self._now())
        return self._commit(place, old, new, options)

    def replace(self, place: Place, body: Json, options: WriteOptions) -> Json:
        """Replace an object by `body`; a uid in it must be that of the object."""
        uid = self.get(place)["metadata"]["uid"]
        given = (body.get("metadata") or {}).get("uid") or uid
        if given != uid:
            path = "/".join(filter(None, place.key))
            raise refusals.conflict(
                place.resource,
                place.name,
                f"StorageError: invalid object, Code: 4, Key: /registry/{path}, "
                "ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: UID in "
                f"precondition: {given}, UID in object meta: {uid}",
            )
        return self.update(place, lambda _: body, options)

    def apply(self, place: Place, config: Json, options: WriteOptions) -> Json:
        """Apply `config` server-side: make the object or change what it names."""
        _check_config(place, config)
        wanted = _clean(place.resource, config)
        if not self.exists(place):
            return self._apply_new(place, wanted, options)
        old = self.get(place)
        live = copy.deepcopy(old)
        if version := wanted["metadata"].pop("resourceVersion", ""):
            live["metadata"]["resourceVersion"] = version
        applied = self._apply(place, live, _named_in(place, wanted), options)
        new = self._updated(place, old, applied)
        new["metadata"].pop("managedFields", None)
        if managed := applied["metadata"].get("managedFields"):
            new["metadata"]["managedFields"] = managed
        return self._commit(place, old, new, options)

    def delete(self, place: Place, options: DeleteOptions) -> Json:
        """Delete an object, or mark it while finalizers or a grace period hold it.

        Returns:
            The marked object, or what says that it is gone: a Status, or for some
            kinds the object as it was.
        """
        resource = place.resource
        old = self.get(place)
        check_preconditions(resource, old, options)
        new = marked(resource, old, options, self._clock.now())
        if not is_finished(resource, new):
            if new == old or options.dry_run:
                return new
            return self._put(resource, place.key, new)
        if not options.dry_run:
            gone = self._storage.delete(place.key)
            new["metadata"]["resourceVersion"] = gone["metadata"]["resourceVersion"]
        if resource.returns_deleted:
            return new if resource.collection == "pods" else old
        return refusals.success(resource, place.name, old["metadata"]["uid"])

    def _apply_new(self, place: Place, wanted: Json, options: WriteOptions) -> Json:
        if place.subresource:
            raise refusals.not_found(place.resource, place.name)
        if uid := wanted["metadata"].get("uid"):
            why = f"uid mismatch: the provided object specified uid {uid}, and no "
            why += "existing object was found"
            raise refusals.conflict(place.resource, place.name, why)
        if wanted["metadata"].pop("resourceVersion", ""):
            raise refusals.conflict(place.resource, place.name)
        created = self.create(place, wanted, WriteOptions(dry_run=True))
        del created["metadata"]["managedFields"]
        object_ = self._apply(place, created, _named_in(place, wanted), options)
        if options.dry_run:
            return object_
        return self._put(place.resource, place.key, object_)

    def _apply(
        self, place: Place, live: Json, wanted: Json, options: WriteOptions
    ) -> Json:
        return fields.apply(
            place.resource,
            live,
            wanted,
            _writer(place, options, "Apply"),
            force=options.force,
            now=self._now(),
        )

    def _updated(self, place: Place, old: Json, wanted: Json) -> Json:
        """Return what an update of `old` to `wanted` would store, or refuse it."""
        resource = place.resource
        new = _clean(resource, wanted)
        _check_identity(place, old, _placed(place, new))
        _check_revision(resource, old, new)
        new = _merge_subresource(place, old, new)
        _keep_system_fields(old, new)
        _drop_empty(new["metadata"])
        resource.prepare(new, old)
        _check(resource, new, old)
        counts = place.subresource != "status"
        if counts and _counted(resource, old) != _counted(resource, new):
            new["metadata"]["generation"] = old["metadata"].get("generation", 0) + 1
        return new

    def _commit(
        self, place: Place, old: Json, new: Json, options: WriteOptions
    ) -> Json:
        if new == old:
            return old
        if options.dry_run:
            return new
        if is_finished(place.resource, new):
            self._storage.delete(place.key)
            return new
        return self._put(place.resource, place.key, new)

    def _put(self, resource: Resource, key: Key, object_: Json) -> Json:
        return resource.shown(self._storage.put(key, resource.to_stored(object_)))

    def _now(self) -> str:
        return timestamp(self._clock.now())

    def _initialise(self, resource: Resource, object_: Json) -> None:
        metadata = object_["metadata"]
        for name in (*_SYSTEM_FIELDS, "managedFields", "selfLink"):
            metadata.pop(name, None)
        metadata["uid"] = str(uuid.UUID(int=self._random.getrandbits(128), version=4))
        metadata["creationTimestamp"] = self._now()
        if resource.generation is not None:
            metadata["generation"] = 1
        if resource.has_status:
            object_.pop("status", None)
        _drop_empty(metadata)
        resource.prepare(object_, None)

    def _name(self, place: Place, metadata: Json) -> None:
        prefix = metadata.get("generateName", "")[:58]
        if metadata.get("name") or not prefix:
            return
        for _ in range(_GENERATE_TRIES):
            metadata["name"] = prefix + self._suffix()
            if not self.exists(place._replace(name=metadata["name"])):
                return

    def _suffix(self) -> str:
        """Return five characters that make no words (apimachinery `util/rand`)."""
        alphabet = "bcdfghjklmnpqrstvwxz2456789"
        return "".join(self._random.choice(alphabet) for _ in range(5))

    def _check_namespace(self, place: Place, name: str) -> None:
        namespace = place.namespace
        if not (self._require_namespaces and place.resource.namespaced):
            return
        stored = self._storage.get(Key("namespaces", "", namespace))
        if stored is None:
            raise refusals.namespace_not_found(namespace)
        if "deletionTimestamp" in stored["metadata"]:
            raise refusals.namespace_terminating(place.resource, namespace, name)


_SYSTEM_FIELDS = (
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "generation",
)


def _writer(place: Place, options: WriteOptions, operation: str) -> Writer:
    version = place.resource.gvk.api_version
    return Writer(options.manager, operation, version, place.subresource)


def _clean(resource: Resource, body: Json) -> Json:
    """Return a copy; decoding into a Go struct loses the nulls, so they go here."""
    decoding.check(resource, body)
    copied = copy.deepcopy(body)
    if resource.built_in:
        _drop_nulls(copied)
    return copied


def _drop_nulls(value: object) -> None:
    if isinstance(value, dict):
        for name in [name for name, child in value.items() if child is None]:
            del value[name]
        for child in value.values():
            _drop_nulls(child)
    elif isinstance(value, list):
        for child in value:
            _drop_nulls(child)


def _drop_empty(metadata: Json) -> None:
    for name in ("labels", "annotations", "finalizers", "ownerReferences"):
        if not metadata.get(name):
            metadata.pop(name, None)


def _placed(place: Place, object_: Json) -> Json:
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


def _check_config(place: Place, config: Json) -> None:
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


def _named_in(place: Place, config: Json) -> Json:
    """Return the part of an applied object that its path has a say in."""
    if place.subresource == "status":
        return {"status": config["status"]} if "status" in config else {}
    if place.resource.has_status:
        return {name: value for name, value in config.items() if name != "status"}
    return config


def _check(resource: Resource, new: Json, old: Json | None) -> None:
    metadata = new["metadata"]
    causes = metadata_causes(metadata)
    if old is not None:
        causes += update_causes(old["metadata"], metadata)
    causes += resource.check(new, old)
    if causes:
        raise refusals.invalid(resource, metadata.get("name", ""), causes)


def _check_identity(place: Place, old: Json, metadata: Json) -> None:
    if not metadata.get("name"):
        raise status.bad_request(
            f"the name of the object ({place.name} based on URL) was undeterminable: "
            "name must be provided"
        )
    _check_name(place, metadata["name"])
    metadata.setdefault("uid", old["metadata"]["uid"])


def _check_revision(resource: Resource, old: Json, new: Json) -> None:
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


def _merge_subresource(place: Place, old: Json, new: Json) -> Json:
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


def _keep_system_fields(old: Json, new: Json) -> None:
    for name in (*_SYSTEM_FIELDS, "managedFields"):
        new["metadata"].pop(name, None)
        if name in old["metadata"]:
            new["metadata"][name] = old["metadata"][name]


def _counted(resource: Resource, object_: Json) -> object:
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
