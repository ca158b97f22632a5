"""Which API an Event is written to, while the account's role is one or the other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from itertools import count

import pytest
from structlog.testing import capture_logs

from controller_runtime.client import Client
from controller_runtime.errors import ForbiddenError
from controller_runtime.eventwriter import (
    CORE_EVENT,
    EVENT,
    LOOK_AGAIN,
    EventWriter,
    to_core,
)
from controller_runtime.interceptor import Call, InterceptedTransport, Proceed
from controller_runtime.meta import Json
from controller_runtime.scheme import Scheme
from controller_runtime.series import Outbox, Write
from controller_runtime.testing.apiserver import ApiServer
from controller_runtime.transport import HttpTransport, Response

pytest.register_assert_rewrite("conformance.events", "conformance.eventroles")

from conformance.eventroles import *  # noqa: E402, F403 - the tests

_NUMBERS = count()


class Role:
    """What an account may, and what it has asked for."""

    def __init__(self, *groups: str) -> None:
        self.groups = set(groups)
        self.asked: list[str] = []
        """`verb group` of each request about Events."""

    async def check(self, call: Call, proceed: Proceed) -> Response:
        info = call.info
        self.asked.append(f"{info.verb} {info.group or 'core'}")
        if info.group not in self.groups:
            text = f'cannot {info.verb} resource "events" in API group "{info.group}"'
            raise ForbiddenError(text, status=403, reason="Forbidden")
        return await proceed()

    @asynccontextmanager
    async def client_of(self, server: ApiServer) -> AsyncIterator[Client]:
        async with HttpTransport(server.config()) as transport:
            hooks = {"create": self.check, "patch": self.check}
            yield Client(InterceptedTransport(transport, hooks), scheme=Scheme())


@pytest.fixture
async def server() -> AsyncIterator[ApiServer]:
    async with ApiServer() as server:
        yield server


@pytest.fixture
async def client(server: ApiServer) -> AsyncIterator[Client]:
    async with HttpTransport(server.config()) as transport:
        yield Client(transport, scheme=Scheme())


@pytest.fixture
def account(server: ApiServer) -> Callable[[str], AbstractAsyncContextManager[Client]]:
    return lambda group: Role(group).client_of(server)


@pytest.fixture
def namespace() -> str:
    return "shop"


class Happenings:
    """Something that happens again and again, and is taken to be written."""

    def __init__(self, name: str = "web", namespace: str = "shop") -> None:
        self._outbox = Outbox()
        self._event: Json = {
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": {"name": f"{name}.{next(_NUMBERS)}", "namespace": namespace},
            "regarding": {"kind": "ConfigMap", "namespace": namespace, "name": name},
            "type": "Normal",
            "reason": "Changed",
            "action": "Restart",
            "note": "restarted it",
            "reportingController": "reload",
            "reportingInstance": "reload-1",
        }

    def write(self, moment: str = "2030-01-01T12:00:00.250000Z") -> Write:
        """Return what is to be written when it happens; it counts as written."""
        self._outbox.record(self._event | {"eventTime": moment}, now())
        write = self._outbox.take()
        assert write is not None
        self._outbox.settle(write, now(), is_written=True)
        return write


def now() -> float:
    return asyncio.get_running_loop().time()


def stored(server: ApiServer) -> Json:
    ((_, event),) = server.storage.items("events")
    return event


@pytest.mark.behaviour("E4")
async def test_a_refusal_is_met_once_in_five_minutes_and_told_once(
    server: ApiServer,
) -> None:
    role = Role("")
    async with role.client_of(server) as client:
        writer = EventWriter(client)
        with capture_logs() as logs:
            for number in range(22):
                await writer.write(Happenings(f"web{number}").write())
                await asyncio.sleep(30)

    refused = [asked for asked in role.asked if asked == "create events.k8s.io"]
    assert len(refused) == 22 * 30 // LOOK_AGAIN + 1
    assert len(list(server.storage.items("events"))) == 22
    (warning,) = logs
    assert warning["event"] == "events are written as core/v1"
    assert "events.k8s.io" in warning["error"]


@pytest.mark.behaviour("E4")
async def test_an_account_with_a_newer_role_comes_back_within_five_minutes(
    server: ApiServer,
) -> None:
    role = Role("")
    async with role.client_of(server) as client:
        writer = EventWriter(client)
        await writer.write(Happenings("a").write())
        role.groups = {"events.k8s.io"}
        await asyncio.sleep(LOOK_AGAIN)
        await writer.write(Happenings("b").write())
        await writer.write(Happenings("c").write())

    assert role.asked == [
        "create events.k8s.io",
        "create core",
        "create events.k8s.io",
        "create events.k8s.io",
    ]


@pytest.mark.behaviour("E4")
async def test_one_that_loses_the_older_role_loses_one_event(server: ApiServer) -> None:
    role = Role("")
    async with role.client_of(server) as client:
        writer = EventWriter(client)
        await writer.write(Happenings("a").write())
        role.groups = {"events.k8s.io"}
        with pytest.raises(ForbiddenError):
            await writer.write(Happenings("b").write())
        await writer.write(Happenings("c").write())

    assert role.asked[-1] == "create events.k8s.io"


@pytest.mark.behaviour("E4")
async def test_what_one_namespace_refuses_others_may_allow(server: ApiServer) -> None:
    role = Role("")
    async with role.client_of(server) as client:
        writer = EventWriter(client)
        await writer.write(Happenings(namespace="shop").write())
        role.groups = {"", "events.k8s.io"}
        await writer.write(Happenings(namespace="mall").write())
        await writer.write(Happenings("b", namespace="shop").write())

    assert role.asked[2:] == ["create events.k8s.io", "create core"]


@pytest.mark.behaviour("E3")
@pytest.mark.parametrize(
    ("first", "then"), [("", "events.k8s.io"), ("events.k8s.io", "")]
)
async def test_a_series_goes_on_in_the_other_api(
    server: ApiServer, first: str, then: str
) -> None:
    role, web = Role(first), Happenings()
    async with role.client_of(server) as client:
        writer = EventWriter(client)
        await writer.write(web.write())
        role.groups = {then}
        await asyncio.sleep(LOOK_AGAIN)
        await writer.write(web.write("2030-01-01T12:05:00.750000Z"))

    event = server.read(CORE_EVENT, stored(server)["metadata"]["name"], "shop")
    assert event["series"]["count"] == 2
    assert event["series"]["lastObservedTime"] == "2030-01-01T12:05:00.750000Z"
    assert event["firstTimestamp"] == "2030-01-01T12:00:00Z"
    if not then:
        assert (event["count"], event["lastTimestamp"]) == (2, "2030-01-01T12:05:00Z")


@pytest.mark.behaviour("E4")
async def test_a_series_that_the_server_forgot_is_created_anew_in_core(
    server: ApiServer, client: Client
) -> None:
    role, web = Role(""), Happenings()
    async with role.client_of(server) as theirs:
        writer = EventWriter(theirs)
        await writer.write(web.write())
        await client.delete(EVENT, stored(server)["metadata"]["name"], "shop")
        await writer.write(web.write("2030-01-01T12:05:00.750000Z"))

    assert stored(server)["count"] == 2
    assert stored(server)["firstTimestamp"] == "2030-01-01T12:00:00Z"


@pytest.mark.behaviour("E4")
async def test_the_refusal_that_is_oldest_is_forgotten_first(server: ApiServer) -> None:
    role = Role("")
    async with role.client_of(server) as client:
        writer = EventWriter(client, remembered=2)
        for namespace in ("a", "b", "c", "b", "a"):
            await writer.write(Happenings(namespace=namespace).write())

    refused, found = "create events.k8s.io", "create core"
    assert role.asked == [*(refused, found) * 3, found, refused, found]


def test_what_the_newer_api_calls_otherwise_is_renamed() -> None:
    event = {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": "web.1", "namespace": "shop"},
        "regarding": {"name": "web"},
        "related": {"name": "other"},
        "note": "n",
        "type": "Normal",
        "reportingController": "reload",
        "reportingInstance": "reload-1",
        "eventTime": "2030-01-01T12:00:00.000001Z",
    }

    made = to_core(Write(series=None, times=1, event=event, patch={}))  # type: ignore[arg-type] # not looked at

    assert made.patch == {}
    assert made.event == {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": "web.1", "namespace": "shop"},
        "involvedObject": {"name": "web"},
        "related": {"name": "other"},
        "message": "n",
        "type": "Normal",
        "source": {"component": "reload"},
        "reportingComponent": "reload",
        "reportingInstance": "reload-1",
        "eventTime": "2030-01-01T12:00:00.000001Z",
        "firstTimestamp": "2030-01-01T12:00:00Z",
        "lastTimestamp": "2030-01-01T12:00:00Z",
        "count": 1,
    }
