"""The page for those who come from Go names only what is there."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[3] / "docs" / "from-go.md"
CELL = re.compile(r"(?<!\\)\|")
NAMES = [
    cells[2].strip().strip("`")
    for line in PAGE.read_text().splitlines()
    if line.startswith("|") and "`" in (cells := CELL.split(line))[2]
]


def exists(name: str) -> bool:
    module, rest = "controller_runtime", name.split(".")
    found: object = importlib.import_module(module)
    for part in rest:
        module = f"{module}.{part}"
        if not hasattr(found, part):
            try:
                found = importlib.import_module(module)
            except ImportError:
                return False
        else:
            found = getattr(found, part)
    return True


def test_there_are_rows() -> None:
    assert len(NAMES) > 50


@pytest.mark.parametrize("name", NAMES)
def test_a_name_on_our_side_exists(name: str) -> None:
    assert exists(name)


def test_a_name_that_does_not_exist_would_be_noticed() -> None:
    assert not exists("Manager.fly")
