"""Workloads that the cache has too little of, read once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from api.apps.v1 import Deployment
from controller_runtime import (
    Client,
    HttpTransport,
    Json,
    RawObject,
    Scheme,
    merge_patch,
)
from controller_runtime.meta import read_meta
from controller_runtime.testing.apiserver import ApiServer
from controllers.reload.configs.lender import Lender
from controllers.reload.workloads import WorkloadKey, is_bare, reducer

reduce = reducer([b"no such word"])


class Library:
    """A lender, and the workloads that it has told of."""

    def __init__(self, server: ApiServer, client: Client) -> None:
        self.server = server
        self.client = client
        self.lender = Lender(client)
        self.told: list[WorkloadKey] = []
        self.lender.told = self.told.append

    async def bare(self, name: str) -> tuple[WorkloadKey, RawObject]:
        """Create a workload; return what a cache has of it."""
        labels = {"app": name}
        pod = {"containers": [{"name": "app", "image": "x"}]}
        template = {"metadata": {"labels": labels}, "spec": pod}
        made = await self.client.create(
            {
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "metadata": {"name": name, "namespace": "shop"},
                "spec": {"selector": {"matchLabels": labels}, "template": template},
            }
        )
        return WorkloadKey("Deployment", "shop", name), self.cached(made)

    def cached(self, document: Json) -> RawObject:
        raw = reduce(json.dumps(document).encode())
        return RawObject(read_meta(raw), raw)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as tasks:
            task = tasks.create_task(self.lender.run())
            yield
            task.cancel()


@pytest.fixture
async def library() -> AsyncIterator[Library]:
    async with ApiServer() as server, HttpTransport(server.config()) as transport:
        yield Library(server, Client(transport, scheme=Scheme()))


async def test_what_is_asked_for_is_lent_when_it_has_been_read(
    library: Library,
) -> None:
    key, bare = await library.bare("web")
    assert is_bare(bare)

    async with library.running():
        assert library.lender.lend(key, bare) is None
        await asyncio.sleep(1)

        assert library.told == [key]
        lent = library.lender.lend(key, bare)

    assert lent is not None
    assert not is_bare(lent)
    assert b'"containers"' in lent.raw
    assert b"managedFields" not in lent.raw
    assert len(library.server.requests.of("list", "deployments")) == 1


async def test_many_of_one_namespace_are_one_request(library: Library) -> None:
    bare = dict([await library.bare(f"web-{number}") for number in range(20)])
    await library.bare("other")

    async with library.running():
        for key, entry in bare.items():
            library.lender.lend(key, entry)
        await asyncio.sleep(1)

    assert set(library.told) == bare.keys()
    assert len(library.lender) == 20
    assert len(library.server.requests.of("list", "deployments")) == 1


async def test_nothing_older_than_the_cache_is_lent(library: Library) -> None:
    key, bare = await library.bare("web")
    async with library.running():
        library.lender.lend(key, bare)
        await asyncio.sleep(1)
        patch = merge_patch({"spec": {"paused": True}})
        newer = library.cached(
            await library.client.patch(Deployment.gvk, "web", "shop", patch=patch)
        )

        assert library.lender.lend(key, newer) is None
        await asyncio.sleep(1)
        lent = library.lender.lend(key, newer)

    assert lent is not None
    assert b'"paused":true' in lent.raw


async def test_what_is_gone_is_not_asked_for_again(library: Library) -> None:
    key, bare = await library.bare("web")
    await library.client.delete(Deployment.gvk, "web", "shop")

    async with library.running():
        assert library.lender.lend(key, bare) is None
        await asyncio.sleep(60)

    assert library.told == []
    assert len(library.server.requests.of("list", "deployments")) == 1


async def test_what_is_taken_back_is_read_again(library: Library) -> None:
    key, bare = await library.bare("web")
    async with library.running():
        library.lender.lend(key, bare)
        await asyncio.sleep(1)
        library.lender.take_back(key)

    assert len(library.lender) == 0
    assert library.lender.lend(key, bare) is None


async def test_what_changes_while_others_are_read_is_read_again(
    library: Library,
) -> None:
    bare = dict([await library.bare(f"web-{number:03}") for number in range(501)])
    first, *_, last = bare

    def slow_from_now_on(key: WorkloadKey) -> None:
        if key == first:
            library.server.faults.on(verb="list", resource="deployments").delay(10)

    library.lender.told = slow_from_now_on
    async with library.running():
        for key, entry in bare.items():
            library.lender.lend(key, entry)
        await asyncio.sleep(5)
        patch = merge_patch({"spec": {"paused": True}})
        newer = {
            key: library.cached(
                await library.client.patch(
                    Deployment.gvk, key.name, "shop", patch=patch
                )
            )
            for key in (first, last)
        }
        for key, entry in newer.items():
            assert library.lender.lend(key, entry) is None
        await asyncio.sleep(30)
        lent = [library.lender.lend(key, entry) for key, entry in newer.items()]

    assert all(entry is not None and b'"paused":true' in entry.raw for entry in lent)
    assert len(library.server.requests.of("list", "deployments")) == 4
