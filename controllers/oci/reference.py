"""Addresses of repositories and of what is in them, as users write them.

    [oci://]host[:port]/path                     Repository
    [oci://]host[:port]/path[:tag][@sha256:…]    Reference

What has neither a dot nor a port and is not `localhost` is no host: it belongs to the
path, and the host is docker.io, where single names live under `library/`
(github.com/distribution/reference). What Docker Hub calls itself is not where it
answers: `api_host` is.
"""

from __future__ import annotations

import ipaddress
import re
from typing import NamedTuple

from controllers.oci.errors import InvalidReferenceError

DOCKER_HUB = "docker.io"

_DOCKER_API = "registry-1.docker.io"

_DOCKER_NAMES = frozenset({DOCKER_HUB, "index.docker.io", _DOCKER_API})

_PATH_MAX = 255
"""Longest path in characters (distribution specification, "Pulling manifests")."""

_WORD = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_PATH = re.compile(rf"{_WORD}(?:/{_WORD})*")
_LABEL = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?"
_HOST = re.compile(
    rf"(?P<name>{_LABEL}(?:\.{_LABEL})*|\[[0-9a-fA-F:.]+\])(?::(?P<port>[0-9]{{1,5}}))?"
)
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_DIGEST = re.compile(r"sha256:[a-f0-9]{64}")


class Repository(NamedTuple):
    """Where manifests and blobs of one name are."""

    host: str
    """Host and port as a user writes them: `docker.io`, `registry.corp:5000`."""

    path: str
    """Such as `library/nginx`."""

    @property
    def api_host(self) -> str:
        """Host and port that answer."""
        return _DOCKER_API if self.host == DOCKER_HUB else self.host

    def api_url(self, *, insecure: bool) -> str:
        """Return the URL that tags, manifests and blobs are below."""
        scheme = "http" if insecure else "https"
        return f"{scheme}://{self.api_host}/v2/{self.path}"

    def __str__(self) -> str:
        return f"{self.host}/{self.path}"


class Reference(NamedTuple):
    """A repository and, perhaps, one thing in it."""

    repository: Repository
    tag: str | None = None
    digest: str | None = None

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return f"{self.repository}{tag}{digest}"


def parse_repository(text: str) -> Repository:
    """Read the address of a repository.

    Raises:
        InvalidReferenceError: It cannot be read, or has a tag or digest, which belong
            into fields of their own.
    """
    reference = parse_reference(text)
    for part, name in ((reference.digest, "digest"), (reference.tag, "tag")):
        if part is not None:
            raise InvalidReferenceError(
                f"{_shown(text)} has a {name}: write the repository alone, and the "
                f"{name} into its own field"
            )
    return reference.repository


def parse_reference(text: str) -> Reference:
    """Read an address with an optional tag and digest.

    Raises:
        InvalidReferenceError: It cannot be read; the text says why.
    """
    rest = text.strip()
    scheme, found, after = rest.partition("://")
    if found:
        if scheme.lower() != "oci":
            raise _unreadable(text, f"the scheme {scheme!r} is not 'oci'")
        rest = after
    rest, _, digest = rest.partition("@")
    if digest and not is_digest(digest):
        raise _unreadable(text, "what follows the @ is not sha256: and 64 hex digits")
    host, path = _split(rest)
    path, _, tag = path.partition(":")
    if tag and not is_tag(tag):
        raise _unreadable(text, "what follows the colon is no tag")
    if not path:
        raise _unreadable(text, "it names no repository")
    repository = Repository(_host(host, text), _path(host, path, text))
    return Reference(repository, tag or None, digest or None)


def is_tag(text: str) -> bool:
    """Tell whether a text can be a tag."""
    return _TAG.fullmatch(text) is not None


def is_digest(text: str) -> bool:
    """Tell whether a text is a digest that we can check: sha256."""
    return _DIGEST.fullmatch(text) is not None


def canonical_host(host: str) -> str:
    """Return the one name of a host that may have several."""
    host = host.lower()
    return DOCKER_HUB if host in _DOCKER_NAMES else host


def _split(text: str) -> tuple[str, str]:
    """Separate the host, empty if there is none, from the rest."""
    first, slash, rest = text.partition("/")
    is_host = first == "localhost" or any(sign in first for sign in ".:[")
    if slash and (is_host or first != first.lower()):
        return first, rest
    return "", text


def _host(host: str, text: str) -> str:
    if not host:
        return DOCKER_HUB
    match = _HOST.fullmatch(host)
    if match is None or int(match["port"] or 1) not in range(1, 65536):
        raise _unreadable(text, f"{host!r} is no host")
    if host.startswith("["):
        try:
            ipaddress.IPv6Address(match["name"][1:-1])
        except ValueError:
            raise _unreadable(text, f"{host!r} is no host") from None
    return canonical_host(host)


def _path(host: str, path: str, text: str) -> str:
    if len(path) > _PATH_MAX:
        raise _unreadable(text, f"the path is longer than {_PATH_MAX} characters")
    if not _PATH.fullmatch(path):
        raise _unreadable(
            text, "the path may hold lower-case words, joined by . _ - and /"
        )
    is_official = "/" not in path and canonical_host(host or DOCKER_HUB) == DOCKER_HUB
    return f"library/{path}" if is_official else path


def _unreadable(text: str, why: str) -> InvalidReferenceError:
    return InvalidReferenceError(
        f"{_shown(text)} is no address of a repository: {why}; "
        "write it like ghcr.io/organisation/name"
    )


def _shown(text: str) -> str:
    # A password before an @ may have been pasted along.
    bare = re.sub(r"//[^/@]*@", "//…@", text)
    return repr(bare if len(bare) <= 128 else f"{bare[:128]}…")
