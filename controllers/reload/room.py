"""How much a record may hold.

All annotations of an object have 256 KiB together, or the API server takes none of
them. A pattern can match thousands of sources: those that come first by name are taken
into the record, as many as there is room for, and those that are in it stay. The others
do not count, and an Event says so. So what is written is never refused for its size.
"""

from __future__ import annotations

from collections.abc import Mapping

RECORD_MAX = 192 << 10
"""Bytes of a record: the rest is for what others write."""

_ANNOTATIONS_MAX = 256 << 10
"""Bytes of all annotations, names included (`TotalAnnotationSizeLimitB`)."""

_RESERVE = 8 << 10
"""For our other annotations, longer hashes of another form, and those that a ReplicaSet
has besides its Deployment's."""

_ENTRY_MAX = 384
"""Bytes of the longest entry: names of a namespace and of a source, and a hash."""


def room_for_more(annotations: Mapping[str, str], record: str) -> int:
    """Return how many bytes the record of a workload may grow by.

    Args:
        annotations: All of the workload.
        record: The one that is its record; empty if there is none.
    """
    taken = sum(len(k.encode()) + len(v.encode()) for k, v in annotations.items())
    return min(RECORD_MAX - len(record), _ANNOTATIONS_MAX - _RESERVE - taken)


def entry_size(name: str, hash_: str) -> int:
    """Return the bytes of an entry of a record: ASCII, with quotes and separators."""
    return len(name) + len(hash_) + len('"":"",')


def is_full(room: int) -> bool:
    """Tell whether there may be a source that has no room."""
    return room < _ENTRY_MAX
