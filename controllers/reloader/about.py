"""What this process tells of itself: a ConfigMap that support tools read.

It is the original's `reloader-meta-info`: which build runs, with which options, as
which Deployment. It is written once at the start; that it cannot be is no reason not
to work.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Iterable
from dataclasses import asdict

import structlog

from api.core.v1 import ConfigMap
from controller_runtime import (
    TRANSPORT_ERRORS,
    AlreadyExistsError,
    Client,
    ControllerRuntimeError,
    Json,
    Permission,
)
from controllers.reloader.settings import ReloaderSettings

log = structlog.get_logger(__name__)

NAME = "reloader-meta-info"

_TROUBLE: tuple[type[Exception], ...] = (ControllerRuntimeError, *TRANSPORT_ERRORS)


class About:
    """Writes the ConfigMap; a runnable."""

    name = "reloader-meta-info"

    def __init__(
        self, client: Client, settings: ReloaderSettings, *, version: str
    ) -> None:
        self._client = client
        self._settings = settings
        self._version = version

    @property
    def permissions(self) -> Iterable[Permission]:
        """What it takes to write it, if it is written."""
        if self._settings.namespace:
            where = (self._settings.namespace,)
            yield Permission(
                ConfigMap, ("create", "update"), names=(NAME,), namespaces=where
            )

    async def run(self) -> None:
        """Write it, and return."""
        namespace = self._settings.namespace
        if not namespace:
            log.info("no meta info: RELOADER_NAMESPACE is not set")
            return
        document = meta_info(self._settings, version=self._version)
        try:
            try:
                await self._client.create(document)
            except AlreadyExistsError:
                await self._client.update(document)
        except _TROUBLE as error:
            log.warning(
                "meta info cannot be written",
                configmap=f"{namespace}/{NAME}",
                error=str(error),
            )


def meta_info(settings: ReloaderSettings, *, version: str) -> Json:
    """Make the ConfigMap. Nothing reloads for it, whoever lists it."""
    options = settings.options
    build = {"version": version, "implementation": "pilothouse", **_python()}
    chosen = {
        "autoReloadAll": options.auto_reload_all,
        "reloadStrategy": options.strategy.value,
        "reloadOnCreate": options.reload_on_create,
        "reloadOnDelete": options.reload_on_delete,
        "syncAfterRestart": options.sync_after_restart,
        "enableHA": settings.election is not None,
        "webhookUrl": bool(settings.webhook_url),
        "namespacesToIgnore": sorted(options.namespaces_to_ignore),
        "namespaceSelectors": options.namespace_selector,
        "resourceSelectors": options.resource_label_selector,
        "resourcesToIgnore": sorted(it.value for it in options.ignored_sources),
        "workloadTypesToIgnore": sorted(options.ignored_workloads),
        "annotations": asdict(options.keys),
    }
    deployment = {"name": settings.deployment, "namespace": settings.namespace}
    return {
        "apiVersion": ConfigMap.gvk.api_version,
        "kind": ConfigMap.gvk.kind,
        "metadata": {
            "name": NAME,
            "namespace": settings.namespace,
            "labels": {"reloader.stakater.com/meta-info": "reloader"},
            "annotations": {options.keys.ignore: "true"},
        },
        "data": {
            "buildInfo": json.dumps(build),
            "reloaderOptions": json.dumps(chosen),
            "deploymentInfo": json.dumps(deployment),
        },
    }


def _python() -> dict[str, str]:
    return {"pythonVersion": platform.python_version()}
