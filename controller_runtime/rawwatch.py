"""One stream of changes, as the server tells them.

    GET …?watch=1 ─▶ lines ─▶ ADDED, MODIFIED, DELETED (an object), BOOKMARK (a version)
                       └─▶ ERROR, which is raised

For tools and tests. Nothing is kept, resumed or retried: `reflector` is for those who
must not miss a change.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Generic, NamedTuple, TypedDict, TypeVar

from controller_runtime.calls import Calls, given
from controller_runtime.meta import Json, Kind, KubeObject, kind_of, read_meta
from controller_runtime.scheme import Scheme
from controller_runtime.wire import INITIAL_EVENTS_END, Lines, read_raw_event

T = TypeVar("T", bound=KubeObject | Json)

_TIMEOUT = 300.0
"""Seconds after which the server is asked to end a stream, unless a call says."""

_IDLE_MARGIN = 5.0
"""Seconds that a server may be late in ending it, as in kube-rs."""


class StreamOptions(TypedDict, total=False):
    """What a watch may ask for."""

    label_selector: str
    """As kubectl's `--selector` takes it."""

    field_selector: str
    """As kubectl's `--field-selector` takes it."""

    resource_version: str
    """Where to begin, such as after a list. Empty, the default, or `0` begins with an
    `ADDED` for each object that there is."""

    bookmarks: bool
    """Tell the versions that the stream has come to."""

    send_initial_events: bool
    """Begin with what is there, whatever the version, and a bookmark at its end."""

    timeout: float
    """Seconds after which the server ends the stream; 300 by default."""


class WatchEvent(NamedTuple, Generic[T]):
    """One event of a stream."""

    type: str
    """`ADDED`, `MODIFIED`, `DELETED` or `BOOKMARK`."""

    object: T | None
    """As it is now, or was last; `None` in a bookmark."""

    resource_version: str
    """Of the object, or the one that the stream has come to."""

    ends_initial_events: bool = False
    """All objects that there were have come."""


class RawWatch:
    """Watches the objects of one kind."""

    def __init__(self, calls: Calls, scheme: Scheme, kind: Kind) -> None:
        """Name them; see `Client.watch`."""
        self._calls = calls
        self._scheme = scheme
        self._kind = kind

    @asynccontextmanager
    async def follow(
        self, namespace: str, options: StreamOptions
    ) -> AsyncIterator[AsyncIterator[WatchEvent[KubeObject | Json]]]:
        """Open a stream, and close it on leaving."""
        _, path = await self._calls.collection(kind_of(self._kind), namespace)
        timeout = options.get("timeout", _TIMEOUT)
        async with (
            self._calls.transport.stream(
                path,
                params=_params(options, timeout),
                idle_timeout=timeout + _IDLE_MARGIN,
            ) as chunks,
            aclosing(self._read(chunks)) as events,
        ):
            yield events

    async def _read(
        self, chunks: AsyncIterator[bytes]
    ) -> AsyncGenerator[WatchEvent[KubeObject | Json], None]:
        lines = Lines()
        async for chunk in chunks:
            for line in lines.feed(chunk):
                yield self._event(*read_raw_event(line))

    def _event(self, type_: str, raw: bytes) -> WatchEvent[KubeObject | Json]:
        meta = read_meta(raw)
        if type_ == "BOOKMARK":
            ends = meta.annotations.get(INITIAL_EVENTS_END) == "true"
            return WatchEvent(type_, None, meta.resource_version, ends)
        obj = self._scheme.decode(self._kind, raw)
        return WatchEvent(type_, obj, meta.resource_version)


def _params(options: StreamOptions, timeout: float) -> dict[str, str]:
    initial = options.get("send_initial_events", False)
    bookmarks = options.get("bookmarks", False) or initial
    return {
        "watch": "true",
        "timeoutSeconds": str(int(timeout)),
        **given(
            {
                "labelSelector": options.get("label_selector", ""),
                "fieldSelector": options.get("field_selector", ""),
                "resourceVersion": options.get("resource_version", ""),
                "allowWatchBookmarks": "true" if bookmarks else "",
                "sendInitialEvents": "true" if initial else "",
                "resourceVersionMatch": "NotOlderThan" if initial else "",
            }
        ),
    }
