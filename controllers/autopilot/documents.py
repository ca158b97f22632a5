"""YAML of strangers: read within limits, into JSON and nothing else.

    text ──events──▶ within limits? ──▶ values ──▶ JSON

The limits are looked at while the parser goes through the text, before anything is
built: a document of a few bytes may be deep enough for a stack to overflow, or stand
for more nodes than memory holds. Values are YAML 1.1's, as kubectl reads them, less
those that JSON does not have: a date stays the text that it is.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import yaml

from controllers.autopilot.errors import CatalogError

MAX_BYTES = 10 * 1024 * 1024
"""Longest file, and longest output of a template."""

MAX_DEPTH = 100
"""Deepest nesting."""

MAX_ALIASED = 10_000
"""Most nodes that aliases may stand for, all together."""

_TIMESTAMP = "tag:yaml.org,2002:timestamp"


class _Loader(yaml.CSafeLoader):
    """Reads what JSON can hold, and refuses a key that is given twice."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value != "<<":
                if key.value in seen:
                    line = key.start_mark.line + 1
                    raise CatalogError(
                        f"the key {key.value!r} of line {line} is given twice"
                    )
                seen.add(key.value)
        mapping: dict[Any, Any] = super().construct_mapping(node, deep=deep)
        return mapping


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != _TIMESTAMP]
    for first, resolvers in yaml.CSafeLoader.yaml_implicit_resolvers.items()
}


def read_documents(text: str, *, origin: str) -> list[Any]:
    """Read all documents of a text that are not empty.

    Args:
        text: The YAML.
        origin: What errors call it, such as its path.

    Raises:
        CatalogError: It is no YAML, has what JSON has not, or is beyond a limit.
    """
    try:
        check_limits(text)
        documents = [d for d in yaml.load_all(text, _Loader) if d is not None]
        for document in documents:
            _check_json(document, "")
    except CatalogError as error:
        raise CatalogError(f"{origin}: {error}") from None
    except (yaml.YAMLError, ValueError) as error:
        # An integer such as `1:99999…` or a bad escape is a ValueError.
        reason = " ".join(str(error).split())
        raise CatalogError(f"{origin} is not YAML: {reason}") from None
    return documents


def read_object(text: str, *, origin: str) -> dict[str, Any] | None:
    """Read the only document of a text; `None` if there is none.

    Raises:
        CatalogError: As `read_documents`; there are several, or it is no map.
    """
    match read_documents(text, origin=origin):
        case []:
            return None
        case [dict() as document]:
            return document
        case [other]:
            kind = type(other).__name__
            raise CatalogError(f"{origin} must be a map, and is a {kind}")
        case several:
            raise CatalogError(
                f"{origin} has {len(several)} documents; there must be one"
            )


def check_limits(text: str) -> None:
    """Go through a text without building anything of it.

    Raises:
        CatalogError: It is too long or too deep, or its aliases stand for too much.
        yaml.YAMLError: It is no YAML.
    """
    if len(text) > MAX_BYTES or len(text.encode()) > MAX_BYTES:
        raise CatalogError(f"it is longer than {MAX_BYTES} bytes")
    watch = _Watch()
    for event in yaml.parse(text, yaml.CSafeLoader):
        watch.see(event)


class _Watch:
    """Counts depth, and what aliases stand for, along the events of a parser."""

    def __init__(self) -> None:
        self._open: list[tuple[str | None, int]] = []
        """Anchor of each collection that is open, and nodes seen before it."""
        self._nodes = 0
        """Nodes so far, those behind aliases included."""
        self._aliased = 0
        self._sizes: dict[str, int] = {}

    def see(self, event: yaml.Event) -> None:
        line = _line(event)
        match event:
            case yaml.DocumentStartEvent():
                self._sizes.clear()
            case yaml.CollectionStartEvent(anchor=anchor):
                self._open.append((anchor, self._nodes))
                self._nodes += 1
                if len(self._open) > MAX_DEPTH:
                    raise CatalogError(
                        f"line {line} is nested deeper than {MAX_DEPTH} levels"
                    )
            case yaml.CollectionEndEvent():
                anchor, before = self._open.pop()
                if anchor is not None:
                    self._sizes[anchor] = self._nodes - before
            case yaml.ScalarEvent(anchor=anchor):
                self._nodes += 1
                if anchor is not None:
                    self._sizes[anchor] = 1
            case yaml.AliasEvent(anchor=str(anchor)):
                self._follow(anchor, line)
            case _:
                pass

    def _follow(self, anchor: str, line: int) -> None:
        if anchor in {name for name, _ in self._open}:
            raise CatalogError(f"the alias of line {line} contains itself")
        size = self._sizes.get(anchor, 1)
        self._nodes += size
        self._aliased += size
        if self._aliased > MAX_ALIASED:
            raise CatalogError(
                f"up to line {line} aliases stand for more than {MAX_ALIASED} nodes"
            )


def _line(event: yaml.Event) -> int:
    return event.start_mark.line + 1 if event.start_mark else 0


def _check_json(value: object, path: str) -> None:
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise CatalogError(
                    f"the key {key!r} under {path or '/'} must be a string: quote it"
                )
            _check_json(item, f"{path}/{key}")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            _check_json(item, f"{path}/{index}")
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise CatalogError(f"{path} is {value}, which JSON does not have")
    elif not isinstance(value, str | int | None):
        kind = type(value).__name__
        raise CatalogError(f"{path} is a {kind}, which JSON does not have: quote it")


def write_yaml(value: object) -> str:
    """Write JSON so that every reader of YAML gets it back, Go's too.

    PyYAML leaves `1e3` and `y` bare, which are no strings to others: whatever could be
    a number or a boolean to somebody is quoted.
    """
    text: str = yaml.dump(
        value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=88
    )
    return text.removesuffix("...\n")


class _Dumper(yaml.CSafeDumper):
    """Writes no aliases, and quotes what is ambiguous."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def _represent(dumper: yaml.CSafeDumper, text: str) -> yaml.ScalarNode:
    style = '"' if _AMBIGUOUS.match(text) else "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_AMBIGUOUS = re.compile(r"[-+.]?[0-9]|(?i:y|n|yes|no|on|off|true|false|null|~)\Z")

_Dumper.add_representer(str, _represent)


class Trap(NamedTuple):
    """A value that means something else than its author may think."""

    line: int
    text: str
    reason: str


_BOOLEAN_WORDS = re.compile(r"(?i:y|n|yes|no|on|off)")
_OCTAL = re.compile(r"[-+]?0[0-9_]+")
_SEXAGESIMAL = re.compile(r"[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?")
_DATE = re.compile(r"\d{4}-\d\d?-\d\d?([Tt ].*)?")

_TRAPS = (
    (_BOOLEAN_WORDS, "is a boolean to some readers: write true or false, or quote it"),
    (_OCTAL, "is octal to some readers: write the decimal number, or quote it"),
    (_SEXAGESIMAL, "is a number of base 60 to some readers: quote it"),
    (_DATE, "is a date to some readers: quote it"),
)


def traps(text: str) -> Iterator[Trap]:
    """Yield plain scalars that YAML readers do not agree about.

    Raises:
        yaml.YAMLError: It is no YAML.
    """
    for event in yaml.parse(text, yaml.CSafeLoader):
        if isinstance(event, yaml.ScalarEvent) and not event.style:
            for pattern, reason in _TRAPS:
                if pattern.fullmatch(event.value):
                    yield Trap(_line(event), event.value, reason)
