"""Compare us with our peers, on one API server: `python -m benchmarks.compare`.

    control plane ─▶ fill to a size ─▶ scenarios of that size ─▶ fill further …
                                                                      └─▶ table, JSON

Everything runs on this machine: etcd, kube-apiserver, this driver, and one peer at a
time. A run takes about three quarters of an hour; with fewer rounds and objects it is
quick. The result goes to stdout, and as JSON and Markdown to `.benchmarks/`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.compare.figures import Row, document, markdown, text
from benchmarks.compare.load import Load, now
from benchmarks.compare.peers import GO, KOPF, OURS, ROOT, Program, install
from benchmarks.compare.plot import growth
from benchmarks.compare.scenarios import Bench
from controller_runtime import HttpTransport, load_restconfig
from controller_runtime.testing.envtest import (
    Cluster,
    ControlPlane,
    ControlPlaneOptions,
    progress_for,
)

FULL = 10_000
"""Objects for what is measured at one size."""

PODS = 20_000
"""Pods of the budget in specs of the framework: 20 k of 5.6 KB."""

KOPF_LIMIT = 10_000
"""Objects up to which kopf runs every round; beyond it takes too long for more than
two."""

GROWTH_ROUNDS = 3
"""Rounds at sizes that nothing is promised for."""

PROMISED = (10_000, 50_000)
"""Sizes that something is promised for."""


async def compare(options: argparse.Namespace) -> Sequence[Row]:
    """Run everything, and return what was found."""
    progress = progress_for(sys.stderr)
    programs = [await install(name, progress) for name in options.peers]
    began = now()

    def say(line: str) -> None:
        progress.say(f"{now() - began:7.1f} s  {line}")

    async with ControlPlane(ControlPlaneOptions()) as cluster:
        bench = Bench(cluster.folder / "kubeconfig", programs, say)
        await run(bench, cluster, options)
    rows = list(bench.rows.values())
    await asyncio.to_thread(report, rows, programs, options)
    return rows


async def run(bench: Bench, cluster: Cluster, options: argparse.Namespace) -> None:
    """Go through the sizes, from small to large."""
    config = load_restconfig(
        kubeconfig=bench.kubeconfig, environ={}, home=bench.kubeconfig.parent
    )
    async with HttpTransport(config) as transport:
        load = Load(transport, "bench")
        rounds = options.rounds
        for size in sorted(options.objects):
            await load.fill(size)
            bench.say(f"{size:,} objects of {await load.size()} bytes on {cluster.url}")
            promised = size in PROMISED
            few = rounds if promised else min(rounds, GROWTH_ROUNDS)
            if size <= FULL:  # each peer once, so that what it reads is in memory
                for program in bench.programs:
                    await Bench(bench.kubeconfig, [program], bench.say).starts(load, 1)
            await bench.starts(load, few, OURS, GO)
            if promised:
                many = rounds if size <= KOPF_LIMIT else min(rounds, 2)
                await bench.starts(load, many, KOPF)
            if size == min(FULL, max(options.objects)):
                await closely(bench, load, options)
        if options.pods:
            pods = Load(transport, "pods", "Pod")
            await pods.fill(options.pods)
            bench.say(f"{options.pods:,} pods of {await pods.size()} bytes")
            await bench.starts(pods, rounds, OURS, GO)
            await bench.stalls(pods, rounds)


async def closely(bench: Bench, load: Load, options: argparse.Namespace) -> None:
    """Measure what is measured at one size."""
    await bench.starts(load, options.rounds, OURS, GO, task="noop")
    await bench.patches(load, options.rounds)
    await bench.changes(load, options.rounds, options.changes)
    await bench.burst(load, options.rounds)


def report(
    rows: Sequence[Row], programs: Sequence[Program], options: argparse.Namespace
) -> None:
    """Print the table, and write it down."""
    peers = [program.name for program in programs]
    sys.stdout.write(text(rows, peers))
    folder: Path = options.output
    folder.mkdir(parents=True, exist_ok=True)
    machine = {
        "versions": {program.name: program.version for program in programs},
        "python": platform.python_version(),
        "kernel": platform.release(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "rounds": options.rounds,
        "load": os.getloadavg(),
    }
    data = json.dumps(document(rows, machine, peers[0]), indent=1)
    (folder / "compare.json").write_text(data + "\n", encoding="utf-8")
    (folder / "compare.md").write_text(markdown(rows, peers), encoding="utf-8")
    for name, picture in growth(rows, peers).items():
        (folder / f"{name}.svg").write_text(picture, encoding="utf-8")


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""

    def numbers(value: str) -> list[int]:
        return [int(each) for each in value.split(",")]

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--objects", type=numbers, default=[1000, 10_000, 50_000])
    parser.add_argument("--changes", type=int, default=2000, help="single changes")
    parser.add_argument("--pods", type=int, default=PODS, help="0 leaves them out")
    parser.add_argument(
        "--peers", type=lambda value: value.split(","), default=[OURS, GO, KOPF]
    )
    parser.add_argument("--output", type=Path, default=ROOT / ".benchmarks")
    return parser.parse_args(given)


if __name__ == "__main__":
    asyncio.run(compare(arguments()))
