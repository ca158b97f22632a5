"""Which hashes are shown: plain ones, or such that only the holder of a key can make.

    plain    marker SHA-1 or SHA-256, record SHA-256       whoever has the content
    keyed    both HMAC-SHA256 of the plain hash            … and the key

Somebody who may read workloads, but no Secrets, can try passwords against a plain
hash. Against a keyed one this takes the key.

No switch from one to another restarts anything: the plain hashes stay at hand, those
of earlier keys are made too, and what a workload carries is compared with all of them.
What was made with a key that is lost cannot be compared: it is taken for good.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from controller_runtime import ConfigError
from controllers.reload.sources.digest import Digest
from controllers.reload.sources.keys import ALL_KEYS, KeyScope

KEY_MIN = 16
"""Fewest bytes of a key: what is shorter can be guessed as well."""


class MarkerHash(StrEnum):
    """What stands in pod templates."""

    SHA1 = "sha1"
    """As the original writes it."""

    SHA256 = "sha256"
    """64 hex digits; over the content in a form that no two contents share."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hashing:
    """How content is shown."""

    marker: MarkerHash = MarkerHash.SHA1
    """Of no meaning beside keys."""

    keys: tuple[bytes, ...] = field(default=(), repr=False)
    """The first is used, the others were; none for plain hashes."""

    def shown(self, plain: Digest, scope: KeyScope = ALL_KEYS) -> Digest:
        """Return the digest of some keys of a source, as workloads get to see it.

        All that workloads may carry already are among its others.
        """
        parts = [plain] if scope.is_whole else [plain.within(scope), plain]
        forms = [form for part in parts for form in self._forms(part)]
        first = forms[0]
        if first is plain:
            return plain
        others = tuple(form for form in forms if form is not first)
        return Digest(first.marker, first.canonical, plain.pieces, first.form, others)

    def _forms(self, plain: Digest) -> Iterator[Digest]:
        for key in self.keys:
            yield _keyed(plain, key)
        if self.marker is MarkerHash.SHA256:
            yield Digest(plain.canonical, plain.canonical, form=plain.form)
        yield plain


def _keyed(plain: Digest, key: bytes) -> Digest:
    text = _mac(key, f"content {plain.canonical}")
    form = f"k{_mac(key, 'name')[:6]}{plain.form}"
    return Digest(marker=text, canonical=text, form=form)


def _mac(key: bytes, text: str) -> str:
    return hmac.digest(key, text.encode(), "sha256").hex()


def read_keys(path: Path, *, flag: str) -> tuple[bytes, ...]:
    """Read keys from a file: one a line, the newest first.

    Args:
        path: Such as of a Secret that is mounted.
        flag: Where it was named, for messages.

    Raises:
        ConfigError: The file cannot be read, or a key is too short.
    """
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise ConfigError(f"{flag}={path} cannot be read: {error.strerror}") from error
    keys = tuple(filter(None, (line.strip() for line in lines)))
    if not keys or min(map(len, keys)) < KEY_MIN:
        raise ConfigError(
            f"{flag}={path} has to have a key of {KEY_MIN} bytes or more on each line, "
            "such as `openssl rand -hex 32` prints"
        )
    return keys
