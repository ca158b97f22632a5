"""A cluster that somebody else runs: `USE_EXISTING_CLUSTER=true`, as in Go's envtest.

It has the surface of a control plane of ours, and starts and stops nothing. Whoever
asks for another user's kubeconfig gets one that impersonates, which the account of the
current context must be allowed to.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from controller_runtime.errors import ConfigError
from controller_runtime.restconfig import RestConfig
from controller_runtime.testing.envtest.access import Cluster
from controller_runtime.testing.envtest.api import Api
from controller_runtime.testing.envtest.assets import AssetsOptions
from controller_runtime.testing.envtest.certificates import KeyPair, write_private
from controller_runtime.testing.envtest.controlplane import (
    ControlPlane,
    ControlPlaneOptions,
)
from controller_runtime.testing.envtest.kubeconfig import CurrentContext
from controller_runtime.testing.envtest.progress import Progress, progress_for
from controller_runtime.transport import TRANSPORT_ERRORS, HttpTransport


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextApi(Api):
    """Asks a server in every way that a kubeconfig may say: plug-ins, proxies, names.

    It may be asked from any loop, one request after the other.
    """

    config: RestConfig = field(repr=False)
    turn: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @classmethod
    def of(cls, config: RestConfig) -> ContextApi:
        """Return what asks as these settings say."""
        return cls(url=config.server, config=config)

    def _send(self, method: str, path: str, body: object, content: str) -> bytes:
        with self.turn:  # credentials that are asked for know one loop at a time
            return asyncio.run(self._ask(method, path, body, content))

    async def _ask(self, method: str, path: str, body: object, content: str) -> bytes:
        where = urlsplit(path)
        try:
            async with HttpTransport(self.config) as transport:
                answer = await transport.request(
                    method,
                    where.path,
                    params=dict(parse_qsl(where.query)),
                    body=None if body is None else json.dumps(body).encode(),
                    content_type=content,
                )
        except TRANSPORT_ERRORS as error:
            raise OSError(f"{method} {self.url}{path}: {error}") from error
        return answer.body


class ExistingCluster:
    """The cluster of the current context."""

    def __init__(self, context: CurrentContext) -> None:
        """Blocks on the disk."""
        self._context = context
        self._ca = context.ca
        try:
            self._api: Api | ConfigError = ContextApi.of(context.restconfig())
        except ConfigError as problem:
            self._api = problem  # matters only to who wants to ask through us

    @property
    def url(self) -> str:
        return self._context.url

    @property
    def ca_pem(self) -> bytes | None:
        return self._ca

    @property
    def api(self) -> Api:
        if isinstance(self._api, ConfigError):
            raise self._api
        return self._api

    def client_certificate(
        self, user: str, groups: Sequence[str] = (), *, expired: bool = False
    ) -> KeyPair:
        raise ConfigError(
            f"{self.url} is an existing cluster, whose authority signs nothing for us: "
            f"no {'expired ' if expired else ''}certificate for {user} {list(groups)}"
        )

    def kubeconfig(
        self,
        *,
        user: str | None = None,
        groups: Sequence[str] | None = None,
        expired: bool = False,
    ) -> str:
        if expired:
            self.client_certificate(user or "the administrator", expired=True)
        if user is None:
            return self._context.text()
        return self._context.acting_as(user, groups or ())

    async def write_kubeconfig(
        self,
        path: Path,
        *,
        user: str | None = None,
        groups: Sequence[str] | None = None,
        expired: bool = False,
    ) -> Path:
        text = self.kubeconfig(user=user, groups=groups, expired=expired)
        await asyncio.to_thread(write_private, path, text.encode())
        return path


def uses_existing_cluster(environ: Mapping[str, str]) -> bool:
    """Whether `USE_EXISTING_CLUSTER` is true, in any of Go's spellings."""
    return environ.get("USE_EXISTING_CLUSTER", "").lower() in {"1", "t", "true"}


@asynccontextmanager
async def cluster(
    options: ControlPlaneOptions | None = None,
    *,
    environ: Mapping[str, str] = os.environ,
    progress: Progress | None = None,
) -> AsyncIterator[Cluster]:
    """Lend a cluster: the existing one if the environment says so, or one of ours.

    Raises:
        ConfigError: There is to be an existing cluster, and no kubeconfig names one.
        ControlPlaneError: Ours did not start.
    """
    progress = progress or progress_for(sys.stderr)
    if uses_existing_cluster(environ):
        context = await asyncio.to_thread(CurrentContext.of, environ, Path.home())
        existing = await asyncio.to_thread(ExistingCluster, context)
        where = f"{existing.url}, from {context.files}"
        progress.say(f"using the existing cluster at {where}")
        yield existing
        return
    if options is None:
        options = ControlPlaneOptions(assets=AssetsOptions.from_environ(environ))
    async with ControlPlane(options, progress=progress) as ours:
        yield ours
