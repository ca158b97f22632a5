"""One control plane for all integration tests, and a namespace for each.

    first worker in need ──starts──▶ supervisor ──▶ etcd, kube-apiserver, … kwok
    every worker ──holds a shared lock on `users`──▶ supervisor stops when none does

The supervisor belongs to no worker, so it does not matter which one ends first, nor
how: the kernel drops the lock of a killed one too. It works the same without xdist.
A test that stops, breaks or reconfigures the API server starts a `ControlPlane` of its
own. With `USE_EXISTING_CLUSTER=true` nothing is started.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from blockbuster import BlockBuster, blockbuster_ctx

from controller_runtime.testing.envtest import (
    Access,
    Cluster,
    ExistingCluster,
    uses_existing_cluster,
)
from controller_runtime.testing.envtest.kubeconfig import (
    CurrentContext,
    current_kubeconfig,
)

HERE = Path(__file__).parent

PACKAGES = ["api", "controller_runtime", "controllers"]

SECONDS = 120
"""Longest that one test may take, its share of starting the control plane included."""


UNTIL_THE_END = pytest.StashKey[ExitStack]()
"""What this process holds until it has run all of its tests."""


def pytest_configure(config: pytest.Config) -> None:
    config.stash[UNTIL_THE_END] = ExitStack()


def pytest_unconfigure(config: pytest.Config) -> None:
    config.stash[UNTIL_THE_END].close()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.integration)
            if item.get_closest_marker("timeout") is None:
                item.add_marker(pytest.mark.timeout(SECONDS))


@pytest.fixture(scope="session", autouse=True)
def no_blocking_calls() -> Iterator[BlockBuster]:
    """Fail a test whose code under test blocks the event loop."""
    with blockbuster_ctx(PACKAGES) as blockbuster:
        for function in blockbuster.functions.values():
            # Reads /proc, which is memory.
            function.can_block_in("prometheus_client/process_collector.py", "collect")
        yield blockbuster


@pytest.fixture(scope="session")
def control_plane(
    pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory
) -> Cluster:
    """Lend the control plane that all tests share, with controllers and one kwok node.

    Binaries that are missing fail the test and are not fetched: that takes minutes.
    """
    if uses_existing_cluster(os.environ):
        return ExistingCluster(CurrentContext(current_kubeconfig(os.environ)))
    base = tmp_path_factory.getbasetemp()
    root = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    until_the_end = pytestconfig.stash[UNTIL_THE_END]
    started: list[subprocess.Popen[str]] = []
    until_the_end.callback(lambda: [supervisor.wait() for supervisor in started])
    until_the_end.enter_context(locked(root / "users", fcntl.LOCK_SH))
    with locked(root / "starting", fcntl.LOCK_EX):
        folder = running_in(root)
        if folder is None:
            supervisor, folder = start_in(root)
            started.append(supervisor)
    return Access.load(folder)


@pytest.fixture(scope="session")
def kubeconfig(
    control_plane: Cluster, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Return the path of the administrator's kubeconfig."""
    path = tmp_path_factory.mktemp("kubeconfig") / "admin"
    path.touch(mode=0o600)
    path.write_text(control_plane.kubeconfig(), encoding="utf-8")
    return path


@pytest.fixture
async def namespace(control_plane: Cluster) -> AsyncIterator[str]:
    """Lend a fresh namespace that pods can be created in; nobody waits for its end."""
    name = f"test-{uuid.uuid4().hex[:12]}"
    path = f"/api/v1/namespaces/{name}"
    api = control_plane.api
    await api.post("/api/v1/namespaces", {"metadata": {"name": name}})
    async with asyncio.timeout(30):
        while not await api.answers(f"{path}/serviceaccounts/default"):  # noqa: ASYNC110 - no watch here
            await asyncio.sleep(0.05)
    yield name
    await api.delete(path)


@contextmanager
def locked(path: Path, how: int) -> Iterator[None]:
    """Hold a lock that ends with the process."""
    number = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(number, how)
        yield
    finally:
        os.close(number)


def running_in(root: Path) -> Path | None:
    """Return the folder of the control plane that runs already, if one does."""
    note = root / "control-plane"
    if not note.exists():
        return None
    folder = Path(note.read_text(encoding="utf-8"))
    return folder if is_owned(folder) else None


def is_owned(folder: Path) -> bool:
    """Whether a control plane runs on the folder: then it holds the lock there."""
    try:
        with locked(folder / "lock", fcntl.LOCK_EX | fcntl.LOCK_NB):
            return False
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True


def start_in(root: Path) -> tuple[subprocess.Popen[str], Path]:
    """Start the supervisor, wait until it is ready, and return it and its folder."""
    log = root / "control-plane.log"
    command = [sys.executable, "-m", "controller_runtime.testing.envtest", "up"]
    command += ["--kwok", "--no-download", "--no-build"]
    command += ["--while-locked", str(root / "users")]
    with log.open("ab") as errors:
        supervisor = subprocess.Popen(  # noqa: S603 - our own module
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            cwd=HERE.parents[1],
            start_new_session=True,
        )
    assert supervisor.stdout is not None
    with supervisor.stdout as answer:
        kubeconfig = answer.readline().strip()
    if not kubeconfig:
        supervisor.wait()
        pytest.fail(f"no control plane: {log.read_text(encoding='utf-8').strip()}")
    folder = Path(kubeconfig).parent
    (root / "control-plane").write_text(str(folder), encoding="utf-8")
    return supervisor, folder
