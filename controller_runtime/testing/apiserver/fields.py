"""Who owns which field: `metadata.managedFields` and server-side apply.

A simplification of sigs.k8s.io/structured-merge-diff that agrees with it on what a
controller can tell: which manager conflicts over which field, what an apply adds,
keeps and removes, and what another's write takes away.

A field is a path such as

    ("f:spec", "f:containers", 'k:{"name":"web"}', "f:image")

and a set of fields is the set of its leaves: scalars, lists and objects that are
replaced whole, and the items of lists that merge by key.
"""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple, cast

import msgspec

from controller_runtime.meta import Json
from controller_runtime.testing.apiserver.resources import Resource
from controller_runtime.testing.apiserver.status import StatusError

Path = tuple[str, ...]
Fields = frozenset[Path]

_ITEM = object()
"""What stands at the path of a list's item: it is owned apart from its fields."""

_UNOWNED: frozenset[Path] = frozenset(
    {
        ("f:apiVersion",),
        ("f:kind",),
        *(
            ("f:metadata", f"f:{name}")
            for name in (
                "creationTimestamp",
                "deletionGracePeriodSeconds",
                "deletionTimestamp",
                "generation",
                "managedFields",
                "name",
                "namespace",
                "resourceVersion",
                "selfLink",
                "uid",
            )
        ),
    }
)
"""What belongs to the server (apimachinery `managedfields/internal/stripmeta.go`)."""


