"""What is asked of the API server about one managed object, and nothing more.

    read      live, for objects that the label-selected cache cannot have
    dry_run   what an apply would make of it
    apply     server-side, by force, under the catalogue's field manager
    rewrite   managedFields rewritten: fields let go of, or taken from others
    pause     an annotation of another field manager, so that no apply takes it away

Nothing is decided here, and nothing is caught.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from controller_runtime import (
    TRANSPORT_ERRORS,
    ApiError,
    BadRequestError,
    Client,
    ControllerRuntimeError,
    GroupVersionKind,
    InvalidError,
    Json,
    NamespacedName,
    NoKindMatchError,
    NotFoundError,
    ServerError,
    json_patch,
)
from controllers.autopilot.annotations import AnnotationKeys
from controllers.autopilot.gauges import AutopilotMetrics

FAILURES: tuple[type[Exception], ...] = (ControllerRuntimeError, *TRANSPORT_ERRORS)
"""What asking the server may raise, and a template that asks it."""


class Applier:
    """Reads and writes the objects of one catalogue.

    Args:
        client: Reads live.
        field_manager: Owns what is applied.
        keys: Names of annotations.
        metrics: Counts the requests.
    """

    def __init__(
        self,
        client: Client,
        *,
        field_manager: str,
        keys: AnnotationKeys,
        metrics: AutopilotMetrics,
    ) -> None:
        self.field_manager = field_manager
        self._client = client.with_defaults(field_owner=field_manager)
        self._keys = keys
        self._metrics = metrics

    async def read(self, gvk: GroupVersionKind, key: NamespacedName) -> Json | None:
        """Return an object as it is now, if it is there."""
        self._metrics.request("get", gvk.kind)
        try:
            return await self._client.get(gvk, key.name, key.namespace)
        except NotFoundError as error:
            if error.details.get("name") == key.name:
                return None
            raise  # not the object but its kind is missing

    async def dry_run(self, effective: Json) -> Json:
        """Return what an apply would make of an object.

        Raises:
            ApiError: The server cannot tell.
        """
        self._metrics.request("patch", str(effective["kind"]), dry_run=True)
        return await self._client.apply(effective, force=True, dry_run=True)

    async def apply(self, effective: Json, *, live: Json | None) -> Json:
        """Create the object, or make its fields what they should be.

        Args:
            effective: What is applied.
            live: The object as it was looked at: just that one is changed, and none is
                created in its place. `None` creates one.

        Raises:
            ConflictError: The object is gone, or another one is there.
            ApiError: The server refuses.
        """
        self._metrics.request("patch", str(effective["kind"]))
        return await self._client.apply(_just(effective, live), force=True)

    async def first_owners(self, live: Json) -> Sequence[Json]:
        """Return the managedFields that the next apply would make of an object's none.

        Raises:
            ApiError: The server cannot tell.
        """
        metadata = {k: live["metadata"].get(k, "") for k in ("name", "namespace")}
        head = {"apiVersion": live["apiVersion"], "kind": live["kind"]}
        result = await self.dry_run({**head, "metadata": metadata})
        entries: Sequence[Json] = result["metadata"].get("managedFields") or ()
        return entries

    async def rewrite(self, live: Json, operations: Sequence[Json]) -> Json:
        """Change who owns which fields, as `ownership` says.

        Raises:
            ConflictError: The object has changed meanwhile.
        """
        self._metrics.request("patch", str(live["kind"]))
        gvk, key = identify(live)
        return await self._client.patch(
            gvk, key.name, key.namespace, patch=json_patch(operations)
        )

    async def pause(self, live: Json, reason: Mapping[str, object]) -> Json:
        """Mark an object as paused."""
        text = msgspec.json.encode(reason).decode()
        return await self._mark(
            live, {self._keys.paused: "true", self._keys.paused_reason: text}
        )

    def has_paused(self, live: Json) -> bool:
        """Whether our mark is on an object, or what a user has left of it."""
        entries = live["metadata"].get("managedFields") or ()
        return any(entry.get("manager") == self._pauser for entry in entries)

    async def resume(self, live: Json) -> Json:
        """Take away what is left of our mark, when a user has taken the rest."""
        return await self._mark(live, {})

    async def _mark(self, live: Json, annotations: Mapping[str, str]) -> Json:
        self._metrics.request("patch", str(live["kind"]))
        gvk, key = identify(live)
        metadata: Json = {"name": key.name, "annotations": dict(annotations)}
        if key.namespace:
            metadata["namespace"] = key.namespace
        mark = {
            "apiVersion": gvk.api_version,
            "kind": gvk.kind,
            "metadata": metadata,
        }
        return await self._client.apply(
            _just(mark, live), force=True, field_owner=self._pauser
        )

    @property
    def _pauser(self) -> str:
        return f"{self.field_manager}-pause"


def _just(obj: Json, live: Json | None) -> Json:
    """Mean one object alone, and not another that has its name meanwhile."""
    if live is None:
        return obj
    return {**obj, "metadata": {**obj["metadata"], "uid": live["metadata"]["uid"]}}


def identify(obj: Mapping[str, Any]) -> tuple[GroupVersionKind, NamespacedName]:
    """Return kind and place of an object."""
    metadata = obj.get("metadata") or {}
    gvk = GroupVersionKind.parse(str(obj["apiVersion"]), str(obj["kind"]))
    return gvk, NamespacedName(metadata.get("namespace", ""), metadata["name"])


def is_about_content(error: ApiError) -> bool:
    """Whether the server refuses what an object says, rather than who asks, or when.

    A field of another type than its schema's is a 500 to an apply.
    """
    if isinstance(error, ServerError):
        return "failed to create typed patch object" in str(error)
    return isinstance(error, (InvalidError, BadRequestError))


def is_about_kind(error: Exception) -> bool:
    """Whether it is not an object but its kind that is not there, or is going.

    A CRD that is being deleted takes no new objects: 405.
    """
    if isinstance(error, NotFoundError):
        return not error.details.get("name")
    is_refused = isinstance(error, ApiError) and error.status == 405
    return is_refused or isinstance(error, NoKindMatchError)


def culprit(live: Mapping[str, Any], *, field_manager: str) -> str:
    """Name who wrote last, besides us, by managedFields; empty if nobody is known."""
    entries = (live.get("metadata") or {}).get("managedFields") or ()
    others = [
        (str(entry.get("time", "")), str(entry.get("manager", "")))
        for entry in entries
        if not entry.get("subresource")
        and entry.get("manager") not in {field_manager, f"{field_manager}-pause"}
    ]
    return max(others)[1] if others else ""
