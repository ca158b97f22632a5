"""What the original's flags and environment come to."""

from __future__ import annotations

from dataclasses import fields, replace
from datetime import timedelta

import pytest

from controller_runtime import ConfigError
from controllers.reload.filters import selector
from controllers.reload.options import (
    AlertFormat,
    AlertOptions,
    AnnotationKeys,
    CronJobStrategy,
    ExtraReference,
    ReloadOptions,
    Strategy,
)
from controllers.reload.sources import SourceKind
from controllers.reload.sources.hashing import Hashing, MarkerHash
from controllers.reload.terms import Window
from controllers.reload.workloads import ExtraWorkload
from controllers.reloader.settings import FLAGS, ReloaderSettings, read

SPC = SourceKind.SECRET_PROVIDER_CLASS


def settings(*arguments: str, **environ: str) -> ReloaderSettings:
    return read(arguments, environ)


def options(*arguments: str, **environ: str) -> ReloadOptions:
    return settings(*arguments, **environ).options


def test_without_flags_everything_is_as_in_the_original() -> None:
    found = settings()

    assert found.options == ReloadOptions(ignored_sources=frozenset({SPC}))
    assert found.bind_address == ":9090"
    assert found.election is None
    assert (found.log_format, found.log_level) == ("logfmt", "info")
    assert found.remarks == ()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--auto-reload-all"], {"auto_reload_all": True}),
        (["--auto-reload-all=false"], {}),
        (["--reload-strategy", "annotations"], {"strategy": Strategy.ANNOTATIONS}),
        (["--reload-strategy=default"], {}),
        (["--reload-on-create=true"], {"reload_on_create": True}),
        (["--reload-on-delete", "true"], {"reload_on_delete": True}),
        (["--sync-after-restart=true"], {"sync_after_restart": True}),
        (["--is-Argo-Rollouts=true"], {}),
        (["--is-argo-rollouts", "true"], {}),
        (["--enable-csi-integration"], {"ignored_sources": frozenset()}),
        (
            ["--resources-to-ignore=ConfigMaps"],
            {"ignored_sources": frozenset({SPC, SourceKind.CONFIG_MAP})},
        ),
        (
            ["--ignored-workload-types=jobs,cronjobs"],
            {"ignored_workloads": frozenset({"Job", "CronJob"})},
        ),
        (["--namespaces=a,b"], {"namespaces": ("a", "b")}),
        (
            ["--namespaces-to-ignore", "a,b"],
            {"namespaces_to_ignore": frozenset({"a", "b"})},
        ),
        (
            ['--namespace-selector="team in (a,b)"', "--namespace-selector=x:*"],
            {"namespace_selector": "team in (a,b),x:*"},
        ),
        (["--debounce=0"], {"debounce": timedelta()}),
        (["--debounce=1s"], {"debounce": timedelta(seconds=1)}),
        (["--debounce-max", "1m"], {"debounce_max": timedelta(minutes=1)}),
        (["--interim=0"], {"interim": timedelta()}),
        (["--cooldown=5m"], {"cooldown": timedelta(minutes=5)}),
        (["--storm-brake=0"], {"storm_brake": None}),
        (["--storm-brake=10/5m"], {}),
        (
            ["--window", "0 2 * * *; 2h"],
            {"windows": (Window("0 2 * * *", timedelta(hours=2)),)},
        ),
        (["--reload-qps=0"], {"reloads_per_second": 0.0}),
        (["--resource-label-selector=a=b"], {"resource_label_selector": "a=b"}),
        (["--dry-run"], {"dry_run": True}),
        (["--metrics-by-workload"], {"count_by_workload": True}),
        (["--strict-auto-false"], {"strict_auto_false": True}),
        (["--cronjob-strategy=patch"], {"cronjob_strategy": CronJobStrategy.PATCH}),
        (["--allow-cross-namespace"], {"allow_cross_namespace": True}),
        (["--legacy-trigger-env", "never"], {"legacy_trigger_env": "never"}),
        (["--recreate-finished-jobs"], {"recreate_finished_jobs": True}),
        (
            ["--extra-references=imagePullSecrets,CSINodePublish"],
            {"extra_references": frozenset(ExtraReference)},
        ),
        (
            ["--extra-workloads=a/v1/B:.spec.c", "--extra-workloads=v1/D:.e"],
            {
                "extra_workloads": (
                    ExtraWorkload.parse("a/v1/B:.spec.c"),
                    ExtraWorkload.parse("v1/D:.e"),
                )
            },
        ),
        (["--marker-hash=sha256"], {"hashing": Hashing(marker=MarkerHash.SHA256)}),
        (["--restart-strategy-all-kinds"], {"restart_all_kinds": True}),
        (["--max-concurrent-rollouts=5"], {"max_concurrent_rollouts": 5}),
        (
            ["--max-concurrent-rollouts-per-namespace", "2"],
            {"max_concurrent_rollouts_per_namespace": 2},
        ),
        (["--rollout-timeout=90s"], {"rollout_timeout": timedelta(seconds=90)}),
    ],
)
def test_each_flag_says_what_it_says_in_the_original(
    arguments: list[str], expected: dict[str, object]
) -> None:
    usual: dict[str, object] = {"ignored_sources": frozenset({SPC})}

    assert options(*arguments) == ReloadOptions(**{**usual, **expected})  # type: ignore[arg-type]  # any option


