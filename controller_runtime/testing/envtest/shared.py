"""One control plane for all processes of a test run.

    first in need ──starts──▶ supervisor ──▶ etcd, kube-apiserver, …
    everyone ──holds a shared lock on `users`──▶ supervisor stops when none does

The supervisor belongs to no worker, so it does not matter which one ends first, nor
how: the kernel drops the lock of a killed one too. It works the same without xdist.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from controller_runtime.testing.envtest.access import Access
from controller_runtime.testing.envtest.errors import ControlPlaneError


@contextmanager
def shared_control_plane(root: Path, flags: Sequence[str] = ()) -> Iterator[Access]:
    """Lend the control plane of a folder, started by whoever comes first. Blocks.

    Args:
        root: A folder that all processes of the run know.
        flags: Of `python -m controller_runtime.testing.envtest up`, such as `--kwok`.

    Raises:
        ControlPlaneError: It did not start; the text has its log.
    """
    started: list[subprocess.Popen[str]] = []
    try:
        with locked(root / "users", fcntl.LOCK_SH):
            with locked(root / "starting", fcntl.LOCK_EX):
                folder = _running_in(root)
                if folder is None:
                    supervisor, folder = _start_in(root, flags)
                    started.append(supervisor)
            yield Access.load(folder)
    finally:
        for supervisor in started:
            supervisor.wait()


@contextmanager
def locked(path: Path, how: int) -> Iterator[None]:
    """Hold a lock that ends with the process."""
    number = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(number, how)
        yield
    finally:
        os.close(number)


def _running_in(root: Path) -> Path | None:
    """Return the folder of the control plane that runs already, if one does."""
    note = root / "control-plane"
    if not note.exists():
        return None
    folder = Path(note.read_text(encoding="utf-8"))
    return folder if _is_owned(folder) else None


def _is_owned(folder: Path) -> bool:
    """Whether a control plane runs on the folder: then it holds the lock there."""
    try:
        with locked(folder / "lock", fcntl.LOCK_EX | fcntl.LOCK_NB):
            return False
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True


def _start_in(root: Path, flags: Sequence[str]) -> tuple[subprocess.Popen[str], Path]:
    """Start the supervisor, wait until it is ready, and return it and its folder."""
    log = root / "control-plane.log"
    command = [sys.executable, "-m", "controller_runtime.testing.envtest", "up"]
    command += [*flags, "--while-locked", str(root / "users")]
    with log.open("ab") as errors:
        supervisor = subprocess.Popen(  # noqa: S603 - our own module
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,
        )
    assert supervisor.stdout is not None  # noqa: S101 - it is a pipe
    with supervisor.stdout as answer:
        kubeconfig = answer.readline().strip()
    if not kubeconfig:
        supervisor.wait()
        text = log.read_text(encoding="utf-8").strip()
        raise ControlPlaneError(f"no control plane: {text}")
    folder = Path(kubeconfig).parent
    (root / "control-plane").write_text(str(folder), encoding="utf-8")
    return supervisor, folder
