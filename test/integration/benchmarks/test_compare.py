"""The comparison in small, with our peer alone: it must not break unseen."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from benchmarks.compare.load import Load
from benchmarks.compare.peers import OURS, PEERS, ROOT, Program
from benchmarks.compare.scenarios import Bench
from controller_runtime import HttpTransport, load_restconfig

COUNT = 50


@pytest.fixture
async def load(kubeconfig: Path, namespace: str) -> AsyncIterator[Load]:
    config = await asyncio.to_thread(
        load_restconfig, kubeconfig=kubeconfig, environ={}, home=kubeconfig.parent
    )
    async with HttpTransport(config) as transport:
        load = Load(transport, namespace)
        await load.fill(COUNT)
        yield load


@pytest.fixture
def bench(kubeconfig: Path) -> Bench:
    command = [sys.executable, str(PEERS / "pilothouse" / "peer.py")]
    here = Program(OURS, "0", command, {"PYTHONPATH": str(ROOT)})
    return Bench(kubeconfig, [here], say=lambda _: None, rest=0)


async def test_objects_are_as_large_as_the_documentation_says(load: Load) -> None:
    assert 1250 < await load.size() < 1350


async def test_every_scenario_finds_something(bench: Bench, load: Load) -> None:
    await bench.starts(load, 1)
    await bench.starts(load, 1, task="noop")
    await bench.patches(load, 1)
    await bench.changes(load, 1, COUNT)
    await bench.burst(load, 1)
    await bench.stalls(load, 1)

    assert len(bench.rows) == 18
    for row in bench.rows.values():
        ((peer, samples),) = row.samples.items()
        assert peer == OURS
        # With the collector tuned there may be no pause at all.
        least = 0 if "gc pause" in row.title else 1e-9
        assert all(sample >= least for sample in samples), row.title
