"""Helm and the charts, as the controller gets them."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from controller_runtime import Manager, RestConfig, Runnable
from controllers.release.chart import ChartOptions
from controllers.release.chart import Charts as RealCharts
from controllers.release.helm.engine import Engine
from controllers.release.helm.pool import PoolOptions, WorkerPool
from controllers.release.options import ReleaseOptions
from controllers.release.sources import Charts


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What a test may have others of."""

    engine: Engine
    charts: Charts
    engine_run: Runnable | None = None
    """What has to run for the engine, on the leader."""
    charts_run: Runnable | None = None
    """What has to run for the charts, longer than the controller."""


def real_parts(manager: Manager, options: ReleaseOptions, config: RestConfig) -> Parts:
    """Return Helm in worker processes, and charts from the network.

    Args:
        manager: Runs them.
        options: How many, and where files are kept.
        config: The cluster, and the manager's own account.
    """
    pool = WorkerPool(config, options=PoolOptions(workers=options.helm_workers))
    folder = options.cache or Path(tempfile.gettempdir()) / "pilothouse-charts"
    charts = RealCharts(
        ChartOptions(
            folder=folder,
            cache_bytes=options.cache_bytes,
            allow_plain_http=options.allow_plain_http,
        ),
        clock=manager.clock,
    )
    return Parts(engine=pool, charts=charts, engine_run=pool, charts_run=charts)
