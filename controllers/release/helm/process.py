"""A worker, as the manager sees it: one process, from its start to its end.

    starting ──hello──▶ idle ⇄ busy ──retire──▶ leaving ──▶ ended
        │                       │                  ▲          ▲
        └──────── dies ─────────┴─────── dies ─────┼──────────┤
                          cancelled: told, 10 s ───┴── killed ┘

The process has a session of its own, an environment of a few names, and a home that is
deleted with it: the SDK writes kubeconfigs there. Its `argv[0]` ends in `helm`, since
that is what Helm signs its fields with: with another name, whoever used the `helm`
command on a release before has a conflict on every object.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import sys
import tempfile
from asyncio.subprocess import PIPE, Process
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import structlog

from controllers.release.helm.engine import WorkerDiedError
from controllers.release.helm.failures import PANIC
from controllers.release.helm.protocol import (
    CANCEL,
    REPLY_MAX,
    Call,
    ProtocolError,
    Reply,
    read_hello,
    read_reply,
    request,
)
from controllers.release.scrub import scrub

log = structlog.get_logger(__name__)

SCRIPT = Path(__file__).with_name("worker.py")

_LONG = 1 << 20
"""Bytes of JSON above which a thread reads it: 10 ms."""

_WORDS = 20
"""First lines of stderr that are kept for the report of a death."""

_CAUSES = ("fatal error: ", "panic: ", "runtime: ")
"""How Go begins the line that says why; a stack follows. Python says it last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerOptions:
    """What a worker may use."""

    data_limit: int = 1 << 30
    """Bytes of memory after which it dies (RLIMIT_DATA): of a chart that renders too
    much, and without the manager."""

    start_timeout: timedelta = timedelta(seconds=30)
    """Until it must have said hello; it takes 0.1 s on an idle machine."""

    cancel_grace: timedelta = timedelta(seconds=10)
    """How long it may take to cancel an operation before it is killed."""

    log_level: str = "INFO"
    """Of Helm, which is logged at debug."""


