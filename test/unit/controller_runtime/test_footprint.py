"""What is told of a kind that takes much memory, when, and what is never told."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from structlog.testing import capture_logs

from controller_runtime.cache import Cache, CacheOptions, StoreReport
from controller_runtime.discovery import Discovery
from controller_runtime.footprint import describe, field_shares
from controller_runtime.meta import GroupVersionKind
from controller_runtime.testing.apiserver import ApiServer
from controller_runtime.transport import HttpTransport

CONFIG_MAP = GroupVersionKind("", "v1", "ConfigMap")
SECRET = GroupVersionKind("", "v1", "Secret")


def body(**fields: object) -> bytes:
    return json.dumps(fields, separators=(",", ":")).encode()


def test_fields_are_told_by_their_share_the_largest_first() -> None:
    bodies = [
        body(
            metadata={"name": "a", "managedFields": "x" * 400},
            data={"password": "y" * 300},
            spec={"template": {"spec": "z" * 200}},
        )
    ] * 3

    shares = field_shares(bodies)

    assert list(shares) == ["metadata.managedFields", "data", "spec.template"]
    assert shares["metadata.managedFields"] == pytest.approx(0.4, abs=0.03)
    assert describe({"a.b": 0.414, "c": 0.38}) == "a.b 41 %, c 38 %"


def test_keys_that_are_content_are_not_told() -> None:
    bodies = [
        body(
            data={f"token-of-anna-{n}": "x" * 100},
            spec={f"user{n}": "y" * 100},
            **{"pass word": "z" * 100},
        )
        for n in range(10)
    ]

    assert field_shares(bodies).keys() == {"data", "spec", "other"}


def test_what_cannot_be_read_is_passed_over() -> None:
    assert field_shares([]) == {}
    assert field_shares([b"[]", b"no", body(spec=[1, 2, 3])]) == {"spec": 0.35}
    assert field_shares([body(status={})]) == {"status": 0.154}


class World:
    def __init__(self, server: ApiServer, cache: Cache) -> None:
        self.server = server
        self.cache = cache

    def put(self, name: str, gvk: GroupVersionKind, size: int) -> None:
        self.server.create(
            {
                "apiVersion": gvk.api_version,
                "kind": gvk.kind,
                "metadata": {"name": name, "namespace": "n"},
                "data": {"hunter2": "aaaa" * (size // 4)},
            }
        )

    def report(self, kind: str) -> StoreReport:
        (found,) = [report for report in self.cache.report() if report.kind == kind]
        return found


@asynccontextmanager
async def holding(budget: int | None) -> AsyncIterator[World]:
    async with (
        ApiServer() as server,
        HttpTransport(server.config()) as transport,
        asyncio.TaskGroup() as tasks,
    ):
        cache = Cache(
            transport,
            Discovery(transport),
            options=CacheOptions(memory_warning=budget),
            randomness=random.Random(1),  # noqa: S311 - jitter
        )
        for gvk in (CONFIG_MAP, SECRET):
            cache.declare(gvk)
        running = tasks.create_task(cache.run())
        await asyncio.sleep(0)
        await cache.synced()
        yield World(server, cache)
        running.cancel()


async def test_who_holds_too_much_is_told_once_and_of_what() -> None:
    async with holding(100_000) as world:
        for number in range(10):
            world.put(f"a{number}", CONFIG_MAP, 12_000)
        with capture_logs() as logs:
            await asyncio.sleep(600)

        report = world.report("ConfigMap")

    (warning,) = [entry for entry in logs if entry["log_level"] == "warning"]
    assert (warning["kind"], warning["view"]) == ("ConfigMap", "default")
    assert warning["objects"] == 10
    assert warning["fields"].startswith("data 9")
    assert report.fields["data"] > 0.9
    assert "hunter2" not in str(logs)


async def test_who_holds_much_more_is_told_again() -> None:
    async with holding(100_000) as world:
        with capture_logs() as logs:
            for number in range(35):
                world.put(f"a{number}", CONFIG_MAP, 12_000)
                await asyncio.sleep(120)

    objects = [entry["objects"] for entry in logs if entry["log_level"] == "warning"]
    assert objects == [9, 14, 21, 32]


async def test_a_kind_near_the_budget_shows_its_fields_and_is_no_warning() -> None:
    async with holding(100_000) as world:
        world.put("a", SECRET, 20_000)
        world.put("a", CONFIG_MAP, 100)
        with capture_logs() as logs:
            await asyncio.sleep(120)
        secrets, config_maps = world.report("Secret"), world.report("ConfigMap")

    assert secrets.fields.keys() == {"data"}
    assert config_maps.fields == {}
    assert not [entry for entry in logs if entry["log_level"] == "warning"]


async def test_nobody_looks_where_that_is_turned_off() -> None:
    async with holding(None) as world:
        world.put("a", SECRET, 200_000)
        with capture_logs() as logs:
            await asyncio.sleep(120)
        assert world.report("Secret").fields == {}

    assert not [entry for entry in logs if entry["log_level"] == "warning"]
