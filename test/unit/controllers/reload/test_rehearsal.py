"""A dry run remembers what it would have written."""

from __future__ import annotations

from api.core.v1 import PodTemplateSpec
from controller_runtime import Meta
from controllers.reload.options import AnnotationKeys
from controllers.reload.plan import Plan
from controllers.reload.policy import ReloadPolicy
from controllers.reload.record import read_record
from controllers.reload.workloads import Workload, WorkloadKey
from controllers.reload.writing.rehearsal import PLANNED, Rehearsal

POLICY = ReloadPolicy({}, AnnotationKeys())
WEB = WorkloadKey("Deployment", "shop", "web")


def workload() -> Workload:
    return Workload(WEB, Meta(annotations={"a": "b"}), PodTemplateSpec())


async def test_a_workload_is_seen_with_the_record_that_it_would_have() -> None:
    rehearsal = Rehearsal()
    before = rehearsal.seen(workload())

    outcome = await rehearsal.carry_out(workload(), POLICY, Plan({"cm/c": "1"}))

    assert outcome is PLANNED
    assert read_record(before) == {}
    after = rehearsal.seen(workload())
    assert read_record(after) == {"cm/c": "1"}
    assert after.meta.annotations["a"] == "b"


async def test_a_workload_that_is_gone_is_forgotten() -> None:
    rehearsal = Rehearsal()
    await rehearsal.carry_out(workload(), POLICY, Plan({"cm/c": "1"}))

    rehearsal.forget(WEB)

    assert read_record(rehearsal.seen(workload())) == {}
