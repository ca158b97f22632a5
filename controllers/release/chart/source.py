"""Which chart, from where, as whom: what a spec says, in our words; pure.

ChartSource ──▶ Charts ──▶ ResolvedChart, or SourceError
                                           `.reason` is what the condition shows
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from urllib.parse import urlsplit

from controller_runtime import ControllerRuntimeError
from controllers.oci import ANONYMOUS, Credential
from controllers.web import Tls


class Reason(StrEnum):
    """Of the condition `SourceReady`."""

    AUTH_FAILED = "AuthFailed"
    """Whoever we say we are is refused, or the Secret cannot be read."""

    NOT_FOUND = "NotFound"
    """No such repository, chart or version."""

    FETCH_FAILED = "FetchFailed"
    """No answer, or none that is of use."""

    DIGEST_MISMATCH = "DigestMismatch"
    """The chart is not the one that was pinned, or not the one that was announced."""

    INVALID = "InvalidSource"
    """The spec itself: a URL, a version or TLS settings that nobody can use."""


class SourceError(ControllerRuntimeError):
    """A chart could not be had. The text names host, chart and remedy, no secret."""

    def __init__(
        self,
        message: str,
        *,
        reason: Reason,
        is_transient: bool = False,
        retry_after: timedelta | None = None,
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.is_transient = is_transient
        """Whether asking again may help without anybody's doing."""
        self.retry_after = retry_after
        """How long not to ask, if the server said so."""

    @property
    def is_terminal(self) -> bool:
        """Whether nothing helps but a change of the spec."""
        return self.reason in {Reason.DIGEST_MISMATCH, Reason.INVALID}


@dataclass(frozen=True, slots=True, kw_only=True)
class ChartSource:
    """A chart in a repository. Equal sources share what was fetched."""

    url: str
    """`oci://host/path`, `https://host/path` or `http://host/path`; the scheme says
    which kind of repository it is."""

    name: str
    """Of the chart; for OCI it is the last part of the path."""

    version: str
    """Exact, or a range in Helm's notation."""

    digest: str = ""
    """`sha256:` of the manifest (OCI) or of the archive (HTTP), if it is pinned."""

    credential: Credential = ANONYMOUS
    tls: Tls = field(default_factory=Tls)

    plain_http: bool = False
    """Speak HTTP to an OCI registry; refused for hosts of the open network unless the
    options allow it."""

    pass_credentials: bool = False
    """Show the credential to other hosts that the index names (HTTP)."""

    @property
    def is_oci(self) -> bool:
        """Whether it is in a registry."""
        return urlsplit(self.url).scheme == "oci"

    def __str__(self) -> str:
        return f"chart {self.name} of {shown(self.url)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedChart:
    """A chart, here."""

    name: str

    version: str
    """As the repository has it, with `+` before a build."""

    digest: str
    """`sha256:` of the manifest (OCI) or of the archive (HTTP): what tells whether a
    tag or a version is still what it was."""

    path: Path
    """Of the archive. It stays while it is in use by anyone who resolved it in the
    last hour; whoever needs it later resolves again."""


def shown(url: str) -> str:
    """Return a URL for messages: no user, no query."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
