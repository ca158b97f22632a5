"""Which test proves which acceptance scenario, and which has none.

    test/**/*.py ──docstrings──▶ claims, by area ─▶ table, gaps ─▶ exit 1 on a gap

A test claims scenarios with a docstring that says `Scenario 5`, or `Scenarios 5, 7 and
9`; that of a class or a module counts for all of it. The area is the folder that the
test is in. Sources are read, nothing is imported: a test that cannot run here counts.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import NamedTuple

AREAS: Mapping[str, str] = {
    "reload": "reload",
    "reloader": "reload",
    "test_cli.py": "reload",  # the stand-in for the original, and others
    "test_leader_election.py": "reload",  # which leads there
    "bundle": "bundle",
    "release": "release",
    "roosts": "release",
    "autopilot": "autopilot",
    "test_autopilot.py": "autopilot",
}
"""Part of a path → whose scenarios are meant."""

REQUIRED: Mapping[str, Sequence[int]] = {
    "reload": (*range(1, 32), *range(40, 57)),
}
"""Area → numbers that must have a test. Of other areas, those that have are listed."""

_ONE = r"\d+(?!\.?\d)(?: \([^)]*\))?"
_CLAIM = re.compile(rf"\b[Ss]cenarios? ({_ONE}(?:(?:, and |, | and ){_ONE})*)")
_REMARK = re.compile(r"\([^)]*\)")


class Claim(NamedTuple):
    """A test that says what it proves."""

    area: str
    scenario: int
    test: str
    """`path::name`, or a path."""


def claims(source: str, path: str) -> Iterator[Claim]:
    """Yield what the tests of one file claim; nothing outside of the areas."""
    parts = PurePosixPath(path).parts
    area = next((AREAS[part] for part in parts if part in AREAS), None)
    if area is None:
        return
    for test, docstring in _docstrings(ast.parse(source), path):
        for number in numbers(docstring):
            yield Claim(area, number, test)


def numbers(docstring: str) -> list[int]:
    """Read the scenarios that a docstring names, in order."""
    lists = (_REMARK.sub("", found[1]) for found in _CLAIM.finditer(docstring))
    return [int(number) for text in lists for number in re.findall(r"\d+", text)]


def table(found: Iterable[Claim]) -> str:
    """Return every scenario with its tests, one line each."""
    by_scenario: dict[tuple[str, int], list[str]] = {}
    for area, wanted in REQUIRED.items():
        by_scenario |= {(area, number): [] for number in wanted}
    for claim in found:
        by_scenario.setdefault((claim.area, claim.scenario), []).append(claim.test)
    lines: list[str] = []
    shown = ""
    for (area, number), tests in sorted(by_scenario.items()):
        if area != shown:
            lines += ["", f"{area}:"]
            shown = area
        first, *more = dict.fromkeys(tests) or ["-"]
        lines.append(f"  {number:3} {first}")
        lines += [f"      {test}" for test in more]
    return "\n".join(lines).lstrip()


def problems(found: Iterable[Claim]) -> list[str]:
    """Return what is wrong: scenarios without a test, and numbers that do not exist."""
    claimed = list(found)
    wrong = []
    for area, wanted in REQUIRED.items():
        proven = {claim.scenario for claim in claimed if claim.area == area}
        if missing := [str(number) for number in wanted if number not in proven]:
            wrong.append(f"{area}: no test: {', '.join(missing)}")
    unknown = [
        f"{claim.test}: {claim.area} has no scenario {claim.scenario}"
        for claim in claimed
        if claim.scenario not in REQUIRED.get(claim.area, [claim.scenario])
    ]
    return wrong + unknown


def main(root: Path) -> int:
    """Print the table of a tree and what is wrong with it; return the exit code."""
    files = sorted((root / "test").rglob("*.py"))
    found = list(
        chain.from_iterable(
            claims(file.read_text(), file.relative_to(root).as_posix())
            for file in files
        )
    )
    print(table(found))
    wrong = problems(found)
    print("\n" + ("\n".join(wrong) or "every required scenario has a test"))
    return 1 if wrong else 0


def _docstrings(node: ast.AST, name: str) -> Iterator[tuple[str, str]]:
    """Yield what has a docstring, and that, from the outside in."""
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            name = f"{name}::{node.name}"
            yield name, ast.get_docstring(node) or ""
        case ast.Module():
            yield name, ast.get_docstring(node) or ""
        case _:
            pass
    for child in ast.iter_child_nodes(node):
        yield from _docstrings(child, name)


if __name__ == "__main__":
    sys.exit(main(Path(__file__).parents[1]))
