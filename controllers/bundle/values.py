"""Values: documents of many sources in, one mapping out. Pure.

    inline values ─▶ source 1 ─▶ source 2 ─▶ …      later ones win
      key ends .yaml .yml .json, or is `values`     a document, in byte order of keys
      any other key                                 a dotted path with a scalar

Mappings are merged, lists and scalars replaced; `null` replaces too, and in the file
that werf gets it deletes the chart's default, as in Helm. Scalars under dotted paths
are typed as `helm --set` types them. Nothing is interpolated.

Errors name key and line, never a value.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from math import isfinite
from typing import Any, NamedTuple

import yaml

from controller_runtime import Json
from controllers.bundle.documents import NODES_MAX, BoundedLoader, BoundsError, read
from controllers.bundle.errors import BlockedError
from controllers.bundle.fingerprint import canonical, digest
from controllers.bundle.logs import MASKED_FROM

RESOLVED = "ValuesResolved"

_BYTES_MAX = 512 << 10
"""Largest values in bytes: they travel in a Secret."""

_SECRET_MAX = (1 << 20) - 1024
"""Largest content of a Secret in bytes, but for its keys."""

_INDEX_MAX = 1000
"""Longest list that a dotted path may make."""

_DOCUMENTS = (".yaml", ".yml", ".json")

_INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,18})")

_STEP = re.compile(r"\[([0-9]{1,6})\]|((?:\\.|[^.\[\\])+)")


class Source(NamedTuple):
    """Data of a ConfigMap or Secret that was found."""

    name: str
    """For messages, such as `ConfigMap shop/common`."""
    data: Mapping[str, bytes]
    key: str | None = None
    """The only key that counts, as a document."""
    is_secret: bool = False


@dataclass(frozen=True)
class Values:
    """What a release is given. What follows from it is found out once."""

    document: Json = field(repr=False)

    secrets: tuple[str, ...] = field(default=(), repr=False)
    """Texts that came from Secrets, to be hidden in logs."""

    @cached_property
    def text(self) -> str:
        """The document as JSON, which is YAML."""
        return canonical(self.document)

    @cached_property
    def masked(self) -> str:
        """What is to be hidden, as JSON."""
        return canonical(self.secrets)

    @cached_property
    def hash(self) -> str:
        """Equal for equal values, whatever they were written like."""
        return digest(self.document)


def merge(inline: Mapping[str, object], sources: Iterable[Source]) -> Values:
    """Merge all values.

    Raises:
        BlockedError: Some of them cannot be read, or there are too many.
    """
    try:
        return _merge(inline, sources)
    except RecursionError:
        raise BlockedError(
            "spec.converge.values has more levels than can be written",
            condition=RESOLVED,
            reason="InvalidYAML",
        ) from None


def _merge(inline: Mapping[str, object], sources: Iterable[Source]) -> Values:
    merged: Json = dict(inline)
    secrets: set[str] = set()
    for source in sources:
        document = read_source(source)
        if source.is_secret:
            secrets.update(_texts(document))
        merged = _over(merged, document)
    # Of the others werf is told nothing, and they may be many times as much.
    secrets.intersection_update(_texts(merged))
    values = Values(merged, tuple(sorted(secrets)))
    size, hidden = len(values.text.encode()), len(values.masked.encode())
    if size > _BYTES_MAX or size + hidden > _SECRET_MAX:
        raise BlockedError(
            f"the merged values have {size} bytes, and what of them is to be hidden "
            f"in logs has {hidden}; at most {_BYTES_MAX} are taken, {_SECRET_MAX} with "
            "both",
            condition=RESOLVED,
            reason="TooLarge",
        )
    return values


def read_source(source: Source) -> Json:
    """Read the values of one source."""
    if source.key is not None:
        return _document(source, source.key)
    document: Json = {}
    for key in sorted(source.data, key=str.encode):
        if key.endswith(_DOCUMENTS) or key == "values":
            document = _over(document, _document(source, key))
        else:
            _set(document, key, source)
    return document


def typed(text: str) -> object:
    """Read a scalar as `helm --set` does: `1.10` and `0123` stay text."""
    match text:
        case "true":
            return True
        case "false":
            return False
        case "null":
            return None
        case _:
            return int(text) if _INTEGER.fullmatch(text) else text


def _over(below: Mapping[str, Any], above: Mapping[str, Any]) -> Json:
    """Lay one mapping over another."""
    merged = dict(below)
    for key, value in above.items():
        under = merged.get(key)
        if isinstance(under, dict) and isinstance(value, dict):
            merged[key] = _over(under, value)
        else:
            merged[key] = value
    return merged


def _text(source: Source, key: str) -> str:
    if key not in source.data:
        raise _unreadable(source, f"it has no key {key!r}")
    try:
        return source.data[key].decode()
    except UnicodeDecodeError:
        raise _unreadable(source, f"the key {key!r} is no UTF-8") from None


class _Loader(BoundedLoader):
    """YAML as JSON can hold it: no dates, no keys twice, no tags."""


_Loader.yaml_implicit_resolvers = {
    first: [
        (tag, regexp) for tag, regexp in resolvers if not tag.endswith(":timestamp")
    ]
    for first, resolvers in yaml.CSafeLoader.yaml_implicit_resolvers.items()
}


def _mapping(loader: _Loader, node: yaml.MappingNode) -> Json:
    own = [key.value for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
    if len(own) != len({str(key) for key in own}):
        raise yaml.constructor.ConstructorError(
            None, None, "a key twice", node.start_mark
        )
    loader.flatten_mapping(node)
    return {
        _key(loader.construct_object(key, deep=True)): loader.construct_object(
            value, deep=True
        )
        for key, value in node.value
    }


_Loader.add_constructor("tag:yaml.org,2002:map", _mapping)


def _key(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "null" if value is None else str(value)


def _document(source: Source, key: str) -> Json:
    text = _text(source, key)
    try:
        loaded = read(text, _Loader)
    except BoundsError as error:
        raise _unreadable(source, f"the key {key!r} is too much: {error}") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f" (line {mark.line + 1})" if mark is not None else ""
        what = "has a key twice" if error.problem == "a key twice" else "is no YAML"
        raise _unreadable(source, f"the key {key!r} {what}{where}") from None
    except (yaml.YAMLError, ValueError, RecursionError):
        raise _unreadable(source, f"the key {key!r} is no YAML") from None
    if loaded is None:
        return {}
    if not isinstance(loaded, dict):
        raise _unreadable(source, f"the key {key!r} is no mapping")
    if not _is_json(loaded):
        raise _unreadable(
            source, f"the key {key!r} has what JSON cannot hold, or far too much"
        )
    return loaded


def _is_json(value: object) -> bool:
    """Tell whether a document is one, and not a bomb of aliases."""
    left = [value]
    for count in range(NODES_MAX):
        if not left:
            return True
        node = left.pop()
        if isinstance(node, dict):
            left.extend(node.values())
        elif isinstance(node, list):
            left.extend(node)
        elif not _is_scalar(node):
            return False
        if len(left) + count > NODES_MAX:
            return False
    return False


def _is_scalar(value: object) -> bool:
    if isinstance(value, float):
        return isfinite(value)
    return isinstance(value, str | int | bool | None)


def _set(document: Json, path: str, source: Source) -> None:
    r"""Put a scalar where a dotted path says: `a.b`, `a\.b` (one key), `a[0].b`."""
    steps = list(_steps(path, source))
    place: Any = document
    for step, following in zip(steps, [*steps[1:], None], strict=True):
        fresh: Any = [] if isinstance(following, int) else {}
        value = typed(_text(source, path)) if following is None else fresh
        if isinstance(step, int):
            place.extend([None] * (step + 1 - len(place)))
            there = place[step]
        else:
            there = place.get(step)
        if following is not None and type(there) is type(fresh):
            value = there
        place[step] = value
        place = value


def _steps(path: str, source: Source) -> Iterator[str | int]:
    position = 0
    while position < len(path):
        found = _STEP.match(path, position)
        is_first_index = position == 0 and path.startswith("[")
        if found is None or is_first_index or int(found[1] or 0) >= _INDEX_MAX:
            raise _unreadable(source, f"the key {path!r} is no path such as a.b[0]")
        yield int(found[1]) if found[1] else re.sub(r"\\(.)", r"\1", found[2])
        position = found.end()
        if path.startswith(".", position):
            position += 1
            if position == len(path):
                raise _unreadable(source, f"the key {path!r} ends with a dot")


def _texts(value: object) -> Iterator[str]:
    """Yield what of a Secret's values must not be seen."""
    match value:
        case dict():
            for each in value.values():
                yield from _texts(each)
        case list():
            for each in value:
                yield from _texts(each)
        case str() | int() | float() if not isinstance(value, bool):
            if len(str(value)) >= MASKED_FROM:
                yield str(value)
        case _:
            return


def _unreadable(source: Source, why: str) -> BlockedError:
    return BlockedError(
        f"{source.name} cannot be read as values: {why}",
        condition=RESOLVED,
        reason="InvalidYAML",
    )
