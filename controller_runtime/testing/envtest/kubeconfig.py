"""Kubeconfigs: those that we write, and the one that a user has.

Only what a control plane of ours needs is understood of the latter: certificates and
tokens, in files or in place. Credentials that need a plug-in are the business of
`controller_runtime.restconfig`.
"""

from __future__ import annotations

import base64
import os
import ssl
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from controller_runtime.errors import ConfigError
from controller_runtime.testing.envtest.api import Api
from controller_runtime.tls import KeyPair, load_pair


def kubeconfig_for(url: str, *, ca: bytes, client: KeyPair, user: str) -> str:
    """Write a kubeconfig with everything in it, so that it can be moved about."""
    credentials = {
        "client-certificate-data": encoded(client.public),
        "client-key-data": encoded(client.private),
    }
    cluster = {"server": url, "certificate-authority-data": encoded(ca)}
    return _document(cluster, credentials, user)


def _document(
    cluster: Mapping[str, object], credentials: Mapping[str, object], user: str
) -> str:
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "envtest", "cluster": dict(cluster)}],
        "users": [{"name": user, "user": dict(credentials)}],
        "contexts": [
            {"name": "envtest", "context": {"cluster": "envtest", "user": user}}
        ],
        "current-context": "envtest",
    }
    return yaml.safe_dump(document, sort_keys=False)


class CurrentContext:
    """What a user's kubeconfig says about the context that is current."""

    def __init__(self, path: Path) -> None:
        """Read the file. Blocks on the disk.

        Raises:
            ConfigError: There is no such file, or no such context in it.
        """
        self.path = path
        try:
            self._document: Mapping[str, Any] = yaml.safe_load(path.read_bytes()) or {}
        except (OSError, yaml.YAMLError) as error:
            raise ConfigError(
                f"the kubeconfig {path} cannot be read: {error}"
            ) from error
        context = self._entry("context", self._document.get("current-context"))
        self._cluster = self._entry("cluster", context.get("cluster"))
        self._user = self._entry("user", context.get("user"))

    @property
    def url(self) -> str:
        """The server."""
        return str(self._cluster["server"]).rstrip("/")

    @property
    def ca(self) -> bytes | None:
        """The authority to believe; `None` is the system's."""
        return self._content(self._cluster, "certificate-authority")

    def acting_as(self, user: str, groups: Sequence[str]) -> str:
        """Return a kubeconfig that impersonates someone, if the server allows it."""
        credentials = {**self._absolute(self._user), "as": user}
        if groups:
            credentials["as-groups"] = list(groups)
        return _document(self._absolute(self._cluster), credentials, user)

    def text(self) -> str:
        """Return a kubeconfig of the current context alone."""
        credentials = self._absolute(self._user)
        return _document(self._absolute(self._cluster), credentials, "existing")

    def api(self) -> Api:
        """Return what asks this server, with these credentials. Blocks on the disk.

        Raises:
            ConfigError: The credentials come from a plug-in.
        """
        token = self._user.get("token")
        if (file := self._user.get("tokenFile")) is not None:
            token = self._resolved(file).read_text(encoding="utf-8").strip()
        certificate = self._content(self._user, "client-certificate")
        key = self._content(self._user, "client-key")
        if token is None and certificate is None:
            raise ConfigError(
                f"the current context of {self.path} has neither a token nor a client "
                "certificate; credentials from a plug-in are not understood here"
            )
        pair = KeyPair(public=certificate, private=key) if certificate and key else None
        insecure = bool(self._cluster.get("insecure-skip-tls-verify"))
        tls = tls_context(ca=self.ca, client=pair, insecure=insecure)
        return Api(url=self.url, tls=tls, token=token)

    def _entry(self, kind: str, name: object) -> Mapping[str, Any]:
        for entry in self._document.get(f"{kind}s") or ():
            if entry.get("name") == name:
                return entry.get(kind) or {}
        raise ConfigError(f"the kubeconfig {self.path} has no {kind} {name!r}")

    def _content(self, entry: Mapping[str, Any], key: str) -> bytes | None:
        if (data := entry.get(f"{key}-data")) is not None:
            return base64.b64decode(data)
        if (file := entry.get(key)) is not None:
            return self._resolved(file).read_bytes()
        return None

    def _absolute(self, entry: Mapping[str, Any]) -> dict[str, object]:
        """Make file names absolute, which are relative to the kubeconfig's folder."""
        files = {
            "certificate-authority",
            "client-certificate",
            "client-key",
            "tokenFile",
        }
        return {
            key: str(self._resolved(value)) if key in files else value
            for key, value in entry.items()
        }

    def _resolved(self, file: str) -> Path:
        return (self.path.parent / file).absolute()


def current_kubeconfig(environ: Mapping[str, str]) -> Path:
    """Return the file that `KUBECONFIG` names first, or `~/.kube/config`."""
    named = [part for part in environ.get("KUBECONFIG", "").split(os.pathsep) if part]
    return Path(named[0]) if named else Path.home() / ".kube" / "config"


def tls_context(
    *, ca: bytes | None, client: KeyPair | None, insecure: bool = False
) -> ssl.SSLContext:
    """Make what checks the server and shows who we are. Blocks on the disk."""
    context = ssl.create_default_context(cadata=ca.decode() if ca else None)
    if insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if client is not None:
        load_pair(context, client)
    return context


def encoded(content: bytes) -> str:
    """Write bytes as the `-data` fields and `caBundle` have them."""
    return base64.b64encode(content).decode()
