"""What reload costs and how fast it is, on a real API server of its own.

    python -m benchmarks.reload [--scale 0.1] [--objects 10000] [--only many,S1]

Everything runs on this machine: etcd, kube-apiserver, the load, and the manager as
`python -m controllers run`. The result is a table beside what was promised, and JSON
and Markdown under `.benchmarks/`. A whole run takes about twenty minutes.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from benchmarks.compare.figures import Row, document
from benchmarks.compare.load import now
from benchmarks.reload.board import Board
from benchmarks.reload.cases import Bench, Case
from benchmarks.reload.cluster import Cluster
from benchmarks.reload.program import ROOT
from benchmarks.reload.recorded import OURS, markdown, table
from benchmarks.reload.shapes import shapes
from controller_runtime import HttpTransport, load_restconfig
from controller_runtime.testing.envtest import (
    ControlPlane,
    ControlPlaneOptions,
    progress_for,
)

KINDS = ("Deployment", "StatefulSet", "DaemonSet")


def cases(given: argparse.Namespace) -> Mapping[str, Case]:
    """Return everything that can be measured, by name, in the order of its weight."""
    rounds: int = given.rounds

    def repeated(case: Callable[[Bench], object]) -> Case:
        async def run(bench: Bench) -> None:
            for _ in range(rounds):
                await case(bench)  # type: ignore[misc]

        return run

    return {
        "idle": repeated(Bench.idle),
        "changes": lambda bench: bench.changes(given.changes),
        "fan-out": lambda bench: bench.fan_out(rounds),
        "three": Bench.three,
        "down": Bench.down,
        **{
            it.name: partial(Bench.shape, shape=it, scale=given.scale)
            for it in shapes()
        },
        **{
            f"{it.name}-at-once": partial(
                Bench.shape, shape=it.at_once(), scale=given.scale
            )
            for it in shapes()
            if it.name in {"S1", "S7"}
        },
        "secrets": lambda it: it.unused("Secret", given.unused, 12 << 10, rounds),
        "config-maps": lambda it: it.unused(
            "ConfigMap", given.unused, 12 << 10, rounds
        ),
        "large": lambda it: it.unused("Secret", given.unused // 100, 900 << 10, rounds),
        "many": lambda bench: bench.many(given.objects, rounds),
    }


async def measure(given: argparse.Namespace) -> Sequence[Row]:
    """Measure what is asked for, each on a server of its own."""
    progress = progress_for(sys.stderr)
    began = now()

    def say(line: str) -> None:
        progress.say(f"{now() - began:7.1f} s  {line}")

    rows: list[Row] = []
    for name, case in cases(given).items():
        if given.only and name not in given.only:
            continue
        options = ControlPlaneOptions(start_timeout=60)
        async with ControlPlane(options) as plane:
            rows += await _run(plane, case, say)
    return rows


async def _run(
    plane: ControlPlane, case: Case, say: Callable[[str], None]
) -> Sequence[Row]:
    kubeconfig = await plane.write_kubeconfig(plane.folder / "bench.kubeconfig")
    config = await asyncio.to_thread(
        load_restconfig, kubeconfig=kubeconfig, environ={}, home=plane.folder
    )
    async with HttpTransport(config) as transport:
        cluster = Cluster(transport, say)
        board = Board(cluster)
        bench = Bench(cluster, board, kubeconfig, plane.folder, say)
        async with board.following(KINDS):
            await case(bench)
    return list(bench.rows.values())


def report(rows: Sequence[Row], given: argparse.Namespace) -> None:
    """Print the table, and write it down."""
    sys.stdout.write(table(rows))
    folder: Path = given.output
    folder.mkdir(parents=True, exist_ok=True)
    machine = {
        "python": platform.python_version(),
        "kernel": platform.release(),
        "cores": os.cpu_count(),
        "load": os.getloadavg(),
        "scale": given.scale,
    }
    data = json.dumps(document(rows, machine, OURS), indent=1)
    (folder / "reload.json").write_text(data + "\n", encoding="utf-8")
    (folder / "reload.md").write_text(markdown(rows), encoding="utf-8")


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", type=float, default=1.0, help="of the time of loads")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--changes", type=int, default=20, help="single changes")
    parser.add_argument("--objects", type=int, default=10_000, help="of `many`")
    parser.add_argument(
        "--unused", type=int, default=3_000, help="sources that nobody uses"
    )
    parser.add_argument(
        "--only", type=lambda value: value.split(","), default=[], help="cases, by name"
    )
    parser.add_argument("--output", type=Path, default=ROOT / ".benchmarks")
    read = parser.parse_args(given)
    known = cases(read)
    if unknown := [name for name in read.only if name not in known]:
        parser.error(f"--only: {', '.join(unknown)} is none of {', '.join(known)}")
    return read


if __name__ == "__main__":
    chosen = arguments()
    report(asyncio.run(measure(chosen)), chosen)
