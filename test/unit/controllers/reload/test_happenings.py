"""What is noted between two looks, and for how long."""

from __future__ import annotations

from controllers.reload.digest import DELETED, secret_digest
from controllers.reload.happenings import Happened, Happenings
from controllers.reload.sources import Source, SourceKey, SourceKind
from controllers.reload.workloads import WorkloadKey

WEB = WorkloadKey("Deployment", "shop", "web")
A, B = (SourceKey(SourceKind.SECRET, "shop", name) for name in "ab")
HELD = secret_digest({"k": b"v"})


def test_what_happened_stays_noted_until_a_look_has_taken_it_into_account() -> None:
    notes = Happenings()
    notes.appeared(A, [WEB])
    notes.gone(Source(B, HELD, {"x": "y"}), [WEB])
    notes.joined([WEB])

    seen = notes.of(WEB)

    left = Source(B, DELETED, {"x": "y"})
    assert seen == Happened(frozenset({A}), {B: left}, joined=True)
    assert notes.of(WEB) == seen
    notes.forget(WEB, seen)
    assert notes.of(WEB) == Happened()


def test_what_happens_during_a_look_is_for_the_next() -> None:
    notes = Happenings()
    notes.appeared(A, [WEB])
    seen = notes.of(WEB)

    notes.appeared(B, [WEB])
    notes.gone(Source(A, HELD, {}), [WEB])
    notes.joined([WEB])
    notes.forget(WEB, seen)

    left = notes.of(WEB)
    assert B in left.appeared
    assert left.gone == {A: Source(A, DELETED, {})}
    assert left.joined


def test_a_workload_that_is_gone_leaves_no_notes() -> None:
    notes = Happenings()
    notes.appeared(A, [WEB])
    notes.gone(Source(B, HELD, {}), [WEB])

    notes.forget(WEB)

    assert notes.of(WEB) == Happened()
