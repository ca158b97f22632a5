"""What can be set about the reload controller."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum

from controller_runtime import Kind
from controllers.reload.braking import BrakeOptions
from controllers.reload.sources import SourceKind
from controllers.reload.sources.hashing import Hashing
from controllers.reload.terms import Window
from controllers.reload.workloads import OPTIONAL_WORKLOADS, ExtraWorkload

_GROUP = "reloader.stakater.com"


class Strategy(StrEnum):
    """What changes in a pod template, so that the pods are made anew."""

    ENV_VARS = "env-vars"
    """A variable of the container that uses the source, with a hash of its content."""

    ANNOTATIONS = "annotations"
    """An annotation that says which source was the last, and when."""


class CronJobStrategy(StrEnum):
    """What a reload of a CronJob is. Its next run reads what is new in any case."""

    CREATE = "create"
    """Run a Job now, besides the schedule, as the original does; none if suspended."""

    PATCH = "patch"
    """Mark the template of its Jobs, and wait for the schedule."""

    IGNORE = "ignore"
    """Nothing."""


class Scope(StrEnum):
    """Which keys of a source count."""

    OBJECT = "object"
    """All."""

    KEYS = "keys"
    """Those that the pods use."""


class ExtraReference(StrEnum):
    """What else counts as using a Secret."""

    IMAGE_PULL_SECRETS = "imagePullSecrets"
    """To pull images with it."""

    CSI_NODE_PUBLISH = "csiNodePublish"
    """To hand it to the driver of a mounted CSI volume (`nodePublishSecretRef`)."""


class AlertFormat(StrEnum):
    """How alerts are written for a sink. The first and the last are the original's."""

    SLACK = "slack"
    """Attachments with a sentence each."""

    TEAMS = "teams"
    """Text, for connectors of Microsoft Teams."""

    GCHAT = "gchat"
    """Text, for Google Chat."""

    SLACK_FIELDS = "slack-fields"
    """Attachments with a title and fields."""

    TEAMS_CARD = "teams-card"
    """A MessageCard, for connectors, which Microsoft is retiring."""

    TEAMS_ADAPTIVE = "teams-adaptive"
    """An Adaptive Card, for workflows of Microsoft Teams."""

    GCHAT_CARDS = "gchat-cards"
    """Cards of Google Chat."""

    JSON = "json"
    """What happened, field by field."""

    RAW = "raw"
    """Plain text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertOptions:
    """Who is told of all reloads. ReloaderConfigs name others, for their own."""

    url: str = field(default="", repr=False)
    """Where alerts are posted; empty for nowhere. All of it is a secret."""

    format: AlertFormat = AlertFormat.RAW

    info: str = ""
    """What is said with each, such as the name of the cluster."""

    events: frozenset[str] = frozenset({"reloaded"})
    """Which events are told there; the original tells of no other."""

    proxy: str = field(default="", repr=False)
    """`http://user:password@host:port` that alerts go through, those of ReloaderConfigs
    too unless they stay in the cluster; empty for none."""

    allow_loopback: bool = False
    """ReloaderConfigs may name receivers at loopback addresses, which are the manager's
    own ports and those of its sidecars. For tests, and managers that run elsewhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnnotationKeys:
    """Names of the annotations that users write; each can be changed by a flag."""

    auto: str = f"{_GROUP}/auto"
    """Workload: reload for any object that the pods use."""

    configmap_auto: str = f"configmap.{_GROUP}/auto"
    """Workload: the same, for ConfigMaps alone."""

    secret_auto: str = f"secret.{_GROUP}/auto"
    """Workload: the same, for Secrets alone."""

    configmap_reload: str = f"configmap.{_GROUP}/reload"
    """Workload: ConfigMaps to reload for, whether the pods use them or not."""

    secret_reload: str = f"secret.{_GROUP}/reload"
    """Workload: Secrets to reload for, whether the pods use them or not."""

    configmap_exclude: str = f"configmaps.exclude.{_GROUP}/reload"
    """Workload: ConfigMaps never to reload for. The plural is the original's."""

    secret_exclude: str = f"secrets.exclude.{_GROUP}/reload"
    """Workload: Secrets never to reload for. The plural is the original's."""

    spc_auto: str = f"secretproviderclass.{_GROUP}/auto"
    """Workload: as `configmap_auto`, for SecretProviderClasses."""

    spc_reload: str = f"secretproviderclass.{_GROUP}/reload"
    """Workload: SecretProviderClasses to reload for."""

    spc_exclude: str = f"secretproviderclasses.exclude.{_GROUP}/reload"
    """Workload: SecretProviderClasses never to reload for."""

    search: str = f"{_GROUP}/search"
    """Workload: reload for used objects that carry `match`."""

    match: str = f"{_GROUP}/match"
    """ConfigMap or Secret: what `search` looks for."""

    ignore: str = f"{_GROUP}/ignore"
    """Workload, ConfigMap or Secret: leave it alone, whatever else is said."""

    pause: str = f"{_GROUP}/pause"
    """Workload: `true` holds reloads until it is taken away; changes wait."""

    pause_period: str = f"deployment.{_GROUP}/pause-period"
    """Deployment: a Go duration. It is paused at a reload, and rolls out when that long
    has passed."""

    paused_at: str = f"deployment.{_GROUP}/paused-at"
    """Deployment: since when it is paused, in RFC 3339. Written by the controller."""
    scope: str = f"{_GROUP}/scope"
    """Workload: a `Scope` of its own."""

    ignore_keys: str = f"{_GROUP}/ignore-keys"
    """Workload, ConfigMap or Secret: keys that do not count, such as a time stamp."""

    strategy: str = f"{_GROUP}/reload-strategy"
    """Workload: a `Strategy` of its own."""

    rollout_strategy: str = f"{_GROUP}/rollout-strategy"
    """Rollout: `restart` restarts the pods and leaves the template as it is. Other
    kinds: the same, by eviction, under `restart_all_kinds`."""

    depends_on: str = f"{_GROUP}/depends-on"
    """Workload: others of its namespace that go first, as `Deployment/db`."""

    canary: str = f"{_GROUP}/canary"
    """Workload: `true` lets it go first, of all in its namespace that reload for the
    same source."""

    cronjob_strategy: str = f"{_GROUP}/cronjob-reload-strategy"
    """CronJob: a `CronJobStrategy` of its own."""

    on_create: str = f"{_GROUP}/reload-on-create"
    """Workload, ConfigMap or Secret: reload when the source appears."""

    on_delete: str = f"{_GROUP}/reload-on-delete"
    """Workload, ConfigMap or Secret: reload when the source goes."""


