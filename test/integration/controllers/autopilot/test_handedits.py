"""Hand edits beside which the API server takes nothing of ours (step S10)."""

from __future__ import annotations

from typing import Any

import pytest

from conformance.platforms import IGNORE, MANAGER, Lend, Platform, of, until
from controller_runtime import GroupVersionKind, Json, json_patch

SERVICE = GroupVersionKind("", "v1", "Service")
DEPLOYMENT = GroupVersionKind("apps", "v1", "Deployment")

WEB = """\
apiVersion: v1
kind: Service
metadata:
  name: web
  namespace: {{ source_ns | q }}
spec:
  selector: {app: web}
  ports:
  - {name: http, port: 80}
"""

TWO = f"{WEB}  - {{name: https, port: 443}}\n"

APP = """\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: app
  namespace: {{ source_ns | q }}
spec:
  replicas: 0
  selector: {matchLabels: {app: app}}
  template:
    metadata: {labels: {app: app}}
    spec:
      containers:
      - {name: app, image: example.com/app}
      volumes:
      - {name: cache, emptyDir: {}}
"""


async def by_hand(
    platform: Platform,
    gvk: GroupVersionKind,
    name: str,
    *operations: Json,
    manager: str = "kubectl-edit",
) -> Json:
    patch = json_patch(list(operations))
    return await platform.client.patch(
        gvk, name, platform.namespace, patch=patch, field_owner=manager
    )


def ports(service: Json) -> list[tuple[str, int]]:
    return [(port["name"], port["port"]) for port in service["spec"]["ports"]]


def replace(path: str, value: object) -> Json:
    return {"op": "replace", "path": path, "value": value}


def add(path: str, value: object) -> Json:
    return {"op": "add", "path": path, "value": value}


MOVED = replace("/spec/ports/0/port", 8080)
"""A port that is ours gets another number, which is its key."""


@pytest.mark.parametrize("manager", ["kubectl-edit", "kubectl-patch"])
async def test_an_edit_that_makes_an_apply_invalid_is_undone(
    lend: Lend, manager: str
) -> None:
    async with lend({"web": WEB}) as platform, platform.manager() as running:
        await platform.when("web", lambda o: ports(o) == [("http", 80)], SERVICE)

        edited = await by_hand(
            platform,
            SERVICE,
            "web",
            MOVED,
            add("/spec/ports/-", {"name": "own", "port": 9000}),
            add("/metadata/annotations", {"team": "red"}),
            add("/spec/selector/tier", "front"),
            manager=manager,
        )
        assert ports(edited) == [("http", 8080), ("own", 9000)]
        mended = await platform.when(
            "web", lambda o: ports(o) == [("http", 80)], SERVICE
        )

        await platform.event("OwnershipTaken", manager, "/spec/ports/0")
        await platform.event("DriftCorrected")
        assert mended["metadata"]["annotations"] == {"team": "red"}
        labels = of("Service", platform.namespace, "web")
        sample = running.metrics.registry.get_sample_value
        await until(lambda: sample("virt_platform_compliance_status", labels) == 1)
        assert not await platform.events("ApplyFailed")


async def test_a_volume_of_two_types_is_ours_again(lend: Lend) -> None:
    async with lend({"app": APP}) as platform, platform.manager():
        await platform.when("app", lambda o: True, DEPLOYMENT)

        spec = "/spec/template/spec"
        await by_hand(
            platform,
            DEPLOYMENT,
            "app",
            replace(f"{spec}/volumes/0", {"name": "cache", "configMap": {"name": "x"}}),
            add(f"{spec}/containers/0/env", [{"name": "DEBUG", "value": "1"}]),
        )
        mended = await platform.when(
            "app",
            lambda o: "emptyDir" in o["spec"]["template"]["spec"]["volumes"][0],
            DEPLOYMENT,
        )

        pod: Any = mended["spec"]["template"]["spec"]
        assert "configMap" not in pod["volumes"][0]
        assert pod["containers"][0]["env"] == [{"name": "DEBUG", "value": "1"}]
        await platform.event("OwnershipTaken", "kubectl-edit", f"{spec}/volumes/0")


