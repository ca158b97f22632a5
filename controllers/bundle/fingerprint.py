"""Hashes: of values, of everything an apply depends on, and short ones for names.

fingerprint   equal ⇔ an apply would be the same one; written into Job and status
selection     equal ⇔ the same candidates are eligible
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping

_FNV_OFFSET = 0x811C9DC5
_FNV_PRIME = 0x01000193


def canonical(value: object) -> str:
    """Write JSON so that equal values are equal texts."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def digest(value: object) -> str:
    """Return the SHA-256 of a JSON value, in hex."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()


def fingerprint(parts: Mapping[str, object]) -> str:
    """Return what identifies an apply: the hash of all that it depends on."""
    return digest(parts)


def short(*parts: object, length: int = 6) -> str:
    """Return some characters that may be part of a name and tell `parts` apart.

    30 bits at the usual length: for telling apart the Jobs of one bundle.
    """
    raw = hashlib.sha256(canonical(parts).encode()).digest()
    return base64.b32encode(raw).decode().lower()[:length]


def tag_hash(tag: str) -> str:
    """Return the FNV-1a of a tag, as eight digits."""
    value = _FNV_OFFSET
    for byte in tag.encode():
        value = ((value ^ byte) * _FNV_PRIME) & 0xFFFFFFFF
    return f"{value:08x}"


def limited(text: str, length: int) -> str:
    """Return a text, or its beginning and a hash if it is longer than that."""
    if len(text) <= length:
        return text
    return f"{text[: length - 9].rstrip('-._')}-{tag_hash(text)}"
