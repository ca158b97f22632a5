"""Telling a URL of a change instead of reloading: what happens then is its affair.

The body has what the original sends, and what it should have sent: of what workload,
and for which sources.
"""

from __future__ import annotations

from typing import Protocol

import msgspec

from controllers.reload.rollout import Plan
from controllers.reload.workloads import WorkloadKey
from controllers.web import Http, Request, StatusError, shown

_LIMIT = 64 << 10
"""Bytes of an answer, which nobody reads."""


class Notify(Protocol):
    """Tells somebody of a change."""

    async def __call__(self, key: WorkloadKey, plan: Plan, /) -> None:
        """Tell; what it raises is tried again later."""
        ...


class Webhook:
    """Posts JSON to one URL."""

    def __init__(self, http: Http, url: str) -> None:
        self._http = http
        self._url = url

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
        )
        async with self._http.open(request) as answer:
            await answer.read(_LIMIT)
        if answer.status >= 400:
            raise StatusError(
                f"the webhook {shown(self._url)} answers {answer.status}: see what it "
                "says there",
                status=answer.status,
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
