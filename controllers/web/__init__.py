"""Outbound HTTP with limits: whatever the manager asks of servers not its own.

    async with Http() as http:
        index = await fetch(http, Request(url=url), limit=…, timeout=…, clock=clock)

`requests` has what is asked and the rules of where it may lead, `addresses` which
addresses are never asked, `tls` whom we believe, `session` the connections, `fetch`
whole documents with ETags. Nothing is retried, and every answer has a limit in bytes.
"""

from controllers.web.addresses import Reach, Resolver, reach_of, system_resolver
from controllers.web.errors import (
    BrokenAnswerError,
    NetworkError,
    RedirectError,
    StatusError,
    TlsError,
    TlsSettingsError,
    TooLargeError,
    TooSlowError,
    UrlError,
    WebError,
)
from controllers.web.fetch import (
    Document,
    NotModified,
    Validators,
    download,
    fetch,
    save,
)
from controllers.web.headers import retry_after
from controllers.web.requests import Login, Origin, Proxy, Request, origin_of, shown
from controllers.web.session import Answer, Http, HttpOptions
from controllers.web.tls import Tls, tls_from_secrets

__all__ = [
    "Answer",
    "BrokenAnswerError",
    "Document",
    "Http",
    "HttpOptions",
    "Login",
    "NetworkError",
    "NotModified",
    "Origin",
    "Proxy",
    "Reach",
    "RedirectError",
    "Request",
    "Resolver",
    "StatusError",
    "Tls",
    "TlsError",
    "TlsSettingsError",
    "TooLargeError",
    "TooSlowError",
    "UrlError",
    "Validators",
    "WebError",
    "download",
    "fetch",
    "origin_of",
    "reach_of",
    "retry_after",
    "save",
    "shown",
    "system_resolver",
    "tls_from_secrets",
]
