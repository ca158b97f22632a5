"""Manifests and what they point to (OCI image specification 1.1, Docker schema 2)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"

ACCEPT = ", ".join((OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_LIST))
"""What we understand. Without the right one distribution answers HEAD with 404."""

HELM_CONFIG = "application/vnd.cncf.helm.config.v1+json"
HELM_CHART = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"
HELM_PROVENANCE = "application/vnd.cncf.helm.chart.provenance.v1.prov"
WERF_CHART = "application/tar+gzip"
"""The one layer of a bundle that werf published."""

MANIFEST_MAX = 4 << 20
"""Largest manifest in bytes (distribution specification, "Pushing Manifests")."""


class ManifestError(ValueError):
    """What should be a manifest is none; the text says why."""


class Descriptor(NamedTuple):
    """What a blob or manifest is, before one has it."""

    media_type: str
    digest: str
    size: int
    """In bytes."""

    annotations: Mapping[str, str] = {}

    artifact_type: str = ""
    """Of a manifest, in a list of referrers."""


class Content(NamedTuple):
    """Bytes with their type, about to be pushed."""

    media_type: str
    data: bytes
    annotations: Mapping[str, str] = {}

    @property
    def descriptor(self) -> Descriptor:
        """What points to it."""
        return Descriptor(
            self.media_type, digest_of(self.data), len(self.data), self.annotations
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """A manifest as it was stored, byte for byte; its digest has been checked."""

    content: bytes = field(repr=False)
    digest: str

    media_type: str
    """What the server says it is; werf's manifests do not say it themselves."""

    etag: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """What a tag points to, without its content."""

    digest: str
    media_type: str

    size: int | None
    """In bytes, if the server says so."""

    etag: str = ""
    """To ask again with; empty if the server sends none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """A manifest of one image or artifact, read."""

    config: Descriptor
    layers: tuple[Descriptor, ...]
    annotations: Mapping[str, str]


def digest_of(data: bytes) -> str:
    """Return the name of bytes. Takes 1 ms a MiB."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def read_image(manifest: Manifest) -> Image:
    """Read the manifest of one image.

    Raises:
        ManifestError: It is an index, of another schema, or no manifest at all.
    """
    body = _object(manifest.content)
    stated = body.get("mediaType") or manifest.media_type
    if stated in {OCI_INDEX, DOCKER_LIST} or "manifests" in body:
        raise ManifestError("the manifest is an index of several, not one artifact")
    if stated not in {OCI_MANIFEST, DOCKER_MANIFEST}:
        raise ManifestError(f"a manifest of the type {stated!r} is not understood")
    if body.get("schemaVersion") != 2:
        raise ManifestError("the manifest's schemaVersion is not 2")
    layers = body.get("layers")
    if not isinstance(layers, list):
        raise ManifestError("the manifest has no list of layers")
    return Image(
        config=_descriptor(body.get("config"), "config"),
        layers=tuple(_descriptor(layer, "layer") for layer in layers),
        annotations=_texts(body.get("annotations")),
    )


def read_index(content: bytes) -> tuple[Descriptor, ...]:
    """Read the manifests that an index names.

    Raises:
        ManifestError: It is none.
    """
    manifests = _object(content).get("manifests")
    if not isinstance(manifests, list):
        raise ManifestError("the index has no list of manifests")
    return tuple(_descriptor(each, "manifest") for each in manifests)


def write_image(
    config: Descriptor,
    layers: Sequence[Descriptor],
    *,
    annotations: Mapping[str, str] | None = None,
    states_type: bool = True,
) -> bytes:
    """Write the manifest of one artifact.

    Args:
        config: Already pushed, like the layers.
        layers: In their order.
        annotations: Of the manifest.
        states_type: Whether it says what it is; werf's do not.
    """
    body: dict[str, object] = {"schemaVersion": 2}
    if states_type:
        body["mediaType"] = OCI_MANIFEST
    body["config"] = _written(config)
    body["layers"] = [_written(layer) for layer in layers]
    if annotations:
        body["annotations"] = dict(annotations)
    return json.dumps(body, separators=(",", ":")).encode()


def _written(descriptor: Descriptor) -> Mapping[str, object]:
    written: dict[str, object] = {
        "mediaType": descriptor.media_type,
        "digest": descriptor.digest,
        "size": descriptor.size,
    }
    if descriptor.annotations:
        written["annotations"] = dict(descriptor.annotations)
    return written


def _object(content: bytes) -> Mapping[str, object]:
    try:
        body = json.loads(content)
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict):
        raise ManifestError("the manifest is no JSON object")
    return body


def _descriptor(value: object, what: str) -> Descriptor:
    if not isinstance(value, dict):
        raise ManifestError(f"the manifest's {what} is no descriptor")
    media_type, digest = value.get("mediaType"), value.get("digest")
    size = value.get("size")
    if not isinstance(media_type, str) or not isinstance(digest, str):
        raise ManifestError(f"the manifest's {what} has no type or no digest")
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise ManifestError(f"the manifest's {what} has no size")
    artifact_type = value.get("artifactType")
    return Descriptor(
        media_type,
        digest,
        size,
        _texts(value.get("annotations")),
        artifact_type if isinstance(artifact_type, str) else "",
    )


def _texts(value: object) -> Mapping[str, str]:
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(
        isinstance(each, str) for each in value.values()
    ):
        raise ManifestError("the manifest's annotations are no texts")
    return value
