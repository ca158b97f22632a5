"""Who we are, to an API server that asks each time.

What changes while the process runs is behind `Credentials`. The transport asks them
for every request and tells them when the server no longer accepts the answer:

    StaticCredentials  a token, or a name and password: never changes
    TokenFile          a file that somebody else rotates, read again every minute
    PluginCredentials  whatever a plug-in says, until the moment it says it expires

The plug-ins of a kubeconfig (`exec`, `auth-provider`) are run by kubernetes_asyncio,
which is large: it is imported when a kubeconfig asks for one, on their thread.

Keys, tokens and passwords are in no repr and in no error.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple, Protocol, runtime_checkable

import structlog

from controller_runtime.clock import Clock
from controller_runtime.errors import ConfigError

log = structlog.get_logger(__name__)

_TOKEN_LIFE = 60.0
"""Seconds a token file is trusted: client-go's `transport/token_source.go`."""


class Credentials(Protocol):
    """Answers who we are, each time that somebody asks."""

    async def authorization(self) -> str | None:
        """Return the value of the `Authorization` header, or none to send none.

        Raises:
            ConfigError: There is no way to get credentials right now.
        """
        ...

    async def refresh(self) -> None:
        """Forget what was answered so far: the server does not accept it."""
        ...


class ClientCertificate(NamedTuple):
    """A certificate, with its chain, and its key; both PEM."""

    certificate: bytes
    key: bytes

    def __repr__(self) -> str:
        return "ClientCertificate(…)"


@runtime_checkable
class CertificateIssuer(Protocol):
    """Credentials that may come as a client certificate."""

    async def client_certificate(self) -> ClientCertificate | None:
        """Return the certificate to connect with, if that is what there is."""
        ...


class StaticCredentials:
    """Credentials that never change."""

    def __init__(self, authorization: str) -> None:
        self._authorization = authorization

    @classmethod
    def bearer(cls, token: str) -> StaticCredentials:
        """Present `token`."""
        return cls(f"Bearer {token.strip()}")

    @classmethod
    def basic(cls, username: str, password: str) -> StaticCredentials:
        """Present a name and password, as proxies in front of a server may ask."""
        pair = f"{username}:{password}".encode()
        return cls(f"Basic {base64.b64encode(pair).decode()}")

    async def authorization(self) -> str | None:
        return self._authorization

    async def refresh(self) -> None:
        """Do nothing: there are no others."""


