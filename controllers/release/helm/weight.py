"""What makes a chart heavy: every release record has all of it, and 1 MiB is the limit.

The record is what Kubernetes stores for a revision: the chart with all of its files,
the values and the manifest, compressed, in one Secret.
"""

from __future__ import annotations

import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path

_NAMED = 3
"""How many files a message names."""


def weigh(chart: Path) -> str:
    """Say which files of a chart archive are the largest. Blocks on the disk.

    Returns:
        Half a sentence, for people.
    """
    try:
        files = sorted(_files(chart), reverse=True)
    except (OSError, tarfile.TarError, EOFError, zlib.error):
        files = []
    if not files:
        return "the chart's files cannot be listed"
    templates = sum(size for size, name in files if "/templates/" in name)
    rest = sum(size for size, _ in files) - templates
    largest = ", ".join(f"{name} {_shown(size)}" for size, name in files[:_NAMED])
    return (
        f"the chart has {_shown(templates)} of templates and {_shown(rest)} of other "
        f"files, the largest {largest}: leave out what it does not need (.helmignore)"
    )


def _files(chart: Path) -> Iterator[tuple[int, str]]:
    with tarfile.open(chart) as archive:
        for entry in archive:
            if entry.isfile():
                yield entry.size, entry.name


def _shown(size: int) -> str:
    return f"{size / 1000:.0f} kB"
