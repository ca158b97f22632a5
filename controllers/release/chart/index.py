"""One chart's entry in the index of a repository, which may be a hundred megabytes.

    block style, as `helm repo index` writes it ──▶ the lines of the entry are cut out
    JSON ──▶ entries stay the bytes they are ─────▶ the one is read
    other YAML ──▶ event by event ────────────────▶ the one is kept
                                                     └──▶ Release, Release …

A whole index as Python objects takes ten times its size. In block style, a line that is
indented like the names of charts cannot be part of a text, which is indented deeper: so
the lines of one entry can be cut out of the mapped file. Everything is read as text, so
that version `1.10` is not 1.1.
"""

from __future__ import annotations

import mmap
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import msgspec
import yaml

_Node = str | list["_Node"] | dict[str, "_Node"]

_TOP = re.compile(
    rb"^(?:\"entries\"|'entries'|entries)[ \t]*:[ \t]*(?:#.*)?(?=\r?$)", re.MULTILINE
)
_FIRST = re.compile(rb"^( *)[^\s#]", re.MULTILINE)

_STEP = 1 << 18
"""Bytes that are searched at a time: other threads wait for a millisecond."""

_DEPTH = 40
"""Levels of nesting in an entry; real ones have five."""

_ENTRY_MAX = 16 << 20
"""Bytes of one chart's entry."""

Parser = getattr(yaml, "CParser", None)
"""libyaml's, which is not in every wheel of PyYAML."""


