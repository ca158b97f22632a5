"""Whether a pending operation is alive."""

from __future__ import annotations

from datetime import timedelta

import pytest

from api.release.status import Operation
from conformance.releases import NOON
from controllers.release.locks import Holder, Lock, judge

OURS = Holder("here", 10, "aaaa")
MINUTE = timedelta(minutes=1)


def lock(
    holder: Holder | str | None,
    *,
    minutes: int = 0,
    is_elected: bool = False,
    alive: frozenset[int] = frozenset(),
) -> Lock:
    """Judge an operation of five minutes that began at noon, so long after."""
    operation = None
    if holder is not None:
        operation = Operation(
            id="op",
            action="upgrade",
            holder=str(holder),
            started_at=NOON,
            deadline=NOON + 5 * MINUTE,
        )
    return judge(
        operation,
        modified=NOON,
        timeout=10 * MINUTE,
        ours=OURS,
        is_elected=is_elected,
        is_alive=alive.__contains__,
        now=NOON + minutes * MINUTE,
    )


@pytest.mark.parametrize(
    ("found", "is_abandoned"),
    [
        pytest.param(lock(OURS), True, id="ours, which ended"),
        pytest.param(lock(Holder("here", 10, "bbbb")), True, id="our pid's last owner"),
        pytest.param(lock(Holder("here", 11, "bbbb")), True, id="a dead neighbour"),
        pytest.param(
            lock(Holder("here", 11, "bbbb"), alive=frozenset({11})),
            False,
            id="a neighbour that lives",
        ),
        pytest.param(lock(Holder("there", 10, "bbbb")), False, id="another host"),
        pytest.param(
            lock(Holder("there", 10, "bbbb"), is_elected=True),
            True,
            id="another host, and we lead",
        ),
        pytest.param(
            lock(Holder("there", 10, "bbbb"), minutes=6), True, id="after its deadline"
        ),
        pytest.param(lock(None, minutes=9), False, id="a human, at work"),
        pytest.param(lock(None, minutes=11), True, id="a human, gone"),
        pytest.param(lock("who knows"), False, id="a holder that cannot be read"),
    ],
)
def test_who_was_at_it_decides_whether_somebody_still_is(
    found: Lock, is_abandoned: bool
) -> None:
    assert found.is_abandoned is is_abandoned
    assert found.reason


def test_a_lock_that_is_held_says_until_when() -> None:
    assert lock(None).until == NOON + 10 * MINUTE
    assert lock(Holder("there", 1, "b")).until == NOON + 5 * MINUTE


def test_a_holder_is_read_as_it_was_written() -> None:
    assert Holder.parse(str(OURS)) == OURS
