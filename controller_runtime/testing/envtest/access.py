"""How to reach a cluster, as anyone.

`Cluster` is what tests and `make run` see, whether we started the cluster or not;
`Access` is the part of ours that needs no running program: an address, an authority.
It can be loaded from the folder of a control plane that another process runs.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Protocol

from controller_runtime.testing.envtest.api import Api
from controller_runtime.testing.envtest.certificates import (
    CertificateAuthority,
    KeyPair,
    load_or_create_authority,
    write_private,
)
from controller_runtime.testing.envtest.kubeconfig import kubeconfig_for, tls_context
from controller_runtime.testing.envtest.programs import Places, Ports

ADMIN = "admin"

MASTERS = ("system:masters",)
"""The group that RBAC asks nothing."""


class Cluster(Protocol):
    """A cluster to test against."""

    @property
    def url(self) -> str:
        """Address of the API server."""
        ...

    @property
    def ca_pem(self) -> bytes | None:
        """The authority that its certificate is from; `None` is the system's."""
        ...

    @property
    def api(self) -> Api:
        """What asks it a question as the administrator."""
        ...

    def client_certificate(
        self, user: str, groups: Sequence[str] = ..., *, expired: bool = ...
    ) -> KeyPair:
        """Issue what makes its holder `user`; expired, it makes him nobody.

        Raises:
            ConfigError: The cluster's authority is not ours.
        """
        ...

    def kubeconfig(
        self,
        *,
        user: str = ...,
        groups: Sequence[str] | None = ...,
        expired: bool = ...,
    ) -> str:
        """Write a kubeconfig for a user; by default the administrator's.

        Args:
            user: The name that RBAC sees.
            groups: Its groups; by default `system:masters` for the administrator and
                none for anyone else.
            expired: Let the certificate have ended an hour ago.

        Raises:
            ConfigError: It should be expired, and the authority is not ours.
        """
        ...

    async def write_kubeconfig(
        self,
        path: Path,
        *,
        user: str = ...,
        groups: Sequence[str] | None = ...,
        expired: bool = ...,
    ) -> Path:
        """Put that kubeconfig into a file of mode 0600, and return its path."""
        ...


class Access:
    """The address of a control plane of ours and the authority that it believes."""

    def __init__(self, url: str, authority: CertificateAuthority) -> None:
        """Blocks on the disk, for a moment."""
        self._url = url
        self._authority = authority
        client = authority.client(ADMIN, MASTERS)
        tls = tls_context(ca=authority.pem, client=client)
        self._api = Api(url=url, tls=tls)

    @classmethod
    def load(cls, folder: Path) -> Access:
        """Read it from the folder of a running control plane. Blocks on the disk."""
        places = Places(folder=folder)
        ports = load_ports(places)
        if ports is None:
            raise FileNotFoundError(f"no control plane has run on {folder}")
        return cls(address(ports), load_or_create_authority(places.pki))

    @property
    def url(self) -> str:
        return self._url

    @property
    def ca_pem(self) -> bytes:
        return self._authority.pem

    @property
    def api(self) -> Api:
        return self._api

    def client_certificate(
        self, user: str, groups: Sequence[str] = (), *, expired: bool = False
    ) -> KeyPair:
        return self._authority.client(user, groups, expired=expired)

    def kubeconfig(
        self,
        *,
        user: str = ADMIN,
        groups: Sequence[str] | None = None,
        expired: bool = False,
    ) -> str:
        if groups is None:
            groups = MASTERS if user == ADMIN else ()
        client = self.client_certificate(user, groups, expired=expired)
        return kubeconfig_for(self.url, ca=self.ca_pem, client=client, user=user)

    async def write_kubeconfig(
        self,
        path: Path,
        *,
        user: str = ADMIN,
        groups: Sequence[str] | None = None,
        expired: bool = False,
    ) -> Path:
        text = self.kubeconfig(user=user, groups=groups, expired=expired)
        await asyncio.to_thread(write_private, path, text.encode())
        return path


def address(ports: Ports) -> str:
    """Return where kube-apiserver answers."""
    return f"https://127.0.0.1:{ports.apiserver}"


def load_ports(places: Places) -> Ports | None:
    """Read the ports of the last run, if there was one. Blocks on the disk."""
    try:
        ports: Mapping[str, int] = json.loads(places.ports.read_bytes())
        return Ports(**ports)
    except (OSError, ValueError, TypeError):
        return None


def save_ports(places: Places, ports: Ports) -> None:
    """Note the ports, for the next run and for who wants access. Blocks."""
    write_private(places.ports, json.dumps(asdict(ports)).encode())
