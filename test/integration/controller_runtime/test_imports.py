"""What the framework loads before it is asked to: seconds and memory of every start."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    "module",
    [
        "aiohttp.web",
        "controller_runtime.schema",
        "cryptography",
        "jsonpatch",
        "kubernetes_asyncio",
        "yaml",
    ],
)
def test_importing_the_framework_does_not_import_what_few_need(module: str) -> None:
    program = f"import controller_runtime, sys; sys.exit({module!r} in sys.modules)"

    ended = subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=False)  # noqa: S603 - ours

    assert ended.returncode == 0
