"""The processes that run Helm: what they get, what they leave, and how they end."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import signal
import sys
from collections import Counter
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from conformance.charts import chart
from conformance.engines import (
    APP,
    STUCK,
    Bench,
    ended,
    is_running,
    refused,
    running,
)
from controller_runtime import RestConfig
from controllers.release.helm.engine import Failure, WorkerDiedError
from controllers.release.helm.pool import PoolOptions, WorkerPool
from controllers.release.helm.process import WorkerOptions

ENDLESS = chart(
    templates={
        "a.yaml": "{{ range $i := until 9999999 }}\n"
        "{{ $i }}: {{ repeat 100 (toString $i) }}\n{{ end }}"
    }
)


@pytest.fixture
def homes(tmp_path: Path) -> Path:
    """Where workers have their homes."""
    return tmp_path / "homes"


def descriptors(pid: int) -> Counter[str]:
    """Count what the open descriptors of a process lead to: sockets, and the rest."""
    found: Counter[str] = Counter()
    for number in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            found[str(number.readlink()).partition(":")[0]] += 1
    return found


def listed(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*"))


def status(pid: int, name: str) -> str:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(line.split()[1] for line in lines if line.startswith(f"{name}:"))


def proc(pid: int, name: str) -> bytes:
    return Path(f"/proc/{pid}/{name}").read_bytes()


async def test_no_worker_runs_before_there_is_work_and_none_for_long_afterwards(
    config: RestConfig, homes: Path
) -> None:
    options = PoolOptions(max_idle=timedelta(seconds=0.2), folder=homes)
    async with running(config, options) as pool:
        at_first = pool.pids
        await pool.parse(["a: 1"])
        (pid,) = pool.pids
        await ended(pid)

    assert at_first == frozenset()
    assert listed(homes) == []


async def test_a_worker_is_replaced_after_so_many_operations_or_when_it_is_large(
    config: RestConfig,
) -> None:
    seen: set[int] = set()
    async with running(config, PoolOptions(max_operations=2)) as pool:
        for _ in range(4):
            await pool.parse(["a: 1"])
            seen |= pool.pids
    assert len(seen) == 2

    seen.clear()
    async with running(config, PoolOptions(max_rss=1)) as pool:
        for _ in range(2):
            await pool.parse(["a: 1"])
            seen |= pool.pids
    assert len(seen) == 2


async def test_a_worker_sees_nothing_of_the_managers_surroundings(
    config: RestConfig, bench: Bench, monkeypatch: pytest.MonkeyPatch, homes: Path
) -> None:
    """Nor do its arguments, its environment or the logs tell a secret."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "of the manager")
    assert config.client_certificate is not None
    key = config.client_certificate.key.decode().splitlines()[1]
    with capture_logs() as logs:
        async with running(config, PoolOptions(folder=homes)) as pool:
            await pool.install(bench.order(values={"greeting": "s3cret-greeting"}))
            (pid,) = pool.pids
            environment, command = proc(pid, "environ"), proc(pid, "cmdline")
            limits = resource.prlimit(pid, resource.RLIMIT_DATA)
            group = os.getpgid(pid)

    names = {entry.partition(b"=")[0] for entry in environment.split(b"\0") if entry}
    assert names == {
        *(b"HOME", b"TMPDIR", b"PATH", b"LANG", b"GOMEMLIMIT", b"GOMAXPROCS"),
        *(b"HELM_CACHE_HOME", b"HELM_CONFIG_HOME", b"HELM_DATA_HOME", b"HELM_PLUGINS"),
    }
    for secret in ("of the manager", "s3cret-greeting", key):
        assert secret.encode() not in environment + command
        assert secret not in str(logs)
    assert command.split(b"\0")[0].endswith(b"/helm")
    assert limits == (1 << 30, 1 << 30)
    assert group == pid != os.getpgid(0)
    assert listed(homes) == []


async def test_a_chart_that_renders_too_much_takes_its_worker_down_and_nothing_else(
    config: RestConfig, bench: Bench
) -> None:
    small = WorkerOptions(data_limit=200 << 20)
    with capture_logs() as logs:
        async with running(config, PoolOptions(worker=small)) as pool:
            with pytest.raises(WorkerDiedError) as caught:
                await pool.render(bench.order(content=ENDLESS))
            values = await pool.parse(["a: 1"])

    assert values == [{"a": 1}]
    why = str(caught.value)  # whether for its heap or for a thread's stack
    assert "out of memory" in why or "pthread_create failed" in why, (why, logs)


