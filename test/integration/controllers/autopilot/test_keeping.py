"""The autopilot on a real API server: what is applied, drifts, and is left alone.

Numbers are those of the acceptance scenarios of the autopilot's specification.
"""

from __future__ import annotations

import asyncio
import json

import pytest

from conformance.platforms import (
    AUTOPILOT,
    CONFIG_MAP,
    DISABLED,
    IGNORE,
    LAST_GOOD,
    MANAGED_BY,
    MANAGER,
    MODE,
    PATCH,
    PAUSED,
    Lend,
    Platform,
    config_map,
    metric,
    of,
    rests,
    until,
)
from controller_runtime import (
    ConflictError,
    ForbiddenError,
    NotFoundError,
)
from controller_runtime.testing.eventually import eventually
from controllers.autopilot.throttle import ThrottleOptions


def patch(*operations: dict[str, object]) -> str:
    return json.dumps(operations)


def replace(key: str, value: str) -> dict[str, object]:
    return {"op": "replace", "path": f"/data/{key}", "value": value}


async def test_an_asset_is_applied_with_our_label_and_nothing_else_is_asked(
    lend: Lend,
) -> None:
    """Scenarios 1, 3 and 43; and a sweep in which nothing changed asks nothing."""
    async with lend() as platform, platform.manager() as manager:
        made = await platform.has("a", data={"k": "v", "interval": "60"})
        await platform.event("ReconcileSucceeded", "1/1")

        assert made["metadata"]["labels"] == {MANAGED_BY: platform.namespace}
        assert "ownerReferences" not in made["metadata"]
        (entry,) = made["metadata"]["managedFields"]
        assert (entry["manager"], entry["operation"]) == (MANAGER, "Apply")
        labels = of("ConfigMap", platform.namespace, "a")
        assert metric(manager, "compliance_status", **labels) == 1

        asked = len(platform.calls)
        for _ in range(3):
            await platform.touch()
        await platform.annotate_source({DISABLED: "["})  # a witness: it is told
        await platform.event("InvalidExclusion")

        since = platform.calls[asked:]
        assert [c.path for c in since if "/events" not in c.path] == []
        assert (await platform.read("a")) == made


async def test_drift_is_corrected_and_told(lend: Lend) -> None:
    """Scenarios 2 and 36: a field, the label, and the whole object."""
    async with lend() as platform, platform.manager():
        made = await platform.has("a", data={"k": "v", "interval": "60"})

        await platform.change("a", {"data": {"interval": "1", "added": "stays"}})
        fixed = await platform.has(
            "a", data={"k": "v", "interval": "60", "added": "stays"}
        )
        await platform.event("DriftDetected", "/data/interval")
        await platform.event("DriftCorrected")

        await platform.change("a", {"metadata": {"labels": {MANAGED_BY: None}}})
        await platform.when(
            "a", lambda o: MANAGED_BY in o["metadata"].get("labels", ())
        )

        await platform.client.delete(CONFIG_MAP, "a", platform.namespace)
        again = await platform.when(
            "a", lambda obj: obj["metadata"]["uid"] != fixed["metadata"]["uid"]
        )
        assert again["data"] == made["data"]


async def test_an_object_that_was_there_is_adopted(lend: Lend) -> None:
    """Scenario 35."""
    async with lend() as platform:
        await platform.apply_as("helm", "a", data={"interval": "1", "other": "x"})
        async with platform.manager():
            adopted = await platform.when(
                "a", lambda o: MANAGED_BY in o["metadata"].get("labels", ())
            )
    assert adopted["data"] == {"k": "v", "interval": "60", "other": "x"}


async def test_a_patch_annotation_is_in_force_until_it_goes(lend: Lend) -> None:
    """Scenarios 4 and 5."""
    async with lend() as platform, platform.manager() as manager:
        await platform.has("a")
        text = patch(
            replace("interval", "5"), {"op": "add", "path": "/data/x", "value": "1"}
        )

        await platform.annotate("a", {PATCH: text})
        patched = await platform.has("a", data={"k": "v", "interval": "5", "x": "1"})
        await platform.event("PatchApplied", "2 operations")
        labels = of("ConfigMap", platform.namespace, "a")
        assert metric(manager, "customization_info", **labels, type="patch") == 1
        owners = {
            entry["manager"]
            for entry in patched["metadata"]["managedFields"]
            if f"f:{PATCH}"
            in entry["fieldsV1"].get("f:metadata", {}).get("f:annotations", {})
        }
        assert owners == {"tester"}
        assert patched["metadata"]["annotations"][LAST_GOOD] == text

        await platform.annotate("a", {PATCH: None})
        plain = await platform.has("a", data={"k": "v", "interval": "60"})
        assert LAST_GOOD not in plain["metadata"].get("annotations", {})
        assert metric(manager, "customization_info", **labels, type="patch") is None