class Writer(NamedTuple):
    """On whose behalf fields are written."""

    name: str
    operation: str
    """`Apply` or `Update`."""
    api_version: str
    subresource: str = ""


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of managedFields."""

    writer: Writer
    fields: Fields
    time: str

    @classmethod
    def read(cls, body: Json) -> Entry:
        """Read a line as an object carries it."""
        writer = Writer(
            body.get("manager", ""),
            body.get("operation", ""),
            body.get("apiVersion", ""),
            body.get("subresource", ""),
        )
        fields = frozenset(_read_fields(body.get("fieldsV1") or {}))
        return cls(writer, fields, body.get("time", ""))

    def body(self) -> Json:
        """Return the line as an object carries it."""
        body: Json = {
            "manager": self.writer.name,
            "operation": self.writer.operation,
            "apiVersion": self.writer.api_version,
            "time": self.time,
            "fieldsType": "FieldsV1",
            "fieldsV1": _write_fields(self.fields),
        }
        if self.writer.subresource:
            body["subresource"] = self.writer.subresource
        return body


def track(resource: Resource, old: Json, new: Json, writer: Writer, now: str) -> None:
    """Write down in `new` that `writer` made it out of `old`; {} for a new object.

    An object without managedFields stays without, until something is applied.
    """
    entries_before = _entries(old)
    if old and not entries_before:
        return
    before, after = _leaves(resource, old), _leaves(resource, new)
    changed = frozenset(
        path
        for path, value in after.items()
        if path not in before or before[path] != value
        if _may_own(resource, writer, path)
    )
    present = _with_parents(after)
    entries = []
    own = Entry(writer, frozenset(), now)
    for entry in entries_before:
        kept = entry.fields & present
        if entry.writer == writer:
            own = replace(entry, fields=kept)
        else:
            entries.append(replace(entry, fields=kept - changed))
    if changed:
        own = replace(own, fields=own.fields | changed, time=now)
    _write(new, [*entries, own])


def claim(
    resource: Resource, object_: Json, config: Json, writer: Writer, now: str
) -> None:
    """Write down in a new object that `writer` applied `config` and nothing else."""
    _write(object_, [Entry(writer, frozenset(_leaves(resource, config)), now)])


def _may_own(resource: Resource, writer: Writer, path: Path) -> bool:
    """Whether a write through that path of the API is about a field at all."""
    is_status = path[0] == "f:status"
    return (
        not resource.has_status
        or is_status == (writer.subresource == "status")
        or (writer.subresource == "status" and path[0] == "f:metadata")
    )


def apply(
    resource: Resource,
    live: Json,
    config: Json,
    writer: Writer,
    *,
    force: bool,
    now: str,
) -> Json:
    """Return `live` as `writer` wants it, with what it no longer names removed.

    Raises:
        StatusError: 409, others own fields that it would change, and `force` is off.
    """
    wanted, current = _leaves(resource, config), _leaves(resource, live)
    entries = _entries(live) or [_first_entry(resource, writer, current, now)]
    others = [entry for entry in entries if entry.writer != writer]
    conflicts = [
        (entry.writer, path)
        for entry in others
        for path in sorted(entry.fields & wanted.keys(), key=_members_first)
        if current.get(path, wanted[path]) != wanted[path]
    ]
    if conflicts and not force:
        raise _conflict(conflicts)
    taken = {path for _, path in conflicts}
    others = [replace(entry, fields=entry.fields - taken) for entry in others]
    mine = next((entry for entry in entries if entry.writer == writer), None)
    given_up = (mine.fields if mine else frozenset()) - wanted.keys()
    merged: Json = copy.deepcopy(live)
    for name, value in config.items():
        merged[name] = _overlay(resource, merged.get(name), value, name)
    # Items before their fields: without its key, an item could not be found again.
    for path in sorted(given_up, key=lambda path: (len(path), path)):
        if not any(_keeps(entry, path) for entry in others):
            _remove(merged, path)
    present = _with_parents(_leaves(resource, merged))
    others = [replace(entry, fields=entry.fields & present) for entry in others]
    fields = frozenset(wanted)
    # An owner's time moves with the values of its fields, not with their names alone.
    is_same = mine is not None and mine.fields == fields and merged == live
    time = mine.time if mine is not None and is_same else now
    _write(merged, [*others, Entry(writer, fields, time)])
    return merged


def _first_entry(
    resource: Resource, writer: Writer, fields: Iterable[Path], now: str
) -> Entry:
    """Give what nobody owns so far to an owner of its own."""
    first = Writer("before-first-apply", "Update", writer.api_version)
    owned = (path for path in fields if _may_own(resource, first, path))
    return Entry(first, frozenset(owned), now)


def _keeps(entry: Entry, path: Path) -> bool:
    """Whether what `entry` owns keeps the field or item at `path` where it is.

    An item stays for those who own it, not for those who own some field of it.
    """
    if path[-1].startswith("f:"):
        return any(field[: len(path)] == path for field in entry.fields)
    return path in entry.fields


def _with_parents(paths: Iterable[Path]) -> frozenset[Path]:
    return frozenset(
        path[:depth] for path in paths for depth in range(1, len(path) + 1)
    )


def _members_first(path: Path) -> list[tuple[bool, str]]:
    """Sort as sets of fields are walked: what ends at a level, then what goes on."""
    return [(index < len(path) - 1, part) for index, part in enumerate(path)]


def _conflict(conflicts: list[tuple[Writer, Path]]) -> StatusError:
    causes = [
        {
            "reason": "FieldManagerConflict",
            "message": f"conflict with {_describe(writer)}",
            "field": _dotted(path),
        }
        for writer, path in conflicts
    ]
    if len(conflicts) == 1:
        writer, path = conflicts[0]
        text = f"1 conflict: conflict with {_describe(writer)}: {_dotted(path)}"
    else:
        by_writer: dict[str, list[str]] = {}
        for writer, path in conflicts:
            by_writer.setdefault(_describe(writer), []).append(f"- {_dotted(path)}")
        blocks = (
            "\n".join([f"conflicts with {name}:", *lines])
            for name, lines in sorted(by_writer.items())
        )
        text = f"{len(conflicts)} conflicts: " + "\n".join(blocks)
    message = f"Apply failed with {text}"
    return StatusError(409, "Conflict", message, details={"causes": causes})


def _describe(writer: Writer) -> str:
    text = f'"{writer.name}"'
    if writer.subresource:
        text += f' with subresource "{writer.subresource}"'
    if writer.operation == "Update":
        text += f" using {writer.api_version}"
    return text


def _dotted(path: Path) -> str:
    """Write a path as messages do: `.spec.containers[name="web"].image`."""
    return "".join(map(_dotted_part, path))


def _dotted_part(part: str) -> str:
    kind, _, rest = part.partition(":")
    if kind == "f":
        return f".{rest}"
    if kind == "v":
        return f"[={rest}]"
    keys = msgspec.json.decode(rest)
    text = ",".join(
        f"{name}={msgspec.json.encode(value).decode()}" for name, value in keys.items()
    )
    return f"[{text}]"


def _entries(object_: Json) -> list[Entry]:
    managed = object_.get("metadata", {}).get("managedFields") or []
    return [Entry.read(body) for body in managed]


def _write(object_: Json, entries: Iterable[Entry]) -> None:
    """Put entries in the server's order: applies first, then by time and name."""
    kept = sorted(
        (entry for entry in entries if entry.fields),
        key=lambda entry: (entry.writer.operation, entry.time, entry.writer),
    )
    object_["metadata"].pop("managedFields", None)
    if kept:
        object_["metadata"]["managedFields"] = [entry.body() for entry in kept]


