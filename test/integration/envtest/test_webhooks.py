"""The API server of a test calls the webhooks that the test serves."""

from __future__ import annotations

import asyncio
import json
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from controller_runtime.errors import ApiError
from controller_runtime.testing.envtest import (
    Cluster,
    WebhookHost,
    install_webhooks,
    uninstall_webhooks,
    webhook_host,
)


class Refuser(BaseHTTPRequestHandler):
    """Refuses everything, and says on which path it was asked."""

    def do_POST(self) -> None:
        length = int(self.headers["Content-Length"])
        review = json.loads(self.rfile.read(length))
        status = {"message": f"refused at {self.path.partition('?')[0]}"}
        response = {"uid": review["request"]["uid"], "allowed": False, "status": status}
        answer = json.dumps({**review, "request": None, "response": response}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def host(tmp_path: Path) -> Iterator[WebhookHost]:
    host = webhook_host(tmp_path)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(tmp_path / "tls.crt", tmp_path / "tls.key")
    with HTTPServer((host.host, host.port), Refuser) as server:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield host
        server.shutdown()
        thread.join()


def configuration(namespace: str) -> dict[str, Any]:
    """A webhook for ConfigMaps of one namespace, as a chart would install it."""
    rule = {
        "apiGroups": [""],
        "apiVersions": ["v1"],
        "resources": ["configmaps"],
        "operations": ["CREATE"],
    }
    service = {"name": "webhook", "namespace": "default", "path": "/validate"}
    only = {"matchLabels": {"kubernetes.io/metadata.name": namespace}}
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": namespace},
        "webhooks": [
            {
                "name": "refuse.example.org",
                "clientConfig": {"service": service},
                "rules": [rule],
                "namespaceSelector": only,
                "sideEffects": "None",
                "admissionReviewVersions": ["v1"],
            }
        ],
    }


async def test_a_webhook_for_a_service_is_called_where_the_test_serves_it(
    control_plane: Cluster, namespace: str, host: WebhookHost
) -> None:
    api, webhook = control_plane.api, configuration(namespace)
    path = f"/api/v1/namespaces/{namespace}/configmaps?dryRun=All"

    await install_webhooks(api, webhook, host=host)
    refusal = ""
    try:
        async with asyncio.timeout(60):
            while "refused" not in refusal:
                refusal = await answer_to(control_plane, path)
    finally:
        await uninstall_webhooks(api, webhook)

    assert "refused at /validate" in refusal
    assert webhook == configuration(namespace)


async def answer_to(cluster: Cluster, path: str) -> str:
    try:
        await cluster.api.post(path, {"metadata": {"generateName": "x-"}})
    except ApiError as error:
        return str(error)
    return ""