def flag_of(name: str, stand_in: str = "") -> str:
    """Name a setting for messages, by the flag of `run` and as the stand-in has it.

    Args:
        name: As both have it after their prefixes, such as `namespace-selector`.
        stand_in: What `reloader` has instead; by default a flag of that name.
    """
    return f"--reload-{name} (of `reloader`: {stand_in or f'--{name}'})"


CROSS_NAMESPACE = flag_of("allow-cross-namespace")
"""The flag behind `ReloadOptions.allow_cross_namespace`."""


class LegacyTrigger(StrEnum):
    """When a reload leaves the marks of why-xn/reloader-operator as well."""

    CRD = "crd"
    """When a ReloaderConfig asks for it."""

    NEVER = "never"
    ALWAYS = "always"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReloadOptions:
    """How the reload controller behaves."""

    keys: AnnotationKeys = field(default_factory=AnnotationKeys)
    """Annotations that it obeys."""

    strategy: Strategy = Strategy.ENV_VARS
    """For workloads that do not say."""

    auto_reload_all: bool = False
    """Treat a workload that says nothing about `auto` as if it said `true`."""

    cronjob_strategy: CronJobStrategy = CronJobStrategy.CREATE
    """For CronJobs that do not say."""

    recreate_finished_jobs: bool = False
    """Run Jobs again that have ended, as the original does. By default only those that
    are at work are started anew."""

    dry_run: bool = False
    """Say in Events what would reload, and write nothing else, not even what was
    adopted: that is remembered, for as long as the process lives."""

    strict_auto_false: bool = False
    """Let `auto: "false"` switch off all that the same object asks for. In the original
    it does not: names, `search` and the `auto` of one kind still count."""

    reload_on_create: bool = False
    """Reload for a source that appears while the controller runs. By default it is
    taken as it is; one that comes back with other content counts in any case."""

    reload_on_delete: bool = False
    """Reload for a source that goes."""

    sync_after_restart: bool = False
    """With `reload_on_create`, reload also for sources that appeared while the
    controller was down. What changed meanwhile is found in any case."""

    legacy_trigger_env: LegacyTrigger = LegacyTrigger.CRD
    """When the variable `RELOADER_TRIGGERED_AT` and its annotations are written."""

    hashing: Hashing = field(default_factory=Hashing)
    """Which hashes workloads get to see."""

    extra_references: frozenset[ExtraReference] = frozenset()
    """What counts as a use besides variables and mounted volumes."""

    extra_workloads: tuple[ExtraWorkload, ...] = ()
    """Other kinds with a pod template, watched as long as the server has them."""

    allow_cross_namespace: bool = False
    """Let workloads list sources of other namespaces, as `namespace/name`, and
    ReloaderConfigs name workloads and select sources there."""

    restart_all_kinds: bool = False
    """Let `rollout_strategy` count for Deployments, StatefulSets, DaemonSets and
    DeploymentConfigs too: their pods are evicted. In the original it does nothing
    there. What a ReloaderConfig says counts in any case."""

    max_concurrent_rollouts: int = 0
    """Rollouts under way at once that reloads began; more wait. 0 is any number."""

    max_concurrent_rollouts_per_namespace: int = 0
    """The same, in each namespace."""

    rollout_timeout: timedelta = timedelta(minutes=10)
    """A rollout that makes no headway for this long has failed, and waits for nothing
    any more. Deployments that allow for more in `progressDeadlineSeconds` get it."""

    namespaces: tuple[str, ...] = ()
    """Only workloads and sources of these namespaces; empty for all."""

    namespaces_to_ignore: frozenset[str] = frozenset()
    """None of these; says nothing beside `namespaces`."""

    namespace_selector: str = ""
    """Only namespaces with such labels; says nothing beside `namespaces`. What a
    namespace has when it gets them is taken as it is. See `filters.selector`."""

    resource_label_selector: str = ""
    """Only ConfigMaps and Secrets with such labels. See `filters.selector`."""

    ignored_sources: frozenset[SourceKind] = frozenset()
    """Kinds of sources that are not even watched."""

    ignored_workloads: frozenset[str] = frozenset()
    """Kinds of workloads that are not even watched, such as `Job`. The others of
    `OPTIONAL_WORKLOADS` are watched as long as the server has them."""

    count_by_namespace: bool = False
    """Count reloads for each namespace as well, as the original can."""

    debounce: timedelta = timedelta(milliseconds=500)
    """How long nothing has to change before a workload reloads, so that changes which
    come together are one reload; 0 reloads at once."""

    debounce_max: timedelta = timedelta(seconds=5)
    """How long the first of several changes waits for the others at most."""

    interim: timedelta = timedelta(seconds=30)
    """How long a Secret that somebody makes may be empty before that counts; 0 counts
    it at once."""

    cooldown: timedelta = timedelta()
    """How long changes wait after a reload, where nobody says; 0 is not at all."""

    storm_brake: BrakeOptions | None = field(default_factory=BrakeOptions)
    """Slows down what reloads again and again; `None` does not."""

    windows: tuple[Window, ...] = ()
    """When workloads may reload: while all of these are open. Empty for at any time."""

    reloads_per_second: float = 50.0
    """Reloads of all workloads together; a second's worth may come at once. 0 is no
    limit. The server has other clients."""
    count_by_workload: bool = False
    """Count reloads for each workload and source as well: many series."""

    alerts: AlertOptions = field(default_factory=AlertOptions)

    workers: int = 10
    """Workloads that are looked at at once; each waits for one request at most."""

    poll: timedelta = timedelta(seconds=30)
    """Workloads that may be listed and not watched, as under the original's role, are
    listed this often, besides when a source has changed."""

    resync: timedelta = timedelta(minutes=10)
    """Look at every workload again after this long, events or not: a net that should
    catch nothing."""


def optional_workloads(options: ReloadOptions) -> Mapping[str, Kind]:
    """Name the kinds of workloads that may be there, as keys call them."""
    wanted: dict[str, Kind] = {
        kind: model
        for kind, model in OPTIONAL_WORKLOADS.items()
        if kind not in options.ignored_workloads
    }
    return wanted | {extra.kind: extra.gvk for extra in options.extra_workloads}
