"""Who is told, and where that is: of the settings, of a config, in a Secret."""

from __future__ import annotations

import pytest

from api.reload.alerts import Alerts
from controller_runtime import (
    Client,
    ConfigError,
    HttpTransport,
    NamespacedName,
    Scheme,
)
from controller_runtime.testing.apiserver import ApiServer
from controllers.reload.alerts.sinks import (
    SecretUrls,
    Sink,
    SinkError,
    UrlKey,
    checked,
    global_sink,
    proxy_of,
    sinks_of,
    stays_inside,
)
from controllers.reload.options import AlertFormat, AlertOptions

CONFIG = NamespacedName("shop", "web")
TOKEN = "T0K3N"
URL = f"https://hooks.example/services/{TOKEN}"


def sinks(**alerts: object) -> list[Sink]:
    return list(sinks_of(CONFIG, Alerts.model_validate(alerts), proxy=None))


def secret_sink(namespace: str = "shop", key: str = "url") -> Sink:
    at = UrlKey(namespace=namespace, name="chat", key=key)
    return Sink(name="slack", format=AlertFormat.SLACK, owner=CONFIG, secret=at)


def test_a_config_may_name_four_sinks_at_once() -> None:
    found = sinks(
        slack={"url": URL},
        teams={"url": URL},
        googleChat={"url": URL},
        customWebhook={"url": URL},
    )

    assert [(it.name, it.format) for it in found] == [
        ("slack", AlertFormat.SLACK_FIELDS),
        ("teams", AlertFormat.TEAMS_CARD),
        ("googleChat", AlertFormat.GCHAT_CARDS),
        ("customWebhook", AlertFormat.SLACK_FIELDS),
    ]


def test_a_config_chooses_formats_for_teams_and_its_own_webhook() -> None:
    found = sinks(
        teams={"url": URL, "format": "adaptive"},
        customWebhook={"url": URL, "format": "json"},
    )

    assert [it.format for it in found] == [AlertFormat.TEAMS_ADAPTIVE, AlertFormat.JSON]


def test_a_secret_is_of_the_configs_namespace_and_has_a_key_url() -> None:
    (found,) = sinks(slack={"secretRef": {"name": "chat"}})

    assert found.secret == UrlKey(namespace="shop", name="chat", key="url")
    assert found.place == "Secret shop/chat, key url"


def test_no_text_of_a_sink_shows_its_url() -> None:
    (found,) = sinks(slack={"url": URL})

    assert TOKEN not in f"{found!r} {found} {found.place}"
    assert TOKEN not in repr(AlertOptions(url=URL, proxy=f"http://u:{TOKEN}@p"))


@pytest.mark.parametrize(
    "url",
    [
        f"ftp://hooks.example/{TOKEN}",
        f"https://me:{TOKEN}@hooks.example/",
        f"https://hooks.example:99999999/{TOKEN}",
        TOKEN,
    ],
)
def test_what_is_no_url_is_refused_without_showing_it(url: str) -> None:
    (sink,) = sinks(slack={"url": url})

    with pytest.raises(SinkError, match=r"spec\.alerts\.slack\.url") as raised:
        checked(sink, url)

    assert TOKEN not in str(raised.value)
    assert raised.value.__cause__ is None


def test_without_a_url_the_settings_name_nobody() -> None:
    assert global_sink(AlertOptions(format=AlertFormat.SLACK)) is None


def test_a_proxy_may_have_a_password_that_is_not_in_its_url() -> None:
    found = proxy_of("http://me:p%40ss@proxy.example:3128")

    assert found is not None
    assert (found.url, found.username) == ("http://proxy.example:3128", "me")
    assert found.password == "p@ss"
    assert proxy_of("") is None


@pytest.mark.parametrize("url", ["proxy:3128", "socks5://proxy:1", f"http://x:{TOKEN}"])
def test_what_is_no_proxy_is_refused_without_showing_it(url: str) -> None:
    with pytest.raises(ConfigError, match="ALERT_WEBHOOK_PROXY") as raised:
        proxy_of(url)

    assert TOKEN not in str(raised.value)


@pytest.mark.parametrize(
    ("host", "inside"),
    [
        ("alerts", True),
        ("alerts.ops.svc", True),
        ("alerts.ops.svc.cluster.local", True),
        ("hooks.slack.com", False),
        ("svc.example", False),
        ("[2001:db8::1]", False),
        ("0x08080808", False),
        ("134744072", False),
    ],
)
def test_a_service_needs_no_proxy(host: str, *, inside: bool) -> None:
    assert stays_inside(f"http://{host}:80/x") is inside


class TestSecrets:
    """URLs in Secrets, on an API server."""

    async def read(self, sink: Sink, *, allow: bool = False, **text: str) -> str:
        async with ApiServer() as server, HttpTransport(server.config()) as transport:
            client = Client(transport, scheme=Scheme())
            if text:
                data = dict(text)
                head = {"apiVersion": "v1", "kind": "Secret"}
                metadata = {"name": "chat", "namespace": "shop"}
                await client.create({**head, "metadata": metadata, "stringData": data})
            urls = SecretUrls(client, allow_cross_namespace=allow)
            return await urls(sink)

    async def test_a_url_may_end_in_a_newline(self) -> None:
        assert await self.read(secret_sink(), url=f"{URL}\n") == URL

    async def test_a_secret_that_is_not_there_is_named(self) -> None:
        with pytest.raises(SinkError, match="Secret shop/chat, key url is not there"):
            await self.read(secret_sink())

    async def test_a_key_that_is_not_there_is_named(self) -> None:
        with pytest.raises(SinkError, match="key other is not there: add the key"):
            await self.read(secret_sink(key="other"), url=URL)

    async def test_a_secret_of_another_namespace_takes_a_flag(self) -> None:
        sink = secret_sink()
        foreign = Sink(
            name="slack",
            format=AlertFormat.SLACK,
            owner=NamespacedName("else", "web"),
            secret=sink.secret,
        )

        with pytest.raises(SinkError, match="--allow-cross-namespace"):
            await self.read(foreign, url=URL)
        assert await self.read(foreign, url=URL, allow=True) == URL
