"""`python -m controller_runtime.testing.envtest`: binaries, and a control plane to try.

    setup   find or build all binaries, and print the folder that has them; tools that
            no control plane needs, such as promtool, only if --only names them
    path    print that folder if nothing is missing; fetch and build nothing
    up      run a control plane until Ctrl-C, and print the path of its kubeconfig

Answers go to stdout and everything else to stderr, so that
`export KUBEBUILDER_ASSETS=$(python -m controller_runtime.testing.envtest setup)` works.
"""

from __future__ import annotations

import argparse
import asyncio
import fcntl
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from controller_runtime.errors import ControllerRuntimeError
from controller_runtime.testing.envtest.assets import Assets, AssetsOptions
from controller_runtime.testing.envtest.binaries import PARTS, TOOLS
from controller_runtime.testing.envtest.controlplane import (
    ControlPlane,
    ControlPlaneOptions,
)
from controller_runtime.testing.envtest.progress import progress_for

INTERRUPTED = 130
"""What a shell reports for a program that Ctrl-C ended."""

LOCK_POLL = 0.2
"""Seconds between two looks at whether anybody still needs the control plane."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    options = _parser().parse_args(arguments)
    try:
        asyncio.run(_up(options) if options.verb == "up" else _setup(options))
    except ControllerRuntimeError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    except (KeyboardInterrupt, asyncio.CancelledError):
        return 0 if options.verb == "up" else INTERRUPTED
    return 0


async def _setup(options: argparse.Namespace) -> None:
    assets = Assets(_assets(options), progress=progress_for(sys.stderr))
    wanted = options.only or [part.name for part in PARTS]
    parts = [part for part in (*PARTS, *TOOLS) if part.name in wanted]
    _answer(await assets.link(parts, options.bin_dir))


async def _up(options: argparse.Namespace) -> None:
    plane = ControlPlaneOptions(
        folder=options.folder,
        controller_manager=options.controller_manager,
        scheduler=options.scheduler,
        kwok=options.kwok,
        nodes=options.nodes,
        assets=_assets(options),
    )
    _treat_sigterm_as_ctrl_c()
    async with ControlPlane(plane) as running:
        _answer(running.folder / "kubeconfig")
        if options.while_locked is None:
            await asyncio.Event().wait()
        else:
            await _while_locked(options.while_locked)


def _treat_sigterm_as_ctrl_c() -> None:
    """Let SIGTERM cancel the main task, as asyncio lets SIGINT."""
    task = asyncio.current_task()
    if task is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)


async def _while_locked(path: Path) -> None:
    """Wait until nobody holds the file's lock any more, then hold it ourselves.

    It is kept until the process ends, so that who comes late waits for that and then
    finds no control plane, rather than one that is about to go.
    """
    number = await asyncio.to_thread(
        os.open, path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
    )
    while True:
        try:
            fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            await asyncio.sleep(LOCK_POLL)


def _assets(options: argparse.Namespace) -> AssetsOptions:
    return AssetsOptions.from_environ(
        os.environ,
        kubernetes=options.kubernetes,
        download=not options.no_download and options.verb != "path",
        build=not options.no_build and options.verb != "path",
    )


def _answer(line: object) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m controller_runtime.testing.envtest",
        description="A real Kubernetes control plane for tests.",
    )
    verbs = parser.add_subparsers(dest="verb", required=True)
    for verb, description in (
        ("setup", "find or build all binaries, and print the folder that has them"),
        ("path", "print that folder if nothing is missing; fetch and build nothing"),
        ("up", "run a control plane until Ctrl-C, and print its kubeconfig's path"),
    ):
        one = verbs.add_parser(verb, help=description, description=description)
        one.add_argument(
            "--kubernetes", metavar="VERSION", help="by default our newest"
        )
        one.add_argument("--no-download", action="store_true", help="fetch no releases")
        one.add_argument(
            "--no-build", action="store_true", help="build nothing with Go"
        )
        (_add_up if verb == "up" else _add_setup)(one)
    return parser


def _add_setup(parser: argparse.ArgumentParser) -> None:
    names = [part.name for part in (*PARTS, *TOOLS)]
    parser.add_argument("--bin-dir", type=Path, help="folder to link the binaries into")
    parser.add_argument(
        "--only", action="append", choices=names, help="this binary; may be repeated"
    )


def _add_up(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--folder", type=Path, help="keep the data there")
    parser.add_argument("--controller-manager", action="store_true")
    parser.add_argument("--scheduler", action="store_true")
    parser.add_argument("--kwok", action="store_true", help="nodes that run nothing")
    parser.add_argument("--nodes", type=int, default=1, help="how many of them")
    parser.add_argument(
        "--while-locked",
        type=Path,
        metavar="FILE",
        help="stop when nobody holds a lock (flock) on this file any more",
    )


if __name__ == "__main__":
    sys.exit(main())