async def test_an_invalid_patch_changes_nothing_and_is_told_with_its_cause(
    lend: Lend,
) -> None:
    """Scenarios 6, 9 and 70: the baseline stands, and each cause is an Event."""
    async with lend() as platform, platform.manager():
        before = await platform.has("a")
        await platform.annotate("a", {PATCH: "[{"})
        await platform.event("InvalidPatch", "not JSON")
        for path in ("/metadata/name", "/kind", "/metadata/managedFields"):
            text = patch({"op": "replace", "path": path, "value": "x"})
            await platform.annotate("a", {PATCH: text})
            await platform.event("InvalidPatch", "forbidden", path)
        long = patch({"op": "remove", "path": "/data/" + "x" * 5000})
        await platform.annotate("a", {PATCH: long})
        event = await platform.event("InvalidPatch", "xxx")

        assert len(event["note"].encode()) <= 1024
        assert (await platform.read("a"))["data"] == before["data"]
        assert await platform.events("ReconcileFailed") == []


async def test_a_typo_keeps_the_last_good_patch_also_over_a_restart(lend: Lend) -> None:
    """Scenario 7, and 71: the manager restarts in the middle."""
    async with lend() as platform:
        good = patch(replace("interval", "5"))
        async with platform.manager():
            await platform.has("a")
            await platform.annotate("a", {PATCH: good})
            await platform.when("a", lambda o: o["data"]["interval"] == "5")
            await platform.annotate("a", {PATCH: good[:-1]})
            await platform.event("PatchHeld", "1 operations")
        await platform.change("a", {"data": {"k": "drifted"}})
        async with platform.manager():
            fixed = await platform.when("a", lambda o: o["data"]["k"] == "v")

    assert fixed["data"]["interval"] == "5"
    assert fixed["metadata"]["annotations"][LAST_GOOD] == good


async def test_a_patch_that_the_server_refuses_is_an_invalid_patch(lend: Lend) -> None:
    async with lend() as platform, platform.manager():
        await platform.has("a")

        await platform.annotate(
            "a", {PATCH: patch({"op": "add", "path": "/data/n", "value": {"a": 1}})}
        )

        await platform.event("InvalidPatch", "the API server does not take it")
        assert (await platform.read("a"))["data"] == {"k": "v", "interval": "60"}
        await platform.annotate("a", {PATCH: patch(replace("interval", "7"))})
        await platform.when("a", lambda o: o["data"]["interval"] == "7")


async def test_an_ignored_field_is_the_users_and_ours_no_more(lend: Lend) -> None:
    """Scenarios 12, 13 and 14, pointers with escapes (15) and without slash (17)."""
    async with lend() as platform, platform.manager() as manager:
        await platform.has("a")
        await platform.annotate("a", {IGNORE: "/data/interval, nonsense"})
        await platform.event("InvalidIgnoreFields", "nonsense")
        await platform.event("OwnershipReleased", "/data/interval")

        # Without force: had we kept the field, this would be a conflict.
        await platform.apply_as("bob", "a", data={"interval": "7"})
        await platform.change("a", {"data": {"k": "drifted"}})
        await platform.when("a", lambda o: o["data"]["k"] == "v")
        for _ in range(3):
            await platform.touch()
        await platform.event("DriftCorrected")

        assert (await platform.read("a"))["data"] == {"k": "v", "interval": "7"}
        with pytest.raises(ConflictError, match=MANAGER):
            await platform.apply_as("bob", "a", data={"k": "mine"})
        labels = of("ConfigMap", platform.namespace, "a")
        assert metric(manager, "customization_info", **labels, type="ignore") == 1

        await platform.annotate("a", {IGNORE: None})
        await platform.has("a", data={"k": "v", "interval": "60"})