async def test_a_program_that_does_not_start_is_an_error_of_the_operation(
    config: RestConfig,
) -> None:
    none = WorkerOptions(data_limit=1 << 20)
    async with running(config, PoolOptions(worker=none)) as pool:
        with pytest.raises(WorkerDiedError, match="did not start"):
            await pool.parse(["a: 1"])


async def test_a_program_that_ends_at_once_is_quoted_on_why(
    config: RestConfig,
) -> None:
    wrong = WorkerOptions(log_level="NONSENSE")
    async with running(config, PoolOptions(worker=wrong)) as pool:
        with pytest.raises(WorkerDiedError, match="KeyError: 'NONSENSE'"):
            await pool.parse(["a: 1"])


async def test_a_worker_that_ignores_the_end_is_killed(config: RestConfig) -> None:
    hasty = WorkerOptions(cancel_grace=timedelta(seconds=0.2))
    async with running(config, PoolOptions(worker=hasty)) as pool:
        await pool.parse(["a: 1"])
        (pid,) = pool.pids
        os.kill(pid, signal.SIGSTOP)
        pool.stop()
        await ended(pid)


async def test_a_lost_lease_ends_operations_at_once(
    config: RestConfig, bench: Bench
) -> None:
    """A manager that no longer leads cancels what it runs, and grants no grace."""
    pool = WorkerPool(config)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(pool.run())
        error = tasks.create_task(
            refused(pool.install(bench.order(content=APP, values=STUCK)))
        )
        await bench.created("web")
        (pid,) = pool.pids
        running.cancel()

    assert error.result().failure is Failure.ENGINE
    assert not is_running(pid)
    assert await bench.records() == {1: "pending-install"}


async def test_fifty_operations_leak_neither_handles_nor_files_nor_homes(
    config: RestConfig, bench: Bench, homes: Path
) -> None:
    async with running(config, PoolOptions(folder=homes)) as pool:
        await pool.install(bench.order())
        for number in range(3):
            await pool.upgrade(bench.order(values={"greeting": f"{number}"}))
        (pid,) = pool.pids
        before = (descriptors(pid), int(status(pid, "VmRSS")))
        for number in range(47):
            await pool.upgrade(bench.order(values={"greeting": f"again {number}"}))
        after = (descriptors(pid), int(status(pid, "VmRSS")))
        left = listed(homes)
        assert pool.pids == {pid}

    more = after[0] - before[0]
    connections = more.pop("socket", 0)
    assert not more  # files, pipes and what else a process holds
    assert connections <= 4  # two kinds of clients, each with one that goes
    assert after[1] - before[1] < 40_000  # kB
    assert not [name for name in left if "kubeconfig" in name]
    assert listed(homes) == []
    assert len(await bench.records()) == 5  # max_history


MANAGER = """
import asyncio, json, sys
from pathlib import Path
from controller_runtime import load_restconfig
from controllers.release.helm.pool import PoolOptions, WorkerPool

async def main(kubeconfig, folder):
    config = load_restconfig(kubeconfig=kubeconfig, environ={}, home=Path("/"))
    pool = WorkerPool(config, options=PoolOptions(folder=Path(folder)))
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(pool.run())
        values = await pool.parse(["a: 1"])
        loop = type(asyncio.get_running_loop()).__module__
        print(json.dumps([sorted(pool.pids), values, loop]), file=sys.stderr)
        await asyncio.Event().wait()

if sys.argv[3] == "uvloop":
    import uvloop
    uvloop.run(main(*sys.argv[1:3]))
else:
    asyncio.run(main(*sys.argv[1:3]))
"""


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
async def test_workers_die_with_a_manager_that_is_killed_and_the_next_one_cleans_up(
    kubeconfig: Path, config: RestConfig, homes: Path, loop: str
) -> None:
    """21, the engine's part."""
    manager = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", MANAGER, str(kubeconfig), str(homes), loop),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    assert manager.stderr is not None
    (pid,), values, module = json.loads(await manager.stderr.readline())
    assert is_running(pid)
    assert values == [{"a": 1}]
    assert module.startswith(loop)

    manager.kill()
    await manager.wait()
    await ended(pid)
    assert listed(homes) != []
    async with running(config, PoolOptions(folder=homes)):
        pass
    assert listed(homes) == []
