"""Wait until an object is as it should be, by watching it: no polling, no sleeping.

    deployment = await eventually(client, Deployment, "shop", "default", is_rolled_out)
    config = await eventually(client, ConfigMap, "shop", "default", has({"data": {}}))
    pods = await eventually_list(client, Pod, "default", lambda pods: len(pods) == 3)
    await eventually_gone(client, Deployment, "shop", "default")

On failure the error says which object it was, what was waited for, and what the
object looked like last, with the content of Secrets left out.
"""

from __future__ import annotations

import asyncio
import inspect
import json
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import aclosing
from typing import Any, TypeVar, overload

from controller_runtime.client import Client
from controller_runtime.errors import ApiError, TooManyRequestsError
from controller_runtime.meta import (
    GroupVersionKind,
    Json,
    Kind,
    KubeObject,
    NamespacedName,
    kind_of,
)

T = TypeVar("T", bound=KubeObject)

_BUSY = 0.5
"""Seconds until a server that asked for patience is asked again."""

_SHOWN = 4000
"""Characters of the object in the error."""

_SECRET = frozenset({"data", "stringData"})


@overload
async def eventually(
    client: Client,
    kind: type[T],
    name: str,
    namespace: str,
    condition: Callable[[T], object],
    *,
    timeout: float = ...,
) -> T: ...
@overload
async def eventually(
    client: Client,
    kind: GroupVersionKind,
    name: str,
    namespace: str,
    condition: Callable[[Json], object],
    *,
    timeout: float = ...,
) -> Json: ...
async def eventually(
    client: Client,
    kind: Kind,
    name: str,
    namespace: str,
    condition: Callable[[Any], object],
    *,
    timeout: float = 30.0,
) -> KubeObject | Json:
    """Wait until `condition` holds for an object, and return that version of it.

    An object that is not there yet is waited for.

    Args:
        client: Whose server is asked; always live, never a cache.
        kind: A model, or a `GroupVersionKind` for plain JSON.
        name: Which object.
        namespace: Where; empty for cluster-scoped kinds.
        condition: Called with each version; the first truthy answer ends the wait.
        timeout: Seconds.

    Raises:
        AssertionError: It did not come to that in time.
    """
    last: Json | None = None
    try:
        async with (
            asyncio.timeout(timeout),
            aclosing(_versions(client, kind_of(kind), name, namespace)) as versions,
        ):
            async for last in versions:
                if last is None:
                    continue
                obj = client.scheme.decode(kind, last)
                if condition(obj):
                    return obj
    except TimeoutError:
        pass
    # The source is on disk, which the loop must not wait for.
    wanted = await asyncio.to_thread(_describe, condition)
    raise AssertionError(
        f"{_where(kind, name, namespace)}: not within {timeout:g} s: {wanted}\n"
        f"{_lacks(condition, last)}last seen: {_show(last)}"
    )


@overload
async def eventually_list(
    client: Client,
    kind: type[T],
    namespace: str,
    condition: Callable[[list[T]], object],
    *,
    label_selector: str = ...,
    timeout: float = ...,
) -> list[T]: ...
@overload
async def eventually_list(
    client: Client,
    kind: GroupVersionKind,
    namespace: str,
    condition: Callable[[list[Json]], object],
    *,
    label_selector: str = ...,
    timeout: float = ...,
) -> list[Json]: ...
async def eventually_list(
    client: Client,
    kind: Kind,
    namespace: str,
    condition: Callable[[list[Any]], object],
    *,
    label_selector: str = "",
    timeout: float = 30.0,
) -> list[Any]:
    """Wait until `condition` holds for a collection, and return it as it was then.

    Args:
        client: Whose server is asked; always live, never a cache.
        kind: A model, or a `GroupVersionKind` for plain JSON.
        namespace: Where; empty for all namespaces.
        condition: Called with the objects, by namespace and name, at first and at each
            change; the first truthy answer ends the wait.
        label_selector: Only objects that match.
        timeout: Seconds.

    Raises:
        AssertionError: It did not come to that in time.
    """
    selector = {"labelSelector": label_selector} if label_selector else {}
    gvk, last = kind_of(kind), list[Json]()
    try:
        async with (
            asyncio.timeout(timeout),
            aclosing(_collections(client, gvk, namespace, selector)) as collections,
        ):
            async for last in collections:
                objects = [client.scheme.decode(kind, each) for each in last]
                if condition(objects):
                    return objects
    except TimeoutError:
        pass
    wanted = await asyncio.to_thread(_describe, condition)
    where = f"{gvk} in {namespace or 'all namespaces'}"
    seen = "\n".join(_show(each) for each in last)[:_SHOWN] or "nothing"
    raise AssertionError(
        f"{where}: not within {timeout:g} s: {wanted}\nlast seen {len(last)}: {seen}"
    )