async def test_an_unmanaged_object_is_left_alone_until_the_mode_goes(
    lend: Lend,
) -> None:
    """Scenarios 18, 19 and 20."""
    async with lend() as platform, platform.manager() as manager:
        await platform.has("a")
        labels = of("ConfigMap", platform.namespace, "a")
        await platform.annotate("a", {MODE: "bogus"})
        await platform.event("InvalidMode", "bogus")
        await platform.annotate("a", {MODE: "unmanaged"})
        await platform.event("UnmanagedMode")

        mine = await platform.change("a", {"data": {"k": "mine"}})
        await platform.touch()
        await platform.annotate_source({DISABLED: "["})  # a witness
        await platform.event("InvalidExclusion")

        assert (await platform.read("a"))["metadata"] == mine["metadata"]
        assert metric(manager, "compliance_status", **labels) is None
        info = "customization_info"
        assert metric(manager, info, **labels, type="unmanaged") == 1
        assert metric(manager, info, **labels, type="patch") is None

        await platform.annotate("a", {MODE: None})
        await platform.has("a", data={"k": "v", "interval": "60"})


async def test_corrections_are_throttled_an_object_at_a_time(lend: Lend) -> None:
    """Scenarios 21 and 22."""
    templates = {name: config_map(name, k="v") for name in ("a", "b")}
    throttle = ThrottleOptions(capacity=2, window=8)
    async with lend(templates) as platform, platform.manager(throttle=throttle):
        await platform.has("b")
        await platform.has("a")
        await platform.change("a", {"data": {"k": "1"}})
        await platform.has("a", data={"k": "v"})

        await platform.change("a", {"data": {"k": "2"}})
        await platform.event("Throttled", "2 times within 8 s")
        await platform.change("b", {"data": {"k": "1"}})
        await platform.has("b", data={"k": "v"})
        assert len(platform.applies("a")) == 2

        await platform.has("a", data={"k": "v"})
        assert len(platform.applies("a")) == 3


async def test_a_war_is_paused_once_and_resumes_when_the_pause_goes(
    lend: Lend,
) -> None:
    """Scenarios 23, 25, 26 and 27, in a fiftieth of the time."""
    throttle = ThrottleOptions(capacity=2, window=1.0, spacing=0.4, threshold=3)
    async with lend() as platform:
        labels = of("ConfigMap", platform.namespace, "a")
        async with platform.manager(throttle=throttle) as manager:
            await platform.has("a")
            async with asyncio.TaskGroup() as tasks:
                enemy = tasks.create_task(_undoing(platform, "a"))
                paused = await platform.when(
                    "a", lambda o: PAUSED in o["metadata"].get("annotations", {})
                )
                enemy.cancel()
            event = await platform.event("ThrashingDetected", "tester", PAUSED)
            assert MODE in event["note"]
            reason = json.loads(
                paused["metadata"]["annotations"][
                    f"{PAUSED.split('/')[0]}/paused-reason"
                ]
            )
            assert (reason["manager"], reason["fields"]) == ("tester", ["/data/k"])
            applied = len(platform.applies("a"))
            for n in range(5):
                await platform.change("a", {"data": {"k": f"again {n}"}})
                await platform.touch()
            await platform.annotate_source({DISABLED: "["})  # a witness
            await platform.event("InvalidExclusion")
            assert len(platform.applies("a")) == applied
            assert metric(manager, "thrashing_total", **labels) == 1
            assert metric(manager, "paused_resources", **labels) == 1
            assert metric(manager, "compliance_status", **labels) == 0
            assert len(await platform.events("ThrashingDetected")) == 1

        async with platform.manager(throttle=throttle) as manager:
            await platform.event("AssetApplied")
            await until(lambda: metric(manager, "paused_resources", **labels) == 1)
            assert (await platform.read("a"))["data"]["k"] == "again 4"

            await platform.annotate("a", {PAUSED: None})
            resumed = await platform.when("a", lambda o: o["data"]["k"] == "v")
            await platform.change("a", {"data": {"k": "once"}})
            await platform.when("a", lambda o: o["data"]["k"] == "v")
            assert metric(manager, "thrashing_total", **labels) in {None, 0}
            assert metric(manager, "paused_resources", **labels) == 0
    assert not any(
        "paused" in key for key in resumed["metadata"].get("annotations", {})
    )


async def _undoing(platform: Platform, name: str) -> None:
    """Undo every correction of an object, as soon as it is seen."""
    count = 0
    while True:
        count += 1
        await platform.change(name, {"data": {"k": f"mine {count}"}})
        await platform.when(name, lambda obj: obj["data"]["k"] == "v", timeout=60)