def _read_fields(node: Json, path: Path = ()) -> Iterable[Path]:
    if path and not node:
        yield path
    for part, child in node.items():
        if part == ".":
            yield path
        else:
            yield from _read_fields(child, (*path, part))


def _write_fields(fields: Fields) -> Json:
    root: Json = {}
    for path in sorted(fields):
        node = root
        for part in path:
            node = node.setdefault(part, {})
    for path in fields:
        node = root
        for part in path:
            node = node[part]
        if node:
            node["."] = {}
    return root


def _leaves(resource: Resource, object_: Json) -> dict[Path, object]:
    found: dict[Path, object] = {}
    for name, value in object_.items():
        _walk(resource, (f"f:{name}",), name, value, found)
    return found


def _walk(
    resource: Resource, path: Path, name: str, value: object, found: dict[Path, object]
) -> None:
    if path in _UNOWNED:
        return
    keys = resource.merge_keys.get(name)
    if isinstance(value, dict) and value and name not in resource.atomic:
        for key, child in value.items():
            _walk(resource, (*path, f"f:{key}"), key, child, found)
    elif isinstance(value, list) and value and keys is not None:
        for item in value:
            _walk_item(resource, path, item, keys, found)
    else:
        found[path] = value


def _walk_item(
    resource: Resource,
    path: Path,
    item: object,
    keys: tuple[str, ...],
    found: dict[Path, object],
) -> None:
    here = (*path, _item_part(item, keys))
    found[here] = _ITEM
    if isinstance(item, dict):
        for key, child in item.items():
            _walk(resource, (*here, f"f:{key}"), key, child, found)


_KEY_DEFAULTS: Mapping[str, str] = {"protocol": "TCP"}


def _item_part(item: object, keys: tuple[str, ...]) -> str:
    if not isinstance(item, dict):
        return f"v:{msgspec.json.encode(item).decode()}"
    identity = {key: item.get(key, _KEY_DEFAULTS.get(key)) for key in sorted(keys)}
    return f"k:{msgspec.json.encode(identity).decode()}"


def _overlay(resource: Resource, live: object, config: object, name: str) -> object:
    """Return `live`, changed in place as far as it can be, with `config` on top."""
    keys = resource.merge_keys.get(name)
    if isinstance(config, dict) and isinstance(live, dict):
        if name not in resource.atomic:
            for key, value in config.items():
                live[key] = _overlay(resource, live.get(key), value, key)
            return live
    elif isinstance(config, list) and isinstance(live, list) and keys is not None:
        return _overlay_items(resource, live, config, keys)
    return copy.deepcopy(config)


def _overlay_items(
    resource: Resource, live: list[object], config: list[object], keys: tuple[str, ...]
) -> list[object]:
    """Merge a list item by item; the order is that of `visitListItems` of typed/merge.

    What is applied comes in its own order, what is not stays between it where it was.
    """
    old = {_item_part(item, keys): item for item in live}
    new = {
        part: _overlay(resource, old[part], item, "") if part in old else item
        for part, item in ((_item_part(item, keys), item) for item in config)
    }
    shared = deque(part for part in new if part in old)
    waiting, merged = deque(new), list[object]()
    for part, item in old.items():
        if part not in new:
            merged.append(item)
        elif shared and part == shared[0]:
            while waiting and waiting[0] != part:
                merged.append(new[waiting.popleft()])
            merged.append(new[waiting.popleft()])
            shared.popleft()
    return copy.deepcopy([*merged, *(new[part] for part in waiting)])


def _remove(node: object, path: Path) -> bool:
    """Remove the value at `path`, and the objects and lists that it leaves empty.

    Returns:
        Whether `node` itself is empty now.
    """
    place = _locate(node, path[0])
    if place is None:
        return False
    # A list is a mapping from its indexes, as far as this goes.
    container = cast("dict[str | int, object]", node)
    if len(path) == 1 or _remove(container[place], path[1:]):
        del container[place]
    return not container


def _locate(node: object, part: str) -> str | int | None:
    """Return the key or index in `node` that `part` of a path means."""
    kind, _, rest = part.partition(":")
    if kind == "f":
        return rest if isinstance(node, dict) and rest in node else None
    if not isinstance(node, list):
        return None
    wanted = msgspec.json.decode(rest)
    for index, item in enumerate(node):
        if kind == "v" and item == wanted:
            return index
        if kind == "k" and _item_part(item, tuple(wanted)) == part:
            return index
    return None
