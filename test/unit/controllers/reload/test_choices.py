"""Settings of `run` → options of the controller."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import get_args

import pytest

from controller_runtime import ConfigError
from controllers.reload.braking import BrakeOptions
from controllers.reload.choices import from_settings
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
from controllers.reload.sources.hashing import Hashing, MarkerHash
from controllers.reload.terms import Window
from controllers.reload.workloads import ExtraWorkload
from controllers.settings import AlertSink, load


def options(**environ: str) -> ReloadOptions:
    prefixed = {f"PILOTHOUSE_RELOAD_{name}": value for name, value in environ.items()}
    return from_settings(load({}, prefixed, None).reload.model_dump())


def test_the_defaults_of_the_settings_are_those_of_the_options() -> None:
    assert options() == ReloadOptions()


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("STRATEGY", "annotations", {"strategy": Strategy.ANNOTATIONS}),
        ("CRONJOB_STRATEGY", "patch", {"cronjob_strategy": CronJobStrategy.PATCH}),
        ("ALLOW_CROSS_NAMESPACE", "true", {"allow_cross_namespace": True}),
        (
            "LEGACY_TRIGGER_ENV",
            "always",
            {"legacy_trigger_env": LegacyTrigger.ALWAYS},
        ),
        ("ON_CREATE", "true", {"reload_on_create": True}),
        ("ON_DELETE", "true", {"reload_on_delete": True}),
        ("DRY_RUN", "true", {"dry_run": True}),
        ("MARKER_HASH", "sha256", {"hashing": Hashing(marker=MarkerHash.SHA256)}),
        ("HASH_KEY_FILE", "", {}),
        (
            "EXTRA_WORKLOADS",
            "v1/ReplicationController:.spec.template",
            {
                "extra_workloads": (
                    ExtraWorkload.parse("v1/ReplicationController:.spec.template"),
                )
            },
        ),
        (
            "EXTRA_REFERENCES",
            "imagePullSecrets, csiNodePublish",
            {"extra_references": frozenset(ExtraReference)},
        ),
        ("METRICS_BY_WORKLOAD", "true", {"count_by_workload": True}),
        ("RESTART_ALL_KINDS", "true", {"restart_all_kinds": True}),
        ("MAX_CONCURRENT_ROLLOUTS", "5", {"max_concurrent_rollouts": 5}),
        (
            "MAX_CONCURRENT_ROLLOUTS_PER_NAMESPACE",
            "2",
            {"max_concurrent_rollouts_per_namespace": 2},
        ),
        ("ROLLOUT_TIMEOUT", "90s", {"rollout_timeout": timedelta(seconds=90)}),
        ("NAMESPACES", "a, b,", {"namespaces": ("a", "b")}),
        ("NAMESPACES_TO_IGNORE", "a", {"namespaces_to_ignore": frozenset("a")}),
        ("DEBOUNCE", "0", {"debounce": timedelta()}),
        ("DEBOUNCE", "250ms", {"debounce": timedelta(milliseconds=250)}),
        ("DEBOUNCE_MAX", "1m", {"debounce_max": timedelta(minutes=1)}),
        ("INTERIM", "1m", {"interim": timedelta(minutes=1)}),
        ("COOLDOWN", "5m", {"cooldown": timedelta(minutes=5)}),
        ("STORM_BRAKE", "0", {"storm_brake": None}),
        (
            "STORM_BRAKE",
            "3/1m",
            {"storm_brake": BrakeOptions(limit=3, window=timedelta(minutes=1))},
        ),
        (
            "WINDOW",
            "0 2 * * 1-5; 2h; Europe/Berlin",
            {"windows": (Window("0 2 * * 1-5", timedelta(hours=2), "Europe/Berlin"),)},
        ),
        ("QPS", "2.5", {"reloads_per_second": 2.5}),
        ("RESOURCES_TO_IGNORE", "", {}),
        (
            "RESOURCES_TO_IGNORE",
            "secrets",
            {"ignored_sources": frozenset({SourceKind.SECRET})},
        ),
        (
            "IGNORED_WORKLOAD_TYPES",
            "jobs,cronjobs",
            {"ignored_workloads": frozenset({"Job", "CronJob"})},
        ),
        (
            "OPTIONAL_KINDS",
            "false",
            {
                "ignored_sources": frozenset({SourceKind.SECRET_PROVIDER_CLASS}),
                "ignored_workloads": frozenset({"Rollout", "DeploymentConfig"}),
            },
        ),
    ],
)
def test_a_setting_is_an_option(
    name: str, value: str, expected: dict[str, object]
) -> None:
    assert options(**{name: value}) == ReloadOptions(**expected)  # type: ignore[arg-type]  # any option


def test_alerts_are_a_group_of_settings() -> None:
    url = "https://hooks.example/T0K3N"
    found = options(
        ALERT_ON_RELOAD="true",
        ALERT_WEBHOOK_URL=url,
        ALERT_SINK="teams-adaptive",
        ALERT_ADDITIONAL_INFO="eu-1",
        ALERT_WEBHOOK_PROXY="http://proxy:3128",
        ALERT_EVENTS="reloaded, failed",
    )

    assert found.alerts == AlertOptions(
        url=url,
        format=AlertFormat.TEAMS_ADAPTIVE,
        info="eu-1",
        events=frozenset({"reloaded", "failed"}),
        proxy="http://proxy:3128",
    )
    assert "T0K3N" not in repr(found)


def test_settings_do_not_show_where_alerts_go() -> None:
    environ = {"PILOTHOUSE_RELOAD_ALERT_WEBHOOK_URL": "https://hooks.example/T0K3N"}
    found = load({}, environ, None)

    assert "T0K3N" not in f"{found!r} {found.model_dump_json()}"


def test_every_format_of_alerts_is_a_sink_of_the_settings() -> None:
    assert set(get_args(AlertSink)) == set(AlertFormat)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ALERT_ON_RELOAD", "true"),
        ("ALERT_SINK", "pigeon"),
        ("ALERT_EVENTS", "eaten"),
        ("RESOURCES_TO_IGNORE", "configmaps,secrets"),
        ("RESOURCES_TO_IGNORE", "pods"),
        ("STRATEGY", "restart"),
        ("MARKER_HASH", "md5"),
        ("EXTRA_REFERENCES", "env"),
        ("EXTRA_WORKLOADS", "apps/v1/Deployment:.spec.template"),
        ("EXTRA_WORKLOADS", "a/v1/B:.spec.c,a/v1/B:.spec.d"),
        ("HASH_KEY_FILE", "/nowhere/key"),
        ("LEGACY_TRIGGER_ENV", "sometimes"),
        ("DEBOUNCE", "soon"),
        ("COOLDOWN", "-1s"),
        ("STORM_BRAKE", "ten"),
        ("STORM_BRAKE", "10/often"),
        ("WINDOW", "at night"),
        ("QPS", "-1"),
        ("QPS", "nan"),
        ("MAX_CONCURRENT_ROLLOUTS", "-1"),
        ("ROLLOUT_TIMEOUT", "0"),
    ],
)
def test_a_setting_that_cannot_be_used_is_named(name: str, value: str) -> None:
    flag = name.lower().replace("_", "-")

    with pytest.raises(ConfigError, match=f"--reload-{flag}|PILOTHOUSE_RELOAD_{name} "):
        options(**{name: value})


def test_keys_for_hashes_come_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text("0123456789abcdef")

    assert options(HASH_KEY_FILE=str(file)).hashing.keys == (b"0123456789abcdef",)
