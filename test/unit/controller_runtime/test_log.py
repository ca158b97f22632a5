"""What a log line looks like, and what it never has."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator

import pytest
import structlog

from controller_runtime.log import Format, configure


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    yield
    structlog.reset_defaults()


def fail_with(password: str) -> None:
    raise ValueError("the database refuses the login")


def logged(format_: Format, level: str = "info") -> str:
    out = io.StringIO()
    configure(format_, level, stream=out)  # type: ignore[arg-type]  # any level
    log = structlog.get_logger("test")
    log.debug("a decision")
    log.info("a change", object="n/a")
    try:
        fail_with("hunter2")
    except ValueError:
        log.exception("reconcile failed")
    return out.getvalue()


def test_json_has_one_object_a_line_with_level_time_and_message() -> None:
    first, second = map(json.loads, logged("json").splitlines())

    assert first["msg"] == "a change"
    assert first["level"] == "info"
    assert first["object"] == "n/a"
    assert first["ts"].endswith("Z")
    assert second["level"] == "error"
    assert second["exception"][0]["exc_type"] == "ValueError"


@pytest.mark.parametrize("format_", ["json", "logfmt", "console"])
def test_a_traceback_shows_no_values_of_variables(format_: Format) -> None:
    text = logged(format_)

    assert "the database refuses the login" in text
    assert "fail_with" in text
    assert "hunter2" not in re.sub(r'fail_with\(\\?"hunter2\\?"\)', "", text)


def test_lines_below_the_level_are_left_out() -> None:
    assert "a decision" not in logged("console", "info")
    assert "a decision" in logged("console", "debug")


def test_logfmt_is_what_logrus_writes() -> None:
    out = io.StringIO()
    configure("logfmt", stream=out, timestamp_key="time")

    structlog.get_logger("test").info("a change", name="web")

    assert re.fullmatch(
        r'time=\S+Z level=info msg="a change" name=web\n', out.getvalue()
    )
