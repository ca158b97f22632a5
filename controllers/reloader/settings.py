"""The original's flags and environment → what to run.

Names, defaults and what goes before what are those of stakater/Reloader
(`internal/pkg/cmd/reloader.go`, `internal/pkg/options/flags.go`). What it refuses is
refused here, and nothing else of its flags: who changes over must not find a pod that
does not start. What it takes and has no use, there or here, is named in a remark.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Literal, TypeVar

from controller_runtime import ConfigError, Duration, LeaderElectionOptions
from controllers.reload.choices import (
    brake,
    extra_workloads,
    hashing,
    ignored_sources,
    ignored_workloads,
    windows,
)
from controllers.reload.options import (
    AlertFormat,
    AlertOptions,
    AnnotationKeys,
    CronJobStrategy,
    ExtraReference,
    LegacyTrigger,
    ReloadOptions,
    Strategy,
)
from controllers.reload.sources import SourceKind
from controllers.reload.sources.hashing import Hashing, MarkerHash
from controllers.reloader.flags import Flag, FlagKind, Flags, parse

LEASE = "stakater-reloader-lock"
"""Name of the Lease; replicas of the original take turns with ours."""

_TEXT, _LIST = FlagKind.TEXT, FlagKind.LIST
_SWITCH, _WORD = FlagKind.SWITCH, FlagKind.WORD

_KEYS: Mapping[str, str] = {
    "auto-annotation": "auto",
    "configmap-auto-annotation": "configmap_auto",
    "secret-auto-annotation": "secret_auto",
    "secretproviderclass-auto-annotation": "spc_auto",
    "configmap-annotation": "configmap_reload",
    "secret-annotation": "secret_reload",
    "secretproviderclass-annotation": "spc_reload",
    "configmap-exclude-annotation": "configmap_exclude",
    "secret-exclude-annotation": "secret_exclude",
    "secretproviderclass-exclude-annotation": "spc_exclude",
    "auto-search-annotation": "search",
    "search-match-annotation": "match",
    "ignore-annotation": "ignore",
    "rollout-strategy-annotation": "rollout_strategy",
    "pause-deployment-annotation": "pause_period",
    "pause-deployment-time-annotation": "paused_at",
    "depends-on-annotation": "depends_on",
    "canary-annotation": "canary",
}
"""Flag → field of `AnnotationKeys`. Four of them the original does not have."""

FLAGS: Sequence[Flag] = (
    Flag("auto-reload-all", _SWITCH, "Reload what does not say auto: false."),
    Flag("reload-strategy", _TEXT, "env-vars (default) or annotations."),
    Flag("reload-on-create", _WORD, "true: reload for a source that appears."),
    Flag("reload-on-delete", _WORD, "true: reload for a source that goes."),
    Flag("sync-after-restart", _SWITCH, "With reload-on-create, look back too."),
    Flag(
        "is-Argo-Rollouts",
        _WORD,
        "Taken; Rollouts are reloaded when the server has them.",
        ("is-argo-rollouts",),
    ),
    Flag("enable-csi-integration", _SWITCH, "Reload for SecretProviderClasses."),
    Flag("enable-ha", _SWITCH, "Work on one replica of several."),
    Flag("resources-to-ignore", _LIST, "configmaps or secrets."),
    Flag("ignored-workload-types", _LIST, "jobs, cronjobs."),
    Flag("namespaces", _LIST, "Only these; Roles there are enough."),
    Flag("namespaces-to-ignore", _LIST, "Not these."),
    Flag("namespace-selector", _LIST, "Only namespaces with such labels."),
    Flag("resource-label-selector", _LIST, "Only sources with such labels."),
    Flag("webhook-url", _TEXT, "POST there instead of reloading."),
    Flag("log-format", _TEXT, "json; by default logfmt."),
    Flag("log-level", _TEXT, "trace, debug, info (default), warning, error …"),
    Flag("enable-pprof", _SWITCH, "Serve /debug: queues, caches and tasks, as JSON."),
    Flag("pprof-addr", _TEXT, "host:port of that; :6060."),
    *(
        Flag(name, _TEXT, f"Annotation instead of {getattr(AnnotationKeys(), field)}.")
        for name, field in _KEYS.items()
    ),
    Flag("metrics-bind-address", _TEXT, "host:port of everything; :9090."),
    Flag("health-probe-bind-address", _TEXT, "host:port of the probes too."),
    Flag("leader-elect", _SWITCH, "The same as enable-ha."),
    Flag("metrics-secure", _SWITCH, "Taken; metrics are plain here."),
    Flag("dry-run", _SWITCH, "Say in Events what would reload; write nothing."),
    Flag("metrics-by-workload", _SWITCH, "Count by workload and source too."),
    Flag("strict-auto-false", _SWITCH, "auto: false switches off all else."),
    Flag("cronjob-strategy", _TEXT, "create (default), patch or ignore."),
    Flag("legacy-trigger-env", _TEXT, "crd (default), never or always."),
    Flag("allow-cross-namespace", _SWITCH, "Name what is in other namespaces."),
    Flag("restart-strategy-all-kinds", _SWITCH, "Evict pods of other kinds too."),
    Flag("max-concurrent-rollouts", _TEXT, "Rollouts at once; 0 is any number."),
    Flag(
        "max-concurrent-rollouts-per-namespace", _TEXT, "The same, in each namespace."
    ),
    Flag("rollout-timeout", _TEXT, "Without headway, a rollout has failed; 10m."),
    Flag("recreate-finished-jobs", _SWITCH, "Run Jobs again that have ended."),
    Flag("extra-references", _LIST, "imagePullSecrets, csiNodePublish."),
    Flag("extra-workloads", _LIST, "group/version/Kind:.path.to.template."),
    Flag("marker-hash", _TEXT, "sha1 (default) or sha256."),
    Flag("hash-key-file", _TEXT, "Keys for all hashes that are shown, one a line."),
    Flag("debounce", _TEXT, "Silence before a reload, 500ms; 0 reloads at once."),
    Flag("debounce-max", _TEXT, "Longest that a change waits for others, 5s."),
    Flag("interim", _TEXT, "How long an empty Secret with an owner is let be; 30s."),
    Flag("cooldown", _TEXT, "Time between two reloads of a workload, 0."),
    Flag("storm-brake", _TEXT, "10/5m: slow down after so many reloads; 0 for none."),
    Flag("window", _TEXT, "When to reload: '0 2 * * 1-5; 2h; Europe/Berlin'."),
    Flag("reload-qps", _TEXT, "Reloads a second of all workloads, 50; 0 for no limit."),
)

VARIABLES: Mapping[str, str] = {
    "KUBECONFIG": "Kubeconfig, outside of a pod.",
    "KUBERNETES_NAMESPACE": "Only this namespace, unless --namespaces says which.",
    "RELOADER_NAMESPACE": "Where reloader-meta-info is written.",
    "RELOADER_DEPLOYMENT_NAME": "Named in it.",
    "POD_NAME": "Needed by --enable-ha: who holds the Lease.",
    "POD_NAMESPACE": "Needed by --enable-ha: where the Lease is.",
    "METRICS_COUNT_BY_NAMESPACE": "enabled: count reloads by namespace too.",
    "ALERT_ON_RELOAD": "true: tell a chat of reloads.",
    "ALERT_WEBHOOK_URL": "Where; it is a secret.",
    "ALERT_SINK": f"{', '.join(AlertFormat)}.",
    "ALERT_WEBHOOK_PROXY": "http://user:password@host:port for alerts.",
    "ALERT_ADDITIONAL_INFO": "Begins each alert.",
}
"""What is read of the environment, and what for."""

_UNUSED = ("metrics-secure",)

_LEVELS: Mapping[str, Literal["debug", "info", "warning", "error"]] = {
    "trace": "debug",
    "debug": "debug",
    "info": "info",
    "warn": "warning",
    "warning": "warning",
    "error": "error",
    "fatal": "error",
    "panic": "error",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ReloaderSettings:
    """What to run."""

    options: ReloadOptions
    bind_address: str = ":9090"
    """Of metrics and probes."""

    probe_address: str = ""
    """Of the probes as well; empty for none."""

    debug_address: str = "0"
    """Of `/debug`; `0` for none."""

    election: LeaderElectionOptions | None = None
    webhook_url: str = ""
    log_format: Literal["json", "logfmt"] = "logfmt"
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    namespace: str = ""
    """Where it runs; empty if nobody says."""

    deployment: str = ""
    """Its Deployment; empty if nobody says."""

    remarks: tuple[str, ...] = ()
    """What was said in vain."""


def read(arguments: Sequence[str], environ: Mapping[str, str]) -> ReloaderSettings:
    """Read flags and environment.

    Raises:
        ConfigError: Something cannot be used; the text names it.
    """
    flags = parse(arguments, FLAGS)
    return ReloaderSettings(
        options=_options(flags, environ),
        bind_address=flags.text("metrics-bind-address", ":9090"),
        probe_address=flags.text("health-probe-bind-address"),
        debug_address=_debug_address(flags),
        election=_election(flags, environ),
        webhook_url=flags.text("webhook-url"),
        log_format="json" if flags.text("log-format") == "json" else "logfmt",
        log_level=_LEVELS.get(flags.text("log-level").lower(), "info"),
        namespace=environ.get("RELOADER_NAMESPACE", ""),
        deployment=environ.get("RELOADER_DEPLOYMENT_NAME", ""),
        remarks=tuple(_remarks(flags, environ)),
    )


def _debug_address(flags: Flags) -> str:
    """Return where pprof would be: what takes its place is no profile, but is JSON."""
    address = flags.text("pprof-addr") or ":6060"
    return address if flags.is_on("enable-pprof") else "0"


def _remarks(flags: Flags, environ: Mapping[str, str]) -> Iterator[str]:
    for name in _UNUSED:
        if flags.is_on(name):
            yield f"--{name} has no effect"
    for word in flags.strays:
        yield f"{word!r} is no flag; the value of a switch follows an equals sign"
    for flag in FLAGS:
        if flag.kind is _WORD and flags.says_true(flag.name) is None:
            value = flags.text(flag.name)
            yield f"--{flag.name}={value} is neither true nor false: taken for false"
    yield from _remarks_on_words(flags)
    url = environ.get("ALERT_WEBHOOK_URL", "").strip()
    if environ.get("ALERT_ON_RELOAD") == "true" and not url:
        yield "ALERT_ON_RELOAD has no effect without ALERT_WEBHOOK_URL"
    sink = environ.get("ALERT_SINK", "").strip().lower()
    if sink and sink not in {*AlertFormat, "webhook", "default"}:
        known = ", ".join(AlertFormat)
        yield f"ALERT_SINK={sink} is none of {known}; it is taken as raw"


def _remarks_on_words(flags: Flags) -> Iterator[str]:
    if (level := flags.text("log-level")).lower() not in {"", *_LEVELS}:
        yield f"--log-level={level} is none of {', '.join(_LEVELS)}: taken for info"
    if (form := flags.text("log-format")) not in {"", "json"}:
        yield f"--log-format={form} is not json: taken for logfmt"
    known = ", ".join(sorted(_JOBS))
    for word in sorted(_lower(flags, "ignored-workload-types") - _JOBS):
        yield f"--ignored-workload-types: {word!r} is none of {known}"


def _options(flags: Flags, environ: Mapping[str, str]) -> ReloadOptions:
    scope = flags.items("namespaces")
    if not scope and environ.get("KUBERNETES_NAMESPACE"):
        scope = (environ["KUBERNETES_NAMESPACE"],)
    return ReloadOptions(
        keys=_keys(flags),
        strategy=_chosen(flags, "reload-strategy", _STRATEGIES, "env-vars"),
        cronjob_strategy=_chosen(
            flags,
            "cronjob-strategy",
            {it.value: it for it in CronJobStrategy},
            "create",
        ),
        legacy_trigger_env=_chosen(
            flags,
            "legacy-trigger-env",
            {it.value: it for it in LegacyTrigger},
            "crd",
        ),
        allow_cross_namespace=flags.is_on("allow-cross-namespace"),
        restart_all_kinds=flags.is_on("restart-strategy-all-kinds"),
        max_concurrent_rollouts=_count(flags, "max-concurrent-rollouts"),
        max_concurrent_rollouts_per_namespace=_count(
            flags, "max-concurrent-rollouts-per-namespace"
        ),
        rollout_timeout=max(_span(flags, "rollout-timeout", "10m"), _SECOND),
        recreate_finished_jobs=flags.is_on("recreate-finished-jobs"),
        dry_run=flags.is_on("dry-run"),
        auto_reload_all=flags.is_on("auto-reload-all"),
        strict_auto_false=flags.is_on("strict-auto-false"),
        reload_on_create=bool(flags.says_true("reload-on-create")),
        reload_on_delete=bool(flags.says_true("reload-on-delete")),
        sync_after_restart=flags.is_on("sync-after-restart"),
        alerts=_alerts(environ),
        count_by_workload=flags.is_on("metrics-by-workload"),
        count_by_namespace=environ.get("METRICS_COUNT_BY_NAMESPACE") == "enabled",
        namespaces=scope,
        namespaces_to_ignore=frozenset(flags.items("namespaces-to-ignore")),
        namespace_selector=flags.joined("namespace-selector"),
        resource_label_selector=flags.joined("resource-label-selector"),
        ignored_sources=_sources(flags),
        ignored_workloads=ignored_workloads(
            _lower(flags, "ignored-workload-types") & _JOBS
        ),
        hashing=_hashing(flags),
        extra_references=_extra_references(flags),
        extra_workloads=extra_workloads(
            flags.items("extra-workloads"), flag="--extra-workloads"
        ),
        debounce=_span(flags, "debounce", "500ms"),
        debounce_max=_span(flags, "debounce-max", "5s"),
        interim=_span(flags, "interim", "30s"),
        cooldown=_span(flags, "cooldown", "0"),
        storm_brake=brake(flags.text("storm-brake", "10/5m"), flag="--storm-brake"),
        windows=windows(flags.text("window"), flag="--window"),
        reloads_per_second=_number(flags, "reload-qps", "50"),
    )


def _span(flags: Flags, name: str, default: str) -> timedelta:
    """Read a time as Go writes it; `0` needs no unit."""
    text = flags.text(name, default) or default
    try:
        return timedelta() if text == "0" else Duration(text)
    except ValueError as error:
        raise ConfigError(f"--{name}: {error}") from None


def _number(flags: Flags, name: str, default: str) -> float:
    """Read a number that is not negative."""
    text = flags.text(name, default) or default
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number <= _NUMBER_MAX:
        raise ConfigError(f"--{name}={text} is no number from 0 to {_NUMBER_MAX}")
    return number


_NUMBER_MAX = 100_000

_SECOND = timedelta(seconds=1)
"""Least that a rollout may take."""


def _alerts(environ: Mapping[str, str]) -> AlertOptions:
    """Read the original's variables; an unknown sink is a raw one, as there."""
    word = environ.get("ALERT_SINK", "").strip().lower()
    is_on = environ.get("ALERT_ON_RELOAD") == "true"
    return AlertOptions(
        url=environ.get("ALERT_WEBHOOK_URL", "").strip() if is_on else "",
        format=AlertFormat(word) if word in set(AlertFormat) else AlertFormat.RAW,
        info=environ.get("ALERT_ADDITIONAL_INFO", "").strip(),
        proxy=environ.get("ALERT_WEBHOOK_PROXY", "").strip(),
    )


