"""Secrets that users have, and who they make us."""

from __future__ import annotations

import base64
import json

import pytest

from controllers.oci.credentials import (
    ANONYMOUS,
    Credential,
    credential_from_docker_config,
    credential_from_secret,
)
from controllers.oci.errors import InvalidCredentialError
from controllers.oci.reference import Repository, parse_repository

BUNDLE = parse_repository("ghcr.io/org/bundle")
HUB = parse_repository("org/app")


def auth(username: str, password: str) -> dict[str, str]:
    return {"auth": base64.b64encode(f"{username}:{password}".encode()).decode()}


def config(**auths: object) -> bytes:
    return json.dumps({"auths": auths}).encode()


def of(auths: dict[str, object], repository: Repository = BUNDLE) -> Credential:
    return credential_from_docker_config(config(**auths), repository)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({}, ANONYMOUS),
        (
            {"username": b"me", "password": b"a:b\n"},
            Credential(username="me", password="a:b"),
        ),
        (
            {"token": b"t\r\n", "username": b"me", "password": b"p"},
            Credential(username="me", password="t", registry_token="t"),
        ),
        (
            {"token": b"t"},
            Credential(username="token", password="t", registry_token="t"),
        ),
        ({"unrelated": b"\xff"}, ANONYMOUS),
        (
            {".dockerconfigjson": config(**{"ghcr.io": auth("me", "p:w")})},
            Credential(username="me", password="p:w"),
        ),
        (
            {".dockercfg": json.dumps({"ghcr.io": auth("me", "p")}).encode()},
            Credential(username="me", password="p"),
        ),
    ],
)
def test_a_secret_says_who_we_are(data: dict[str, bytes], expected: Credential) -> None:
    """Bundle 68: a token goes before a password."""
    assert credential_from_secret(data, BUNDLE) == expected


@pytest.mark.parametrize(
    ("key", "fits"),
    [
        ("ghcr.io", True),
        ("https://ghcr.io", True),
        ("http://ghcr.io/v1/", True),
        ("https://ghcr.io/v2/", True),
        ("GHCR.io", True),
        ("ghcr.io/org", True),
        ("ghcr.io/org/bundle", True),
        ("ghcr.io/or", False),
        ("ghcr.io/org/bundle/more", False),
        ("ghcr.io:443", False),
        ("*.io", True),
        ("*", False),
        ("*.ghcr.io", False),
        ("evilghcr.io", False),
        ("docker.io", False),
    ],
)
def test_an_entry_is_for_the_hosts_and_paths_that_its_key_fits(
    key: str, fits: bool
) -> None:
    assert of({key: auth("me", "p")}).is_anonymous is not fits


@pytest.mark.parametrize(
    "key",
    [
        "https://index.docker.io/v1/",
        "index.docker.io",
        "docker.io",
        "https://registry-1.docker.io/v2/",
    ],
)
def test_docker_hub_has_several_names(key: str) -> None:
    assert of({key: auth("me", "p")}, HUB).username == "me"


def test_the_longest_path_wins_then_the_exact_host() -> None:
    auths = {
        "*.io": auth("star", "p"),
        "ghcr.io": auth("host", "p"),
        "ghcr.io/org/other": auth("other", "p"),
        "ghcr.io/org": auth("org", "p"),
    }

    assert of(dict(auths)).username == "org"
    del auths["ghcr.io/org"]
    assert of(dict(auths)).username == "host"


def test_tokens_of_an_entry_are_kept_apart() -> None:
    entry = {**auth("<token>", ""), "identitytoken": "i", "registrytoken": "r"}

    credential = of({"ghcr.io": entry})

    assert (credential.identity_token, credential.registry_token) == ("i", "r")
    assert not credential.has_password


def test_plain_fields_go_before_the_encoded_one() -> None:
    entry = {"username": "plain", "password": "p", **auth("encoded", "q")}

    assert of({"ghcr.io": entry}) == Credential(username="plain", password="p")


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ({"username": b"me"}, "no key 'password'"),
        ({"password": b"geheim"}, "no key 'username'"),
        ({"token": b"geheim\nX-Injected: 1"}, "'token'"),
        ({"username": b"me", "password": b"\xffgeheim"}, "'password'"),
        ({".dockerconfigjson": b"geheim"}, "'.dockerconfigjson'"),
        ({".dockerconfigjson": b"[]"}, "'.dockerconfigjson'"),
        ({".dockerconfigjson": b"[" * 5000}, "'.dockerconfigjson'"),
        ({".dockerconfigjson": b'{"auths": "geheim"}'}, "'auths'"),
        ({".dockerconfigjson": config(**{"ghcr.io": "geheim"})}, "'ghcr.io'"),
        ({".dockerconfigjson": config(**{"ghcr.io": {"auth": "geheim"}})}, "base64"),
        (
            {".dockerconfigjson": config(**{"ghcr.io": {"auth": "Z2VoZWlt"}})},
            "base64",
        ),
        ({".dockerconfigjson": config(**{"ghcr.io": {"auth": 1}})}, "'auth'"),
    ],
)
def test_a_secret_that_cannot_be_read_is_an_error_that_shows_nothing_of_it(
    data: dict[str, bytes], says: str
) -> None:
    with pytest.raises(InvalidCredentialError, match=says) as caught:
        credential_from_secret(data, BUNDLE)

    assert "geheim" not in str(caught.value)


def test_nothing_of_a_credential_is_shown() -> None:
    credential = Credential(
        username="me", password="p1", identity_token="p2", registry_token="p3"
    )

    assert repr(credential) == "Credential()"
    assert set(credential.secrets) == {"p1", "p2", "p3"}
