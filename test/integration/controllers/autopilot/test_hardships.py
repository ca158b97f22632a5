"""The autopilot where things go wrong, on a real API server: nothing runs away."""

from __future__ import annotations

import asyncio
import json

import pytest

from conformance.platforms import (
    AUTOPILOT,
    CONFIG_MAP,
    DISABLED,
    DOMAIN,
    MANAGED_BY,
    PATCH,
    PAUSED,
    Lend,
    config_map,
    metric,
    of,
    rests,
    until,
)
from controller_runtime import (
    Call,
    GroupVersionKind,
    Json,
    Manager,
    NotFoundError,
    merge_patch,
)
from controller_runtime.testing.envtest import Environment
from controllers.autopilot.platformcrds import platform_crd
from controllers.autopilot.throttle import ThrottleOptions

REASON = f"{DOMAIN}/paused-reason"


async def test_a_reason_that_others_have_copied_does_not_end_the_throttle(
    lend: Lend,
) -> None:
    """A tool that applies what it once read would have corrections without end."""
    throttle = ThrottleOptions(capacity=2, window=60)
    async with lend() as platform, platform.manager(throttle=throttle):
        await platform.has("a")
        await platform.annotate("a", {REASON: "{}"})
        await platform.change("a", {"data": {"k": "1"}})
        await platform.has("a", data={"k": "v", "interval": "60"})

        await platform.change("a", {"data": {"k": "2"}})

        await platform.event("Throttled")
        assert len(platform.applies("a")) == 2


async def test_an_object_that_is_gone_when_it_is_paused_is_not_made_of_the_mark(
    lend: Lend,
) -> None:
    throttle = ThrottleOptions(capacity=1, window=60, spacing=0, threshold=1)
    async with lend() as platform, platform.manager(throttle=throttle):
        await platform.has("a")
        marks: list[str] = []

        def at_the_mark(call: Call) -> None:
            manager = call.params.get("fieldManager", "")
            if call.path.endswith("/a") and manager.endswith("-pause"):
                marks.append(bytes(call.body or b"").decode())

        platform.refuse = at_the_mark
        await platform.change("a", {"data": {"k": "1"}})
        paused = await platform.when(
            "a", lambda o: PAUSED in o["metadata"].get("annotations", {})
        )

        assert paused["metadata"]["uid"] in marks[0]


async def test_a_tombstone_is_looked_at_again_when_its_kind_has_come(
    lend: Lend, namespace: str, environment: Environment
) -> None:
    group = f"{namespace}.example.com"
    gvk = GroupVersionKind(group, "v1", "Relic")
    relic: Json = {
        "apiVersion": gvk.api_version,
        "kind": gvk.kind,
        "metadata": {
            "name": "old",
            "namespace": namespace,
            "labels": {MANAGED_BY: namespace},
        },
    }
    stones = {"old.yaml": json.dumps(relic)}
    async with lend(tombstones=stones) as platform, platform.manager() as manager:
        await platform.has("a")
        labels = of("Relic", namespace, "old")
        await until(lambda: metric(manager, "tombstone_status", **labels) == 0)

        async def in_time(call: Call) -> None:
            if call.method == "GET" and call.path.endswith("/relics/old"):
                platform.before = _nothing
                await platform.client.create(relic)

        platform.before = in_time
        await environment.install_crds(_crd(gvk))

        await platform.event("TombstoneDeleted", "Relic")
        with pytest.raises(NotFoundError):
            await platform.read("old", gvk)


async def test_the_status_of_what_a_template_asks_about_is_followed(
    lend: Lend, namespace: str, environment: Environment
) -> None:
    gvk = GroupVersionKind("cdi.kubevirt.io", "v1beta1", "StorageProfile")
    definition = await asyncio.to_thread(
        platform_crd, "storageprofiles.cdi.kubevirt.io"
    )
    await environment.install_crds(definition)
    template = config_map("a", k="PLACE").replace(
        '"PLACE"', "{{ storage_profile_rwx_class() | q }}"
    )
    async with lend({"a": template}) as platform, platform.manager():
        await platform.has("a", data={"k": ""})
        profile: Json = {
            "apiVersion": gvk.api_version,
            "kind": gvk.kind,
            "metadata": {"name": namespace},
        }
        await platform.client.create(profile)
        sets = [{"volumeMode": "Filesystem", "accessModes": ["ReadWriteMany"]}]

        await platform.client.patch(
            gvk,
            namespace,
            patch=merge_patch({"status": {"claimPropertySets": sets}}),
            subresource="status",
        )

        await platform.has("a", data={"k": namespace})
        await platform.client.delete(gvk, namespace)


