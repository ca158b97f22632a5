"""Whom the API server believes when it calls our webhooks: `caBundle`, kept as it is.

    a watch for each target ─▶ differs? ─▶ ask for the bundle anew ─▶ patch that field
              ▲                                                            │
              └──────────── somebody applies a manifest without it ◀───────┘

Nothing but that field is touched, and only where we were told to: in webhook
configurations and CRDs of the given names, or with the given labels. A CRD without a
conversion webhook is left alone.

Every replica may do this. They ask for the bundle after they have seen the target, and
their patches hold only for the version of it that they have seen: one that is late, or
knows an old bundle, changes nothing and looks again.
"""

from __future__ import annotations

import asyncio
import base64
import random
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import structlog

from controller_runtime.backoff import Backoff
from controller_runtime.client import Client
from controller_runtime.errors import (
    ConflictError,
    ControllerRuntimeError,
    InvalidError,
    NotFoundError,
)
from controller_runtime.event import Event
from controller_runtime.meta import GroupVersionKind, Json, RawObject
from controller_runtime.patch import json_patch
from controller_runtime.rbac import WATCHING, Permission
from controller_runtime.reflector import Reflector, ReflectorOptions
from controller_runtime.transport import TRANSPORT_ERRORS

log = structlog.get_logger(__name__)

MUTATING = GroupVersionKind(
    "admissionregistration.k8s.io", "v1", "MutatingWebhookConfiguration"
)
VALIDATING = GroupVersionKind(
    "admissionregistration.k8s.io", "v1", "ValidatingWebhookConfiguration"
)
CRD = GroupVersionKind("apiextensions.k8s.io", "v1", "CustomResourceDefinition")

_TROUBLE: tuple[type[Exception], ...] = (ControllerRuntimeError, *TRANSPORT_ERRORS)

_BACKOFF = Backoff(base=0.2, ceiling=60.0)
"""Seconds between tries to patch a target."""

