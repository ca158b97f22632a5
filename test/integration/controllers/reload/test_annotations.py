"""What annotations ask for, on a real control plane: real rollouts, on a fake node.

Each test has a namespace, and a manager that sees no other. That something does *not*
reload is shown by a witness: another workload, whose source changes afterwards and
which has reloaded while nothing moved at the first.
"""

from __future__ import annotations

import json
from base64 import b64encode

import pytest

from api.apps.v1 import DaemonSet, Deployment, StatefulSet
from api.batch.v1 import CronJob, Job
from api.core.v1 import ConfigMap, Secret
from conformance.reloads import (
    AUTO,
    Shop,
    pod_that_uses,
    record,
    variable,
)
from controller_runtime import GroupVersionKind, Json
from controller_runtime.testing.eventually import eventually, eventually_list
from controllers.reload.options import Strategy
from controllers.reload.record import LAST_RELOADED_FROM

KINDS = (Deployment.gvk, StatefulSet.gvk, DaemonSet.gvk)

CONFIG_MAPS = "configmap.reloader.stakater.com/reload"
SECRETS = "secret.reloader.stakater.com/reload"


def kept(data: bytes) -> Json:
    return {"k": b64encode(data).decode()}


@pytest.mark.e2e
@pytest.mark.parametrize(
    ("annotations", "used", "changed"),
    [
        pytest.param({SECRETS: "s"}, [], "secret/s", id="5: a listed Secret"),
        pytest.param({CONFIG_MAPS: "c"}, [], "cm/c", id="6: a listed ConfigMap"),
        pytest.param(
            AUTO, ["secret/s"], "secret/s", id="7: a Secret that the pods use"
        ),
        pytest.param(
            {SECRETS: "s,unused"},
            ["secret/s"],
            "secret/unused",
            id="9: a listed Secret that the pods do not use, next to one that they do",
        ),
    ],
)
async def test_a_changed_source_gives_workloads_of_every_kind_new_pods(
    shop: Shop, annotations: dict[str, str], used: list[str], changed: str
) -> None:
    """Scenarios 5, 6, 7 and 9."""
    await shop.sources("cm/c", "secret/s", "secret/unused")
    async with shop.manager():
        workloads = [
            await shop.deployed(gvk.kind.lower(), annotations, gvk=gvk, uses=used)
            for gvk in KINDS
        ]
        before = [await workload.adopted(changed) for workload in workloads]

        await shop.change(changed)

        for workload, since in zip(workloads, before, strict=True):
            after = await workload.reloaded(since)
            assert after.markers == {variable(changed)}


async def test_a_first_look_adopts_without_touching_templates_or_pods(
    shop: Shop,
) -> None:
    await shop.sources("cm/c")
    workloads = [
        await shop.deployed(gvk.kind.lower(), AUTO, gvk=gvk, uses=["cm/c"])
        for gvk in KINDS
    ]
    before = [await workload.snapshot() for workload in workloads]

    async with shop.manager():
        after = [await workload.adopted("cm/c") for workload in workloads]

    # The server counts annotations of a Deployment into its generation.
    assert [(s.template, s.pods) for s in after] == [
        (s.template, s.pods) for s in before
    ]
    assert await shop.events_now("Reloaded") == []


@pytest.mark.parametrize("kind", [ConfigMap.gvk, Secret.gvk], ids=lambda k: str(k.kind))
async def test_labels_and_annotations_of_a_source_reload_nothing(
    shop: Shop, kind: GroupVersionKind
) -> None:
    """Scenario 17."""
    await shop.sources("cm/c", "secret/s")
    async with shop.manager():
        web = await shop.deployed("web", AUTO, uses=["cm/c", "secret/s"])
        before = await web.adopted("cm/c", "secret/s")

        name = "c" if kind == ConfigMap.gvk else "s"
        touched = {"labels": {"touched": "yes"}, "annotations": {"touched": "yes"}}
        async with shop.nothing_reloads():
            await shop.patch(kind, name, {"metadata": touched})

        assert await web.snapshot() == before
        assert before.markers == set()


@pytest.mark.e2e
@pytest.mark.parametrize(
    "annotations",
    [
        pytest.param({}, id="18: no annotation"),
        pytest.param({"reloader.stakater.com/auto": "false"}, id="18: auto is off"),
        pytest.param(
            {SECRETS: "s", "reloader.stakater.com/ignore": "true"}, id="8: ignored"
        ),
    ],
)
async def test_a_workload_that_does_not_ask_for_it_is_left_alone(
    shop: Shop, annotations: dict[str, str]
) -> None:
    """Scenarios 8 and 18."""
    await shop.sources("secret/s")
    async with shop.manager():
        web = await shop.deployed("web", annotations, uses=["secret/s"])
        before = await web.snapshot()

        async with shop.nothing_reloads():
            await shop.change("secret/s")

        assert await web.snapshot() == before


async def test_a_secret_that_is_not_text_has_a_hash_that_stays_until_it_changes(
    shop: Shop,
) -> None:
    """Scenario 44."""
    await shop.create(Secret.gvk, "s", data=kept(b"\xff\x00"))
    web = await shop.deployed("web", AUTO, uses=["secret/s"])
    async with shop.manager():
        before = await web.adopted("secret/s")
    async with shop.manager():
        async with shop.nothing_reloads():
            pass
        assert await web.snapshot() == before

        await shop.patch(Secret.gvk, "s", {"data": kept(b"\xff\x01")})

        await web.reloaded(before)


