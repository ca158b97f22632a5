"""A request and where it may lead: values and rules, without a socket.

    login ──▶ sent to the origin (scheme, host, port) it was given for, and to no other
    3xx   ──▶ next_hop: the same or another https server, or http from http

Helm once sent a repository's password to whatever host its index named
(GHSA-56hp-xqp3-w2jf): here a password travels together with the origin that it is for.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple
from urllib.parse import urljoin, urlsplit, urlunsplit

from controllers.web.addresses import Reach
from controllers.web.errors import RedirectError, UrlError
from controllers.web.tls import SYSTEM, Tls

REDIRECTS = 5
"""How often a request may be sent on."""

_PORTS = {"http": 80, "https": 443}

_REDIRECTS = frozenset({301, 302, 303, 307, 308})


class Origin(NamedTuple):
    """Who is asked; another port is somebody else (RFC 6454)."""

    scheme: str
    host: str
    port: int


def origin_of(url: str) -> Origin:
    """Return the origin of an absolute URL.

    Names are in ASCII: of others the library makes something else before it connects,
    `①②⑦.0.0.1` being an address to it, and what is judged here would not be what is
    asked.

    Raises:
        UrlError: It is not http or https, has no host, or names a user.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise UrlError(f"{url!r} is no URL") from None
    if parts.scheme not in _PORTS or not parts.hostname:
        raise UrlError(f"{shown(url)!r} is no URL of http or https")
    if "@" in parts.netloc:
        raise UrlError(
            f"{shown(url)} must not hold a user name or password: use a Secret"
        )
    if not parts.hostname.isascii() or "%" in parts.hostname.partition(":")[0]:
        raise UrlError(
            f"the host of {shown(url)!r} is not written in ASCII: write it as DNS has "
            "it, an international name with xn--"
        )
    return Origin(parts.scheme, parts.hostname, port or _PORTS[parts.scheme])


def shown(url: str) -> str:
    """Return a URL as messages may have it: no user, password, query or fragment."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "(no URL)"
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, parts.path, "", ""))


def basic(username: str, password: str) -> str:
    """Write name and password as a header has them (RFC 7617)."""
    text = base64.b64encode(f"{username}:{password}".encode()).decode()
    return f"Basic {text}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """An `Authorization` header and whom it is for."""

    header: str = field(repr=False)
    origin: Origin

    everywhere: bool = False
    """Whether other servers get it too (`passCredentials`): if it says so in the
    spec, its author trusts everyone that the first server names."""

    @classmethod
    def basic(
        cls, url: str, username: str, password: str, *, everywhere: bool = False
    ) -> Login:
        """Log in with a password; it may hold colons, the name may not."""
        header = basic(username, password)
        return cls(header=header, origin=origin_of(url), everywhere=everywhere)

    @classmethod
    def bearer(cls, url: str, token: str, *, everywhere: bool = False) -> Login:
        """Log in with a token (RFC 6750)."""
        return cls(
            header=f"Bearer {token}", origin=origin_of(url), everywhere=everywhere
        )

    def is_for(self, url: str) -> bool:
        """Tell whether the server of a URL may see it."""
        return self.everywhere or origin_of(url) == self.origin


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxy:
    """What stands between us and the server."""

    url: str
    """`http://host:port`."""

    username: str = ""
    password: str = field(default="", repr=False)

    @property
    def headers(self) -> Mapping[str, str]:
        """What the proxy alone gets to see."""
        if not self.username:
            return {}
        return {"Proxy-Authorization": basic(self.username, self.password)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is asked, of whom, as whom."""

    url: str
    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes | None = field(default=None, repr=False)
    login: Login | None = None
    tls: Tls = SYSTEM
    proxy: Proxy | None = None

    furthest: Reach = Reach.LOCAL
    """How far in the servers may be. What is forbidden never is asked."""

    redirects: int = REDIRECTS
    """How often to follow, for GET and HEAD; other methods are never sent on."""

    compressed: bool = False
    """Whether the body may travel compressed. Limits count what comes out; whoever
    checks digests wants the bytes as they are stored."""

    alias: str = ""
    """What errors call it, where the URL as a whole is a secret, as those of webhooks
    are. Check it with `origin_of` before: an error about the URL itself shows it."""

    def __str__(self) -> str:
        return self.alias or f"{self.method} {shown(self.url)}"


def next_hop(request: Request, status: int, location: str | None) -> Request | None:
    """Return the request that an answer sends us to; `None` if it does not.

    Raises:
        RedirectError: It leads nowhere, or from https to http.
        UrlError: It leads to something that is no server of the web.
    """
    if status not in _REDIRECTS or request.method not in {"GET", "HEAD"}:
        return None
    if not location:
        raise RedirectError(f"{request}: a redirect ({status}) to nowhere")
    if request.redirects == 0:
        raise RedirectError(f"{request}: redirected too often")
    url = urljoin(request.url, location)
    before, after = origin_of(request.url), origin_of(url)
    if (before.scheme, after.scheme) == ("https", "http"):
        raise RedirectError(
            f"{request}: redirected from https to http ({shown(url)}), which would "
            "show the content to everyone"
        )
    tls = request.tls if before == after else request.tls.without_certificate()
    return replace(request, url=url, redirects=request.redirects - 1, tls=tls)
