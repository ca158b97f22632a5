"""Functions as reconcilers."""

from __future__ import annotations

from typing import ClassVar, TypeVar

import pytest

from controller_runtime.errors import NotFoundError
from controller_runtime.meta import GroupVersionKind, KubeObject, ObjectMeta
from controller_runtime.reconcile import Request, Result, reconciles_objects

T = TypeVar("T", bound=KubeObject)


class Widget(KubeObject):
    gvk: ClassVar[GroupVersionKind] = GroupVersionKind("example.com", "v1", "Widget")


class Shelf:
    """Has the widgets that it was given."""

    def __init__(self, *names: str) -> None:
        self._names = names

    async def get(self, kind: type[T], name: str, namespace: str = "", /) -> T:
        if name not in self._names:
            raise NotFoundError(f"{name} is not there", status=404)
        return kind(metadata=ObjectMeta(name=name, namespace=namespace))


async def test_the_object_is_fetched_before_the_function_is_called() -> None:
    seen: list[Widget] = []

    async def reconcile(widget: Widget) -> Result:
        seen.append(widget)
        return Result(priority=3)

    it = reconciles_objects(Shelf("web"), Widget, reconcile)

    assert await it.reconcile(Request("shop", "web")) == Result(priority=3)
    assert [widget.key for widget in seen] == [Request("shop", "web")]


async def test_for_an_object_that_is_gone_the_function_is_not_called() -> None:
    async def reconcile(_: Widget) -> None:
        raise AssertionError

    it = reconciles_objects(Shelf(), Widget, reconcile)

    assert await it.reconcile(Request("shop", "web")) is None


async def test_what_the_function_does_not_find_is_a_failure() -> None:
    async def reconcile(_: Widget) -> None:
        raise NotFoundError("the Secret it names is not there", status=404)

    it = reconciles_objects(Shelf("web"), Widget, reconcile)

    with pytest.raises(NotFoundError, match="Secret"):
        await it.reconcile(Request("shop", "web"))
