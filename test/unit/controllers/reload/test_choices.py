"""Settings of `run` → options of the controller."""

from __future__ import annotations

import pytest

from controller_runtime import ConfigError
from controllers.reload.choices import from_settings
from controllers.reload.options import (
    CronJobStrategy,
    LegacyTrigger,
    ReloadOptions,
    Strategy,
)
from controllers.reload.sources import SourceKind
from controllers.settings import load


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
        ("NAMESPACES", "a, b,", {"namespaces": ("a", "b")}),
        ("NAMESPACES_TO_IGNORE", "a", {"namespaces_to_ignore": frozenset("a")}),
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


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("RESOURCES_TO_IGNORE", "configmaps,secrets"),
        ("RESOURCES_TO_IGNORE", "pods"),
        ("STRATEGY", "restart"),
        ("LEGACY_TRIGGER_ENV", "sometimes"),
    ],
)
def test_a_setting_that_cannot_be_used_is_named(name: str, value: str) -> None:
    flag = name.lower().replace("_", "-")

    with pytest.raises(ConfigError, match=f"--reload-{flag}"):
        options(**{name: value})
