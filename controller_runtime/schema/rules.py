"""Rules that many types need, written once: members of which some must be set.

All of them are for `marked`. Fields are named as on the wire.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from controller_runtime.meta import Json
from controller_runtime.schema.markers import ValidationRule, _Marker

_RESERVED = frozenset(
    {
        "true",
        "false",
        "null",
        "in",
        "as",
        "break",
        "const",
        "continue",
        "else",
        "for",
        "function",
        "if",
        "import",
        "let",
        "loop",
        "package",
        "namespace",
        "return",
        "var",
        "void",
        "while",
    }
)
_ESCAPES = (("__", "__underscores__"), (".", "__dot__"), ("-", "__dash__"))


def cel_name(field: str) -> str:
    """Return a field as CEL spells it: `namespace` is `__namespace__` there.

    Source: Kubernetes documentation, CRD validation rules, "Escaping".
    """
    for text, escaped in (*_ESCAPES, ("/", "__slash__")):
        field = field.replace(text, escaped)
    return f"__{field}__" if field in _RESERVED else field


@dataclass(frozen=True, slots=True)
class Rules(_Marker):
    """Several rules as one marker."""

    rules: tuple[ValidationRule, ...]

    def mark(self, schema: Json) -> None:
        for rule in self.rules:
            rule.mark(schema)


def exactly_one_of(*fields: str) -> ValidationRule:
    """Want one of some optional fields, no more and no less."""
    message = f"exactly one of {', '.join(fields)} must be set"
    return ValidationRule(f"{_count(fields)} == 1", message=message)


def at_most_one_of(*fields: str) -> ValidationRule:
    """Refuse two of some optional fields at once."""
    message = f"at most one of {', '.join(fields)} may be set"
    return ValidationRule(f"{_count(fields)} <= 1", message=message)


def at_least_one_of(*fields: str) -> ValidationRule:
    """Want one of some optional fields, or more of them."""
    message = f"at least one of {', '.join(fields)} must be set"
    return ValidationRule(f"{_count(fields)} >= 1", message=message)


def immutable(*fields: str) -> Rules:
    """Refuse changes of fields, adding and removing one included."""
    return Rules(tuple(_immutable(field) for field in fields))


def discriminated_by(discriminator: str, blocks: Mapping[str, str]) -> Rules:
    """Want the block that a field names, and no other: a union as Kubernetes writes it.

    Args:
        discriminator: Field with the choice.
        blocks: Its values, and the optional field that each of them needs. Values that
            are not named here need none.
    """
    return Rules(
        tuple(_block(discriminator, value, field) for value, field in blocks.items())
    )


def _count(fields: tuple[str, ...]) -> str:
    # A sum, and no list with a filter: that is too dear inside of an unbounded list.
    return " + ".join(f"(has(self.{cel_name(field)}) ? 1 : 0)" for field in fields)


def _immutable(field: str) -> ValidationRule:
    name = cel_name(field)
    return ValidationRule(
        f"has(self.{name}) == has(oldSelf.{name}) && "
        f"(!has(self.{name}) || self.{name} == oldSelf.{name})",
        message=f"{field} cannot be changed; create a new object instead",
    )


def _block(discriminator: str, value: str, field: str) -> ValidationRule:
    of, block = f"self.{cel_name(discriminator)}", f"self.{cel_name(field)}"
    literal = "'" + re.sub(r"(['\\])", r"\\\1", value) + "'"
    return ValidationRule(
        f"(has({of}) && {of} == {literal}) == has({block})",
        message=f"{field} must be set if {discriminator} is {value}, and only then",
    )
