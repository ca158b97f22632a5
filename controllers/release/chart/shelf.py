"""Files that can be fetched again: a folder with a limit, the least recently used go.

    take(name) ──▶ path, and it was used just now
    put(name, path) ──▶ moved in; the oldest make room

What was used within the hour stays, over the limit if need be: an operation may read
it.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

from controller_runtime import Clock

IN_USE = timedelta(hours=1)
"""How long a file stays after it was taken, whatever comes."""

_BLOCK = 1 << 20


class Shelf:
    """A folder of files with names that we choose."""

    def __init__(self, folder: Path, *, limit: int, clock: Clock) -> None:
        """Keep files in `folder`.

        Args:
            folder: Created when it is needed.
            limit: Bytes.
            clock: What files are dated by.
        """
        self.folder = folder
        self._limit = limit
        self._clock = clock

    async def open(self) -> None:
        """Make the folder and clear away what a process left half-done."""
        await asyncio.to_thread(self._open)

    async def take(self, name: str, *, digest: str = "") -> Path | None:
        """Return the path of a file, if it is there and is what it should be.

        Args:
            name: Of the file.
            digest: `sha256:…`, checked on every read; one that differs is deleted.
        """
        return await asyncio.to_thread(self._take, name, digest)

    def unfinished(self, name: str) -> Path:
        """Return where a file may be written before it is put.

        Another process with the same folder has another path.
        """
        return self.folder / f".{os.getpid()}-{name}"

    async def put(self, name: str, path: Path) -> Path:
        """Move a file of this folder to its name, and make room."""
        return await asyncio.to_thread(self._put, name, path)

    def _open(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        abandoned = (self._clock.now() - IN_USE).timestamp()
        for path in self.folder.glob(".*"):
            with suppress(FileNotFoundError):
                if path.stat().st_mtime < abandoned:
                    path.unlink()

    def _take(self, name: str, digest: str) -> Path | None:
        path = self.folder / name
        try:
            if digest and digest_of_file(path) != digest:
                path.unlink(missing_ok=True)
                return None
            self._date(path)
        except OSError:
            return None
        return path

    def _put(self, name: str, path: Path) -> Path:
        self._date(path)
        target = path.replace(self.folder / name)
        self._make_room()
        return target

    def _date(self, path: Path) -> None:
        now = self._clock.now().timestamp()
        os.utime(path, (now, now))

    def _make_room(self) -> None:
        files = sorted(self._files())
        size = sum(stat.st_size for _, stat, _ in files)
        oldest_in_use = (self._clock.now() - IN_USE).timestamp()
        for used, stat, path in files:
            if size <= self._limit or used > oldest_in_use:
                return
            path.unlink(missing_ok=True)
            size -= stat.st_size

    def _files(self) -> Iterator[tuple[float, os.stat_result, Path]]:
        for path in self.folder.iterdir():
            with suppress(FileNotFoundError):
                stat = path.stat()
                yield stat.st_mtime, stat, path


def digest_of_file(path: Path) -> str:
    """Return `sha256:…` of a file. Blocks on the disk.

    Raises:
        OSError: It cannot be read.
    """
    found = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            found.update(block)
    return f"sha256:{found.hexdigest()}"
