"""Lists: which revision they show, and how they are cut into pages.

    resourceVersion   match           limit    shows
    ""                                any      now
    "0"                               ignored  now (any state would do)
    n                 NotOlderThan    any      now, which must not be older than n
    n                 Exact           any      what there was at n
    n                 (none)          none     as NotOlderThan
    n                 (none)          given    as Exact, for compatibility
    continue                          given    the next page, at the first's revision

What is forgotten by compaction is 410; what is yet to come is 504.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import msgspec

from controller_runtime.meta import Json
from controller_runtime.testing.apiserver import status
from controller_runtime.testing.apiserver.matching import Matcher
from controller_runtime.testing.apiserver.resources import Resource
from controller_runtime.testing.apiserver.status import Cause
from controller_runtime.testing.apiserver.storage import (
    CompactedError,
    Key,
    Storage,
)

_EXPIRED = "The resourceVersion for the provided list is too old."
_CONTINUE_EXPIRED = (
    "The provided continue parameter is too old to display a consistent list result. "
    "You can start a new list without the continue parameter, or use the continue "
    "token in this response to retrieve the remainder of the results. Continuing with "
    "the provided token results in an inconsistent list - objects that were created, "
    "modified, or deleted between the time the first chunk was returned and now may "
    "show up in the list."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ListOptions:
    """The query of a list or a watch, `metav1.ListOptions`."""

    label_selector: str = ""
    field_selector: str = ""
    limit: int = 0
    continue_: str = ""
    resource_version: str = ""
    match: str = ""
    allow_bookmarks: bool = False
    send_initial_events: bool | None = None
    timeout_seconds: int = 0

    @classmethod
    def read(cls, query: Mapping[str, str], *, watch_list: bool = True) -> ListOptions:
        """Read and check a query; `watch_list` is whether initial events can be had.

        Raises:
            StatusError: 400, a value cannot be read; 422, values that do not go
                together.
        """
        watch = _bool(query, "watch")
        initial = query.get("sendInitialEvents")
        options = cls(
            label_selector=query.get("labelSelector", ""),
            field_selector=query.get("fieldSelector", ""),
            limit=_int(query, "limit"),
            continue_=query.get("continue", ""),
            resource_version=query.get("resourceVersion", ""),
            match=query.get("resourceVersionMatch", ""),
            allow_bookmarks=_bool(query, "allowWatchBookmarks"),
            send_initial_events=(
                _bool(query, "sendInitialEvents") if initial is not None else None
            ),
            timeout_seconds=_int(query, "timeoutSeconds"),
        )
        causes = _watch_causes(options) if watch else _list_causes(options)
        if watch and initial is not None and not watch_list:
            name, detail = "sendInitialEvents", "sendInitialEvents is forbidden for "
            detail += "watch unless the WatchList feature gate is enabled"
            causes.append(Cause.forbidden(name, detail))
        if causes:
            raise status.invalid_options("ListOptions", causes)
        return options._defaulted() if watch and watch_list else options

    def _defaulted(self) -> ListOptions:
        """A watch from nowhere in particular begins with all there is.

        Source: `SetListOptionsDefaults` of apimachinery `meta/internalversion`.
        """
        if self.send_initial_events is None and self.resource_version in {"", "0"}:
            return replace(self, send_initial_events=True, match="NotOlderThan")
        return self

    @property
    def revision(self) -> int:
        """The resourceVersion as a number, 0 if there is none.

        Raises:
            StatusError: 500, it is not a number.
        """
        return revision_of(self.resource_version)


def revision_of(text: str) -> int:
    """Read a resourceVersion.

    Raises:
        StatusError: 500, it is not a number; to a list the server says 400.
    """
    if text and not text.isdecimal():
        raise status.internal(
            f'resourceVersion: Invalid value: "{text}": strconv.ParseUint: parsing '
            f'"{text}": invalid syntax'
        )
    return int(text or 0)


def _bool(query: Mapping[str, str], name: str) -> bool:
    """Read a flag as `runtime.Convert_Slice_string_To_bool` does: lenient."""
    return name in query and query[name].lower() not in {"false", "0"}


def _int(query: Mapping[str, str], name: str) -> int:
    try:
        return int(query.get(name, "0") or 0)
    except ValueError:
        text = f'strconv.ParseInt: parsing "{query[name]}": invalid syntax'
        raise status.bad_request(text) from None


_MATCH = "resourceVersionMatch"


def _list_causes(options: ListOptions) -> list[Cause]:
    causes = []
    match = options.match
    if match and not options.resource_version:
        detail = f"{_MATCH} is forbidden unless resourceVersion is provided"
        causes.append(Cause.forbidden(_MATCH, detail))
    causes += _match_causes(options, ("Exact", "NotOlderThan", ""))
    if match == "Exact" and options.resource_version == "0":
        detail = f'{_MATCH} "exact" is forbidden for resourceVersion "0"'
        causes.append(Cause.forbidden(_MATCH, detail))
    if options.send_initial_events is not None:
        detail = "sendInitialEvents is forbidden for list"
        causes.append(Cause.forbidden("sendInitialEvents", detail))
    return causes


def _watch_causes(options: ListOptions) -> list[Cause]:
    causes = []
    has_initial = options.send_initial_events is not None
    if has_initial and options.match != "NotOlderThan":
        detail = f"sendInitialEvents requires setting {_MATCH} to NotOlderThan"
        causes.append(Cause.forbidden(_MATCH, detail))
    if options.match and not has_initial:
        detail = f"{_MATCH} is forbidden for watch unless sendInitialEvents is provided"
        causes.append(Cause.forbidden(_MATCH, detail))
    return causes + _match_causes(options, ("NotOlderThan",))


def _match_causes(options: ListOptions, known: tuple[str, ...]) -> list[Cause]:
    causes = []
    if options.match and options.continue_:
        detail = f"{_MATCH} is forbidden when continue is provided"
        causes.append(Cause.forbidden(_MATCH, detail))
    if options.match and options.match not in known:
        causes.append(Cause.unsupported(_MATCH, f'"{options.match}"', known))
    return causes


class _Start(NamedTuple):
    """Where a page begins: the revision shown, and the first key."""

    revision: int
    key: str = ""


def list_objects(
    storage: Storage, resource: Resource, namespace: str, options: ListOptions
) -> Json:
    """Return the list object, as the table at the top says."""
    matcher = Matcher(
        resource, namespace, options.label_selector, options.field_selector
    )
    start = _start(storage, options)
    items = _items(storage, resource, namespace, start)
    found = [
        (key, object_)
        for key, object_ in ((key, resource.shown(stored)) for key, stored in items)
        if _position(key) >= start.key and matcher.matches(object_)
    ]
    limit = 0 if options.resource_version == "0" else options.limit
    metadata: Json = {"resourceVersion": str(start.revision)}
    if not resource.built_in:
        metadata["continue"] = ""  # unstructured lists always have the field
    if 0 < limit < len(found):
        metadata["continue"] = _encode(
            _Start(start.revision, _position(found[limit][0]))
        )
        if not matcher.selects:
            metadata["remainingItemCount"] = len(found) - limit
        found = found[:limit]
    return {
        "kind": f"{resource.gvk.kind}List",
        "apiVersion": resource.gvk.api_version,
        "metadata": metadata,
        "items": [_item(resource, object_) for _, object_ in found],
    }


def _item(resource: Resource, object_: Json) -> Json:
    if not resource.built_in:
        return object_
    return {k: v for k, v in object_.items() if k not in {"apiVersion", "kind"}}


def _position(key: Key) -> str:
    return f"{key.namespace}/{key.name}" if key.namespace else key.name


def _start(storage: Storage, options: ListOptions) -> _Start:
    if options.continue_:
        if options.resource_version not in {"", "0"}:
            raise status.bad_request(
                "specifying resource version is not allowed when using continue"
            )
        start = _decode(options.continue_)
        return start if start.revision > 0 else _Start(storage.revision, start.key)
    revision = _requested(options)
    if revision > storage.revision:
        raise status.too_large(revision, storage.revision)
    exact = options.match == "Exact" or (options.limit > 0 and not options.match)
    return _Start(revision if exact and revision else storage.revision)


def _requested(options: ListOptions) -> int:
    try:
        return options.revision
    except status.StatusError as error:
        text = f"invalid resource version: {error.message}"
        raise status.bad_request(text) from error


def _items(
    storage: Storage, resource: Resource, namespace: str, start: _Start
) -> list[tuple[Key, Json]]:
    if start.revision == storage.revision:
        return storage.items(resource.collection, namespace)
    try:
        return storage.items_at(start.revision, resource.collection, namespace)
    except CompactedError as error:
        if not start.key:
            raise status.expired(_EXPIRED) from error
        rest = _encode(_Start(-1, start.key))
        raise status.expired(_CONTINUE_EXPIRED, continue_=rest) from error


class _Token(msgspec.Struct):
    """A continue token, as apiserver `storage/continue.go` encodes it."""

    v: str
    rv: int
    start: str


def _encode(start: _Start) -> str:
    token = _Token("meta.k8s.io/v1", start.revision, start.key)
    encoded = base64.urlsafe_b64encode(msgspec.json.encode(token))
    return encoded.decode().rstrip("=")


def _decode(text: str) -> _Start:
    try:
        padded = text + "=" * (-len(text) % 4)
        data = base64.urlsafe_b64decode(padded.encode())
        token = msgspec.json.decode(data, type=_Token)
    except (ValueError, msgspec.MsgspecError) as error:
        text = f"invalid continue token: continue key is not valid: {error}"
        raise status.bad_request(text) from error
    return _Start(token.rv, token.start)
