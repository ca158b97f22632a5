"""Whether a manifest is a bundle: bytes in, its chart out, or why not. Pure.

    manifest ─▶ one image, one layer of a chart's type, not too large  read_layer
    config   ─▶ Chart.yaml as JSON
    layer    ─▶ tar.gz: <chart>/Chart.yaml, values.yaml, templates/…   read_chart

What werf publishes is an OCI manifest without `mediaType`, a config of Helm's type and
one layer `application/tar+gzip`; it also applies what `helm push` makes. Everything is
bounded before it is unpacked, and nothing is written to disk.
"""

from __future__ import annotations

import gzip
import json
import tarfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from io import BytesIO
from itertools import islice
from pathlib import PurePosixPath
from typing import IO, NamedTuple, cast

import yaml

from controllers.bundle.documents import BoundsError, read
from controllers.bundle.errors import BlockedError
from controllers.oci import (
    HELM_CHART,
    HELM_CONFIG,
    WERF_CHART,
    Descriptor,
    Image,
    Manifest,
    ManifestError,
    read_image,
)

VALID = "ArtifactValid"

CONFIG_MAX = 1 << 20
"""Largest config in bytes; a Chart.yaml has a few hundred."""

_ENTRIES_MAX = 10_000
_UNPACKED_MAX = 100 << 20
_PLAIN_MAX = _UNPACKED_MAX + (16 << 20)
"""Bytes of an archive, with its headers."""
_AT_ONCE = 1 << 20
"""Bytes that are read at once; what asks for more is a header that says so."""
_FILE_MAX = 20 << 20
"""Largest file that is read; `values.yaml` among them."""

_READ_MAX = 1 << 20
"""Largest file in bytes that is parsed: a thread does not help while a node is built.
A larger `values.yaml` is left for werf to judge."""

_TYPES = (WERF_CHART, HELM_CHART)

_EXTRAS = ("extra_annotations.json", "extra_labels.json")

_BROKEN = (
    tarfile.TarError,
    OSError,
    EOFError,
    zlib.error,
    # Headers that name odd numbers, or go on in headers without end.
    ValueError,
    IndexError,
    OverflowError,
    RecursionError,
)
"""What reading a damaged archive may raise."""


class Chart(NamedTuple):
    """What a bundle says of itself."""

    name: str
    version: str


@dataclass(frozen=True, slots=True)
class Parts:
    """What of a manifest is to be fetched."""

    config: Descriptor
    layer: Descriptor


def read_parts(manifest: Manifest, *, limit: int) -> Parts:
    """Read a manifest.

    Args:
        manifest: Its digest has been checked.
        limit: Largest layer in bytes.

    Raises:
        BlockedError: It is not that of a bundle.
    """
    try:
        image = read_image(manifest)
    except ManifestError as error:
        raise _invalid("InvalidManifest", str(error)) from None
    layer = _layer(image)
    if not 0 < layer.size <= limit:
        raise _invalid(
            "TooLarge", f"the bundle has {layer.size} bytes; 1 to {limit} are taken"
        )
    if image.config.size > CONFIG_MAX:
        raise _invalid("TooLarge", f"the config has {image.config.size} bytes")
    return Parts(image.config, layer)


def _layer(image: Image) -> Descriptor:
    if len(image.layers) != 1:
        raise _invalid(
            "InvalidManifest",
            f"the manifest has {len(image.layers)} layers and a bundle exactly one; "
            "werf refuses charts with a provenance layer, too",
        )
    (layer,) = image.layers
    if layer.media_type not in _TYPES:
        raise _invalid(
            "UnsupportedArtifact",
            f"the layer is of the type {layer.media_type!r}, so it is no bundle: "
            "publish with `werf bundle publish` or `helm push`",
        )
    return layer


def read_chart(parts: Parts, config: bytes, layer: bytes) -> Chart:
    """Read what was fetched. Takes up to a second for the largest: use a thread.

    Raises:
        BlockedError: It is no chart that could be applied.
    """
    if parts.config.media_type == HELM_CONFIG:
        _object("the config", config, json.loads)
    try:
        files = _unpacked(layer)
    except _BROKEN as error:
        raise _invalid("InvalidChart", f"the layer is no tar.gz: {error}") from None
    return _chart(files)


