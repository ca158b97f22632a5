"""An HTTP repository of charts in this process, and charts in a registry, for tests."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp
from aiohttp import web

from conformance.charts import chart
from controller_runtime import SystemClock
from controllers.oci import (
    HELM_CHART,
    HELM_CONFIG,
    Access,
    Content,
    Credential,
    RegistryClient,
    parse_repository,
)
from controllers.web import Http, Tls


@dataclass
class Asked:
    """A request as it came in."""

    path: str
    has_login: bool
    is_conditional: bool
    status: int = 0


@dataclass
class ChartRepository:
    """What `helm repo index` makes, with a password if there is one."""

    username: str = ""
    password: str = ""
    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    """Path → content."""

    redirects: dict[str, str] = field(default_factory=dict)
    """Path → where it is now (307)."""

    asked: list[Asked] = field(default_factory=list)

    def publish(
        self, *versions: str, name: str = "app", digests: bool = True, base: str = ""
    ) -> None:
        """Put versions of a chart there and write the index anew.

        Args:
            versions: The newest last.
            name: Of the chart.
            digests: Whether the index has them.
            base: What the URLs begin with; relative ones if it is empty.
        """
        entries: list[dict[str, object]] = []
        for version in versions:
            content = chart(name, version)
            file = f"{name}-{version}.tgz"
            self.files[f"/{file}"] = content
            entry: dict[str, object] = {
                "apiVersion": "v2",
                "name": name,
                "version": version,
                "urls": [f"{base}{file}"],
            }
            if digests:
                entry["digest"] = hashlib.sha256(content).hexdigest()
            entries.insert(0, entry)
        index = {"apiVersion": "v1", "entries": {name: entries}}
        self.files["/index.yaml"] = json.dumps(index).encode()

    def requests(self, path: str) -> list[Asked]:
        """Return those that were for a path, in their order."""
        return [each for each in self.asked if each.path == path]

    async def handle(self, request: web.Request) -> web.StreamResponse:
        asked = Asked(
            request.path,
            "Authorization" in request.headers,
            "If-None-Match" in request.headers,
        )
        self.asked.append(asked)
        response = self._response(request)
        asked.status = response.status
        return response

    def _response(self, request: web.Request) -> web.Response:
        if self.password:
            expected = aiohttp.encode_basic_auth(self.username, self.password)
            if request.headers.get("Authorization") != expected:
                return web.Response(status=401)
        if (onward := self.redirects.get(request.path)) is not None:
            return web.Response(status=307, headers={"Location": onward})
        content = self.files.get(request.path)
        if content is None:
            return web.Response(status=404)
        etag = f'"{hashlib.sha256(content).hexdigest()[:16]}"'
        if request.headers.get("If-None-Match") == etag:
            return web.Response(status=304)
        return web.Response(body=content, headers={"ETag": etag})


@asynccontextmanager
async def serving(repository: ChartRepository) -> AsyncIterator[ChartRepository]:
    """Serve a repository on loopback."""
    app = web.Application()
    app.router.add_get("/{path:.*}", repository.handle)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        repository.url = f"http://{host}:{port}"
        yield repository
    finally:
        await runner.cleanup()


async def push_chart(
    url: str,
    content: bytes,
    *,
    name: str = "app",
    version: str = "1.0.0",
    credential: Credential | None = None,
    tls: Tls | None = None,
    insecure: bool = False,
) -> str:
    """Push a chart as `helm push` does, and return the digest of its manifest."""
    about: Mapping[str, object] = {"apiVersion": "v2", "name": name, "version": version}
    async with Http() as http:
        access = Access(
            credential=credential or Credential(), tls=tls or Tls(), insecure=insecure
        )
        target = RegistryClient(http, clock=SystemClock()).repository(
            parse_repository(f"{url}/{name}"), access
        )
        return await target.push(
            version.replace("+", "_"),
            config=Content(HELM_CONFIG, json.dumps(about).encode()),
            layers=[Content(HELM_CHART, content)],
        )
