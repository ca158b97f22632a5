"""Secrets that are empty for a moment."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from api.core.v1 import PodTemplateSpec
from controller_runtime import Meta
from controllers.reload.gates import Gates, Hold, HoldReason, Turn
from controllers.reload.gates.interim import InterimGate
from controllers.reload.options import AnnotationKeys
from controllers.reload.plan import Marker, Plan
from controllers.reload.policy import ReloadPolicy
from controllers.reload.sources import Source, SourceKey, SourceKind
from controllers.reload.sources.digest import secret_digest
from controllers.reload.workloads import Workload, WorkloadKey

NOW = datetime(2026, 1, 1, tzinfo=UTC)
WEB = WorkloadKey("Deployment", "shop", "web")


class Row:
    """A gate, and Secrets of which some are empty."""

    def __init__(self) -> None:
        self.empty: set[str] = set()
        self.gate = InterimGate(timedelta(seconds=30), self.source)
        self.gates = Gates([self.gate])

    def source(self, key: SourceKey) -> Source:
        is_empty = key.name in self.empty
        return Source(key, secret_digest({}), {}, is_interim=is_empty)

    def come(self, at: float, *secrets: str, is_reloaded: bool = True) -> Hold | None:
        keys = [SourceKey(SourceKind.SECRET, "shop", name) for name in secrets or "s"]
        markers = [Marker(key, "app", "V", "h", "h") for key in keys]
        turn = Turn(
            Workload(WEB, Meta(), PodTemplateSpec()),
            ReloadPolicy({}, AnnotationKeys()),
            Plan({}, tuple(markers)),
            *(NOW, at),
        )
        if (hold := self.gates.enter(turn)) is None:
            self.gates.leave(turn, is_reloaded=is_reloaded)
        return hold


def test_one_that_has_content_counts_at_once() -> None:
    row = Row()

    assert row.come(0) is None
    assert len(row.gate) == 0


def test_an_empty_one_counts_when_it_has_had_its_time() -> None:
    row = Row()
    row.empty = {"s"}

    hold = row.come(100)

    assert hold == Hold(
        HoldReason.INTERIM,
        "for content: Secret shop/s is empty, and its owner has 30 s to fill it",
        30.0,
    )
    again = row.come(120)
    assert again is not None
    assert again.seconds == 10.0
    assert row.come(130) is None
    assert len(row.gate) == 0


def test_one_that_is_filled_counts_at_once() -> None:
    row = Row()
    row.empty = {"s"}
    assert row.come(100) is not None

    row.empty.clear()

    assert row.come(101) is None


def test_each_has_its_own_time() -> None:
    row = Row()
    row.empty = {"s"}
    row.come(100)
    row.empty = {"s", "t"}
    row.come(110, "s", "t")

    hold = row.come(130, "s", "t")

    assert hold is not None
    assert "shop/t" in hold.text
    assert hold.seconds == 10.0


def test_the_next_time_it_is_empty_it_has_its_time_again() -> None:
    row = Row()
    row.empty = {"s"}
    row.come(100)

    row.gates.settle(WEB)  # it was filled with what it held before

    hold = row.come(200)
    assert hold is not None
    assert hold.seconds == 30.0


def test_one_that_had_its_time_does_not_get_it_again_since_a_write_was_refused() -> (
    None
):
    row = Row()
    row.empty = {"s"}
    row.come(100)

    assert row.come(130, is_reloaded=False) is None
    assert row.come(131) is None


def test_nothing_is_kept_of_a_workload_that_is_gone() -> None:
    row = Row()
    row.empty = {"s"}
    row.come(100)

    row.gates.forget(WEB)

    assert len(row.gate) == 0
