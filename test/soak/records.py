"""What a manager notes of itself, one line of JSON each: the evidence of a soak.

Every time is in seconds of `CLOCK_MONOTONIC`, which all processes of a machine share.
A line is written before what it tells of is done, in one call, so that a process that
is frozen or killed has noted all that it did.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TypeAlias

import msgspec

from controller_runtime.clock import monotonic


class Began(msgspec.Struct, tag="began", tag_field="is"):
    """A reconcile begins."""

    t: float
    key: str
    """`namespace/name`."""


class Ended(msgspec.Struct, tag="ended", tag_field="is"):
    """A reconcile is over."""

    t: float
    key: str
    version: str
    """The resource version that was reconciled; empty for an object that is gone."""
    error: str = ""
    """The class of what it raised."""
    is_panic: bool = False
    """Whether that was a bug's, not the network's or the framework's."""


class Sent(msgspec.Struct, tag="sent", tag_field="is"):
    """A write is about to be sent."""

    t: float
    number: int
    path: str


class Answered(msgspec.Struct, tag="answered", tag_field="is"):
    """A write came to its end, good or bad."""

    t: float
    number: int


class Led(msgspec.Struct, tag="led", tag_field="is"):
    """It became the leader."""

    t: float


class Struck(msgspec.Struct, tag="struck", tag_field="is"):
    """The process is ended because its Lease has run out."""

    t: float


class Sample(msgspec.Struct, tag="sample", tag_field="is"):
    """What it holds, every second."""

    t: float
    resident: int
    """Bytes."""
    blocks: int
    """Of memory that Python has allocated."""
    descriptors: int
    sockets: int
    """Among the descriptors."""
    threads: int
    tasks: int


class Census(msgspec.Struct, tag="census", tag_field="is"):
    """What there is before the event loop was made, or after it was closed."""

    t: float
    descriptors: list[str]
    """What each leads to."""
    threads: list[str]


class Over(msgspec.Struct, tag="over", tag_field="is"):
    """The manager has ended, and its connections are closed."""

    t: float
    tasks: list[str]
    """Those that are left."""
    why: list[str]
    """Classes of the errors that ended it; none when it was asked to."""


Record: TypeAlias = (
    Began | Ended | Sent | Answered | Led | Struck | Sample | Census | Over
)

_decode = msgspec.json.Decoder(Record).decode
_encode = msgspec.json.Encoder().encode


class Journal:
    """Where a manager notes things; made before anything else is."""

    def __init__(self, path: Path) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        self._file = os.open(path, flags, 0o600)

    def note(self, record: Record) -> None:
        os.write(self._file, _encode(record) + b"\n")

    def close(self) -> None:
        os.close(self._file)


class Reader:
    """Reads a journal while it grows."""

    def __init__(self, path: Path) -> None:
        self.records: list[Record] = []
        self._path = path
        self._read = 0

    def catch_up(self) -> list[Record]:
        """Read the lines that have come since, and return them."""
        if not self._path.exists():
            return []
        with self._path.open("rb") as file:
            file.seek(self._read)
            lines = file.read()
        whole = lines[: lines.rfind(b"\n") + 1]
        self._read += len(whole)
        new = [_decode(line) for line in whole.splitlines()]
        self.records += new
        return new


def now() -> float:
    """Return the time of a record."""
    return monotonic()
