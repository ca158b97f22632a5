"""What a ReloaderConfig says of itself, by what there is."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from api.reload.status import (
    PENDING_MAX,
    PendingReload,
    ReloaderConfigStatus,
    RolloutState,
    TargetStatus,
)
from api.reload.v1alpha1 import ReloaderConfig
from controller_runtime import find_condition
from controllers.reload.status.accounts import Ledger, Sighted
from controllers.reload.status.statuses import (
    Sight,
    Statement,
    moment_to_look_again,
    status_of,
)
from controllers.reload.workloads import WorkloadKey

NOW = datetime(2026, 1, 1, tzinfo=UTC)
WEB = WorkloadKey("Deployment", "shop", "web")
HELD = PendingReload(workload="shop/Deployment/web", reason="Window", message="waits")


def config(status: ReloaderConfigStatus | None = None, **row: Any) -> ReloaderConfig:
    made = ReloaderConfig.model_validate(
        {
            "metadata": {"name": "one", "namespace": "shop", "generation": 3},
            "spec": {},
        }
    )
    if row:
        target = TargetStatus(kind="Deployment", name="web", namespace="shop", **row)
        status = ReloaderConfigStatus(
            target_status=(target,), reload_count=row.get("reload_count", 0)
        )
    return made.model_copy(update={"status": status or ReloaderConfigStatus()})


def sight(
    *,
    sources: dict[str, str | None] | None = None,
    target: Sighted = Sighted(WEB),  # noqa: B008 - immutable
    now: datetime = NOW,
    **more: Any,
) -> Sight:
    given = {"shop/Secret/s": "0" * 64} if sources is None else sources
    ledger = Ledger([target], given, (), now, NOW - timedelta(days=1))
    return Sight(ledger, **more)


def said(statement: Statement) -> dict[str, tuple[str, str]]:
    """Return status and reason by type of condition."""
    return {c.type: (c.status, c.reason) for c in statement.status.conditions}


RELOADED: dict[str, Any] = {"last_reload_time": NOW, "reload_count": 1}


@pytest.mark.parametrize(
    ("before", "now", "available", "degraded", "progressing"),
    [
        pytest.param(
            *({}, sight()),
            *("True Reconciled", "False Reconciled", "False Reconciled"),
            id="all is well, and nothing has happened",
        ),
        pytest.param(
            *(RELOADED, sight()),
            *("True ReloadSucceeded", "False Reconciled", "False ReloadSucceeded"),
            id="all is well after a reload",
        ),
        pytest.param(
            *({}, sight(missing=("shop/Deployment/web",))),
            *("False TargetNotFound", "True TargetNotFound", "False Reconciled"),
            id="a target is missing",
        ),
        pytest.param(
            *({}, sight(sources={"shop/Secret/s": None})),
            *("True Reconciled", "True ResourceNotFound", "False Reconciled"),
            id="a source is missing",
        ),
        pytest.param(
            {},
            sight(sources={"shop/Secret/s": None}, missing=("shop/Deployment/web",)),
            *("False TargetNotFound", "True TargetNotFound", "False Reconciled"),
            id="both are missing",
        ),
        pytest.param(
            *({}, sight(problems=("spec.targets[0]: no",), missing=("x",))),
            *("False InvalidSpec", "True InvalidSpec", "False Reconciled"),
            id="a part of the spec is refused",
        ),
        pytest.param(
            *({}, sight(conflicts=("spec.reloadStrategy: another",))),
            *("True Reconciled", "True InvalidSpec", "False Reconciled"),
            id="another config decides",
        ),
        pytest.param(
            {"last_error": "forbidden"},
            sight(target=Sighted(WEB, hashes={"shop/Secret/s": "1" * 20})),
            *("True Reconciled", "True ReloadFailed", "False Reconciled"),
            id="a reload fails",
        ),
        pytest.param(
            *({}, sight(pending=(HELD,))),
            *("True Reconciled", "False Reconciled", "True Reconciling"),
            id="a reload waits",
        ),
        pytest.param(
            RELOADED,
            sight(target=Sighted(WEB, state=RolloutState.PROGRESSING)),
            *("True ReloadSucceeded", "False Reconciled", "True Reconciling"),
            id="pods are made anew after a reload",
        ),
        pytest.param(
            {"reload_count": 0},
            sight(target=Sighted(WEB, state=RolloutState.PROGRESSING)),
            *("True Reconciled", "False Reconciled", "False Reconciled"),
            id="pods are made anew, and not by us",
        ),
    ],
)
def test_conditions_follow_from_what_there_is(
    before: dict[str, Any],
    now: Sight,
    available: str,
    degraded: str,
    progressing: str,
) -> None:
    """Scenario 15."""
    statement = status_of(config(**before), now)

    found = {type_: " ".join(pair) for type_, pair in said(statement).items()}
    assert found == {
        "Available": available,
        "Degraded": degraded,
        "Progressing": progressing,
    }
    assert {c.observed_generation for c in statement.status.conditions} == {3}
    assert statement.status.observed_generation == 3


def test_what_has_not_changed_is_said_in_the_same_words_at_any_time() -> None:
    first = status_of(config(), sight()).status

    later = sight(now=NOW + timedelta(hours=1))
    again = status_of(config(first), later)

    assert again.status == first
    assert again.events == ()


def test_a_condition_keeps_the_time_at_which_it_changed() -> None:
    absent = sight(sources={"shop/Secret/s": None})
    first = status_of(config(), absent).status
    later = NOW + timedelta(hours=1)

    mended = status_of(config(first), sight(now=later)).status

    degraded = find_condition(mended.conditions, "Degraded")
    available = find_condition(mended.conditions, "Available")
    assert degraded is not None
    assert available is not None
    assert (degraded.status, degraded.last_transition_time) == ("False", later)
    assert available.last_transition_time == NOW


def test_an_event_tells_that_it_is_degraded_once_and_when_that_is_over() -> None:
    absent = sight(sources={"shop/Secret/s": None})

    first = status_of(config(), absent)
    again = status_of(config(first.status), absent)
    mended = status_of(config(first.status), sight())

    assert [(e.type, e.reason) for e in first.events] == [
        ("Warning", "ResourceNotFound")
    ]
    assert "shop/Secret/s not found" in first.events[0].note
    assert again.events == ()
    assert [(e.type, e.reason) for e in mended.events] == [("Normal", "Reconciled")]


def test_messages_name_a_few_and_count_the_others() -> None:
    sources: dict[str, str | None] = {f"shop/Secret/s{n}": None for n in range(9)}

    statement = status_of(config(), sight(sources=sources))

    degraded = find_condition(statement.status.conditions, "Degraded")
    assert degraded is not None
    assert degraded.message.endswith("shop/Secret/s4 and 4 more not found")


def test_more_waits_than_is_listed_and_the_count_says_so() -> None:
    waiting = tuple(
        HELD.model_copy(update={"workload": f"shop/Deployment/{n}"})
        for n in range(PENDING_MAX + 1)
    )

    status = status_of(config(), sight(pending=waiting)).status

    assert len(status.pending) == PENDING_MAX
    assert status.pending_count == PENDING_MAX + 1


def test_what_waits_keeps_since_when_and_a_moment_that_hardly_moves() -> None:
    until = NOW + timedelta(minutes=5)
    first = HELD.model_copy(update={"since": NOW, "until": until})
    before = status_of(config(), sight(pending=(first,))).status
    second = timedelta(seconds=1)
    again = HELD.model_copy(update={"since": NOW + second, "until": until + second})

    after = status_of(config(before), sight(pending=(again,))).status

    assert after.pending == before.pending
    far = again.model_copy(update={"until": until + timedelta(hours=1)})
    moved = status_of(config(before), sight(pending=(far,))).status
    assert moved.pending[0].until == until + timedelta(hours=1)


def test_a_status_is_looked_at_again_when_a_pause_ends() -> None:
    assert moment_to_look_again(ReloaderConfigStatus()) is None
    paused = config(**RELOADED)
    pausing = Sighted(WEB, pause=timedelta(seconds=60))

    status = status_of(paused, sight(target=pausing)).status

    assert moment_to_look_again(status) == NOW + timedelta(seconds=60)
