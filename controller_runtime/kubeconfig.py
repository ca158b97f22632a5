"""A `RestConfig` written down, for programs that read a kubeconfig.

    RestConfig ─┬─ server, CA, proxy ────────────────▶ cluster
                └─ certificate, token, password ─────▶ user
                   a token in a file ─ its path ─────▶ client-go reads it every minute

Everything but that path is in the text itself. Credentials of a plug-in are those that
hold now: whoever works for long asks again.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping

from controller_runtime.credentials import (
    CertificateIssuer,
    ClientCertificate,
    Credentials,
    TokenFile,
)
from controller_runtime.restconfig import RestConfig

_NAME = "default"


async def write_kubeconfig(config: RestConfig) -> str:
    """Return the text of a kubeconfig that leads where `config` does, as whom it does.

    The text holds secrets. It is JSON, which every reader of YAML can read.

    Raises:
        ConfigError: There is no way to get credentials right now.
    """
    user = await _user(config)
    context = {"cluster": _NAME, "user": _NAME, "namespace": config.namespace}
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": _NAME, "cluster": _cluster(config)}],
        "users": [{"name": _NAME, "user": user}],
        "contexts": [{"name": _NAME, "context": context}],
        "current-context": _NAME,
    }
    return json.dumps(document)


def _cluster(config: RestConfig) -> Mapping[str, object]:
    cluster: dict[str, object] = {"server": config.server}
    if config.ca_data is not None:
        cluster["certificate-authority-data"] = _encoded(config.ca_data)
    if config.insecure_skip_tls_verify:
        cluster["insecure-skip-tls-verify"] = True
    if config.server_name:
        cluster["tls-server-name"] = config.server_name
    if config.proxy_url:
        cluster["proxy-url"] = config.proxy_url
    return cluster


async def _user(config: RestConfig) -> Mapping[str, object]:
    user: dict[str, object] = {}
    pair = config.client_certificate
    if isinstance(config.credentials, CertificateIssuer):
        pair = await config.credentials.client_certificate() or pair
    if pair is not None:
        user |= _pair(pair)
    if config.credentials is not None:
        user |= await _proof(config.credentials)
    return user


def _pair(pair: ClientCertificate) -> Mapping[str, object]:
    return {
        "client-certificate-data": _encoded(pair.certificate),
        "client-key-data": _encoded(pair.key),
    }


async def _proof(credentials: Credentials) -> Mapping[str, object]:
    if isinstance(credentials, TokenFile):
        return {"tokenFile": str(credentials.path.absolute())}
    scheme, _, proof = (await credentials.authorization() or "").partition(" ")
    match scheme:
        case "Bearer":
            return {"token": proof}
        case "Basic":
            name, _, password = base64.b64decode(proof).decode().partition(":")
            return {"username": name, "password": password}
        case _:
            return {}


def _encoded(content: bytes) -> str:
    return base64.b64encode(content).decode()