def test_alerts_take_the_variables_of_the_original() -> None:
    found = options(
        ALERT_ON_RELOAD="true",
        ALERT_SINK=" Slack ",
        ALERT_WEBHOOK_URL=" https://hooks.example/x\n",
        ALERT_WEBHOOK_PROXY="http://proxy:3128",
        ALERT_ADDITIONAL_INFO="eu-1",
    )

    assert found.alerts == AlertOptions(
        url="https://hooks.example/x",
        format=AlertFormat.SLACK,
        info="eu-1",
        proxy="http://proxy:3128",
    )


@pytest.mark.parametrize("word", ["", "raw", "webhook", "default", "pigeon"])
def test_a_sink_that_the_original_does_not_know_gets_text(word: str) -> None:
    url = "https://hooks.example/x"
    found = options(ALERT_ON_RELOAD="true", ALERT_WEBHOOK_URL=url, ALERT_SINK=word)

    assert (found.alerts.url, found.alerts.format) == (url, AlertFormat.RAW)


@pytest.mark.parametrize("on", ["", "false", "True", "1"])
def test_alerts_are_sent_if_they_are_asked_for_with_the_word_true_alone(
    on: str,
) -> None:
    found = options(ALERT_ON_RELOAD=on, ALERT_WEBHOOK_URL="https://hooks.example/x")

    assert found.alerts.url == ""


def test_alerts_to_nowhere_are_remarked_upon() -> None:
    (remark,) = settings(ALERT_ON_RELOAD="true").remarks

    assert "ALERT_WEBHOOK_URL" in remark


def test_a_namespace_of_the_environment_counts_unless_flags_name_some() -> None:
    """Scenario 31: TestResolveWatchNamespaces; a list, the environment, or all."""
    assert options().namespaces == options(KUBERNETES_NAMESPACE="").namespaces == ()
    assert options("--namespaces=", KUBERNETES_NAMESPACE="shop").namespaces == ("shop",)
    assert options(KUBERNETES_NAMESPACE="shop").namespaces == ("shop",)
    named = options("--namespaces=blog", KUBERNETES_NAMESPACE="shop")
    assert named.namespaces == ("blog",)


@pytest.mark.parametrize(
    ("flag", "field"),
    [
        ("auto-annotation", "auto"),
        ("secret-auto-annotation", "secret_auto"),
        ("configmap-auto-annotation", "configmap_auto"),
        ("auto-search-annotation", "search"),
        ("search-match-annotation", "match"),
        ("secret-annotation", "secret_reload"),
        ("configmap-annotation", "configmap_reload"),
        ("ignore-annotation", "ignore"),
        ("secret-exclude-annotation", "secret_exclude"),
        ("secretproviderclass-annotation", "spc_reload"),
        ("depends-on-annotation", "depends_on"),
        ("canary-annotation", "canary"),
    ],
)
def test_the_key_of_an_annotation_may_be_another(flag: str, field: str) -> None:
    keys = options(f"--{flag}=example.com/x").keys

    changed = [
        it.name
        for it in fields(AnnotationKeys)
        if getattr(keys, it.name) != getattr(AnnotationKeys(), it.name)
    ]
    assert changed == [field]
    assert getattr(keys, field) == "example.com/x"


def test_high_availability_takes_the_name_and_the_place_of_the_pod() -> None:
    election = settings("--enable-ha", POD_NAME="p", POD_NAMESPACE="ops").election

    assert election is not None
    assert (election.name, election.namespace) == ("stakater-reloader-lock", "ops")
    assert election.identity == "p"