class WorkerProcess:
    """One worker. Whoever creates it runs `run` in a task; one question at a time."""

    def __init__(
        self, number: int, folder: Path, options: WorkerOptions | None = None
    ) -> None:
        """Start nothing yet.

        Args:
            number: Tells workers of a pool apart in logs.
            folder: Where its home is made.
            options: What it may use.
        """
        self.number = number
        self.operations = 0
        """How many it has done."""
        self.rss = 0
        """Bytes of memory at its last answer."""
        self.is_suspect = False
        """Whether it panicked: it may be in any state."""
        self.retired_for = ""
        """Why it was told to end, in a word; empty if it was not."""
        self.idle_since = 0.0
        """Loop time of its last answer."""
        self._folder = folder
        self._options = options or WorkerOptions()
        self._process: Process | None = None
        self._started = asyncio.Event()
        self._leave = asyncio.Event()
        self._ended = asyncio.Event()
        self._why = ""
        self._words: list[str] = []
        self._secrets: frozenset[str] = frozenset()
        self._past_secrets: frozenset[str] = frozenset()
        """Of the question before: its logs may come after its answer."""

    @property
    def pid(self) -> int:
        """Its process; 0 before it has one."""
        return self._process.pid if self._process is not None else 0

    @property
    def is_alive(self) -> bool:
        """Whether it can be asked something, now or when it has started."""
        return not self._leave.is_set()

    @property
    def has_ended(self) -> bool:
        """Whether the process is gone."""
        return self._ended.is_set()

    async def run(self) -> None:
        """Start the process and stay until it has ended and its home is deleted."""
        home: Path | None = None
        try:
            home = await asyncio.to_thread(_make_home, self._folder)
            await self._live(home)
        except (OSError, ProtocolError) as error:
            self._why = str(error)
        finally:
            self._leave.set()
            self._started.set()
            self._ended.set()
            if home is not None:
                await asyncio.to_thread(shutil.rmtree, home, ignore_errors=True)

    async def started(self) -> None:
        """Wait until it can be asked something.

        Raises:
            WorkerDiedError: It never could.
        """
        await self._started.wait()
        if self._leave.is_set():
            raise self._death("Helm's worker process did not start")

    async def ended(self) -> None:
        """Wait until the process is gone."""
        await self._ended.wait()

    async def ask(
        self,
        call: Call,
        arguments: Mapping[str, object],
        *,
        patience: float,
        secrets: frozenset[str] = frozenset(),
    ) -> Reply:
        """Have something done and return what came of it.

        If the caller is cancelled, so is the operation, and the process has ended when
        the cancellation goes on.

        Args:
            call: What.
            arguments: Of it.
            patience: Seconds after which the operation is cancelled.
            secrets: What its logs must not show.

        Raises:
            WorkerDiedError: The process ended, or had to be.
        """
        self._secrets, self._past_secrets = secrets, self._secrets
        self.operations += 1
        try:
            async with asyncio.timeout(patience):
                return await self._converse(call, arguments)
        except TimeoutError:
            await self._cancel()
            raise self._death(
                f"Helm's {call} took longer than {patience:.0f} s and was given up"
            ) from None
        except asyncio.CancelledError:
            await self._cancel()
            raise
        except (OSError, ProtocolError) as error:
            self.kill()
            await self.ended()
            raise self._death(f"Helm's worker process failed: {error}") from None
        finally:
            self.idle_since = asyncio.get_running_loop().time()

    def interrupt(self) -> None:
        """Tell it to cancel what it does; whoever waits for it gets the answer."""
        self._write(CANCEL)

    def retire(self, why: str) -> None:
        """Have it end, now that it is idle."""
        log.debug("helm worker retired", worker=self.number, why=why)
        self.retired_for = why
        self._leave.set()

    def kill(self) -> None:
        """End it, whatever it does."""
        process = self._process
        if process is not None and process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)

    async def _live(self, home: Path) -> None:
        process = self._process = await _spawn(home, self._options)
        try:
            async with asyncio.TaskGroup() as tasks:
                words = tasks.create_task(self._follow(process))
                tasks.create_task(self._notice_end(process))
                await self._greet(process)
                await self._leave.wait()
                await self._end(process)
                # A child that it left behind may hold its stderr.
                await asyncio.wait({words}, timeout=1)
                words.cancel()
        except* (OSError, ProtocolError) as group:
            raise group.exceptions[0] from None
        finally:
            self.kill()
            await process.wait()

    async def _greet(self, process: Process) -> None:
        seconds = self._options.start_timeout.total_seconds()
        try:
            async with asyncio.timeout(seconds):
                version = read_hello(await _stdout(process).readline())
        except TimeoutError:
            self._why = f"it said no hello within {seconds:g} s"
        except ProtocolError:
            pass  # what it wrote to stderr says why, if it ended
        else:
            log.debug(
                "helm worker started", worker=self.number, pid=self.pid, helm=version
            )
            self._started.set()
            return
        self._leave.set()
        self.kill()

    async def _notice_end(self, process: Process) -> None:
        await process.wait()
        self._leave.set()

    async def _end(self, process: Process) -> None:
        """Let it end by itself, which it does at the end of its stdin."""
        if process.stdin is not None:
            process.stdin.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._options.cancel_grace.total_seconds()):
                await process.wait()
        self.kill()

    async def _converse(self, call: Call, arguments: Mapping[str, object]) -> Reply:
        process = self._process
        if process is None or process.stdin is None or not self.is_alive:
            raise ProtocolError("it has ended")
        number = self.operations
        process.stdin.write(request(number, call, arguments))
        await process.stdin.drain()
        try:
            line = await _stdout(process).readline()
        except ValueError:
            raise ProtocolError(f"its answer has more than {REPLY_MAX} bytes") from None
        if not line.endswith(b"\n"):
            raise ProtocolError(f"it ended in the middle of {call.value!r}")
        if len(line) < _LONG:
            reply = read_reply(line)
        else:
            reply = await asyncio.to_thread(read_reply, line)
        if reply.id != number:
            raise ProtocolError("its answer is to another question")
        self.rss = reply.rss
        self.is_suspect = reply.code == PANIC
        if reply.cancelled:
            self.retired_for = "cancelled"
            self._leave.set()
        return reply

    async def _cancel(self) -> None:
        """Cancel what it does, and see it gone."""
        self.retired_for = "cancelled"
        try:
            async with asyncio.timeout(self._options.cancel_grace.total_seconds()):
                self._write(CANCEL)
                if self._process is not None:
                    await _stdout(self._process).readline()
                self._leave.set()
                await self.ended()
        except (TimeoutError, OSError, ValueError):
            log.warning("helm worker did not cancel in time", worker=self.number)
        finally:
            self._leave.set()
            self.kill()
        await self.ended()

    def _write(self, line: bytes) -> None:
        process = self._process
        if process is not None and process.stdin is not None:
            process.stdin.write(line)

    async def _follow(self, process: Process) -> None:
        """Log what it logs, and keep the last of what else it says."""
        if process.stderr is None:
            return
        while True:
            try:
                line = await process.stderr.readline()
            except ValueError:
                continue  # longer than a line can be: it was dropped
            if not line:
                return
            self._heard(line)

    def _heard(self, line: bytes) -> None:
        try:
            entry = json.loads(line)
            text = str(entry["text"])
        except (ValueError, KeyError, TypeError):
            text = self._scrubbed(line.decode(errors="replace").rstrip())
            self._words = [*self._words[:_WORDS], text]
        else:
            text = self._scrubbed(text)
        log.debug("helm says", worker=self.number, text=text)

    def _scrubbed(self, text: str) -> str:
        return scrub(text, self._secrets | self._past_secrets)

    def _death(self, what: str) -> WorkerDiedError:
        process = self._process
        code = process.returncode if process is not None else None
        how = f" ({_ending(code)})" if code else ""
        said = self._why or cause_of_death(self._words)
        return WorkerDiedError(f"{what}{how}{f': {said}' if said else ''}")


