"""What a Job left behind: the end of its log, and what that says about its end. Pure.

    bytes ─▶ the last 100 KiB, valid UTF-8, no colours ─▶ secrets hidden ─▶ kept
    log, exit code, the Job's own reason ─▶ a reason and one sentence

Up to 10 KiB go into the status, which travels with every event; more into a ConfigMap.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

LINES = 500
"""Lines that are asked for."""

KEPT = 100 << 10
"""Bytes that are kept, from the end."""

IN_STATUS = 10 << 10
"""Bytes that may be in a status."""

MASKED_FROM = 6
"""Shortest text of a Secret in characters that is looked for: shorter ones are
everywhere."""

_ESCAPES = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-_])"
)

_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")

_LOOKED_AT = 100
"""Lines from the end that decide the reason."""

HIDDEN = "***"

_FORBIDDEN = re.compile(r"is forbidden: User .*")
_ERROR = re.compile(r"^.*?(Error: .*)$")

_REASONS: tuple[tuple[str, str], ...] = (
    (r"is forbidden: User", "JobForbidden"),
    (
        r"pull bundle:.*(not found|access denied|authoriz|x509|tls:|refused)",
        "JobPullFailed",
    ),
    (r"unable to acquire lock", "JobLocked"),
    (r"context deadline exceeded", "JobDeadlineExceeded"),
    (
        r"render chart|execute template|failed parsing --set|values don't meet",
        "JobRenderFailed",
    ),
    (r"unknown flag", "JobUnsupportedWerf"),
    (r"check kubernetes connectivity", "JobApiUnreachable"),
)

_HINTS = {
    "JobForbidden": "give the Job's ServiceAccount that right (docs/bundle.md)",
    "JobUnsupportedWerf": "pin spec.converge.image to werf 2.53 or newer",
    "JobOOMKilled": "raise spec.converge.resourceLimits.memory",
    "JobDeadlineExceeded": "raise spec.converge.timeout, or see what never gets ready",
}


class Verdict(NamedTuple):
    """Why a Job failed."""

    reason: str
    message: str


def tail(raw: bytes, secrets: Iterable[str] = ()) -> str:
    """Return the end of a log as it may be kept.

    Args:
        raw: What the pod wrote, or the end of it.
        secrets: What must not be seen, the longest first.
    """
    text = _ESCAPES.sub("", raw.decode(errors="replace"))
    text = _CONTROLS.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))
    for secret in secrets:
        text = text.replace(secret, HIDDEN)
    kept = text.encode()
    if len(kept) <= KEPT:
        return text
    # A character that the cut went through is left out.
    return kept[-KEPT:].decode(errors="ignore")


def lines_too(texts: Iterable[str]) -> tuple[str, ...]:
    """Return texts with their lines, which a log may have apart; the longest first."""
    found = set(texts)
    for text in tuple(found):
        found.update(line for line in text.splitlines() if len(line) >= MASKED_FROM)
    return tuple(sorted(found, key=lambda it: (-len(it), it)))


def judge(log: str, *, exit_code: int | None, job_reason: str) -> Verdict:
    """Say why a Job failed.

    Args:
        log: The end of its log; may be empty.
        exit_code: Of werf, if known.
        job_reason: Of the Job's own condition, such as `DeadlineExceeded`.
    """
    lines = log.splitlines()[-_LOOKED_AT:]
    reason = _reason(lines, exit_code, job_reason)
    said = _said(lines, reason) or "no log"
    code = "an unknown exit code" if exit_code is None else f"exit code {exit_code}"
    hint = _HINTS.get(reason, "")
    return Verdict(reason, f"{code}: {said}{f'; {hint}' if hint else ''}")


def _reason(lines: list[str], exit_code: int | None, job_reason: str) -> str:
    for pattern, reason in _REASONS:
        if any(re.search(pattern, line) for line in lines):
            return reason
    if job_reason == "DeadlineExceeded":
        return "JobDeadlineExceeded"
    if exit_code == 143:
        return "PodDisrupted"
    if exit_code == 137:
        return "JobOOMKilled"
    return "JobFailed"


def _said(lines: list[str], reason: str) -> str:
    """Return the line that says it."""
    if reason == "JobForbidden":
        for line in lines:
            found = _FORBIDDEN.search(line)
            if found is not None:
                return line.strip()[:600]
    for line in reversed(lines):
        found = _ERROR.match(line)
        if found is not None:
            return found[1].strip()[:600]
    return next((line.strip()[:600] for line in reversed(lines) if line.strip()), "")
