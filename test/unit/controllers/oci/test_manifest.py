"""Manifests: what is read, what is refused, what is written."""

from __future__ import annotations

import json

import pytest

from controllers.oci.manifest import (
    DOCKER_LIST,
    DOCKER_MANIFEST,
    HELM_CONFIG,
    OCI_INDEX,
    OCI_MANIFEST,
    WERF_CHART,
    Content,
    Manifest,
    ManifestError,
    digest_of,
    read_image,
    read_index,
    write_image,
)

CONFIG = Content(HELM_CONFIG, b'{"name":"app"}').descriptor
LAYER = Content(WERF_CHART, b"chart", {"title": "app"}).descriptor


def manifest(content: object, media_type: str = OCI_MANIFEST) -> Manifest:
    data = content if isinstance(content, bytes) else json.dumps(content).encode()
    return Manifest(content=data, digest=digest_of(data), media_type=media_type)


def good(**changes: object) -> dict[str, object]:
    body: dict[str, object] = json.loads(write_image(CONFIG, [LAYER]))
    return {**body, **changes}


@pytest.mark.parametrize("states_type", [True, False])
def test_what_is_written_is_read(states_type: bool) -> None:
    written = write_image(
        CONFIG, [LAYER], annotations={"a": "b"}, states_type=states_type
    )

    image = read_image(manifest(written))

    assert ("mediaType" in json.loads(written)) is states_type
    assert (image.config, image.layers, image.annotations) == (
        CONFIG,
        (LAYER,),
        {"a": "b"},
    )


def test_a_docker_manifest_is_read() -> None:
    body = good(mediaType=DOCKER_MANIFEST)

    assert read_image(manifest(body, DOCKER_MANIFEST)).layers == (LAYER,)


@pytest.mark.parametrize(
    ("body", "media_type", "says"),
    [
        (good(mediaType=OCI_INDEX), OCI_MANIFEST, "index"),
        (good(mediaType=None, manifests=[]), OCI_MANIFEST, "index"),
        (good(mediaType=None), DOCKER_LIST, "index"),
        (good(mediaType=None), "text/plain", "'text/plain'"),
        (good(schemaVersion=1), OCI_MANIFEST, "schemaVersion"),
        (good(layers=None), OCI_MANIFEST, "list of layers"),
        (good(layers=["x"]), OCI_MANIFEST, "layer is no descriptor"),
        (good(config={"mediaType": "x"}), OCI_MANIFEST, "config has no type"),
        (
            good(config={"mediaType": "x", "digest": "d", "size": -1}),
            OCI_MANIFEST,
            "no size",
        ),
        (good(annotations={"a": 1}), OCI_MANIFEST, "annotations"),
        (b"[]", OCI_MANIFEST, "no JSON object"),
        (b"\xff", OCI_MANIFEST, "no JSON object"),
    ],
)
def test_a_manifest_that_is_none_of_one_image_is_refused(
    body: object, media_type: str, says: str
) -> None:
    """Bundle 76."""
    with pytest.raises(ManifestError, match=says):
        read_image(manifest(body, media_type))


def test_an_index_names_manifests() -> None:
    entry = {
        "mediaType": OCI_MANIFEST,
        "digest": "sha256:" + "a" * 64,
        "size": 7,
        "artifactType": "application/vnd.dev.sigstore.bundle.v0.3+json",
    }

    found = read_index(json.dumps({"manifests": [entry]}).encode())

    assert [each.artifact_type for each in found] == [entry["artifactType"]]
    with pytest.raises(ManifestError):
        read_index(b"{}")
