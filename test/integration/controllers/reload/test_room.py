"""A record that has no room for all sources, on a real control plane."""

from __future__ import annotations

from conformance.reloads import NAMED, Shop
from controllers.reload.record import RECORD

NOTES = {"example.com/notes": "x" * (200 << 10)}
"""Leaves room for some 160 names of 250 characters."""


def source(number: int) -> str:
    return f"cm/{number:03}-{'n' * 246}"


async def test_the_server_takes_a_record_that_is_full(shop: Shop) -> None:
    await shop.sources(*map(source, range(200)))
    async with shop.manager():
        full = await shop.workload("full", {NAMED["cm"]: ".*"} | NOTES)
        before = await full.adopted(source(0))
        (event,) = await shop.events("RecordFull", "full")
        await shop.change(source(0))
        await full.reloaded(before)

    assert RECORD in event["note"]