@pytest.mark.parametrize(
    ("word", "ignored"),
    [
        ("configMaps", SourceKind.CONFIG_MAP),
        ("CONFIGMAPS", SourceKind.CONFIG_MAP),
        ("secrets", SourceKind.SECRET),
        ("Secrets", SourceKind.SECRET),
    ],
)
def test_a_kind_to_ignore_is_named_in_any_case(word: str, ignored: SourceKind) -> None:
    """Scenario 31: TestGetIgnoredResourcesList; both are refused, below."""
    found = options(f"--resources-to-ignore={word}").ignored_sources

    assert found == {ignored, SPC}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--reload-strategy=restart"], "--reload-strategy=restart"),
        (["--resources-to-ignore=configMaps,secrets"], "nothing would reload"),
        (["--resources-to-ignore=pods"], "'pods' is none of configmaps, secrets"),
        (["--enable-ha"], "POD_NAME and POD_NAMESPACE"),
        (["--debounce=500"], "--debounce: '500' is no duration"),
        (["--storm-brake=often"], "--storm-brake: 'often' is no number of reloads"),
        (["--window=at night"], "--window: 'at night' is no window"),
        (["--reload-qps=-1"], "--reload-qps=-1 is no number from 0"),
        (["--reload-qps=nan"], "--reload-qps=nan is no number from 0"),
        (["--enable-ha=maybe"], "neither true nor false"),
        (["--max-concurrent-rollouts=many"], "is no number such as 5"),
        (["--rollout-timeout=soon"], "--rollout-timeout"),
    ],
)
def test_what_cannot_be_used_is_refused_with_a_sentence(
    arguments: list[str], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        settings(*arguments)


def test_a_sink_that_there_is_not_is_a_raw_one_and_named() -> None:
    found = settings(ALERT_SINK="Slak")

    assert found.options.alerts.format is AlertFormat.RAW
    assert found.remarks[0].startswith("ALERT_SINK=slak is none of slack, teams")
    assert settings(ALERT_SINK="Slack").remarks == ()
    assert settings(ALERT_SINK="webhook").remarks == ()


def test_what_has_no_effect_is_named() -> None:
    assert settings("--metrics-secure").remarks == ("--metrics-secure has no effect",)
    assert settings("--metrics-secure=false").remarks == ()


@pytest.mark.parametrize(
    ("arguments", "same", "said"),
    [
        (["--auto-reload-all", "false"], ["--auto-reload-all"], "'false' is no flag"),
        (["manager"], [], "'manager' is no flag"),
        (["--reload-on-create=yes"], [], "--reload-on-create=yes is neither"),
        (["--is-Argo-Rollouts", "maybe"], [], "--is-Argo-Rollouts=maybe is neither"),
        (["--log-level=loud"], [], "--log-level=loud"),
        (["--log-format=text"], [], "--log-format=text"),
        (
            ["--ignored-workload-types=pods,Jobs"],
            ["--ignored-workload-types=jobs"],
            "'pods' is none of cronjobs, jobs",
        ),
    ],
)
def test_what_the_original_takes_and_ignores_is_remarked_upon(
    arguments: list[str], same: list[str], said: str
) -> None:
    found = settings(*arguments)

    (remark,) = found.remarks
    assert said in remark
    assert replace(found, remarks=()) == settings(*same)


@pytest.mark.parametrize(
    "argument", ["--reload-on-delete=", "--is-Argo-Rollouts=", "--log-level=INFO"]
)
def test_what_says_nothing_new_is_not_remarked_upon(argument: str) -> None:
    assert settings(argument) == settings()


@pytest.mark.parametrize(
    ("arguments", "address"),
    [
        ([], "0"),
        (["--pprof-addr=:1"], "0"),
        (["--enable-pprof"], ":6060"),
        (["--enable-pprof=true", "--pprof-addr", "127.0.0.1:1"], "127.0.0.1:1"),
    ],
)
def test_where_the_original_has_pprof_there_is_a_look_inside(
    arguments: list[str], address: str
) -> None:
    found = settings(*arguments)

    assert (found.debug_address, found.remarks) == (address, ())


SWITCHES = """
auto-reload-all sync-after-restart enable-csi-integration enable-ha enable-pprof
leader-elect metrics-secure
"""

TEXTS = {
    "reload-strategy": "annotations",
    "reload-on-create": "true",
    "reload-on-delete": "true",
    "is-Argo-Rollouts": "true",
    "is-argo-rollouts": "true",
    "resources-to-ignore": "secrets",
    "ignored-workload-types": "jobs,cronjobs",
    "namespaces": '"a","b"',
    "namespaces-to-ignore": "a,b",
    "namespace-selector": '"team in (a,b)"',
    "resource-label-selector": "a:*",
    "webhook-url": "https://hooks.example/x",
    "log-format": "json",
    "log-level": "debug",
    "pprof-addr": ":7070",
    "metrics-bind-address": ":8080",
    "health-probe-bind-address": ":8081",
    "auto-annotation": "example.com/x",
    "secret-auto-annotation": "example.com/x",
    "configmap-auto-annotation": "example.com/x",
    "auto-search-annotation": "example.com/x",
    "search-match-annotation": "example.com/x",
    "secret-annotation": "example.com/x",
    "configmap-annotation": "example.com/x",
    "ignore-annotation": "example.com/x",
    "pause-deployment-annotation": "example.com/x",
    "pause-deployment-time-annotation": "example.com/x",
}
"""Every flag that takes a value, as the original and the operator spell it."""

WITHOUT_EFFECT = {"is-Argo-Rollouts", "is-argo-rollouts", "pprof-addr"}
"""What is so anyhow, or is only said of something else."""

POD = {"POD_NAME": "p", "POD_NAMESPACE": "ops"}


@pytest.mark.parametrize("name", SWITCHES.split())
def test_each_switch_is_taken_alone_and_with_its_value(name: str) -> None:
    alone = settings(f"--{name}", **POD)

    assert alone == settings(f"--{name}=true", **POD)
    assert settings(f"--{name}=false", **POD) == settings(**POD)
    assert alone != settings(**POD)


@pytest.mark.parametrize(("name", "value"), TEXTS.items())
def test_each_flag_with_a_value_is_taken_in_both_spellings(
    name: str, value: str
) -> None:
    joined = settings(f"--{name}={value}")

    assert joined == settings(f"--{name}", value)
    assert (joined != settings()) == (name not in WITHOUT_EFFECT)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("KUBERNETES_NAMESPACE", "shop"),
        ("RELOADER_NAMESPACE", "ops"),
        ("RELOADER_DEPLOYMENT_NAME", "reloader"),
        ("METRICS_COUNT_BY_NAMESPACE", "enabled"),
    ],
)
def test_each_variable_says_something(variable: str, value: str) -> None:
    assert settings(**{variable: value}) != settings()


