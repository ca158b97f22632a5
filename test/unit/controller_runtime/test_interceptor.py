"""What hooks see of calls, and what they can make of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping

import pytest

from controller_runtime.client import Client
from controller_runtime.errors import ForbiddenError, NotFoundError
from controller_runtime.interceptor import Call, Hook, InterceptedTransport, Proceed
from controller_runtime.meta import GroupVersionKind, Json
from controller_runtime.requestinfo import RequestInfo
from controller_runtime.scheme import Scheme
from controller_runtime.testing.apiserver import ApiServer
from controller_runtime.transport import HttpTransport, Response

CONFIG_MAP = GroupVersionKind("", "v1", "ConfigMap")


@pytest.fixture
async def server() -> AsyncIterator[ApiServer]:
    async with ApiServer() as server:
        yield server


@pytest.fixture
async def transport(server: ApiServer) -> AsyncIterator[HttpTransport]:
    async with HttpTransport(server.config()) as transport:
        yield transport


def client_of(transport: HttpTransport, hooks: Mapping[str, Hook]) -> Client:
    return Client(InterceptedTransport(transport, hooks), scheme=Scheme())


def config_map(name: str = "a") -> Json:
    metadata = {"name": name, "namespace": "n"}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}


async def test_every_call_is_seen_in_the_words_of_roles(
    transport: HttpTransport,
) -> None:
    seen: list[RequestInfo] = []

    async def note(call: Call, proceed: Proceed) -> Response:
        seen.append(call.info)
        return await proceed()

    client = client_of(transport, {"*": note})
    await client.create(config_map())
    await client.get(CONFIG_MAP, "a", "n")
    async with client.watch(CONFIG_MAP, "n"):
        pass
    await client.delete_all_of(CONFIG_MAP, "n")

    _discovery, *calls = seen
    assert [str(call) for call in calls] == [
        "create configmaps in n",
        "get configmaps a in n",
        "watch configmaps in n",
        "deletecollection configmaps in n",
    ]


async def test_a_hook_is_asked_about_its_verb_and_the_star_about_the_others(
    transport: HttpTransport,
) -> None:
    seen: list[str] = []

    def noting(name: str) -> Hook:
        async def note(_call: Call, proceed: Proceed, /) -> Response:
            seen.append(name)
            return await proceed()

        return note

    client = client_of(transport, {"create": noting("create"), "*": noting("*")})
    await client.create(config_map())
    await client.list(CONFIG_MAP)

    assert seen == ["*", "create", "*"]


async def test_what_a_hook_raises_is_what_the_caller_gets_and_nothing_is_sent(
    server: ApiServer, transport: HttpTransport
) -> None:
    async def refuse(call: Call, _proceed: Proceed) -> Response:
        raise ForbiddenError(f"no {call.info}", status=403)

    client = client_of(transport, {"create": refuse, "watch": refuse})

    with pytest.raises(ForbiddenError, match="no create configmaps in n"):
        await client.create(config_map())
    with pytest.raises(ForbiddenError, match="no watch"):
        async with client.watch(CONFIG_MAP):
            pass
    assert not server.requests.of(resource="configmaps")


async def test_a_hook_may_lose_an_answer(
    server: ApiServer, transport: HttpTransport
) -> None:
    async def lose(_call: Call, proceed: Proceed) -> Response:
        await proceed()
        raise TimeoutError

    client = client_of(transport, {"create": lose})

    with pytest.raises(TimeoutError):
        await client.create(config_map())
    assert server.read(CONFIG_MAP, "a", "n")


async def test_a_hook_may_try_again(
    server: ApiServer, transport: HttpTransport
) -> None:
    async def insist(_call: Call, proceed: Proceed) -> Response:
        try:
            return await proceed()
        except NotFoundError:
            server.create(config_map())
            return await proceed()

    read = await client_of(transport, {"get": insist}).get(CONFIG_MAP, "a", "n")

    assert read["metadata"]["name"] == "a"


async def test_a_hook_may_answer_itself(
    server: ApiServer, transport: HttpTransport
) -> None:
    async def answer(_call: Call, _proceed: Proceed) -> Response:
        return Response(200, {}, b'{"data": {"a": "b"}}')

    async def tell(_call: Call, _proceed: Proceed) -> Response:
        return Response(200, {}, b'{"type": "ADDED", "object": {"metadata": {}}}\n')

    client = client_of(transport, {"get": answer, "watch": tell})
    read = await client.get(CONFIG_MAP, "a", "n")
    async with client.watch(CONFIG_MAP) as events:
        told = [event.type async for event in events]

    assert read["data"] == {"a": "b"}
    assert told == ["ADDED"]
    assert not server.requests.of(resource="configmaps")
    assert server.watch_count == 0


async def test_what_comes_on_a_stream_passes_by_the_hook(
    server: ApiServer, transport: HttpTransport
) -> None:
    bodies: list[bytes] = []

    async def note(_call: Call, proceed: Proceed) -> Response:
        answer = await proceed()
        bodies.append(answer.body)
        return answer

    server.create(config_map())
    client = client_of(transport, {"watch": note})
    async with client.watch(CONFIG_MAP) as events:
        event = await anext(events)

    assert event.type == "ADDED"
    assert bodies == [b""]


async def test_a_body_can_be_looked_at(transport: HttpTransport) -> None:
    sizes: list[int] = []

    async def weigh(call: Call, proceed: Proceed) -> Response:
        sizes.append(len(call.body or b""))
        return await proceed()

    client = client_of(transport, {"*": weigh})
    await client.create(config_map())

    discovery, create = sizes
    assert discovery == 0
    assert create > 50