_RACES = 3
"""Tries in a row that another writer may have won before it is worth a word."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleTargets:
    """Where the bundle belongs.

    The account needs `list`, `watch` and `patch` on what is named here, which a role
    may grant by `resourceNames`: each is watched by its name.
    """

    mutating: Sequence[str] = ()
    """Names of MutatingWebhookConfigurations; all of their webhooks get it."""

    validating: Sequence[str] = ()
    """Names of ValidatingWebhookConfigurations; all of their webhooks get it."""

    crds: Sequence[str] = ()
    """Names of CustomResourceDefinitions, such as `widgets.example.com`."""

    label_selector: str = ""
    """Besides, everything of these three kinds that it matches; then the account needs
    the rights to all of them."""

    def watches(self) -> Iterator[tuple[GroupVersionKind, ReflectorOptions]]:
        """Yield a kind and what to watch of it, for all that is targeted."""
        named = ((MUTATING, self.mutating), (VALIDATING, self.validating))
        for gvk, names in (*named, (CRD, self.crds)):
            for name in names:
                selector = f"metadata.name={name}"
                yield gvk, ReflectorOptions(field_selector=selector)
            if self.label_selector:
                yield gvk, ReflectorOptions(label_selector=self.label_selector)

    def permissions(self) -> Iterator[Permission]:
        """Yield what it takes to watch the targets and to patch them."""
        named = ((MUTATING, self.mutating), (VALIDATING, self.validating))
        for gvk, names in (*named, (CRD, self.crds)):
            if self.label_selector:
                yield Permission(gvk, (*WATCHING, "patch"))
            elif names:
                yield Permission(gvk, (*WATCHING, "patch"), names=tuple(names))


class BundleInjector:
    """Keeps the bundle where it belongs."""

    def __init__(
        self,
        client: Client,
        targets: BundleTargets,
        bundle: Callable[[], Awaitable[bytes]],
        *,
        randomness: random.Random,
    ) -> None:
        """Describe it.

        Args:
            client: Reads and patches the targets.
            targets: Where the bundle belongs.
            bundle: Returns it as it is now, in PEM; asked before each patch.
            randomness: Spreads the tries of several replicas.
        """
        self._client = client
        self._bundle = bundle
        self._known: bytes | None = None
        self._random = randomness
        self._watched = [
            _Watched(client, gvk, options, randomness)
            for gvk, options in targets.watches()
        ]

    def look(self, bundle: bytes) -> None:
        """Compare all targets with a bundle that is new."""
        self._known = bundle
        for watched in self._watched:
            watched.changed.set()

    async def run(self) -> None:
        """Inject and repair until cancelled.

        Raises:
            ForbiddenError, UnauthorizedError: A target may not be watched.
        """
        async with asyncio.TaskGroup() as tasks:
            for watched in self._watched:
                tasks.create_task(watched.reflector.run())
                tasks.create_task(self._keep(watched))

    async def _keep(self, watched: _Watched) -> None:
        failures = 0
        while True:
            await watched.changed.wait()
            watched.changed.clear()
            gvk, store = watched.reflector.gvk, watched.reflector.store
            repaired = [await self._try(gvk, raw, failures) for raw in store.list()]
            if all(repaired):
                failures = 0
                continue
            await asyncio.sleep(_BACKOFF.delay(failures) * self._random.uniform(0.5, 1))
            failures += 1
            watched.changed.set()

    async def _try(self, gvk: GroupVersionKind, raw: RawObject, failures: int) -> bool:
        """Repair a target and tell whether that went well."""
        try:
            await self._repair(gvk, raw)
        except _TROUBLE as error:
            is_race = isinstance(error, (ConflictError, InvalidError, NotFoundError))
            if not is_race or failures >= _RACES:
                log.warning(
                    "cannot inject the CA bundle",
                    kind=gvk.kind,
                    object=raw.meta.name,
                    error=str(error),
                )
            return False
        return True

    async def _repair(self, gvk: GroupVersionKind, raw: RawObject) -> None:
        target = self._client.scheme.decode(gvk, raw.raw)
        if self._known is not None and not injection(target, self._known):
            return
        self._known = await self._bundle()
        operations = injection(target, self._known)
        if operations:
            patch = json_patch(operations)
            await self._client.patch(gvk, raw.meta.name, patch=patch)
            log.info("CA bundle injected", kind=gvk.kind, object=raw.meta.name)


class _Watched:
    """Some targets of one kind, and whether they must be looked at."""

    def __init__(
        self,
        client: Client,
        gvk: GroupVersionKind,
        options: ReflectorOptions,
        randomness: random.Random,
    ) -> None:
        self.changed = asyncio.Event()
        self.reflector = Reflector(
            client.transport,
            client.discovery,
            gvk,
            options=options,
            randomness=randomness,
        )
        self.reflector.subscribe(self._tell)

    def _tell(self, _events: Sequence[Event]) -> None:
        self.changed.set()


def injection(target: Mapping[str, Any], bundle: bytes) -> list[Json]:
    """Return the JSON patch that puts `bundle` where a target lacks it; often none.

    It fails unless the target has still the version that is given.
    """
    wanted = base64.b64encode(bundle).decode()
    paths = [
        f"{path}/caBundle"
        for path, config in _client_configs(target)
        if config.get("caBundle") != wanted
    ]
    if not paths:
        return []
    version = target["metadata"]["resourceVersion"]
    test = {"op": "test", "path": "/metadata/resourceVersion", "value": version}
    return [test, *({"op": "add", "path": path, "value": wanted} for path in paths)]


def _client_configs(
    target: Mapping[str, Any],
) -> Iterator[tuple[str, Mapping[str, object]]]:
    """Yield each place that says how a webhook is reached, and what it says."""
    if target.get("kind") == CRD.kind:
        conversion = target.get("spec", {}).get("conversion") or {}
        config = (conversion.get("webhook") or {}).get("clientConfig")
        if conversion.get("strategy") == "Webhook" and config is not None:
            yield "/spec/conversion/webhook/clientConfig", config
        return
    for number, webhook in enumerate(target.get("webhooks") or ()):
        yield f"/webhooks/{number}/clientConfig", webhook.get("clientConfig") or {}
