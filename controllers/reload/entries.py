"""What the cache and the lender are to those who read them.

Entries  one kind, as a store or an informer has it
Lends    workloads in full, of which the cache has less
Polled   what the cache may be late with
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from controller_runtime import NamespacedName, RawObject
from controllers.reload.workloads import WorkloadKey


class Lends(Protocol):
    """Has workloads in full, of which the cache has less."""

    def lend(self, key: WorkloadKey, bare: RawObject, /) -> RawObject | None: ...
    def take_back(self, key: WorkloadKey, /) -> None: ...


class Polled(Protocol):
    """What may have to be listed, for want of the right to watch it."""

    @property
    def is_unwatched(self) -> bool: ...
    def refresh(self) -> None: ...


class Entries(Protocol):
    """What is known of one kind: a store, or an informer of several."""

    def get(self, key: NamespacedName, /) -> RawObject | None: ...
    def list(self, namespace: str, /) -> Iterable[RawObject]: ...
    def by_index(self, name: str, value: str, /) -> Iterable[RawObject]: ...
    def add_index(
        self, name: str, function: Callable[[RawObject], Iterable[str]], /
    ) -> None: ...
