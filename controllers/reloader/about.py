"""What this process tells of itself: a ConfigMap that support tools read.

It is the original's `reloader-meta-info`: which build runs, with which options, as
which Deployment, by the names and types of its `pkg/common/metainfo.go`, so that what
reads that reads this. It is written once at the start; that it cannot be is no reason
not to work.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Iterable

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
from controllers.reload.sources import SourceKind
from controllers.reloader.settings import ReloaderSettings
from controllers.web import origin_of

log = structlog.get_logger(__name__)

NAME = "reloader-meta-info"

_NO_TIME = "0001-01-01T00:00:00Z"
"""Go's time of nothing."""

_CLASSES = SourceKind.SECRET_PROVIDER_CLASS

_KEYS = {
    "reloaderAutoAnnotation": "auto",
    "configmapReloaderAutoAnnotation": "configmap_auto",
    "secretReloaderAutoAnnotation": "secret_auto",
    "secretProviderClassReloaderAutoAnnotation": "spc_auto",
    "configmapUpdateOnChangeAnnotation": "configmap_reload",
    "secretUpdateOnChangeAnnotation": "secret_reload",
    "secretProviderClassUpdateOnChangeAnnotation": "spc_reload",
    "configmapExcludeReloaderAnnotation": "configmap_exclude",
    "secretExcludeReloaderAnnotation": "secret_exclude",
    "secretProviderClassExcludeReloaderAnnotation": "spc_exclude",
    "ignoreResourceAnnotation": "ignore",
    "autoSearchAnnotation": "search",
    "searchMatchAnnotation": "match",
    "rolloutStrategyAnnotation": "rollout_strategy",
    "pauseDeploymentAnnotation": "pause_period",
    "pauseDeploymentTimeAnnotation": "paused_at",
}
"""The original's name of the key of an annotation → field of `AnnotationKeys`."""

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
    deployment = {"name": settings.deployment, "namespace": settings.namespace}
    return {
        "apiVersion": ConfigMap.gvk.api_version,
        "kind": ConfigMap.gvk.kind,
        "metadata": {
            "name": NAME,
            "namespace": settings.namespace,
            "labels": {"reloader.stakater.com/meta-info": "reloader"},
            "annotations": {settings.options.keys.ignore: "true"},
        },
        "data": {
            "buildInfo": json.dumps(_build(version)),
            "reloaderOptions": json.dumps(_flags(settings) | _keys(settings)),
            "deploymentInfo": json.dumps(deployment),
        },
    }


def _build(version: str) -> Json:
    """Say what runs; the first five are the original's, of types that Go reads."""
    return {
        "goVersion": "",
        "releaseVersion": version,
        "commitHash": "",
        "commitTime": _NO_TIME,
        "edition": "pilothouse",
        "pythonVersion": platform.python_version(),
    }


def _flags(settings: ReloaderSettings) -> Json:
    """Say the options by the original's names, and where it works."""
    options = settings.options
    has_debug = settings.debug_address != "0"
    return {
        "autoReloadAll": options.auto_reload_all,
        "logFormat": "json" if settings.log_format == "json" else "",
        "logLevel": settings.log_level,
        "isArgoRollouts": True,
        "reloadStrategy": options.strategy.value,
        "reloadOnCreate": options.reload_on_create,
        "reloadOnDelete": options.reload_on_delete,
        "syncAfterRestart": options.sync_after_restart,
        "enableHA": settings.election is not None,
        "enableCSIIntegration": _CLASSES not in options.ignored_sources,
        "webhookUrl": _without_path(settings.webhook_url),
        "resourcesToIgnore": sorted(
            f"{it.value}s" for it in options.ignored_sources if it is not _CLASSES
        ),
        "workloadTypesToIgnore": sorted(
            f"{it.lower()}s" for it in options.ignored_workloads
        ),
        "namespaceSelectors": _list(options.namespace_selector),
        "resourceSelectors": _list(options.resource_label_selector),
        "namespacesToIgnore": sorted(options.namespaces_to_ignore),
        "namespaces": list(options.namespaces),
        "enablePProf": has_debug,
        "pprofAddr": settings.debug_address if has_debug else "",
    }


def _keys(settings: ReloaderSettings) -> Json:
    keys = settings.options.keys
    return {name: getattr(keys, field) for name, field in _KEYS.items()}


def _without_path(url: str) -> str:
    """Leave out what may be all that it takes to post there."""
    if not url:
        return ""
    scheme, host, port = origin_of(url)
    return f"{scheme}://{host}:{port}"


def _list(selector: str) -> list[str]:
    return [selector] if selector else []
