"""Which gates a reload passes, and in which order.

    suspended?  ▶  time  ▶  other workloads  ▶  noted down

The first that holds gives its reason, so what holds longest comes first: a person, then
the clock, then whoever rolls out. What takes note holds nothing, and comes last.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from controllers.reload.gates import Gate, Gates, SuspendGate
from controllers.reload.gates.brake import StormBrake
from controllers.reload.gates.cooldown import Cooldown
from controllers.reload.gates.debounce import Debounce
from controllers.reload.gates.interim import InterimGate
from controllers.reload.gates.rate import RateLimit
from controllers.reload.gates.suspend import NamespaceGate, Suspensions
from controllers.reload.gates.windows import Windows
from controllers.reload.observe import Observer
from controllers.reload.options import ReloadOptions
from controllers.reload.rollouts import Rollouts
from controllers.reload.rollouts.budget import BudgetGate
from controllers.reload.rollouts.canary import CanaryGate
from controllers.reload.rollouts.order import OrderGate
from controllers.reload.workloads import WorkloadKey


def row(
    options: ReloadOptions,
    observer: Observer,
    suspensions: Suspensions,
    rollouts: Rollouts,
    *,
    takes_note: Iterable[Gate],
    wake: Callable[[WorkloadKey], None],
) -> Gates:
    """Put the gates into a row.

    Args:
        options: Which are wanted.
        observer: Says what goes before a workload.
        suspensions: Of namespaces.
        rollouts: Say what rolls out now.
        takes_note: Gates that hold nothing, and hear of what begins and ends.
        wake: Has a workload looked at that waited for another one.
    """
    return Gates(
        [
            SuspendGate(options.keys.pause),
            NamespaceGate(suspensions),
            *_of_time(options, observer),
            *_of_others(options, observer, rollouts, wake),
            *takes_note,
        ]
    )


def _of_time(options: ReloadOptions, observer: Observer) -> Iterator[Gate]:
    """Yield the gates of time: what holds longest comes first, and gives its reason."""
    yield Windows()
    yield Cooldown()
    if options.storm_brake is not None:
        yield StormBrake(options.storm_brake)
    if options.interim:
        yield InterimGate(options.interim, observer.supply.source)
    if options.debounce:
        yield Debounce(options.debounce, options.debounce_max)
    if options.reloads_per_second:
        yield RateLimit(options.reloads_per_second)


def _of_others(
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
    yield CanaryGate(rollouts, observer, source=observer.supply.source, wake=wake)
    yield BudgetGate(
        rollouts,
        cluster=options.max_concurrent_rollouts,
        namespace=options.max_concurrent_rollouts_per_namespace,
        wake=wake,
    )
