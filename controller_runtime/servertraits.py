"""What was found out about an API server while it was asked."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field


@dataclass(slots=True)
class ServerTraits:
    """What was found out about a server; shared by all who ask it.

    An aggregated API is another server behind the same address, so that what one kind
    meets need not be true of all. A refusal is about the kind that was asked for. So is
    silence, if another kind was streamed; else nobody behind the address can stream.
    """

    streams: bool = True
    """It answers a `WatchList`, as far as we know."""

    streamless: set[Hashable] = field(default_factory=set)
    """Kinds for which it does not."""

    serves_pages: bool = False
    """It has lists in memory page by page, as far as we know: those of the newest
    version then cost etcd nothing."""

    _has_streamed: bool = False

    def streams_of(self, kind: Hashable) -> bool:
        """Tell whether a `WatchList` of a kind is worth a try."""
        return self.streams and kind not in self.streamless

    def has_streamed(self) -> None:
        """Take note that it can, whatever others met."""
        self.streams = self._has_streamed = True

    def cannot_stream(self, kind: Hashable, *, refused: bool) -> None:
        """Take note that it listed a kind that it did not stream."""
        self.streamless.add(kind)
        self.streams = self.streams and (refused or self._has_streamed)
