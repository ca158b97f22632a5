"""The autopilot and kinds: CRDs that come and go, lists, facts, tombstones.

Numbers are those of the acceptance scenarios of the autopilot's specification. Each
test that needs a kind makes one in a group of its own.
"""

from __future__ import annotations

import json
import os
from typing import Any

import pytest

from conformance.platforms import (
    AUTOPILOT,
    CONFIG_MAP,
    DISABLED,
    IGNORE,
    MANAGED_BY,
    PATCH,
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
    GroupVersionKind,
    Json,
    NotFoundError,
    json_patch,
    merge_patch,
)
from controller_runtime.testing.envtest import Environment
from controllers.autopilot.kinds import NODE
from controllers.autopilot.lookups import CRD

LIST: Json = {"type": "array", "items": {"type": "string"}}
RULES: Json = {
    "type": "array",
    "items": {
        "type": "object",
        "required": ["name"],
        "properties": {name: {"type": "string"} for name in ("name", "interval")},
    },
    "x-kubernetes-list-type": "map",
    "x-kubernetes-list-map-keys": ["name"],
}


def crd(group: str, kind: str = "Gadget", *, enum: list[str] | None = None) -> Json:
    """Write a CRD with an atomic list, a keyed one and an enumeration."""
    level: Json = {"type": "string"} | ({"enum": enum} if enum else {})
    spec = {"arguments": LIST, "rules": RULES, "level": level}
    schema = {"type": "object", "properties": {"spec": _object(spec)}}
    plural = f"{kind.lower()}s"
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"kind": kind, "plural": plural},
            "versions": [
                {
                    "name": "v1",
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": schema},
                }
            ],
        },
    }


def _object(properties: Json) -> Json:
    return {"type": "object", "properties": properties}


def gadget(group: str, spec: Json, kind: str = "Gadget") -> str:
    """Write the template of an asset that makes a gadget `g`."""
    return (
        f"apiVersion: {group}/v1\nkind: {kind}\n"
        "metadata: {name: g, namespace: {{ source_ns | q }}}\n"
        f"spec: {json.dumps(spec)}\n"
    )


@pytest.fixture
def group(namespace: str) -> str:
    return f"{namespace}.example.com"


@pytest.fixture
def gvk(group: str) -> GroupVersionKind:
    return GroupVersionKind(group, "v1", "Gadget")


async def test_a_crd_that_comes_and_goes_starts_and_stops_its_asset(
    lend: Lend, group: str, gvk: GroupVersionKind, environment: Environment
) -> None:
    """Scenarios 38 and 39: in one process, and without a word of failure."""
    templates = {"g": gadget(group, {"level": "low"}), "a": config_map("a", k="v")}
    async with lend(templates) as platform, platform.manager() as manager:
        await platform.has("a")
        await platform.event("CRDMissing", f"gadgets.{group}", "soft")
        missing = {"group": group, "version": "v1", "kind": "Gadget"}
        assert metric(manager, "missing_dependency", **missing) == 1
        pid = os.getpid()

        await environment.install_crds(crd(group))
        await platform.has("g", gvk, spec={"level": "low"})
        await platform.event("CRDDiscovered", "for g")
        await platform.client.patch(
            gvk, "g", platform.namespace, patch=merge_patch({"spec": {"level": "x"}})
        )
        await platform.has("g", gvk, spec={"level": "low"})
        assert metric(manager, "missing_dependency", **missing) == 0
        labels = of("Gadget", platform.namespace, "g")
        await until(lambda: metric(manager, "compliance_status", **labels) == 1)

        await platform.client.delete(CRD, f"gadgets.{group}")
        await until(lambda: metric(manager, "compliance_status", **labels) is None)
        await until(lambda: gvk not in {informer.gvk for informer in manager.cache})
        await platform.change("a", {"data": {"k": "drifted"}})
        await platform.has("a", data={"k": "v"})

        await _installed(environment, crd(group))
        await platform.has("g", gvk, spec={"level": "low"})
        assert os.getpid() == pid
        failures = await platform.events("ApplyFailed")
        assert [event["note"] for event in failures] == []


async def _installed(environment: Environment, definition: Json) -> None:
    """Install a CRD that may still be on its way out."""
    name = definition["metadata"]["name"]
    async with environment.client() as client:
        await until(lambda: _is_gone(client.get(CRD, name)))
    await environment.install_crds(definition)


