"""Which test proves which behaviour of the framework, and which has none.

    ids (the list below) ┐
    test/**/*.py ──ast───┴▶ table, gaps ─▶ exit 1 when a required group has a gap

A test claims a behaviour with `@pytest.mark.behaviour("R5")`, on itself, its class, its
module or one of its parameters. Sources are read, nothing is imported: a test that
cannot run here still counts, as it does in CI.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

GROUPS: Mapping[str, tuple[str, int]] = {
    "R": ("reflector and watch", 15),
    "S": ("store and informer", 11),
    "Q": ("work queue", 12),
    "C": ("controller", 10),
    "L": ("leader election", 11),
    "K": ("client and cached client", 12),
    "M": ("manager", 9),
    "G": ("signals and configuration", 2),
    "W": ("webhook server", 8),
    "E": ("events", 6),
}
"""Letter → what it is about, and the number of its last behaviour."""

REQUIRED = "RSQCLKMGWE"
"""Groups of which every behaviour must have a test."""


class Claim(NamedTuple):
    """A test that says what it proves."""

    behaviour: str
    test: str
    """`path::name`."""


def behaviours(letters: str) -> list[str]:
    """Return the ids of some groups, in order."""
    return [f"{g}{n}" for g in letters for n in range(1, GROUPS[g][1] + 1)]


def claims(source: str, path: str) -> Iterator[Claim]:
    """Yield what the tests of one file claim."""
    yield from _claims(ast.parse(source), path)


def table(found: Sequence[Claim]) -> str:
    """Return every id with its tests, one line each."""
    lines = []
    for group, (about, _) in GROUPS.items():
        lines.append(f"\n{group}: {about}")
        for behaviour in behaviours(group):
            tests = [claim.test for claim in found if claim.behaviour == behaviour]
            first, *more = tests or ["-"]
            lines.append(f"  {behaviour:4} {first}")
            lines += [f"       {test}" for test in more]
    return "\n".join(lines)


def problems(found: Sequence[Claim], required: str = REQUIRED) -> list[str]:
    """Return what is wrong: ids that nothing proves, and ids that do not exist."""
    proven = {claim.behaviour for claim in found}
    missing = [b for b in behaviours(required) if b not in proven]
    known = set(behaviours("".join(GROUPS)))
    unknown = [f"{c.test}: {c.behaviour}" for c in found if c.behaviour not in known]
    return [
        *([f"no test: {', '.join(missing)}"] if missing else ()),
        *(f"no such behaviour: {claim}" for claim in unknown),
    ]


def main(root: Path) -> int:
    """Print the table of a tree and what is wrong with it; return the exit code."""
    found = [
        claim
        for file in sorted((root / "test").rglob("*.py"))
        for claim in claims(file.read_text(), str(file.relative_to(root)))
    ]
    print(table(found).lstrip())
    later = "".join(group for group in GROUPS if group not in REQUIRED)
    proven = {claim.behaviour for claim in found}
    gaps = [b for b in behaviours(later) if b not in proven]
    print(f"\nno test, and none required yet: {', '.join(gaps) or 'nothing'}")
    wrong = problems(found)
    print("\n".join(wrong) if wrong else "every required behaviour has a test")
    return 1 if wrong else 0


def _claims(node: ast.AST, name: str) -> Iterator[Claim]:
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            name = f"{name}::{node.name}"
        case ast.Call(func=ast.Attribute(attr="behaviour"), args=arguments):
            for argument in arguments:
                if isinstance(argument, ast.Constant):
                    yield Claim(str(argument.value), name)
        case _:
            pass
    for child in ast.iter_child_nodes(node):
        yield from _claims(child, name)


if __name__ == "__main__":
    sys.exit(main(Path(__file__).parents[1]))
