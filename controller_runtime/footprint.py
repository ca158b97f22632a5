"""Which fields the bytes of a cache are, so that somebody can keep fewer of them.

    every minute: sizes ─▶ worth a look? ─▶ a sample ─thread─▶ shares of fields
                                                                 │
                              /debug/caches ◀── remembered ◀─────┤
                              a warning     ◀── over budget ◀────┘

A size is a number that every store has at hand. Bodies are parsed in a thread, a few
of a kind, and only when its size has changed much since the last time. Names of fields
are told as far as they are those of a schema: what metadata, spec and status consist
of, and nothing below; never a key of somebody's map, and never a value.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import NamedTuple

import msgspec
import structlog

from controller_runtime.nesting import UNREADABLE
from controller_runtime.store import Store

log = structlog.get_logger(__name__)

_PERIOD = 60.0
"""Seconds between two looks at the sizes."""

_WORTH = 0.1
"""Part of the budget below which nobody asks what the bytes are."""

_CHANGED = 1.25
"""Factor by which a size must change before its fields are looked at again."""

_GREW = 1.5
"""Factor by which a size must grow after a warning before there is another."""

_SAMPLE = 64
"""Bodies of one kind that are parsed: each costs some ten microseconds."""

_SAMPLE_BYTES = 4 << 20
"""Bytes after which a sample ends, since an object may have more than one million."""

_TOLD = 5
"""Fields that are told, those of the largest share."""

_LEAST = 0.05
"""Share below which a field is not told."""

_OPENED = frozenset({"metadata", "spec", "status"})
"""Fields of which the parts are told; they have schemas, what is in `data` has not."""

_FIELD = re.compile("[A-Za-z][A-Za-z0-9]{0,62}")

_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class Holding(NamedTuple):
    """What a cache holds of one view of one kind."""

    kind: str
    """Such as `Deployment.apps`."""
    view: str
    stores: Sequence[Store]

    @property
    def bytes(self) -> int:
        """The size of all objects as JSON."""
        return sum(store.bytes for store in self.stores)

    @property
    def objects(self) -> int:
        """How many there are."""
        return sum(map(len, self.stores))


class _Look(NamedTuple):
    """What was found the last time."""

    bytes: int
    fields: Mapping[str, float]


class Footprints:
    """Looks at what a cache holds from time to time, and warns when it is much."""

    def __init__(self, holdings: Callable[[], Iterable[Holding]], budget: int) -> None:
        """Describe it; `run` begins.

        Args:
            holdings: What there is at the moment.
            budget: Bytes of one view of one kind that are too many.
        """
        self._holdings = holdings
        self._budget = budget
        self._looks: dict[tuple[str, str], _Look] = {}
        self._warned: dict[tuple[str, str], int] = {}

    def fields(self, kind: str, view: str) -> Mapping[str, float]:
        """Return fields → shares of the bytes; empty when they are not many."""
        look = self._looks.get((kind, view))
        return look.fields if look is not None else {}

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await asyncio.sleep(_PERIOD)
            for holding in self._holdings():
                await self._look(holding)

    async def _look(self, holding: Holding) -> None:
        place, size = (holding.kind, holding.view), holding.bytes
        if size < self._budget * _WORTH:
            self._looks.pop(place, None)
        elif _has_changed(self._looks.get(place), size):
            shares = await asyncio.to_thread(field_shares, _sample(holding))
            self._looks[place] = _Look(size, shares)
        if size < self._budget:
            self._warned.pop(place, None)
        elif size >= self._warned.get(place, 0) * _GREW:
            self._warned[place] = size
            log.warning(
                "cache holds much of a kind",
                kind=holding.kind,
                view=holding.view,
                megabytes=size >> 20,
                objects=holding.objects,
                fields=describe(self.fields(*place)),
                keep_less_by="a transform, a selector, namespaces or metadata_only",
            )


def field_shares(bodies: Iterable[bytes]) -> Mapping[str, float]:
    """Return which fields the bytes are: dotted name → share, the largest first.

    What only few of the objects have is no field of a schema, and counts for the field
    that it is in.
    """
    sizes: Counter[tuple[str, str]] = Counter()
    seen: Counter[tuple[str, str]] = Counter()
    total = count = 0
    for body in bodies:
        total, count = total + len(body), count + 1
        for path, size in _sizes(body):
            sizes[path] += size
            seen[path] += 1
    shares: Counter[str] = Counter()
    for (outer, inner), size in sizes.items():
        is_shown = inner and seen[outer, inner] * 2 >= count
        shares[f"{outer}.{inner}" if is_shown else outer] += size
    told = {name: round(size / total, 3) for name, size in shares.most_common(_TOLD)}
    return {name: share for name, share in told.items() if share >= _LEAST}


def _sizes(body: bytes) -> Iterator[tuple[tuple[str, str], int]]:
    """Yield fields, each with the field in it if it is opened, and their bytes."""
    for name, value in _parts(body).items():
        nested = _parts(value) if name in _OPENED else {}
        for inner, part in nested.items():
            yield (name, inner if _FIELD.fullmatch(inner) else ""), len(bytes(part))
        if not nested:
            yield (name if _FIELD.fullmatch(name) else "other", ""), len(bytes(value))


def describe(shares: Mapping[str, float]) -> str:
    """Write shares as a person reads them: `metadata.managedFields 41 %, data 38 %`."""
    return ", ".join(f"{name} {share:.0%}" for name, share in shares.items()).replace(
        "%", " %"
    )


def _has_changed(look: _Look | None, size: int) -> bool:
    return look is None or not (
        look.bytes / _CHANGED < size < look.bytes * _CHANGED or size == look.bytes
    )


def _sample(holding: Holding) -> Sequence[bytes]:
    """Take bodies from all over: every so manieth, until that is enough."""
    step = max(holding.objects // _SAMPLE, 1)
    bodies: list[bytes] = []
    taken = 0
    for store in holding.stores:
        for entry in islice(store.list(), 0, None, step):
            if taken >= _SAMPLE_BYTES:
                return bodies
            bodies.append(entry.raw)
            taken += len(entry.raw)
    return bodies


def _parts(body: bytes | msgspec.Raw) -> Mapping[str, msgspec.Raw]:
    try:
        return _fields(body)
    except UNREADABLE:
        return {}  # a transform may have left anything
