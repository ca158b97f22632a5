"""Alerts on their way: a queue for each sink, and nobody waits for any.

    offer ─▶ queue ──gather──▶ at most `batch` ──POST──▶ taken        sent
               │                                   ├──▶ busy          again, twice
               └─ full: the oldest goes            └──▶ refused       failed

Each sink is served by a task of its own while it has something to send, and `places`
see to it that those that hang hold up nobody else; it gets one message a second, which
is what chats take. The queue has a bound, and so have all of them together.
That alerts cannot be delivered is logged when it begins and when it is over, not in
between, and counted always.

When the manager stops, what waits is sent at once, within a few seconds.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Protocol

import structlog

from controller_runtime import Clock
from controllers.reload.alerts.alert import Alert
from controllers.reload.alerts.formats import accepts, written
from controllers.reload.alerts.places import PlaceOptions, Places
from controllers.reload.alerts.sinks import (
    SecretUnreadError,
    Sink,
    SinkError,
    Urls,
    stays_inside,
)
from controllers.reload.options import flag_of
from controllers.web import (
    Http,
    HttpOptions,
    NetworkError,
    Reach,
    Request,
    StatusError,
    TooSlowError,
    UrlError,
    WebError,
    origin_of,
    retry_after,
)

log = structlog.get_logger(__name__)

_BUSY = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Answers after which the same message may be taken."""

_EPISODES = 1000
"""Sinks of which it is remembered that they fail."""


class Counts(Protocol):
    """Counts alerts: `sent`, `failed` or `dropped`."""

    def __call__(self, sink: str, result: str, /, *, times: int) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SenderOptions:
    """How alerts are sent."""

    gather: float = 0.5
    """Seconds that the first alert waits for others: as long as a reload does."""

    interval: float = 1.0
    """Least seconds between two messages to a sink; Slack and Google Chat take one a
    second."""

    timeout: float = 10.0
    """Seconds for one message, and for the look at the Secret before it."""

    batch: int = 10
    """Most alerts in a message: sections of a MessageCard."""

    queue: int = 200
    """Most alerts that wait for one sink; the oldest goes."""

    queues: int = 10_000
    """Most alerts that wait for all sinks; the oldest of the longest queue goes."""

    places: PlaceOptions = field(default_factory=PlaceOptions)
    """How many messages are on their way."""

    waits: tuple[float, ...] = (2.0, 10.0)
    """Seconds before each further try of a message that was not taken in time."""

    longest_wait: float = 60.0
    """Longest that a server may ask us to wait for it."""

    furthest: Reach = Reach.PRIVATE
    """How far in sinks of ReloaderConfigs may be; those of the settings are trusted."""

    farewell: float = 5.0
    """Seconds that sending may go on when the manager stops."""


@dataclass(slots=True, eq=False)
class _Box:
    """What waits for one sink."""

    waiting: deque[Alert] = field(default_factory=deque)
    is_served: bool = False