class IndexFileError(ValueError):
    """The index cannot be read; the text says why and quotes nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """One version of a chart in an index."""

    version: str
    urls: tuple[str, ...]
    """Absolute, or relative to the repository; in the order to try."""

    digest: str = ""
    """`sha256:…` of the archive; empty if the index has none."""


def read_entry(path: Path, chart: str) -> Sequence[Release]:
    """Return the versions of a chart, as the index orders them; empty if it has none.

    Blocks on the disk: for 20 MB a tenth of a second, or ten if it is YAML in an
    unusual style. Other threads go on meanwhile.

    Raises:
        IndexFileError: It is no index.
    """
    with path.open("rb") as file:
        if not path.stat().st_size:
            raise IndexFileError("it is empty")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            found: object | None
            if content[:1] == b"{":
                found = _read_json(content, chart)
            else:
                found = _read_block(content, chart)
        return _releases(found if found is not None else _search(file, chart))


def _read_block(content: mmap.mmap, chart: str) -> _Node | None:
    """Read one entry of an index in block style; `None` if it is in another."""
    top = _TOP.search(content)
    if top is None:
        return None
    first = _FIRST.search(content, top.end() + 1)
    if first is None or not first[1]:
        return []
    depth = len(first[1])
    begin, end = -1, len(content)
    for heading in _headings(content, top.end(), depth):
        if begin >= 0:
            end = heading.start()
            break
        if len(heading[1]) < depth:
            return []  # the entries are over
        if heading[2].decode(errors="replace") == chart:
            begin = heading.start()
    return _read_lines(content, begin, end) if begin >= 0 else []


def _headings(content: mmap.mmap, begin: int, depth: int) -> Iterator[re.Match[bytes]]:
    """Yield the lines that are indented so deep, or less, and begin something.

    Comments begin nothing, nor do items of lists, which may be as deep as their key.
    """
    line = re.compile(rb"\n( {0,%d})(?=[^\s#-])[\"']?([^\s:\"']*)" % depth)
    while begin < len(content):
        end = content.find(b"\n", begin + _STEP)
        end = len(content) if end < 0 else end
        yield from line.finditer(content, begin, end)
        begin = end


def _read_lines(content: mmap.mmap, begin: int, end: int) -> _Node:
    if end - begin > _ENTRY_MAX:
        raise IndexFileError(f"an entry has more than {_ENTRY_MAX} bytes")
    events = _events(content[begin:end])
    _begin(events)
    next(events)  # the name
    return _node(events)


class _Json(msgspec.Struct):
    entries: dict[str, msgspec.Raw]


def _read_json(content: mmap.mmap, chart: str) -> object | None:
    """Read one entry of an index in JSON; `None` if it is something else."""
    try:
        raw = msgspec.json.decode(content, type=_Json).entries.get(chart)
        return [] if raw is None else msgspec.json.decode(bytes(raw))
    except (msgspec.MsgspecError, RecursionError):
        return None


def _search(file: IO[bytes], chart: str) -> _Node:
    """Walk through the events of an index in any style."""
    file.seek(0)
    events = _events(file)
    _begin(events)
    if not _find(events, "entries"):
        raise IndexFileError("it has no `entries`")
    if not isinstance(next(events), yaml.MappingStartEvent):
        raise IndexFileError("its `entries` are no mapping")
    return _node(events) if _find(events, chart) else []


def _begin(events: Iterator[yaml.Event]) -> None:
    """Go past the beginning of the stream, the document and its mapping."""
    for event in events:
        if isinstance(event, yaml.MappingStartEvent):
            return
        if isinstance(event, yaml.NodeEvent):
            break
    raise IndexFileError("it is no mapping")


def _find(events: Iterator[yaml.Event], name: str) -> bool:
    """Go to the value of a key of the mapping that has begun."""
    for event in events:
        if isinstance(event, yaml.MappingEndEvent):
            return False
        if isinstance(event, yaml.ScalarEvent) and event.value == name:
            return True
        _skip(events, next(events))
    return False


def _skip(events: Iterator[yaml.Event], event: yaml.Event) -> None:
    depth = 0
    while True:
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth == 0:
            return
        event = next(events)


def _events(source: bytes | IO[bytes]) -> Iterator[yaml.Event]:
    loader = Parser(source) if Parser is not None else yaml.SafeLoader(source)
    try:
        while loader.check_event():
            yield loader.get_event()
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" (line {mark.line + 1})" if mark is not None else ""
        raise IndexFileError(f"it is not YAML{line}") from None
    finally:
        loader.dispose()


def _node(events: Iterator[yaml.Event], depth: int = 0) -> _Node:
    """Build what follows, every scalar a text."""
    return _built(next(events), events, depth)


def _built(event: yaml.Event, events: Iterator[yaml.Event], depth: int) -> _Node:
    if depth > _DEPTH:
        raise IndexFileError("an entry is nested too deep")
    match event:
        case yaml.ScalarEvent():
            return str(event.value)
        case yaml.SequenceStartEvent():
            items: list[_Node] = []
            while not isinstance(event := next(events), yaml.SequenceEndEvent):
                items.append(_built(event, events, depth + 1))
            return items
        case yaml.MappingStartEvent():
            fields: dict[str, _Node] = {}
            while not isinstance(event := next(events), yaml.MappingEndEvent):
                key = _built(event, events, depth + 1)
                fields[str(key)] = _node(events, depth + 1)
            return fields
        case _:
            raise IndexFileError("an entry has an alias")


def _releases(entry: object) -> Sequence[Release]:
    """Read what `Chart.yaml` and `urls` say; what has no version or URL is left out."""
    if not isinstance(entry, list):
        raise IndexFileError("an entry is no list of versions")
    return [
        Release(version=version, urls=urls, digest=_digest(item))
        for item in entry
        if isinstance(item, Mapping)
        and (version := _text(item, "version"))
        and (urls := _urls(item))
    ]


def _text(item: Mapping[str, object], key: str) -> str:
    value = item.get(key)
    return value if isinstance(value, str) else ""


def _urls(item: Mapping[str, object]) -> tuple[str, ...]:
    urls = item.get("urls")
    if not isinstance(urls, list):
        return ()
    return tuple(url for url in urls if isinstance(url, str) and url)


def _digest(item: Mapping[str, object]) -> str:
    """Return the digest with its algorithm, which old indexes leave out."""
    digest = _text(item, "digest").lower().removeprefix("sha256:")
    return f"sha256:{digest}" if re.fullmatch("[a-f0-9]{64}", digest) else ""
