"""Settings of the manager, parsed once: flag beats environment, file, default.

    flag          --reload-workers 4      --metrics-bind-address :9090
    environment   PILOTHOUSE_RELOAD_WORKERS=4
    file          {"reload": {"workers": 4}} as YAML, named by --config

A setting of controller X has the prefix `X` everywhere; the sentence beneath it is the
help of its flag (`flags`). Whatever cannot be used is refused with one sentence that
names the setting, where it came from, and what fits.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from controller_runtime.errors import ConfigError
from controller_runtime.meta import Duration

ENVIRONMENT_PREFIX = "PILOTHOUSE_"

CONTROLLERS = ("reload", "bundle", "release", "autopilot")
"""Every controller, in the order in which they are set up."""

Values: TypeAlias = Mapping[str, object]
"""Dotted name of a setting → its value; `None` means that it was not given."""


def _seconds(value: object) -> object:
    """Read a text as seconds, or as a duration."""
    if not isinstance(value, str):
        return value
    try:
        return float(value)
    except ValueError:
        return Duration(value)


Seconds: TypeAlias = Annotated[timedelta, BeforeValidator(_seconds)]
"""A span of time, given in seconds (`90`, `1.5`) or as in Go (`90s`, `15m`)."""


class _Section(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True
    )


AlertSink: TypeAlias = Literal[
    "raw",
    "slack",
    "slack-fields",
    "teams",
    "teams-card",
    "teams-adaptive",
    "gchat",
    "gchat-cards",
    "json",
]


class ReloadSettings(_Section):
    """Settings of the reload controller."""

    workers: int = Field(default=10, ge=1, le=1000)
    """Workloads that are looked at at once."""

    namespaces: tuple[str, ...] = ()
    """Only workloads, ConfigMaps and Secrets of these namespaces; empty for all."""

    namespaces_to_ignore: tuple[str, ...] = ()
    """Nothing of these namespaces; says nothing beside `namespaces`."""

    namespace_selector: str = ""
    """Only namespaces with such labels; says nothing beside `namespaces`."""

    resource_label_selector: str = ""
    """Only ConfigMaps and Secrets with such labels."""

    resources_to_ignore: tuple[Literal["configmaps", "secrets"], ...] = ()
    """Kinds of sources that are not even watched: `configmaps` or `secrets`."""

    ignored_workload_types: tuple[Literal["jobs", "cronjobs"], ...] = ()
    """Kinds of workloads that are not even watched: `jobs`, `cronjobs`."""

    strategy: Literal["env-vars", "annotations"] = "env-vars"
    """What changes in a pod template, where the workload does not say."""

    cronjob_strategy: Literal["create", "patch", "ignore"] = "create"
    """What a reload of a CronJob is, where it does not say."""

    dry_run: bool = False
    """Say in Events what would reload, and write nothing else."""

    alert_on_reload: bool = False
    """Tell `alert_webhook_url` of reloads."""

    alert_sink: AlertSink = "raw"
    """How it is told."""

    alert_webhook_url: SecretStr = SecretStr("")
    """Where alerts are posted. It is a secret: give it in the environment."""

    alert_webhook_proxy: SecretStr = SecretStr("")
    """Proxy for all alerts that leave the cluster, as `http://host:port`."""

    alert_additional_info: str = ""
    """What is said with each alert, such as the name of the cluster."""

    alert_events: tuple[str, ...] = ("reloaded",)
    """What alerts tell of: `reloaded`, `failed`, `throttled`, `rolloutComplete`,
    `rolloutFailed`."""

    metrics_by_workload: bool = False
    """Count reloads for each workload and source as well, in many series."""

    auto_reload_all: bool = False
    """Treat a workload that says nothing about `auto` as if it said `true`."""

    strict_auto_false: bool = False
    """Let `auto: "false"` switch off all that the same workload asks for."""

    on_create: bool = False
    """Reload for a source that appears while the manager runs."""

    on_delete: bool = False
    """Reload for a source that goes."""

    legacy_trigger_env: Literal["crd", "never", "always"] = "crd"
    """When a reload also leaves the marks of the ReloaderConfig operator: for what a
    config asks for, never, or always."""

    allow_cross_namespace: bool = False
    """Let workloads list sources of other namespaces, as `namespace/name`, and
    ReloaderConfigs name workloads and select sources there."""

    extra_references: tuple[Literal["imagePullSecrets", "csiNodePublish"], ...] = ()
    """What counts as a use of a Secret besides variables and mounted volumes."""

    extra_workloads: tuple[str, ...] = ()
    """Other kinds with a pod template, and where it is, as
    `group/version/Kind:.spec.template`; watched while the server has them."""

    debounce: Seconds = Field(default=timedelta(seconds=0.5), ge=timedelta())
    """How long nothing has to change before a workload reloads; 0 reloads at once."""

    debounce_max: Seconds = Field(default=timedelta(seconds=5), ge=timedelta())
    """How long a change waits at most for others to come with it."""

    interim: Seconds = Field(default=timedelta(seconds=30), ge=timedelta())
    """How long a Secret with an owner may be empty before that counts, since its owner
    may be about to fill it; 0 counts it at once."""

    cooldown: Seconds = Field(default=timedelta(), ge=timedelta())
    """How long changes wait after a reload, where the workload does not say."""

    storm_brake: str = "10/5m"
    """Slow down a workload after so many reloads in such a time; 0 for none."""

    window: str = ""
    """When to reload: schedule as in cron, duration and time zone, such as
    `0 2 * * 1-5; 2h; Europe/Berlin`. Changes wait for it. Empty is at any time."""

    qps: float = Field(default=50.0, ge=0, le=100_000, allow_inf_nan=False)
    """Reloads a second of all workloads together; 0 is no limit."""

    restart_all_kinds: bool = False
    """Let the annotation `rollout-strategy: restart` evict pods of Deployments and
    other kinds too, as a ReloaderConfig's always does."""

    max_concurrent_rollouts: int = Field(default=0, ge=0)
    """Rollouts at once that reloads began; more wait. 0 is any number."""

    max_concurrent_rollouts_per_namespace: int = Field(default=0, ge=0)
    """The same, in each namespace."""

    rollout_timeout: Seconds = Field(
        default=timedelta(minutes=10), ge=timedelta(seconds=1)
    )
    """Time without headway after which a rollout has failed."""

    optional_kinds: bool = True
    """Reload Rollouts of Argo and DeploymentConfigs too, and for SecretProviderClasses,
    while the server has them."""

    marker_hash: Literal["sha1", "sha256"] = "sha1"
    """What stands in pod templates; another one restarts nothing."""

    hash_key_file: Path | None = None
    """File of secret keys, the newest in its first line: what workloads get to see is
    then made with it (HMAC-SHA256), so that nobody can try passwords against it."""

    @field_validator("hash_key_file", mode="before")
    @classmethod
    def _unset(cls, value: object) -> object:
        return None if value == "" else value

    @field_validator(
        "namespaces",
        "namespaces_to_ignore",
        "resources_to_ignore",
        "ignored_workload_types",
        "extra_references",
        "extra_workloads",
        "alert_events",
        mode="before",
    )
    @classmethod
    def _split(cls, value: object) -> object:
        names = _names(value)
        return tuple(filter(None, names)) if isinstance(names, tuple) else names

    @field_validator("resources_to_ignore")
    @classmethod
    def _leaves_something(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(value) > 1:
            raise ValueError("without ConfigMaps and Secrets there is nothing to do")
        return value


class BundleSettings(_Section):
    """Settings of the bundle controller."""

    workers: int = Field(default=20, ge=1, le=1000)
    """Bundles that are looked at at once; each may wait for its registry."""

    namespaces: tuple[str, ...] = ()
    """Only bundles, targets and sources of these namespaces; empty for all."""

    werf_image: str = Field(default="registry.werf.io/werf/werf:2-stable", min_length=1)
    """Image of Jobs whose bundle names none."""

    allowed_werf_images: tuple[str, ...] = ()
    """Patterns with `*` that a bundle's own image must match; empty for any."""

    cross_namespace_policy: Literal["Allow", "Annotated", "Deny"] = "Allow"
    """Whether a bundle may deploy to another namespace; `Annotated`: if the
    ServiceAccount or the Namespace there says so."""

    allow_insecure: bool = True
    """Whether bundles may ask for plain HTTP or trust any certificate."""

    watch_values: bool = True
    """Act at once when values or credentials change; off, Secrets and ConfigMaps are
    read and never listed."""

    max_active_jobs: int = Field(default=20, ge=1)
    """Jobs that run at once."""

    max_size: int = Field(default=20 << 20, ge=1 << 10)
    """Largest bundle in bytes, packed."""

    @field_validator("namespaces", "allowed_werf_images", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return _names(value)

    @field_validator("namespaces", "allowed_werf_images")
    @classmethod
    def _without_blanks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(filter(None, value))


class ReleaseSettings(_Section):
    """Settings of the release controller."""

    workers: int = Field(default=10, ge=1, le=1000)
    """ManagedRoosts that are looked at at once."""

    helm_workers: int = Field(default=4, ge=1, le=100)
    """Helm operations at once, each in a process of its own."""

    namespaces: tuple[str, ...] = ()
    """Only ManagedRoosts, ConfigMaps and Secrets of these namespaces; empty for all."""

    default_service_account: str = ""
    """Account that Helm acts as where an object names none; empty for our own."""

    allow_cross_namespace_refs: bool = False
    """Let values and credentials come from other namespaces than the object's."""

    allow_cross_namespace_target: bool = False
    """Let objects without a service account install in other namespaces."""

    allow_plain_http: bool = False
    """Let registries outside of the cluster be spoken to without TLS."""

    registry_config: Path | None = None
    """File like Docker's config.json with logins for sources that have none."""

    cache: Path | None = None
    """Folder of charts and indexes; unset is one among the system's temporary files."""

    cache_bytes: int = Field(default=1 << 30, ge=1 << 20)
    """Bytes of charts to keep, and as many of indexes."""

    requeue_dependency: Seconds = Field(
        default=timedelta(seconds=30), ge=timedelta(seconds=1)
    )
    """Time between two looks at a dependency that is not ready."""

    @field_validator("namespaces", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return _names(value)

    @field_validator("namespaces")
    @classmethod
    def _without_blanks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(filter(None, value))


class AutopilotSettings(_Section):
    """Settings of the autopilot controller."""

    catalog: Path | None = None
    """Folder of the catalogue; unset is the built-in `kubevirt`."""

    namespace: str = ""
    """Of the source object; empty is what the catalogue says."""

    default_enabled: bool = False
    """A source object without the annotation `autopilot` counts as `true`."""

    metrics_prefix: str = Field(
        default="virt_platform", pattern="^[a-zA-Z_][a-zA-Z0-9_]*$"
    )
    """What the names of its metrics begin with."""

    resync: Seconds = Field(default=timedelta(minutes=5), gt=timedelta())
    """Look at everything again after this long, events or not."""

    verdict_age: Seconds = Field(default=timedelta(minutes=30), ge=timedelta())
    """How long an object without drift is believed to have none while it and its kind
    do not change."""

    retry_first: Seconds = Field(default=timedelta(seconds=1), gt=timedelta())
    """Until an asset that failed is tried again; doubles with each failure."""

    retry_longest: Seconds = Field(default=timedelta(minutes=5), gt=timedelta())
    """Longest of these waits."""

    override_managers: tuple[str, ...] = (
        "kubectl-edit",
        "kubectl-patch",
        "before-first-apply",
    )
    """Field managers whose fields may be taken over where the API server refuses an
    object because of what they wrote in it; empty takes nothing over."""

    throttle_capacity: int = Field(default=5, ge=1, le=1000)
    """Corrections of one object in a burst."""

    throttle_window: Seconds = Field(default=timedelta(minutes=1), gt=timedelta())
    """In which that many corrections come back, evenly."""

    thrash_threshold: int = Field(default=3, ge=1)
    """How often an object may run out of corrections until it is paused."""

    thrash_spacing: Seconds = Field(default=timedelta(seconds=20), ge=timedelta())
    """Between two times that count."""

    @field_validator("override_managers", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return _names(value)

    @field_validator("override_managers")
    @classmethod
    def _without_blanks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(filter(None, value))


class Settings(_Section):
    """Everything that can be set."""

    controllers: tuple[str, ...] = CONTROLLERS
    """Which controllers run, with commas between them. One that is named must be able
    to; of all, one that may not read what it needs is switched off."""

    kubeconfig: Path | None = None
    """File with the cluster's address; unset follows kubectl's rules."""

    context: str | None = None
    """Context of the kubeconfig; unset is its current one."""

    metrics_bind_address: str = ":8080"
    """`host:port` of `/metrics`; `0` serves none."""

    metrics_secure: bool = True
    """HTTPS, and only for accounts that may `get` the path `/metrics`."""

    metrics_cert_path: Path | None = None
    """Folder with `tls.crt` and `tls.key` for secure metrics, which may change at any
    time; unset makes a certificate at the start."""

    health_probe_bind_address: str = ":8081"
    """`host:port` of `/healthz` and `/readyz`; `0` serves none."""

    debug_bind_address: str = "127.0.0.1:8082"
    """`host:port` of `/debug`, for this machine alone by default; `0` serves none."""

    graceful_shutdown_timeout: Seconds = Field(
        default=timedelta(seconds=30), ge=timedelta()
    )
    """Seconds that running work may take to end after SIGTERM."""

    leader_elect: bool = False
    """Work only while this replica holds the Lease; for more than one replica."""

    leader_election_namespace: str = ""
    """Namespace of the Lease; empty is that of the pod."""

    leader_election_name: str = Field(default="pilothouse", min_length=1)
    """Name of the Lease; managers that do different work there need different ones."""

    log_format: Literal["json", "console"] = "json"
    """`json` for machines, `console` for people."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """What is logged: `debug`, `info`, `warning` or `error`, and what is worse."""

    reload: ReloadSettings = ReloadSettings()
    bundle: BundleSettings = BundleSettings()
    release: ReleaseSettings = ReleaseSettings()
    autopilot: AutopilotSettings = AutopilotSettings()

    def is_named(self, controller: str) -> bool:
        """Tell whether the user asked for a controller, not for the default set."""
        return "controllers" in self.model_fields_set and controller in self.controllers

    @field_validator("kubeconfig", "context", "metrics_cert_path", mode="before")
    @classmethod
    def _unset(cls, value: object) -> object:
        # An empty path would be the working folder.
        return None if value == "" else value

    @field_validator("metrics_cert_path")
    @classmethod
    def _of_use(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        if value is not None and not info.data.get("metrics_secure", True):
            raise ValueError("plain metrics have no certificate: see --metrics-secure")
        return value

    @field_validator("controllers", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return _names(value)

    @field_validator("controllers")
    @classmethod
    def _known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if name not in CONTROLLERS:
                raise ValueError(f"{name!r} is none of {', '.join(CONTROLLERS)}")
        return value


def _names(value: object) -> object:
    """Read names with commas between them; each counts once."""
    if not isinstance(value, str):
        return value
    return tuple(dict.fromkeys(name.strip() for name in value.split(",")))


def version() -> str:
    """Return the version of this checkout or image."""
    return (Path(__file__).parent.parent / "VERSION").read_text().strip()


def load(flags: Values, environ: Mapping[str, str], file: Path | None) -> Settings:
    """Merge the three origins.

    Raises:
        ConfigError: A value cannot be used; the text names setting and origin.
    """
    origins: Sequence[tuple[Callable[[str], str], Values]] = (
        (lambda name: f"{_key(name)} in {file}", _from_file(file) if file else {}),
        (_variable, _from_environment(environ)),
        (_flag, {n: v for n, v in flags.items() if v is not None}),
    )
    merged: dict[str, tuple[str, object]] = {}
    for spelled, values in origins:
        merged |= {name: (spelled(name), value) for name, value in values.items()}
    try:
        return Settings.model_validate(_nested({n: v for n, (_, v) in merged.items()}))
    except ValidationError as error:
        raise ConfigError(_sentence(error, merged)) from None


def _from_file(file: Path) -> Values:
    import yaml  # noqa: PLC0415 - most have no such file

    try:
        content = yaml.safe_load(file.read_text())
    except OSError as error:
        raise ConfigError(
            f"cannot read the settings file {file}: {error.strerror}"
        ) from None
    except yaml.YAMLError:
        raise ConfigError(f"the settings file {file} is not YAML") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigError(f"the settings file {file} must be a mapping of settings")
    return dict(_flat(content))


def _flat(content: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, object]]:
    for key, value in content.items():
        name = f"{prefix}{str(key).replace('-', '_')}"
        if isinstance(value, dict):
            yield from _flat(value, f"{name}.")
        else:
            yield name, value


def _from_environment(environ: Mapping[str, str]) -> Values:
    names = {_variable(name): name for name in setting_names(Settings)}
    return {names[v]: value for v, value in environ.items() if v in names}


def setting_names(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Yield the dotted name of every setting of a model."""
    for name, info in model.model_fields.items():
        kind = info.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from setting_names(kind, f"{prefix}{name}.")
        else:
            yield prefix + name


def _nested(values: Values) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for name, value in values.items():
        section, _, key = name.rpartition(".")
        (tree.setdefault(section, {}) if section else tree)[key] = value
    return tree


def _sentence(error: ValidationError, merged: Mapping[str, tuple[str, object]]) -> str:
    first = error.errors(include_url=False)[0]
    name = ".".join(str(part) for part in first["loc"])
    given = next(
        (o for n, (o, _) in merged.items() if name == n or name.startswith(f"{n}.")),
        _flag(name),
    )
    if first["type"] == "extra_forbidden":
        return (
            f"{given} is no setting{_guess(name)}; `run --help` names those there are"
        )
    if first["type"] == "model_type":
        return f"{given} cannot be used: it has settings of its own, such as {{…: …}}"
    problem = first["msg"].removeprefix("Value error, ")
    return f"{given} cannot be used: {problem}"


def _guess(name: str) -> str:
    """Ask for a setting that has nearly this name."""
    near = get_close_matches(name, list(setting_names(Settings)), n=1)
    return f": is {_key(near[0])} meant?" if near else ""


def _flag(name: str) -> str:
    return "--" + name.replace(".", "-").replace("_", "-")


def _variable(name: str) -> str:
    return ENVIRONMENT_PREFIX + name.replace(".", "_").upper()


def _key(name: str) -> str:
    return name.replace("_", "-")


_OF_SERVICES = re.compile(r".*_(SERVICE_HOST|SERVICE_PORT(_.*)?|PORT(_\d+_.*)?)")
"""Variables that Kubernetes puts into pods, named after the Services beside them."""


def unknown_variables(environ: Mapping[str, str]) -> Sequence[str]:
    """Name variables that look like settings of a controller and are none."""
    known = {_variable(name) for name in setting_names(Settings)}
    sections = tuple(f"{ENVIRONMENT_PREFIX}{name.upper()}_" for name in CONTROLLERS)
    return sorted(
        name
        for name in environ.keys() - known
        if name.startswith(sections) and not _OF_SERVICES.fullmatch(name)
    )
