"""Ports of loopback that nobody listens on now; someone may still take one before us.

So a port is chosen, a program started on it, and all of that again with another one
when the program finds it taken.
"""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import ExitStack

from controller_runtime.testing.envtest.errors import ProcessDiedError

ADDRESS = "127.0.0.1"


def free_ports(count: int) -> Sequence[int]:
    """Find different ports that are free now."""
    with ExitStack() as open_sockets:
        numbers = []
        for _ in range(count):
            listener = open_sockets.enter_context(socket.socket())
            listener.bind((ADDRESS, 0))
            numbers.append(int(listener.getsockname()[1]))
    return numbers


def are_free(ports: Iterable[int]) -> bool:
    """Whether all of the ports can be listened on now; what is no port cannot."""
    try:
        with ExitStack() as open_sockets:
            for number in ports:
                listener = open_sockets.enter_context(socket.socket())
                # As Go listens: a port that is merely cooling down counts as free.
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                listener.bind((ADDRESS, number))
    except (OSError, OverflowError):
        return False
    return True


async def start_on_free_ports(
    start: Callable[[], Awaitable[None]],
    again: Callable[[], Awaitable[None]],
    *,
    tries: int,
) -> None:
    """Start programs, and over again when someone took a port in between.

    Args:
        start: Starts them.
        again: Done after a failure: stops what has started, or chooses other ports.
        tries: How often to start, 1 or more.

    Raises:
        ProcessDiedError: A program ended, for another reason or once too often.
    """
    for left in reversed(range(tries)):
        try:
            await start()
        except ProcessDiedError as error:
            await again()
            if left == 0 or "address already in use" not in error.tail:
                raise
        else:
            return
