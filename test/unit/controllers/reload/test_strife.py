"""Records that somebody takes away each time."""

from __future__ import annotations

from controllers.reload.workloads import WorkloadKey
from controllers.reload.writing.strife import Strife

WEB = WorkloadKey("Deployment", "shop", "web")


def test_it_is_put_back_less_and_less_often() -> None:
    strife, at, waits = Strife(), 0.0, []
    for _ in range(11):
        left = strife.seconds_left(WEB, at)
        waits.append(left)
        at += left
        strife.put_back(WEB, at)

    assert waits[:4] == [0.0, 2.0, 4.0, 8.0]
    assert waits[-2:] == [512.0, 600.0]


def test_one_that_stays_is_forgotten_when_the_next_was_due() -> None:
    strife = Strife()
    strife.put_back(WEB, 0.0)

    strife.is_there(WEB, 1.0)
    assert strife.seconds_left(WEB, 1.0) == 1.0
    strife.is_there(WEB, 2.0)

    assert len(strife) == 0


def test_nothing_is_kept_of_a_workload_that_is_gone() -> None:
    strife = Strife()
    strife.put_back(WEB, 0.0)

    strife.forget(WEB)

    assert strife.seconds_left(WEB, 0.0) == 0.0
