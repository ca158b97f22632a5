"""Where alerts go: of the settings, for all; of a ReloaderConfig, for its own.

    AlertOptions ─────▶ the sink of the settings   URL here
    spec.alerts ──────▶ up to four sinks           URL here, or in a Secret

The URL of a webhook is all that it takes to post there, so it is a secret as a whole:
it is in no `repr`, and sinks have names for messages. What is in a Secret is read for
each message and forgotten.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import unquote, urlsplit

from api.core.v1 import Secret
from api.reload.alerts import Alerts, AlertSink, TeamsFormat, WebhookFormat
from controller_runtime import (
    TRANSPORT_ERRORS,
    Client,
    ConfigError,
    ControllerRuntimeError,
    NamespacedName,
)
from controllers.reload.options import (
    CROSS_NAMESPACE,
    AlertFormat,
    AlertOptions,
    flag_of,
)
from controllers.web import Proxy, UrlError, origin_of

_TROUBLE: tuple[type[Exception], ...] = (ControllerRuntimeError, *TRANSPORT_ERRORS)


class SinkError(ControllerRuntimeError):
    """A sink that cannot be used; the text says what to do, and shows no URL."""


class SecretUnreadError(SinkError):
    """The Secret with the URL cannot be read now; a little later it may be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UrlKey:
    """The key of a Secret that has the URL."""

    namespace: str
    name: str
    key: str

    def __str__(self) -> str:
        return f"Secret {self.namespace}/{self.name}, key {self.key}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sink:
    """A receiver of alerts."""

    name: str
    """`slack`, `teams` …: the field of the ReloaderConfig, or the format."""

    format: AlertFormat

    owner: NamespacedName | None = None
    """The ReloaderConfig that names it; None for the settings."""

    url: str = field(default="", repr=False)
    secret: UrlKey | None = None
    """Where the URL is, if not in `url`."""

    info: str = ""
    proxy: Proxy | None = field(default=None, repr=False)

    def __str__(self) -> str:
        if self.owner is None:
            return f"alert sink {self.name} of the settings"
        return f"alert sink {self.name} of ReloaderConfig {self.owner}"

    @property
    def place(self) -> str:
        """Where somebody may change the URL."""
        if self.secret is not None:
            return str(self.secret)
        if self.owner is not None:
            return f"spec.alerts.{self.name}.url"
        return flag_of("alert-webhook-url", "ALERT_WEBHOOK_URL")


class Urls(Protocol):
    """Knows the URLs of sinks."""

    async def __call__(self, sink: Sink, /) -> str:
        """Return the URL of a sink.

        Raises:
            SinkError: There is none.
        """
        ...


class SecretUrls:
    """Reads URLs from Secrets, live: those in the cache have no content.

    It lists the one of that name. That Secrets may be listed the controller needs for
    its cache; to get one would be a permission more.
    """

    def __init__(self, client: Client, *, allow_cross_namespace: bool) -> None:
        self._client = client
        self._allows_all = allow_cross_namespace

    async def __call__(self, sink: Sink, /) -> str:
        if (at := sink.secret) is None:
            return checked(sink, sink.url)
        is_foreign = sink.owner is not None and at.namespace != sink.owner.namespace
        if is_foreign and not self._allows_all:
            raise SinkError(
                f"{sink}: {at} is in another namespace, which takes {CROSS_NAMESPACE}"
            )
        try:
            found = await self._client.list(
                Secret, at.namespace, field_selector=f"metadata.name={at.name}"
            )
        except _TROUBLE as error:
            text = f"{sink}: {at} cannot be read: {error}"
            raise SecretUnreadError(text) from None
        if not found.items:
            raise SinkError(f"{sink}: {at} is not there: create it")
        (secret,) = found.items
        return checked(sink, _text(sink, secret.data.get(at.key)))


def checked(sink: Sink, url: str) -> str:
    """Return a URL that may be asked for.

    Raises:
        SinkError: It is none; the error does not show it.
    """
    try:
        origin_of(url)
    except UrlError:
        raise SinkError(
            f"{sink}: what {sink.place} has is no URL of http or https without a user "
            "name: correct it"
        ) from None
    return url


def global_sink(options: AlertOptions) -> Sink | None:
    """Return the sink of the settings, if they name one.

    Raises:
        ConfigError: The proxy is none.
    """
    if not options.url:
        return None
    return Sink(
        name=options.format.value,
        format=options.format,
        url=options.url,
        info=options.info,
        proxy=proxy_of(options.proxy),
    )


def sinks_of(
    config: NamespacedName, alerts: Alerts, *, info: str = "", proxy: Proxy | None
) -> Iterator[Sink]:
    """Yield the sinks that a ReloaderConfig names.

    Args:
        config: Its name.
        alerts: What it says.
        info: What the settings add to all alerts.
        proxy: That of the settings.
    """
    for name, format_, spec in _named(alerts):
        if spec is None:
            continue
        ref = spec.secret_ref
        url = (spec.url or "").strip()
        secret = None
        if ref is not None:
            place = ref.namespace or config.namespace
            secret = UrlKey(namespace=place, name=ref.name, key=ref.key)
        yield Sink(
            name=name,
            format=format_,
            owner=config,
            url=url,
            secret=secret,
            info=info,
            proxy=proxy,
        )


def _named(
    alerts: Alerts,
) -> Iterator[tuple[str, AlertFormat, AlertSink | None]]:
    teams, custom = alerts.teams, alerts.custom_webhook
    is_adaptive = teams is not None and teams.format is TeamsFormat.ADAPTIVE
    is_json = custom is not None and custom.format is WebhookFormat.JSON
    card = AlertFormat.TEAMS_ADAPTIVE if is_adaptive else AlertFormat.TEAMS_CARD
    body = AlertFormat.JSON if is_json else AlertFormat.SLACK_FIELDS
    yield "slack", AlertFormat.SLACK_FIELDS, alerts.slack
    yield "teams", card, teams
    yield "googleChat", AlertFormat.GCHAT_CARDS, alerts.google_chat
    yield "customWebhook", body, custom


def proxy_of(url: str) -> Proxy | None:
    """Read `http://user:password@host:port`; `None` if it is empty.

    Raises:
        ConfigError: It is none; the text does not show it.
    """
    if not url:
        return None
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        parts, port = urlsplit(""), ""
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ConfigError(
            f"{flag_of('alert-webhook-proxy', 'ALERT_WEBHOOK_PROXY')} is no URL such "
            "as http://proxy.example:3128"
        )
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return Proxy(
        url=f"{parts.scheme}://{host}{port}",
        username=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
    )


def stays_inside(url: str) -> bool:
    """Tell whether a URL leads to a Service: no proxy outside knows its name.

    An address is no name, however it is written: `0x08080808` is somewhere outside.
    """
    host = origin_of(url).host.rstrip(".")
    if ":" in host or not host[:1].isalpha():
        return False
    return "." not in host or host.endswith((".svc", ".cluster.local"))


def _text(sink: Sink, value: str | None) -> str:
    """Decode an entry of a Secret.

    Raises:
        SinkError: There is none, or it is not text.
    """
    if value is None:
        raise SinkError(f"{sink}: {sink.place} is not there: add the key")
    try:
        return base64.b64decode(value, validate=True).decode().strip()
    except (binascii.Error, UnicodeDecodeError):
        raise SinkError(f"{sink}: {sink.place} is no text: correct it") from None
