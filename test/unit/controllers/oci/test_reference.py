"""Addresses of repositories."""

from __future__ import annotations

import pytest

from controllers.oci.errors import InvalidReferenceError
from controllers.oci.reference import (
    Reference,
    Repository,
    parse_reference,
    parse_repository,
)

DIGEST = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("text", "host", "path"),
    [
        ("ghcr.io/org/bundle", "ghcr.io", "org/bundle"),
        ("oci://ghcr.io/org/bundle", "ghcr.io", "org/bundle"),
        ("OCI://GHCR.io/org/bundle", "ghcr.io", "org/bundle"),
        ("registry.corp:5000/a/b/c", "registry.corp:5000", "a/b/c"),
        ("localhost/app", "localhost", "app"),
        ("localhost:5000/app", "localhost:5000", "app"),
        ("127.0.0.1:5000/app", "127.0.0.1:5000", "app"),
        ("[::1]:5000/app", "[::1]:5000", "app"),
        ("registry:5000/app", "registry:5000", "app"),
        ("nginx", "docker.io", "library/nginx"),
        ("org/app", "docker.io", "org/app"),
        ("docker.io/nginx", "docker.io", "library/nginx"),
        ("index.docker.io/org/app", "docker.io", "org/app"),
        ("registry-1.docker.io/org/app", "docker.io", "org/app"),
        ("ghcr.io/a-b__c.d/e--f", "ghcr.io", "a-b__c.d/e--f"),
        (" ghcr.io/a/b ", "ghcr.io", "a/b"),
    ],
)
def test_an_address_names_host_and_path(text: str, host: str, path: str) -> None:
    assert parse_repository(text) == Repository(host, path)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("invalid://x", "scheme 'invalid'"),
        ("https://ghcr.io/a/b", "scheme 'https'"),
        ("", "names no repository"),
        ("oci://", "names no repository"),
        ("ghcr.io/", "names no repository"),
        ("ghcr.io/A/b", "lower-case"),
        ("ghcr.io/a//b", "lower-case"),
        ("ghcr.io/a/../b", "lower-case"),
        ("ghcr.io/a?b=c", "lower-case"),
        ("ghcr.io:99999/a", "no host"),
        ("gh_cr.io/a", "no host"),
        ("[::z]:5000/a", "no host"),
        ("ghcr.io/" + "a" * 256, "longer than 255"),
        ("ghcr.io/a:1.0", "has a tag"),
        (f"ghcr.io/a@{DIGEST}", "has a digest"),
        (f"ghcr.io/a:1.0@{DIGEST}", "has a digest"),
        ("ghcr.io/a@sha256:beef", "64 hex digits"),
        ("ghcr.io/a:b/c", "no tag"),
        ("ghcr.io/a b", "lower-case"),
        ("ghcr.io/a\nb", "lower-case"),
    ],
)
def test_an_address_that_cannot_be_read_is_refused_and_said_why(
    text: str, says: str
) -> None:
    """Bundle 4."""
    with pytest.raises(InvalidReferenceError, match=says):
        parse_repository(text)


def test_a_password_in_an_address_is_not_repeated() -> None:
    with pytest.raises(InvalidReferenceError) as caught:
        parse_repository("https://me:geheim@ghcr.io/a")

    assert "geheim" not in str(caught.value)


def test_a_reference_may_have_a_tag_and_a_digest() -> None:
    bundle = Repository("ghcr.io", "org/bundle")

    assert parse_reference("oci://ghcr.io/org/bundle:1.0") == Reference(bundle, "1.0")
    assert parse_reference(f"ghcr.io/org/bundle@{DIGEST}") == Reference(
        bundle, None, DIGEST
    )
    text = f"ghcr.io/org/bundle:1.0@{DIGEST}"
    assert str(parse_reference(text)) == text


def test_docker_hub_answers_under_another_name() -> None:
    hub = parse_repository("nginx")

    assert str(hub) == "docker.io/library/nginx"
    assert hub.api_url(insecure=False) == (
        "https://registry-1.docker.io/v2/library/nginx"
    )
    corp = parse_repository("registry.corp:5000/a")
    assert corp.api_url(insecure=True) == "http://registry.corp:5000/v2/a"
