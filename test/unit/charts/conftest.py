from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from rendering import Renderer, renderer

HERE = Path(__file__).parent

SECONDS = 60
"""Longest that one test may take: others render, and the code is asked for roles."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        is_ours = item.path.is_relative_to(HERE)
        if is_ours and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(SECONDS))


@pytest.fixture(scope="session")
def chart() -> Iterator[Renderer]:
    with renderer() as made:
        yield made
