"""Words that users choose from → options, for the settings of the manager.

The names of kinds are the original's, in the plural.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from api.batch.v1 import CronJob, Job
from controller_runtime import ConfigError
from controllers.reload.alerts.alert import EVENTS
from controllers.reload.braking import BrakeOptions, parse_brake
from controllers.reload.gates.schedules import parse_window
from controllers.reload.options import (
    AlertFormat,
    AlertOptions,
    CronJobStrategy,
    ExtraReference,
    LegacyTrigger,
    ReloadOptions,
    Strategy,
)
from controllers.reload.sources import SourceKind
from controllers.reload.sources.hashing import Hashing, MarkerHash, read_keys
from controllers.reload.terms import Window
from controllers.reload.workloads import OPTIONAL_WORKLOADS, ExtraWorkload

_SOURCES = {"configmaps": SourceKind.CONFIG_MAP, "secrets": SourceKind.SECRET}
_WORKLOADS = {"jobs": Job.gvk.kind, "cronjobs": CronJob.gvk.kind}


def from_settings(settings: Mapping[str, Any]) -> ReloadOptions:
    """Make options of the section `reload` of the settings, which is valid.

    Raises:
        ConfigError: What only this controller can read, it cannot; or a file.
    """
    sources = ignored_sources(settings["resources_to_ignore"])
    workloads = ignored_workloads(settings["ignored_workload_types"])
    if not settings["optional_kinds"]:
        sources |= {SourceKind.SECRET_PROVIDER_CLASS}
        workloads |= OPTIONAL_WORKLOADS.keys()
    return ReloadOptions(
        workers=settings["workers"],
        namespaces=settings["namespaces"],
        namespaces_to_ignore=frozenset(settings["namespaces_to_ignore"]),
        namespace_selector=settings["namespace_selector"],
        resource_label_selector=settings["resource_label_selector"],
        ignored_sources=sources,
        ignored_workloads=workloads,
        strategy=Strategy(settings["strategy"]),
        cronjob_strategy=CronJobStrategy(settings["cronjob_strategy"]),
        legacy_trigger_env=LegacyTrigger(settings["legacy_trigger_env"]),
        allow_cross_namespace=settings["allow_cross_namespace"],
        extra_references=frozenset(
            ExtraReference(word) for word in settings["extra_references"]
        ),
        extra_workloads=extra_workloads(
            settings["extra_workloads"], flag="--reload-extra-workloads"
        ),
        dry_run=settings["dry_run"],
        auto_reload_all=settings["auto_reload_all"],
        strict_auto_false=settings["strict_auto_false"],
        reload_on_create=settings["on_create"],
        reload_on_delete=settings["on_delete"],
        hashing=hashing(
            settings["marker_hash"],
            settings["hash_key_file"],
            flag="--reload-hash-key-file",
        ),
        debounce=settings["debounce"],
        debounce_max=settings["debounce_max"],
        interim=settings["interim"],
        cooldown=settings["cooldown"],
        storm_brake=brake(settings["storm_brake"], flag="--reload-storm-brake"),
        windows=windows(settings["window"], flag="--reload-window"),
        reloads_per_second=settings["qps"],
        count_by_workload=settings["metrics_by_workload"],
        alerts=_alerts(settings),
        restart_all_kinds=settings["restart_all_kinds"],
        max_concurrent_rollouts=settings["max_concurrent_rollouts"],
        max_concurrent_rollouts_per_namespace=settings[
            "max_concurrent_rollouts_per_namespace"
        ],
        rollout_timeout=settings["rollout_timeout"],
    )


def hashing(marker: str, keys: Path | None, *, flag: str) -> Hashing:
    """Read the hash of markers, and the file of keys if there is one.

    Raises:
        ConfigError: The file, named by a flag, is of no use.
    """
    found = () if keys is None else read_keys(keys, flag=flag)
    return Hashing(marker=MarkerHash(marker), keys=found)


def extra_workloads(texts: Iterable[str], *, flag: str) -> tuple[ExtraWorkload, ...]:
    """Read kinds and where their pod templates are.

    Raises:
        ConfigError: One is none, or is there twice; the text names the flag.
    """
    try:
        found = tuple(map(ExtraWorkload.parse, texts))
    except ValueError as error:
        raise ConfigError(f"{flag}: {error}") from None
    kinds = [extra.gvk for extra in found]
    for kind in kinds:
        if kinds.count(kind) > 1:
            raise ConfigError(f"{flag}: {kind} is there twice; it has one pod template")
    return found


def brake(text: str, *, flag: str) -> BrakeOptions | None:
    """Read `10/5m`, or `0`.

    Raises:
        ConfigError: It is neither; the text names the flag.
    """
    try:
        return parse_brake(text)
    except ValueError as error:
        raise ConfigError(f"{flag}: {error}") from None


def windows(text: str, *, flag: str) -> tuple[Window, ...]:
    """Read a window; none for an empty text.

    Raises:
        ConfigError: It cannot be read; the text names the flag.
    """
    try:
        return (parse_window(text),) if text else ()
    except ValueError as error:
        raise ConfigError(f"{flag}: {error}") from None


def _alerts(settings: Mapping[str, Any]) -> AlertOptions:
    """Read the settings that begin with `alert_`.

    Raises:
        ConfigError: They contradict each other, or name what there is not.
    """
    url = settings["alert_webhook_url"].get_secret_value().strip()
    if settings["alert_on_reload"] and not url:
        raise ConfigError(
            "--reload-alert-on-reload has nobody to tell: set the environment variable "
            "PILOTHOUSE_RELOAD_ALERT_WEBHOOK_URL"
        )
    return AlertOptions(
        url=url if settings["alert_on_reload"] else "",
        format=AlertFormat(settings["alert_sink"]),
        info=settings["alert_additional_info"].strip(),
        events=alert_events(settings["alert_events"]),
        proxy=settings["alert_webhook_proxy"].get_secret_value().strip(),
    )


def alert_events(words: Iterable[str]) -> frozenset[str]:
    """Read what alerts tell of.

    Raises:
        ConfigError: There is no such event.
    """
    for word in words:
        if word not in EVENTS:
            known = ", ".join(EVENTS)
            raise ConfigError(f"--reload-alert-events: {word!r} is none of {known}")
    return frozenset(words)


def ignored_sources(words: Iterable[str]) -> frozenset[SourceKind]:
    """Read `configmaps` and `secrets`."""
    return frozenset(_SOURCES[word] for word in words)


def ignored_workloads(words: Iterable[str]) -> frozenset[str]:
    """Read `jobs` and `cronjobs`."""
    return frozenset(_WORKLOADS[word] for word in words)
