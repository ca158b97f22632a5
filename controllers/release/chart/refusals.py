"""What an error of the web or of a registry means for a chart; pure."""

from __future__ import annotations

from controllers import oci
from controllers.oci import RegistryError
from controllers.release.chart.source import ChartSource, Reason, SourceError
from controllers.web import (
    NetworkError,
    StatusError,
    TlsError,
    TlsSettingsError,
    TooSlowError,
    WebError,
)

_OF_REGISTRIES = {
    oci.Reason.AUTHENTICATION_FAILED: Reason.AUTH_FAILED,
    oci.Reason.FORBIDDEN: Reason.AUTH_FAILED,
    oci.Reason.REPOSITORY_NOT_FOUND: Reason.NOT_FOUND,
    oci.Reason.TAG_NOT_FOUND: Reason.NOT_FOUND,
    oci.Reason.BLOB_NOT_FOUND: Reason.NOT_FOUND,
    oci.Reason.DIGEST_MISMATCH: Reason.FETCH_FAILED,
}
"""A digest that differs is the registry's mistake here: what a user pinned is compared
elsewhere."""


def from_registry(source: ChartSource, error: RegistryError) -> SourceError:
    """Read an error of a registry."""
    return SourceError(
        f"{source}: {error}",
        reason=_OF_REGISTRIES.get(error.reason, Reason.FETCH_FAILED),
        is_transient=error.is_transient or error.reason is oci.Reason.RATE_LIMITED,
        retry_after=error.retry_after,
    )


def from_web(source: ChartSource, error: WebError) -> SourceError:
    """Read an error of a web server."""
    text = f"{source}: {error}"
    match error:
        case StatusError(status=401 | 403):
            hint = (
                "name a Secret in chart.repository.auth.secretRef"
                if source.credential.is_anonymous
                else "check the Secret, or what the account may read"
            )
            return SourceError(f"{text}; {hint}", reason=Reason.AUTH_FAILED)
        case StatusError(status=404 | 410):
            return SourceError(text, reason=Reason.NOT_FOUND)
        case StatusError():
            return SourceError(
                text,
                reason=Reason.FETCH_FAILED,
                is_transient=error.status == 429 or error.status >= 500,
                retry_after=error.retry_after,
            )
        case NetworkError() | TooSlowError():
            return SourceError(text, reason=Reason.FETCH_FAILED, is_transient=True)
        case TlsError():
            hint = "name its authority in chart.repository.tls"
            return SourceError(f"{text}; {hint}", reason=Reason.FETCH_FAILED)
        case TlsSettingsError():
            return SourceError(text, reason=Reason.INVALID)
        case _:
            return SourceError(text, reason=Reason.FETCH_FAILED)
