"""Who we are to a chart repository: the Secret, then the spec, then the manager; pure.

    secretRef ──▶ inline ──▶ the manager's own config.json ──▶ anonymous

The first that is there counts. One that is there and cannot be read is an error and
never a reason to go on: whoever wrote it meant it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from urllib.parse import urlsplit

from controllers.oci import (
    ANONYMOUS,
    Credential,
    InvalidCredentialError,
    InvalidReferenceError,
    Repository,
    credential_from_docker_config,
    credential_from_secret,
    parse_repository,
)
from controllers.release.chart.source import Reason, SourceError

TOKEN_USER = "token"  # noqa: S105 - the user whose password is a token


class AuthType(StrEnum):
    """How a Secret or the spec is meant."""

    BASIC = "basic"
    TOKEN = "token"  # noqa: S105 - a word of the API
    DOCKER_CONFIG = "docker-config"


@dataclass(frozen=True, slots=True, kw_only=True)
class Auth:
    """What a spec says about who we are, its Secret fetched."""

    type: AuthType = AuthType.BASIC
    username: str = ""
    password: str = field(default="", repr=False)
    token: str = field(default="", repr=False)

    secret: Mapping[str, bytes] | None = field(default=None, repr=False)
    """Data of the Secret that is referred to; `None` if none is."""

    secret_name: str = ""
    """`namespace/name`, for messages."""

    key: str = ""
    """The key of the Secret that counts; empty for the usual ones."""

    @property
    def is_inline(self) -> bool:
        """Whether the spec itself has a secret."""
        return bool(self.password or self.token)


def credential_for(
    url: str, name: str, auth: Auth | None, *, default: bytes | None = None
) -> Credential:
    """Choose a credential.

    Args:
        url: Of the repository.
        name: Of the chart.
        auth: What the spec says; `None` if nothing.
        default: The manager's `config.json`.

    Raises:
        SourceError: What should count cannot be read.
    """
    where = repository_of(url, name)
    auth = auth or Auth()
    try:
        if auth.secret is not None:
            return _from_secret(auth, auth.secret, where)
        if auth.is_inline:
            return _inline(auth)
        if default is not None:
            return credential_from_docker_config(default, where)
    except InvalidCredentialError as error:
        which = f"Secret {auth.secret_name}" if auth.secret is not None else "auth"
        raise _unreadable(f"{which}: {error}") from None
    return ANONYMOUS


def repository_of(url: str, name: str) -> Repository:
    """Return host and path, as entries of a docker config are chosen by them.

    Raises:
        SourceError: The URL is none.
    """
    parts = urlsplit(url)
    if parts.scheme != "oci":
        return Repository(parts.netloc.rpartition("@")[2], parts.path.strip("/"))
    try:
        return parse_repository(f"{url.rstrip('/')}/{name}")
    except InvalidReferenceError as error:
        raise SourceError(str(error), reason=Reason.INVALID) from None


def _from_secret(
    auth: Auth, data: Mapping[str, bytes], where: Repository
) -> Credential:
    if not auth.key:
        found = credential_from_secret(data, where)
        if found.is_anonymous and ".dockerconfigjson" not in data:
            raise InvalidCredentialError(
                "none of the keys username and password, token, .dockerconfigjson is "
                "there"
            )
        return found
    if auth.key not in data:
        raise InvalidCredentialError(f"there is no key {auth.key!r}")
    content = data[auth.key]
    if auth.type is AuthType.DOCKER_CONFIG or auth.key == ".dockerconfigjson":
        return credential_from_docker_config(content, where)
    proof = credential_from_secret({"token": content}, where).password
    if not proof:
        raise InvalidCredentialError(f"the key {auth.key!r} is empty")
    if auth.type is AuthType.TOKEN:
        return _token(auth.username, proof)
    return _basic(auth.username or _user(data, where), proof)


def _user(data: Mapping[str, bytes], where: Repository) -> str:
    name = {"token": data.get("username", b"")}
    return credential_from_secret(name, where).password


def _inline(auth: Auth) -> Credential:
    if auth.type is AuthType.TOKEN:
        if not auth.token:
            raise InvalidCredentialError("type token needs a token")
        return _token(auth.username, auth.token)
    if auth.type is AuthType.DOCKER_CONFIG:
        raise InvalidCredentialError("type docker-config needs a secretRef")
    return _basic(auth.username, auth.password)


def _token(username: str, token: str) -> Credential:
    return Credential(
        username=username or TOKEN_USER, password=token, registry_token=token
    )


def _basic(username: str, password: str) -> Credential:
    if not username or not password:
        missing = "password" if username else "username"
        raise InvalidCredentialError(f"type basic needs a {missing}")
    return Credential(username=username, password=password)


def _unreadable(text: str) -> SourceError:
    return SourceError(text, reason=Reason.AUTH_FAILED)
