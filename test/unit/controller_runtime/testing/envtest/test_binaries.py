"""Versions, release addresses and what vouches for a release."""

from __future__ import annotations

import hashlib
import json
import re

import pytest

from controller_runtime.testing.envtest.binaries import (
    APISERVER,
    ETCD,
    KUSTOMIZE,
    KWOK,
    PARTS,
    PROMTOOL,
    REGISTRY,
    TOOLS,
    Mirrors,
    Part,
    Platform,
    checksum_in,
    go_module,
    release_of,
)
from controller_runtime.testing.envtest.errors import AssetsError, DownloadError

DIGEST = hashlib.sha256(b"a release").hexdigest()

OTHER = "0" * 64

AMD64 = Platform("linux", "amd64")


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(DIGEST, id="bare, as dl.k8s.io has it"),
        pytest.param(f"{DIGEST}\n", id="bare, with a newline"),
        pytest.param(f"{OTHER}  another\n{DIGEST}  wanted\n", id="sha256sum"),
        pytest.param(f"{DIGEST.upper()} *wanted", id="sha256sum of binary files"),
        pytest.param(
            json.dumps(
                {
                    "assets": [
                        {"name": "another", "digest": f"sha256:{OTHER}"},
                        {"name": "wanted", "digest": f"sha256:{DIGEST}"},
                    ]
                }
            ),
            id="GitHub",
        ),
    ],
)
def test_a_checksum_is_found(text: str) -> None:
    assert checksum_in(text, "wanted") == DIGEST


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="nothing"),
        pytest.param(f"{OTHER}  another\n", id="only of another file"),
        pytest.param("<html>not found</html>", id="a page instead"),
        pytest.param(
            '{"assets": [{"name": "wanted", "digest": null}]}', id="old asset"
        ),
        pytest.param(f"{DIGEST[:-1]}  wanted\n", id="too short"),
    ],
)
def test_a_checksum_that_is_not_there_is_an_error(text: str) -> None:
    with pytest.raises(DownloadError, match="no sha256 of wanted is published"):
        checksum_in(text, "wanted")


@pytest.mark.parametrize("part", [*PARTS, *TOOLS], ids=lambda part: str(part.name))
def test_every_part_is_a_tool_of_its_module(part: Part) -> None:
    module = go_module(part.project)

    assert re.search(
        rf"^(tool)?\s+{part.package}$", module.gomod.decode(), re.MULTILINE
    )


@pytest.mark.parametrize(
    "project", ["etcd", "kubernetes", "kwok", "registry", "prometheus", "kustomize"]
)
def test_a_module_asks_for_nothing_but_published_modules(project: str) -> None:
    module = go_module(project)

    assert "=> ." not in module.gomod.decode()
    assert "=> /" not in module.gomod.decode()
    assert module.gosum


def test_a_kubernetes_that_is_built_knows_its_version() -> None:
    module = go_module("kubernetes")

    major, minor, _ = module.version.split(".")
    assert f"gitVersion=v{module.version}" in module.ldflags
    assert f"gitMajor={major}" in module.ldflags
    assert f"gitMinor={minor}" in module.ldflags


def test_a_version_may_be_given_in_part() -> None:
    newest = go_module("kubernetes")

    assert go_module("kubernetes", newest.version.rpartition(".")[0]) == newest
    with pytest.raises(AssetsError, match=r"there is 1\."):
        go_module("kubernetes", newest.version[:3])


def test_releases_are_where_their_projects_publish_them() -> None:
    official = Mirrors()

    apiserver = release_of(APISERVER, "1.36.3", AMD64, official)
    etcd = release_of(ETCD, "3.6.16", AMD64, official)
    mac = release_of(ETCD, "3.6.16", Platform("darwin", "arm64"), official)
    kwok = release_of(KWOK, "0.7.0", AMD64, official)
    registry = release_of(REGISTRY, "3.1.2", AMD64, official)
    promtool = release_of(PROMTOOL, "3.13.5", AMD64, official)

    folder = "https://dl.k8s.io/release/v1.36.3/bin/linux/amd64"
    assert apiserver.url == f"{folder}/kube-apiserver"
    assert apiserver.checksum_url == f"{folder}/kube-apiserver.sha256"
    folder = "https://github.com/etcd-io/etcd/releases/download/v3.6.16"
    assert etcd.url == f"{folder}/etcd-v3.6.16-linux-amd64.tar.gz"
    assert etcd.checksum_url == f"{folder}/SHA256SUMS"
    assert etcd.member == "etcd-v3.6.16-linux-amd64/etcd"
    assert mac.asset == "etcd-v3.6.16-darwin-arm64.zip"
    assert kwok.asset == "kwok-linux-amd64"
    folder = "https://github.com/distribution/distribution/releases/download/v3.1.2"
    assert registry.url == f"{folder}/registry_3.1.2_linux_amd64.tar.gz"
    assert registry.checksum_url == f"{registry.url}.sha256"
    assert registry.member == "registry"
    folder = "https://github.com/prometheus/prometheus/releases/download/v3.13.5"
    assert promtool.url == f"{folder}/prometheus-3.13.5.linux-amd64.tar.gz"
    assert promtool.checksum_url == f"{folder}/sha256sums.txt"
    assert promtool.member == "prometheus-3.13.5.linux-amd64/promtool"
    kustomize = release_of(KUSTOMIZE, "5.8.1", AMD64, official)
    folder = "https://github.com/kubernetes-sigs/kustomize/releases/download"
    assert kustomize.url.startswith(f"{folder}/kustomize%2Fv5.8.1/kustomize_v5.8.1_")
    assert kustomize.asset == "kustomize_v5.8.1_linux_amd64.tar.gz"
    assert kustomize.checksum_url == f"{folder}/kustomize%2Fv5.8.1/checksums.txt"
    assert kustomize.member == "kustomize"


def test_prometheus_is_called_by_the_version_of_its_release() -> None:
    module = go_module("prometheus")

    assert module.version.startswith("3.")
    number = module.version.removeprefix("3.")
    required = f"github.com/prometheus/prometheus v0.3{number} "
    assert required in module.gomod.decode()


def test_mirrors_are_the_official_places_unless_the_environment_says_otherwise() -> (
    None
):
    environ = {"PILOTHOUSE_ETCD_URL": "https://mirror.example/etcd/", "OTHER": "x"}

    mirrors = Mirrors.from_environ(environ)

    assert mirrors == Mirrors(etcd="https://mirror.example/etcd")