async def _is_gone(read: Any) -> bool:
    try:
        await read
    except NotFoundError:
        return True
    return False


async def test_without_the_crd_of_its_source_it_waits_and_says_so(
    lend: Lend, group: str, environment: Environment
) -> None:
    source = {
        "group": group,
        "kind": "Hub",
        "plural": "hubs",
        "versions": ["v2", "v1"],
        "name": "hub",
    }
    hub = GroupVersionKind(group, "v1", "Hub")
    async with (
        lend({"a": config_map("a", k="v")}, source=source) as platform,
        platform.manager() as manager,
    ):
        await until(lambda: rests(manager, "[+]", f"waits for the CRD hubs.{group}"))
        await environment.install_crds(crd(group, "Hub"))
        await until(lambda: rests(manager, "[+]", "waits for Hub"))

        # The manager understands v2 as well, which this server does not have.
        await platform.create_source({AUTOPILOT: "true"}, version="v1")
        await platform.has("a", data={"k": "v"})
        assert not await rests(manager, "waits")

        await platform.client.delete(hub, "hub", platform.namespace)
        await until(lambda: rests(manager, "waits for Hub"))
        await platform.client.delete(CRD, f"hubs.{group}")
        await until(lambda: rests(manager, "waits for the CRD"))


async def test_a_template_follows_the_schema_of_a_crd(
    lend: Lend, group: str, gvk: GroupVersionKind, environment: Environment
) -> None:
    """Scenario 50, with a kind of its own: the newest level that the CRD knows."""
    await environment.install_crds(crd(group, enum=["low"]))
    name = f"gadgets.{group}"
    template = (
        f"apiVersion: {group}/v1\nkind: Gadget\n"
        "metadata: {name: g, namespace: {{ source_ns | q }}}\n"
        "spec:\n"
        f'  level: {{{{ "high" if crd_has_enum("{name}", "spec.level", "high")'
        ' else "low" }}\n'
    )
    async with lend({"g": template}) as platform, platform.manager():
        await platform.has("g", gvk, spec={"level": "low"})

        await environment.install_crds(crd(group, enum=["low", "high"]))

        await platform.has("g", gvk, spec={"level": "high"})


async def test_items_of_lists_are_left_to_users_by_index_and_by_key(
    lend: Lend, group: str, gvk: GroupVersionKind, environment: Environment
) -> None:
    """Scenario 16: an atomic list is co-owned, an item with a key is let go of."""
    await environment.install_crds(crd(group))
    rules = [{"name": n, "interval": "1m"} for n in ("x", "y")]
    spec = {"arguments": ["one", "two"], "rules": rules}
    async with lend({"g": gadget(group, spec)}) as platform, platform.manager():
        await platform.has("g", gvk)
        fields = "/spec/arguments/0,/spec/rules/[name=y]/interval"
        await platform.annotate("g", {IGNORE: fields}, gvk)
        await platform.event("OwnershipReleased", "atomic", "/spec/arguments/0")

        await platform.client.patch(
            gvk,
            "g",
            platform.namespace,
            patch=json_patch(
                [
                    {"op": "replace", "path": "/spec/arguments/0", "value": "mine"},
                    {"op": "replace", "path": "/spec/rules/1/interval", "value": "9m"},
                    {"op": "replace", "path": "/spec/rules/0/interval", "value": "9m"},
                ]
            ),
        )
        fixed = await platform.when(
            "g", lambda o: o["spec"]["rules"][0]["interval"] == "1m", gvk
        )
        assert fixed["spec"]["arguments"] == ["mine", "two"]
        assert fixed["spec"]["rules"][1]["interval"] == "9m"

        await platform.client.patch(
            gvk,
            "g",
            platform.namespace,
            patch=json_patch(
                [{"op": "replace", "path": "/spec/arguments/1", "value": "x"}]
            ),
        )
        await platform.when(
            "g", lambda o: o["spec"]["arguments"] == ["mine", "two"], gvk
        )
        await platform.annotate("g", {IGNORE: None}, gvk)
        await platform.has("g", gvk, spec=spec)


