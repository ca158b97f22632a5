"""Ties a program's life to its parent's, then becomes it.

Run by path, in isolation (`python -I -S launcher.py <parent's pid> <program> …`),
so that it starts in a few milliseconds and imports nothing of ours.

On Linux the kernel kills the program when its parent dies (PR_SET_PDEATHSIG). The
wish survives `exec` and must be made in the child; a parent that died before the
wish was made is noticed by its pid. Elsewhere this process stays, watches a pipe
that the parent holds open on stdin, and kills the program when the pipe breaks.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def main(arguments: Sequence[str]) -> None:
    """Start the program as the platform allows."""
    parent, mode, command = int(arguments[0]), arguments[1], list(arguments[2:])
    if mode == "watch":
        watch(command)
    else:
        become(command, parent)


def become(command: Sequence[str], parent: int) -> None:
    """Turn into the program, to be killed by the kernel when the parent dies."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        sys.exit(f"prctl: {os.strerror(ctypes.get_errno())}")
    if os.getppid() != parent:
        sys.exit("the parent died first")
    os.execv(command[0], list(command))  # noqa: S606 - no shell is the point


def watch(command: Sequence[str]) -> None:
    """Run the program, and kill it when stdin ends."""
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL)  # noqa: S603 - ours
    signal.signal(signal.SIGTERM, lambda *_: child.terminate())
    threading.Thread(target=_kill_at_end_of_stdin, args=(child,), daemon=True).start()
    code = child.wait()
    sys.exit(code if code >= 0 else 128 - code)


def _kill_at_end_of_stdin(child: subprocess.Popen[bytes]) -> None:
    while os.read(0, 1024):
        pass
    child.kill()


if __name__ == "__main__":
    main(sys.argv[1:])
