"""Telling a URL of a change instead of reloading: what happens then is its affair.

The body has what the original sends, and what it should have sent: of what workload,
and for which sources.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

import msgspec

from controllers.reload.plan import Plan
from controllers.reload.workloads import WorkloadKey
from controllers.web import Http, Request, StatusError, TooSlowError, origin_of

_TIMEOUT = 10.0
"""Seconds that it has: a workload waits for it, and others may wait for the worker."""


class Notify(Protocol):
    """Tells somebody of a change."""

    async def __call__(self, key: WorkloadKey, plan: Plan, /) -> None:
        """Tell; what it raises is tried again later."""
        ...


class Webhook:
    """Posts JSON to one URL.

    Its path may be all that it takes to post there, so errors, which become Events,
    name the host alone. What it answers besides its status is not read.
    """

    def __init__(self, http: Http, url: str) -> None:
        """Prepare.

        Raises:
            UrlError: The URL is none.
        """
        self._http = http
        self._url = url
        scheme, host, port = origin_of(url)
        self._name = f"the webhook at {scheme}://{host}:{port}"

    async def __call__(self, key: WorkloadKey, plan: Plan, /) -> None:
        """Post.

        Raises:
            WebError: It does not arrive, or is refused.
        """
        request = Request(
            url=self._url,
            method="POST",
            headers={"Content-Type": "application/json"},
            body=payload(key, plan),
            redirects=0,
            alias=self._name,
        )
        try:
            async with asyncio.timeout(_TIMEOUT), self._http.open(request) as answer:
                status = answer.status
        except TimeoutError:
            raise TooSlowError(
                f"{self._name}: no answer after {_TIMEOUT:g} s"
            ) from None
        if status >= 400:
            raise StatusError(
                f"{self._name} answers {status}: see what it says there", status=status
            )


def payload(key: WorkloadKey, plan: Plan) -> bytes:
    """Write what is told."""
    return msgspec.json.encode(
        {
            "webhook": "update successful",
            "workload": {
                "kind": key.kind,
                "namespace": key.namespace,
                "name": key.name,
            },
            "sources": [
                {
                    "type": marker.source.kind.type_name,
                    "namespace": marker.source.namespace,
                    "name": marker.source.name,
                    "hash": marker.hash,
                }
                for marker in plan.markers
            ],
        }
    )
