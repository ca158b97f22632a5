"""The programs of a control plane, a registry, tools; versions, where releases are.

    part ──▶ Go module (gomodules/<folder>/go.mod: the version, once) ──▶ go build
      └────▶ release URL + checksum URL ──▶ download

The `go.mod` beside this page is the only place that names a version. Each of the
six projects has one of its own, since their dependencies cannot be reconciled.
For another Kubernetes, put a folder `gomodules/kubernetes-<minor>` beside them.
"""

from __future__ import annotations

import hashlib
import json
import platform
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from importlib.resources import files
from typing import NamedTuple

from controller_runtime.testing.envtest.errors import AssetsError, DownloadError


class Platform(NamedTuple):
    """An operating system and a processor, in Go's words."""

    os: str
    arch: str

    @classmethod
    def here(cls) -> Platform:
        """Name the machine that this runs on."""
        arch = platform.machine().lower()
        return cls(
            sys.platform, {"x86_64": "amd64", "aarch64": "arm64"}.get(arch, arch)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One program of a control plane."""

    name: str
    """The file's name, as Go's envtest expects it in `KUBEBUILDER_ASSETS`."""

    project: str
    """The project that releases it: `etcd`, `kubernetes`, `kwok`, `registry`,
    `prometheus` or `kustomize`."""

    package: str
    """The Go package that is built."""

    build_time: str
    """What a first build takes on two cores, for the one who waits."""


ETCD = Part(
    name="etcd",
    project="etcd",
    package="go.etcd.io/etcd/server/v3",
    build_time="half a minute",
)
APISERVER = Part(
    name="kube-apiserver",
    project="kubernetes",
    package="k8s.io/kubernetes/cmd/kube-apiserver",
    build_time="3 to 9 minutes",
)
CONTROLLER_MANAGER = Part(
    name="kube-controller-manager",
    project="kubernetes",
    package="k8s.io/kubernetes/cmd/kube-controller-manager",
    build_time="a minute",
)
SCHEDULER = Part(
    name="kube-scheduler",
    project="kubernetes",
    package="k8s.io/kubernetes/cmd/kube-scheduler",
    build_time="half a minute",
)
KWOK = Part(
    name="kwok",
    project="kwok",
    package="sigs.k8s.io/kwok/cmd/kwok",
    build_time="one to two minutes",
)

REGISTRY = Part(
    name="registry",
    project="registry",
    package="github.com/distribution/distribution/v3/cmd/registry",
    build_time="one to two minutes",
)

PROMTOOL = Part(
    name="promtool",
    project="prometheus",
    package="github.com/prometheus/prometheus/cmd/promtool",
    build_time="3 to 6 minutes",
)

KUSTOMIZE = Part(
    name="kustomize",
    project="kustomize",
    package="sigs.k8s.io/kustomize/kustomize/v5",
    build_time="a minute",
)

PARTS = (ETCD, APISERVER, CONTROLLER_MANAGER, SCHEDULER, KWOK, REGISTRY)
"""What `setup` sees to unless it is told otherwise."""

TOOLS = (PROMTOOL, KUSTOMIZE)
"""What no control plane needs: `setup --only promtool`."""

_REQUIRED = {
    "etcd": "go.etcd.io/etcd/server/v3",
    "kubernetes": "k8s.io/kubernetes",
    "kwok": "sigs.k8s.io/kwok",
    "registry": "github.com/distribution/distribution/v3",
    "prometheus": "github.com/prometheus/prometheus",
    "kustomize": "sigs.k8s.io/kustomize/kustomize/v5",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class GoModule:
    """A `go.mod` of ours and its `go.sum`: what is built, down to the last byte."""

    project: str
    version: str
    """Without the leading `v`."""

    gomod: bytes = field(repr=False)
    gosum: bytes = field(repr=False)

    sources: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    """Go files by name, if the program is in this module and not in one it requires."""

    @property
    def files(self) -> Mapping[str, bytes]:
        """What the module's folder holds, by name."""
        return {"go.mod": self.gomod, "go.sum": self.gosum, **self.sources}

    @property
    def digest(self) -> str:
        """Twelve hex digits that change when anything that is built does."""
        return hashlib.sha256(b"\0".join(self.files.values())).hexdigest()[:12]

    @property
    def ldflags(self) -> str:
        """Linker flags: no debug tables, and a version that clients can read.

        Without it kube-apiserver calls itself v0.0.0 and version checks misbehave.
        """
        return " ".join(["-s", "-w", *_version_flags(self.project, self.version)])


def _version_flags(project: str, version: str) -> list[str]:
    major, minor, *_ = version.split(".")
    component = "k8s.io/component-base/version"
    match project:
        case "kubernetes":
            return [
                f"-X {component}.gitVersion=v{version}",
                f"-X {component}.gitMajor={major}",
                f"-X {component}.gitMinor={minor}",
            ]
        case "registry":
            return [
                f"-X github.com/distribution/distribution/v3/version.version=v{version}"
            ]
        case "prometheus":
            return [f"-X github.com/prometheus/common/version.Version={version}"]
        case "kwok":
            return [f"-X sigs.k8s.io/kwok/pkg/consts.Version=v{version}"]
        case "kustomize":
            return [f"-X sigs.k8s.io/kustomize/api/provenance.version=v{version}"]
        case _:
            return []


def go_module(project: str, version: str | None = None) -> GoModule:
    """Read the module of a project. Blocks on the disk.

    Args:
        project: One of those that `Part.project` names.
        version: A version or the start of one (`1.35`); by default our newest.

    Raises:
        AssetsError: There is no such version here.
    """
    folders = files(__package__) / "gomodules"
    found = [
        _parsed(
            project, (folder / "go.mod").read_bytes(), (folder / "go.sum").read_bytes()
        )
        for folder in sorted(folders.iterdir(), key=lambda folder: folder.name)
        if folder.name.partition("-")[0] == project
    ]
    for module in found:
        if version is None or f"{module.version}.".startswith(f"{version}."):
            return module
    raise AssetsError(
        f"{project} {version} cannot be set up; "
        f"there is {', '.join(module.version for module in found)}"
    )


def _parsed(project: str, gomod: bytes, gosum: bytes) -> GoModule:
    required = re.escape(_REQUIRED[project])
    line = re.search(
        rf"^(?:require)?\s+{required} v(\S+)", gomod.decode(), re.MULTILINE
    )
    if line is None:
        raise AssetsError(f"the go.mod of {project} does not require {required}")
    version = _prometheus_3(line[1]) if project == "prometheus" else line[1]
    return GoModule(project=project, version=version, gomod=gomod, gosum=gosum)


def _prometheus_3(version: str) -> str:
    """Turn the version of the Go module into that of the release: 0.313.5 is 3.13.5."""
    _, minor, patch = version.split(".")
    return f"{minor[0]}.{int(minor[1:])}.{patch}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mirrors:
    """Where releases are fetched from: the official places, or copies of them."""

    kubernetes: str = "https://dl.k8s.io/release"
    """Environment: `PILOTHOUSE_KUBERNETES_URL`."""

    etcd: str = "https://github.com/etcd-io/etcd/releases/download"
    """Environment: `PILOTHOUSE_ETCD_URL`."""

    kwok: str = "https://github.com/kubernetes-sigs/kwok/releases/download"
    """Environment: `PILOTHOUSE_KWOK_URL`."""

    kwok_checksums: str = (
        "https://api.github.com/repos/kubernetes-sigs/kwok/releases/tags"
    )
    """kwok publishes no checksum file; GitHub's API knows what was uploaded.
    Environment: `PILOTHOUSE_KWOK_CHECKSUMS_URL`."""

    registry: str = "https://github.com/distribution/distribution/releases/download"
    """Environment: `PILOTHOUSE_REGISTRY_URL`."""

    prometheus: str = "https://github.com/prometheus/prometheus/releases/download"
    """Environment: `PILOTHOUSE_PROMETHEUS_URL`."""

    kustomize: str = "https://github.com/kubernetes-sigs/kustomize/releases/download"
    """Environment: `PILOTHOUSE_KUSTOMIZE_URL`."""

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> Mirrors:
        """Take the official places, but for those that the environment overrides."""
        given = {
            name: environ.get(f"PILOTHOUSE_{name.upper()}_URL", "").rstrip("/")
            for name in (mirror.name for mirror in fields(cls))
        }
        return cls(**{name: url for name, url in given.items() if url})


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """A published file and what vouches for it."""

    url: str
    checksum_url: str

    member: str | None = None
    """Path of the program inside the archive; `None` when the file is the program."""

    @property
    def asset(self) -> str:
        """The file's name, under which a list of checksums has it."""
        return self.url.rpartition("/")[2]


def release_of(part: Part, version: str, here: Platform, mirrors: Mirrors) -> Release:
    """Say where a program is published.

    A platform may be missing there: Kubernetes publishes no servers for macOS.
    """
    match part.project:
        case "kubernetes":
            url = (
                f"{mirrors.kubernetes}/v{version}/bin/{here.os}/{here.arch}/{part.name}"
            )
            return Release(url=url, checksum_url=f"{url}.sha256")
        case "etcd":
            stem = f"etcd-v{version}-{here.os}-{here.arch}"
            suffix = "tar.gz" if here.os == "linux" else "zip"
            return Release(
                url=f"{mirrors.etcd}/v{version}/{stem}.{suffix}",
                checksum_url=f"{mirrors.etcd}/v{version}/SHA256SUMS",
                member=f"{stem}/{part.name}",
            )
        case "registry":
            stem = f"registry_{version}_{here.os}_{here.arch}"
            url = f"{mirrors.registry}/v{version}/{stem}.tar.gz"
            return Release(url=url, checksum_url=f"{url}.sha256", member=part.name)
        case "prometheus":
            stem = f"prometheus-{version}.{here.os}-{here.arch}"
            return Release(
                url=f"{mirrors.prometheus}/v{version}/{stem}.tar.gz",
                checksum_url=f"{mirrors.prometheus}/v{version}/sha256sums.txt",
                member=f"{stem}/{part.name}",
            )
        case "kustomize":
            folder = f"{mirrors.kustomize}/kustomize%2Fv{version}"
            return Release(
                url=f"{folder}/kustomize_v{version}_{here.os}_{here.arch}.tar.gz",
                checksum_url=f"{folder}/checksums.txt",
                member=part.name,
            )
        case _:
            return Release(
                url=f"{mirrors.kwok}/v{version}/{part.name}-{here.os}-{here.arch}",
                checksum_url=f"{mirrors.kwok_checksums}/v{version}",
            )


def checksum_in(text: str, asset: str) -> str:
    """Find a file's sha256 in what vouches for it.

    Understood are a bare digest (dl.k8s.io), the output of `sha256sum` (etcd) and
    GitHub's description of a release, whose assets carry a `digest`.

    Raises:
        DownloadError: It is not there.
    """
    listed = _github_digests(text) if text.lstrip().startswith("{") else _sums(text)
    found = listed.get(asset, listed.get("", ""))
    if re.fullmatch(r"[0-9a-f]{64}", found) is None:
        raise DownloadError(f"no sha256 of {asset} is published")
    return found


def _sums(text: str) -> dict[str, str]:
    lines = (line.split(maxsplit=1) for line in text.splitlines() if line.strip())
    return {
        (rest[0].strip().lstrip("*") if rest else ""): digest.lower()
        for digest, *rest in lines
    }


def _github_digests(text: str) -> dict[str, str]:
    assets = json.loads(text).get("assets", [])
    return {
        str(asset.get("name")): str(asset.get("digest")).removeprefix("sha256:")
        for asset in assets
    }
