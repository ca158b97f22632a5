"""Flags, environment and file: who wins, and what is said about a mistake."""

from __future__ import annotations

from pathlib import Path

import pytest

from controller_runtime.errors import ConfigError
from controllers.settings import Settings, load, unknown_variables


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "settings.yaml"
    path.write_text("reload:\n  workers: 3\nlog-level: debug\n")
    return path


def test_without_any_origin_the_defaults_hold() -> None:
    assert load({}, {}, None) == Settings()


def test_the_file_beats_the_default(file: Path) -> None:
    settings = load({}, {}, file)

    assert settings.reload.workers == 3
    assert settings.log_level == "debug"


def test_the_environment_beats_the_file(file: Path) -> None:
    settings = load({}, {"PILOTHOUSE_RELOAD_WORKERS": "4"}, file)

    assert settings.reload.workers == 4
    assert settings.log_level == "debug"


def test_a_flag_beats_the_environment(file: Path) -> None:
    environ = {"PILOTHOUSE_RELOAD_WORKERS": "4"}

    assert load({"reload.workers": 5}, environ, file).reload.workers == 5


def test_a_flag_that_was_not_given_beats_nothing() -> None:
    environ = {"PILOTHOUSE_RELOAD_WORKERS": "4"}

    assert load({"reload.workers": None}, environ, None).reload.workers == 4


def test_other_variables_of_the_environment_are_not_ours() -> None:
    environ = {"PILOTHOUSE_CACHE": "/tmp/x", "RELOAD_WORKERS": "4"}  # noqa: S108

    assert load({}, environ, None) == Settings()


@pytest.mark.parametrize(
    ("text", "namespaces"),
    [("shop", ("shop",)), ("shop, blog,shop,", ("shop", "blog")), ("", ())],
)
def test_namespaces_are_a_list_with_commas_each_once(
    text: str, namespaces: tuple[str, ...]
) -> None:
    settings = load({"reload.namespaces": text}, {}, None)

    assert settings.reload.namespaces == namespaces


def test_metrics_are_secure_unless_plain_ones_are_asked_for() -> None:
    assert load({}, {}, None).metrics_secure
    assert not load({"metrics_secure": False}, {}, None).metrics_secure
    assert not load({}, {"PILOTHOUSE_METRICS_SECURE": "0"}, None).metrics_secure


def test_a_certificate_for_plain_metrics_is_a_mistake() -> None:
    environ = {"PILOTHOUSE_METRICS_CERT_PATH": "/certs"}

    assert load({}, environ, None).metrics_cert_path == Path("/certs")
    with pytest.raises(ConfigError, match=r"PILOTHOUSE_METRICS_CERT_PATH .*plain"):
        load({"metrics_secure": False}, environ, None)


@pytest.mark.parametrize("name", ["kubeconfig", "context", "metrics_cert_path"])
def test_an_empty_variable_or_flag_sets_nothing(name: str) -> None:
    from_environment = load({}, {f"PILOTHOUSE_{name.upper()}": ""}, None)
    from_flag = load({name: "", "metrics_secure": False}, {}, None)

    assert getattr(from_environment, name) is None
    assert getattr(from_flag, name) is None


def test_controllers_are_a_list_with_commas_each_once() -> None:
    settings = load({"controllers": "reload, reload"}, {}, None)

    assert settings.controllers == ("reload",)


@pytest.mark.parametrize(
    ("flags", "environ", "words"),
    [
        pytest.param(
            {"controllers": "relaod"},
            {},
            ["--controllers", "'relaod'", "reload"],
            id="an unknown controller",
        ),
        pytest.param(
            {},
            {"PILOTHOUSE_RELOAD_WORKERS": "0"},
            ["PILOTHOUSE_RELOAD_WORKERS", "greater than or equal to 1"],
            id="a number out of bounds",
        ),
        pytest.param(
            {"graceful_shutdown_timeout": -5},
            {},
            ["--graceful-shutdown-timeout", "greater than or equal"],
            id="a grace period below zero",
        ),
        pytest.param(
            {"log_level": "loud"},
            {},
            ["--log-level", "'debug'"],
            id="an unknown level",
        ),
    ],
)
def test_a_mistake_is_named_with_its_origin(
    flags: dict[str, object], environ: dict[str, str], words: list[str]
) -> None:
    with pytest.raises(ConfigError) as caught:
        load(flags, environ, None)

    assert all(word in str(caught.value) for word in words), str(caught.value)
    assert "\n" not in str(caught.value)


def test_variables_that_are_misspelt_are_noticed_and_those_of_services_are_not() -> (
    None
):
    environ = {
        "PILOTHOUSE_RELOAD_NAMESPACE": "shop",
        "PILOTHOUSE_RELOAD_NAMESPACES": "shop",
        "PILOTHOUSE_RELOAD_SERVICE_HOST": "10.0.0.1",
        "PILOTHOUSE_RELOAD_PORT_8080_TCP_ADDR": "10.0.0.1",
        "PILOTHOUSE_RELOAD_PORT": "tcp://10.0.0.1:8080",
        "PILOTHOUSE_CACHE": "/cache",
    }

    assert unknown_variables(environ) == ["PILOTHOUSE_RELOAD_NAMESPACE"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("workers: 3\n", ["workers in ", "is no setting"]),
        ("reload: {cool-down: 5}\n", ["is reload.cooldown meant?"]),
        ("reload: 5\n", ["reload in ", "settings of its own"]),
        ("log-level: loud\n", ["log-level in ", "'debug'"]),
        ("- a\n", ["must be a mapping"]),
        ("a: [\n", ["is not YAML"]),
    ],
)
def test_a_wrong_file_is_named(tmp_path: Path, content: str, words: list[str]) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text(content)

    with pytest.raises(ConfigError) as caught:
        load({}, {}, path)

    assert str(path) in str(caught.value)
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent\.yaml: No such file"):
        load({}, {}, tmp_path / "absent.yaml")


@pytest.mark.parametrize(
    ("text", "seconds"), [("30", 30), ("1.5", 1.5), ("90s", 90), ("15m", 900)]
)
def test_a_span_of_time_is_in_seconds_or_as_in_go(text: str, seconds: float) -> None:
    environ = {"PILOTHOUSE_GRACEFUL_SHUTDOWN_TIMEOUT": text}

    settings = load({}, environ, None)

    assert settings.graceful_shutdown_timeout.total_seconds() == seconds


def test_a_span_that_is_none_is_refused_with_what_fits() -> None:
    environ = {"PILOTHOUSE_GRACEFUL_SHUTDOWN_TIMEOUT": "soon"}

    with pytest.raises(ConfigError, match=r"PILOTHOUSE_GRACEFUL_.*90s, 15m or 1h30m"):
        load({}, environ, None)


def test_the_bundle_controller_has_a_section_of_its_own() -> None:
    environ = {
        "PILOTHOUSE_BUNDLE_NAMESPACES": "shop,blog",
        "PILOTHOUSE_BUNDLE_ALLOWED_WERF_IMAGES": "registry.werf.io/*",
        "PILOTHOUSE_BUNDLE_WATCH_VALUES": "false",
    }
    bundle = load({"bundle.max_active_jobs": 3}, environ, None).bundle

    assert bundle.namespaces == ("shop", "blog")
    assert bundle.allowed_werf_images == ("registry.werf.io/*",)
    assert bundle.max_active_jobs == 3
    assert not bundle.watch_values
    with pytest.raises(ConfigError, match="--bundle-cross-namespace-policy"):
        load({"bundle.cross_namespace_policy": "Maybe"}, {}, None)
