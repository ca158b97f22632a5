"""ReloaderConfigs as they come and go, and who has to look again because of them.

    not known ──absent──▶ known ◀──listed── served          and back, with the CRD
                            │
                            ▼
    the controller may work: what a config holds back is not reloaded before it is read

A config that changes makes its workloads look: those that it was bound to, and those
that it names now. Its status, which changes with each reload, is nobody's business
here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence

import structlog
from pydantic import ValidationError

from api.reload.v1alpha1 import ReloaderConfig
from controller_runtime import (
    LOW_PRIORITY,
    CacheView,
    Created,
    Deleted,
    Event,
    Informer,
    NamespacedName,
    RawObject,
    Updated,
    Watching,
    WorkQueue,
)
from controllers.reload.configs import Configs
from controllers.reload.configs.asked import read_config
from controllers.reload.configs.claims import Config
from controllers.reload.feeds.optional import Guest
from controllers.reload.observe import Observer
from controllers.reload.policy import Problem
from controllers.reload.workloads import WorkloadKey

log = structlog.get_logger(__name__)

_PATIENCE = 20.0
"""Seconds in which configs are listed, or they are left out until the next try."""

_PROBLEMS_TOLD = 10
"""Problems of one config in the log; its status has the others."""


class ConfigFeed:
    """Keeps `Configs`; a `Source` of the workloads that these are about."""

    def __init__(
        self,
        view: CacheView,
        configs: Configs,
        observer: Observer,
        *,
        allow_cross_namespace: bool,
        sees_namespaces: bool,
    ) -> None:
        self._view = view
        self._configs = configs
        self._observer = observer
        self._reaches_out = allow_cross_namespace
        self._sees_namespaces = sees_namespaces
        self._known = asyncio.Event()
        self._queue: WorkQueue[WorkloadKey] | None = None
        self._informer: Informer | None = None
        self.told: Callable[[NamespacedName], None] = lambda _: None
        """Called with a config that comes, changes or goes, and with its rivals."""
        self.gone: Callable[[NamespacedName], None] = lambda _: None
        """Called with a config that is no more, even if another has its name."""

    def get(self, key: NamespacedName, /) -> RawObject | None:
        """Return a config as the cache has it, while there is such a kind."""
        return None if self._informer is None else self._informer.get(key)

    def guest(self) -> Guest:
        """Return who comes and goes."""
        return Guest([ReloaderConfig.gvk], self._come, self._go, self._known.set)

    def describe(self) -> str:
        """Say what this is a source of."""
        return str(ReloaderConfig.gvk)

    async def start(self, queue: WorkQueue[WorkloadKey], /) -> None:
        """Begin to fill a queue."""
        self._queue = queue

    async def synced(self) -> None:
        """Wait until all configs are known, or that there can be none."""
        await self._known.wait()

    def stop(self) -> None:
        """Leave the queue alone."""
        self._queue = None

    def look(self, workloads: Iterable[WorkloadKey], *, priority: int = 0) -> None:
        """Have workloads looked at."""
        if self._queue is not None:
            for key in workloads:
                self._queue.add(key, priority=priority, cause="ReloaderConfig")

    async def _come(self) -> Sequence[Watching]:
        informer: Informer = await self._view.informer(ReloaderConfig)
        try:
            async with asyncio.timeout(_PATIENCE):
                await informer.synced()
        except BaseException:
            self._view.cache.remove_informer(ReloaderConfig, self._view.options)
            raise
        self._informer = informer
        following = informer.subscribe(self._heard)
        await following.caught_up()
        return [Watching(following.stop)]

    def _go(self) -> None:
        self._informer = None
        for config in self._configs:
            self._drop(config.key)

    def _heard(self, events: Sequence[Event]) -> None:
        for event in events:
            if isinstance(event, Deleted):
                self._drop(event.object.key)
            elif not isinstance(event, Updated) or _is_changed(event):
                if isinstance(event, Updated) and _is_another(event):
                    self.gone(event.object.key)
                is_start = isinstance(event, Created) and event.is_initial
                self._put(event.object, LOW_PRIORITY if is_start else 0)

    def _put(self, entry: RawObject, priority: int) -> None:
        before = self._configs.members(entry.key)
        config = self._read(entry)
        self._configs.put(config)
        for problem in config.problems[:_PROBLEMS_TOLD]:
            log.warning(
                "ReloaderConfig is not obeyed in full",
                config=str(config.key),
                field=problem.annotation,
                reason=problem.reason,
            )
        affected = {*before, *self._observer.meant(config)}
        self.look(affected, priority=priority)
        self._tell(entry.key, affected)

    def _drop(self, key: NamespacedName) -> None:
        self._configs.drop(key)
        affected = self._configs.members(key)
        self.look(affected)
        self.gone(key)
        self._tell(key, affected)

    def _tell(self, key: NamespacedName, affected: Iterable[WorkloadKey]) -> None:
        """Tell of a config, and of those that it may be at odds with."""
        for config in {key, *self._configs.sharing(affected)}:
            self.told(config)

    def _read(self, entry: RawObject) -> Config:
        try:
            model = ReloaderConfig.model_validate_json(entry.raw)
        except ValidationError as error:
            # Written before the CRD said what it says now, or a number without end.
            place = ".".join(map(str, error.errors()[0]["loc"]))
            reason = "cannot be read, and nothing of it counts: write it anew"
            return Config(entry.key, problems=(Problem(place, reason),))
        return read_config(
            model,
            allow_cross_namespace=self._reaches_out,
            sees_namespaces=self._sees_namespaces,
        )


def _is_changed(event: Updated) -> bool:
    generations = event.old.meta.generation, event.object.meta.generation
    return _is_another(event) or generations[0] != generations[1]


def _is_another(event: Updated) -> bool:
    """Tell whether one was deleted and another created, unseen."""
    return event.old.meta.uid != event.object.meta.uid
