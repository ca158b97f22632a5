"""Letting the API server of a test call webhooks that the test serves.

    configuration for a Service ──rewritten──▶ configuration for https://127.0.0.1:port

As Go's envtest: the configurations are those that will be installed; only where their
webhooks are and whom to believe is replaced. The certificate for serving them is made
here and lies where a webhook server looks for it: `tls.crt` and `tls.key`.
"""

from __future__ import annotations

import copy
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from controller_runtime.testing.envtest.api import Api
from controller_runtime.testing.envtest.certificates import (
    CertificateAuthority,
    write_private,
)
from controller_runtime.testing.envtest.kubeconfig import encoded

_RESOURCES = {
    "MutatingWebhookConfiguration": "mutatingwebhookconfigurations",
    "ValidatingWebhookConfiguration": "validatingwebhookconfigurations",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookHost:
    """Where a test serves its webhooks; made by `webhook_host`."""

    folder: Path
    """Holds `tls.crt` and `tls.key`."""

    port: int
    """Free when it was chosen."""

    ca_pem: bytes
    """The authority that the API server is told to believe."""

    host: str = "127.0.0.1"

    @property
    def url(self) -> str:
        """What the paths of webhooks are appended to."""
        return f"https://{self.host}:{self.port}"

    @property
    def ca_bundle(self) -> str:
        """The authority as a `caBundle` has it."""
        return encoded(self.ca_pem)


def webhook_host(folder: Path) -> WebhookHost:
    """Choose a port and make a serving certificate. Blocks on the disk."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = int(listener.getsockname()[1])
    authority = CertificateAuthority.create()
    pair = authority.server(["localhost"], ["127.0.0.1"])
    write_private(folder / "tls.crt", pair.public)
    write_private(folder / "tls.key", pair.private)
    return WebhookHost(folder=folder, port=port, ca_pem=authority.pem)


async def install_webhooks(
    api: Api, *configurations: Mapping[str, Any], host: WebhookHost
) -> None:
    """Apply webhook configurations, rewritten to where the test serves them.

    The API server hears of them through a watch, so the first requests afterwards may
    still pass by; wait for the effect.

    Raises:
        KeyError: An object is no webhook configuration.
        ApiError: The server refused one.
    """
    for configuration in rewritten(configurations, host=host):
        await api.apply(_path(configuration), configuration)


async def uninstall_webhooks(api: Api, *configurations: Mapping[str, Any]) -> None:
    """Delete webhook configurations: they are for the whole cluster."""
    for configuration in configurations:
        await api.delete(_path(configuration))


def rewritten(
    configurations: Iterable[Mapping[str, Any]], *, host: WebhookHost
) -> list[dict[str, Any]]:
    """Point the webhooks of configurations at a host, each at its own path."""
    local = [copy.deepcopy(dict(each)) for each in configurations]
    for configuration in local:
        for webhook in configuration.get("webhooks", ()):
            service = webhook.get("clientConfig", {}).get("service", {})
            url = f"{host.url}/{service.get('path', '').lstrip('/')}"
            webhook["clientConfig"] = {"url": url, "caBundle": host.ca_bundle}
    return local


def _path(configuration: Mapping[str, Any]) -> str:
    resource = _RESOURCES[configuration["kind"]]
    name = configuration["metadata"]["name"]
    return f"/apis/admissionregistration.k8s.io/v1/{resource}/{name}"
