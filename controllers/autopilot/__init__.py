"""A catalogue of platform assets is kept applied on a cluster.

what is wanted
    documents  YAML of strangers, within limits     metadata  what a catalogue says
    assets     the catalogue, checked as a whole    loader    reads it from a folder
    facts      what the Nodes tell of hardware      topology  and of the layout
    context    what a template may read             gates     which assets apply (pure)
    lookups    what a template asks of the cluster  functions what a template may call
    render     asset + context → object             schemas   what a CRD says of a field
what users say about it
    annotations  names and values                   pointers  paths into objects
    overrides    their patches (pure)               masks     fields left to them (pure)
    exclusion    objects not to apply (pure)
what is done
    controller   the sweep, and assets in order     round     how a sweep went
    scene        the cluster as templates see it    watches   come and go with kinds
    keeper       one object, from wanted to there   apply     what the server is asked
    drift        is it so? (pure)                   throttle  how often, and wars (pure)
    tombstones   what to remove                     rbac      what all of this takes
    bulletin, voice, notices, gauges                what is told of it
what is shown beforehand
    preview      assets, and what becomes of them   standing  with what users say (dry)
    offline      a cluster out of files             online    one as it is, read once
    listing      YAML, JSON, a table                lint      what is wrong with assets
    command, patchlint   `pilothouse render` and `lint-patch`
"""

from __future__ import annotations

import asyncio
import random

from controller_runtime import (
    Backoff,
    Controller,
    ControllerOptions,
    ExponentialLimiter,
    Manager,
    TimerSource,
)
from controllers.autopilot.annotations import AnnotationKeys
from controllers.autopilot.apply import Applier
from controllers.autopilot.controller import Autopilot
from controllers.autopilot.gauges import AutopilotMetrics, Target
from controllers.autopilot.keeper import Keeper
from controllers.autopilot.notices import Notices
from controllers.autopilot.options import AutopilotOptions
from controllers.autopilot.overrides import PatchRules
from controllers.autopilot.rbac import permissions
from controllers.autopilot.scene import Scene
from controllers.autopilot.throttle import Throttle
from controllers.autopilot.tombstones import Gravedigger
from controllers.autopilot.voice import Voice
from controllers.autopilot.watches import SWEEP, Key, Watches

_NAME = "autopilot"


def setup(manager: Manager, options: AutopilotOptions) -> None:
    """Add the autopilot controller to a manager that has not started."""
    autopilot = _autopilot(manager, options)
    controller = Controller(
        _NAME,
        autopilot,
        sources=[
            *autopilot.watches.always,
            TimerSource(
                options.resync,
                lambda: [SWEEP],
                name="resync",
                randomness=manager.random,
            ),
        ],
        # More would apply assets in another order than the catalogue's.
        options=ControllerOptions(max_concurrent_reconciles=1),
        limiter=_limiter(options, manager.random),
        metrics=manager.metrics,
        randomness=manager.random,
        tracer=manager.tracer,
        permissions=permissions(options.catalog),
    )
    autopilot.attach(controller)
    manager.probes.add_ready_check("autopilot-source", autopilot.remark)
    manager.add(controller)


def _autopilot(manager: Manager, options: AutopilotOptions) -> Autopilot:
    identity = options.catalog.identity
    keys = AnnotationKeys(identity.domain)
    metrics = AutopilotMetrics(manager.metrics.registry, prefix=options.metrics_prefix)
    notices = Notices(manager.recorder(identity.field_manager), _now)
    watches = Watches(
        manager,
        label_selector=f"{identity.managed_by_label}={identity.managed_by_value}",
        timeout=options.watch_timeout,
        node_delay=options.node_delay,
    )
    keeper = Keeper(
        watches,
        Applier(
            manager.api_reader,
            field_manager=identity.field_manager,
            keys=keys,
            metrics=metrics,
        ),
        Voice(notices, metrics, keys),
        rules=PatchRules(keys=keys, managed_by_label=identity.managed_by_label),
        overridden=options.override_managers,
        throttle=Throttle[Target](options.throttle),
        clock=manager.clock,
        now=_now,
        verdict_age=options.verdict_age,
    )
    scene = Scene(
        options.catalog,
        watches,
        manager.api_reader,
        clock=manager.clock,
        images=options.images,
        metrics_prefix=options.metrics_prefix,
    )
    return Autopilot(
        options,
        watches=watches,
        scene=scene,
        keeper=keeper,
        gravedigger=Gravedigger(
            manager.api_reader,
            identity=identity,
            notices=notices,
            metrics=metrics,
            epoch=scene.epoch,
            now=_now,
            age=options.verdict_age,
            refresh=manager.discovery.forget,
        ),
        notices=notices,
        metrics=metrics,
        now=_now,
    )


def _limiter(
    options: AutopilotOptions, randomness: random.Random
) -> ExponentialLimiter[Key]:
    backoff = Backoff(
        base=options.retry_first.total_seconds(),
        ceiling=options.retry_longest.total_seconds(),
    )
    return ExponentialLimiter(backoff, jitter=0.1, randomness=randomness)


def _now() -> float:
    return asyncio.get_running_loop().time()
