"""The chart that a ManagedRoost names: its repository, as whom, believing whom.

spec.chart ─┐
Secrets   ──┴─▶ ChartSource ──Charts──▶ ResolvedChart, or DesireError
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from api.core.v1 import Secret
from api.release.chart import RepositoryAuth, RepositoryTls, SecretReference
from api.release.v1alpha1 import ManagedRoost
from controller_runtime import (
    Client,
    ControllerRuntimeError,
    ForbiddenError,
    NotFoundError,
)
from controllers.release.chart import (
    Auth,
    AuthType,
    ChartSource,
    ResolvedChart,
    SourceError,
    credential_for,
)
from controllers.release.failures import Again
from controllers.web import Tls, TlsSettingsError

_AUTH_FAILED = "AuthFailed"


class DesireError(ControllerRuntimeError):
    """What is asked for cannot be had; the text says what, and what to do."""

    def __init__(
        self, message: str, *, reason: str, again: Again, is_source: bool = False
    ) -> None:
        super().__init__(message)
        self.reason = reason
        """Of Ready, and of SourceReady if it is about the chart."""
        self.again = again
        self.is_source = is_source


class Charts(Protocol):
    """Finds and keeps charts."""

    async def resolve(self, source: ChartSource, /) -> ResolvedChart:
        """Return the newest chart that fits.

        Raises:
            SourceError: It cannot be had.
        """
        ...


class SourceReader:
    """Has the charts of objects found."""

    def __init__(
        self, client: Client, charts: Charts, *, registry_config: Path | None = None
    ) -> None:
        """Prepare.

        Args:
            client: Reads Secrets; must not be cached.
            charts: Where charts come from.
            registry_config: File with logins for sources that bring none; it is read
                anew each time.
        """
        self._client = client
        self._charts = charts
        self._registry_config = registry_config

    async def chart(self, roost: ManagedRoost) -> ResolvedChart:
        """Return the chart that an object names.

        Raises:
            DesireError: It cannot be had.
            ApiError: The API server cannot be asked.
        """
        try:
            return await self._charts.resolve(await self._source(roost))
        except SourceError as error:
            again = Again.RETRY if error.is_transient else Again.INTERVAL
            raise DesireError(
                str(error),
                reason=error.reason.value,
                again=Again.CHANGE if error.is_terminal else again,
                is_source=True,
            ) from None

    async def _source(self, roost: ManagedRoost) -> ChartSource:
        chart, namespace = roost.spec.chart, roost.metadata.namespace
        repository = chart.repository
        auth = await self._auth(repository.auth, namespace)
        default = None
        if self._registry_config is not None:
            default = await asyncio.to_thread(self._registry_config.read_bytes)
        return ChartSource(
            url=repository.url,
            name=chart.name,
            version=chart.version,
            digest=chart.digest,
            credential=credential_for(
                repository.url, chart.name, auth, default=default
            ),
            tls=await self._tls(repository.tls, namespace),
            plain_http=repository.plain_http,
            pass_credentials=repository.pass_credentials,
        )

    async def _auth(self, auth: RepositoryAuth | None, namespace: str) -> Auth | None:
        if auth is None:
            return None
        reference = auth.secret_ref
        data, name = None, ""
        if reference is not None:
            data, name = await self._data(reference, namespace)
        return Auth(
            type=AuthType(auth.type),
            username=auth.username,
            password=auth.password,
            token=auth.token,
            secret=data,
            secret_name=name,
            key=reference.key if reference is not None else "",
        )

    async def _tls(self, tls: RepositoryTls | None, namespace: str) -> Tls:
        if tls is None:
            return Tls()
        data: Mapping[str, bytes] = {}
        if tls.secret_ref is not None:
            data, _ = await self._data(tls.secret_ref, namespace)
        try:
            ca = base64.b64decode(tls.ca_bundle, validate=True)
        except binascii.Error:
            raise _refused("spec.chart.repository.tls.caBundle is no base64") from None
        certificate, key = data.get("tls.crt", b""), data.get("tls.key", b"")
        if bool(certificate) != bool(key):
            raise _refused("the Secret of tls.secretRef needs tls.crt with tls.key")
        try:
            return Tls(
                ca=b"\n".join(filter(None, (ca, data.get("ca.crt", b"")))),
                certificate=certificate,
                key=key,
                skip_verify=tls.insecure_skip_verify,
            )
        except TlsSettingsError as error:
            raise _refused(str(error)) from None

    async def _data(
        self, reference: SecretReference, namespace: str
    ) -> tuple[Mapping[str, bytes], str]:
        place = reference.namespace or namespace
        name = f"{place}/{reference.name}"
        try:
            secret = await self._client.get(Secret, reference.name, place)
        except NotFoundError:
            raise _refused(
                f"the Secret {name} does not exist: create it, or remove the secretRef"
            ) from None
        except ForbiddenError as error:
            raise _refused(str(error)) from None
        data = {key: base64.b64decode(value) for key, value in secret.data.items()}
        return data, name


def _refused(message: str) -> DesireError:
    return DesireError(
        message, reason=_AUTH_FAILED, again=Again.INTERVAL, is_source=True
    )
