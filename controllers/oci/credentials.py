"""Who we are to a registry, out of the Secrets that users have.

    .dockerconfigjson, .dockercfg   the entry whose key fits host and path best
    token                           sent as it is; if the registry wants to make tokens
                                    itself, it is the password
    username + password             the rest
    nothing of these                anonymous

A Secret that is there and cannot be read is an error, never a reason to try something
else: who wrote it meant it. The forms are those of Docker's config.json and of
Kubernetes (`kubernetes.io/docs/concepts/containers/images`, "Interpretation of
config.json", for `*` in keys).
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import cast

from controllers.oci.errors import InvalidCredentialError
from controllers.oci.reference import Repository, canonical_host

DOCKER_CONFIG_JSON = ".dockerconfigjson"
DOCKER_CFG = ".dockercfg"

TOKEN_USER = "token"  # noqa: S105 - a name, for registries that want one
"""The user whose password is a token, if the Secret names none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """Whatever can prove who we are. Nothing of it is shown."""

    username: str = field(default="", repr=False)
    password: str = field(default="", repr=False)

    identity_token: str = field(default="", repr=False)
    """A refresh token (OAuth2) that the registry's token server takes."""

    registry_token: str = field(default="", repr=False)
    """A bearer token for the registry itself, sent without being asked for."""

    @property
    def is_anonymous(self) -> bool:
        """Whether there is nothing to prove anything with."""
        return self == ANONYMOUS

    @property
    def has_password(self) -> bool:
        """Whether it can log in with name and password."""
        return bool(self.password)

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must not be seen anywhere."""
        every = (self.password, self.identity_token, self.registry_token)
        return tuple(secret for secret in every if secret)


ANONYMOUS = Credential()


def credential_from_secret(
    data: Mapping[str, bytes], repository: Repository
) -> Credential:
    """Read the data of a Secret, whatever its type.

    Raises:
        InvalidCredentialError: A key of it cannot be read; the text names it.
    """
    if DOCKER_CONFIG_JSON in data:
        config = _object(data[DOCKER_CONFIG_JSON], DOCKER_CONFIG_JSON)
        return credential_from_auths(config.get("auths"), repository)
    if DOCKER_CFG in data:
        return credential_from_auths(_object(data[DOCKER_CFG], DOCKER_CFG), repository)
    token, username, password = (
        _text(data, key) for key in ("token", "username", "password")
    )
    if token:
        return Credential(
            username=username or TOKEN_USER, password=token, registry_token=token
        )
    if bool(username) != bool(password):
        missing = "password" if username else "username"
        raise InvalidCredentialError(f"the registry's Secret has no key {missing!r}")
    return Credential(username=username, password=password)


def credential_from_docker_config(text: bytes, repository: Repository) -> Credential:
    """Read a whole config.json; anonymous if it has nothing for the repository.

    Raises:
        InvalidCredentialError: It cannot be read.
    """
    config = _object(text, "config.json")
    return credential_from_auths(config.get("auths"), repository)


def credential_from_auths(auths: object, repository: Repository) -> Credential:
    """Choose among the entries by the longest key that fits.

    Raises:
        InvalidCredentialError: The one that fits cannot be read.
    """
    if auths is None:
        return ANONYMOUS
    if not isinstance(auths, dict):
        raise InvalidCredentialError("'auths' of the registry's Secret is no object")
    fitting = [key for key in auths if _fits(_Key.parse(key), repository)]
    if not fitting:
        return ANONYMOUS
    best = max(fitting, key=lambda key: _Key.parse(key).weight)
    return _entry(auths[best], best)


@dataclass(frozen=True, slots=True)
class _Key:
    """A key of `auths`: scheme and API version do not matter."""

    host: str
    path: str

    @classmethod
    def parse(cls, text: str) -> _Key:
        bare = text.rpartition("://")[2].strip("/")
        host, _, path = bare.partition("/")
        first = path.partition("/")[0]
        if first in {"v1", "v2"}:  # `https://index.docker.io/v1/`
            path = path.removeprefix(first).strip("/")
        return cls(canonical_host(host), path)

    @property
    def weight(self) -> tuple[int, bool, int]:
        """More path, then no wildcard, then more host."""
        return (len(self.path), "*" not in self.host, len(self.host))


def _fits(key: _Key, repository: Repository) -> bool:
    is_prefix = f"{repository.path}/".startswith(f"{key.path}/") or not key.path
    return is_prefix and _host_fits(key.host, repository.host)


def _host_fits(pattern: str, host: str) -> bool:
    """Compare label by label: a `*` stands for no dot."""
    if "*" not in pattern:
        return pattern == host
    wanted, given = pattern.split("."), host.split(".")
    return len(wanted) == len(given) and all(map(fnmatchcase, given, wanted))


def _entry(entry: object, key: str) -> Credential:
    if not isinstance(entry, dict):
        raise InvalidCredentialError(f"the entry {key!r} of 'auths' is no object")
    fields = dict(_strings(entry, key))
    username, password = fields.get("username", ""), fields.get("password", "")
    if fields.get("auth") and not password:
        username, password = _decoded(fields["auth"], key)
    return Credential(
        username=username,
        password=password,
        identity_token=fields.get("identitytoken", ""),
        registry_token=fields.get("registrytoken", ""),
    )


def _strings(entry: Mapping[object, object], key: str) -> Iterator[tuple[str, str]]:
    for name in ("username", "password", "auth", "identitytoken", "registrytoken"):
        value = entry.get(name)
        if value is not None and not isinstance(value, str):
            raise InvalidCredentialError(
                f"{name!r} in the entry {key!r} of 'auths' is no text"
            )
        yield name, _printable(value or "", name)


def _decoded(auth: str, key: str) -> tuple[str, str]:
    """Separate name and password; the password may hold colons."""
    try:
        text = base64.b64decode(auth, validate=True).decode().rstrip("\0\n")
    except (binascii.Error, UnicodeDecodeError):
        text = ""
    username, colon, password = text.partition(":")
    if not colon:
        raise InvalidCredentialError(
            f"'auth' in the entry {key!r} of 'auths' is not the base64 of name:password"
        )
    return username, _printable(password, "auth")


def _object(text: bytes, key: str) -> Mapping[str, object]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        # Never the parser's words: they quote what they could not read.
        raise InvalidCredentialError(
            f"the key {key!r} of the registry's Secret is no JSON object"
        )
    return cast("Mapping[str, object]", value)


def _text(data: Mapping[str, bytes], key: str) -> str:
    """Read a key; whoever made a Secret from a file has a newline at its end."""
    try:
        text = data.get(key, b"").decode().rstrip("\r\n")
    except UnicodeDecodeError:
        text = "\0"
    return _printable(text, key)


def _printable(text: str, key: str) -> str:
    # A line break would end the header that this is put into.
    if not text.isprintable():
        raise InvalidCredentialError(
            f"the key {key!r} of the registry's Secret holds more than plain text"
        )
    return text
