"""Outcomes and what is told of them: nothing twice, nothing stale."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from api.bundle.status import ActiveJob, BundleStatus
from api.bundle.v1alpha1 import WerfBundle
from controller_runtime.testing.clock import FakeClock
from controllers.bundle import status
from controllers.bundle.errors import BlockedError
from controllers.bundle.logs import Verdict
from controllers.bundle.outcomes import End
from controllers.bundle.status import Draft
from controllers.oci import RateLimitedError, RegistryServerError

NOW = FakeClock().now()

DOWN = RegistryServerError("registry.example/app: 500")


def bundle(**fields: object) -> WerfBundle:
    return WerfBundle.model_validate(
        {
            "metadata": {
                "name": "app",
                "namespace": "shop",
                "uid": "u",
                "generation": 3,
                "resourceVersion": "7",
            },
            "spec": {"registry": {"url": "registry.example/app"}},
            "status": fields,
        }
    )


def draft(**fields: object) -> Draft:
    return Draft(bundle(**fields), NOW)


def written(it: Draft) -> Draft:
    """Return a draft of what the server has after this one was written."""
    fields = it.status.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    return Draft(bundle(**fields), NOW + timedelta(minutes=1))


def ready(it: Draft) -> tuple[str, str]:
    found = it.find("Ready")
    return (found.status, found.reason) if found else ("", "")


def active(attempt: int = 1, tag: str = "v1.0.0") -> ActiveJob:
    return ActiveJob(
        name=f"job-{tag}-{attempt}", namespace="shop", tag=tag, attempt=attempt
    )


def end(*, reason: str = "") -> End:
    return End(
        is_success=not reason,
        exit_code=1 if reason else 0,
        verdict=Verdict(reason, "exit code 1: Error: no") if reason else None,
        log="Error: no",
        started_at=NOW,
        finished_at=NOW,
    )


def test_the_same_outcome_writes_nothing_and_tells_nothing_again() -> None:
    """Section 2: no write if nothing has changed."""

    def outcome(it: Draft) -> Draft:
        status.begin(it, "shop", "app", ("spec.rollbackHold",))
        error = BlockedError("no such account", condition="PreflightPassed", reason="X")
        status.blocked(it, error)
        return it

    first = outcome(draft())
    again = outcome(written(first))

    assert first.patch() is not None
    assert [it.reason for it in first.told] == ["Unsupported", "PreflightFailed"]
    assert again.patch() is None
    assert again.told == []


def test_a_patch_holds_for_the_version_that_was_read() -> None:
    it = draft()
    status.synced(it)
    patch = it.patch()

    assert patch is not None
    assert json.loads(patch.body)["metadata"] == {"resourceVersion": "7"}


def test_the_fifth_failure_is_failed_and_the_first_and_fifth_are_told() -> None:
    """Scenario 16."""
    it = draft(phase="Pending")
    phases = []
    for _ in range(6):
        status.unreached(it, DOWN, counts=True)
        phases.append(it.status.phase)

    assert phases == ["Pending"] * 4 + ["Failed"] * 2
    assert [told.reason for told in it.told] == ["PollFailed", "PollFailed"]
    status.reached(it, is_unchanged=False)
    assert it.status.consecutive_failures == 0
    assert it.is_true("RegistryReachable")


def test_what_runs_stays_ready_through_four_failures_and_synced_through_all() -> None:
    """Scenario 17 and section 2.11."""
    it = draft()
    status.synced(it)
    for _ in range(4):
        status.unreached(it, DOWN, counts=True)
    assert ready(it)[0] == "True"
    assert it.status.phase == "Synced"

    status.unreached(it, DOWN, counts=True)
    assert ready(it) == ("False", "ServerError")
    assert it.is_true("Synced")


def test_being_told_to_wait_is_never_failed() -> None:
    it = draft(phase="Synced")
    for _ in range(10):
        status.unreached(it, RateLimitedError("later"), counts=False)

    assert it.status.phase == "Synced"
    assert it.status.consecutive_failures == 0
    assert it.told[0].reason == "RateLimited"


def test_a_fault_that_is_mended_is_not_told_any_more_when_the_next_comes() -> None:
    it = draft()
    status.blocked(it, BlockedError("bad url", reason="InvalidURL", is_stalled=True))
    assert ready(it) == ("False", "InvalidURL")
    assert it.is_true("Stalled")

    status.unreached(it, DOWN, counts=True)
    assert ready(it) == ("False", "ServerError")
    assert not it.is_true("Stalled")


def test_history_has_the_ten_newest_the_newest_first() -> None:
    """Scenario 72."""
    it = draft()
    for number in range(11):
        status.succeeded(it, active(tag=f"v{number}"), end())

    versions = [entry.version for entry in it.status.version_history]
    assert versions == [f"v{number}" for number in range(10, 0, -1)]


def test_a_failed_job_is_tried_again_as_often_as_the_spec_says() -> None:
    """Scenario 46."""
    it = draft(applyAttempts=1)
    wait = timedelta(minutes=1)
    status.failed(it, active(1), end(reason="JobFailed"), retries=1, wait=wait)
    assert it.status.phase == "Syncing"
    assert it.status.next_retry_time == NOW + wait
    assert it.find("Reconciling") is not None
    assert it.status.last_applied_tag == ""

    status.failed(it, active(2), end(reason="JobFailed"), retries=1, wait=wait)
    assert it.status.phase == "Failed"
    assert it.status.next_retry_time is None
    assert ready(it) == ("False", "RetriesExhausted")
    assert it.find("Reconciling") is None


@pytest.mark.parametrize(
    ("applied", "trigger"),
    [
        (BundleStatus(), "NewVersion"),
        (BundleStatus(last_applied_tag="v0"), "NewVersion"),
        (BundleStatus(last_applied_tag="v1", last_applied_digest="x"), "DigestChanged"),
        (BundleStatus(last_applied_tag="v1", last_applied_digest="d"), "ValuesChanged"),
        (
            BundleStatus(
                last_applied_tag="v1",
                last_applied_digest="d",
                last_applied_values_hash="h",
            ),
            "SpecChanged",
        ),
    ],
)
def test_the_cause_is_what_differs_from_what_was_applied(
    applied: BundleStatus, trigger: str
) -> None:
    it = draft()
    it.status = applied

    assert status.cause(it, tag="v1", digest="d", values_hash="h") == trigger


def test_a_refusal_that_has_no_condition_of_its_own_is_told_once() -> None:
    """Section 5.2: a role that lacks a verb lacks it for days."""

    def outcome(it: Draft) -> Draft:
        status.blocked(it, BlockedError("no verb create", reason="ManagerForbidden"))
        return it

    first = outcome(draft())
    again = outcome(written(first))

    assert [it.reason for it in first.told] == ["ManagerForbidden"]
    assert again.told == []
    assert again.patch() is None


def test_a_host_that_wants_to_be_left_alone_is_told_of_once() -> None:
    """Section 5.2."""
    it = draft()
    for _ in range(3):
        status.unreached(it, RateLimitedError("later"), counts=False)

    assert [told.reason for told in it.told] == ["RateLimited"]