class Sender:
    """Sends alerts; a runnable, which owns the connections."""

    name = "alerts"

    def __init__(
        self,
        urls: Urls,
        *,
        counts: Counts,
        clock: Clock,
        options: SenderOptions | None = None,
    ) -> None:
        """Prepare; nothing is opened before `run`.

        Args:
            urls: Knows where sinks are.
            counts: Counts what became of alerts.
            clock: For a server that names the date at which to come again.
            options: How to send.
        """
        self._urls = urls
        self._counts = counts
        self._clock = clock
        self._options = options or SenderOptions()
        self._places = Places(self._options.places)
        self._http = Http(HttpOptions(connections=self._options.places.all))
        self._boxes: dict[Sink, _Box] = {}
        self._waiting = 0
        self._failing: OrderedDict[Sink, None] = OrderedDict()
        self._offered = asyncio.Event()
        self._stopping = asyncio.Event()

    def offer(self, sink: Sink, alert: Alert) -> None:
        """Have an alert sent some time; returns at once."""
        box = self._boxes.setdefault(sink, _Box())
        if len(box.waiting) >= self._options.queue:
            self._drop(sink, box)
        elif self._waiting >= self._options.queues:
            longest = max(self._boxes, key=lambda it: len(self._boxes[it].waiting))
            self._drop(longest, self._boxes[longest])
        box.waiting.append(alert)
        self._waiting += 1
        self._offered.set()

    def stop(self) -> None:
        """Send what waits, and end."""
        self._stopping.set()
        self._offered.set()

    async def run(self) -> None:
        """Send until it is stopped."""
        loop = asyncio.get_running_loop()
        with suppress(TimeoutError):
            async with (
                self._http,
                asyncio.timeout(None) as end,
                asyncio.TaskGroup() as tasks,
            ):
                while not self._stopping.is_set():
                    self._serve_new(tasks)
                    await self._offered.wait()
                    self._offered.clear()
                end.reschedule(loop.time() + self._options.farewell)
                self._serve_new(tasks)
        for sink, box in self._boxes.items():
            self._count(sink, "dropped", len(box.waiting))

    def _drop(self, sink: Sink, box: _Box) -> None:
        """Drop the oldest alert for a sink."""
        box.waiting.popleft()
        self._waiting -= 1
        self._count(sink, "dropped", 1)

    def _serve_new(self, tasks: asyncio.TaskGroup) -> None:
        for sink, box in self._boxes.items():
            if box.waiting and not box.is_served:
                box.is_served = True
                tasks.create_task(self._serve(sink, box), name=f"alerts to {sink.name}")

    async def _serve(self, sink: Sink, box: _Box) -> None:
        """Send what waits for a sink, until nothing does."""
        loop, options = asyncio.get_running_loop(), self._options
        await self._rest(options.gather)
        while box.waiting:
            began = loop.time()
            count = min(len(box.waiting), options.batch)
            batch = [box.waiting.popleft() for _ in range(count)]
            self._waiting -= count
            await self._send(sink, batch)
            await self._rest(began + options.interval - loop.time())
        # Nothing is awaited between the last look and this.
        del self._boxes[sink]

    async def _send(self, sink: Sink, batch: list[Alert]) -> None:
        try:
            await self._deliver(sink, batch)
        except asyncio.CancelledError:
            self._count(sink, "dropped", len(batch))
            raise
        except (SinkError, WebError) as error:
            self._count(sink, "failed", len(batch))
            self._note_failure(sink, error)
        else:
            self._count(sink, "sent", len(batch))
            self._note_success(sink)

    async def _deliver(self, sink: Sink, batch: list[Alert]) -> None:
        """Post, and again if that may help.

        Raises:
            SinkError: The URL is not to be had, or not to be asked.
            WebError: The message is not taken.
        """
        in_trouble = sink in self._failing
        for wait in self._options.waits:
            try:
                return await self._post(sink, batch, in_trouble=in_trouble)
            except (SecretUnreadError, WebError) as error:
                if self._stopping.is_set() or not _may_pass(error):
                    raise
                in_trouble = True
                await self._rest(self._pause(error, wait))
        return await self._post(sink, batch, in_trouble=in_trouble)

    async def _post(self, sink: Sink, batch: list[Alert], *, in_trouble: bool) -> None:
        options = self._options
        body = written(sink.format, batch, sink.info)
        try:
            async with asyncio.timeout(options.timeout):
                url = await self._urls(sink)
            request = Request(
                url=url,
                method="POST",
                headers={"Content-Type": body.content_type},
                body=body.content,
                redirects=0,
                furthest=options.furthest if sink.owner else Reach.LOCAL,
                proxy=None if sink.owner and stays_inside(url) else sink.proxy,
                alias=str(sink),
            )
            namespace = sink.owner.namespace if sink.owner else ""
            server = origin_of(url)
            async with (
                self._places.place(server, namespace, in_trouble=in_trouble),
                asyncio.timeout(options.timeout),
                # What it says besides its status is of no interest, and is not read.
                self._http.open(request) as answer,
            ):
                status, asked = answer.status, answer.headers.get("Retry-After")
        except TimeoutError:
            seconds = options.timeout
            raise TooSlowError(f"{sink}: no answer after {seconds:g} s") from None
        except UrlError:
            raise SinkError(
                f"{sink}: the URL of {sink.place} leads to where nothing may be asked, "
                "such as a loopback or link-local address: correct it"
            ) from None
        if not accepts(sink.format, status):
            raise StatusError(
                f"{sink}: the answer is {status}, so the message was not taken",
                status=status,
                retry_after=retry_after(asked, self._clock.now()),
            )

    def _pause(self, error: Exception, wait: float) -> float:
        """Wait as long as the server asks for, within reason."""
        asked = error.retry_after if isinstance(error, StatusError) else None
        longest = timedelta(seconds=self._options.longest_wait)
        return wait if asked is None else min(asked, longest).total_seconds()

    async def _rest(self, seconds: float) -> None:
        """Wait, unless the manager stops."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()

    def _count(self, sink: Sink, result: str, times: int) -> None:
        if times:
            self._counts(sink.format.value, result, times=times)

    def _note_failure(self, sink: Sink, error: Exception) -> None:
        is_known = sink in self._failing
        self._failing[sink] = None
        self._failing.move_to_end(sink)
        if len(self._failing) > _EPISODES:
            self._failing.popitem(last=False)
        if not is_known:
            log.warning(
                "alerts cannot be delivered",
                sink=str(sink),
                error=str(error),
                remedy=_remedy(sink, error),
            )

    def _note_success(self, sink: Sink) -> None:
        if sink in self._failing:
            del self._failing[sink]
            log.info("alerts are delivered again", sink=str(sink))


def _may_pass(error: Exception) -> bool:
    """Tell whether the same message may be taken a little later."""
    if isinstance(error, StatusError):
        return error.status in _BUSY
    return isinstance(error, NetworkError | SecretUnreadError | TooSlowError)


def _remedy(sink: Sink, error: Exception) -> str:
    match error:
        case SinkError():
            return "see the error"
        case StatusError(status=status) if status in _BUSY:
            return "wait: the receiver has trouble of its own"
        case StatusError():
            return f"see whether the webhook still exists and {sink.place} has its URL"
        case _:
            return (
                f"see whether the URL of {sink.place} can be reached from the "
                "manager's pod; outside of the cluster it may take "
                f"{flag_of('alert-webhook-proxy', 'ALERT_WEBHOOK_PROXY')}"
            )
