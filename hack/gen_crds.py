"""Write the CRDs of the API types to config/crd/bases, and a page about each.

It is what `pilothouse crds` writes. `--check` writes nothing and fails when a file is
not what the models say.
"""

from __future__ import annotations

import sys
from pathlib import Path

from controllers.crds import CRDS, PAGES, generate

ROOT = Path(__file__).parents[1]


def main(arguments: list[str]) -> int:
    """Do it and return the exit code."""
    check = "--check" in arguments
    lines = generate(ROOT / CRDS, ROOT / PAGES, check=check)
    for line in lines:
        print(line)
    if check and lines:
        print("run `make manifests` and commit what it writes")
    return 1 if check and lines else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
