"""`python -m controller_runtime.schema MODULE …`: CRDs from the models of modules.

python -m controller_runtime.schema website                      prints them
python -m controller_runtime.schema website --output crds        writes them
python -m controller_runtime.schema website --output crds --check
                                    says what is out of date, and exits with 1
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from controller_runtime.errors import SchemaError
from controller_runtime.schema.files import (
    drift,
    models_in,
    render,
    render_reference,
    write,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    options = _parser().parse_args(arguments)
    try:
        return _run(options)
    except SchemaError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1


def _run(options: argparse.Namespace) -> int:
    models = models_in(*options.modules)
    crds = render(models, description_limit=options.description_limit)
    folders = [(crds, options.output)]
    if options.docs is not None:
        folders.append((render_reference(models), options.docs))
    if options.output is None:
        sys.stdout.write("".join(crds.values()))
    wanted = [(files, folder) for files, folder in folders if folder is not None]
    stale = [line for files, folder in wanted for line in drift(files, folder)]
    if options.check:
        sys.stderr.writelines(f"error: {line}\n" for line in stale)
        return 1 if stale else 0
    for files, folder in wanted:
        for name in write(files, folder):
            sys.stderr.write(f"wrote {folder / name}\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m controller_runtime.schema",
        description="Write the CRDs of pydantic models.",
    )
    parser.add_argument(
        "modules", nargs="+", metavar="MODULE[:MODEL]", help="where the models are"
    )
    parser.add_argument(
        "--output", type=Path, metavar="DIR", help="write YAML there; else print it"
    )
    parser.add_argument(
        "--docs", type=Path, metavar="DIR", help="write a page for each kind there"
    )
    parser.add_argument(
        "--check", action="store_true", help="write nothing; fail if files differ"
    )
    parser.add_argument(
        "--description-limit",
        type=int,
        metavar="N",
        help="cut descriptions after N characters; 0 leaves them out",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