@pytest.mark.parametrize("value", ["", "true", "Enabled", "disabled"])
def test_namespaces_are_counted_for_one_word_alone(value: str) -> None:
    assert not options(METRICS_COUNT_BY_NAMESPACE=value).count_by_namespace
    assert options(METRICS_COUNT_BY_NAMESPACE="enabled").count_by_namespace


@pytest.mark.parametrize("name", ["POD_NAME", "POD_NAMESPACE"])
def test_an_election_takes_both_variables_of_the_pod(name: str) -> None:
    with pytest.raises(ConfigError, match=name):
        settings("--leader-elect", **{k: v for k, v in POD.items() if k != name})


def test_a_quoted_item_of_a_list_may_hold_commas_and_the_quotes_go() -> None:
    """The original's chart passes `--namespace-selector="…"`, quotes and all."""
    found = options('--namespace-selector="a in (x,y)",b=*')

    assert found.namespace_selector == "a in (x,y),b=*"
    assert options('--namespaces="a","b"').namespaces == ("a", "b")
    with pytest.raises(ConfigError, match="--namespaces"):
        options('--namespaces="a').namespaces  # noqa: B018 - it raises before


def test_a_selector_is_whole_whatever_the_list_makes_of_it() -> None:
    """The original's chart passes it without quotes; `y)` stands there twice."""
    text = "a in (x,y),b notin (w,y)"
    found = options(f"--resource-label-selector={text}").resource_label_selector

    assert str(selector(found, flag="")) == text


def test_logs_are_asked_for_in_the_words_of_logrus() -> None:
    found = settings("--log-format=json", "--log-level", "warn")

    assert (found.log_format, found.log_level) == ("json", "warning")


def test_no_flag_is_there_twice() -> None:
    names = [name for flag in FLAGS for name in (flag.name, *flag.aliases)]

    assert len(names) == len(set(names))


def test_the_annotations_of_a_pause_may_have_other_names() -> None:
    found = settings(
        "--pause-deployment-annotation=example.com/rest",
        "--pause-deployment-time-annotation",
        "example.com/since",
    )

    assert found.options.keys.pause_period == "example.com/rest"
    assert found.options.keys.paused_at == "example.com/since"
    assert found.remarks == ()
