"""Helm's errors read: code and message in, kind of failure out; pure.

    code of the SDK ─┬─ says it ─────────────▶ Failure
                     └─ RELEASE, KUBE, … ──▶ words of the message ──▶ Failure

Most errors come under one code (-62, "a release action failed"), so what decides is
words: of Helm, of client-go and of the API server, as Helm 4.2.3 has them. The first
line of the table that fits counts. What no line fits is `FAILED`.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from controllers.release.helm.engine import Failure

PANIC = -5
CANCELLED = -6

_BY_CODE = {
    PANIC: Failure.ENGINE,
    -3: Failure.ENGINE,  # a handle that is none: ours is the mistake
    -4: Failure.ENGINE,
    -2: Failure.INVALID,
    -20: Failure.INVALID,
    -21: Failure.INVALID,
    -22: Failure.INVALID,
    -23: Failure.INVALID,
}
"""Codes that leave nothing to ask."""


class _Line(NamedTuple):
    failure: Failure
    words: re.Pattern[str]


def _line(failure: Failure, *words: str) -> _Line:
    return _Line(failure, re.compile("|".join(words), re.IGNORECASE))


_BY_WORDS = (
    _line(
        Failure.LOCKED,
        r"another operation \(install/upgrade/rollback\) is in progress",
    ),
    _line(
        Failure.TOO_LARGE,
        r"may not be more than 1048576 bytes",
        r"Too long: may not be more than",
        r"request is too large",
        r"etcdserver: request is too large",
    ),
    _line(
        Failure.NAME_IN_USE,
        r"cannot reuse a name that is still in use",
        r"release: already exists",
    ),
    _line(
        Failure.NOT_DEPLOYED,
        r"has no deployed releases",
        r"release: not found",
        r"has no \d+ version",
        r"release has no .* version",
    ),
    _line(
        Failure.TIMEOUT,
        r"context deadline exceeded$",
        r"timed out waiting for",
        r"resource .* not ready\b.*\bcontext deadline exceeded",
    ),
    _line(
        Failure.INVALID,
        r"don't meet the specifications of the schema",
        r"execution error at \(",
        r"^template: ",
        r'executing "[^"]+" at <',
        r"parse error at \(",
        r"error converting YAML to JSON",
        r"YAML parse error on",
        r"invalid release name",
        r"chart requires kubeVersion",
        r"found in Chart.yaml, but missing in charts/",
    ),
    _line(
        Failure.OWNERSHIP,
        r"invalid ownership metadata",
        r"exists and cannot be imported into the current release",
        r"Apply failed with \d+ conflict",
    ),
    _line(Failure.FORBIDDEN, r"\bis forbidden\b", r"\bforbidden: "),
    _line(
        Failure.AUTH,
        r"\bUnauthorized\b",
        r"must be logged in to the server",
        r"asked for the client to provide credentials",
        r"provide credentials",
    ),
    _line(
        Failure.TLS,
        r"\bx509: ",
        r"server gave HTTP response to HTTPS client",
        r"first record does not look like a TLS handshake",
        r"\btls: ",
    ),
    _line(
        Failure.TRANSIENT,
        r"connection refused",
        r"connection reset",
        r"\bEOF\b",
        r"no such host",
        r"i/o timeout",
        r"no route to host",
        r"network is unreachable",
        r"TLS handshake timeout",
        r"http2: ",
        r"too many requests",
        r"the server is currently unable to handle the request",
        r"server was unable to return a response",
        r"an error on the server",
        r"Internal error occurred: (?!.*webhook)",
        r"etcdserver: ",
        r"apiserver not ready",
        r"the server has received too many requests",
        r"client rate limiter Wait returned an error",
        r"object has been modified",
        r"because it is being terminated",
        r"Kubernetes cluster unreachable",
    ),
)


def classify(code: int | None, message: str, *, cancelled: bool = False) -> Failure:
    """Say what kind of failure an error of the SDK is.

    Args:
        code: The SDK's.
        message: Its words.
        cancelled: Whether we had told it to stop: it reports a wait that took too long
            with the same code.
    """
    if code == CANCELLED and cancelled:
        return Failure.CANCELLED
    if code in _BY_CODE:
        return _BY_CODE[code]
    for line in _BY_WORDS:
        if line.words.search(message):
            return line.failure
    if code == CANCELLED:
        return Failure.TIMEOUT
    return Failure.TRANSIENT if code == -60 else Failure.FAILED
