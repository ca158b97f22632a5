"""Taking secrets out of texts that people will see; pure.

    values of a Secret ──secret_texts──▶ texts ──┐
    "at '/password': 'hunter2' does not match" ──┴─scrub──▶ "at '/password': '…' does …"

Helm quotes values in its errors: a schema that a password fails shows the password.
Other programs quote them in their own way, so a text is also looked for as Go, JSON and
base64 write it, and line by line.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator, Mapping

SHORTEST = 4
"""Shorter texts stay: `on`, `80` or `v1` are in every message and give little away."""

MARK = "…"


def secret_texts(*values: object) -> frozenset[str]:
    """Return every text in values that came from Secrets, in all its spellings.

    Args:
        values: Texts, bytes, or values as JSON has them, of any depth. Keys of
            mappings are no secrets.
    """
    return frozenset(
        spelling
        for value in values
        for text in _leaves(value)
        for spelling in _spellings(text)
        if len(spelling) >= SHORTEST
    )


def scrub(text: str, secrets: Iterable[str]) -> str:
    """Replace every secret in a text; the longest first, since one may hold another."""
    # There may be thousands, and hardly ever is one of them in the text.
    found = [secret for secret in secrets if secret in text]
    for secret in sorted(found, key=len, reverse=True):
        text = text.replace(secret, MARK)
    return text


def _leaves(value: object) -> Iterator[str]:
    match value:
        case str():
            yield value
        case bytes():
            yield value.decode(errors="replace")
        case bool() | None:
            pass
        case int() | float():
            yield json.dumps(value)
        case Mapping():
            for inner in value.values():
                yield from _leaves(inner)
        case Iterable():
            for inner in value:
                yield from _leaves(inner)
        case _:
            pass


def _spellings(text: str) -> Iterator[str]:
    for part in {text, text.strip(), *(line.strip() for line in text.splitlines())}:
        yield part
        yield json.dumps(part)[1:-1]
        yield json.dumps(part, ensure_ascii=False)[1:-1]
        yield base64.b64encode(part.encode()).decode()
