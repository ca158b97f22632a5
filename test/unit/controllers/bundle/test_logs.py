"""Logs: their end, what they must not show, and what they say."""

from __future__ import annotations

import pytest

from controllers.bundle.logs import KEPT, judge, lines_too, tail


def test_the_end_of_a_long_log_is_kept_as_valid_utf8() -> None:
    """Scenario 26."""
    raw = b"\xff\xfe broken\n" + "ä".encode() * (5 << 20) + b"\nthe last line"
    kept = tail(raw)

    assert len(kept.encode()) <= KEPT
    assert kept.endswith("\nthe last line")


def test_short_and_empty_logs_are_kept_whole() -> None:
    """Scenario 26."""
    lines = "\n".join(f"line {number}" for number in range(300))

    assert tail(lines.encode()) == lines
    assert tail(b"") == ""


def test_colours_and_control_characters_are_left_out() -> None:
    assert tail(b"\x1b[1;31mError:\x1b[0m no\r\n\x07\x00next\ttab") == (
        "Error: no\nnext\ttab"
    )


def test_secrets_are_hidden_the_longest_first() -> None:
    log = tail(b"password=hunter22 and hunter22-more", ["hunter22-more", "hunter22"])

    assert log == "password=*** and ***"


def test_a_secret_of_several_lines_is_hidden_whole_and_line_by_line() -> None:
    hidden = lines_too(["first line\nshort\nsecond line"])

    assert tail(b"a first line\nshort\nsecond line b", hidden) == "a *** b"
    assert tail(b"| first line\n| short\n| second line", hidden) == (
        "| ***\n| short\n| ***"
    )


@pytest.mark.parametrize(
    ("log", "exit_code", "job_reason", "reason"),
    [
        ("x is forbidden: User y cannot get z", 1, "", "JobForbidden"),
        ("pull bundle: manifest not found", 1, "", "JobPullFailed"),
        ("pull bundle: dial tcp: connection refused", 1, "", "JobPullFailed"),
        ("unable to acquire lock", 1, "", "JobLocked"),
        ("Error: context deadline exceeded", 1, "", "JobDeadlineExceeded"),
        ("", None, "DeadlineExceeded", "JobDeadlineExceeded"),
        ("Error: render chart: no", 1, "", "JobRenderFailed"),
        ("Error: unknown flag: --x", 1, "", "JobUnsupportedWerf"),
        ("check kubernetes connectivity", 1, "", "JobApiUnreachable"),
        ("", 143, "", "PodDisrupted"),
        ("", 137, "", "JobOOMKilled"),
        ("Error: anything else", 1, "", "JobFailed"),
        ("", None, "BackoffLimitExceeded", "JobFailed"),
    ],
)
def test_the_log_the_exit_code_or_the_job_says_why(
    log: str, exit_code: int | None, job_reason: str, reason: str
) -> None:
    """Section 2.13."""
    assert judge(log, exit_code=exit_code, job_reason=job_reason).reason == reason


def test_the_message_has_exit_code_and_error_line() -> None:
    """Scenario 8."""
    verdict = judge("a\n  Error: no such chart\nb", exit_code=1, job_reason="")

    assert verdict.message == "exit code 1: Error: no such chart"


def test_the_message_of_a_refusal_names_verb_and_resource() -> None:
    """Scenario 46."""
    line = 'Error: secrets is forbidden: User "u" cannot list resource "secrets"'
    verdict = judge(f"{line}\nlast", exit_code=1, job_reason="")

    assert 'cannot list resource "secrets"' in verdict.message
    assert "ServiceAccount" in verdict.message