async def test_what_is_switched_off_meanwhile_is_not_applied(lend: Lend) -> None:
    """The gate closes while the first of many assets is applied."""
    templates = {name: config_map(name, k="v") for name in ("a", "b", "c")}
    async with lend(templates) as platform, platform.manager() as manager:

        async def close(call: Call) -> None:
            if call in platform.applies("a"):
                await platform.annotate_source({AUTOPILOT: "false"})
                await until(lambda: _gate(manager) == "false")

        platform.before = close
        await until(lambda: rests(manager, "is off"))

        for name in ("b", "c"):
            with pytest.raises(NotFoundError):
                await platform.read(name)


async def _nothing(call: Call) -> None:
    del call


def _gate(manager: Manager) -> str:
    """Return the gate as the manager's cache has it."""
    (informer,) = (
        i for i in manager.cache if i.options.field_selector == "metadata.name=platform"
    )
    (entry,) = informer.list()
    return entry.meta.annotations[AUTOPILOT]


async def test_a_source_object_that_is_throttled_is_corrected_in_its_turn(
    lend: Lend,
) -> None:
    templates = {"self": config_map("platform", level="high")}
    throttle = ThrottleOptions(capacity=1, window=3)
    async with (
        lend(templates, self={"reconcile_order": 0, "phase": 0}) as platform,
        platform.manager(throttle=throttle),
    ):
        await platform.has("platform", data={"level": "high"})

        await platform.change("platform", {"data": {"level": "low"}})

        await platform.event("Throttled")
        await platform.has("platform", data={"level": "high"}, timeout=15)


async def test_what_an_asset_asked_about_is_let_go_of_with_it(lend: Lend) -> None:
    """Also where it made nothing, and so has no object to let go of."""
    text = (
        '{% if get_config_map_data(source_ns, "other", "k") %}\n'
        + config_map("a", k="v")
        + "{% endif %}\n"
    )
    templates = {"a": text, "b": config_map("b", k="v")}
    async with lend(templates) as platform, platform.manager() as manager:

        def follows() -> bool:
            fields = {i.options.field_selector for i in manager.cache}
            return "metadata.name=other" in fields

        await platform.has("b")
        await until(follows)

        await platform.annotate_source({AUTOPILOT: "b"})
        await until(lambda: not follows())
        await platform.annotate_source({AUTOPILOT: "true"})
        await until(follows)
        await platform.annotate_source({AUTOPILOT: None})
        await until(lambda: not follows())


async def test_a_patch_that_was_refused_is_tried_on_another_baseline(
    lend: Lend,
) -> None:
    """Whether the server takes it depends on what it is a patch of."""
    template = (
        config_map("a", k="v") + "immutable: {{ source.data.fixed | from_json }}\n"
    )
    text = json.dumps([{"op": "add", "path": "/data/x", "value": "1"}])
    async with lend({"a": template}) as platform:
        await platform.change("platform", {"data": {"fixed": "true"}})
        async with platform.manager():
            await platform.has("a", data={"k": "v"})
            await platform.annotate("a", {PATCH: text})
            await platform.event("InvalidPatch", "immutable")
            # Immutable for good: another object takes its place.
            await platform.change("platform", {"data": {"fixed": "false"}})
            # News of it and of the change come in any order, so maybe another one yet.
            while (await platform.when("a", lambda _: True)).get("immutable"):
                await platform.client.delete(CONFIG_MAP, "a", platform.namespace)
            await platform.annotate("a", {PATCH: text})

            await platform.has("a", data={"k": "v", "x": "1"})


async def test_a_paused_object_with_a_patch_that_is_refused_stays_paused(
    lend: Lend,
) -> None:
    async with lend() as platform, platform.manager() as manager:
        await platform.has("a")
        text = json.dumps([{"op": "add", "path": "/data/n", "value": {"a": 1}}])

        await platform.annotate("a", {PAUSED: "true", PATCH: text})

        labels = of("ConfigMap", platform.namespace, "a")
        await until(lambda: metric(manager, "compliance_status", **labels) == 0)
        await platform.annotate_source({DISABLED: "["})  # a witness
        await platform.event("InvalidExclusion")
        assert await platform.events("ApplyFailed") == []


def _crd(gvk: GroupVersionKind) -> Json:
    plural = f"{gvk.kind.lower()}s"
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{gvk.group}"},
        "spec": {
            "group": gvk.group,
            "scope": "Namespaced",
            "names": {"kind": gvk.kind, "plural": plural},
            "versions": [
                {
                    "name": gvk.version,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "schema": {
                        "openAPIV3Schema": {
                            "type": "object",
                            "x-kubernetes-preserve-unknown-fields": True,
                        }
                    },
                }
            ],
        },
    }