async def test_excluded_objects_are_left_as_they_are(lend: Lend) -> None:
    """Scenarios 30, 32 and 33."""
    templates = {name: config_map(name, k="v") for name in ("a", "b-1", "c")}
    rules = '[{kind: ConfigMap, name: "b-?"}, {kind: configmap, name: c}, {kind: x}]'
    annotations = {DISABLED: rules}
    async with lend(templates, annotations=annotations) as platform:
        async with platform.manager() as manager:
            await platform.has("a")
            await platform.has("c")
            await platform.event("InvalidExclusion", "rule 2")
            with pytest.raises(NotFoundError):
                await platform.read("b-1")

            await platform.annotate_source({DISABLED: None})
            await platform.has("b-1")
            await platform.annotate_source({DISABLED: "[{kind: ConfigMap, name: b-1}]"})
            labels = of("ConfigMap", platform.namespace, "b-1")
            await until(lambda: metric(manager, "compliance_status", **labels) is None)
            await platform.change("b-1", {"data": {"k": "mine"}})
        async with platform.manager():
            await platform.change("c", {"data": {"k": "drifted"}})
            await platform.has("c", data={"k": "v"})
            assert (await platform.read("b-1"))["data"] == {"k": "mine"}
            await platform.annotate_source({DISABLED: None})
            await platform.has("b-1", data={"k": "v"})


async def test_only_what_the_source_object_asks_for_is_applied(lend: Lend) -> None:
    """Scenario 37."""
    templates = {name: config_map(name, k="v") for name in ("a", "b", "c", "d")}
    async with lend(templates, d={"group": "late"}) as platform:
        await platform.annotate_source({AUTOPILOT: None})
        async with platform.manager() as manager:
            await until(lambda: rests(manager, "is off"))
            for text, names in {"b, nonsense": {"b"}, "late": {"b", "d"}}.items():
                await platform.annotate_source({AUTOPILOT: text})
                for name in names:
                    await platform.has(name)
            await platform.event("AssetSkipped", "nonsense")
            for name in ("a", "c"):
                with pytest.raises(NotFoundError):
                    await platform.read(name)
            await platform.annotate_source({AUTOPILOT: "true"})
            await platform.has("a")


async def test_an_asset_that_fails_holds_up_no_other(lend: Lend) -> None:
    """Scenario 42: one of three is refused, and retried until it is not."""
    templates = {name: config_map(name, k="v") for name in ("a", "b", "c")}
    async with lend(templates) as platform:
        await platform.client.create(
            {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": "b", "namespace": platform.namespace},
                "immutable": True,
            }
        )
        async with platform.manager() as manager:
            await platform.has("a")
            await platform.has("c")
            await platform.event("ReconcileFailed", "1/3", "b:", "immutable")
            await platform.event("ApplyFailed", "immutable")
            labels = of("ConfigMap", platform.namespace, "b")
            assert metric(manager, "compliance_status", **labels) == 0

            await platform.client.delete(CONFIG_MAP, "b", platform.namespace)
            await platform.has("b", data={"k": "v"})


async def test_forbidden_calls_fail_their_asset_alone_and_are_tried_again(
    lend: Lend,
) -> None:
    """Scenario 44, with a refusal in place of a webhook: no apply, and it recovers."""
    templates = {name: config_map(name, k="v") for name in ("a", "b")}
    async with lend(templates) as platform, platform.manager() as manager:
        await platform.has("a")
        await platform.has("b")
        applied = len(platform.applies("a"))
        platform.refuse = lambda call: (
            ForbiddenError("not you", status=403)
            if call.path.endswith("/a") and call.params.get("dryRun")
            else None
        )
        await platform.change("a", {"data": {"k": "1"}})
        await platform.event("ApplyFailed", "not you")
        labels = of("ConfigMap", platform.namespace, "a")
        assert metric(manager, "compliance_status", **labels) == 0
        await platform.change("b", {"data": {"k": "1"}})
        await platform.has("b", data={"k": "v"})
        assert len(platform.applies("a")) == applied

        platform.refuse = lambda _: None
        await platform.has("a", data={"k": "v"})


async def test_an_object_waits_for_its_namespace_without_a_word(
    lend: Lend, namespace: str
) -> None:
    """Scenario 41."""
    elsewhere = f"{namespace}-later"
    late = config_map("late", k="v").replace("{{ source_ns | q }}", elsewhere)
    templates = {"late": late, "a": config_map("a", k="v")}
    async with lend(templates) as platform, platform.manager():
        await platform.has("a")
        for _ in range(5):
            await platform.touch()
        await platform.annotate_source({DISABLED: "["})  # a witness
        await platform.event("InvalidExclusion")
        assert await platform.events("Throttled") == []
        assert await platform.events("ApplyFailed") == []
        assert [c for c in platform.calls if elsewhere in c.path] == []

        metadata = {"name": elsewhere}
        await platform.client.create(
            {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}
        )
        await eventually(
            platform.client, CONFIG_MAP, "late", elsewhere, lambda o: o["data"]
        )
