"""A registry on the test's own loop, which does as it is told, also wrong things.

It keeps what the distribution specification says, for as long as no fault is set:

    registry.faults.append(answer)   asked first; `None` lets the registry answer
    registry.login = "basic"         wants user:pa:ss
    registry.login = "token"         wants a token from its own /token
    registry.paging = …              how a list of tags goes on
"""

from __future__ import annotations

import base64
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import urlencode

from aiohttp import web

from controllers.oci.manifest import ACCEPT, digest_of

USER = "user"
PASSWORD = "pa:ss"
REFRESH = "refresh-me"

Fault = Callable[[web.BaseRequest], Awaitable[web.StreamResponse | None]]
Paging = Literal["none", "relative", "absolute", "silent", "looping", "abroad"]


@dataclass
class Contents:
    """What a repository has."""

    tags: dict[str, str] = field(default_factory=dict)
    manifests: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)


@dataclass
class FakeRegistry:
    """A registry in memory."""

    host: str = ""
    scheme: str = "http"
    contents: dict[str, Contents] = field(default_factory=dict)
    login: Literal["", "basic", "token"] = ""
    paging: Paging = "none"
    page_size: int = 1000
    etags: bool = True
    token_life: int | None = 300
    token_get: bool = True
    realm: str = ""
    faults: list[Fault] = field(default_factory=list)
    asked: list[web.BaseRequest] = field(default_factory=list)
    forms: list[dict[str, str]] = field(default_factory=list)
    tokens: set[str] = field(default_factory=set)
    issued: int = 0

    def questions(self, needle: str = "") -> list[str]:
        """Return what was asked: method and path."""
        every = [f"{request.method} {request.path}" for request in self.asked]
        return [each for each in every if needle in each]

    def tag(self, path: str, *tags: str, content: bytes = b"{}") -> str:
        """Put a manifest under tags, and return its digest."""
        contents = self.contents.setdefault(path, Contents())
        digest = digest_of(content)
        contents.manifests[digest] = (
            "application/vnd.oci.image.manifest.v1+json",
            content,
        )
        contents.tags.update(dict.fromkeys(tags, digest))
        return digest

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        self.asked.append(request)
        for fault in self.faults:
            response = await fault(request)
            if response is not None:
                return response
        if request.path == "/token":
            return await self._token(request)
        refusal = self._refusal(request)
        if refusal is not None:
            return refusal
        match = re.fullmatch(r"/v2/(.+)/(tags|manifests|blobs)/(.+)", request.path)
        if match is None:
            return complaint(404, "UNSUPPORTED")
        path, kind, name = match.groups()
        parts = {"tags": self._tags, "manifests": self._manifests, "blobs": self._blobs}
        return await parts[kind](request, path, name)

    def _refusal(self, request: web.BaseRequest) -> web.Response | None:
        given = request.headers.get("Authorization", "")
        if self.login == "basic":
            wanted = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
            challenge = 'Basic realm="Registry, private"'
            is_known = given == f"Basic {wanted}"
        else:
            realm = self.realm or f"{self.scheme}://{self.host}/token"
            challenge = f'Bearer realm="{realm}",service="fake"'
            is_known = given.removeprefix("Bearer ") in self.tokens
        if not self.login or is_known:
            return None
        return complaint(401, "UNAUTHORIZED", headers={"WWW-Authenticate": challenge})

    async def _token(self, request: web.BaseRequest) -> web.Response:
        given = request.headers.get("Authorization", "")
        if request.method == "GET" and self.token_get:
            wanted = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
            is_known = given in {"", f"Basic {wanted}"}
        elif request.method == "POST":
            form = dict((await request.post()).items())
            self.forms.append({name: str(value) for name, value in form.items()})
            is_known = form.get("password") == PASSWORD or (
                form.get("refresh_token") == REFRESH
            )
        else:
            return web.Response(status=405)
        if not is_known:
            return web.Response(status=401, text=f"not {given}")
        self.issued += 1
        token = f"token-{self.issued}"
        self.tokens.add(token)
        answer: dict[str, object] = {"access_token": token}
        if self.token_life is not None:
            answer["expires_in"] = self.token_life
        return web.json_response(answer)

    async def _tags(
        self, request: web.BaseRequest, path: str, name: str
    ) -> web.StreamResponse:
        contents = self.contents.get(path)
        if contents is None:
            return complaint(404, "NAME_UNKNOWN")
        if request.method != "GET":
            return web.Response(status=405)
        every = sorted(contents.tags)
        last = request.query.get("last", "")
        rest = [tag for tag in every if tag > last]
        if self.paging == "none":
            return web.json_response({"name": path, "tags": every or None})
        page, more = rest[: self.page_size], rest[self.page_size :]
        headers = {}
        if more and self.paging != "silent":
            headers["Link"] = self._link(request, page)
        return web.json_response({"name": path, "tags": page}, headers=headers)

    def _link(self, request: web.BaseRequest, page: list[str]) -> str:
        last = page[0] if self.paging == "looping" else page[-1]
        question = f"{request.path}?{urlencode({'last': last, 'n': len(page)})}"
        where = {
            "absolute": f"{self.scheme}://{self.host}",
            "abroad": "http://elsewhere.example",
        }.get(self.paging, "")
        if self.paging == "looping":
            question = f"{request.path}?{urlencode({'last': 'again'})}"
        return f'<{where}{question}>; rel="next"'

    async def _manifests(
        self, request: web.BaseRequest, path: str, name: str
    ) -> web.StreamResponse:
        contents = self.contents.setdefault(path, Contents())
        if request.method == "PUT":
            body = await request.read()
            digest = digest_of(body)
            contents.manifests[digest] = (request.headers["Content-Type"], body)
            if not name.startswith("sha256:"):
                contents.tags[name] = digest
            return web.Response(status=201, headers={"Docker-Content-Digest": digest})
        digest = contents.tags.get(name, name)
        if digest not in contents.manifests:
            return complaint(404, "MANIFEST_UNKNOWN")
        if request.method == "HEAD" and request.headers["Accept"] != ACCEPT:
            return web.Response(status=404)
        media_type, body = contents.manifests[digest]
        headers = {"Docker-Content-Digest": digest, "Content-Type": media_type}
        if self.etags:
            headers["ETag"] = f'"{digest}"'
            if request.headers.get("If-None-Match") == f'"{digest}"':
                return web.Response(status=304, headers={"ETag": f'"{digest}"'})
        return web.Response(body=body, headers=headers)

    async def _blobs(
        self, request: web.BaseRequest, path: str, name: str
    ) -> web.StreamResponse:
        contents = self.contents.setdefault(path, Contents())
        if request.method == "POST":
            where = f"/v2/{path}/blobs/uploads/1?_state=a%2Fb"
            return web.Response(status=202, headers={"Location": where})
        if request.method == "PUT":
            body = await request.read()
            contents.blobs[request.query["digest"]] = body
            return web.Response(status=201)
        if name not in contents.blobs:
            return complaint(404, "BLOB_UNKNOWN")
        return web.Response(body=contents.blobs[name])


def complaint(
    status: int,
    code: str,
    message: str = "no",
    headers: dict[str, str] | None = None,
) -> web.Response:
    """Answer as the specification wants errors to be."""
    body = {"errors": [{"code": code, "message": message}]}
    return web.json_response(body, status=status, headers=headers)


def only(needle: str, response: Callable[[], web.StreamResponse]) -> Fault:
    """Answer so when the path holds `needle`."""

    async def fault(request: web.BaseRequest) -> web.StreamResponse | None:
        return response() if needle in request.path else None

    return fault


@asynccontextmanager
async def serving(registry: FakeRegistry) -> AsyncIterator[FakeRegistry]:
    """Serve a registry on a free port."""
    server = web.Server(registry.answer, handler_cancellation=True)
    runner = web.ServerRunner(server, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    registry.host = f"127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield registry
    finally:
        await runner.cleanup()
