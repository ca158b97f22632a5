"""A webhook server by hand: HTTPS, and just enough of the reviews."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

CONFIG_MAPS = {
    "apiGroups": [""],
    "apiVersions": ["v1"],
    "resources": ["configmaps"],
    "operations": ["CREATE"],
}


@asynccontextmanager
async def reviewing(tls: ssl.SSLContext, *, port: int = 0) -> AsyncIterator[int]:
    """Refuse every request to `/validate`, convert at `/convert`; yield the port."""
    application = web.Application()
    application.add_routes(
        [
            web.post("/validate", _refuse),
            web.post("/convert", _convert),
            web.get("/", _hello),
        ]
    )
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port, ssl_context=tls)
    await site.start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


def validating(name: str, client_config: dict[str, Any]) -> dict[str, Any]:
    """Return a configuration that asks about the ConfigMaps of one namespace."""
    only = {"matchLabels": {"kubernetes.io/metadata.name": name}}
    webhook = {
        "name": "refuse.example.org",
        "clientConfig": client_config,
        "rules": [CONFIG_MAPS],
        "namespaceSelector": only,
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
        "timeoutSeconds": 5,
    }
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": name},
        "webhooks": [webhook],
    }


async def _hello(_request: web.Request) -> web.Response:
    return web.Response(text="hello")


async def _refuse(request: web.Request) -> web.Response:
    review = await request.json()
    response = {
        "uid": review["request"]["uid"],
        "allowed": False,
        "status": {"message": "refused at /validate"},
    }
    return web.json_response({**_kind(review), "response": response})


async def _convert(request: web.Request) -> web.Response:
    review = await request.json()
    asked = review["request"]
    version = asked["desiredAPIVersion"]
    objects = [{**each, "apiVersion": version} for each in asked["objects"]]
    response = {
        "uid": asked["uid"],
        "convertedObjects": objects,
        "result": {"status": "Success"},
    }
    return web.json_response({**_kind(review), "response": response})


def _kind(review: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": review["apiVersion"], "kind": review["kind"]}