def _chart(files: Mapping[str, bytes]) -> Chart:
    if "Chart.yaml" not in files:
        raise _invalid("InvalidChart", "the bundle has no Chart.yaml")
    about = _object("Chart.yaml", files["Chart.yaml"], read)
    if about.get("apiVersion") not in {"v1", "v2"}:
        raise _invalid("InvalidChart", "the apiVersion of Chart.yaml is not v1 or v2")
    name, version = about.get("name"), about.get("version")
    if not (isinstance(name, str) and name and isinstance(version, str) and version):
        raise _invalid("InvalidChart", "Chart.yaml has no name or no version")
    if 0 < len(files.get("values.yaml", b"").strip()) <= _READ_MAX:
        _object("values.yaml", files["values.yaml"], read, is_empty_fine=True)
    for extra in _EXTRAS:
        if extra in files:
            texts = _object(extra, files[extra], json.loads)
            if not all(isinstance(value, str) for value in texts.values()):
                raise _invalid("InvalidChart", f"{extra} has values that are no text")
    return Chart(name, version)


def _unpacked(layer: bytes) -> Mapping[str, bytes]:
    """Return the files that are read, by their path below the chart's folder."""
    files: dict[str, bytes] = {}
    tops: set[str] = set()
    plain = cast(IO[bytes], _Plain(layer))
    with tarfile.open(fileobj=plain, mode="r:") as archive:
        for member in _bounded(archive):
            top, _, path = str(PurePosixPath(member.name)).partition("/")
            tops.add(top)
            if len(tops) > 1:
                raise _invalid("InvalidChart", "the bundle has more than one folder")
            content = archive.extractfile(member)
            if content is not None and _is_read(path):
                files[path] = _text(path, content)
    return files


class _Plain:
    """What is packed, as far as `tarfile` may read it.

    Headers, too, say themselves how long they are, and are read whole.
    """

    def __init__(self, packed: bytes) -> None:
        self._file = gzip.GzipFile(fileobj=BytesIO(packed), mode="rb")

    def tell(self) -> int:
        return self._file.tell()

    def seek(self, position: int) -> int:
        if position > _PLAIN_MAX:
            raise _too_large()
        return self._file.seek(position)

    def read(self, size: int) -> bytes:
        if not 0 <= size <= _AT_ONCE or self.tell() + size > _PLAIN_MAX:
            raise _too_large()
        return self._file.read(size)


def _bounded(archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """Yield the entries; refuse what no chart has."""
    total = 0
    for number, member in enumerate(archive):
        # The end of a header says how much follows: nothing is inflated before this.
        total += max(member.size, 0)
        if number >= _ENTRIES_MAX or total > _UNPACKED_MAX:
            raise _too_large()
        path = PurePosixPath(member.name)
        if path.is_absolute() or ".." in path.parts:
            raise _invalid("InvalidChart", f"an entry leads elsewhere: {path}")
        if not (member.isfile() or member.isdir()):
            raise _invalid(
                "InvalidChart", f"an entry is neither file nor folder: {path}"
            )
        if member.isfile():
            yield member


def _too_large() -> BlockedError:
    return _invalid(
        "TooLarge",
        f"unpacked it has more than {_ENTRIES_MAX} files or "
        f"{_UNPACKED_MAX >> 20} MiB, or a header of more than {_AT_ONCE >> 20} MiB",
    )


def _is_read(path: str) -> bool:
    if path.startswith("templates/"):
        return path.endswith((".yaml", ".yml", ".tpl"))
    return path in {"Chart.yaml", "values.yaml", *_EXTRAS}


def _text(path: str, content: IO[bytes]) -> bytes:
    chunks = iter(lambda: content.read(_AT_ONCE // 2), b"")
    data = b"".join(islice(chunks, 2 * _FILE_MAX // _AT_ONCE + 1))
    if len(data) > _FILE_MAX:
        raise _invalid("TooLarge", f"{path} is larger than {_FILE_MAX >> 20} MiB")
    try:
        data.decode()
    except UnicodeDecodeError:
        raise _invalid("InvalidChart", f"{path} is no UTF-8") from None
    # Templates were only to be looked at.
    return b"" if path.startswith("templates/") else data


def _object(
    what: str,
    text: bytes,
    parse: Callable[[bytes], object],
    *,
    is_empty_fine: bool = False,
) -> Mapping[str, object]:
    if len(text) > _READ_MAX:
        raise _invalid("TooLarge", f"{what} is larger than {_READ_MAX >> 20} MiB")
    try:
        value = parse(text)
    except BoundsError as error:
        raise _invalid("InvalidChart", f"{what} is too much: {error}") from None
    except (ValueError, yaml.YAMLError, RecursionError):
        raise _invalid("InvalidChart", f"{what} cannot be read") from None
    if value is None and is_empty_fine:
        return {}
    if not isinstance(value, dict):
        raise _invalid("InvalidChart", f"{what} is no mapping")
    return value


def _invalid(reason: str, message: str) -> BlockedError:
    return BlockedError(message, condition=VALID, reason=reason)
