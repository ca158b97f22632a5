"""Where a request may lead, and who gets to see a password on the way."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from controllers.web import (
    Login,
    Reach,
    RedirectError,
    Request,
    Tls,
    TlsSettingsError,
    UrlError,
    origin_of,
    reach_of,
    retry_after,
    shown,
    tls_from_secrets,
)
from controllers.web.addresses import host_reach
from controllers.web.requests import next_hop

INDEX = "https://charts.example/stable/index.yaml"

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://charts.example/x", ("https", "charts.example", 443)),
        ("http://CHARTS.example:8080", ("http", "charts.example", 8080)),
        ("https://[::1]:5000/v2/", ("https", "::1", 5000)),
    ],
)
def test_an_origin_is_scheme_host_and_port(
    url: str, origin: tuple[str, str, int]
) -> None:
    assert origin_of(url) == origin


@pytest.mark.parametrize(
    "url",
    [
        "",
        "charts.example",
        "//charts.example/x",
        "ftp://charts.example/",
        "https://",
        "https://a:b:c/",
        "https://charts.example:x/",
        "https://[::1/",
        "https://me:geheim@charts.example/",
    ],
)
def test_what_is_no_url_of_the_web_is_refused_without_repeating_a_password(
    url: str,
) -> None:
    with pytest.raises(UrlError) as caught:
        origin_of(url)

    assert "geheim" not in str(caught.value)


@pytest.mark.parametrize(
    "host",
    [
        "\N{CIRCLED DIGIT ONE}\N{CIRCLED DIGIT SIX}\N{CIRCLED DIGIT NINE}.254.169.254",
        "\N{FULLWIDTH DIGIT ONE}69.254.169.254",
        "169\N{IDEOGRAPHIC FULL STOP}254.169.254",
        "b\N{LATIN SMALL LETTER U WITH DIAERESIS}cher.example",
        "%31%36%39.254.169.254",
    ],
)
def test_a_host_that_becomes_another_before_it_is_asked_is_refused(host: str) -> None:
    with pytest.raises(UrlError, match="not written in ASCII"):
        origin_of(f"http://{host}/latest")


def test_a_url_is_shown_without_what_may_be_secret() -> None:
    assert shown("https://me:pw@a.example/x?token=t#f") == "https://a.example/x"
    assert shown("https://[::1/") == "(no URL)"


def test_a_request_whose_url_is_a_secret_goes_by_another_name() -> None:
    url = "https://hooks.example/services/T0K3N"

    assert str(Request(url=url, method="POST")) == f"POST {url}"
    assert str(Request(url=url, alias="the alert sink")) == "the alert sink"


@pytest.mark.parametrize(
    ("url", "is_for"),
    [
        ("https://charts.example/other", True),
        ("https://charts.example:443/", True),
        ("https://charts.example:8443/", False),
        ("http://charts.example/", False),
        ("https://sub.charts.example/", False),
        ("https://charts.example.evil/", False),
    ],
)
def test_a_login_is_for_its_origin_unless_it_says_otherwise(
    url: str, is_for: bool
) -> None:
    """Release 3.5."""
    login = Login.basic(INDEX, "me", "pw")

    assert login.is_for(url) is is_for
    assert Login.basic(INDEX, "me", "pw", everywhere=True).is_for(url)
    assert "pw" not in repr(login)
    assert login.header not in repr(login)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_followed_to_the_same_or_another_server(status: int) -> None:
    request = Request(url=INDEX, tls=Tls(ca=b"ca", certificate=b"c", key=b"k"))

    same = next_hop(request, status, "../other?x=1")
    other = next_hop(request, status, "https://cdn.example/x")

    assert same is not None
    assert same.url == "https://charts.example/other?x=1"
    assert same.tls == request.tls
    assert other is not None
    assert other.redirects == request.redirects - 1
    assert other.tls == Tls(ca=b"ca")


@pytest.mark.parametrize(("method", "status"), [("POST", 307), ("PUT", 301)])
def test_what_changes_something_is_not_sent_on(method: str, status: int) -> None:
    assert next_hop(Request(url=INDEX, method=method), status, "/x") is None
    assert next_hop(Request(url=INDEX), 304, None) is None


@pytest.mark.parametrize(
    ("location", "left", "says"),
    [
        (None, 5, "nowhere"),
        ("", 5, "nowhere"),
        ("/x", 0, "too often"),
        ("http://charts.example/x", 5, "from https to http"),
    ],
)
def test_some_redirects_are_not_followed(
    location: str | None, left: int, says: str
) -> None:
    """Bundle 3.4."""
    with pytest.raises(RedirectError, match=says):
        next_hop(Request(url=INDEX, redirects=left), 302, location)


@pytest.mark.parametrize("location", ["file:///etc/passwd", "https://a:b@c.example/"])
def test_a_redirect_out_of_the_web_is_refused(location: str) -> None:
    with pytest.raises(UrlError):
        next_hop(Request(url=INDEX), 302, location)


@pytest.mark.parametrize(
    ("address", "reach"),
    [
        ("93.184.216.34", Reach.PUBLIC),
        ("2606:2800:220:1::1", Reach.PUBLIC),
        ("127.0.0.1", Reach.LOCAL),
        ("::1", Reach.LOCAL),
        ("10.0.0.1", Reach.PRIVATE),
        ("192.168.1.1", Reach.PRIVATE),
        ("100.64.0.1", Reach.PRIVATE),
        ("fd00::1", Reach.PRIVATE),
        ("::ffff:10.0.0.1", Reach.PRIVATE),
        ("::ffff:127.0.0.2", Reach.LOCAL),
        ("169.254.169.254", Reach.FORBIDDEN),
        ("::ffff:169.254.169.254", Reach.FORBIDDEN),
        ("64:ff9b::a9fe:a9fe", Reach.FORBIDDEN),
        ("2002:a9fe:a9fe::", Reach.FORBIDDEN),
        ("fe80::1%eth0", Reach.FORBIDDEN),
        ("fd00:ec2::254", Reach.FORBIDDEN),
        ("100.100.100.200", Reach.FORBIDDEN),
        ("0.0.0.0", Reach.FORBIDDEN),  # noqa: S104 - an address to refuse
        ("::", Reach.FORBIDDEN),
        ("224.0.0.1", Reach.FORBIDDEN),
    ],
)
def test_an_address_is_public_private_or_forbidden(address: str, reach: Reach) -> None:
    assert reach_of(address) is reach


async def test_a_name_is_as_far_in_as_its_furthest_address() -> None:
    async def resolver(host: str, port: int) -> list[str]:
        return ["93.184.216.34", "10.0.0.1"]

    assert await host_reach("mixed.example", resolver) is Reach.PRIVATE
    assert await host_reach("[fe80::1]", resolver) is Reach.FORBIDDEN


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("5", 5),
        (" 5 ", 5),
        ("0", 1),
        ("99999999", 21600),
        ("-1", None),
        ("1.5", None),
        ("soon", None),
        ("Sat, 21 Nov 2026 12:01:30 GMT", 90),
        ("Sat, 21 Nov 2026 11:00:00 GMT", 1),
        ("Sat, 21 Nov 2026 12:01:30 -0000", None),
    ],
)
def test_a_pause_is_read_from_seconds_or_a_date(
    header: str | None, seconds: float | None
) -> None:
    expected = None if seconds is None else timedelta(seconds=seconds)
    assert retry_after(header, NOW) == expected


def test_tls_settings_are_read_from_secrets() -> None:
    """Bundle 69."""
    tls = tls_from_secrets(
        ca={"ca.crt": b"ca"}, client={"tls.crt": b"c", "tls.key": b"k"}
    )

    assert tls == Tls(ca=b"ca", certificate=b"c", key=b"k")
    assert repr(tls) == "Tls(skip_verify=False)"


@pytest.mark.parametrize(
    ("ca", "client", "skip", "says"),
    [
        ({}, None, False, r"ca\.crt"),
        (None, {"tls.crt": b"c"}, False, r"no tls\.key"),
        (None, {"tls.key": b"k"}, False, r"no tls\.crt"),
        (None, {}, False, r"tls\.crt and no tls\.key"),
        ({"ca.crt": b"ca"}, None, True, "exclude"),
    ],
)
def test_tls_settings_that_miss_something_name_it(
    ca: dict[str, bytes] | None,
    client: dict[str, bytes] | None,
    skip: bool,
    says: str,
) -> None:
    with pytest.raises(TlsSettingsError, match=says):
        tls_from_secrets(ca=ca, client=client, skip_verify=skip)
