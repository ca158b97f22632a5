"""A listener: which news becomes an alert, and whom it concerns.

    reloaded  ─▶ the sink of the settings, and those of the configs that wanted it
    failed    ─▶ the same, once for each change: it is tried again
    throttled ─▶ the same, once until the storm is over
    rollouts  ─▶ the same; of one that another process began, the configs that may
                 have wanted it

It does nothing but put alerts into queues, so no reload waits for a sink.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TypeAlias, TypeVar

from api.reload.alerts import Alerts
from controller_runtime import NamespacedName
from controllers.reload.alerts.alert import (
    FAILED,
    THROTTLED,
    Alert,
    alert_of,
)
from controllers.reload.alerts.sinks import Sink, global_sink, proxy_of, sinks_of
from controllers.reload.news import News, Topic
from controllers.reload.options import AlertOptions
from controllers.reload.workloads import WorkloadKey

_REMEMBERED = 10_000
"""Workloads of which it is remembered that somebody was told of their trouble."""

_STORM = timedelta(minutes=5)
"""Without a word for so long it is over; the storm brake lets go after that, too."""

_RETRIED = timedelta(minutes=10)
"""Within which a failure is heard again while it goes on: it is tried every 5 minutes.
After that it is another, of a change that was taken back and made again."""

_OVER = frozenset({Topic.RELOADED, Topic.SKIPPED, Topic.SETTLED})
"""What ends a failure."""

V = TypeVar("V")

AlertsOf: TypeAlias = Callable[[NamespacedName], Alerts | None]
"""What a ReloaderConfig says about alerts now; `None` if it is gone or says nothing."""

Offer: TypeAlias = Callable[[Sink, Alert], None]


class AlertDesk:
    """Sends news on; a `Listener`."""

    def __init__(
        self, offer: Offer, options: AlertOptions, alerts_of: AlertsOf
    ) -> None:
        """Prepare.

        Args:
            offer: Takes an alert for a sink, and returns at once.
            options: Who is told of everything.
            alerts_of: Whom a ReloaderConfig tells.

        Raises:
            ConfigError: The proxy is none.
        """
        self._offer = offer
        self._options = options
        self._alerts_of = alerts_of
        self._global = global_sink(options)
        self._proxy = proxy_of(options.proxy)
        self._failed: OrderedDict[WorkloadKey, tuple[str, datetime]] = OrderedDict()
        """What failed, and was told → its change, and when that was last heard."""
        self._storms: OrderedDict[WorkloadKey, datetime] = OrderedDict()
        """What was throttled → when that was last heard."""

    def __call__(self, news: News) -> None:
        """Send news on, if anybody wants it."""
        if news.topic in _OVER:
            self._failed.pop(news.workload.key, None)
        alert = alert_of(news)
        if alert is None or not self._is_new(alert, news.plan.change):
            return
        if self._global is not None and alert.kind.event in self._options.events:
            self._offer(self._global, alert)
        for config in news.configs:
            if (alerts := self._alerts_of(config)) is not None:
                for sink in sinks_of(
                    config, alerts, info=self._options.info, proxy=self._proxy
                ):
                    self._offer(sink, alert)

    def _is_new(self, alert: Alert, change: str) -> bool:
        """Tell whether this was not told before; what goes on is heard many times."""
        key = alert.workload
        if alert.kind is THROTTLED:
            last = _noted(self._storms, key, alert.time)
            return last is None or alert.time - last > _STORM
        if alert.kind is FAILED:
            failed = _noted(self._failed, key, (change, alert.time))
            if failed is None or failed[0] != change:
                return True
            return alert.time - failed[1] > _RETRIED
        return True


def _noted(notes: OrderedDict[WorkloadKey, V], key: WorkloadKey, value: V) -> V | None:
    """Note something, and return what was noted before; the oldest note goes."""
    before = notes.pop(key, None)
    notes[key] = value
    if len(notes) > _REMEMBERED:
        notes.popitem(last=False)
    return before
