"""Letting the API server of a test call webhooks that the test serves.

    configuration for a Service ──rewritten──▶ configuration for https://127.0.0.1:port
    CRD with a conversion webhook ──rewritten──▶ likewise, by `install_crds`

As Go's envtest: the configurations are those that will be installed; only where their
webhooks are and whom to believe is replaced. The certificate for serving them is made
here and lies where a webhook server looks for it: `tls.crt` and `tls.key`.
"""

from __future__ import annotations

import copy
import socket
import ssl
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from controller_runtime.errors import NotFoundError
from controller_runtime.testing.envtest.api import Api
from controller_runtime.testing.envtest.certificates import CertificateAuthority
from controller_runtime.testing.envtest.kubeconfig import encoded
from controller_runtime.tls import KeyPair, ServerTls

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

    @property
    def pair(self) -> KeyPair:
        """The certificate in `folder`. Blocks on the disk."""
        return KeyPair(
            public=(self.folder / "tls.crt").read_bytes(),
            private=(self.folder / "tls.key").read_bytes(),
        )

    def ssl_context(self) -> ssl.SSLContext:
        """Return what a server of the test needs. Blocks on the disk."""
        tls = ServerTls()
        tls.replace(self.pair)
        return tls.context


def webhook_host(folder: Path) -> WebhookHost:
    """Choose a port and make a serving certificate. Blocks on the disk."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = int(listener.getsockname()[1])
    authority = CertificateAuthority.create()
    pair = authority.server(["localhost"], ["127.0.0.1"])
    pair.write(folder, "tls")
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
    """Delete webhook configurations, if they are there: all of the cluster has them."""
    for configuration in configurations:
        with suppress(NotFoundError):
            await api.delete(_path(configuration))


def rewritten(
    configurations: Iterable[Mapping[str, Any]], *, host: WebhookHost
) -> list[dict[str, Any]]:
    """Point the webhooks of configurations at a host, each at its own path."""
    local = [copy.deepcopy(dict(each)) for each in configurations]
    for configuration in local:
        for webhook in configuration.get("webhooks", ()):
            webhook["clientConfig"] = _local(webhook.get("clientConfig", {}), host)
    return local


def rewritten_crd(crd: Mapping[str, Any], *, host: WebhookHost) -> dict[str, Any]:
    """Point the conversion webhook of a CRD at a host, if it has one."""
    local = copy.deepcopy(dict(crd))
    conversion = local["spec"].get("conversion") or {}
    if conversion.get("strategy") == "Webhook":
        webhook = conversion["webhook"]
        webhook["clientConfig"] = _local(webhook.get("clientConfig", {}), host)
    return local


def _local(config: Mapping[str, Any], host: WebhookHost) -> dict[str, Any]:
    """Keep the path of what was a Service or another URL."""
    path = config.get("service", {}).get("path") or urlsplit(config.get("url", "")).path
    return {"url": f"{host.url}/{path.lstrip('/')}", "caBundle": host.ca_bundle}


def _path(configuration: Mapping[str, Any]) -> str:
    resource = _RESOURCES[configuration["kind"]]
    name = configuration["metadata"]["name"]
    return f"/apis/admissionregistration.k8s.io/v1/{resource}/{name}"
