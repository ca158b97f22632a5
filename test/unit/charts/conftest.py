from __future__ import annotations

from collections.abc import Iterator

import pytest

from rendering import Renderer, renderer


@pytest.fixture(scope="session")
def chart() -> Iterator[Renderer]:
    with renderer() as made:
        yield made
