"""Wait until an object is as it should be, by watching it: no polling, no sleeping.

    deployment = await eventually(client, Deployment, "shop", "default", is_rolled_out)

On failure the error says which object it was, what was waited for, and what the
object looked like last, with the content of Secrets left out.
"""

from __future__ import annotations

import asyncio
import inspect
import json
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any, TypeVar, overload

from controller_runtime.client import Client
from controller_runtime.meta import (
    GroupVersionKind,
    Json,
    Kind,
    KubeObject,
    NamespacedName,
    kind_of,
)
from controller_runtime.wire import Lines

T = TypeVar("T", bound=KubeObject)

_SHOWN = 4000
"""Characters of the object in the error."""

_WATCH_SECONDS = 300

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
        f"last seen: {_show(last)}"
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


async def _versions(
    client: Client, gvk: GroupVersionKind, name: str, namespace: str
) -> AsyncGenerator[Json | None, None]:
    """Yield the object now and each time it changes; `None` when it is not there."""
    # A client that reads from a cache may not have the kind, and would see it late.
    live = Client(client.transport, scheme=client.scheme, discovery=client.discovery)
    while True:
        listed = await live.list(gvk, namespace, field_selector=f"metadata.name={name}")
        yield listed.items[0] if listed.items else None
        watch = _watched(client, gvk, name, namespace, listed.resource_version)
        async with aclosing(watch) as versions:
            async for version in versions:
                yield version


async def _watched(
    client: Client, gvk: GroupVersionKind, name: str, namespace: str, version: str
) -> AsyncGenerator[Json | None, None]:
    resource = await client.resource(gvk)
    params = {
        "watch": "true",
        "fieldSelector": f"metadata.name={name}",
        "resourceVersion": version,
        "timeoutSeconds": str(_WATCH_SECONDS),
    }
    lines = Lines()
    async with client.transport.stream(
        resource.path(namespace if resource.namespaced else ""),
        params=params,
        idle_timeout=_WATCH_SECONDS + 10,
    ) as chunks:
        async for chunk in chunks:
            for event in map(json.loads, lines.feed(chunk)):
                if event["type"] == "ERROR":
                    return  # too old, most likely: list again
                yield None if event["type"] == "DELETED" else event["object"]


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
