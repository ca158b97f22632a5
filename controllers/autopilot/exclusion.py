r"""Objects that users do not want applied: rules of the source object.

    disabled-resources: |
      - kind: MachineConfig
        name: "*-swap-*"
      - kind: KubeDescheduler
        namespace: openshift-kube-descheduler-operator
        name: cluster

A kind is exact; name and namespace are globs as Go's `path.Match` reads them: `*`, `?`,
`[a-z]`, `[^a-z]` and `\` before what is meant as it is. Without a namespace any will
do, none included. A rule that cannot be read excludes nothing, and an annotation that
cannot be read neither: what is wrong is told, and everything else goes on.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple, TypeAlias

import yaml

from controllers.autopilot.documents import check_limits
from controllers.autopilot.errors import AutopilotError, CatalogError

_Element: TypeAlias = tuple[bool, tuple[tuple[str, str], ...]] | None
"""What one character may be: negated or not, and ranges; `None` is `*`."""

_ANY: _Element = (True, ())


class PatternError(AutopilotError):
    """A glob that cannot be read."""


class Pattern(NamedTuple):
    """A glob, read once."""

    elements: tuple[_Element, ...]

    def matches(self, text: str) -> bool:
        """Whether the whole text fits; takes time in proportion to both lengths."""
        place, character, star, behind = 0, 0, -1, 0
        while character < len(text):
            element = self.elements[place] if place < len(self.elements) else _END
            if element is None:
                star, behind, place = place, character, place + 1
            elif element is not _END and _fits(element, text[character]):
                place, character = place + 1, character + 1
            elif star >= 0:
                # Let the last star take one more, and try from there.
                behind += 1
                place, character = star + 1, behind
            else:
                return False
        return all(element is None for element in self.elements[place:])


_END: _Element = (False, ())


class Exclusion(NamedTuple):
    """One rule."""

    kind: str
    name: Pattern
    namespace: Pattern | None
    """`None` for any, and for none."""

    def covers(self, kind: str, namespace: str, name: str) -> bool:
        """Whether an object is not to be applied."""
        return (
            self.kind == kind
            and self.name.matches(name)
            and (self.namespace is None or self.namespace.matches(namespace))
        )


class Exclusions(NamedTuple):
    """All rules, and what could not be read."""

    rules: tuple[Exclusion, ...] = ()
    problems: tuple[str, ...] = ()

    def covers(self, kind: str, namespace: str, name: str) -> bool:
        """Whether an object is not to be applied."""
        return any(rule.covers(kind, namespace, name) for rule in self.rules)


def read_exclusions(text: str) -> Exclusions:
    """Read the annotation `disabled-resources`."""
    if not text.strip():
        return Exclusions()
    try:
        # Before anything is built: merged aliases double with each line.
        check_limits(text)
        rules = yaml.load(text, Loader=yaml.CSafeLoader)
    except CatalogError as error:
        return Exclusions(problems=(f"{error}; nothing is excluded",))
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f" in line {mark.line + 1}" if mark is not None else ""
        return Exclusions(problems=(f"not YAML{where}; nothing is excluded",))
    if not isinstance(rules, list):
        return Exclusions(
            problems=("not a list of rules with kind and name; nothing is excluded",)
        )
    read: list[Exclusion] = []
    problems: list[str] = []
    for number, rule in enumerate(rules):
        try:
            read.append(_rule(rule))
        except PatternError as error:
            problems.append(f"rule {number} excludes nothing: {error}")
    return Exclusions(tuple(read), tuple(problems))


def parse_pattern(text: str) -> Pattern:
    """Read a glob.

    Raises:
        PatternError: A class is empty or open, or the text ends with a backslash.
    """
    return Pattern(tuple(_elements(text)))


def _rule(rule: object) -> Exclusion:
    if not isinstance(rule, Mapping):
        raise PatternError("it is no mapping with kind and name")
    kind, name = rule.get("kind"), rule.get("name")
    namespace = rule.get("namespace")
    if not (isinstance(kind, str) and kind and isinstance(name, str) and name):
        raise PatternError("it needs a kind and a name, both text")
    if namespace is not None and not isinstance(namespace, str):
        raise PatternError("its namespace is not text")
    return Exclusion(
        kind, parse_pattern(name), parse_pattern(namespace) if namespace else None
    )


def _elements(text: str) -> Iterator[_Element]:
    rest = text
    while rest:
        character, rest = rest[0], rest[1:]
        if character == "*":
            yield None
        elif character == "?":
            yield _ANY
        elif character == "[":
            element, rest = _class(rest, text)
            yield element
        else:
            if character == "\\":
                character, rest = _escaped(rest, text)
            yield (False, ((character, character),))


def _class(rest: str, text: str) -> tuple[_Element, str]:
    negated = rest.startswith("^")
    rest = rest[negated:]
    ranges: list[tuple[str, str]] = []
    while not (rest.startswith("]") and ranges):
        low, rest = _member(rest, text)
        high = low
        if rest.startswith("-"):
            high, rest = _member(rest[1:], text)
        ranges.append((low, high))
    return (negated, tuple(ranges)), rest[1:]


def _member(rest: str, text: str) -> tuple[str, str]:
    if not rest or re.match("[-\\]]", rest):
        raise PatternError(f"{text!r} has a class that is empty or does not end")
    if rest[0] == "\\":
        return _escaped(rest[1:], text)
    return rest[0], rest[1:]


def _escaped(rest: str, text: str) -> tuple[str, str]:
    if not rest:
        raise PatternError(f"{text!r} ends with a backslash that escapes nothing")
    return rest[0], rest[1:]


def _fits(element: _Element, character: str) -> bool:
    assert element is not None  # noqa: S101 - the caller has seen to stars
    negated, ranges = element
    return any(low <= character <= high for low, high in ranges) != negated
