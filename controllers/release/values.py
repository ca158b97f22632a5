"""The values of a release: from where they are written to one mapping, and its digest.

    inline, ConfigMaps, Secrets ──▶ Pieces, lowest first ──parse──▶ mappings
        ──merge──▶ ──set_path──▶ ──expand──▶ Values ──config_digest──▶ changed?

Later pieces win. Mappings merge, whatever else replaces, and `null` stays: it is how a
default of the chart is removed. Pieces with a path of their own come last, always.

Everything here is pure but `Composer`, which has the engine read the YAML: other
parsers read `1e3`, `y`, `0o17` or `2024-01-01` differently from Helm (PyYAML 9 of 18
such texts). What it has read it remembers, by content, so that a release whose values
did not change costs no worker.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from controller_runtime import ControllerRuntimeError
from controllers.release.helm.engine import Engine, EngineError, Failure
from controllers.release.scrub import secret_texts

_INDEX_MAX = 1024
"""Highest index in a target path."""

_MEMORY = 16 << 20
"""Bytes of YAML whose values are remembered."""

_PLACEHOLDER = re.compile(r"\$\{([A-Za-z_]\w*)\}|\{\{([A-Za-z_]\w*)\}\}", re.ASCII)

_STEP = re.compile(r"((?:\\.|[^.\[\]\\])+)|\[(\d{1,6})\]|(\.)")

_COUNTED = re.compile(r"document (\d+): (.*)", re.DOTALL)


class ValuesError(ControllerRuntimeError):
    """Values that cannot be used until somebody changes what the message names."""


class Precedence(StrEnum):
    """What wins, from low to high; pieces with a target path are above all."""

    REFS_LAST = "refsLast"
    """Inline, ConfigMaps, Secrets: Roost Keeper's."""

    INLINE_LAST = "inlineLast"
    """ConfigMaps, Secrets, inline: Flux's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A text with values, and where it was."""

    where: str
    """For messages: `key values.yaml of ConfigMap team-a/web`."""

    text: str = field(repr=False)

    is_secret: bool = False
    """Whether no message may quote it."""

    target_path: str = ""
    """Where the text goes, as one value (`a.b[0].c`); empty if it is YAML."""

    literal: bool = False
    """Whether that value is the text as it stands, not a number or boolean in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """All that a spec refers to, fetched."""

    inline: Piece | None = None
    """YAML in the spec."""

    mapping: Mapping[str, object] | None = field(default=None, repr=False)
    """Values in the spec as an object. Not together with `inline`."""

    config_maps: Sequence[Piece] = ()
    secrets: Sequence[Piece] = ()
    precedence: Precedence = Precedence.REFS_LAST


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """Placeholders in texts: `${NAME}` and `{{NAME}}`."""

    context: Mapping[str, str] = field(default_factory=dict)
    """The user's names."""

    builtin: Mapping[str, str] = field(default_factory=dict)
    """Ours, which win over the user's: `ROOST_NAME` and so on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Values:
    """What Helm gets."""

    merged: Mapping[str, object] = field(repr=False)

    secrets: frozenset[str] = field(repr=False)
    """Texts that came from Secrets, for `Order.secrets`."""


def read_pieces(
    where: str,
    data: Mapping[str, str],
    *,
    key: str = "",
    is_secret: bool = False,
    target_path: str = "",
    literal: bool = False,
) -> Sequence[Piece]:
    """Take the pieces out of a ConfigMap or a Secret.

    Args:
        where: `Secret team-a/web`.
        data: Key → text.
        key: The one that counts; all of them, sorted, if it is empty.
        is_secret: Whether no message may quote them.
        target_path: Where the value goes, if it is one value.
        literal: Whether it goes there as text.

    Raises:
        ValuesError: There is no such key, or a path without a key.
    """
    if target_path and not key:
        raise ValuesError(f"{where}: a targetPath needs the key whose value goes there")
    if key and key not in data:
        there = ", ".join(sorted(data)) or "none"
        raise ValuesError(f"{where} has no key {key!r}; its keys: {there}")
    return [
        Piece(
            where=f"key {name} of {where}",
            text=data[name],
            is_secret=is_secret,
            target_path=target_path,
            literal=literal,
        )
        for name in ([key] if key else sorted(data))
    ]


def merge(low: Mapping[str, object], high: Mapping[str, object]) -> dict[str, object]:
    """Lay `high` over `low`; neither is changed."""
    merged = dict(low)
    for key, value in high.items():
        below = merged.get(key)
        if isinstance(below, Mapping) and isinstance(value, Mapping):
            merged[key] = merge(below, value)
        else:
            merged[key] = value
    return merged


def set_path(
    values: Mapping[str, object], path: str, value: object
) -> dict[str, object]:
    r"""Return the values with one of them set; mappings and lists grow as needed.

    Args:
        values: They are not changed.
        path: Names with dots in between, `[n]` for the nth of a list, `\.` for a dot
            in a name.
        value: What goes there.

    Raises:
        ValuesError: The path cannot be read, or leads through something else.
    """
    changed = _placed(values, _steps(path), value, path)
    if not isinstance(changed, dict):
        raise ValuesError(f"the targetPath {path!r} begins with an index")
    return changed


def typed(text: str) -> object:
    """Read one value as `helm --set` does: numbers, booleans and `null`, else text."""
    known = {"true": True, "false": False, "null": None}
    if text in known:
        return known[text]
    # With a leading zero it is a name, such as an octal mode or a commit.
    if re.fullmatch(r"-?(?:0|[1-9][0-9]{0,17})", text):
        return int(text)
    return text


def expand(value: object, template: Template) -> object:
    """Replace the placeholders in every text, once: what comes in is not read again.

    Names that nobody defined stay as they are. Keys are not touched.
    """
    names = {**template.context, **template.builtin}

    def replaced(match: re.Match[str]) -> str:
        return names.get(match[1] or match[2], match[0])

    def walk(value: object) -> object:
        match value:
            case str():
                return _PLACEHOLDER.sub(replaced, value)
            case Mapping():
                return {key: walk(inner) for key, inner in value.items()}
            case list():
                return [walk(inner) for inner in value]
            case _:
                return value

    return walk(value)


def config_digest(namespace: str, name: str, **parts: object) -> str:
    """Return the digest of all that makes a release what it is: 64 hex digits.

    It is salted with the object's name, as values may hold secrets that can be guessed.
    Equal parts give equal digests, whatever the order of their keys.

    Args:
        namespace: Of the ManagedRoost.
        name: Of the ManagedRoost.
        parts: JSON: chart name, version and digest, merged values, and so on.
    """
    canonical = json.dumps(
        parts, sort_keys=True, separators=(",", ":"), ensure_ascii=False
    )
    return hashlib.sha256(f"{namespace}/{name}\0{canonical}".encode()).hexdigest()


class Composer:
    """Makes values of sources."""

    def __init__(self, engine: Engine, *, memory: int = _MEMORY) -> None:
        """Read with `engine`, and remember so many bytes of YAML."""
        self._engine = engine
        self._left = memory
        self._read: OrderedDict[bytes, tuple[int, Mapping[str, object]]] = OrderedDict()

    async def compose(
        self, sources: Sources, template: Template | None = None
    ) -> Values:
        """Read, merge and fill in.

        Args:
            sources: Where values are written.
            template: What placeholders stand for; `None` leaves them alone.

        Raises:
            ValuesError: Something cannot be read; the text names it.
            EngineError: Reading was not possible just now.
        """
        refs = [*sources.config_maps, *sources.secrets]
        inline = [sources.inline] if sources.inline is not None else []
        whole = [piece for piece in refs if not piece.target_path]
        parsed = await self._parse([*inline, *whole])
        below = parsed[: len(inline)] or [sources.mapping or {}]
        layers = [*below, *parsed[len(inline) :]]
        if sources.precedence is Precedence.INLINE_LAST:
            layers = [*parsed[len(inline) :], *below]
        merged: Mapping[str, object] = {}
        for layer in layers:
            merged = merge(merged, layer)
        for piece in refs:
            if piece.target_path:
                merged = _set(merged, piece)
        secret = _secrets(zip(whole, parsed[len(inline) :], strict=True), refs)
        if template is not None:
            merged = {key: expand(value, template) for key, value in merged.items()}
            # Filled in they are other texts, which Helm may quote.
            secret += [expand(it, template) for it in secret]
        return Values(merged=merged, secrets=secret_texts(*secret))

    async def _parse(self, pieces: Sequence[Piece]) -> Sequence[Mapping[str, object]]:
        keys = [hashlib.sha256(piece.text.encode()).digest() for piece in pieces]
        found = {key: self._read[key][1] for key in keys if key in self._read}
        new = {
            key: piece
            for key, piece in zip(keys, pieces, strict=True)
            if key not in found
        }
        if new:
            read = await self._ask(list(new.values()))
            for (key, piece), values in zip(new.items(), read, strict=True):
                found[key] = values
                self._remember(key, len(piece.text), values)
        for key in keys:
            if key in self._read:
                self._read.move_to_end(key)
        return [found[key] for key in keys]

    async def _ask(self, pieces: Sequence[Piece]) -> Sequence[Mapping[str, object]]:
        try:
            return await self._engine.parse([piece.text for piece in pieces])
        except EngineError as error:
            match = _COUNTED.match(str(error))
            if error.failure is not Failure.INVALID or match is None:
                raise
            raise _unreadable(pieces[int(match[1]) - 1], match[2]) from None

    def _remember(self, key: bytes, size: int, values: Mapping[str, object]) -> None:
        self._left -= size
        self._read[key] = (size, values)
        while self._left < 0:
            _, (freed, _) = self._read.popitem(last=False)
            self._left += freed


def _secrets(
    parsed: Iterable[tuple[Piece, Mapping[str, object]]], refs: Iterable[Piece]
) -> list[object]:
    """Return the values that came from Secrets."""
    whole = [values for piece, values in parsed if piece.is_secret]
    single = [piece.text for piece in refs if piece.is_secret and piece.target_path]
    return [*whole, *single]


def _set(values: Mapping[str, object], piece: Piece) -> Mapping[str, object]:
    value = piece.text if piece.literal else typed(piece.text)
    try:
        return set_path(values, piece.target_path, value)
    except ValuesError as error:
        raise ValuesError(f"{piece.where}: {error}") from None


def _unreadable(piece: Piece, why: str) -> ValuesError:
    if "cannot unmarshal" in why:
        return ValuesError(
            f"{piece.where} is no YAML mapping: write `name: value` lines, or give it "
            "a targetPath"
        )
    line = re.search(r"\bline \d+", why)
    if piece.is_secret:  # the parser may quote what it could not read
        why = line[0] if line else "somewhere"
    return ValuesError(f"{piece.where} is not YAML: {why}")


def _steps(path: str) -> Sequence[str | int]:
    """Read a path; between two steps there is a dot, or the bracket of an index."""
    steps: list[str | int] = []
    at = 0
    name_may_follow = True
    while at < len(path):
        match = _STEP.match(path, at)
        if match is None:
            break
        at = match.end()
        name, index, dot = match.groups()
        if name is not None and name_may_follow:
            steps.append(re.sub(r"\\(.)", r"\1", name))
            name_may_follow = False
        elif index is not None and int(index) <= _INDEX_MAX:
            steps.append(int(index))
            name_may_follow = False
        elif dot is not None and not name_may_follow:
            name_may_follow = True
        else:
            break
    else:
        if steps and not name_may_follow:
            return steps
    raise ValuesError(
        f"the targetPath {path!r} cannot be read: write it like server.hosts[0].name"
    )


def _placed(
    current: object, steps: Sequence[str | int], value: object, path: str
) -> object:
    if not steps:
        return value
    step, rest = steps[0], steps[1:]
    if isinstance(step, str):
        if current is not None and not isinstance(current, Mapping):
            raise ValuesError(f"the targetPath {path!r} leads through a value")
        mapping = dict(current or {})
        mapping[step] = _placed(mapping.get(step), rest, value, path)
        return mapping
    if current is not None and not isinstance(current, list):
        raise ValuesError(
            f"the targetPath {path!r} has an index where there is no list"
        )
    items = list(current or [])
    items += [None] * (step + 1 - len(items))
    items[step] = _placed(items[step], rest, value, path)
    return items
