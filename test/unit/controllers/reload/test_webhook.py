"""A URL that is told of changes."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress

import pytest

from controllers.reload.plan import Marker, Plan
from controllers.reload.sources import SourceKey, SourceKind
from controllers.reload.workloads import WorkloadKey
from controllers.reload.writing.webhook import Webhook
from controllers.web import Http, NetworkError, StatusError, TooSlowError

WEB = WorkloadKey("Deployment", "shop", "web")
SOURCE = SourceKey(SourceKind.SECRET, "shop", "s")
PLAN = Plan({}, (Marker(SOURCE, "app", "V", "abc", "abc"),))


class Listener:
    """An HTTP server that answers one request with a status."""

    def __init__(self, status: str) -> None:
        self.status = status
        self.head = ""
        self.body = b""

    async def answer(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = self.head.partition("content-length: ")[2].partition("\r\n")[0]
        self.body = await reader.readexactly(int(length))
        text = f"HTTP/1.1 {self.status}\r\nContent-Length: 0\r\nConnection: close\r\n"
        writer.write(f"{text}\r\n".encode())
        await writer.drain()
        writer.close()
        await writer.wait_closed()


async def posted_to(listener: Listener) -> None:
    server = await asyncio.start_server(listener.answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, Http() as http:
        await Webhook(http, f"http://127.0.0.1:{port}/hook?token=hunter2")(WEB, PLAN)


async def test_it_gets_what_the_original_sends_and_what_changed() -> None:
    listener = Listener("204 No Content")

    await posted_to(listener)

    assert listener.head.startswith("post /hook?token=hunter2 ")
    assert "content-type: application/json" in listener.head
    assert json.loads(listener.body) == {
        "webhook": "update successful",
        "workload": {"kind": "Deployment", "namespace": "shop", "name": "web"},
        "sources": [
            {"type": "SECRET", "namespace": "shop", "name": "s", "hash": "abc"}
        ],
    }


async def test_a_refusal_is_an_error_that_names_the_host_alone() -> None:
    with pytest.raises(StatusError, match="answers 500") as raised:
        await posted_to(Listener("500 Internal Server Error"))

    assert "http://127.0.0.1:" in str(raised.value)
    assert "/hook" not in str(raised.value)
    assert "hunter2" not in str(raised.value)


async def test_an_answer_without_end_neither_fails_nor_holds_anybody_up() -> None:
    async def answer(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        await reader.read(len(head))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10000000000\r\n\r\n")
        with suppress(ConnectionError):
            while True:
                writer.write(b"x")
                await writer.drain()
                await asyncio.sleep(10)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, Http() as http:
        began = asyncio.get_running_loop().time()
        await Webhook(http, f"http://127.0.0.1:{port}/")(WEB, PLAN)

        assert asyncio.get_running_loop().time() - began < 1
        await asyncio.sleep(30)  # until the server has noticed


async def test_who_does_not_answer_is_given_up_without_its_path_being_told() -> None:
    async def answer(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        while await reader.read(1000):
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            await asyncio.sleep(10)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, Http() as http:
        with pytest.raises(TooSlowError, match="no answer after 10 s") as raised:
            await Webhook(http, f"http://127.0.0.1:{port}/T0K3N")(WEB, PLAN)
        await asyncio.sleep(30)

    assert "T0K3N" not in str(raised.value)


async def test_nobody_there_is_an_error(unused_tcp_port: int) -> None:
    async with Http() as http:
        with pytest.raises(NetworkError):
            await Webhook(http, f"http://127.0.0.1:{unused_tcp_port}/")(WEB, PLAN)
