"""Whether the cluster has what is wanted: the server's own answer, compared.

    effective ──dry-run apply──▶ result ─┐
                                         ├─▶ the same? ──yes──▶ clean verdict
    live ────────────────────────────────┘        └─no──▶ drift, and where

Only the server knows what an apply would do: it fills in defaults, merges lists, runs
admission. So there is no comparison here of what is wanted with what is there, and no
way around a dry run that fails. What a verdict was about is remembered as two digests,
so that a sweep over objects that nobody touched asks the server nothing.

What does not count: status, and of the metadata all but names, labels, annotations.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b
from typing import Any, NamedTuple

import msgspec

from controller_runtime import Json
from controllers.autopilot.pointers import format_pointer

_COUNTS = ("name", "namespace", "labels", "annotations")
"""Metadata that an apply can have an opinion on."""

_MOST = 8
"""Places that are named; the rest is a number."""


class Verdict(NamedTuple):
    """There was no drift: between what, and when."""

    effective: str
    """Digest of what is wanted."""
    live: str
    """Digest of what the cluster had."""
    at: float
    """Seconds."""
    epoch: int
    """How often until then the kinds of the server had changed."""

    def holds(
        self, effective: str, live: str, *, now: float, epoch: int, age: float
    ) -> bool:
        """Whether nothing has changed that could make it another one.

        Args:
            effective: Digest of what is wanted now.
            live: Digest of what the cluster has now.
            now: Seconds.
            epoch: As it is now.
            age: Seconds after which a verdict is worth nothing: admission may have
                changed, which nobody tells us.
        """
        return (effective, live, epoch) == (
            self.effective,
            self.live,
            self.epoch,
        ) and now - self.at < age


def comparable(obj: Mapping[str, Any]) -> Json:
    """Return what of an object counts."""
    metadata = obj.get("metadata") or {}
    kept = {name: metadata[name] for name in _COUNTS if metadata.get(name)}
    body = {k: v for k, v in obj.items() if k not in {"metadata", "status"}}
    return {**body, "metadata": kept}


def digest(obj: Mapping[str, Any]) -> str:
    """Return the same text for the same content, in whatever order it comes."""
    encoded = msgspec.json.encode(comparable(obj), order="sorted")
    return blake2b(encoded, digest_size=16).hexdigest()


def differences(live: Mapping[str, Any], result: Mapping[str, Any]) -> Sequence[str]:
    """Return the places where an apply would change something; no values.

    Args:
        live: What the cluster has.
        result: What it would have after an apply.
    """
    return list(_differing(comparable(live), comparable(result), ()))


def describe(places: Sequence[str]) -> str:
    """Name places for people, the first few of many."""
    named = ", ".join(places[:_MOST])
    more = len(places) - _MOST
    return f"{named} and {more} more" if more > 0 else named


def _differing(one: Any, other: Any, path: tuple[str, ...]) -> Iterator[str]:
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        for name in sorted(one.keys() | other.keys()):
            if name not in one or name not in other:
                yield format_pointer((*path, name))
            else:
                yield from _differing(one[name], other[name], (*path, name))
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for index, pair in enumerate(zip(one, other, strict=True)):
            yield from _differing(*pair, (*path, str(index)))
    elif _text(one) != _text(other):
        yield format_pointer(path)


def _text(value: object) -> bytes:
    """Return a value such that only equal ones look the same; to Python, 1 is True."""
    return msgspec.json.encode(value, order="sorted")