async def test_a_source_that_comes_back_reloads_only_if_it_is_another(
    shop: Shop,
) -> None:
    """Scenario 45."""
    await shop.sources("cm/c")
    async with shop.manager():
        web = await shop.deployed("web", AUTO, uses=["cm/c"])
        before = await web.adopted("cm/c")

        async with shop.nothing_reloads():
            await shop.remove("cm/c")
            await shop.sources("cm/c")
        assert await web.snapshot() == before

        await shop.remove("cm/c")
        await shop.create(ConfigMap.gvk, "c", data={"k": "other"})
        await web.reloaded(before)


async def test_a_change_while_the_manager_was_down_reloads_exactly_once(
    shop: Shop,
) -> None:
    await shop.sources("cm/c")
    web = await shop.deployed("web", AUTO, uses=["cm/c"])
    async with shop.manager():
        before = await web.adopted("cm/c")

    await shop.change("cm/c")
    async with shop.manager():
        after = await web.reloaded(before)
    async with shop.manager(), shop.nothing_reloads():
        pass

    assert await web.snapshot() == after
    assert await web.revisions() == 2
    regarding = [e["regarding"]["name"] for e in await shop.events_now("Reloaded")]
    assert regarding.count("web") == 1


async def test_a_malformed_pattern_is_told_in_an_event_and_the_others_count(
    shop: Shop,
) -> None:
    await shop.sources("cm/app-config")
    async with shop.manager():
        web = await shop.deployed("web", {CONFIG_MAPS: "bad[,app-.*"})
        before = await web.adopted("cm/app-config")

        await shop.change("cm/app-config")

        await web.reloaded(before)
    (event,) = await shop.events_now("InvalidReloadAnnotation")
    assert event["type"] == "Warning"
    assert event["regarding"]["name"] == "web"
    assert CONFIG_MAPS in event["note"]
    assert "'bad['" in event["note"]


@pytest.mark.parametrize("gvk", KINDS, ids=lambda gvk: str(gvk.kind))
async def test_the_annotations_strategy_rolls_out_and_adds_no_variable(
    shop: Shop, gvk: GroupVersionKind
) -> None:
    await shop.sources("cm/c")
    async with shop.manager(strategy=Strategy.ANNOTATIONS):
        web = await shop.deployed("web", AUTO, gvk=gvk, uses=["cm/c"])
        before = await web.adopted("cm/c")

        await shop.change("cm/c")

        after = await web.reloaded(before)
    marker = json.loads(after.notes[LAST_RELOADED_FROM])
    assert (marker["type"], marker["name"]) == ("CONFIGMAP", "c")
    assert after.markers == set()


async def test_what_comes_and_goes_reloads_where_that_is_asked_for(
    shop: Shop,
) -> None:
    """Scenario 28, the part of --reload-on-create and --reload-on-delete."""
    async with shop.manager(reload_on_create=True, reload_on_delete=True):
        web = await shop.deployed("web", {CONFIG_MAPS: "c"})
        before = await web.rolled_out()
        # Later than `web`: once it is known, a source that comes is new to both.
        await shop.sources("cm/witness")
        witness = await shop.workload("witness", AUTO, uses=["cm/witness"])
        await witness.adopted("cm/witness")

        await shop.sources("cm/c")
        created = await web.reloaded(before)
        assert created.markers == {"STAKATER_C_CONFIGMAP"}

        await shop.remove("cm/c")
        assert (await web.reloaded(created)).markers == set()


def _idle_pod() -> Json:
    """A template whose pods stay pending, so that a Job of them stays at work."""
    idle = {"restartPolicy": "Never", "nodeSelector": {"there": "is-none"}}
    return {"spec": {**pod_that_uses("cm/c"), **idle}}


async def test_a_cron_job_runs_a_job_for_a_change(shop: Shop) -> None:
    """Scenario 25."""
    await shop.sources("cm/c")
    job = {"spec": {"template": _idle_pod()}}
    spec = {"schedule": "0 0 1 1 *", "jobTemplate": job}
    async with shop.manager():
        await shop.create(CronJob.gvk, "x", AUTO, spec=spec)
        await eventually(shop.client, CronJob.gvk, "x", shop.namespace, _has_record)

        await shop.change("cm/c")

        await eventually_list(shop.client, Job.gvk, shop.namespace, bool)
        async with shop.nothing_reloads():
            pass
    (made,) = (await shop.client.list(Job.gvk, shop.namespace)).items
    (container,) = made["spec"]["template"]["spec"]["containers"]
    assert [one["name"] for one in container["env"]] == ["STAKATER_C_CONFIGMAP"]
    assert made["metadata"]["ownerReferences"][0]["kind"] == "CronJob"


async def test_a_job_at_work_is_started_anew(shop: Shop) -> None:
    """Scenario 26."""
    await shop.sources("cm/c")
    async with shop.manager():
        created = await shop.create(Job.gvk, "x", AUTO, spec={"template": _idle_pod()})
        await eventually(shop.client, Job.gvk, "x", shop.namespace, _has_record)

        await shop.change("cm/c")

        await eventually_list(
            shop.client,
            Job.gvk,
            shop.namespace,
            lambda jobs: (
                [j["metadata"]["uid"] for j in jobs]
                not in ([], [created["metadata"]["uid"]])
            ),
        )
        after = await shop.client.get(Job.gvk, "x", shop.namespace)
    (container,) = after["spec"]["template"]["spec"]["containers"]
    assert [one["name"] for one in container["env"]] == ["STAKATER_C_CONFIGMAP"]
    assert after["spec"]["selector"] != created["spec"]["selector"]


def _has_record(obj: Json) -> bool:
    return "cm/c" in record(obj)
