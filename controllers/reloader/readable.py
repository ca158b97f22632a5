"""Kinds that the role leaves out: charts of the original had no Jobs for years.

The original says that it may not list them, and goes on with the others. Here a kind
that is not left out has to be read before anything is done, so it is found out first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import structlog

from api.batch.v1 import CronJob, Job
from controller_runtime import (
    TRANSPORT_ERRORS,
    Client,
    ControllerRuntimeError,
    ForbiddenError,
    KubeObject,
)
from controllers.reload.options import ReloadOptions

log = structlog.get_logger(__name__)

_TROUBLE: tuple[type[Exception], ...] = (ControllerRuntimeError, *TRANSPORT_ERRORS)


async def readable(options: ReloadOptions, client: Client) -> ReloadOptions:
    """Return the options without Jobs or CronJobs, if these may not be listed."""
    left_out = [
        model.gvk.kind
        for model in _wanted(options)
        if await _is_forbidden(model, options.namespaces or ("",), client)
    ]
    ignored = options.ignored_workloads | frozenset(left_out)
    return replace(options, ignored_workloads=ignored)


def _wanted(options: ReloadOptions) -> Iterator[type[KubeObject]]:
    for model in (CronJob, Job):
        if model.gvk.kind not in options.ignored_workloads:
            yield model


async def _is_forbidden(
    model: type[KubeObject], namespaces: Sequence[str], client: Client
) -> bool:
    for namespace in namespaces:
        try:
            await client.list(model.gvk, namespace, limit=1)
        except ForbiddenError as error:
            log.warning(
                "kind is left out",
                kind=str(model.gvk),
                error=str(error),
                remedy="allow it and restart, or name it in --ignored-workload-types",
            )
            return True
        except _TROUBLE as error:
            log.debug("kind cannot be asked for", kind=str(model.gvk), error=str(error))
            return False  # who starts finds out
    return False