class TokenFile:
    """A token in a file that somebody else rotates, as the kubelet does hourly."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._token = ""
        self._stale_at = 0.0

    async def authorization(self) -> str | None:
        now = asyncio.get_running_loop().time()
        if not self._token or now >= self._stale_at:
            await self._read()
            self._stale_at = now + _TOKEN_LIFE
        return f"Bearer {self._token}"

    async def refresh(self) -> None:
        self._stale_at = 0.0

    async def _read(self) -> None:
        try:
            self._token = await asyncio.to_thread(_read_token, self.path)
        except ConfigError as error:
            # A token that was good a minute ago may still be; client-go hopes so too.
            if not self._token:
                raise
            log.warning("token file cannot be read again", error=str(error))


def _read_token(path: Path) -> str:
    try:
        token = path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "not text"
        raise ConfigError(
            f"the token file {path} cannot be read ({why}): "
            "let this process read a token there"
        ) from None
    if not token:
        raise ConfigError(f"the token file {path} is empty: write a token to it")
    return token


class PluginAnswer(NamedTuple):
    """What a credential plug-in said."""

    authorization: str | None
    certificate: ClientCertificate | None = None
    expires: datetime | None = None
    """When to ask again; `None` waits for the server to refuse."""

    def __repr__(self) -> str:
        return f"PluginAnswer(…, expires={self.expires})"


class PluginCredentials:
    """Credentials that a plug-in issues; it is asked again when they expire."""

    def __init__(self, ask: Callable[[], PluginAnswer], clock: Clock) -> None:
        self._ask = ask
        self._clock = clock
        self._answer: PluginAnswer | None = None
        self._asking = asyncio.Lock()

    async def authorization(self) -> str | None:
        return (await self._current()).authorization

    async def client_certificate(self) -> ClientCertificate | None:
        """Return the certificate that the plug-in issued, if it is that kind."""
        return (await self._current()).certificate

    async def refresh(self) -> None:
        self._answer = None

    async def _current(self) -> PluginAnswer:
        async with self._asking:  # a plug-in may ask a human: once, then
            answer = self._answer
            if answer is None or self._is_over(answer):
                # A process, perhaps a browser, a slow import: none of it on the loop.
                answer = self._answer = await asyncio.to_thread(self._ask)
            return answer

    def _is_over(self, answer: PluginAnswer) -> bool:
        return answer.expires is not None and answer.expires <= self._clock.now()


def exec_plugin(
    settings: Mapping[str, object], where: str
) -> Callable[[], PluginAnswer]:
    """Return what asks a program (client-go credential plug-in, KEP-541).

    Args:
        settings: The `exec` field of a user; a relative command is made absolute.
        where: `user NAME in FILE`, for messages.
    """

    def ask() -> PluginAnswer:
        # Large, and of use to those alone whose kubeconfig has such a field.
        from kubernetes_asyncio.config import (  # noqa: PLC0415
            ConfigException,
        )
        from kubernetes_asyncio.config.exec_provider import (  # noqa: PLC0415
            ExecProvider,
        )
        from kubernetes_asyncio.config.kube_config import (  # noqa: PLC0415
            ConfigNode,
        )

        try:
            provider = ExecProvider(ConfigNode("exec", settings))
            return read_exec_status(asyncio.run(provider.run()))
        except (ConfigException, LookupError, OSError, ValueError) as error:
            hint = settings.get("installHint") or "run the command by hand to see why"
            raise ConfigError(
                f"the exec plug-in of {where} gave no credentials ({error}): {hint}"
            ) from None

    return ask


def read_exec_status(status: Mapping[str, str]) -> PluginAnswer:
    """Read the `status` of an `ExecCredential`.

    Raises:
        ValueError: It has neither a token nor a certificate with its key.
    """
    certificate, key = (
        status.get(f"client{part}Data", "").encode() for part in ("Certificate", "Key")
    )
    token = status.get("token")
    if not token and not (certificate and key):
        raise ValueError("neither a token nor a certificate with its key")
    until = status.get("expirationTimestamp")
    return PluginAnswer(
        f"Bearer {token}" if token else None,
        ClientCertificate(certificate, key) if certificate and key else None,
        _read_time(until) if until else None,
    )


def _read_time(text: str) -> datetime:
    time = datetime.fromisoformat(text)
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def auth_provider(
    settings: Mapping[str, object], where: str
) -> Callable[[], PluginAnswer]:
    """Return what asks one of the providers that kubernetes_asyncio knows.

    Args:
        settings: The `auth-provider` field of a user.
        where: `user NAME in FILE`, for messages.
    """
    given = settings.get("config")
    config = dict(given) if isinstance(given, Mapping) else {}
    # kubernetes_asyncio renews OIDC tokens over TLS that it does not verify: without
    # this token it does not try, and says that the old one is over.
    config.pop("refresh-token", None)

    def ask() -> PluginAnswer:
        from kubernetes_asyncio.config import (  # noqa: PLC0415
            ConfigException,
        )
        from kubernetes_asyncio.config.kube_config import (  # noqa: PLC0415
            KubeConfigLoader,
        )

        user = {"auth-provider": {"name": settings.get("name"), "config": dict(config)}}
        answer = SimpleNamespace(api_key={})
        try:
            asyncio.run(KubeConfigLoader(_alone(user)).load_and_set(answer))
        except (ConfigException, LookupError, OSError, ValueError) as error:
            raise ConfigError(
                f"the auth-provider of {where} gave no credentials ({error}): "
                "use an exec plug-in, such as kubelogin for OIDC"
            ) from None
        # Asked again, it shall not repeat what the server refused.
        config.pop("access-token", None)
        return PluginAnswer(answer.api_key.get("BearerToken"))

    return ask


def _alone(user: Mapping[str, object]) -> Mapping[str, object]:
    context = {"cluster": "", "user": "user"}
    return {
        "current-context": "context",
        "contexts": [{"name": "context", "context": context}],
        "clusters": [{"name": "", "cluster": {"server": "http://unused"}}],
        "users": [{"name": "user", "user": user}],
    }
