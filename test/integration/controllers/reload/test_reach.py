"""What reaches a workload on a real API server: keys, namespaces, kinds from outside.

A reload is a change of a pod template here; that a change does not reload is shown by
a later one of the same source that does, and by the record, which it finds alone.
"""

from __future__ import annotations

from base64 import b64encode

from api.core.v1 import ConfigMap, Secret
from conformance.reloads import (
    AUTO,
    EVENT,
    IMAGE,
    NAMED,
    SECONDS,
    Shop,
    record,
)
from controller_runtime import (
    GroupVersionKind,
    Json,
    merge_patch,
)
from controller_runtime.testing.eventually import eventually, eventually_list
from controllers.reload.sources.hashing import Hashing, MarkerHash
from controllers.reload.workloads import ExtraWorkload

CRD = GroupVersionKind("apiextensions.k8s.io", "v1", "CustomResourceDefinition")
NAMESPACE = GroupVersionKind("", "v1", "Namespace")
BY_KEYS = AUTO | {"reloader.stakater.com/scope": "keys"}


def markers(obj: Json) -> dict[str, str]:
    first = obj["spec"]["template"]["spec"]["containers"][0]
    env = first.get("env", [])
    return {one["name"]: one["value"] for one in env if "value" in one}


def _is_established(crd: Json) -> bool:
    conditions = crd.get("status", {}).get("conditions") or ()
    return ("Established", "True") in {(c["type"], c["status"]) for c in conditions}


def data(**values: str) -> Json:
    """Write what a Secret holds."""
    return {"data": {k: b64encode(v.encode()).decode() for k, v in values.items()}}


async def reload_events(shop: Shop, count: int) -> list[Json]:
    """Return the Events of reloads and problems, when there are so many."""

    def ours(events: list[Json]) -> list[Json]:
        return [
            event
            for event in events
            if event["reason"] in {"Reloaded", "InvalidReloadAnnotation"}
        ]

    found = await eventually_list(
        *(shop.client, EVENT, shop.namespace),
        lambda events: len(ours(events)) >= count,
        timeout=SECONDS,
    )
    return ours(found)


def pod(**of_container: object) -> Json:
    return {"containers": [{"name": "app", "image": IMAGE, **of_container}]}


async def test_by_keys_a_deployment_reloads_for_those_that_it_uses(shop: Shop) -> None:
    """A7, #786."""
    await shop.create(Secret.gvk, "s", **data(**{"used": "1", "not": "1"}))
    uses = {"secretKeyRef": {"name": "s", "key": "used"}}
    wanted = pod(env=[{"name": "V", "valueFrom": uses}])
    await shop.workload("web", BY_KEYS, pod=wanted)

    async with shop.manager():
        before = record(await shop.when("web", record))
        await shop.patch(Secret.gvk, "s", data(**{"not": "2"}))
        await shop.patch(Secret.gvk, "s", data(used="2"))
        after = await shop.when("web", markers)
        await shop.patch(Secret.gvk, "s", data(**{"not": "3"}))
        await shop.patch(Secret.gvk, "s", data(used="3"))
        last = await shop.when(
            "web", lambda obj: record(obj) not in (before, record(after))
        )
        events = await reload_events(shop, 2)

    assert markers(last).keys() == {"STAKATER_S_SECRET"}
    assert len(events) == 2


async def test_a_switch_of_hashes_writes_records_and_no_templates(shop: Shop) -> None:
    """A18, C7."""
    await shop.sources("cm/c")
    await shop.workload("web", AUTO, uses=["cm/c"])
    async with shop.manager():
        await shop.when("web", record)
        await shop.change("cm/c", "2")
        plain = await shop.when("web", markers)

    async with shop.manager(hashing=Hashing(marker=MarkerHash.SHA256)):
        await shop.change("cm/c", "3")
        strong = await shop.when("web", lambda obj: markers(obj) != markers(plain))
    async with shop.manager(hashing=Hashing(keys=(b"0123456789abcdef",))):
        keyed = await shop.when("web", lambda obj: record(obj) != record(strong))
        await shop.change("cm/c", "4")
        last = await shop.when("web", lambda obj: markers(obj) != markers(strong))

    assert {len(hash_) for hash_ in markers(strong).values()} == {64}
    assert keyed["spec"]["template"] == strong["spec"]["template"]
    assert record(last)["cm/c"].startswith(record(keyed)["cm/c"].partition(":")[0])
    assert len(await reload_events(shop, 3)) == 3


async def test_a_source_of_another_namespace_reloads(shop: Shop) -> None:
    """A17, #578."""
    ops = f"{shop.namespace}-ops"
    both = (shop.namespace, ops)
    metadata = {"name": ops}
    await shop.client.create(
        {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}
    )
    try:
        await shop.create(ConfigMap.gvk, "c", namespace=ops, data={"k": "1"})
        await shop.workload("web", {NAMED["cm"]: f"{ops}/c"})
        async with shop.manager():
            (refused,) = await reload_events(shop, 1)
        async with shop.manager(namespaces=both, allow_cross_namespace=True):
            adopted = await shop.when("web", record)
            patch = merge_patch({"data": {"k": "2"}})
            await shop.client.patch(ConfigMap.gvk, "c", ops, patch=patch)
            await shop.when("web", markers)
    finally:
        await shop.client.delete(NAMESPACE, ops)

    assert refused["reason"] == "InvalidReloadAnnotation"
    assert "--allow-cross-namespace" in refused["note"]
    assert record(adopted).keys() == {f"cm/{ops}/c"}


async def test_a_kind_from_outside_reloads(shop: Shop) -> None:
    """#493: unknown fields, a container without a name, a path of its own."""
    group = f"{shop.namespace}.example.com"
    kind = GroupVersionKind(group, "v1", "Engine")
    free = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {"name": "v1", "served": True, "storage": True}
    await shop.client.create(
        {
            "apiVersion": CRD.api_version,
            "kind": CRD.kind,
            "metadata": {"name": f"engines.{group}"},
            "spec": {
                "group": group,
                "names": {"kind": "Engine", "plural": "engines"},
                "scope": "Namespaced",
                "versions": [version | {"schema": {"openAPIV3Schema": free}}],
            },
        }
    )
    await eventually(
        *(shop.client, CRD, f"engines.{group}", ""),
        _is_established,
    )
    try:
        await shop.sources("cm/c")
        uses = [{"configMapRef": {"name": "c"}}]
        pod = {"containers": [{"image": "x", "envFrom": uses}], "fuel": "hay"}
        spec = {"parts": {"engine": {"spec": pod}}, "template": {"not": "this"}}
        await shop.create(kind, "web", AUTO, spec=spec)
        extra = ExtraWorkload.parse(f"{group}/v1/Engine:.spec.parts.engine")
        async with shop.manager(extra_workloads=(extra,)):
            await shop.when("web", record, kind)
            await shop.change("cm/c", "2")
            engine = await shop.when(
                "web", lambda obj: obj["spec"]["parts"] != spec["parts"], kind
            )
            (event,) = await reload_events(shop, 1)
    finally:
        await shop.client.delete(CRD, f"engines.{group}")

    (container,) = engine["spec"]["parts"]["engine"]["spec"].pop("containers")
    (marker,) = container.pop("env")
    assert marker["name"] == "STAKATER_C_CONFIGMAP"
    assert container == {"image": "x", "envFrom": uses}
    assert engine["spec"]["parts"]["engine"]["spec"] == {"fuel": "hay"}
    assert event["regarding"]["apiVersion"] == f"{group}/v1"
