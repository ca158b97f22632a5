"""Charts of a registry that counts what it is asked, and does wrong things."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from conformance.charts import chart
from conformance.fakeregistry import FakeRegistry, complaint, only, serving
from conformance.repositories import push_chart
from controller_runtime.testing.clock import FakeClock
from controllers.oci import RegistryClientOptions
from controllers.release.chart import (
    ChartOptions,
    Charts,
    ChartSource,
    Reason,
    SourceError,
)
from controllers.web import Http

LIST = "GET /v2/charts/app/tags/list"
HEAD = "HEAD /v2/charts/app/manifests/1.0.0"


@asynccontextmanager
async def fetching(folder: Path, http: Http | None = None) -> AsyncIterator[Charts]:
    options = ChartOptions(folder=folder, registry=RegistryClientOptions(memory=10))
    charts = Charts(options, clock=FakeClock(), http=http)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(charts.run())
        yield charts
        running.cancel()


@asynccontextmanager
async def filled(registry: FakeRegistry) -> AsyncIterator[ChartSource]:
    """Serve a registry with a chart, and say how to get it."""
    async with serving(registry):
        await push_chart(f"oci://{registry.host}/charts", chart(), insecure=True)
        registry.asked.clear()
        yield ChartSource(
            url=f"oci://{registry.host}/charts",
            name="app",
            version="^1",
            plain_http=True,
        )


async def test_two_who_want_the_same_ask_once_and_later_only_what_the_tag_is(
    tmp_path: Path,
) -> None:
    """59, in a registry."""
    registry = FakeRegistry()
    async with filled(registry) as source, fetching(tmp_path) as charts:
        async with asyncio.TaskGroup() as tasks:
            both = [tasks.create_task(charts.resolve(source)) for _ in range(2)]
        cold = registry.questions()
        registry.asked.clear()
        await asyncio.sleep(300)  # the next interval
        again = await charts.resolve(source)

    digest = again.digest
    assert [task.result() for task in both] == [again, again]
    assert cold[:3] == [LIST, HEAD, f"GET /v2/charts/app/manifests/{digest}"]
    assert len(cold) == 4
    assert "/blobs/" in cold[3]
    assert registry.questions() == [LIST, HEAD]


async def test_an_exact_version_takes_no_list(tmp_path: Path) -> None:
    registry = FakeRegistry()
    async with filled(registry) as source, fetching(tmp_path) as charts:
        await charts.resolve(replace(source, version="1.0.0"))
        with pytest.raises(SourceError) as caught:
            await charts.resolve(replace(source, version="1.0.1"))

    assert caught.value.reason is Reason.NOT_FOUND
    assert LIST not in registry.questions()


async def test_what_is_no_chart_is_not_taken_for_one(tmp_path: Path) -> None:
    registry = FakeRegistry()
    async with filled(registry) as source, fetching(tmp_path) as charts:
        registry.tag("charts/app", "2.0.0", content=b'{"schemaVersion":2}')
        with pytest.raises(SourceError, match="helm push") as caught:
            await charts.resolve(replace(source, version="2.0.0"))

    assert caught.value.reason is Reason.FETCH_FAILED
    assert not caught.value.is_transient


@pytest.mark.parametrize(
    ("status", "reason", "transient"),
    [
        (401, Reason.AUTH_FAILED, False),
        (403, Reason.AUTH_FAILED, False),
        (404, Reason.NOT_FOUND, False),
        (429, Reason.FETCH_FAILED, True),
        (503, Reason.FETCH_FAILED, True),
    ],
)
async def test_what_a_registry_refuses_has_a_reason(
    tmp_path: Path, status: int, reason: Reason, transient: bool
) -> None:
    registry = FakeRegistry()
    async with filled(registry) as source, fetching(tmp_path) as charts:
        registry.faults = [only("/v2/", lambda: complaint(status, "UNKNOWN"))]
        with pytest.raises(SourceError) as caught:
            await charts.resolve(source)

    assert caught.value.reason is reason
    assert caught.value.is_transient is transient
    assert "chart app of oci://" in str(caught.value)


async def test_plain_http_is_for_the_cluster_and_not_for_the_open_network(
    tmp_path: Path,
) -> None:
    async def everything_is_outside(host: str, port: int) -> Sequence[str]:
        return ["93.184.216.34"]

    source = ChartSource(
        url="oci://registry.example/charts", name="app", version="1", plain_http=True
    )
    async with fetching(tmp_path, Http(resolver=everything_is_outside)) as charts:
        with pytest.raises(SourceError, match="plainHTTP") as caught:
            await charts.resolve(source)

    assert caught.value.reason is Reason.INVALID


async def test_who_asks_when_all_is_over_is_told_so(tmp_path: Path) -> None:
    source = ChartSource(url="oci://a.example/b", name="c", version="1")
    async with fetching(tmp_path) as charts:
        await asyncio.sleep(1)

    with pytest.raises(SourceError, match="stopping"):
        await charts.resolve(source)
