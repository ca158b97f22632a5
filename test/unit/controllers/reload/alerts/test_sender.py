"""Alerts on their way, over real sockets and on a clock that does not wait."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest
from aiohttp import web
from structlog.testing import capture_logs

from controller_runtime import Json, NamespacedName
from controller_runtime.testing.clock import FakeClock
from controllers.reload.alerts.alert import RELOADED, Alert, Change
from controllers.reload.alerts.places import PlaceOptions
from controllers.reload.alerts.sender import Sender, SenderOptions
from controllers.reload.alerts.sinks import (
    SecretUnreadError,
    Sink,
    SinkError,
    checked,
)
from controllers.reload.options import AlertFormat
from controllers.reload.sources import SourceKey, SourceKind
from controllers.reload.workloads import WorkloadKey
from controllers.web import Proxy, Reach

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
CLOCK = FakeClock(NOW)
TOKEN = "T0K3N"
LOCAL = SenderOptions(furthest=Reach.LOCAL)
CONFIG = NamespacedName("shop", "web")


def alert(name: str = "web") -> Alert:
    return Alert(
        kind=RELOADED,
        workload=WorkloadKey("Deployment", "shop", name),
        changes=(Change(SourceKey(SourceKind.SECRET, "shop", "db"), "abc"),),
        strategy="env-vars",
        time=NOW,
        text="reloads",
    )


@dataclass
class Chat:
    """A receiver of messages."""

    statuses: list[int] = field(default_factory=list)
    """Of its next answers; then 200."""

    hangs: bool = False
    headers: dict[str, str] = field(default_factory=dict)
    url: str = ""
    times: list[float] = field(default_factory=list)
    bodies: list[Json] = field(default_factory=list)
    requests: list[web.BaseRequest] = field(default_factory=list)

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        self.times.append(asyncio.get_running_loop().time())
        self.requests.append(request)
        self.bodies.append(json.loads(await request.text()))
        if self.hangs:
            await asyncio.Event().wait()
        status = self.statuses.pop(0) if self.statuses else 200
        return web.Response(status=status, headers=self.headers)

    @property
    def told(self) -> list[list[str]]:
        """Name the workloads of each message."""
        return [
            [it["workload"]["name"] for it in (body, *body["also"])]
            for body in self.bodies
        ]

    def sink(self, name: str = "chat", **fields: object) -> Sink:
        url = f"{self.url}/services/{TOKEN}"
        given = {"owner": CONFIG, "url": url, **fields}
        return Sink(name=name, format=AlertFormat.JSON, **given)  # type: ignore[arg-type]  # fields of Sink


@asynccontextmanager
async def chats(*them: Chat) -> AsyncIterator[None]:
    runners = []
    for chat in them:
        runner = web.ServerRunner(web.Server(chat.answer), shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        chat.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        runners.append(runner)
    try:
        yield
    finally:
        for runner in runners:
            await runner.cleanup()


class Running:
    """A sender, and what it counts."""

    def __init__(self, options: SenderOptions) -> None:
        self.counts: Counter[str] = Counter()
        self.sender = Sender(
            self._url, counts=self._count, clock=CLOCK, options=options
        )

    async def _url(self, sink: Sink) -> str:
        return checked(sink, sink.url)

    def _count(self, sink: str, result: str, *, times: int) -> None:
        assert sink == "json"
        self.counts[result] += times

    def offer(self, sink: Sink, *names: str) -> None:
        for name in names:
            self.sender.offer(sink, alert(name))


@asynccontextmanager
async def sending(options: SenderOptions = LOCAL) -> AsyncIterator[Running]:
    running = Running(options)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(running.sender.run())
        yield running
        running.sender.stop()


def _now() -> float:
    return asyncio.get_running_loop().time()


async def test_alerts_of_half_a_second_are_one_message() -> None:
    chat = Chat()
    async with chats(chat), sending() as running:
        running.offer(chat.sink(), "a")
        await asyncio.sleep(0.4)
        running.offer(chat.sink(), "b", "c")
        await asyncio.sleep(5)

    assert chat.told == [["a", "b", "c"]]
    assert running.counts == {"sent": 3}


async def test_a_sink_gets_one_message_a_second_and_no_more() -> None:
    chat = Chat()
    names = [f"w{number}" for number in range(25)]
    async with chats(chat), sending() as running:
        running.offer(chat.sink(), *names)
        await asyncio.sleep(10)

    assert [len(message) for message in chat.told] == [10, 10, 5]
    assert [name for message in chat.told for name in message] == names
    gaps = [b - a for a, b in zip(chat.times, chat.times[1:], strict=False)]
    assert all(gap >= 0.999 for gap in gaps)


async def test_one_message_a_second_holds_across_a_pause_of_the_queue() -> None:
    chat = Chat()
    async with (
        chats(chat),
        sending(SenderOptions(gather=0, furthest=Reach.LOCAL)) as running,
    ):
        running.offer(chat.sink(), "a")
        await asyncio.sleep(0.3)
        running.offer(chat.sink(), "b")
        await asyncio.sleep(5)

    assert chat.told == [["a"], ["b"]]
    assert chat.times[1] - chat.times[0] >= 0.999


async def test_a_sink_that_hangs_is_given_up_and_delays_no_other() -> None:
    slow, quick = Chat(hangs=True), Chat()
    with capture_logs() as logs:
        async with chats(slow, quick), sending() as running:
            began = _now()
            running.offer(slow.sink("slow"), "a")
            running.offer(quick.sink("quick"), "a")
            await asyncio.sleep(120)

    assert quick.times[0] - began == pytest.approx(0.5, abs=0.1)
    # Three tries of ten seconds, two and ten seconds apart.
    assert [t - slow.times[0] for t in slow.times] == pytest.approx([0, 12, 32], abs=1)
    assert running.counts == {"sent": 1, "failed": 1}
    (line,) = [it for it in logs if it["log_level"] == "warning"]
    assert line["event"] == "alerts cannot be delivered"
    assert "no answer after 10 s" in line["error"]


@pytest.mark.parametrize(
    "is_one_config", [True, False], ids=["of one namespace", "of many namespaces"]
)
async def test_a_hundred_sinks_of_one_server_that_hangs_delay_no_other(
    is_one_config: bool,
) -> None:
    slow, quick = Chat(hangs=True), Chat()
    async with chats(slow, quick), sending() as running:
        for number in range(100):
            owner = CONFIG if is_one_config else NamespacedName(f"n{number}", "x")
            running.offer(slow.sink(f"slow-{number}", owner=owner), "a", "b")
        await asyncio.sleep(0.6)
        began = _now()
        running.offer(quick.sink("quick", owner=NamespacedName("b", "b")), "a")
        await asyncio.sleep(60)

    assert quick.times[0] - began < 2
    assert sum(time < slow.times[0] + 9 for time in slow.times) == 16


async def test_a_hundred_servers_that_hang_delay_no_other_of_another_namespace() -> (
    None
):
    slow, quick = [Chat(hangs=True) for _ in range(100)], Chat()
    async with chats(*slow, quick), sending() as running:
        for number, chat in enumerate(slow):
            running.offer(chat.sink(f"slow-{number}"), "a")
        await asyncio.sleep(0.6)
        began = _now()
        running.offer(quick.sink("quick", owner=NamespacedName("b", "b")), "a")
        await asyncio.sleep(60)

    assert quick.times[0] - began < 2


async def test_sinks_in_trouble_leave_places_to_the_others() -> None:
    slow, quick = [Chat(hangs=True) for _ in range(8)], Chat()
    places = PlaceOptions(in_trouble=2, all=4)
    async with (
        chats(*slow, quick),
        sending(SenderOptions(places=places, furthest=Reach.LOCAL)) as running,
    ):
        for number, chat in enumerate(slow):
            running.offer(chat.sink(f"slow-{number}"), "a")
        await asyncio.sleep(25)  # all have hung once
        for _ in range(5):
            began = _now()
            running.offer(quick.sink("quick"), "a")
            await asyncio.sleep(5)
            assert quick.times[-1] - began < 2


async def test_all_queues_together_have_a_bound_and_the_longest_gives_way() -> None:
    long, short = Chat(hangs=True), Chat()
    options = SenderOptions(queues=5, furthest=Reach.LOCAL)
    async with chats(long, short), sending(options) as running:
        running.offer(long.sink("long"), "a", "b", "c", "d", "e")
        running.offer(short.sink("short"), "f")
        await asyncio.sleep(5)
        assert running.counts == {"dropped": 1, "sent": 1}

    assert short.told == [["f"]]
    assert long.told == [["b", "c", "d", "e"]]


async def test_a_queue_has_a_bound_and_the_oldest_goes() -> None:
    chat = Chat()
    async with (
        chats(chat),
        sending(SenderOptions(queue=3, furthest=Reach.LOCAL)) as running,
    ):
        running.offer(chat.sink(), "a", "b", "c", "d", "e")
        await asyncio.sleep(5)

    assert chat.told == [["c", "d", "e"]]
    assert running.counts == {"dropped": 2, "sent": 3}


@pytest.mark.parametrize("status", [429, 503])
async def test_a_busy_sink_gets_the_message_again(status: int) -> None:
    chat = Chat(statuses=[status])
    async with chats(chat), sending() as running:
        running.offer(chat.sink(), "a")
        await asyncio.sleep(30)

    assert chat.told == [["a"], ["a"]]
    assert running.counts == {"sent": 1}


async def test_a_busy_sink_says_when_to_come_again() -> None:
    chat = Chat(statuses=[429], headers={"Retry-After": "30"})
    async with chats(chat), sending() as running:
        running.offer(chat.sink(), "a")
        await asyncio.sleep(60)

    assert chat.times[1] - chat.times[0] == pytest.approx(30, abs=0.1)
    assert running.counts == {"sent": 1}


async def test_a_refusal_is_final_and_logged_once_until_it_is_over() -> None:
    """Scenario 31: TestSendWebhookAlert_LogsSendErrors."""
    chat = Chat(statuses=[404, 404])
    with capture_logs() as logs:
        async with chats(chat), sending() as running:
            for name in "abcd":
                running.offer(chat.sink(), name)
                await asyncio.sleep(10)

    assert running.counts == {"failed": 2, "sent": 2}
    assert [(it["log_level"], it["event"]) for it in logs] == [
        ("warning", "alerts cannot be delivered"),
        ("info", "alerts are delivered again"),
    ]
    assert "the answer is 404" in logs[0]["error"]
    assert "spec.alerts.chat.url" in logs[0]["remedy"]


async def test_a_redirect_is_not_followed() -> None:
    stranger = Chat()
    chat = Chat(statuses=[307])
    async with chats(stranger, chat), sending() as running:
        chat.headers["Location"] = stranger.url
        running.offer(chat.sink(), "a")
        await asyncio.sleep(30)

    assert stranger.bodies == []
    assert running.counts == {"failed": 1}


@pytest.mark.parametrize(
    "url",
    [
        f"http://127.0.0.1:1/{TOKEN}",
        f"http://169.254.169.254/{TOKEN}",
        f"http://\N{CIRCLED DIGIT ONE}69.254.169.254/{TOKEN}",
        f"https://me:{TOKEN}@127.0.0.1/",
    ],
    ids=["nobody there", "metadata", "disguised", "password"],
)
async def test_no_log_shows_a_url(url: str) -> None:
    with capture_logs() as logs:
        async with sending() as running:
            running.offer(Chat().sink(url=url), "a")
            await asyncio.sleep(120)

    assert running.counts == {"failed": 1}
    (line,) = logs
    shown = str(line).lower()
    assert "alert sink chat of reloaderconfig shop/web" in shown
    assert TOKEN.lower() not in shown
    assert "169.254" not in shown


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]"])
async def test_a_config_cannot_post_to_ports_of_the_manager_and_the_settings_can(
    host: str,
) -> None:
    chat = Chat()
    async with chats(chat), sending(SenderOptions()) as running:
        url = chat.url.replace("127.0.0.1", host)
        running.offer(chat.sink(url=url), "a")
        await asyncio.sleep(60)
        assert chat.told == []
        assert running.counts == {"failed": 1}

        running.offer(chat.sink(owner=None), "b")
        await asyncio.sleep(5)

    assert chat.told == [["b"]]


async def test_what_waits_is_sent_at_once_when_the_manager_stops() -> None:
    chat = Chat()
    async with chats(chat), sending() as running:
        running.offer(chat.sink(), *(f"w{number}" for number in range(25)))
        running.sender.stop()
        began = _now()

    assert running.counts == {"sent": 25}
    assert chat.times[-1] - began < 0.5


async def test_a_sink_that_hangs_does_not_keep_the_manager_from_stopping() -> None:
    chat = Chat(hangs=True)
    async with chats(chat):
        async with sending() as running:
            running.offer(chat.sink(), "a", "b")
            await asyncio.sleep(1)
            running.offer(chat.sink(), "c")
            began = _now()
        assert _now() - began == pytest.approx(5, abs=0.1)

    assert running.counts == {"dropped": 3}


async def test_a_proxy_is_asked_unless_the_url_stays_inside() -> None:
    proxy, inside = Chat(), Chat()
    async with chats(proxy, inside), sending() as running:
        through = Proxy(url=proxy.url, username="me", password="pw")
        url = f"http://hooks.example/services/{TOKEN}"
        running.offer(proxy.sink("out", url=url, proxy=through), "a")
        local = inside.url.replace("127.0.0.1", "localhost")
        running.offer(inside.sink("in", url=local, proxy=through), "b")
        await asyncio.sleep(5)

    (request,) = proxy.requests
    assert request.headers["Host"] == "hooks.example"
    assert request.headers["Proxy-Authorization"].startswith("Basic ")
    assert inside.told == [["b"]]
    assert running.counts == {"sent": 2}


async def test_a_secret_that_cannot_be_read_now_is_read_again() -> None:
    chat = Chat()
    counted: list[str] = []
    refusals = [SecretUnreadError("the API server is away")]

    async def url(sink: Sink) -> str:
        if refusals:
            raise refusals.pop()
        return sink.url

    sender = Sender(
        url,
        counts=lambda sink, result, *, times: counted.append(result),
        clock=CLOCK,
        options=LOCAL,
    )
    async with chats(chat), asyncio.TaskGroup() as tasks:
        tasks.create_task(sender.run())
        sender.offer(chat.sink(), alert())
        await asyncio.sleep(5)
        sender.stop()

    assert counted == ["sent"]


async def test_a_url_that_is_not_to_be_had_is_a_failure_with_its_reason() -> None:
    async def nowhere(sink: Sink) -> str:
        raise SinkError(f"{sink}: Secret shop/chat, key url is not there: create it")

    counted: list[Sequence[object]] = []
    sender = Sender(
        nowhere,
        counts=lambda sink, result, *, times: counted.append((sink, result, times)),
        clock=CLOCK,
        options=LOCAL,
    )
    with capture_logs() as logs:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(sender.run())
            sender.offer(Chat().sink(), alert())
            await asyncio.sleep(5)
            sender.stop()

    assert counted == [("json", "failed", 1)]
    assert "create it" in logs[0]["error"]