async def test_what_others_wrote_is_left_and_the_object_fails(lend: Lend) -> None:
    async with lend({"web": WEB}) as platform, platform.manager():
        await platform.when("web", lambda o: ports(o) == [("http", 80)], SERVICE)

        await by_hand(platform, SERVICE, "web", MOVED, manager="another-operator")
        await platform.event("ApplyFailed", "spec.ports", "Duplicate value")

        assert ports(await platform.read("web", SERVICE)) == [("http", 8080)]
        assert not await platform.events("OwnershipTaken")


async def test_without_managers_to_override_nothing_is_taken(lend: Lend) -> None:
    async with (
        lend({"web": WEB}) as platform,
        platform.manager(override_managers=()),
    ):
        await platform.when("web", lambda o: ports(o) == [("http", 80)], SERVICE)

        await by_hand(platform, SERVICE, "web", MOVED)
        await platform.event("ApplyFailed", "spec.ports", "Duplicate value")

        assert ports(await platform.read("web", SERVICE)) == [("http", 8080)]


async def test_a_field_that_is_left_to_others_is_not_taken(lend: Lend) -> None:
    async with lend({"web": WEB}) as platform, platform.manager():
        await platform.when("web", lambda o: ports(o) == [("http", 80)], SERVICE)

        await by_hand(
            platform,
            SERVICE,
            "web",
            MOVED,
            add("/metadata/annotations", {IGNORE: "/spec/ports/[port=8080]"}),
        )
        await platform.event("ApplyFailed", "spec.ports", "Duplicate value")

        assert ports(await platform.read("web", SERVICE)) == [("http", 8080)]


async def test_where_drift_is_only_told_nothing_is_taken(lend: Lend) -> None:
    async with (
        lend({"web": WEB}, web={"drift": "warn"}) as platform,
        platform.manager(),
    ):
        await platform.when("web", lambda o: ports(o) == [("http", 80)], SERVICE)

        edited = await by_hand(platform, SERVICE, "web", MOVED)
        await platform.event("DriftDetected", "/spec/ports/0")

        assert await platform.read("web", SERVICE) == edited


@pytest.mark.parametrize("is_applied", [False, True], ids=["by nobody", "by others"])
async def test_an_object_from_before_anybody_applied_is_adopted(
    lend: Lend, is_applied: bool
) -> None:
    async with lend({"web": WEB}) as platform:
        metadata: Json = {"name": "web", "namespace": platform.namespace}
        head: Json = {"apiVersion": "v1", "kind": "Service", "metadata": metadata}
        old = {"selector": {"app": "old"}, "ports": [{"name": "http", "port": 1}]}
        await platform.client.create({**head, "spec": old})
        cleared = replace("/metadata/managedFields", [{}])
        await by_hand(platform, SERVICE, "web", cleared)
        if is_applied:
            metadata["labels"] = {"team": "red"}
            await platform.client.apply(head, field_owner="helm")

        async with platform.manager():
            await platform.when("web", lambda o: ports(o) == [("http", 80)], SERVICE)
            await platform.event("OwnershipTaken", "before-first-apply")


async def test_an_edit_while_nobody_looked_is_undone_after_a_restart(
    lend: Lend,
) -> None:
    async with lend({"web": WEB}) as platform:
        async with platform.manager():
            await platform.when("web", lambda o: ports(o) == [("http", 80)], SERVICE)
        await by_hand(platform, SERVICE, "web", MOVED)

        async with platform.manager():
            await platform.when("web", lambda o: ports(o) == [("http", 80)], SERVICE)
            await platform.event("OwnershipTaken", "kubectl-edit")


async def test_a_second_refusal_tells_of_both_and_takes_nothing_more(
    lend: Lend,
) -> None:
    async with lend({"web": TWO}) as platform:
        service = {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "web", "namespace": platform.namespace},
            "spec": {
                "selector": {"app": "web"},
                "ports": [{"name": "http", "port": 80}, {"name": "https", "port": 443}],
            },
        }
        await platform.client.apply(service, field_owner=MANAGER)
        await by_hand(platform, SERVICE, "web", MOVED)
        moved = replace("/spec/ports/1/port", 8443)
        await by_hand(platform, SERVICE, "web", moved, manager="another-operator")

        async with platform.manager():
            told = await platform.event("ApplyFailed", "kubectl-edit were taken over")

            assert told["note"].count("Duplicate value") >= 2
            live = await platform.read("web", SERVICE)
            assert ports(live) == [("http", 8080), ("https", 8443)]
            owners = {e["manager"] for e in live["metadata"]["managedFields"]}
            assert owners == {MANAGER, "another-operator"}