def cause_of_death(words: Sequence[str]) -> str:
    """Return the line that says why a worker died, out of what it wrote to stderr."""
    told = [word for word in words if word.startswith(_CAUSES)]
    return next(iter(told), words[-1] if words else "")


async def _spawn(home: Path, options: WorkerOptions) -> Process:
    # Not forked by us: Go's runtime, once loaded, does not survive a fork.
    return await asyncio.create_subprocess_exec(
        str(Path(sys.executable).with_name("helm")),
        "-I",
        str(SCRIPT),
        f"--parent={os.getpid()}",
        f"--data-limit={options.data_limit}",
        f"--log-level={options.log_level}",
        executable=sys.executable,
        stdin=PIPE,
        stdout=PIPE,
        stderr=PIPE,
        env=environment(home),
        cwd=home,
        start_new_session=True,
        limit=REPLY_MAX,
    )


def environment(home: Path) -> Mapping[str, str]:
    """Return all that a worker gets to see of its surroundings.

    There is no `KUBECONFIG` and no in-cluster address: where it acts, and as whom, is
    in each request.
    """
    place = str(home)
    return {
        "HOME": place,
        "TMPDIR": place,
        "HELM_CACHE_HOME": f"{place}/cache",
        "HELM_CONFIG_HOME": f"{place}/config",
        "HELM_DATA_HOME": f"{place}/data",
        "HELM_PLUGINS": f"{place}/plugins",
        "PATH": os.defpath,
        "LANG": "C.UTF-8",
        "GOMEMLIMIT": "256MiB",
        "GOMAXPROCS": "2",
    }


def _make_home(folder: Path) -> Path:
    return Path(tempfile.mkdtemp(prefix="worker-", dir=folder))


def _stdout(process: Process) -> asyncio.StreamReader:
    assert process.stdout is not None  # noqa: S101 - it is a pipe
    return process.stdout


def _ending(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"
