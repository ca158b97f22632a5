"""Workloads restart when the ConfigMaps and Secrets that they use change.

    annotations   what a workload asks for        digest     content → hashes
    references    what its pods use               sources    hashed, then dropped
    rollout       what to write, if anything      workloads  all kinds in one view
    patches       how that is written             batch      the same, of Jobs
    observe       the cache, in these words       happenings what a look cannot see
    feeds         what makes it look              optional   kinds that come and go
    filters       what is left out                writer     all that is written
    controller    one look at one workload        webhook    telling instead of doing
    gates         what keeps a reload waiting     terms      what was asked of them
    news          what became of a reload         announcer  who tells the world
    metrics       what is counted                 choices    settings → options
    rehearsal     the writer of a dry run         keys       which of a source count
    hashing       which hashes are shown          asked      ReloaderConfig → Config
    claims        what a Config wants             configs    all of them, by both ends
    configfeed    they come, change and go        lender     what the cache lacks
    wanted        what they are about             entries    the cache, to readers
    journal       reloads, until counted          accounts   what a status counts
    traces        what workloads say of it        sights     what a config comes to
    statuses      what its status says            statusfeeds, statuscontroller …
    explain       which rule decides              preview    that, over HTTP
    alerts        telling chats of it             pause      a rest after each reload
    upkeep        what else falls due             ageing     what the record drops
    memory        records that go back            ledger     Jobs that outlive a crash
    progress      how far a rollout is            rollouts   followed to their end
    budget        how many at once                order      which goes first
    rollback      taking back what fails
    restarts      which pods are evicted          restarter  … step by step
    aftermath     what follows a reload           patterns   regular expressions

Gates of time: `suspend`, `windows` (`schedules`), `cooldown`, `brake` (`braking`),
`debounce` and `rate`; what they remember is `fading`.

The annotations, and the marks left in pod templates, are stakater/Reloader's: a
cluster can change over without a restart. Unlike it, this controller remembers on the
workload what it runs with, so that no change is missed or told twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from api.apps.v1 import ControllerRevision
from api.batch.v1 import CronJob, Job
from api.reload.v1alpha1 import ReloaderConfig
from api.secretsstore.v1 import SecretProviderClass
from controller_runtime import (
    Backoff,
    Controller,
    ControllerOptions,
    ExponentialLimiter,
    Group,
    Informer,
    Manager,
    Permission,
)
from controllers.reload.aftermath import Aftermath
from controllers.reload.ageing import Ageing
from controllers.reload.alerts.desk import AlertDesk
from controllers.reload.alerts.sender import Sender, SenderOptions
from controllers.reload.alerts.sinks import SecretUrls
from controllers.reload.announcer import Announcer
from controllers.reload.brake import StormBrake
from controllers.reload.budget import BudgetGate
from controllers.reload.configfeed import ConfigFeed
from controllers.reload.configs import Configs
from controllers.reload.controller import Reloader
from controllers.reload.cooldown import Cooldown
from controllers.reload.debounce import Debounce
from controllers.reload.feeds import Feeds
from controllers.reload.gates import Gate, Gates, HoldReason, SuspendGate
from controllers.reload.happenings import Happenings
from controllers.reload.journal import Journal
from controllers.reload.ledger import Ledger, Recall
from controllers.reload.lender import Lender
from controllers.reload.memory import Memory
from controllers.reload.metrics import ReloadMetrics
from controllers.reload.observe import NAMESPACE, Observer, Views
from controllers.reload.optional import Guest, Guests
from controllers.reload.options import ReloadOptions, optional_workloads
from controllers.reload.order import OrderGate
from controllers.reload.pause import Resuming
from controllers.reload.preview import Preview
from controllers.reload.rate import RateLimit
from controllers.reload.rehearsal import Rehearsal
from controllers.reload.restarter import POD, Restarter
from controllers.reload.rollback import Rollback
from controllers.reload.rollouts import Rollouts
from controllers.reload.sights import Sights
from controllers.reload.sources import SourceKind
from controllers.reload.statuscontroller import ConfigReader, StatusReconciler
from controllers.reload.statusfeeds import StatusFeeds, Wakes
from controllers.reload.suspend import NamespaceGate, Suspensions
from controllers.reload.webhook import Notify
from controllers.reload.windows import Windows
from controllers.reload.workloads import WORKLOADS, WorkloadKey
from controllers.reload.writer import Acts, Writer
from controllers.web import Reach

_NAME = "reload"

_STATUS_NAME = "reload-config"

_STATUS_WORKERS = 4
"""Configs whose statuses are written at once; reloads have their own workers."""

_RESTARTERS = 5
"""Steps of restarts that are made at once: each lists the pods of one workload."""

_AFTER_FAILURE = Backoff(base=1.0, ceiling=300.0)
"""Seconds until a refused write is tried again: what refuses it takes a human."""


def setup(
    manager: Manager, options: ReloadOptions, *, notify: Notify | None = None
) -> Preview:
    """Add the reload controller to a manager that has not started.

    Args:
        manager: Where it runs.
        options: How it behaves.
        notify: Told of changes, instead of a reload.

    Returns:
        What answers `/preview`; the manager's debug server has it already.

    Raises:
        ConfigError: A selector cannot be read.
    """
    lender = Lender(manager.api_reader)
    configs = Configs()
    views = Views.of(manager.cache, options, configs.covers)
    observer = Observer.declare(views, options, configs, lender)
    happenings = Happenings()
    metrics = ReloadMetrics(
        manager.metrics.registry,
        by_namespace=options.count_by_namespace,
        by_workload=options.count_by_workload,
    )
    wakes = Wakes()
    config_feed = ConfigFeed(
        views.configs,
        configs,
        observer,
        allow_cross_namespace=options.allow_cross_namespace,
        sees_namespaces=views.namespaces is not None,
    )
    config_feed.told = wakes
    lender.told = lambda key: config_feed.look([key])
    suspensions = Suspensions(options.keys.pause, is_asked=not options.namespaces)
    if observer.namespaces is not None:
        suspensions.know(observer.namespaces)
    rollouts = Rollouts(timeout=options.rollout_timeout.total_seconds())
    feeds = Feeds(
        *(views, observer, happenings, metrics, configs, suspensions), rollouts
    )
    writer: Acts = Rehearsal()
    memory, ledger = Memory(), Ledger(manager.api_reader)
    if not options.dry_run:
        writer = Writer(
            manager.client,
            clock=manager.clock,
            options=options,
            notify=notify,
            memory=memory,
            ledger=ledger,
        )
    journal = Journal(wakes)
    config_feed.gone = journal.forget_config

    def wake(key: WorkloadKey) -> None:
        controller.queue.add(key, cause="woken")

    restarts, restarter = _restarts(manager, options, observer, rollouts, wake)
    waits = (SuspendGate(), NamespaceGate(suspensions), *_gates_of_time(options))
    others = _gates_of_others(options, observer, rollouts, wake)
    rollback = Rollback(rollouts)
    gates = Gates([*waits, *others, rollback, rollouts, journal])
    for reason in HoldReason:
        metrics.watch_pending(reason, partial(gates.count, reason))
    desk = _alert_desk(manager, options, metrics, configs)
    reloader = Reloader(
        *(observer, writer, gates, Announcer(manager.recorder, metrics)),
        Aftermath(observer, writer, rollouts, restarter, clock=manager.clock),
        happenings,
        metrics=metrics,
        clock=manager.clock,
        options=options,
        listeners=[journal, desk],
        memory=memory,
        upkeep=[Resuming(), rollback, Ageing()],
    )
    controller = Controller(
        _NAME,
        reloader,
        sources=(*feeds.always(), config_feed),
        options=ControllerOptions(max_concurrent_reconciles=options.workers),
        limiter=ExponentialLimiter(_AFTER_FAILURE),
        metrics=manager.metrics,
        randomness=manager.random,
        permissions=_permissions(options),
    )
    manager.add(restarts)
    manager.add(controller)
    if isinstance(writer, Writer) and Job.gvk.kind not in options.ignored_workloads:
        recall = Recall(ledger, options.namespaces, writer.owe, controller.queue.add)
        manager.add(recall, group=Group.LEADER_ELECTION)
    metrics.watch_depth(partial(len, controller.queue))
    metrics.watch_queue(manager.metrics.queue(_NAME))
    metrics.watch_rollouts(partial(len, rollouts))
    for kind in (SourceKind.CONFIG_MAP, SourceKind.SECRET):
        if kind in views.sources:
            informer = views.sources[kind].declare(kind.model)
            metrics.watch_sources(kind, partial(_held, informer))
    sights = Sights(
        *(observer, configs, gates, journal, rollouts, manager.clock),
        is_dry=options.dry_run,
    )
    guests = (
        config_feed.guest(),
        *feeds.guests(controller, options),
        *_add_statuses(
            *(manager, options, StatusFeeds(views, configs)),
            *(config_feed, sights, wakes),
        ),
    )
    manager.add(Guests(manager.discovery, guests), group=Group.LEADER_ELECTION)
    manager.add(lender, group=Group.LEADER_ELECTION)
    preview = Preview(observer, gates, reloader.happened, options)
    manager.add_debug_route("/preview", preview.answer)
    return preview


def _add_statuses(
    manager: Manager,
    options: ReloadOptions,
    feeds: StatusFeeds,
    configs: ConfigReader,
    sights: Sights,
    wakes: Wakes,
) -> Iterator[Guest]:
    """Add the controller of statuses; yield what it watches while it is served."""
    controller = Controller(
        _STATUS_NAME,
        StatusReconciler(
            *(configs, sights, sights.journal, manager.api_reader),
            *(manager.recorder("reloader"), manager.clock),
            resync=options.resync,
        ),
        sources=(*feeds.always(options.ignored_workloads), wakes),
        options=ControllerOptions(max_concurrent_reconciles=_STATUS_WORKERS),
        limiter=ExponentialLimiter(_AFTER_FAILURE),
        metrics=manager.metrics,
        randomness=manager.random,
        permissions=[
            Permission(
                ReloaderConfig,
                ("patch",),
                subresource="status",
                namespaces=options.namespaces or None,
            )
        ],
    )
    manager.add(controller)
    yield from feeds.guests(controller, options)


def _gates_of_time(options: ReloadOptions) -> Iterator[Gate]:
    """Yield the gates of time: what holds longest comes first, and gives its reason."""
    yield Windows()
    yield Cooldown()
    if options.storm_brake is not None:
        yield StormBrake(options.storm_brake)
    if options.debounce:
        yield Debounce(options.debounce, options.debounce_max)
    if options.reloads_per_second:
        yield RateLimit(options.reloads_per_second)


def _alert_desk(
    manager: Manager, options: ReloadOptions, metrics: ReloadMetrics, configs: Configs
) -> AlertDesk:
    """Make what tells chats of reloads."""
    urls = SecretUrls(
        manager.api_reader, allow_cross_namespace=options.allow_cross_namespace
    )
    furthest = Reach.LOCAL if options.alerts.allow_loopback else Reach.PRIVATE
    sender = Sender(
        urls,
        counts=metrics.alerted,
        clock=manager.clock,
        options=SenderOptions(furthest=furthest),
    )
    manager.add(sender, group=Group.HTTP)  # which ends after the controller
    return AlertDesk(sender.offer, options.alerts, configs.alerts)


def _gates_of_others(
    options: ReloadOptions,
    observer: Observer,
    rollouts: Rollouts,
    wake: Callable[[WorkloadKey], None],
) -> Iterator[Gate]:
    """Yield the gates that wait for other workloads."""
    yield OrderGate(
        rollouts,
        before=observer.before,
        wake=wake,
        annotation=options.keys.depends_on,
    )
    yield BudgetGate(
        rollouts,
        cluster=options.max_concurrent_rollouts,
        namespace=options.max_concurrent_rollouts_per_namespace,
        wake=wake,
    )


def _restarts(
    manager: Manager,
    options: ReloadOptions,
    observer: Observer,
    rollouts: Rollouts,
    wake: Callable[[WorkloadKey], None],
) -> tuple[Controller[WorkloadKey], Restarter]:
    """Make the controller that evicts pods, and what looks know of it."""

    def poke(key: WorkloadKey) -> None:
        controller.queue.add(key, cause="look")

    restarter = Restarter(
        manager.api_reader,
        observer,
        recorder=manager.recorder("reloader"),
        rollouts=rollouts,
        poke=poke,
        wake=wake,
    )
    controller = Controller(
        f"{_NAME}-restarts",
        restarter,
        options=ControllerOptions(max_concurrent_reconciles=_RESTARTERS),
        limiter=ExponentialLimiter(_AFTER_FAILURE),
        metrics=manager.metrics,
        randomness=manager.random,
        permissions=_permissions_to_evict(options),
    )
    return controller, restarter


def _held(informer: Informer) -> int:
    return sum(map(len, informer.stores()))


def _permissions(options: ReloadOptions) -> Iterator[Permission]:
    """Yield what is asked for besides the watches that are declared."""
    where = options.namespaces or None
    if where is None:
        yield Permission(NAMESPACE, ("list", "watch"))
    for kind, model in WORKLOADS.items():
        if kind not in options.ignored_workloads:
            yield Permission(model, ("patch",), namespaces=where)
    if Job.gvk.kind not in options.ignored_workloads:
        yield Permission(Job, ("create", "delete"), namespaces=where)
        notes = ("list", "create", "delete")
        yield Permission(ControllerRevision, notes, namespaces=where)
    elif CronJob.gvk.kind not in options.ignored_workloads:
        yield Permission(Job, ("create",), namespaces=where)
    yield Permission(ReloaderConfig, ("list", "watch"), namespaces=where)
    for optional in optional_workloads(options).values():
        yield Permission(optional, ("list", "watch", "patch"), namespaces=where)
    if SourceKind.SECRET_PROVIDER_CLASS not in options.ignored_sources:
        for spc in (SecretProviderClass, SourceKind.SECRET_PROVIDER_CLASS.model):
            yield Permission(spc, ("list", "watch"), namespaces=where)


def _permissions_to_evict(options: ReloadOptions) -> Iterator[Permission]:
    """Yield what evictions take: any ReloaderConfig may ask for them."""
    if not options.dry_run:
        where = options.namespaces or None
        yield Permission(POD, ("list",), namespaces=where)
        yield Permission(POD, ("create",), subresource="eviction", namespaces=where)
