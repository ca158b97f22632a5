"""Selectors: which objects, by their labels or by their fields.

    `app=web,tier in (a,b)` ──┐
    metav1.LabelSelector ─────┴▶ LabelSelector ─▶ matches(labels), or text again
    `metadata.name=web` ───────▶ FieldSelector ─▶ matches(fields), or text again

Grammar, validation and answers are apimachinery's (`pkg/labels/selector.go`,
`pkg/fields/selector.go`, `pkg/apis/meta/v1/helpers.go`). One surprises: `a!=b` and
`a notin (b)` match an object that has no label `a`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, TypeGuard

from controller_runtime.errors import ControllerRuntimeError


class SelectorError(ControllerRuntimeError, ValueError):
    """A selector that cannot be used; the text quotes the part that is wrong.

    Also a `ValueError`, so that a pydantic validator may let it pass.
    """


class Operator(StrEnum):
    """What is asked of a label, named as in `metav1.LabelSelectorOperator`."""

    IN = "In"
    NOT_IN = "NotIn"
    EXISTS = "Exists"
    DOES_NOT_EXIST = "DoesNotExist"
    GREATER = "Gt"
    LESS = "Lt"


_BY_SIGN: Mapping[str, Operator] = {
    "=": Operator.IN,
    "==": Operator.IN,
    "in": Operator.IN,
    "!=": Operator.NOT_IN,
    "notin": Operator.NOT_IN,
    ">": Operator.GREATER,
    "<": Operator.LESS,
}

_OF_EXPRESSIONS = ("In", "NotIn", "Exists", "DoesNotExist")
"""What `metav1.LabelSelector` knows; its text form knows `Gt` and `Lt` as well."""

# Possessive, so that `pain (x)` is not read as `pa in (x)`.
_WORD = r"[^\s=!<>(),]++"
_PART = re.compile(
    rf"""(?P<absent>!)? \s* (?P<key>{_WORD}) \s*
         (?: (?P<sign>==|!=|=|>|<) \s* (?P<value>{_WORD})?
           | (?P<word>in|notin) \s* \( (?P<values>[^()]*) \) )?""",
    re.VERBOSE,
)
_COMMA_OUTSIDE_PARENTHESES = re.compile(r",(?![^(]*\))")
_FIELD_TERMS = re.compile(r"(?:\\.|[^\\,]|\\$)+", re.DOTALL)
_FIELD_TERM = re.compile(
    r"\s*(?P<field>[^\s=!,\\]+)\s*(?P<sign>==|!=|=)(?P<value>(?:\\[\\,=]|[^\\,=])*)",
    re.DOTALL,
)
_ESCAPED = re.compile(r"\\([\\,=])")
_SPECIAL = re.compile(r"[\\,=]")
_INTEGER = re.compile(r"[0-9]+")
_NAME = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?")
_DOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")


@dataclass(frozen=True, slots=True)
class Requirement:
    """One condition on the labels of an object."""

    key: str
    operator: Operator
    values: frozenset[str] = frozenset()
    """One for `Gt` and `Lt`, some for `In` and `NotIn`, none for the others."""

    def __post_init__(self) -> None:
        """Refuse what no server would accept.

        Raises:
            SelectorError: A key or value that no label can have, or the wrong number
                of values.
        """
        if not is_qualified_name(self.key):
            raise SelectorError(
                f"label key {self.key!r}: must be a name of at most 63 letters, "
                "digits, '-', '_' and '.', after an optional DNS domain and '/'"
            )
        if (problem := self._problem()) is not None:
            raise SelectorError(f"label {self.key!r}, {self.operator}: {problem}")

    def __str__(self) -> str:
        values = ",".join(sorted(self.values))
        single = len(self.values) == 1
        match self.operator:
            case Operator.IN:
                return f"{self.key}={values}" if single else f"{self.key} in ({values})"
            case Operator.NOT_IN if single:
                return f"{self.key}!={values}"
            case Operator.NOT_IN:
                return f"{self.key} notin ({values})"
            case Operator.EXISTS:
                return self.key
            case Operator.DOES_NOT_EXIST:
                return f"!{self.key}"
            case Operator.GREATER:
                return f"{self.key}>{values}"
            case Operator.LESS:
                return f"{self.key}<{values}"

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Answer for an object that has these labels."""
        value = labels.get(self.key)
        match self.operator:
            case Operator.IN:
                return value in self.values
            case Operator.NOT_IN:
                return value not in self.values
            case Operator.EXISTS:
                return value is not None
            case Operator.DOES_NOT_EXIST:
                return value is None
            case Operator.GREATER:
                return _is_integer(value) and int(value) > self._bound
            case Operator.LESS:
                return _is_integer(value) and int(value) < self._bound

    @property
    def _bound(self) -> int:
        (bound,) = self.values
        return int(bound)

    def _problem(self) -> str | None:
        for value in self.values:
            if value and (len(value) > 63 or not _NAME.fullmatch(value)):
                return (
                    f"value {value!r} must be at most 63 letters, digits, '-', '_' "
                    "and '.', and start and end with a letter or digit"
                )
        match self.operator:
            case Operator.IN | Operator.NOT_IN:
                return None if self.values else "needs at least one value"
            case Operator.EXISTS | Operator.DOES_NOT_EXIST:
                return "takes no values" if self.values else None
            case Operator.GREATER | Operator.LESS:
                one = len(self.values) == 1 and all(map(_is_integer, self.values))
                return None if one else "needs one value, an integer"


