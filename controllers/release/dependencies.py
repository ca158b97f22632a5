"""Objects that have to be ready before another: who is not, and who waits for whom."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from api.release.v1alpha1 import ManagedRoost
from controller_runtime import (
    READY,
    Client,
    NamespacedName,
    NotFoundError,
    is_condition_true,
)


class Blocked(NamedTuple):
    """Why an object has to wait."""

    message: str
    is_cycle: bool = False


class Dependencies:
    """Follows `spec.dependsOn` through the cache."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def check(self, roost: ManagedRoost) -> Blocked | None:
        """Return what an object waits for, if anything."""
        for key in dependencies_of(roost):
            other = await self._get(key)
            if other is None:
                return Blocked(f"spec.dependsOn: {key} does not exist")
            if not _is_ready(other):
                cycle = await self._cycle(roost)
                if cycle:
                    path = " → ".join(map(str, cycle))
                    return Blocked(f"spec.dependsOn leads back: {path}", is_cycle=True)
                return Blocked(f"spec.dependsOn: {key} is not ready")
        return None

    async def _cycle(self, roost: ManagedRoost) -> Sequence[NamespacedName]:
        """Return the way from an object back to itself, or nothing."""
        start = roost.key
        ways: list[tuple[NamespacedName, ...]] = [(start,)]
        seen = {start}
        while ways:
            way = ways.pop()
            here = roost if way[-1] == start else await self._get(way[-1])
            for key in dependencies_of(here) if here is not None else ():
                if key == start:
                    return (*way, key)
                if key not in seen:
                    seen.add(key)
                    ways.append((*way, key))
        return ()

    async def _get(self, key: NamespacedName) -> ManagedRoost | None:
        try:
            return await self._client.get(ManagedRoost, key.name, key.namespace)
        except NotFoundError:
            return None


def dependencies_of(roost: ManagedRoost) -> Iterable[NamespacedName]:
    """Yield what an object depends on."""
    for each in roost.spec.depends_on:
        yield NamespacedName(each.namespace or roost.metadata.namespace, each.name)


def _is_ready(roost: ManagedRoost) -> bool:
    generation = roost.metadata.generation
    return roost.status.observed_generation == generation and is_condition_true(
        roost.status.conditions, READY, generation=generation
    )
