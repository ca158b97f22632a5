"""A preview as text: YAML to apply, JSON for programs, a table for people (pure)."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence

from controller_runtime import Json
from controllers.autopilot.documents import write_yaml
from controllers.autopilot.preview import Item, Status

_WIDTHS = (30, 15, 20)
"""Columns of the table: asset, status, component."""

_REASON = 80
"""Longest reason in the table."""


_MET = {True: "met", False: "not met", None: "unknown"}


def as_yaml(items: Sequence[Item], *, explain: bool) -> str:
    """Write one document for each object, with a comment above that says what it is.

    Args:
        items: What there is to write.
        explain: Write every condition, and what the template asked.
    """
    lines = (line for item in items for line in _document(item, explain=explain))
    return "".join(line + "\n" for line in lines)


def _document(item: Item, *, explain: bool) -> Iterator[str]:
    yield "---"
    yield f"# Asset: {item.asset.name}"
    yield f"# Path: {item.asset.path}"
    yield f"# Component: {item.asset.kind.kind}"
    yield f"# Status: {item.status}"
    yield f"# Reason: {_one_line(item.reason)}"
    if explain:
        for condition, actual, met in item.checks:
            yield f"# Condition: {condition}: {_MET[met]}, {_one_line(actual)}"
        for question in item.inputs:
            yield f"# Input: {question}"
    for remark in item.remarks:
        yield f"# Warning: {_one_line(remark)}"
    for change in item.changes:
        yield f"# Change: {change}"
    for question in item.unknown:
        yield f"# Warning: not known here, so it may differ: {_one_line(question)}"
    if item.object is not None and item.status is Status.INCLUDED:
        yield write_yaml(item.object).rstrip("\n")


def as_json(items: Sequence[Item]) -> str:
    """Write a list with all that is known of each item."""
    return json.dumps([_record(item) for item in items], indent=2, ensure_ascii=False)


def _record(item: Item) -> Json:
    return {
        "asset": item.asset.name,
        "path": item.asset.path,
        "component": item.asset.kind.kind,
        "status": item.status,
        "reason": item.reason,
        "conditions": [check._asdict() for check in item.checks],
        "remarks": list(item.remarks),
        "changes": list(item.changes),
        "inputs": list(item.inputs),
        "unknown": list(item.unknown),
        "object": item.object,
    }


def as_status(items: Sequence[Item], all_items: Sequence[Item]) -> str:
    """Write a table of items, and under it how many there are of each status."""
    head = ("ASSET", "STATUS", "COMPONENT", "REASON")
    rows = [
        (
            item.asset.name,
            str(item.status),
            item.asset.kind.kind,
            _one_line("; ".join([item.reason, *_notes(item)])),
        )
        for item in items
    ]
    lines = [_row(*row) for row in (head, *rows)]
    count = Counter(item.status for item in all_items)
    summary = (
        f"Summary: {count[Status.INCLUDED]} included, {count[Status.EXCLUDED]} "
        f"excluded, {count[Status.FILTERED]} filtered, {count[Status.ERROR]} errors"
    )
    if count[Status.UNKNOWN]:
        summary += f", {count[Status.UNKNOWN]} unknown"
    return "\n".join([*lines, "", summary])


def _notes(item: Item) -> Iterator[str]:
    yield from item.remarks
    if item.changes:
        yield f"changes {', '.join(item.changes)}"
    if item.unknown:
        yield f"not known: {', '.join(item.unknown)}"


def _row(asset: str, status: str, component: str, reason: str) -> str:
    cells = zip((asset, status, component), _WIDTHS, strict=True)
    columns = [_cut(cell, width).ljust(width) for cell, width in cells]
    return " ".join([*columns, _cut(reason, _REASON)]).rstrip()


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 3] + "..."


def _one_line(text: str) -> str:
    return " ".join(text.split())
