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
from dataclasses import dataclass

from controller_runtime.clock import Clock
from controller_runtime.meta import Json
from controller_runtime.testing.apiserver import fields, refusals, rules, status
from controller_runtime.testing.apiserver.deletion import (
    DeleteOptions,
    check_preconditions,
    is_finished,
    marked,
    timestamp,
)
from controller_runtime.testing.apiserver.fields import Writer
from controller_runtime.testing.apiserver.resources import Resource
from controller_runtime.testing.apiserver.rules import Place
from controller_runtime.testing.apiserver.storage import Key, Storage

Transform = Callable[[Json], Json]
"""A copy of the stored object → the object as the request wants it."""

_GENERATE_TRIES = 8
"""How often a taken generated name is replaced (apiserver `RetryGenerateName`)."""


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
        object_ = rules.clean(place.resource, body)
        metadata = rules.placed(place, object_)
        if metadata.get("resourceVersion"):
            raise status.internal(
                "resourceVersion should not be set on objects to be created"
            )
        self._check_namespace(place, metadata.get("name", ""))
        self._name(place, metadata)
        self._initialise(place.resource, object_)
        rules.check(place.resource, object_, None)
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
        rules.check_config(place, config)
        wanted = rules.clean(place.resource, config)
        if not self.exists(place):
            return self._apply_new(place, wanted, options)
        old = self.get(place)
        live = copy.deepcopy(old)
        if version := wanted["metadata"].pop("resourceVersion", ""):
            live["metadata"]["resourceVersion"] = version
        applied = self._apply(place, live, rules.named_in(place, wanted), options)
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
        object_ = self.create(place, wanted, WriteOptions(dry_run=True))
        writer, named = _writer(place, options, "Apply"), rules.named_in(place, wanted)
        fields.claim(place.resource, object_, named, writer, self._now())
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
        new = rules.clean(resource, wanted)
        rules.check_identity(place, old, rules.placed(place, new))
        rules.check_revision(resource, old, new)
        new = rules.merge_subresource(place, old, new)
        rules.keep_system_fields(old, new)
        rules.drop_empty(new["metadata"])
        resource.prepare(new, old)
        rules.check(resource, new, old)
        counts = place.subresource != "status"
        if counts and rules.counted(resource, old) != rules.counted(resource, new):
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
        for name in (*rules.SYSTEM_FIELDS, "selfLink"):
            metadata.pop(name, None)
        metadata["uid"] = str(uuid.UUID(int=self._random.getrandbits(128), version=4))
        metadata["creationTimestamp"] = self._now()
        if resource.generation is not None:
            metadata["generation"] = 1
        if resource.has_status:
            object_.pop("status", None)
        rules.drop_empty(metadata)
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


def _writer(place: Place, options: WriteOptions, operation: str) -> Writer:
    version = place.resource.gvk.api_version
    return Writer(options.manager, operation, version, place.subresource)
