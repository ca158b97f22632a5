"""What is noted between two looks, and for how long."""

from __future__ import annotations

import asyncio

from controllers.reload.happenings import Happened, Happenings
from controllers.reload.sources import Source, SourceKey, SourceKind
from controllers.reload.sources.digest import DELETED, secret_digest
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


async def test_what_is_found_soon_after_a_change_may_have_been_there_before() -> None:
    notes = Happenings()
    notes.unseen(A, [])
    await asyncio.sleep(4)
    notes.unseen(B, [])
    notes.found(WEB)
    soon = notes.of(WEB)
    notes.forget(WEB, soon)
    await asyncio.sleep(3)
    notes.found(WEB)
    later = notes.of(WEB)
    notes.forget(WEB, later)
    await asyncio.sleep(3)
    notes.found(WEB)

    assert soon.missed == {A, B}
    assert later.missed == {B}
    assert notes.of(WEB) == Happened()


async def test_a_change_before_the_first_look_is_noted_for_what_is_known() -> None:
    notes = Happenings()
    notes.unseen(A, [WEB])
    seen = notes.of(WEB)
    notes.unseen(B, [WEB])
    notes.forget(WEB, seen)

    assert seen.missed == {A}
    assert notes.of(WEB).missed == {A, B}
    notes.forget(WEB)
    assert notes.of(WEB) == Happened()


def test_a_workload_that_is_gone_leaves_no_notes() -> None:
    notes = Happenings()
    notes.appeared(A, [WEB])
    notes.gone(Source(B, HELD, {}), [WEB])

    notes.forget(WEB)

    assert notes.of(WEB) == Happened()
