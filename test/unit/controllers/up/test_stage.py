"""How showcases are performed side by side, and what is said of them."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Iterable
from typing import NoReturn, cast

import pytest
from rich.console import Console
from rich.table import Table

from controller_runtime import ControllerRuntimeError
from controllers.up.stage import Performance, Showcase, Shown, Stage, perform


def showcase(*amiss: str, seconds: float = 1) -> Showcase:
    async def show(_: Stage) -> Shown:
        await asyncio.sleep(seconds)
        return Shown(Table(title="what it did"), amiss, ["kubectl get all"])

    return show


def raising(error: Exception) -> Showcase:
    async def show(_: Stage) -> NoReturn:
        raise error

    return show


async def performed(**showcases: Showcase) -> tuple[Performance, list[str]]:
    out = io.StringIO()
    # None of these showcases looks at what it is given.
    nothing = cast("Stage", None)
    shown = await perform(showcases, lambda _: nothing, Console(file=out, width=200))
    return shown, out.getvalue().splitlines()


def verdicts(lines: Iterable[str]) -> list[str]:
    return [line for line in lines if line.startswith(("✓", "✗"))]


async def test_all_are_performed_at_once_and_each_gets_its_line() -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()

    shown, lines = await performed(one=showcase(seconds=5), two=showcase(seconds=3))

    assert loop.time() - began == pytest.approx(5)
    assert shown == (True, ["kubectl get all"] * 2)
    assert verdicts(lines) == [
        "✓ one: as expected after 5.0 s",
        "✓ two: as expected after 3.0 s",
    ]


@pytest.mark.parametrize(
    ("bad", "line"),
    [
        (showcase("no Event came", "2 pods left"), "no Event came; 2 pods left"),
        (raising(AssertionError("Job j: not in time")), "Job j: not in time"),
        (raising(ControllerRuntimeError("refused")), "refused"),
    ],
)
async def test_one_that_goes_wrong_is_named_with_the_reason_and_the_others_go_on(
    bad: Showcase, line: str
) -> None:
    shown, lines = await performed(bad=bad, good=showcase())

    assert not shown.is_as_expected
    assert verdicts(lines) == [
        f"✗ bad: not as expected: {line}",
        "✓ good: as expected after 1.0 s",
    ]


async def test_a_defect_of_a_showcase_is_not_hidden() -> None:
    with pytest.raises(ExceptionGroup) as raised:
        await performed(bad=raising(KeyError("x")))

    assert raised.group_contains(KeyError)
