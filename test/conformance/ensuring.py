"""Bringing an object about, on any API server.

A test gets a `client` and a `namespace` of its own.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import pytest
from pydantic import Field

from conformance.kit import deployment
from controller_runtime.client import Client
from controller_runtime.controllerutil import (
    MutationError,
    OperationResult,
    create_or_apply,
    create_or_patch,
    create_or_update,
)
from controller_runtime.errors import ConflictError
from controller_runtime.managedfields import is_applied
from controller_runtime.meta import GroupVersionKind, Json, KubeObject, ObjectMeta
from controller_runtime.ownership import set_controller_reference
from controller_runtime.patch import merge_patch

CREATED, UNCHANGED = OperationResult.CREATED, OperationResult.UNCHANGED
UPDATED = OperationResult.UPDATED

POD = GroupVersionKind("", "v1", "Pod")
DEPLOYMENT = GroupVersionKind("apps", "v1", "Deployment")


class ConfigMap(KubeObject):
    gvk: ClassVar = GroupVersionKind("", "v1", "ConfigMap")

    data: Mapping[str, str] = Field(default_factory=dict)


def config_map(namespace: str, name: str = "web", **data: str) -> ConfigMap:
    return ConfigMap(metadata=ObjectMeta(name=name, namespace=namespace), data=data)


def with_data(**data: str) -> Callable[[ConfigMap], ConfigMap]:
    def mutate(obj: ConfigMap) -> ConfigMap:
        return obj.model_copy(update={"data": {**obj.data, **data}})

    return mutate


ENSURE = pytest.mark.parametrize("ensure", [create_or_update, create_or_patch])


@ENSURE
async def test_an_object_is_created_then_left_alone_then_changed(
    client: Client, namespace: str, ensure: Any
) -> None:
    it = config_map(namespace)

    created = await ensure(client, it, with_data(a="1"))
    unchanged = await ensure(client, it, with_data(a="1"))
    updated = await ensure(client, it, with_data(b="2"))

    assert [created.result, unchanged.result, updated.result] == [
        CREATED,
        UNCHANGED,
        UPDATED,
    ]
    assert unchanged.obj == created.obj
    assert updated.obj.data == {"a": "1", "b": "2"}
    assert updated.obj == await client.get(ConfigMap, "web", namespace)


@ENSURE
async def test_an_object_without_a_model_may_be_changed_in_place(
    client: Client, namespace: str, ensure: Any
) -> None:
    it = deployment("web")
    it["metadata"]["namespace"] = namespace
    given = copy.deepcopy(it)

    def mutate(obj: Json) -> Json:
        obj["spec"]["minReadySeconds"] = 7
        return obj

    created = await ensure(client, it, mutate)
    unchanged = await ensure(client, it, mutate)

    assert (created.result, unchanged.result) == (CREATED, UNCHANGED)
    assert created.obj["spec"]["minReadySeconds"] == 7
    assert it == given


@ENSURE
async def test_an_object_cannot_be_made_another_one(
    client: Client, namespace: str, ensure: Any
) -> None:
    def rename(obj: ConfigMap) -> ConfigMap:
        metadata = obj.metadata.model_copy(update={"name": "other"})
        return obj.model_copy(update={"metadata": metadata})

    with pytest.raises(MutationError, match="must leave kind, name and namespace"):
        await ensure(client, config_map(namespace), rename)
    await ensure(client, config_map(namespace), with_data(a="1"))
    with pytest.raises(MutationError):
        await ensure(client, config_map(namespace), rename)


@ENSURE
async def test_an_owner_is_set_on_the_way(
    client: Client, namespace: str, ensure: Any
) -> None:
    owner = await client.create(config_map(namespace, "owner"))

    def adopt(obj: ConfigMap) -> ConfigMap:
        return set_controller_reference(owner, obj)

    created = await ensure(client, config_map(namespace), adopt)
    owned = await ensure(client, config_map(namespace), adopt)

    assert (created.result, owned.result) == (CREATED, UNCHANGED)
    (reference,) = owned.obj.metadata.model_extra["ownerReferences"]
    assert reference["uid"] == owner.metadata.uid
    assert reference["controller"]
    assert reference["blockOwnerDeletion"]


async def test_who_writes_in_between_is_not_overwritten(
    client: Client, namespace: str
) -> None:
    await client.create(config_map(namespace, a="1"))
    tries = []

    async def interfere() -> None:
        patch = merge_patch({"data": {"theirs": "yes"}})
        await client.patch(ConfigMap, "web", namespace, patch=patch)

    class Racing(Client):
        async def update(self, obj: Any, **options: Any) -> Any:
            tries.append(dict(obj.data))
            if len(tries) == 1:
                await interfere()
            return await super().update(obj, **options)

    racing = Racing(client.transport, scheme=client.scheme)

    ensured = await create_or_update(racing, config_map(namespace), with_data(b="2"))

    assert ensured.result is UPDATED
    assert ensured.obj.data == {"a": "1", "b": "2", "theirs": "yes"}
    assert len(tries) == 2


async def test_the_second_conflict_is_raised(client: Client, namespace: str) -> None:
    await client.create(config_map(namespace, a="0"))

    class Racing(Client):
        async def update(self, obj: Any, **options: Any) -> Any:
            patch = merge_patch({"data": {"a": obj.metadata.resource_version}})
            await client.patch(ConfigMap, "web", namespace, patch=patch)
            return await super().update(obj, **options)

    racing = Racing(client.transport, scheme=client.scheme)

    with pytest.raises(ConflictError):
        await create_or_update(racing, config_map(namespace), with_data(b="2"))


@ENSURE
async def test_an_object_that_the_reader_does_not_know_yet_is_changed(
    client: Client, namespace: str, ensure: Any
) -> None:
    class Late(Client):
        """Reads what was there before anything was written."""

        async def get(self, kind: Any, name: str, namespace: str = "", **_: Any) -> Any:
            return await super().get(kind, "missing", namespace)

    await client.create(config_map(namespace, a="1"))
    late = Late(client.transport, scheme=client.scheme)

    ensured = await ensure(late, config_map(namespace), with_data(b="2"))

    assert ensured.result is UPDATED
    assert ensured.obj.data == {"a": "1", "b": "2"}


async def test_a_patch_leaves_what_others_write_in_between(
    client: Client, namespace: str
) -> None:
    await client.create(config_map(namespace, a="1"))

    class Racing(Client):
        async def patch(self, *args: Any, **options: Any) -> Any:
            theirs = merge_patch({"data": {"theirs": "yes"}})
            await client.patch(ConfigMap, "web", namespace, patch=theirs)
            return await super().patch(*args, **options)

    racing = Racing(client.transport, scheme=client.scheme)

    ensured = await create_or_patch(racing, config_map(namespace), with_data(b="2"))

    assert ensured.obj.data == {"a": "1", "b": "2", "theirs": "yes"}


async def test_a_patch_tells_whether_the_object_or_its_status_changed(
    client: Client, namespace: str
) -> None:
    container = {"name": "main", "image": "registry.example/main:1"}
    pod: Json = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "web", "namespace": namespace},
        "spec": {"nodeName": "nowhere", "containers": [container]},
    }

    async def ensure(label: str, message: str) -> tuple[str, Json]:
        def mutate(obj: Json) -> Json:
            obj["metadata"]["labels"] = {"a": label}
            obj["status"] = {**obj.get("status", {}), "message": message}
            return obj

        obj, result = await create_or_patch(client, pod, mutate)
        return result, obj

    results = [
        (await ensure(label, message))[0]
        for label, message in map(tuple, ("1x", "1x", "1x", "2x", "2y", "3z"))
    ]
    _, left = await ensure("3", "z")

    assert results == [
        "created",  # without its status
        "updatedStatusOnly",
        "unchanged",
        "updated",
        "updatedStatusOnly",
        "updatedStatus",
    ]
    assert left["metadata"]["labels"] == {"a": "3"}
    assert left["status"]["message"] == "z"


def wanted(namespace: str, image: str = "registry.example/main:1") -> Json:
    """Return what an operator has to say about a Deployment."""
    labels = {"app": "web"}
    ports = [
        {"containerPort": 80, "protocol": "TCP", "name": "http"},
        {"containerPort": 53, "protocol": "UDP"},
    ]
    container = {
        "name": "main",
        "image": image,
        "args": ["--a", "--b"],
        "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}],
        "ports": ports,
        "securityContext": {"capabilities": {"drop": ["ALL"]}},
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],  # noqa: S108 - a mount
    }
    volumes = [{"name": "tmp", "emptyDir": {}}]
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": "web",
            "namespace": namespace,
            "labels": labels,
            "finalizers": ["example.com/one", "example.com/two"],
        },
        "spec": {
            "replicas": 0,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [container], "volumes": volumes},
            },
        },
    }


def without(obj: Json, *path: str | int) -> Json:
    """Return a copy without the field at `path`."""
    copied = copy.deepcopy(obj)
    parent: Any = copied
    for step in path[:-1]:
        parent = parent[step]
    del parent[path[-1]]
    return copied


CONTAINER = ("spec", "template", "spec", "containers", 0)


async def test_what_is_applied_is_not_sent_again(
    client: Client, namespace: str
) -> None:
    sent = []

    class Counting(Client):
        async def apply(self, obj: Any, **options: Any) -> Any:
            sent.append(obj)
            return await super().apply(obj, **options)

    counting = Counting(client.transport, scheme=client.scheme)
    it = wanted(namespace)

    created = await create_or_apply(counting, it)
    unchanged = await create_or_apply(counting, it)
    updated = await create_or_apply(counting, wanted(namespace, "other:2"))

    assert [created.result, unchanged.result, updated.result] == [
        CREATED,
        UNCHANGED,
        UPDATED,
    ]
    assert len(sent) == 2
    assert (
        updated.obj["spec"]["template"]["spec"]["containers"][0]["image"] == "other:2"
    )


@pytest.mark.parametrize(
    "path",
    [
        ("metadata", "labels"),
        ("metadata", "finalizers", 1),
        (*CONTAINER, "args"),
        (*CONTAINER, "args", 0),
        (*CONTAINER, "env", 0),
        (*CONTAINER, "env", 1, "value"),
        (*CONTAINER, "ports", 1),
        (*CONTAINER, "ports", 0, "name"),
        (*CONTAINER, "securityContext"),
        (*CONTAINER, "volumeMounts"),
    ],
)
async def test_what_is_no_longer_wanted_is_removed(
    client: Client, namespace: str, path: tuple[str | int, ...]
) -> None:
    await create_or_apply(client, wanted(namespace))
    less = without(wanted(namespace), *path)

    ensured = await create_or_apply(client, less)
    again = await create_or_apply(client, less)

    assert (ensured.result, again.result) == (UPDATED, UNCHANGED)


async def test_what_another_has_changed_is_taken_back(
    client: Client, namespace: str
) -> None:
    await create_or_apply(client, wanted(namespace))
    theirs = merge_patch({"spec": {"replicas": 1, "paused": True}})
    await client.patch(
        DEPLOYMENT, "web", namespace, patch=theirs, field_owner="somebody"
    )

    with pytest.raises(ConflictError):
        await create_or_apply(client, wanted(namespace), force=False)
    ensured = await create_or_apply(client, wanted(namespace))

    assert ensured.result is UPDATED
    assert ensured.obj["spec"]["replicas"] == 0
    assert ensured.obj["spec"]["paused"]  # we never had an opinion on that


async def test_what_another_has_added_is_none_of_ours(
    client: Client, namespace: str
) -> None:
    await create_or_apply(client, wanted(namespace))
    theirs = merge_patch({"metadata": {"annotations": {"theirs": "yes"}}})
    live = await client.patch(
        DEPLOYMENT, "web", namespace, patch=theirs, field_owner="somebody"
    )

    assert is_applied(wanted(namespace), live, manager=client.field_owner)
    assert not is_applied(wanted(namespace), live, manager="somebody")


async def test_another_order_is_applied(client: Client, namespace: str) -> None:
    await create_or_apply(client, wanted(namespace))
    other = wanted(namespace)
    other["spec"]["template"]["spec"]["containers"][0]["env"].reverse()

    ensured = await create_or_apply(client, other)

    env = ensured.obj["spec"]["template"]["spec"]["containers"][0]["env"]
    assert [entry["name"] for entry in env] == ["B", "A"]
    assert ensured.result is UPDATED


async def test_a_model_is_applied_likewise(client: Client, namespace: str) -> None:
    it = config_map(namespace, a="1")

    results = [(await create_or_apply(client, it)).result for _ in range(2)]

    assert results == [CREATED, UNCHANGED]


async def test_what_was_stripped_proves_nothing_and_the_server_is_asked(
    client: Client, namespace: str
) -> None:
    sent = []

    class Stripping(Client):
        async def get(self, *args: Any, **options: Any) -> Any:
            found = await super().get(*args, **options)
            del found["metadata"]["managedFields"]
            return found

        async def apply(self, obj: Any, **options: Any) -> Any:
            sent.append(obj)
            return await super().apply(obj, **options)

    stripping = Stripping(client.transport, scheme=client.scheme)
    metadata = {"name": "web", "namespace": namespace}
    it: Json = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}
    it["data"] = {"a": "1"}

    results = [(await create_or_apply(stripping, it)).result for _ in range(2)]

    assert results == [CREATED, UNCHANGED]
    assert len(sent) == 2
