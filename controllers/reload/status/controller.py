"""Writes the status of each ReloaderConfig, behind everybody's back.

    event ──half a second──▶ key ──▶ look (`Sights`) ─▶ say (`status_of`) ─▶ write, tell

What happens meanwhile is part of the same status. A status that says nothing new is not
written, and no reload ever waits for one. Each is written for one version of the
config, together with all that it counts; what it counts is let go of when it is there:

    written                      the journal drops what is in it
    refused, another version     nothing is lost, look again
    no answer, or a failure      the next version tells whether it was written after all
    forbidden                    said once; tried again from time to time
"""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime, timedelta
from typing import NamedTuple, Protocol

import msgspec
import structlog
from pydantic import ValidationError

from api.reload.status import ReloaderConfigStatus
from api.reload.v1alpha1 import ReloaderConfig
from controller_runtime import (
    Backoff,
    Client,
    Clock,
    ConflictError,
    EventRecorder,
    ExponentialLimiter,
    ForbiddenError,
    Json,
    NamespacedName,
    NotFoundError,
    RawObject,
    Request,
    merge_patch_from,
    reference,
)
from controllers.reload.status.journal import Journal, Reload
from controllers.reload.status.sights import Sights
from controllers.reload.status.statuses import Told, moment_to_look_again, status_of

log = structlog.get_logger(__name__)

FIELD_MANAGER = "Reloader"

CACHE_LAG = timedelta(milliseconds=200)
"""When to look again at a config that was not what the cache had."""

_LAGGING = Backoff(base=0.2, ceiling=30.0)
"""Seconds for the same, while the server says no: a watch may be broken for long."""

FORBIDDEN = timedelta(minutes=1)
"""When to try again what was forbidden: a human changes roles."""


class ConfigReader(Protocol):
    """Has the configs, as the cache has them."""

    def get(self, key: NamespacedName, /) -> RawObject | None:
        """Return one of them."""
        ...


class _Latest(NamedTuple):
    """What was written last, and the versions that it took the place of."""

    config: ReloaderConfig
    superseded: frozenset[str]


class _Sent(NamedTuple):
    """What may have been written."""

    status: Json
    reloads: tuple[Reload, ...]