async def eventually_gone(
    client: Client, kind: Kind, name: str, namespace: str, *, timeout: float = 30.0
) -> None:
    """Wait until an object is not there.

    Raises:
        AssertionError: It was still there in the end.
    """
    last: Json | None = None
    try:
        async with (
            asyncio.timeout(timeout),
            aclosing(_versions(client, kind_of(kind), name, namespace)) as versions,
        ):
            async for last in versions:
                if last is None:
                    return
    except TimeoutError:
        pass
    raise AssertionError(
        f"{_where(kind, name, namespace)}: still there after {timeout:g} s\n"
        f"last seen: {_show(last)}"
    )


class has:  # noqa: N801 - reads as a word of the sentence
    """A condition: an object has at least these fields, whatever else it has.

    Objects are compared field by field and all else as a whole, as Gomega's
    `EqualObject` with ignored paths; a failure lists what differs. For plain JSON.
    """

    def __init__(self, wanted: Mapping[str, object]) -> None:
        self._wanted = wanted

    def __call__(self, obj: Mapping[str, object]) -> bool:
        return not any(_differences(self._wanted, obj))

    def __repr__(self) -> str:
        return "has the fields that it should have"

    def lacks(self, obj: Mapping[str, object]) -> str:
        """Say what is missing or different, one line each."""
        return "\n".join(_differences(self._wanted, obj))


def _differences(wanted: object, got: object, path: str = "") -> Iterator[str]:
    if isinstance(wanted, Mapping) and isinstance(got, Mapping):
        for key, value in wanted.items():
            yield from _differences(value, got.get(key), f"{path}.{key}")
    elif wanted != got:
        yield f"{path}: want {json.dumps(wanted)}, got {json.dumps(got)}"


def _lacks(condition: object, last: Json | None) -> str:
    if not isinstance(condition, has) or last is None or last.get("kind") == "Secret":
        return ""
    return f"{condition.lacks(last)}\n"


async def _versions(
    client: Client, gvk: GroupVersionKind, name: str, namespace: str
) -> AsyncGenerator[Json | None, None]:
    """Yield the object now and each time it changes; `None` when it is not there."""
    selector = {"fieldSelector": f"metadata.name={name}"}
    changes = _collections(client, gvk, namespace, selector)
    async with aclosing(changes):
        async for objects in changes:
            yield objects[0] if objects else None


async def _collections(
    client: Client, gvk: GroupVersionKind, namespace: str, selector: Mapping[str, str]
) -> AsyncGenerator[list[Json], None]:
    """Yield what the selector matches, now and each time it changes."""
    # A client that reads from a cache may not have the kind, and would see it late.
    live = Client(client.transport, scheme=client.scheme, discovery=client.discovery)
    while True:
        listed = await live.list(
            gvk,
            namespace,
            label_selector=selector.get("labelSelector", ""),
            field_selector=selector.get("fieldSelector", ""),
        )
        here = {_key(each): each for each in listed.items}
        yield _sorted(here)
        watch = _watched(live, gvk, namespace, selector, listed.resource_version)
        async with aclosing(watch) as events:
            async for kind, version in events:
                if kind == "DELETED":
                    here.pop(_key(version), None)
                else:
                    here[_key(version)] = version
                yield _sorted(here)


def _key(obj: Json) -> NamespacedName:
    metadata = obj["metadata"]
    return NamespacedName(metadata.get("namespace", ""), metadata["name"])


def _sorted(objects: Mapping[NamespacedName, Json]) -> list[Json]:
    return [objects[key] for key in sorted(objects)]


async def _watched(
    live: Client,
    gvk: GroupVersionKind,
    namespace: str,
    selector: Mapping[str, str],
    version: str,
) -> AsyncGenerator[tuple[str, Json], None]:
    watch = live.watch(
        gvk,
        namespace,
        label_selector=selector.get("labelSelector", ""),
        field_selector=selector.get("fieldSelector", ""),
        resource_version=version,
    )
    try:
        async with watch as events:
            try:
                async for event in events:
                    if event.object is not None:
                        yield event.type, event.object
            except ApiError:
                return  # too old, most likely: list again
    except TooManyRequestsError:  # a kind is not ready as soon as it is served
        await asyncio.sleep(_BUSY)


def _where(kind: Kind, name: str, namespace: str) -> str:
    return f"{kind_of(kind)} {NamespacedName(namespace, name)}"


def _describe(condition: Callable[[Any], object]) -> str:
    name = getattr(condition, "__name__", repr(condition))
    if name != "<lambda>":
        return name
    try:
        return " ".join(inspect.getsource(condition).split())
    except OSError:
        return name


def _show(obj: Json | None) -> str:
    if obj is None:
        return "nothing"
    metadata = {**obj["metadata"]}
    metadata.pop("managedFields", None)
    shown = {**obj, "metadata": metadata}
    if obj.get("kind") == "Secret":
        metadata.pop("annotations", None)  # kubectl's have the data once more
        shown |= dict.fromkeys(_SECRET & obj.keys(), "(left out)")
    return json.dumps(shown, indent=1)[:_SHOWN]
