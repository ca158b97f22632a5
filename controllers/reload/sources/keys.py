"""Which keys of a source count for a workload.

    scope: keys          those that its pods use        `references.used_keys`
    ignore-keys          not these                      workload or source
    a ReloaderConfig     these, or not these            `Wish.keys`

Without any of it all keys count, and hashes are those that everybody else writes.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256
from typing import NamedTuple


class KeyScope(NamedTuple):
    """Some keys of one source."""

    only: frozenset[str] | None = None
    """None but these; `None` for all."""

    ignored: frozenset[str] = frozenset()
    """Not these, whatever `only` says."""

    @property
    def is_whole(self) -> bool:
        """Whether every key counts that there can be."""
        return self.only is None and not self.ignored

    @property
    def tag(self) -> str:
        """Tells it from other scopes: 6 hex digits; empty for all keys."""
        if self.is_whole:
            return ""
        is_open = self.only is None
        names = sorted(self.ignored if self.only is None else self._listed)
        text = "\n".join([str(is_open), *names])  # no key has a line break
        return sha256(text.encode()).hexdigest()[:6]

    def joined(self, other: KeyScope) -> KeyScope:
        """Return a scope of what either covers."""
        if self.only is None and other.only is None:
            return KeyScope(ignored=self.ignored & other.ignored)
        if self.only is None:
            return KeyScope(ignored=self.ignored - other._listed)
        if other.only is None:
            return other.joined(self)
        return KeyScope(self._listed | other._listed)

    def without(self, names: Iterable[str]) -> KeyScope:
        """Return a scope that leaves out more."""
        return self._replace(ignored=self.ignored.union(names))

    @property
    def _listed(self) -> frozenset[str]:
        return (self.only or frozenset()) - self.ignored


ALL_KEYS = KeyScope()


def key_list(text: str) -> frozenset[str]:
    """Read names of keys with commas between them."""
    return frozenset(filter(None, (item.strip() for item in text.split(","))))
