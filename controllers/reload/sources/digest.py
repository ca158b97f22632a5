"""Content of a source → hashes.

Two hashes, because one of them is somebody else's:

    marker     what the original Reloader writes into pod templates: SHA-1 of
               `key=value` lines, sorted and joined by `;`. Kept, so that changing
               over from it restarts nothing
    canonical  what decides whether content changed: SHA-256 over length-prefixed
               section, key and value. The marker cannot: `{a: "1;b=2"}` and
               `{a: "1", b: "2"}` share one

And a short hash of each key, for workloads that use only some of them (`keys`): the
hash of a part of the content is made of these, without the content.

One content has several digests: all of it or a part, plain or made with a secret key
(`hashing`). Each says in its `form` which it is, and knows the `others`, so that
whatever a workload carries can be compared with what there is.

All of it works on bytes: a Secret need not hold text. A ConfigMap or Secret has at
most 1 MiB, which the hashes pass in a few milliseconds.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from hashlib import sha1, sha256

import msgspec

from controllers.reload.sources.keys import KeyScope

_NAME = 6
_VALUE = 9
"""Bytes of the hashes of a key's name, and of what it holds: 72 bits tell two values
apart, and what is confused of 48 is only who uses what."""

_PIECE = (_NAME + _VALUE) * 4 // 3
_PIECE_NAME = _NAME * 4 // 3
"""The same in base64, without padding."""


class Digest(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """The hashes of one content."""

    marker: str
    """40 hex digits, or 64."""

    canonical: str
    """64 hex digits."""

    pieces: str = ""
    """20 characters for each key: a hash of its name, and one of what it holds."""

    form: str = ""
    """What else went into the hashes: a part of the keys, a secret. Empty for the
    hashes of everything, which anybody can make."""

    others: tuple[Digest, ...] = ()
    """Of the same content, in other forms."""

    @property
    def recorded(self) -> str:
        """The canonical hash as a workload's record has it: its form, and 20 digits."""
        digits = self.canonical[:20]
        return f"{self.form}:{digits}" if self.form else digits

    @property
    def other_marker(self) -> str:
        """A marker for when `marker` stands there already, for other content."""
        return self.canonical[:40]

    def within(self, scope: KeyScope) -> Digest:
        """Return the digest of some of the keys; that of all is among its others."""
        if scope.is_whole or self == DELETED:
            return self
        part = "".join(_within(self.pieces, scope)).encode()
        return Digest(
            marker=sha1(part, usedforsecurity=False).hexdigest(),
            canonical=sha256(part).hexdigest(),
            form=f"s{scope.tag}",
            others=(self, *self.others),
        )

    def is_recorded(self, text: str) -> bool:
        """Tell whether a record may be of this content.

        A form that cannot be made of it any more (other keys, a lost secret) may.
        """
        if self == DELETED:
            return text == self.recorded
        form = text.rpartition(":")[0]
        found = [one.recorded for one in (self, *self.others) if one.form == form]
        return not found or text in found

    def is_marked(self, markers: Iterable[str]) -> bool:
        """Tell whether one of some markers is of this content."""
        own = {
            marker
            for one in (self, *self.others)
            for marker in (one.marker, one.other_marker, one.canonical)
        }
        return not own.isdisjoint(markers)


def _within(pieces: str, scope: KeyScope) -> Iterator[str]:
    ignored = _name_pieces(scope.ignored)
    only = None if scope.only is None else _name_pieces(scope.only)
    for start in range(0, len(pieces), _PIECE):
        piece = pieces[start : start + _PIECE]
        name = piece[:_PIECE_NAME]
        if name not in ignored and (only is None or name in only):
            yield piece


def _name_pieces(names: Iterable[str]) -> frozenset[str]:
    return frozenset(_name_piece(name.encode()) for name in names)


def _of_text(text: bytes) -> Digest:
    return Digest(
        marker=sha1(text, usedforsecurity=False).hexdigest(),
        canonical=sha256(text).hexdigest(),
    )


DELETED = _of_text(b"__RELOADER_EMPTY_DELETE_MARKER__")
"""Stands for the content of a source that is gone, as in stakater/Reloader."""


def config_map_digest(
    data: Mapping[str, str], binary_data: Mapping[str, bytes]
) -> Digest:
    """Hash the content of a ConfigMap; its two sections never share a key."""
    text = {key.encode(): value.encode() for key, value in data.items()}
    binary = {key.encode(): value for key, value in binary_data.items()}
    encoded = {key: b64encode(value) for key, value in binary.items()}
    return _digest(_marker(text | encoded), {b"data": text, b"binaryData": binary})


def secret_digest(data: Mapping[str, bytes]) -> Digest:
    """Hash the content of a Secret: the values themselves, not their base64."""
    content = {key.encode(): value for key, value in data.items()}
    return _digest(_marker(content), {b"data": content})


def mounted_digest(name: str, versions: Mapping[str, str]) -> Digest:
    """Hash which versions (id → version) a pod has of a SecretProviderClass."""
    lines = [f"{id_}={version}" for id_, version in versions.items()]
    lines.append(f"SecretProviderClassName={name}")
    text = {key.encode(): version.encode() for key, version in versions.items()}
    joined = ";".join(sorted(lines)).encode()
    marker = sha1(joined, usedforsecurity=False).hexdigest()
    return _digest(marker, {b"objects": text, b"class": {b"name": name.encode()}})


def _digest(marker: str, sections: Mapping[bytes, Mapping[bytes, bytes]]) -> Digest:
    pieces = sorted(
        _name_piece(key) + _value_piece(section, value)
        for section, content in sections.items()
        for key, value in content.items()
    )
    return Digest(marker, _canonical(sections), "".join(pieces))


@lru_cache(maxsize=4096)
def _name_piece(name: bytes) -> str:
    return b64encode(sha256(name).digest()[:_NAME]).decode()


def _value_piece(section: bytes, value: bytes) -> str:
    digest = sha256(section + b"=")
    digest.update(value)
    return b64encode(digest.digest()[:_VALUE]).decode()


def _marker(content: Mapping[bytes, bytes]) -> str:
    """Hash as stakater/Reloader does (`internal/pkg/util`, `internal/pkg/crypto`)."""
    lines = sorted(key + b"=" + value for key, value in content.items())
    return sha1(b";".join(lines), usedforsecurity=False).hexdigest()


def _canonical(sections: Mapping[bytes, Mapping[bytes, bytes]]) -> str:
    entries = sorted(
        (key, section, value)
        for section, content in sections.items()
        for key, value in content.items()
    )
    digest = sha256()
    for key, section, value in entries:
        for part in (section, key, value):
            # With its length before it, no part can pass for two.
            digest.update(len(part).to_bytes(8, "big"))
            digest.update(part)
    return digest.hexdigest()
