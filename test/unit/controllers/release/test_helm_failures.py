"""What Helm says, word by word, and what it means."""

from __future__ import annotations

import pytest

from controllers.release.helm.engine import EngineError, Failure, WorkerDiedError
from controllers.release.helm.failures import classify

LOCKED = "another operation (install/upgrade/rollback) is in progress"

FOREIGN = (
    'Unable to continue with install: ConfigMap "web" in namespace "n" exists and '
    "cannot be imported into the current release: invalid ownership metadata"
)

LARGE = (
    'create: failed to create: Secret "sh.helm.release.v1.web.v1" is invalid: data: '
    "Too long: may not be more than 1048576 bytes"
)

SAID = [
    (-5, "runtime error: index out of range", Failure.ENGINE),
    (-3, "unknown handle", Failure.ENGINE),
    (-2, 'unknown field "x"', Failure.INVALID),
    (-20, "file does not appear to be a gzipped archive", Failure.INVALID),
    (-21, "chart metadata is missing name", Failure.INVALID),
    (-22, "at '/a': got string, want integer", Failure.INVALID),
    (-23, "template: app/templates/a.yaml:1: unclosed action", Failure.INVALID),
    (-62, "values don't meet the specifications of the schema(s)", Failure.INVALID),
    (-62, "execution error at (app/templates/a.yaml:1:3): no", Failure.INVALID),
    (-6, "context deadline exceeded", Failure.TIMEOUT),
    (-6, "context canceled", Failure.TIMEOUT),
    (-62, "resource n/web not ready\ncontext deadline exceeded", Failure.TIMEOUT),
    (-62, LOCKED, Failure.LOCKED),
    (-62, "cannot reuse a name that is still in use", Failure.NAME_IN_USE),
    (-61, "release: already exists", Failure.NAME_IN_USE),
    (-62, '"web" has no deployed releases', Failure.NOT_DEPLOYED),
    (-7, "release: not found", Failure.NOT_DEPLOYED),
    (-62, FOREIGN, Failure.OWNERSHIP),
    (-62, 'Apply failed with 1 conflict: conflict with "kubectl"', Failure.OWNERSHIP),
    (-62, 'secrets is forbidden: User "x" cannot list resource', Failure.FORBIDDEN),
    (-60, "the server has asked for the client to provide credentials", Failure.AUTH),
    (-62, "Unauthorized", Failure.AUTH),
    (-60, "tls: failed to verify certificate: x509: unknown authority", Failure.TLS),
    (-60, "dial tcp 127.0.0.1:1: connect: connection refused", Failure.TRANSIENT),
    (-62, 'Get "https://x": EOF', Failure.TRANSIENT),
    (-62, "etcdserver: leader changed", Failure.TRANSIENT),
    (-62, "the server has received too many requests", Failure.TRANSIENT),
    (-62, "net/http: TLS handshake timeout", Failure.TRANSIENT),
    (-60, "something about the cluster", Failure.TRANSIENT),
    (-62, LARGE, Failure.TOO_LARGE),
    (-62, "failed pre-install: job web-hook failed: BackoffLimitExceeded",
     Failure.FAILED),
    (-62, 'Internal error occurred: failed calling webhook "x"', Failure.FAILED),
    (None, "something else", Failure.FAILED),
]  # fmt: skip


@pytest.mark.parametrize(("code", "message", "failure"), SAID)
def test_words_and_code_say_what_kind_of_failure_it_is(
    code: int | None, message: str, failure: Failure
) -> None:
    assert classify(code, message) is failure


def test_a_cancellation_is_one_only_if_we_cancelled() -> None:
    assert classify(-6, "context canceled", cancelled=True) is Failure.CANCELLED
    assert classify(-6, "context deadline exceeded") is Failure.TIMEOUT


def test_of_a_worker_that_died_nothing_is_known() -> None:
    error: EngineError = WorkerDiedError("gone")

    assert error.failure.is_outcome_unknown
    assert not Failure.TIMEOUT.is_outcome_unknown
