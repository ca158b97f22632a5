"""The few requests that setting up a cluster takes.

Not a client: one request, one connection, one dict, in a thread. The framework's
client is built on top of what this package starts and is tested against it, so it
cannot be what starts it.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.client import HTTPException
from typing import cast
from urllib.error import HTTPError
from urllib.request import HTTPSHandler, ProxyHandler, Request, build_opener

from controller_runtime.errors import ApiError, error_for

SECONDS = 30.0
"""Longest that a request may go unanswered: a busy server's first second is long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Api:
    """A server, and who asks it."""

    url: str
    tls: ssl.SSLContext | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)

    async def get(self, path: str) -> Mapping[str, object]:
        """Read an object, or a list of them.

        Raises:
            ApiError: The server refused, in a class that says why.
            OSError: It cannot be reached.
        """
        return await self.request("GET", path)

    async def post(self, path: str, body: object) -> Mapping[str, object]:
        """Create an object. Raises as `get` does."""
        return await self.request("POST", path, body)

    async def delete(self, path: str) -> Mapping[str, object]:
        """Delete an object. Raises as `get` does."""
        return await self.request("DELETE", path)

    async def apply(self, path: str, body: object) -> Mapping[str, object]:
        """Apply an object server-side, as the owner of all its fields."""
        query = "fieldManager=pilothouse-envtest&force=true"
        return await self.request(
            "PATCH", f"{path}?{query}", body, content="application/apply-patch+yaml"
        )

    async def request(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        content: str = "application/json",
    ) -> Mapping[str, object]:
        """Send one request and return the JSON that comes back."""
        answer = await asyncio.to_thread(self._send, method, path, body, content)
        return cast("Mapping[str, object]", json.loads(answer))

    async def answers(self, path: str) -> bool:
        """Whether a path answers 200 now; anything else is a no."""
        try:
            await asyncio.to_thread(self._send, "GET", path, None, "")
        except (ApiError, OSError, HTTPException):
            return False
        return True

    def _send(self, method: str, path: str, body: object, content: str) -> bytes:
        headers = {"Content-Type": content, "Accept": "application/json"}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        data = None if body is None else json.dumps(body).encode()
        request = Request(self.url + path, data, headers, method=method)  # noqa: S310 - our URLs
        # The server is ours and near: a proxy from the environment is in the way.
        opener = build_opener(ProxyHandler({}), HTTPSHandler(context=self.tls))
        try:
            with opener.open(request, timeout=SECONDS) as response:
                return cast("bytes", response.read())
        except HTTPError as error:
            with error:
                raise _refusal(method, path, error.code, error.read()) from None


def _refusal(method: str, path: str, code: int, answer: bytes) -> ApiError:
    try:
        status = json.loads(answer)
    except ValueError:
        status = {"message": answer.decode(errors="replace")}
    reason = str(status.get("reason", ""))
    message = f"{method} {path}: {status.get('message') or code}"
    return error_for(code, reason)(message, status=code, reason=reason)