def _extra_references(flags: Flags) -> frozenset[ExtraReference]:
    known = {it.lower(): it for it in ExtraReference}
    words = _words(flags, "extra-references", set(known))
    return frozenset(known[word] for word in words)


def _hashing(flags: Flags) -> Hashing:
    marker = _chosen(flags, "marker-hash", {it.value: it for it in MarkerHash}, "sha1")
    keys = flags.text("hash-key-file")
    return hashing(marker, Path(keys) if keys else None, flag="--hash-key-file")


_STRATEGIES = {
    **{it.value: it for it in Strategy},
    "default": Strategy.ENV_VARS,  # the chart's word for it
}


V = TypeVar("V")


def _count(flags: Flags, name: str) -> int:
    """Read how many; none by default."""
    text = flags.text(name, "0")
    if not text.isdecimal() or len(text) > 9:
        raise ConfigError(f"--{name}={text} is no number such as 5")
    return int(text)


def _chosen(flags: Flags, name: str, known: Mapping[str, V], default: str) -> V:
    """Read one of several words."""
    word = flags.text(name, default) or default
    if word not in known:
        raise ConfigError(f"--{name}={word} is none of {', '.join(known)}")
    return known[word]


def _sources(flags: Flags) -> frozenset[SourceKind]:
    words = _words(flags, "resources-to-ignore", {"configmaps", "secrets"})
    if len(words) > 1:
        raise ConfigError(
            "--resources-to-ignore names configmaps and secrets: nothing would reload; "
            "name one"
        )
    ignored = ignored_sources(words)
    if not flags.is_on("enable-csi-integration"):
        ignored |= {SourceKind.SECRET_PROVIDER_CLASS}
    return ignored


