"""Who we are to a chart repository."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Mapping

import pytest

from controllers.oci import ANONYMOUS, Credential
from controllers.release.chart import Auth, AuthType, Reason, SourceError
from controllers.release.chart.credentials import credential_for

OCI = "oci://registry.example/charts"
WEB = "https://charts.example/stable"

ME = Credential(username="me", password="a:b")
TOKEN = Credential(username="token", password="t0ken", registry_token="t0ken")


def docker(*hosts: str) -> bytes:
    proof = b64encode(b"me:a:b").decode()
    return json.dumps({"auths": {host: {"auth": proof} for host in hosts}}).encode()


def secret(
    data: Mapping[str, bytes],
    *,
    kind: AuthType = AuthType.BASIC,
    key: str = "",
    username: str = "",
) -> Auth:
    return Auth(type=kind, secret=data, secret_name="n/s", key=key, username=username)


PAIR = {"username": b"me", "password": b"a:b\n"}

GOOD = {
    "a pair": (secret(PAIR), ME),
    "a token": (secret({"token": b"t0ken"}), TOKEN),
    "a token under a key": (
        secret({"key": b"t0ken\n"}, kind=AuthType.TOKEN, key="key"),
        TOKEN,
    ),
    "a token with a user": (
        secret({"key": b"t0ken"}, kind=AuthType.TOKEN, key="key", username="do"),
        Credential(username="do", password="t0ken", registry_token="t0ken"),
    ),
    "a password under a key, the user in the spec": (
        secret({"key": b"a:b"}, key="key", username="me"),
        ME,
    ),
    "a password under a key, the user in the Secret": (
        secret({"key": b"a:b", "username": b"me"}, key="key"),
        ME,
    ),
    "a docker config": (
        secret({".dockerconfigjson": docker("registry.example", "charts.example")}),
        ME,
    ),
    "a docker config under a key": (
        secret(
            {"key": docker("registry.example/charts", "charts.example")},
            kind=AuthType.DOCKER_CONFIG,
            key="key",
        ),
        ME,
    ),
    "a docker config of others": (
        secret({".dockerconfigjson": docker("other.example")}),
        ANONYMOUS,
    ),
    "a pair in the spec": (Auth(username="me", password="a:b"), ME),
    "a token in the spec": (Auth(type=AuthType.TOKEN, token="t0ken"), TOKEN),
    "a Secret and a pair in the spec": (
        Auth(username="x", password="y", secret=PAIR, secret_name="n/s"),
        ME,
    ),
}


@pytest.mark.parametrize("url", [OCI, WEB])
@pytest.mark.parametrize(("auth", "expected"), GOOD.values(), ids=GOOD.keys())
def test_what_a_spec_says_is_read(url: str, auth: Auth, expected: Credential) -> None:
    """3, 4."""
    assert credential_for(url, "app", auth) == expected


def test_the_managers_own_config_counts_where_a_spec_says_nothing() -> None:
    default = docker("registry.example")

    assert credential_for(OCI, "app", None, default=default) == ME
    assert credential_for(OCI, "app", Auth(username="me"), default=default) == ME
    assert credential_for(WEB, "app", None, default=default) == ANONYMOUS
    assert credential_for(OCI, "app", None) == ANONYMOUS


BAD = {
    "an empty Secret": (secret({}), "none of the keys"),
    "no such key": (secret(PAIR, key="token"), "no key 'token'"),
    "an empty key": (secret({"k": b""}, kind=AuthType.TOKEN, key="k"), "is empty"),
    "half a pair": (secret({"username": b"me"}), "'password'"),
    "a password without a user": (secret({"k": b"x"}, key="k"), "username"),
    "a broken docker config": (secret({".dockerconfigjson": b"s3cret"}), "no JSON"),
    "a token that is missing": (Auth(type=AuthType.TOKEN, password="x"), "a token"),
    "a config in the spec": (
        Auth(type=AuthType.DOCKER_CONFIG, password="x"),
        "secretRef",
    ),
}


@pytest.mark.parametrize(("auth", "why"), BAD.values(), ids=BAD.keys())
def test_what_is_there_and_cannot_be_read_is_an_error_and_no_reason_to_go_on(
    auth: Auth, why: str
) -> None:
    """3: there is no fall-back."""
    with pytest.raises(SourceError, match=why) as caught:
        credential_for(OCI, "app", auth, default=docker("registry.example"))

    assert caught.value.reason is Reason.AUTH_FAILED
    assert "s3cret" not in str(caught.value)
    if auth.secret is not None:
        assert "n/s" in str(caught.value)


def test_an_address_that_is_none_is_the_specs_fault() -> None:
    with pytest.raises(SourceError) as caught:
        credential_for("oci://Registry/UPPER", "app", None)

    assert caught.value.reason is Reason.INVALID
    assert caught.value.is_terminal