class StatusReconciler:
    """Keeps statuses up to date."""

    def __init__(
        self,
        configs: ConfigReader,
        sights: Sights,
        journal: Journal,
        client: Client,
        recorder: EventRecorder,
        clock: Clock,
        *,
        resync: timedelta,
    ) -> None:
        """Describe whose statuses, and who writes them.

        Args:
            configs: The configs.
            sights: What they come to.
            journal: What was reloaded.
            client: Writes.
            recorder: Tells.
            clock: Tells the time.
            resync: When to look again at the latest.
        """
        self._configs = configs
        self._sights = sights
        self._journal = journal
        self._client = client
        self._recorder = recorder
        self._clock = clock
        self._resync = resync
        self._latest: dict[NamespacedName, _Latest] = {}
        self._sent: dict[NamespacedName, _Sent] = {}
        self._conflicts: ExponentialLimiter[NamespacedName] = ExponentialLimiter(
            _LAGGING
        )
        self._is_forbidden = False

    async def reconcile(self, key: Request) -> timedelta | None:
        config = self._read(key)
        if config is None or config.metadata.deletion_timestamp:
            self._forget(key)
            return None
        self._settle(key, config)
        sight = self._sights.of(config)
        if sight is None:
            return CACHE_LAG  # it is read by somebody else, and that comes next
        statement = status_of(config, sight)
        reloads = tuple(sight.ledger.reloads)
        try:
            await self._write(key, config, statement.status, reloads)
        except ConflictError:
            return timedelta(seconds=self._conflicts.when(key, now=0))
        except NotFoundError:
            return None  # gone meanwhile, and the cache will say so
        except ForbiddenError as error:
            self._complain(error)
            return FORBIDDEN
        self._conflicts.forget(key)
        self._journal.written(key, reloads)
        for told in statement.events:
            self._tell(config, told)
        return self._again(statement.status)

    def _read(self, key: NamespacedName) -> ReloaderConfig | None:
        """Return a config, no older than what was written last."""
        entry = self._configs.get(key)
        if entry is None:
            return None
        latest = self._latest.get(key)
        if latest is not None:
            is_same = latest.config.metadata.uid == entry.meta.uid
            if is_same and entry.meta.resource_version in latest.superseded:
                return latest.config
            del self._latest[key]
        return _parsed(entry.raw)

    def _settle(self, key: NamespacedName, config: ReloaderConfig) -> None:
        """Find out what became of a write that nobody answered."""
        sent = self._sent.pop(key, None)
        if sent is not None and _written(config.status) == sent.status:
            self._journal.written(key, sent.reloads)
        elif sent is not None:
            self._sent[key] = sent

    async def _write(
        self,
        key: NamespacedName,
        config: ReloaderConfig,
        status: ReloaderConfigStatus,
        reloads: tuple[Reload, ...],
    ) -> None:
        before, after = _written(config.status), _written(status)
        if before == after:
            return
        head = {"resourceVersion": config.metadata.resource_version}
        patch = merge_patch_from(
            {"metadata": head, "status": before},
            {"metadata": head, "status": after},
            optimistic_lock=True,
        )
        self._sent[key] = _Sent(after, reloads)
        written = await self._client.patch(
            ReloaderConfig.gvk,
            key.name,
            key.namespace,
            patch=patch,
            subresource="status",
            field_owner=FIELD_MANAGER,
        )
        del self._sent[key]
        self._remember(key, config, _parsed(msgspec.json.encode(written)))

    def _remember(
        self, key: NamespacedName, config: ReloaderConfig, written: ReloaderConfig
    ) -> None:
        latest = self._latest.get(key)
        before = latest.superseded if latest is not None else frozenset[str]()
        superseded = before | {config.metadata.resource_version}
        self._latest[key] = _Latest(written, superseded)

    def _again(self, status: ReloaderConfigStatus) -> timedelta:
        moment = moment_to_look_again(status)
        if moment is None:
            return self._resync
        return min(self._resync, max(moment - self._now(), CACHE_LAG))

    def _now(self) -> datetime:
        return self._clock.now()

    def _tell(self, config: ReloaderConfig, told: Told) -> None:
        self._recorder.event(
            reference(ReloaderConfig, config),
            type=told.type,
            reason=told.reason,
            action="Reload",
            note=told.note,
        )

    def _complain(self, error: ForbiddenError) -> None:
        if not self._is_forbidden:
            log.warning(
                "status of ReloaderConfigs may not be written; reloads go on without: "
                "give the account patch on reloaderconfigs/status (pilothouse rbac)",
                error=str(error),
            )
        self._is_forbidden = True

    def _forget(self, key: NamespacedName) -> None:
        self._latest.pop(key, None)
        self._sent.pop(key, None)
        self._conflicts.forget(key)
        self._journal.forget_config(key)
        self._sights.forget(key)


def _parsed(raw: bytes) -> ReloaderConfig:
    """Read a config; of one that cannot be read, such as from an older CRD, what goes.

    What is wrong with it is told by others. The error has what stands there, such as
    the URL of a webhook, and is not to be seen by anybody.
    """
    with suppress(ValidationError):
        return ReloaderConfig.model_validate_json(raw)
    document = msgspec.json.decode(raw) | {"spec": {}}
    with suppress(ValidationError):
        return ReloaderConfig.model_validate(document)
    return ReloaderConfig.model_validate(document | {"status": {}})


def _written(status: ReloaderConfigStatus) -> Json:
    return status.model_dump(
        mode="json", by_alias=True, exclude_none=True, exclude_defaults=True
    )
