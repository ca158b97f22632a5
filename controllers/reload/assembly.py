"""How the parts of the reload controller are put together.

    `_know`    cache, configs and what is remembered of them     ┐
    `_write`   who writes to workloads                           │
    `_gates`   what may hold a reload                            ├▶ `Reloader`
    `_restarts`, `_alert_desk`                                   ┘      │
    `_controller`, `_add_statuses`   two controllers and theirs ◀───────┘
    `_measure`                       what is shown of them

Parts that know each other in a circle meet in functions: whoever wakes a workload is
made before the queue is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import NamedTuple

from api.batch.v1 import Job
from api.reload.v1alpha1 import ReloaderConfig
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
from controllers.reload import gatehouse
from controllers.reload.aftermath import Aftermath
from controllers.reload.alerts.desk import AlertDesk
from controllers.reload.alerts.sender import Sender, SenderOptions
from controllers.reload.alerts.sinks import SecretUrls
from controllers.reload.announcer import Announcer
from controllers.reload.configs import Configs
from controllers.reload.configs.lender import Lender
from controllers.reload.controller import Reloader
from controllers.reload.feeds import Feeds
from controllers.reload.feeds.configs import ConfigFeed
from controllers.reload.feeds.optional import Guest, Guests
from controllers.reload.gates import Gates, HoldReason
from controllers.reload.gates.suspend import Suspensions
from controllers.reload.happenings import Happenings
from controllers.reload.metrics import ReloadMetrics
from controllers.reload.observe import Observer
from controllers.reload.options import ReloadOptions
from controllers.reload.permissions import permissions, permissions_to_evict
from controllers.reload.preview import Preview
from controllers.reload.restarter import Restarter
from controllers.reload.rollouts import Rollouts
from controllers.reload.sources import SourceKind
from controllers.reload.status.controller import StatusReconciler
from controllers.reload.status.feeds import StatusFeeds, Wakes
from controllers.reload.status.journal import Journal
from controllers.reload.status.sights import Sights
from controllers.reload.views import Views
from controllers.reload.workloads import WorkloadKey
from controllers.reload.writing.ageing import Ageing
from controllers.reload.writing.ledger import Ledger
from controllers.reload.writing.memory import Memory
from controllers.reload.writing.pause import Resuming
from controllers.reload.writing.recall import Recall
from controllers.reload.writing.rehearsal import Rehearsal
from controllers.reload.writing.rollback import Rollback
from controllers.reload.writing.unwritten import Unwritten
from controllers.reload.writing.webhook import Notify
from controllers.reload.writing.writer import Acts, Writer
from controllers.web import Reach

_NAME = "reload"

_STATUS_NAME = "reload-config"

_STATUS_WORKERS = 4
"""Configs whose statuses are written at once; reloads have their own workers."""

_RESTARTERS = 5
"""Steps of restarts that are made at once: each lists the pods of one workload."""

_AFTER_FAILURE = Backoff(base=1.0, ceiling=300.0)
"""Seconds until a refused write is tried again: what refuses it takes a human."""


class _Known(NamedTuple):
    """What there is, as the cache and ReloaderConfigs say it."""

    views: Views
    observer: Observer
    configs: Configs
    config_feed: ConfigFeed
    lender: Lender
    happenings: Happenings
    suspensions: Suspensions
    rollouts: Rollouts
    wakes: Wakes
    """Has statuses looked at."""

    journal: Journal


class _Writing(NamedTuple):
    """What writes to workloads, and what that has to remember."""

    writer: Acts
    memory: Memory
    ledger: Ledger
    unwritten: Unwritten


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

    def wake(key: WorkloadKey) -> None:
        controller.queue.add(key, cause="woken")

    known, metrics = _know(manager, options), _metrics(manager, options)
    writing = _write(manager, options, notify)
    feeds = _feeds(known, metrics)
    restarts, restarter = _restarts(manager, options, known, wake)
    rollback = Rollback(known.rollouts)
    gates = _gates(options, known, rollback, wake)
    desk = _alert_desk(manager, options, metrics, known.configs)
    observer, writer = known.observer, writing.writer
    reloader = Reloader(
        *(observer, writer, gates, Announcer(manager.recorder, metrics)),
        Aftermath(observer, writer, known.rollouts, restarter, clock=manager.clock),
        known.happenings,
        metrics=metrics,
        clock=manager.clock,
        options=options,
        listeners=[known.journal, desk],
        memory=writing.memory,
        upkeep=[Resuming(), rollback, Ageing(), writing.unwritten],
    )
    controller = _controller(manager, options, reloader, known, feeds)
    manager.add(restarts)
    manager.add(controller)
    _recall(manager, options, writing, controller)
    _measure(manager, metrics, known, gates, controller)
    statuses = _add_statuses(manager, options, known, gates)
    _host(manager, known, (*feeds.guests(controller, options), *statuses))
    preview = Preview(observer, gates, reloader.happened, options, seen=writer.seen)
    manager.add_debug_route("/preview", preview.answer)
    return preview


def _metrics(manager: Manager, options: ReloadOptions) -> ReloadMetrics:
    return ReloadMetrics(
        manager.metrics.registry,
        by_namespace=options.count_by_namespace,
        by_workload=options.count_by_workload,
    )


def _know(manager: Manager, options: ReloadOptions) -> _Known:
    """Make what looks at the cluster, and what remembers of it."""
    lender = Lender(manager.api_reader)
    configs = Configs()
    views = Views.of(manager.cache, options, configs.covers)
    observer = Observer.declare(views, options, configs, lender)
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
    journal = Journal(wakes)
    config_feed.gone = journal.forget_config
    suspensions = Suspensions(options.keys.pause, is_asked=not options.namespaces)
    if observer.places.namespaces is not None:
        suspensions.know(observer.places.namespaces)
    return _Known(
        views=views,
        observer=observer,
        configs=configs,
        config_feed=config_feed,
        lender=lender,
        happenings=Happenings(),
        suspensions=suspensions,
        rollouts=Rollouts(timeout=options.rollout_timeout.total_seconds()),
        wakes=wakes,
        journal=journal,
    )


def _feeds(known: _Known, metrics: ReloadMetrics) -> Feeds:
    return Feeds(
        *(known.views, known.observer, known.happenings, metrics),
        *(known.configs, known.suspensions, known.rollouts),
    )


def _write(manager: Manager, options: ReloadOptions, notify: Notify | None) -> _Writing:
    """Make what writes, or does as if."""
    memory, unwritten = Memory(), Unwritten()
    ledger = Ledger(manager.api_reader, by=f"{manager.random.getrandbits(64):016x}")
    if options.dry_run:
        return _Writing(Rehearsal(memory), memory, ledger, unwritten)
    writer = Writer(
        manager.client,
        clock=manager.clock,
        options=options,
        notify=notify,
        memory=memory,
        ledger=ledger,
        unwritten=unwritten,
    )
    return _Writing(writer, memory, ledger, unwritten)


def _gates(
    options: ReloadOptions,
    known: _Known,
    rollback: Rollback,
    wake: Callable[[WorkloadKey], None],
) -> Gates:
    return gatehouse.row(
        *(options, known.observer, known.suspensions, known.rollouts),
        takes_note=(rollback, known.rollouts, known.journal),
        wake=wake,
    )


def _controller(
    manager: Manager,
    options: ReloadOptions,
    reloader: Reloader,
    known: _Known,
    feeds: Feeds,
) -> Controller[WorkloadKey]:
    return Controller(
        _NAME,
        reloader,
        sources=(*feeds.always(), known.config_feed),
        options=ControllerOptions(max_concurrent_reconciles=options.workers),
        limiter=ExponentialLimiter(_AFTER_FAILURE),
        metrics=manager.metrics,
        randomness=manager.random,
        permissions=permissions(options),
    )


def _recall(
    manager: Manager,
    options: ReloadOptions,
    writing: _Writing,
    controller: Controller[WorkloadKey],
) -> None:
    """Have Jobs created that a crash has left deleted."""
    writer, ledger = writing.writer, writing.ledger
    if isinstance(writer, Writer) and Job.gvk.kind not in options.ignored_workloads:
        recall = Recall(ledger, options.namespaces, writer.owe, controller.queue.add)
        manager.add(recall, group=Group.LEADER_ELECTION)


def _host(manager: Manager, known: _Known, guests: Iterable[Guest]) -> None:
    """Add what follows kinds that come and go, and what the cache does not have."""
    hosted = (known.config_feed.guest(), *guests)
    manager.add(Guests(manager.discovery, hosted), group=Group.LEADER_ELECTION)
    manager.add(known.lender, group=Group.LEADER_ELECTION)


def _measure(
    manager: Manager,
    metrics: ReloadMetrics,
    known: _Known,
    gates: Gates,
    controller: Controller[WorkloadKey],
) -> None:
    """Show how much there is of what is counted when somebody asks."""
    for reason in HoldReason:
        metrics.watch_pending(reason, partial(gates.count, reason))
    metrics.watch_depth(partial(len, controller.queue))
    metrics.watch_queue(manager.metrics.queue(_NAME))
    metrics.watch_rollouts(partial(len, known.rollouts))
    for kind in (SourceKind.CONFIG_MAP, SourceKind.SECRET):
        if kind in known.views.sources:
            informer = known.views.sources[kind].declare(kind.model)
            metrics.watch_sources(kind, partial(_held, informer))


def _add_statuses(
    manager: Manager, options: ReloadOptions, known: _Known, gates: Gates
) -> Iterator[Guest]:
    """Add the controller of statuses; yield what it watches while it is served."""
    feeds = StatusFeeds(known.views, known.configs)
    sights = Sights(
        *(known.observer, known.configs, gates, known.journal, known.rollouts),
        manager.clock,
        is_dry=options.dry_run,
    )
    controller = Controller(
        _STATUS_NAME,
        StatusReconciler(
            *(known.config_feed, sights, known.journal, manager.api_reader),
            *(manager.recorder("reloader"), manager.clock),
            resync=options.resync,
        ),
        sources=(*feeds.always(options.ignored_workloads), known.wakes),
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


def _restarts(
    manager: Manager,
    options: ReloadOptions,
    known: _Known,
    wake: Callable[[WorkloadKey], None],
) -> tuple[Controller[WorkloadKey], Restarter]:
    """Make the controller that evicts pods, and what looks know of it."""

    def poke(key: WorkloadKey) -> None:
        controller.queue.add(key, cause="look")

    restarter = Restarter(
        manager.api_reader,
        known.observer,
        recorder=manager.recorder("reloader"),
        rollouts=known.rollouts,
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
        permissions=permissions_to_evict(options),
    )
    return controller, restarter


def _held(informer: Informer) -> int:
    return sum(map(len, informer.stores()))
