"""A manager that is started again whenever it ends, as a kubelet would.

    Replica a ──▶ life a-1 ──ends──▶ a second ──▶ life a-2 ─▶ …
       └── its own `TestingProxy`, for all of its lives

A life's identity is that of its Lease and its User-Agent, so that one knows in all
places who it was.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from controller_runtime.testing.envtest.process import Process
from controller_runtime.testing.proxy import TestingProxy
from soak.evidence import Arrival, Frozen, Life
from soak.plan import Tempo
from soak.records import Reader, Sample, now

ROOT = Path(__file__).parents[2]

RESTART_PAUSE = 1.0
"""Seconds between the end of a manager and its next start."""

_WRITES = frozenset({"create", "update", "patch", "delete"})


class Running:
    """One process of a manager."""

    def __init__(self, identity: str, process: Process, journal: Path) -> None:
        self.identity = identity
        self.process = process
        self.journal = Reader(journal)
        self.freezes: list[Frozen] = []
        self.was_killed = False
        self.was_asked = False
        self.refusals = 0
        self.code: int | None = None
        self.ended = float("inf")

    def freeze(self) -> float:
        self.process.signal(signal.SIGSTOP)
        return now()

    def resume(self, stopped: float) -> None:
        # The moment before: nothing that it does may seem to be from before.
        self.freezes.append(Frozen(stopped, now()))
        self.process.signal(signal.SIGCONT)

    def kill(self) -> None:
        self.was_killed = True
        self.process.kill()

    def ask_to_stop(self) -> None:
        self.was_asked = True
        self.process.signal(signal.SIGTERM)

    @property
    def is_settled(self) -> bool:
        """Whether it has got as far as to hold things."""
        return any(isinstance(it, Sample) for it in self.journal.records)

    async def life(self) -> Life:
        """Sum it up, once it has ended."""
        self.journal.catch_up()
        text = await asyncio.to_thread(self.process.log.read_text, errors="replace")
        return Life(
            identity=self.identity,
            records=self.journal.records,
            code=-1000 if self.code is None else self.code,
            ended=self.ended,
            was_killed=self.was_killed,
            was_asked=self.was_asked,
            freezes=self.freezes,
            refusals=self.refusals,
            complaints=list(complaints(text.splitlines())),
        )


class Replica:
    """A manager through all of its lives."""

    def __init__(
        self, name: str, proxy: TestingProxy, folder: Path, tempo: Tempo
    ) -> None:
        self.name = name
        self.proxy = proxy
        self.lives: list[Running] = []
        self.arrivals: list[Arrival] = []
        self._folder = folder
        self._tempo = tempo
        self._stops = False

    @property
    def current(self) -> Running | None:
        """The process that runs now."""
        last = self.lives[-1] if self.lives else None
        return last if last is not None and last.code is None else None

    async def run(self) -> None:
        """Start it again and again, until `stop`; kill it when cancelled."""
        while not self._stops:
            life = await self._start()
            try:
                life.code = await life.process.wait()
                life.ended = now()
            finally:
                await life.process.stop(grace=0)
            if not self._stops:
                await asyncio.sleep(RESTART_PAUSE)

    def stop(self) -> None:
        """Ask it to stop, and do not start it again."""
        self._stops = True
        if self.current is not None:
            self.current.ask_to_stop()

    def note_requests(self) -> None:
        """Take what its way has seen since, so that it need not remember all of it."""
        requests = self.proxy.requests
        self.arrivals += [
            Arrival(it.user_agent, it.time)
            for it in requests
            if it.verb in _WRITES and it.resource == "configmaps"
        ]
        requests.clear()

    async def _start(self) -> Running:
        identity = f"{self.name}-{len(self.lives) + 1}"
        journal = self._folder / f"{identity}.jsonl"
        process = await Process.start(
            identity,
            self._command(identity, journal),
            log=self._folder / f"{identity}.log",
            environ={
                "PATH": os.defpath,
                "PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "test"))),
            },
            folder=self._folder,
        )
        life = Running(identity, process, journal)
        self.lives.append(life)
        return life

    def _command(self, identity: str, journal: Path) -> Sequence[str]:
        tempo = self._tempo
        return [
            *(sys.executable, "-W", "always::ResourceWarning", "-m", "soak.manager"),
            f"--server=http://127.0.0.1:{self.proxy.port}",
            f"--identity={identity}",
            f"--journal={journal}",
            f"--lease={tempo.lease}",
            f"--renew={tempo.renew}",
            f"--retry={tempo.retry}",
            f"--reconcile={tempo.reconcile}",
            # One of each, so that both loops are tormented.
            *(("--uvloop",) if self.name == "b" else ()),
        ]


_EXPECTED = ("soak manager: ", "the Lease ")
"""How the last words of a manager begin, and those of the exit guard."""

_DEFECTS = (
    "never awaited",
    "was destroyed but it is pending",
    "never retrieved",
    "Unclosed",
    "Exception in callback",
)
"""What asyncio and aiohttp log when somebody was careless."""


def complaints(lines: Sequence[str]) -> Iterator[str]:
    """Yield what does not belong on the stderr of a manager that is tormented.

    Lines of JSON are its log. In it, failures are no news. A process that is struck
    down may leave a line torn.
    """
    for line in lines:
        if line.startswith("{"):
            if any(defect in _message(line) for defect in _DEFECTS):
                yield line[:1000]
        elif line and not line.startswith(_EXPECTED):
            yield line[:1000]


def _message(line: str) -> str:
    try:
        return str(msgspec.json.decode(line).get("msg", ""))
    except msgspec.DecodeError:
        return line
