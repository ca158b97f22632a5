"""The folder of a control plane: who owns it, and what is left when it is gone.

A temporary folder goes with its control plane. After a SIGKILL nobody is there to
remove it, so the next one does: a folder whose lock nobody holds has no owner.
Everything here blocks on the disk.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from pathlib import Path

from controller_runtime.testing.envtest.errors import ControlPlaneError
from controller_runtime.testing.envtest.programs import Places

PREFIX = "pilothouse-envtest-"


class Folder:
    """A folder that is ours alone while this is open."""

    def __init__(self, places: Places, lock: int, *, temporary: bool) -> None:
        self.places = places
        self._lock = lock
        self._temporary = temporary

    @classmethod
    def keep(cls, path: Path, what: str = "control plane") -> Folder:
        """Take a folder that outlives us.

        Args:
            path: Made if it is not there.
            what: What will run on it, for the message.

        Raises:
            ControlPlaneError: Another one runs on it.
        """
        path = path.absolute()
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        places = Places(folder=path)
        number = _lock(places.lock)
        if number is None:
            owner = places.lock.read_text(encoding="utf-8").strip()
            raise ControlPlaneError(
                f"a {what} runs on {path} already (process {owner}); "
                "stop it first, or choose another folder"
            )
        return cls(places, number, temporary=False)

    @classmethod
    def make(cls) -> Folder:
        """Make a temporary one, and remove those that killed processes left."""
        _sweep(Path(tempfile.gettempdir()))
        while True:
            places = Places(folder=Path(tempfile.mkdtemp(prefix=PREFIX)))
            number = _lock(places.lock)
            if number is not None:  # else someone's sweep came in between
                return cls(places, number, temporary=True)

    def close(self) -> None:
        """Give it up; a temporary one disappears."""
        if self._temporary:
            shutil.rmtree(self.places.folder, ignore_errors=True)
        os.close(self._lock)


def _lock(path: Path) -> int | None:
    """Lock a file and write our pid into it; `None` when it is locked."""
    number = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(number)
        return None
    os.truncate(number, 0)
    os.write(number, str(os.getpid()).encode())
    return number


def _sweep(parent: Path) -> None:
    for left in parent.glob(f"{PREFIX}*"):
        try:
            number = os.open(left / "lock", os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            continue  # another user's, or one that is being made
        try:
            fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(left, ignore_errors=True)
        except BlockingIOError:
            pass  # its owner lives
        finally:
            os.close(number)
