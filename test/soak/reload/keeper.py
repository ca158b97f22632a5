"""A manager of the command line, started again whenever it ends, as a kubelet would.

    Keeper a ─▶ `pilothouse run` ─▶ its `TestingProxy` ─▶ API server

Who leads is whom the Lease names; by which name each stands for it, its log says.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from controller_runtime.testing.envtest.process import Process
from controller_runtime.testing.proxy import TestingProxy
from soak.reload.world import NAMESPACE
from soak.replicas import ROOT, complaints

_PAUSE = 0.5
"""Seconds between the end of a manager and its next start."""

_LOST, _KILLED = 1, -9
"""Exit codes of who has no Lease, or no server, any more; and of who was killed."""


class Keeper:
    """A manager through all of its lives."""

    def __init__(
        self, name: str, proxy: TestingProxy, folder: Path, flags: Sequence[str] = ()
    ) -> None:
        """Make one that does not run.

        Args:
            name: Of the replica.
            proxy: Its way to the server.
            folder: Where kubeconfig and logs go.
            flags: More of them, for the manager.
        """
        self.name = name
        self.proxy = proxy
        self.codes: list[int] = []
        """Of the lives that have ended."""
        self.kills = 0
        self._folder = folder
        self._flags = flags
        self._process: Process | None = None
        self._may_run = asyncio.Event()
        self._may_run.set()

    @property
    def is_running(self) -> bool:
        """Whether there is a process."""
        return self._process is not None and self._process.running

    async def identity(self) -> str:
        """Return the name that it stands for the Lease by; empty if it does not."""
        if self._process is None or not self.is_running:
            return ""
        return await asyncio.to_thread(_identity, self._process.log)

    def freeze(self) -> Process | None:
        """Stop it, as a virtual machine would be; return what to `thaw`."""
        if self._process is not None:
            self._process.signal(signal.SIGSTOP)
        return self._process

    async def run(self) -> None:
        """Start it again and again; kill it when cancelled."""
        while True:
            await self._may_run.wait()
            self._process = process = await self._start()
            try:
                self.codes.append(await process.wait())
            finally:
                await process.stop(grace=0)
            await asyncio.sleep(_PAUSE)

    def kill(self) -> None:
        """End it as a crash would."""
        if self._process is not None and self.is_running:
            self.kills += 1
            self._process.kill()

    def hold(self) -> None:
        """Kill it, and do not start it again."""
        self._may_run.clear()
        self.kill()

    def release(self) -> None:
        """Let it be started again."""
        self._may_run.set()

    def problems(self) -> Iterator[str]:
        """Yield what is odd about its ends, and about its log. Blocks on the disk."""
        for code in self.codes:
            if code not in {_LOST, _KILLED}:
                yield f"{self.name} ended with code {code}"
        for log in sorted(self._folder.glob(f"{self.name}-*.log")):
            text = log.read_text(errors="replace")
            lines = [line for line in text.splitlines() if not _is_sentence(line)]
            yield from (f"{log.stem} said: {it}" for it in complaints(lines))

    async def _start(self) -> Process:
        kubeconfig = self._folder / f"{self.name}.kubeconfig"
        if not self.codes:
            await asyncio.to_thread(
                kubeconfig.write_bytes, _kubeconfig(self.proxy.port)
            )
        life = f"{self.name}-{len(self.codes) + 1}"
        return await Process.start(
            life,
            [
                *(sys.executable, "-m", "controllers", "run", "--controllers=reload"),
                *(f"--kubeconfig={kubeconfig}", f"--reload-namespaces={NAMESPACE}"),
                *("--leader-elect", f"--leader-election-namespace={NAMESPACE}"),
                *("--metrics-bind-address=0", "--health-probe-bind-address=0"),
                "--debug-bind-address=0",
                *self._flags,
            ],
            log=self._folder / f"{life}.log",
            environ={"PATH": os.defpath, "PYTHONPATH": str(ROOT)},
            folder=self._folder,
        )


def _identity(log: Path) -> str:
    with log.open("rb") as lines:
        for line in lines:
            if b'"identity"' in line:
                with suppress(msgspec.DecodeError):  # it is being written
                    return str(msgspec.json.decode(line)["identity"])
    return ""


def _is_sentence(line: str) -> bool:
    """Tell whether a line is the last of who ends for a reason."""
    return line.startswith(("pilothouse: ", "error: ", "the Lease "))


def _kubeconfig(port: int) -> bytes:
    cluster = {"server": f"http://127.0.0.1:{port}"}
    return msgspec.json.encode(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "proxy", "cluster": cluster}],
            "contexts": [{"name": "proxy", "context": {"cluster": "proxy"}}],
            "current-context": "proxy",
        }
    )