@dataclass(frozen=True, slots=True)
class LabelSelector:
    """Conditions on labels, all of which must hold; without any, all objects match."""

    requirements: tuple[Requirement, ...] = ()

    def __str__(self) -> str:
        return ",".join(map(str, self.requirements))

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Answer for an object that has these labels."""
        return all(requirement.matches(labels) for requirement in self.requirements)

    @classmethod
    def parse(cls, text: str) -> LabelSelector:
        """Read what `kubectl get --selector` takes; empty text selects everything.

        Raises:
            SelectorError: It cannot be read.
        """
        if not text.strip():
            return cls()
        parts = _COMMA_OUTSIDE_PARENTHESES.split(text)
        with _said_of(f"label selector {text!r}"):
            return cls(tuple(_requirement(part.strip()) for part in parts))

    @classmethod
    def from_dict(cls, selector: Mapping[str, object] | None) -> LabelSelector:
        """Read a `metav1.LabelSelector`: empty selects everything, `None` nothing.

        Raises:
            SelectorError: It is not one. Unknown fields are refused, because a
                misspelt condition would select too much.
        """
        if selector is None:
            return NOTHING
        if unknown := sorted(selector.keys() - {"matchLabels", "matchExpressions"}):
            raise SelectorError(
                f"label selector: unknown field {unknown[0]!r}; "
                "the fields are matchLabels and matchExpressions"
            )
        labels = selector.get("matchLabels") or {}
        if not isinstance(labels, Mapping):
            raise SelectorError(f"matchLabels: {labels!r} must be a mapping")
        expressions = selector.get("matchExpressions") or []
        if not isinstance(expressions, Sequence) or isinstance(expressions, str):
            raise SelectorError(f"matchExpressions: {expressions!r} must be a list")
        return cls(
            (
                *(_label(key, value) for key, value in labels.items()),
                *(_expression(e, n) for n, e in enumerate(expressions)),
            )
        )


class FieldTerm(NamedTuple):
    """One condition on a field of an object."""

    field: str
    value: str
    negated: bool = False

    def __str__(self) -> str:
        return f"{self.field}{'!=' if self.negated else '='}{_escape(self.value)}"


@dataclass(frozen=True, slots=True)
class FieldSelector:
    """Conditions on fields, all of which must hold; without any, all objects match."""

    terms: tuple[FieldTerm, ...] = ()

    def __str__(self) -> str:
        return ",".join(map(str, self.terms))

    def matches(self, fields: Mapping[str, str]) -> bool:
        """Answer for an object that has these fields; an absent one is empty."""
        return all((fields.get(f, "") == value) != neg for f, value, neg in self.terms)

    @classmethod
    def parse(cls, text: str) -> FieldSelector:
        """Read what `kubectl get --field-selector` takes.

        A backslash stands before a comma, an equals sign or a backslash in a value.

        Raises:
            SelectorError: It cannot be read.
        """
        terms = _FIELD_TERMS.findall(text)
        return cls(tuple(_field_term(term, text) for term in terms if term.strip()))


def _requirement(part: str) -> Requirement:
    found = _PART.fullmatch(part)
    sign = found and (found["sign"] or found["word"])
    if found is None or (found["absent"] and sign):
        raise SelectorError(
            f"cannot read {part!r}; a condition is one of key, !key, key=a, key!=a, "
            "key in (a,b), key notin (a,b), key>1, key<1"
        )
    if sign is None:
        is_absent = found["absent"] is not None
        operator = Operator.DOES_NOT_EXIST if is_absent else Operator.EXISTS
        return Requirement(found["key"], operator)
    values = (found["values"] or found["value"] or "").split(",")
    return Requirement(
        found["key"], _BY_SIGN[sign], frozenset(value.strip() for value in values)
    )


def _label(key: object, value: object) -> Requirement:
    with _said_of("matchLabels"):
        key, value = _text(key, "a key"), _text(value, f"the value of {key!r}")
        return Requirement(key, Operator.IN, frozenset({value}))


def _expression(expression: object, index: int) -> Requirement:
    with _said_of(f"matchExpressions[{index}]"):
        match expression:
            case {"key": str(key), "operator": str(operator), **others}:
                return Requirement(key, _operator(operator), _values(others))
            case _:
                raise SelectorError(f"needs a key and an operator, got {expression!r}")


def _operator(text: str) -> Operator:
    if text in _OF_EXPRESSIONS:
        return Operator(text)
    raise SelectorError(
        f"operator {text!r} must be one of {', '.join(_OF_EXPRESSIONS)}"
    )


def _values(others: Mapping[object, object]) -> frozenset[str]:
    if unknown := sorted(map(str, others.keys() - {"values"})):
        raise SelectorError(f"unknown field {unknown[0]!r}")
    values = others.get("values") or []
    if not isinstance(values, Sequence) or isinstance(values, str):
        raise SelectorError(f"values {values!r} must be a list")
    return frozenset(_text(value, "a value") for value in values)


def _text(value: object, what: str) -> str:
    if isinstance(value, str):
        return value
    raise SelectorError(f"{what} must be a string, got {value!r}")


@contextmanager
def _said_of(where: str) -> Iterator[None]:
    """Put the place in front of what is wrong there."""
    try:
        yield
    except SelectorError as error:
        raise SelectorError(f"{where}: {error}") from error


def is_qualified_name(key: str) -> bool:
    """Tell whether `key` is a name, after a domain and a slash if it has one."""
    domain, slash, name = key.rpartition("/")
    if slash and (len(domain) > 253 or not _DOMAIN.fullmatch(domain)):
        return False
    return len(name) <= 63 and _NAME.fullmatch(name) is not None


def _is_integer(value: str | None) -> TypeGuard[str]:
    return value is not None and _INTEGER.fullmatch(value) is not None


def _field_term(term: str, text: str) -> FieldTerm:
    if (found := _FIELD_TERM.fullmatch(term)) is None:
        raise SelectorError(
            f"field selector {text!r}: cannot read {term!r}; a condition is "
            r"field=value or field!=value, with \ before ',', '=' and '\' in a value"
        )
    value = _ESCAPED.sub(r"\1", found["value"])
    return FieldTerm(found["field"], value, negated=found["sign"] == "!=")


def _escape(value: str) -> str:
    return _SPECIAL.sub(r"\\\g<0>", value)


NOTHING = LabelSelector(
    # A contradiction, so that a server asked for its text finds nothing either.
    (
        Requirement("nothing", Operator.EXISTS),
        Requirement("nothing", Operator.DOES_NOT_EXIST),
    )
)
"""Selects no object."""