async def test_sensitive_kinds_and_assets_take_no_patch(
    lend: Lend, group: str, environment: Environment
) -> None:
    """Scenario 8."""
    await environment.install_crds(crd(group, "MachineConfig"))
    kind = GroupVersionKind(group, "v1", "MachineConfig")
    templates = {
        "m": gadget(group, {"level": "low"}, "MachineConfig"),
        "s": config_map("s", k="v"),
    }
    async with (
        lend(templates, s={"sensitive": True}) as platform,
        platform.manager(),
    ):
        await platform.has("g", kind)
        await platform.has("s")
        level = json.dumps([{"op": "replace", "path": "/spec/level", "value": "x"}])
        await platform.annotate("g", {PATCH: level}, kind)
        await platform.event("InvalidPatch", "MachineConfig", "sensitive")
        data = json.dumps([{"op": "replace", "path": "/data/k", "value": "x"}])
        await platform.annotate("s", {PATCH: data})
        await platform.event("InvalidPatch", "ConfigMap", "sensitive")

        assert (await platform.read("g", kind))["spec"] == {"level": "low"}
        assert (await platform.read("s"))["data"] == {"k": "v"}


async def test_drift_of_an_asset_that_only_warns_is_told_and_left(lend: Lend) -> None:
    """Scenario 74."""
    async with lend(a={"drift": "warn"}) as platform, platform.manager() as manager:
        await platform.has("a")
        mine = await platform.change("a", {"data": {"interval": "1"}})
        await platform.event("DriftDetected", "/data/interval")

        labels = of("ConfigMap", platform.namespace, "a")
        await until(lambda: metric(manager, "compliance_status", **labels) == 0)
        assert (await platform.read("a"))["metadata"] == mine["metadata"]


async def test_tombstones_are_deleted_where_they_are_ours(
    lend: Lend, namespace: str
) -> None:
    """Scenarios 45, 46 and 48, and one that a finalizer holds up."""

    def stone(name: str) -> str:
        return json.dumps(
            {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {
                    "name": name,
                    "namespace": namespace,
                    "labels": {MANAGED_BY: namespace},
                },
            }
        )

    names = ("ours", "theirs", "held", "never")
    stones = {f"{name}.yaml": stone(name) for name in names}
    async with lend(tombstones=stones) as platform:
        label = {MANAGED_BY: namespace}
        await _make(platform, "ours", labels=label)
        await _make(platform, "theirs", labels={MANAGED_BY: "helm"})
        await _make(platform, "held", labels=label, finalizers=["example.com/hold"])
        async with platform.manager() as manager:
            await platform.event("TombstoneDeleted", "ours", "ours.yaml")
            await platform.event("TombstoneSkipped", "theirs")
            await platform.has("a")

            def status(name: str) -> float | None:
                labels = of("ConfigMap", namespace, name)
                return metric(manager, "tombstone_status", **labels)

            assert [status(name) for name in names] == [0, -2, 1, 0]
            await platform.client.patch(
                CONFIG_MAP,
                "held",
                namespace,
                patch=merge_patch({"metadata": {"finalizers": None}}),
            )
            await platform.touch()
            await until(lambda: status("held") == 0)
            assert len(await platform.events("TombstoneDeleted")) == 2
            assert await platform.read("theirs")


async def _make(platform: Platform, name: str, **metadata: Any) -> None:
    metadata |= {"name": name, "namespace": platform.namespace}
    obj = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}
    await platform.client.create(obj)


async def test_a_template_that_fails_fails_its_asset_alone(lend: Lend) -> None:
    """Scenario 58: what was applied stays, and the others go on."""
    broken = config_map("b", k="{{ source.data.key }}")
    templates = {"a": config_map("a", k="v"), "b": broken}
    async with lend(templates) as platform:
        await platform.change("platform", {"data": {"key": "v"}})
        async with platform.manager() as manager:
            await platform.has("b", data={"k": "v"})

            await platform.change("platform", {"data": {"key": None, "other": "x"}})
            await platform.event("RenderFailed", "b")
            await platform.event("ReconcileFailed", "1/2")
            labels = of("ConfigMap", platform.namespace, "b")
            assert metric(manager, "compliance_status", **labels) == 0
            assert (await platform.read("b"))["data"] == {"k": "v"}
            await platform.change("a", {"data": {"k": "drifted"}})
            await platform.has("a", data={"k": "v"})

            await platform.change("platform", {"data": {"key": "w"}})
            await platform.has("b", data={"k": "w"})


