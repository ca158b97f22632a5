"""Content of a source → hashes.

Two hashes, because one of them is somebody else's:

    marker     what the original Reloader writes into pod templates: SHA-1 of
               `key=value` lines, sorted and joined by `;`. Kept, so that changing
               over from it restarts nothing
    canonical  what decides whether content changed: SHA-256 over length-prefixed
               section, key and value. The marker cannot: `{a: "1;b=2"}` and
               `{a: "1", b: "2"}` share one

All of it works on bytes: a Secret need not hold text. A ConfigMap or Secret has at
most 1 MiB, which both hashes pass in a few milliseconds.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from hashlib import sha1, sha256

import msgspec


class Digest(msgspec.Struct, frozen=True, gc=False):
    """The hashes of one content."""

    marker: str
    """40 hex digits."""

    canonical: str
    """64 hex digits."""

    @property
    def recorded(self) -> str:
        """The canonical hash as a workload's record has it: 20 hex digits."""
        return self.canonical[:20]

    @property
    def other_marker(self) -> str:
        """A marker for when `marker` stands there already, for other content."""
        return self.canonical[: len(self.marker)]


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
    return Digest(
        marker=_marker(text | encoded),
        canonical=_canonical({b"data": text, b"binaryData": binary}),
    )


def secret_digest(data: Mapping[str, bytes]) -> Digest:
    """Hash the content of a Secret: the values themselves, not their base64."""
    content = {key.encode(): value for key, value in data.items()}
    return Digest(marker=_marker(content), canonical=_canonical({b"data": content}))


def mounted_digest(name: str, versions: Mapping[str, str]) -> Digest:
    """Hash which versions (id → version) a pod has of a SecretProviderClass."""
    lines = [f"{id_}={version}" for id_, version in versions.items()]
    lines.append(f"SecretProviderClassName={name}")
    text = {key.encode(): version.encode() for key, version in versions.items()}
    joined = ";".join(sorted(lines)).encode()
    return Digest(
        marker=sha1(joined, usedforsecurity=False).hexdigest(),
        canonical=_canonical({b"objects": text, b"class": {b"name": name.encode()}}),
    )


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
