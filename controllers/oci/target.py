"""Whom a question is for: a repository, and how and as whom it is asked."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from controllers.oci.credentials import ANONYMOUS, Credential
from controllers.oci.reference import Repository
from controllers.web import Proxy, Tls


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """How a registry is reached. Equal accesses share answers, tokens, connections."""

    credential: Credential = ANONYMOUS
    tls: Tls = field(default_factory=Tls)
    proxy: Proxy | None = None

    insecure: bool = False
    """Whether to speak plain HTTP: passwords and content are for everyone to see."""


class Target(NamedTuple):
    """A repository and the way there."""

    repository: Repository
    access: Access

    @property
    def url(self) -> str:
        """What tags, manifests and blobs are below."""
        return self.repository.api_url(insecure=self.access.insecure)

    @property
    def host(self) -> str:
        """Host and port that are asked."""
        return self.repository.api_host

    def clean(self, text: str) -> str:
        """Take out of a stranger's text what must not be seen, and its line breaks."""
        secrets = self.access.credential.secrets
        proxy = self.access.proxy
        if proxy is not None and proxy.password:
            secrets = (*secrets, proxy.password)
        for secret in sorted(secrets, key=len, reverse=True):
            text = text.replace(secret, "…")
        flat = " ".join(text.split())
        return "".join(each for each in flat if each.isprintable())[:200]
