"""What is a bundle, and what must not be unpacked to find out."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Callable

import pytest

from controllers.bundle.artifact import Chart, Parts, read_chart, read_parts
from controllers.bundle.errors import BlockedError
from controllers.oci import (
    HELM_CHART,
    HELM_CONFIG,
    OCI_INDEX,
    OCI_MANIFEST,
    WERF_CHART,
    Content,
    Manifest,
    digest_of,
    write_image,
)
from controllers.up.bundle_samples import BundleContent, bundle_content
from controllers.up.charts import archive as packed

LIMIT = 20 << 20

GOOD = bundle_content("1.2.3", name="shop")


def manifest(*layers: Content, media_type: str = OCI_MANIFEST) -> Manifest:
    body = write_image(
        GOOD.config.descriptor, [it.descriptor for it in layers], states_type=False
    )
    return Manifest(content=body, digest=digest_of(body), media_type=media_type)


def chart_of(content: BundleContent) -> Chart:
    parts = Parts(content.config.descriptor, content.layer.descriptor)
    return read_chart(parts, content.config.data, content.layer.data)


def refusal(check: Callable[[], object]) -> BlockedError:
    with pytest.raises(BlockedError) as caught:
        check()
    return caught.value


@pytest.mark.parametrize("media_type", [WERF_CHART, HELM_CHART])
def test_what_werf_and_helm_publish_is_taken(media_type: str) -> None:
    layer = Content(media_type, GOOD.layer.data)

    assert read_parts(manifest(layer), limit=LIMIT).layer == layer.descriptor
    assert chart_of(GOOD) == Chart("shop", "1.2.3")


def test_a_manifest_must_be_of_one_image_with_one_layer_of_a_chart() -> None:
    """Scenario 76."""
    layer = GOOD.layer
    index = Manifest(
        content=json.dumps({"schemaVersion": 2, "manifests": []}).encode(),
        digest="sha256:0",
        media_type=OCI_INDEX,
    )
    cases = {
        "InvalidManifest": [
            lambda: read_parts(index, limit=LIMIT),
            lambda: read_parts(manifest(layer, layer), limit=LIMIT),
            lambda: read_parts(manifest(), limit=LIMIT),
        ],
        "UnsupportedArtifact": [
            lambda: read_parts(manifest(Content("image/png", b"x")), limit=LIMIT)
        ],
        "TooLarge": [
            lambda: read_parts(manifest(layer), limit=10),
            lambda: read_parts(manifest(Content(WERF_CHART, b"")), limit=LIMIT),
        ],
    }

    for reason, checks in cases.items():
        for check in checks:
            assert refusal(check).reason == reason


def layered(data: bytes) -> BundleContent:
    return BundleContent(GOOD.config, Content(WERF_CHART, data))


def archive(*members: tarfile.TarInfo) -> bytes:
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as tar:
        for member in members:
            tar.addfile(member, io.BytesIO(b"\0" * member.size))
    return gzip.compress(plain.getvalue())


def entry(name: str, **fields: object) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    for field, value in fields.items():
        setattr(info, field, value)
    return info


def files(**changed: bytes) -> BundleContent:
    names = {
        "chart": "Chart.yaml",
        "values": "values.yaml",
        "extra": "extra_annotations.json",
        "template": "templates/a.yaml",
    }
    extra = {names[name]: data for name, data in changed.items()}
    return bundle_content("1.0.0", files=extra)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        pytest.param(layered(b"no archive"), "is no tar.gz", id="no gzip"),
        pytest.param(
            layered(GOOD.layer.data[: len(GOOD.layer.data) // 2]),
            "is no tar.gz",
            id="truncated gzip",
        ),
        pytest.param(
            layered(archive(entry("a/../../etc/passwd"))), "leads elsewhere", id=".."
        ),
        pytest.param(layered(archive(entry("/etc/x"))), "leads elsewhere", id="/"),
        pytest.param(
            layered(archive(entry("a/x", type=tarfile.SYMTYPE, linkname="/etc"))),
            "neither file nor folder",
            id="link",
        ),
        pytest.param(
            layered(archive(entry("a/x"), entry("b/x"))), "more than one", id="folders"
        ),
        pytest.param(
            layered(packed({"a/values.yaml": b""})), "no Chart.yaml", id="no chart"
        ),
        pytest.param(files(chart=b"- x"), "no mapping", id="Chart.yaml list"),
        pytest.param(files(chart=b"a: ["), "cannot be read", id="Chart.yaml broken"),
        pytest.param(
            files(values=b"a: " + b"[" * 60_000), "over 100 levels", id="values deep"
        ),
        pytest.param(files(chart=b"apiVersion: v3"), "apiVersion", id="v3"),
        pytest.param(files(chart=b"apiVersion: v2"), "no name", id="no name"),
        pytest.param(files(values=b"- x"), "values.yaml is no mapping", id="values"),
        pytest.param(files(extra=b'{"a": 1}'), "no text", id="annotations"),
        pytest.param(files(template=b"\xff"), "no UTF-8", id="template"),
    ],
)
def test_a_layer_that_is_no_chart_is_refused(content: BundleContent, why: str) -> None:
    """Scenario 76."""
    error = refusal(lambda: chart_of(content))

    assert error.reason == "InvalidChart"
    assert why in str(error)


def test_a_bomb_is_not_unpacked() -> None:
    """Scenario 76."""
    bomb = layered(archive(entry("a/x", size=101 << 20)))
    swarm = layered(archive(*(entry(f"a/{number}") for number in range(10_001))))

    assert refusal(lambda: chart_of(bomb)).reason == "TooLarge"
    assert refusal(lambda: chart_of(swarm)).reason == "TooLarge"


def headers(*sizes: int) -> bytes:
    """Return extended headers that say they have so many bytes, and have one block."""
    plain = io.BytesIO()
    for size in sizes:
        header = entry("x", type=tarfile.XHDTYPE, size=size)
        plain.write(header.tobuf(tarfile.USTAR_FORMAT))
        plain.write(b"9 a=bcde\n".ljust(512, b"\0"))
    return gzip.compress(plain.getvalue())


def test_a_header_is_not_read_that_is_longer_than_any() -> None:
    """Scenario 76: it is read whole, so four gigabytes would end the process."""
    assert refusal(lambda: chart_of(layered(headers(4 << 30)))).reason == "TooLarge"


def test_headers_that_go_on_in_headers_are_no_chart() -> None:
    """Scenario 76: and no bug of the controller, which would be tried again."""
    error = refusal(lambda: chart_of(layered(headers(*[512] * 3000))))

    assert error.reason == "InvalidChart"


def test_a_config_of_another_type_is_not_read() -> None:
    odd = BundleContent(Content("application/x", b"\xff"), GOOD.layer)
    broken = BundleContent(Content(HELM_CONFIG, b"[]"), GOOD.layer)

    assert chart_of(odd).version == "1.2.3"
    assert "the config" in str(refusal(lambda: chart_of(broken)))
