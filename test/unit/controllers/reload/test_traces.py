"""What a workload says of its reloads, as anybody may have written it."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from api.core.v1 import PodTemplateSpec
from controller_runtime import Meta
from controllers.reload.record import RELOADED_AT
from controllers.reload.status.traces import reloaded_at
from controllers.reload.workloads import Workload, WorkloadKey

WEB = WorkloadKey("Deployment", "shop", "web")


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("2026-11-21T14:00:00.5+02:00", datetime(2026, 11, 21, 12, tzinfo=UTC)),
        ("2026-11-21T14:00:00", None),
        ("yesterday", None),
        ("0001-01-01T00:00:00+23:59", None),
        ("9999-12-31T23:59:59-23:59", None),
    ],
)
def test_a_time_that_is_none_in_utc_is_no_time(
    written: str, expected: datetime | None
) -> None:
    meta = Meta(name="web", annotations={RELOADED_AT: written})

    assert reloaded_at(Workload(WEB, meta, PodTemplateSpec())) == expected
