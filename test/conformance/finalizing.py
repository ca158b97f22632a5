"""Finalizers that are added, run and removed on any API server.

A test gets a `client` and a `namespace` of its own.
"""

from __future__ import annotations

from datetime import timedelta

import pytest

from conformance.ensuring import ConfigMap
from controller_runtime.client import Client
from controller_runtime.errors import ConflictError, NotFoundError
from controller_runtime.finalizer import (
    Finalizers,
    FinalizersError,
    Unfinished,
    finalizers_of,
)
from controller_runtime.meta import GroupVersionKind, Json, ObjectMeta
from controller_runtime.patch import merge_patch

KEY, OTHER = "example.com/volume", "example.com/address"


class Undo:
    """Notes which objects it was asked to undo."""

    def __init__(self, answer: object = None) -> None:
        self.seen: list[str] = []
        self.answer = answer

    async def __call__(
        self, obj: ConfigMap
    ) -> ConfigMap | Unfinished[ConfigMap] | None:
        self.seen.append(obj.metadata.name)
        if isinstance(self.answer, Exception):
            raise self.answer
        assert self.answer is None or isinstance(self.answer, Unfinished)
        return self.answer


async def made(client: Client, namespace: str) -> ConfigMap:
    metadata = ObjectMeta(name="web", namespace=namespace)
    return await client.create(ConfigMap(metadata=metadata, data={"a": "b"}))


async def deleted(client: Client, obj: ConfigMap) -> ConfigMap:
    """Ask for the end of an object that finalizers hold; return it as it is then."""
    namespace, name = obj.key
    await client.delete(ConfigMap, name, namespace)
    return await client.get(ConfigMap, name, namespace)


async def test_a_live_object_gets_what_is_missing_and_is_left_alone_then(
    client: Client, namespace: str
) -> None:
    undo = Undo()
    registry = Finalizers({KEY: undo, OTHER: undo})

    first = await registry.apply(client, await made(client, namespace))
    second = await registry.apply(client, first.obj)

    assert finalizers_of(first.obj) == (KEY, OTHER)
    assert first.obj.data == {"a": "b"}
    assert not first.is_deleting
    assert second.obj is first.obj
    assert undo.seen == []


async def test_finalizers_of_others_stay(client: Client, namespace: str) -> None:
    it = await made(client, namespace)
    foreign = merge_patch({"metadata": {"finalizers": ["example.com/foreign"]}})
    it = await client.patch(ConfigMap, "web", namespace, patch=foreign)
    registry = Finalizers({KEY: Undo()})

    held = await registry.apply(client, it)
    gone = await registry.apply(client, await deleted(client, held.obj))

    assert finalizers_of(held.obj) == ("example.com/foreign", KEY)
    assert finalizers_of(gone.obj) == ("example.com/foreign",)
    nobody = merge_patch({"metadata": {"finalizers": None}})
    await client.patch(ConfigMap, "web", namespace, patch=nobody)


async def test_what_was_done_lets_the_object_go(client: Client, namespace: str) -> None:
    undo = Undo()
    registry = Finalizers({KEY: undo, OTHER: undo})
    held = await registry.apply(client, await made(client, namespace))

    gone = await registry.apply(client, await deleted(client, held.obj))

    assert gone.is_deleting
    assert undo.seen == ["web", "web"]
    with pytest.raises(NotFoundError):
        await client.get(ConfigMap, "web", namespace)


async def test_what_is_unfinished_holds_it_and_is_asked_again(
    client: Client, namespace: str
) -> None:
    slow = Undo(Unfinished(after=timedelta(seconds=30)))
    registry = Finalizers({KEY: slow, OTHER: Undo()})
    held = await registry.apply(client, await made(client, namespace))

    first = await registry.apply(client, await deleted(client, held.obj))
    slow.answer = None
    await registry.apply(client, first.obj)

    assert finalizers_of(first.obj) == (KEY,)
    assert first.after == timedelta(seconds=30)
    assert slow.seen == ["web", "web"]
    with pytest.raises(NotFoundError):
        await client.get(ConfigMap, "web", namespace)


async def test_an_error_keeps_its_finalizer_and_no_other(
    client: Client, namespace: str
) -> None:
    broken, last = Undo(OSError("no way")), Undo()
    registry = Finalizers({KEY: broken, OTHER: last})
    held = await registry.apply(client, await made(client, namespace))

    with pytest.raises(FinalizersError) as caught:
        await registry.apply(client, await deleted(client, held.obj))

    assert [str(error) for error in caught.value.exceptions] == ["no way"]
    left = await client.get(ConfigMap, "web", namespace)
    assert finalizers_of(left) == (KEY,)
    broken.answer = None
    await registry.apply(client, left)


async def test_an_object_that_has_changed_since_is_not_written(
    client: Client, namespace: str
) -> None:
    it = await made(client, namespace)
    await client.patch(
        ConfigMap, "web", namespace, patch=merge_patch({"data": {"c": "d"}})
    )

    with pytest.raises(ConflictError):
        await Finalizers({KEY: Undo()}).apply(client, it)

    assert finalizers_of(await client.get(ConfigMap, "web", namespace)) == ()


async def test_an_object_that_went_meanwhile_is_no_error(
    client: Client, namespace: str
) -> None:
    registry = Finalizers({KEY: Undo()})
    held = await registry.apply(client, await made(client, namespace))
    leaving = await deleted(client, held.obj)
    await registry.apply(client, leaving)

    again = await registry.apply(client, leaving)

    assert again.is_deleting


async def test_the_status_is_written_before_the_object_goes(
    client: Client, namespace: str
) -> None:
    async def note(obj: Json) -> Json:
        return {**obj, "status": {**obj["status"], "message": "undone"}}

    kind = GroupVersionKind("", "v1", "Pod")
    container = {"name": "main", "image": "registry.example/main:1"}
    pod = await client.create(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "web", "namespace": namespace},
            "spec": {"nodeName": "nowhere", "containers": [container]},
        }
    )
    registry = Finalizers({KEY: note, OTHER: _unfinished})
    held = await registry.apply(client, pod)
    await client.delete(kind, "web", namespace, grace_period_seconds=0)

    left = await registry.apply(client, await client.get(kind, "web", namespace))

    assert finalizers_of(held.obj) == (KEY, OTHER)
    assert finalizers_of(left.obj) == (OTHER,)
    assert left.obj["status"]["message"] == "undone"
    nobody = merge_patch({"metadata": {"finalizers": None}})
    await client.patch(kind, "web", namespace, patch=nobody)


async def _unfinished(obj: Json) -> Unfinished[Json]:
    return Unfinished()
