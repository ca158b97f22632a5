"""What can be known of signals without one; the rest needs a process of its own."""

from __future__ import annotations

import signal

import pytest

from controller_runtime.errors import AlreadyStartedError
from controller_runtime.signals import STOP_SIGNALS, on_stop_signal


def nothing() -> None: ...


async def test_a_second_one_to_stop_is_refused_and_the_first_one_goes_on() -> None:
    before = [signal.getsignal(number) for number in STOP_SIGNALS]

    with on_stop_signal(nothing):
        during = [signal.getsignal(number) for number in STOP_SIGNALS]
        with (
            pytest.raises(AlreadyStartedError, match="SIGTERM"),
            on_stop_signal(nothing),
        ):
            pass
        assert [signal.getsignal(number) for number in STOP_SIGNALS] == during
    with on_stop_signal(nothing):
        pass

    assert [signal.getsignal(number) for number in STOP_SIGNALS] == before
