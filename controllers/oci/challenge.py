"""What a registry wants to see, from its `WWW-Authenticate` headers.

    Bearer realm="https://auth.example/token",service="example",scope="repository:a:pull"
    Basic realm="Registry"

Several may come in one header or in several, in any case, with commas inside of quotes
(RFC 9110, 11.6.1). What makes no sense ends the reading of its header.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # noqa: S105 - RFC 9110's word for a word
_PARAMETER = re.compile(rf'({_TOKEN})\s*=\s*(?:"((?:[^"\\]|\\.)*)"|({_TOKEN}))')
_SCHEME = re.compile(rf"({_TOKEN})(?:\s+(?=[^\s,=])|\s*(?=,|$))")
_TOKEN68 = re.compile(r"[A-Za-z0-9._~+/-]+=*(?=\s*(?:,|$))")
_COMMAS = re.compile(r"[\s,]*")


class Challenge(NamedTuple):
    """One way to prove who we are."""

    scheme: str
    """In lower case: `bearer`, `basic`."""

    parameters: Mapping[str, str]
    """By name in lower case."""

    def get(self, name: str) -> str:
        """Return a parameter, empty if it is not there."""
        return self.parameters.get(name, "")


def parse_challenges(headers: Iterable[str]) -> list[Challenge]:
    """Read all headers, in their order."""
    return [challenge for header in headers for challenge in _challenges(header)]


def _challenges(header: str) -> Iterator[Challenge]:
    position = _skip(header, 0)
    while match := _SCHEME.match(header, position):
        position = match.end()
        parameters: dict[str, str] = {}
        blob = _TOKEN68.match(header, position)
        if blob is not None:
            position = blob.end()
        while found := _PARAMETER.match(header, _skip(header, position)):
            name, quoted, bare = found.groups()
            value = bare if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
            parameters.setdefault(name.lower(), value)
            position = found.end()
        yield Challenge(match[1].lower(), parameters)
        position = _skip(header, position)


def _skip(text: str, position: int) -> int:
    match = _COMMAS.match(text, position)
    return match.end() if match else position
