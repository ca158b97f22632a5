"""Constraints: text in, intervals of versions out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from controller_runtime import TerminalError
from controllers.versions.version import (
    FLOOR,
    RELEASE,
    WORDS,
    Identifier,
    Key,
    Prerelease,
    Version,
    read_prerelease,
)

CONSTRAINT_MAX = 512
"""Longest constraint in characters, as in Masterminds/semver."""

GROUPS_MAX = 32
"""Most alternatives between `||`, as in Masterminds/semver."""

_AFTER: Identifier = (-1, 0, "")
"""Appended to a key, makes the smallest one above it."""

_SPACE = r"[ \t\n\f\r]"
_PART = r"[0-9xX*]+"
_BOUND = (
    rf"v?({_PART})(?:\.({_PART}))?(?:\.({_PART}))?(?:-({WORDS}))?(?:\+(?:{WORDS}))?"
)
_ITEM = re.compile(
    rf"(?P<operator>=>|>=|=<|<=|!=|~>|[=<>~^]?){_SPACE}*(?P<bound>{_BOUND})"
)
_SEPARATOR = re.compile(rf"{_SPACE}*,{_SPACE}*|{_SPACE}+")
_END = rf"(v?{_PART}(?:\.{_PART}){{0,2}}(?:-{WORDS})?(?:\+{WORDS})?)"
_RANGE = re.compile(rf"{_SPACE}*{_END}{_SPACE}+-{_SPACE}+{_END}{_SPACE}*")
_WILDCARDS = frozenset({"x", "X", "*"})


class InvalidConstraintError(TerminalError):
    """A constraint or a filter that cannot be read; its author has to change it."""


class _Interval(NamedTuple):
    """Versions from `low` to just below `high`, or with `outside` all others."""

    low: Key
    high: Key | None
    outside: bool = False

    only: Prerelease | None = None
    """Of those inside, only the ones with this pre-release; Masterminds reads `!=1.2`
    so."""

    def holds(self, key: Key) -> bool:
        inside = self.low <= key and (self.high is None or key < self.high)
        if self.only is not None:
            inside = inside and key[3] == self.only
        return inside is not self.outside


class _Group(NamedTuple):
    """Comparisons that must all hold."""

    intervals: tuple[_Interval, ...]
    names_prerelease: bool


@dataclass(frozen=True, slots=True)
class Constraint:
    """What versions are allowed. Equal if written equally."""

    text: str
    groups: tuple[_Group, ...] = field(compare=False, repr=False)

    def allows(self, version: Version, *, include_prereleases: bool = False) -> bool:
        """Tell whether a version satisfies one of the groups."""
        return any(
            (group.names_prerelease or include_prereleases or not version.is_prerelease)
            and all(interval.holds(version.key) for interval in group.intervals)
            for group in self.groups
        )

    def __str__(self) -> str:
        return self.text


def parse_constraint(text: str) -> Constraint:
    """Read a constraint; an empty one allows everything that is no pre-release.

    Raises:
        InvalidConstraintError: The text says what of it cannot be read.
    """
    if len(text) > CONSTRAINT_MAX:
        raise InvalidConstraintError(
            f"a version constraint has at most {CONSTRAINT_MAX} characters, "
            f"this one has {len(text)}"
        )
    alternatives = (text if text.strip() else "*").split("||")
    if len(alternatives) > GROUPS_MAX:
        raise InvalidConstraintError(
            f"a version constraint has at most {GROUPS_MAX} alternatives, "
            f"this one has {len(alternatives)}"
        )
    return Constraint(text, tuple(_group(each, text) for each in alternatives))


def _group(text: str, whole: str) -> _Group:
    intervals = []
    names_prerelease = False
    for item in _items(_RANGE.sub(r">= \1, <= \2 ", text)):
        if item is None:
            raise InvalidConstraintError(
                f"version constraint {shown(whole)} cannot be read at "
                f"{shown(text.strip() or text)}; try the form '>=1.2.0 <2.0.0'"
            )
        operator, bound = item
        intervals.append(_interval(operator, bound))
        names_prerelease |= bound.prerelease not in {RELEASE, FLOOR}
    return _Group(tuple(intervals), names_prerelease)


class _Bound(NamedTuple):
    """A version in a constraint, of which only the first `given` numbers are given."""

    major: int
    minor: int
    patch: int
    prerelease: Prerelease
    given: int

    @property
    def key(self) -> Key:
        return (self.major, self.minor, self.patch, self.prerelease)

    @property
    def after(self) -> Key:
        """The smallest key above it."""
        return (*self.key[:3], (*self.prerelease, _AFTER))

    @property
    def next_major(self) -> Key:
        return (self.major + 1, 0, 0, FLOOR)

    @property
    def next_minor(self) -> Key:
        return (self.major, self.minor + 1, 0, FLOOR)


def _items(text: str) -> Iterator[tuple[str, _Bound] | None]:
    """Yield the comparisons of a group; `None` where it cannot be read, and end."""
    text = text.strip(" \t\n\f\r")
    position = 0
    while match := _ITEM.match(text, position):
        bound = _bound(match)
        if bound is None:
            break
        yield match["operator"], bound
        if match.end() == len(text):
            return
        separator = _SEPARATOR.match(text, match.end())
        if separator is None:
            break
        position = separator.end()
    yield None


def _bound(match: re.Match[str]) -> _Bound | None:
    numbers: list[int] = []
    for part in match.group(3, 4, 5):
        if part is None or part in _WILDCARDS:
            break  # what follows a wildcard does not matter
        if not part.isdecimal() or len(part) > 19:
            return None
        numbers.append(int(part))
    prerelease = read_prerelease(match[6])
    if prerelease is None:
        return None
    major, minor, patch = (*numbers, 0, 0, 0)[:3]
    return _Bound(major, minor, patch, prerelease, len(numbers))


_LOWEST: Key = (0, 0, 0, FLOOR)


def _interval(operator: str, bound: _Bound) -> _Interval:
    """Say what a comparison allows; quirks are those of Masterminds/semver."""
    match operator:
        case "" | "=":
            if bound.given == 3:
                return _Interval(bound.key, bound.after)
            return _tilde(bound)
        case "!=":
            return _not_equal(bound)
        case ">":
            beyond = {1: bound.next_major, 2: bound.next_minor}
            return _Interval(beyond.get(bound.given, bound.after), None)
        case ">=" | "=>":
            return _Interval(bound.key, None)
        case "<":
            return _Interval(_LOWEST, bound.key)
        case "<=" | "=<":
            # `<=*` is 0.0.x there.
            beyond = {3: bound.after, 1: bound.next_major}
            return _Interval(_LOWEST, beyond.get(bound.given, bound.next_minor))
        case "^":
            return _Interval(bound.key, _caret_end(bound))
        case _:
            return _tilde(bound)


def _not_equal(bound: _Bound) -> _Interval:
    match bound.given:
        case 1:
            low = (bound.major, 0, 0, FLOOR)
            return _Interval(low, bound.next_major, outside=True)
        case 2:
            return _Interval(
                (bound.major, bound.minor, 0, FLOOR),
                bound.next_minor,
                outside=True,
                only=bound.prerelease,
            )
        case _:  # `!=*` is `!=0.0.0` there
            return _Interval(bound.key, bound.after, outside=True)


def _tilde(bound: _Bound) -> _Interval:
    if bound.given in {0, 3} and bound.key[:3] == (0, 0, 0):
        return _Interval(bound.key, None)  # `~0.0.0` is anything there
    end = bound.next_major if bound.given == 1 else bound.next_minor
    return _Interval(bound.key, end)


def _caret_end(bound: _Bound) -> Key:
    """Return the next version that may break: the leftmost number above zero grows."""
    if bound.major > 0 or bound.given == 1:
        return bound.next_major
    if bound.minor > 0 or bound.given == 2:
        return bound.next_minor
    return (0, 0, bound.patch + 1, FLOOR)


def shown(text: str) -> str:
    """Quote a text for a message, or the beginning of a long one."""
    return repr(text if len(text) <= 64 else f"{text[:64]}…")