async def test_what_the_server_says_about_a_secret_is_told_to_nobody(
    lend: Lend,
) -> None:
    secret = (
        "apiVersion: v1\nkind: Secret\n"
        "metadata: {name: s, namespace: {{ source_ns | q }}}\n"
        "type: kubernetes.io/tls\nstringData: {tls.crt: hidden-word}\n"
    )
    async with lend({"s": secret}) as platform, platform.manager():
        event = await platform.event("ApplyFailed", "Secret", "withheld")
        await platform.event("ReconcileFailed", "withheld")

        assert "Invalid" in event["note"]
        assert "tls" not in event["note"]


async def test_the_source_object_is_managed_first_and_read_as_it_then_is(
    lend: Lend,
) -> None:
    """Its own asset comes before all others, which read what that made of it."""
    templates = {
        "a": config_map("a", k="{{ source.data.level }}"),
        "self": config_map("platform", level="high"),
    }
    async with (
        lend(templates, self={"reconcile_order": 0, "phase": 0}) as platform,
        platform.manager(),
    ):
        await platform.has("a", data={"k": "high"})
        source = await platform.read("platform")
        assert source["metadata"]["labels"] == {MANAGED_BY: platform.namespace}

        await platform.annotate("platform", {IGNORE: "/data/level"})
        await platform.change("platform", {"data": {"level": "low"}})
        await platform.has("a", data={"k": "low"})

        await platform.annotate("platform", {IGNORE: None})
        await platform.has("a", data={"k": "high"})


async def test_what_a_template_asks_about_is_followed(lend: Lend) -> None:
    """Scenario 52, in part: an object that others write decides what is applied."""
    template = config_map("a", k="PLACE").replace(
        '"PLACE"', '{{ get_config_map_data(source_ns, "other", "k") | q }}'
    )
    async with lend({"a": template}) as platform, platform.manager():
        await platform.has("a", data={"k": ""})
        await platform.apply_as("bob", "other", data={"k": "one"})
        await platform.has("a", data={"k": "one"})
        await platform.change("other", {"data": {"k": "two"}})
        await platform.has("a", data={"k": "two"})


async def test_facts_come_from_nodes_that_nobody_labelled_as_ours(
    lend: Lend, namespace: str
) -> None:
    """Scenario 57, with the real cache: Nodes are not read by our label (E1)."""
    label = f"{namespace}/gpu"
    rule = {
        "name": "gpu",
        "description": "A Node has one.",
        "labels": [{"key": label, "value": "true"}],
    }
    condition = {"type": "hardware-detection", "detector": "gpu"}
    more = {"a": {"install": "opt-in", "conditions": [condition]}}
    templates = {name: config_map(name, k="v") for name in ("a", "b")}
    async with lend(templates, facts=[rule], **more) as platform, platform.manager():
        await platform.has("b")
        with pytest.raises(NotFoundError):
            await platform.read("a")

        node = {"name": namespace, "labels": {label: "true"}}
        await platform.client.create(
            {"apiVersion": "v1", "kind": "Node", "metadata": node}
        )

        await platform.has("a", data={"k": "v"})
        await platform.client.delete(NODE, namespace)


async def test_assets_are_applied_in_the_order_of_the_catalogue(lend: Lend) -> None:
    """Scenario 61: by `reconcile_order`, then as written."""
    names = ["z", "m", "a", "k", "b"]
    templates = {name: config_map(name, k="v") for name in names}
    async with (
        lend(templates, z={"reconcile_order": 3}, b={"reconcile_order": 2}) as platform,
        platform.manager(),
    ):
        await platform.has("z")
        order = [c.info.name for c in platform.calls if c.method == "PATCH"]
        assert [n for n in order if n in names] == ["m", "a", "k", "b", "z"]


async def test_equal_changes_of_others_are_a_conflict_no_more(lend: Lend) -> None:
    """Scenario 14: what was released can be applied by another manager, unforced."""
    async with lend() as platform, platform.manager():
        await platform.has("a")
        with pytest.raises(ConflictError):
            await platform.apply_as("bob", "a", data={"k": "x"})
        await platform.annotate("a", {IGNORE: "/data/k"})
        await platform.event("OwnershipReleased", "/data/k")

        applied = await platform.apply_as("bob", "a", data={"k": "x"})

        assert applied["data"] == {"k": "x", "interval": "60"}
        await platform.annotate_source({DISABLED: "["})  # a witness
        await platform.event("InvalidExclusion")
        assert (await platform.read("a"))["data"]["k"] == "x"
