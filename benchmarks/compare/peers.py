"""The programs that are compared: how each is made, started and listened to.

    install ─▶ Program ─start─▶ Running ─▶ manager ─▶ reconciled ─▶ counting, handled …

Each is a process of its own that is given the same flags, says what happens in lines of
JSON, and is told what to do in lines of text:

    {"what": "manager", "at"}                      just before its manager starts
    {"what": "reconciled", "at", "first", "cpu"}   each of `--expect` objects was, once
    count N        {"what": "counting", "cpu"}     updates are counted from now on
                   {"what": "handled", "at", "first", "cpu"}   N were
    starts         {"what": "starts", "starts": [[version, told, at], …]}   since then

Times are seconds of CLOCK_MONOTONIC, which is one for all processes of a machine: `at`
of a reconcile is when it began, `told` when the event of it was handled. `cpu` is what
the process has used so far, in seconds. Closing its stdin ends it.

What is installed is kept in the cache folder of `envtest`, by the hash of what pins it.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import re
import signal
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from controller_runtime.testing.envtest.assets import cache_folder
from controller_runtime.testing.envtest.binaries import GoModule, Part
from controller_runtime.testing.envtest.build import build
from controller_runtime.testing.envtest.progress import Progress

ROOT = Path(__file__).parents[2]
PEERS = ROOT / "benchmarks" / "peers"

OURS = "pilothouse"
GO = "controller-runtime"
KOPF = "kopf"

PATIENCE = 600.0
"""Seconds that a peer may take for anything."""

now = time.monotonic  # noqa: TID251 - the clock that the peers read too


class PeerError(Exception):
    """A peer cannot be made, or did not do what it should."""


@dataclass(frozen=True, slots=True)
class Program:
    """A peer that can be started."""

    name: str
    version: str
    command: Sequence[str]
    environ: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What a peer is to do."""

    kubeconfig: Path
    namespace: str
    expect: int
    kind: str = "ConfigMap"
    task: str = ""
    mark: str = ""
    workers: int = 0
    more: tuple[str, ...] = ()

    @property
    def flags(self) -> Sequence[str]:
        """Those that differ from the defaults: kopf knows the first four alone."""
        given: dict[str, object] = {
            "kubeconfig": self.kubeconfig,
            "namespace": self.namespace,
            "expect": self.expect,
            "kind": self.kind,
            "task": self.task,
            "mark": self.mark,
            "workers": self.workers,
        }
        flags = (f"--{name}={value}" for name, value in given.items() if value)
        return [*flags, *self.more]


class Running:
    """A peer at work."""

    def __init__(
        self, name: str, child: asyncio.subprocess.Process, began: float, log: Path
    ) -> None:
        self.name = name
        self.began = began
        """When it was started."""
        self._child = child
        self._log = log

    async def expect(self, what: str) -> Mapping[str, Any]:
        """Wait until it says a thing, and pass over what it says before.

        Raises:
            PeerError: It ended, or took too long.
        """
        assert self._child.stdout is not None
        try:
            async with asyncio.timeout(PATIENCE):
                async for line in self._child.stdout:
                    message: Mapping[str, Any] = json.loads(line)
                    if message["what"] == what:
                        return message
        except TimeoutError:
            trouble = "was not in time to say"
        else:
            trouble = "ended before it said"
        log = await asyncio.to_thread(self._log.read_text, encoding="utf-8")
        raise PeerError(f"{self.name} {trouble} {what!r}; its log:\n{log[-2000:]}")

    async def tell(self, command: str) -> None:
        """Give a command."""
        assert self._child.stdin is not None
        self._child.stdin.write(f"{command}\n".encode())
        await self._child.stdin.drain()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        self._child.send_signal(number)

    def memory(self) -> tuple[float, float]:
        """Return resident memory and its highest so far, in MB."""
        text = Path(f"/proc/{self._child.pid}/status").read_text(encoding="ascii")
        rss, peak = (
            re.search(rf"^{name}:\s+(\d+) kB", text, re.MULTILINE)
            for name in ("VmRSS", "VmHWM")
        )
        assert rss is not None
        assert peak is not None
        return int(rss[1]) * 1024 / 1e6, int(peak[1]) * 1024 / 1e6


@asynccontextmanager
async def started(program: Program, job: Job) -> AsyncIterator[Running]:
    """Run a peer, which writes its log beside the kubeconfig."""
    log = job.kubeconfig.with_name(f"{program.name}.log")
    errors = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    began = now()
    child = await asyncio.create_subprocess_exec(
        *program.command,
        *job.flags,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=errors,
        limit=1 << 26,
        cwd=ROOT,
        env={"PATH": os.defpath, "HOME": str(job.kubeconfig.parent)}
        | dict(program.environ),
    )
    os.close(errors)
    try:
        yield Running(program.name, child, began, log)
    finally:
        if child.returncode is None:
            child.kill()  # a clean end takes seconds and nobody learns from it
        assert child.stdin is not None
        child.stdin.close()
        await child.wait()


async def install(name: str, progress: Progress) -> Program:
    """Make a peer that can be started, which takes a minute the first time.

    Raises:
        AssetsError: There is no Go, or it could not build.
        PeerError: pip could not install what is pinned.
    """
    if name == GO:
        return await _go(progress)
    if name in {OURS, KOPF}:
        return await _python(name, progress)
    raise PeerError(f"there is no peer {name!r}")


async def _go(progress: Progress) -> Program:
    folder = PEERS / "controller_runtime"
    sources = {"main.go": (folder / "main.go").read_bytes()}
    gomod = (folder / "go.mod").read_bytes()
    found = re.search(rb"sigs.k8s.io/controller-runtime v(\S+)", gomod)
    assert found is not None
    module = GoModule(
        project=GO,
        version=found[1].decode(),
        gomod=gomod,
        gosum=(folder / "go.sum").read_bytes(),
        sources=sources,
    )
    part = Part(name=GO, project=GO, package=".", build_time="one to two minutes")
    target = _cache() / f"{GO}-{module.version}-{module.digest}" / "peer"
    if not target.exists():
        await build(part, module, target, environ=os.environ, progress=progress)
    return Program(GO, module.version, [str(target)])


async def _python(name: str, progress: Progress) -> Program:
    folder = PEERS / name
    lock = folder / "requirements.lock"
    python = "{}.{}.{}".format(*sys.version_info)
    digest = hashlib.sha256(lock.read_bytes() + python.encode()).hexdigest()[:12]
    home = _cache() / f"{name}-{digest}"
    program = home / "bin" / "python"
    if not (home / "complete").exists():
        with progress.step(f"installing {name}", done=f"installed {name}"):
            await _run(sys.executable, "-m", "venv", "--clear", str(home))
            pip = [str(program), "-m", "pip", "install", "--quiet", "--no-deps"]
            await _run(*pip, "--require-hashes", "--requirement", str(lock))
            (home / "complete").touch()
    if name == KOPF:
        found = re.search(
            r"^kopf==(\S+)", lock.read_text(encoding="utf-8"), re.MULTILINE
        )
        assert found is not None
        version = found[1]
    else:
        version = (ROOT / "VERSION").read_text(encoding="ascii").strip()
    command = [str(program), str(folder / "peer.py")]
    # Ours is the working tree, not what PyPI has.
    environ = {"PYTHONPATH": str(ROOT)} if name == OURS else {}
    return Program(name, version, command, environ)


async def _run(*command: str) -> None:
    child = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await child.communicate()
    if child.returncode:
        raise PeerError(f"{' '.join(command)} failed:\n{output.decode()}")


def _cache() -> Path:
    return cache_folder(os.environ) / "benchmarks"
