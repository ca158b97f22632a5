"""Compare us with our peers, on one API server: `python -m benchmarks.compare`.

    control plane ─▶ fill to a size ─▶ starts at that size ─▶ fill further …
    control plane ─▶ fill ─▶ patches, single changes, bursts
    control plane ─▶ pods ─▶ starts
                       └─▶ table, JSON, pictures

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
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from benchmarks.compare.figures import Row, document, markdown, text
from benchmarks.compare.load import Load, now
from benchmarks.compare.peers import GO, KOPF, OURS, ROOT, Program, install
from benchmarks.compare.plot import growth
from benchmarks.compare.scenarios import Bench
from controller_runtime import HttpTransport, load_restconfig
from controller_runtime.testing.envtest import (
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


Part = Callable[[Bench, HttpTransport, argparse.Namespace], Awaitable[None]]


async def compare(options: argparse.Namespace) -> Sequence[Row]:
    """Run everything, and return what was found."""
    progress = progress_for(sys.stderr)
    programs = [await install(name, progress) for name in options.peers]
    began = now()

    def say(line: str) -> None:
        progress.say(f"{now() - began:7.1f} s  {line}")

    rows: dict[tuple[str, int], Row] = {}
    for part in (sizes, closely, pods):
        # Each on a server of its own: what is changed grows, and what is kept weighs.
        async with ControlPlane(ControlPlaneOptions()) as cluster:
            bench = Bench(cluster.folder / "kubeconfig", programs, say, rows=rows)
            await run(part, bench, options)
    found = list(rows.values())
    await asyncio.to_thread(report, found, programs, options)
    return found


async def run(part: Part, bench: Bench, options: argparse.Namespace) -> None:
    """Connect, and run a part."""
    config = load_restconfig(
        kubeconfig=bench.kubeconfig, environ={}, home=bench.kubeconfig.parent
    )
    async with HttpTransport(config) as transport:
        await part(bench, transport, options)


async def sizes(
    bench: Bench, transport: HttpTransport, options: argparse.Namespace
) -> None:
    """Start at every size, from small to large."""
    load = Load(transport, "bench")
    for size in sorted(options.objects):
        await filled(bench, load, size)
        promised = size in PROMISED
        few = options.rounds if promised else min(options.rounds, GROWTH_ROUNDS)
        await bench.starts(load, few, OURS, GO)
        if promised:
            many = few if size <= KOPF_LIMIT else min(few, 2)
            await bench.starts(load, many, KOPF)


async def closely(
    bench: Bench, transport: HttpTransport, options: argparse.Namespace
) -> None:
    """Measure what is measured at one size."""
    load = Load(transport, "bench")
    await filled(bench, load, min(FULL, max(options.objects)))
    await bench.starts(load, options.rounds, OURS, GO, task="noop")
    await bench.patches(load, options.rounds)
    await bench.changes(load, options.rounds, options.changes)
    await bench.burst(load, options.rounds)


async def pods(
    bench: Bench, transport: HttpTransport, options: argparse.Namespace
) -> None:
    """Start with pods, which are larger."""
    if options.pods:
        load = Load(transport, "bench", "Pod")
        await filled(bench, load, options.pods)
        await bench.starts(load, options.rounds, OURS, GO)
        await bench.stalls(load, options.rounds)


async def filled(bench: Bench, load: Load, size: int) -> None:
    """Fill, and run each peer once, so that what it reads from disk is in memory."""
    await load.fill(size)
    bench.say(f"{size:,} {load.kind}s of {await load.size()} bytes")
    if size <= FULL:
        warm = Bench(bench.kubeconfig, bench.programs, lambda _: None)
        await warm.starts(load, 1)


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
