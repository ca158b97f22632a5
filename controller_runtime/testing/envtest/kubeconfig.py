"""Kubeconfigs: those that we write, and the one that a user has.

The latter is read by `controller_runtime.kubeconfigfiles`, as everywhere, and written
anew so that it says the same from another folder.
"""

from __future__ import annotations

import base64
import ssl
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from controller_runtime.kubeconfigfiles import (
    Entry,
    listed_files,
    read_kubeconfig,
    usual_file,
)
from controller_runtime.restconfig import RestConfig, from_kubeconfig, located
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

    def __init__(self, *paths: Path) -> None:
        """Read the files, of which the first counts most. Blocks on the disk.

        Raises:
            ConfigError: There is no such file, or no such context in it.
        """
        self._merged = read_kubeconfig(paths)
        context = self._merged.context()
        self._cluster = self._merged.cluster(context)
        self._user = self._merged.user(context)

    @classmethod
    def of(cls, environ: Mapping[str, str], home: Path) -> CurrentContext:
        """Read what `KUBECONFIG` names, or `~/.kube/config`. Raises as `__init__`."""
        return cls(*(listed_files(environ) or [usual_file(home)]))

    @property
    def files(self) -> str:
        """Where it was read, for messages."""
        return self._merged.files

    @property
    def url(self) -> str:
        """The server."""
        return self._cluster.text("server").rstrip("/")

    @property
    def ca(self) -> bytes | None:
        """The authority to believe; `None` is the system's."""
        return self._cluster.content("certificate-authority")

    def acting_as(self, user: str, groups: Sequence[str]) -> str:
        """Return a kubeconfig that impersonates someone, if the server allows it."""
        credentials = {**_absolute(self._user), "as": user}
        if groups:
            credentials["as-groups"] = list(groups)
        return _document(_absolute(self._cluster), credentials, user)

    def text(self) -> str:
        """Return a kubeconfig of the current context alone, plug-ins included."""
        return _document(_absolute(self._cluster), _absolute(self._user), "existing")

    def restconfig(self) -> RestConfig:
        """Return the settings that lead there. Blocks on the disk.

        Raises:
            ConfigError: What is said there cannot be used.
        """
        return from_kubeconfig(self._merged)


_PATHS = {"certificate-authority", "client-certificate", "client-key", "tokenFile"}


def _absolute(entry: Entry) -> dict[str, object]:
    """Make paths absolute, which are relative to the folder of the kubeconfig."""
    fields: dict[str, object] = {
        name: str(path) if name in _PATHS and (path := entry.path(name)) else value
        for name, value in entry.fields.items()
    }
    if (plug_in := entry.section("exec")) is not None:
        fields["exec"] = located(entry, plug_in)
    return fields


def tls_context(*, ca: bytes | None, client: KeyPair | None) -> ssl.SSLContext:
    """Make what checks the server and shows who we are. Blocks on the disk."""
    context = ssl.create_default_context(cadata=ca.decode() if ca else None)
    if client is not None:
        load_pair(context, client)
    return context


def encoded(content: bytes) -> str:
    """Write bytes as the `-data` fields and `caBundle` have them."""
    return base64.b64encode(content).decode()
