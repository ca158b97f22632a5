"""What a fence keeps from acting: calls of a transport, reconciles of a controller."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
from structlog.testing import capture_logs

from controller_runtime.controller import Controller
from controller_runtime.errors import LeaderLostError
from controller_runtime.fence import FencedTransport
from controller_runtime.leaderelection import LeaderElectionOptions
from controller_runtime.manager import Manager
from controller_runtime.manageroptions import ManagerOptions
from controller_runtime.meta import NamespacedName
from controller_runtime.reconcile import Request
from controller_runtime.runnable import Group
from controller_runtime.testing.apiserver import ApiServer
from controller_runtime.transport import HttpTransport

KEY = NamespacedName("n", "a")


class Fence:
    """Can be shut."""

    def __init__(self) -> None:
        self.shut = False

    def __call__(self) -> None:
        if self.shut:
            raise LeaderLostError("act no more")


class Noted:
    """A reconciler that notes what it is asked for."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.called = asyncio.Event()

    async def reconcile(self, request: Request, /) -> None:
        self.requests.append(request)
        self.called.set()


@pytest.fixture
def logs() -> Iterator[None]:
    """Keep tracebacks from being rendered, which looks at files."""
    with capture_logs():
        yield


@pytest.fixture
async def server() -> AsyncIterator[ApiServer]:
    async with ApiServer() as server:
        yield server


async def test_a_call_is_made_while_the_fence_is_open_and_not_after(
    server: ApiServer,
) -> None:
    fence = Fence()
    async with HttpTransport(server.config()) as inner:
        transport = FencedTransport(inner, fence)

        answer = await transport.request("GET", "/version")
        fence.shut = True
        with pytest.raises(LeaderLostError):
            await transport.request("GET", "/version")

    assert answer.status == 200
    assert len(server.requests) == 1


async def test_a_watch_passes_a_shut_fence(server: ApiServer) -> None:
    fence = Fence()
    fence.shut = True
    async with HttpTransport(server.config()) as inner:
        transport = FencedTransport(inner, fence)
        path = "/api/v1/configmaps"
        async with transport.stream(path, params={"watch": "true"}, idle_timeout=60):
            pass

    assert len(server.requests.of("watch")) == 1


@pytest.mark.usefixtures("logs")
async def test_no_reconcile_begins_behind_a_shut_fence() -> None:
    fence, noted = Fence(), Noted()
    controller: Controller[Request] = Controller("it", noted)
    controller.fence = fence
    fence.shut = True
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(controller.run())
        controller.queue.add(KEY)
        await asyncio.sleep(1)
        assert noted.requests == []
        assert "act no more" in controller.last_errors[KEY]

        fence.shut = False
        await noted.called.wait()
        running.cancel()

    assert noted.requests == [KEY]


@pytest.mark.parametrize(("group", "is_fenced"), [(None, True), (Group.OTHERS, False)])
async def test_the_manager_fences_the_controllers_of_the_leader_alone(
    server: ApiServer, group: Group | None, *, is_fenced: bool
) -> None:
    controller: Controller[Request] = Controller("it", Noted())
    async with HttpTransport(server.config()) as transport:
        manager = Manager(
            transport,
            options=ManagerOptions(
                leader_election=LeaderElectionOptions(name="it", namespace="n")
            ),
        )
        manager.add(controller, group=group)

    assert (controller.fence is not None) is is_fenced
