"""A command line as the original's library (pflag) reads it.

    --flag value   --flag=value   --switch   --switch=false

Values of lists are CSV: an item in quotes may hold commas, and a flag may be given
more than once. Words that are no flags, and all that comes after `--`, mean nothing,
there as here: they are kept apart, for a remark. The most likely one is the value of
a switch without an equals sign.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from enum import StrEnum, auto

from controller_runtime import ConfigError

_TRUE = frozenset({"1", "t", "T", "TRUE", "true", "True"})
_FALSE = frozenset({"0", "f", "F", "FALSE", "false", "False"})
"""Go's `strconv.ParseBool`."""


class FlagKind(StrEnum):
    """How the value of a flag is read."""

    TEXT = auto()
    LIST = auto()
    SWITCH = auto()
    """On alone; a value takes an equals sign."""

    WORD = auto()
    """`true`, or anything else for off; as all texts, with or without an equals
    sign."""


@dataclass(frozen=True, slots=True)
class Flag:
    """One flag."""

    name: str
    """Without dashes; what it is called by in `Flags`."""

    kind: FlagKind
    help: str
    aliases: tuple[str, ...] = ()


class Flags:
    """Flags that were given, by name."""

    def __init__(
        self, given: Mapping[str, Sequence[str]], strays: Sequence[str] = ()
    ) -> None:
        self._given = given
        self.strays = tuple(strays)
        """Words that are no flags."""

    def text(self, name: str, default: str = "") -> str:
        """Return the last value."""
        return self._given.get(name, [default])[-1]

    def items(self, name: str) -> tuple[str, ...]:
        """Return the items of a list, without blanks, each once.

        Raises:
            ConfigError: The quotes do not match.
        """
        return tuple(dict.fromkeys(self._items(name)))

    def joined(self, name: str) -> str:
        """Return the items of a list with commas between them, as they were given.

        So `a in (x,y),b in (x,y)` is whole again, of which a list makes four items.

        Raises:
            ConfigError: The quotes do not match.
        """
        return ",".join(self._items(name))

    def is_on(self, name: str) -> bool:
        """Return whether a switch is on.

        Raises:
            ConfigError: The value is neither true nor false.
        """
        value = self.text(name, "false")
        if value not in _TRUE | _FALSE:
            raise ConfigError(f"--{name}={value} is neither true nor false")
        return value in _TRUE

    def says_true(self, name: str) -> bool | None:
        """Return whether a word says so; `None` if it is neither true nor false."""
        value = self.text(name)
        return value in _TRUE if value in _TRUE | _FALSE | {""} else None

    def _items(self, name: str) -> Iterator[str]:
        for value in self._given.get(name, ()):
            try:
                rows = list(csv.reader([value], strict=True))
            except csv.Error as error:
                raise ConfigError(f"--{name}={value} is no list: {error}") from None
            yield from filter(None, (item.strip() for row in rows for item in row))


def parse(arguments: Sequence[str], known: Sequence[Flag]) -> Flags:
    """Read a command line.

    Raises:
        ConfigError: A flag is not known, lacks its value, or has one dash.
    """
    by_name = {name: it for it in known for name in (it.name, *it.aliases)}
    given: dict[str, list[str]] = {}
    strays: list[str] = []
    for flag, value in _pairs(iter(arguments), by_name):
        if flag is None:
            strays.append(value)
        else:
            given.setdefault(flag.name, []).append(value)
    return Flags(given, strays)


_VALUES: Mapping[FlagKind, str] = {
    FlagKind.TEXT: " value",
    FlagKind.LIST: " a,b",
    FlagKind.SWITCH: "",
    FlagKind.WORD: " true|false",
}


def usage(known: Sequence[Flag], variables: Mapping[str, str]) -> str:
    """Say which flags there are, and which variables of the environment."""
    flags = [(f"--{it.name}{_VALUES[it.kind]}", it.help) for it in known]
    rows = [*flags, *variables.items()]
    width = max(len(name) for name, _ in rows)
    lines = [f"  {name:<{width}}  {text}" for name, text in rows]
    parts: Sequence[tuple[str, Sequence[str]]] = (
        ("Usage: reloader [flags], as stakater/Reloader is called", []),
        ("Flags; --flag value and --flag=value are the same:", lines[: len(flags)]),
        ("Variables:", lines[len(flags) :]),
    )
    return "\n".join(line for title, part in parts for line in (title, *part, ""))


def _guess(name: str, known: Mapping[str, Flag]) -> str:
    """Ask for a flag that has nearly this name."""
    near = get_close_matches(name, list(known), n=1)
    return f": is --{near[0]} meant?" if near else ""


def _pairs(
    rest: Iterator[str], known: Mapping[str, Flag]
) -> Iterator[tuple[Flag | None, str]]:
    """Yield each flag with its value, and words that are none without a flag."""
    for argument in rest:
        if argument == "--":
            yield from ((None, word) for word in rest)
            return
        if not argument.startswith("-") or argument == "-":
            yield None, argument
            continue
        name, equals, value = argument.removeprefix("--").partition("=")
        if not argument.startswith("--") or not name:
            raise ConfigError(
                f"{argument!r} is no flag: they have two dashes, such as "
                "--auto-reload-all; --help names them"
            )
        flag = known.get(name)
        if flag is None:
            raise ConfigError(
                f"unknown flag --{name}{_guess(name, known)}; --help names those there "
                "are"
            )
        if equals:
            yield flag, value
        elif flag.kind is FlagKind.SWITCH:
            yield flag, "true"
        else:
            try:
                yield flag, next(rest)
            except StopIteration:
                raise ConfigError(f"--{name} needs a value: --{name}=…") from None