def _keys(flags: Flags) -> AnnotationKeys:
    given = {field: flags.text(name) for name, field in _KEYS.items()}
    return AnnotationKeys(**{field: key for field, key in given.items() if key})


def _words(flags: Flags, name: str, known: set[str]) -> frozenset[str]:
    """Read words of which case does not matter."""
    words = _lower(flags, name)
    for word in words - known:
        raise ConfigError(f"--{name}: {word!r} is none of {', '.join(sorted(known))}")
    return words


def _lower(flags: Flags, name: str) -> frozenset[str]:
    return frozenset(item.lower() for item in flags.items(name))


_JOBS = frozenset({"jobs", "cronjobs"})
"""What may be among the ignored workload types."""


def _election(flags: Flags, environ: Mapping[str, str]) -> LeaderElectionOptions | None:
    if not (flags.is_on("enable-ha") or flags.is_on("leader-elect")):
        return None
    pod, namespace = environ.get("POD_NAME", ""), environ.get("POD_NAMESPACE", "")
    if not (pod and namespace):
        raise ConfigError(
            "--enable-ha needs the environment variables POD_NAME and POD_NAMESPACE, "
            "from fieldRef metadata.name and metadata.namespace"
        )
    return LeaderElectionOptions(name=LEASE, namespace=namespace, identity=pod)
