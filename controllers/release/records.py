"""What Helm wrote down about a release, read without Helm: pure.

    Secret ─labels─▶ Revision     which one, in which state, whose: enough to decide
           ─data───▶ Payload      chart, manifest, notes: for the status

A record is a Secret `sh.helm.release.v1.NAME.vN` of type `helm.sh/release.v1`, whose
data is base64 (Kubernetes') of base64 (Helm's) of gzip of JSON (Helm
`pkg/storage/driver`). It can be rewritten, too: that is how a release is unlocked
whose operation died.
"""

from __future__ import annotations

import base64
import binascii
import gzip
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, TypeVar

import msgspec

from controller_runtime import DecodeError, Json
from controllers.release.identity import DIGEST_LABEL, UID_LABEL

RECORD_TYPE = "helm.sh/release.v1"

_MAX_PAYLOAD = 64 * 1024 * 1024
"""Bytes that a record may unpack to. A Secret holds 1 MiB, gzip makes a thousandth."""

_DIGITS = 11
"""Of seconds since 1970 that are a date: until the year 5138."""

T = TypeVar("T")


class HelmStatus(StrEnum):
    """The states of a record (Helm `pkg/release/common/status.go`)."""

    UNKNOWN = "unknown"
    DEPLOYED = "deployed"
    UNINSTALLED = "uninstalled"
    SUPERSEDED = "superseded"
    FAILED = "failed"
    UNINSTALLING = "uninstalling"
    PENDING_INSTALL = "pending-install"
    PENDING_UPGRADE = "pending-upgrade"
    PENDING_ROLLBACK = "pending-rollback"

    @property
    def is_pending(self) -> bool:
        """Whether an operation is under way, or was when it died."""
        return self.value.startswith("pending-")

    @classmethod
    def _missing_(cls, value: object) -> HelmStatus:
        return cls.UNKNOWN


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    """One record, as far as its labels tell."""

    number: int
    status: HelmStatus
    uid: str = ""
    """Of the ManagedRoost that it belongs to; empty if to none."""
    digest: str = ""
    """The beginning of the digest of what it deployed; empty if that is not ours."""
    modified: datetime
    """When Helm last wrote it."""
    secret: Json = field(repr=False)
    """The record; of those before the newest, without its data."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Payload:
    """What else a record says."""

    description: str = ""
    notes: str = ""
    first_deployed: str = ""
    last_deployed: str = ""
    chart_name: str = ""
    chart_version: str = ""
    app_version: str = ""
    manifest: str = field(default="", repr=False)


def read_revisions(secrets: Iterable[Json]) -> tuple[Revision, ...]:
    """Read the records of one release, the newest first.

    Raises:
        DecodeError: A record has no version; the text names it.
    """
    found = (_read_revision(it) for it in secrets if it.get("type") == RECORD_TYPE)
    revisions = sorted(found, key=lambda it: it.number, reverse=True)
    # A megabyte each, and an operation may keep them for half an hour.
    return (
        *revisions[:1],
        *(replace(it, secret=_head(it.secret)) for it in revisions[1:]),
    )


def _head(secret: Json) -> Json:
    return {name: value for name, value in secret.items() if name != "data"}


def _read_revision(secret: Json) -> Revision:
    metadata = secret["metadata"]
    labels: Mapping[str, str] = metadata.get("labels") or {}
    try:
        number = int(labels.get("version", ""))
    except ValueError:
        raise DecodeError(
            f"the release record {metadata['namespace']}/{metadata['name']} has no "
            "label 'version': Helm cannot read it either; delete it or mend it"
        ) from None
    return Revision(
        number=number,
        status=HelmStatus(labels.get("status", "")),
        uid=labels.get(UID_LABEL, ""),
        digest=labels.get(DIGEST_LABEL, ""),
        modified=_modified(metadata, labels),
        secret=secret,
    )


def _modified(metadata: Mapping[str, Any], labels: Mapping[str, str]) -> datetime:
    """Return when a record was last written: labels have seconds since 1970."""
    seconds = (labels.get(label, "") for label in ("createdAt", "modifiedAt"))
    written = [
        datetime.fromtimestamp(int(it), UTC)
        for it in seconds
        if it.isdecimal() and len(it) <= _DIGITS
    ]
    return max(written or [datetime.fromisoformat(metadata["creationTimestamp"])])


def read_payload(secret: Json) -> Payload:
    """Unpack a record. Milliseconds for small ones; large ones are for a thread.

    Raises:
        DecodeError: It cannot be unpacked; the text names it, and shows nothing.
    """
    # Templates and files are the most of it, and are passed over.
    record = _unpack(secret, _Record)
    info = record.info or _Info()
    chart = (record.chart or _Chart()).metadata or _Metadata()
    return Payload(
        description=info.description or "",
        notes=info.notes or "",
        first_deployed=info.first_deployed or "",
        last_deployed=info.last_deployed or "",
        chart_name=chart.name or "",
        chart_version=chart.version or "",
        app_version=chart.app_version or "",
        manifest=record.manifest or "",
    )


class _Info(msgspec.Struct):
    description: str | None = None
    notes: str | None = None
    first_deployed: str | None = None
    last_deployed: str | None = None


class _Metadata(msgspec.Struct, rename="camel"):
    name: str | None = None
    version: str | None = None
    app_version: str | None = None


class _Chart(msgspec.Struct):
    metadata: _Metadata | None = None


class _Record(msgspec.Struct):
    info: _Info | None = None
    chart: _Chart | None = None
    manifest: str | None = None


def unlocked(secret: Json, *, description: str) -> Json:
    """Return a record whose operation counts as failed.

    It keeps the version that it was read with: whoever writes it meanwhile wins.

    Raises:
        DecodeError: It cannot be unpacked.
    """
    fields = _unpack(secret, dict[str, Any])
    known = fields.get("info")
    info = known if isinstance(known, dict) else {}
    info = {**info, "status": HelmStatus.FAILED.value}
    packed = _pack({**fields, "info": {**info, "description": description}})
    metadata = dict(secret["metadata"])
    metadata.pop("managedFields", None)
    labels = {**(metadata.get("labels") or {}), "status": HelmStatus.FAILED.value}
    return {
        **secret,
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {**metadata, "labels": labels},
        "data": {**secret["data"], "release": packed},
    }


def _unpack(secret: Json, kind: type[T]) -> T:
    try:
        helms = base64.b64decode(secret["data"]["release"], validate=True)
        packed = base64.b64decode(helms, validate=True)
        unpacker = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
        # What is cut off is no JSON: that is the answer for a record too large.
        raw = unpacker.decompress(packed, _MAX_PAYLOAD)
        return msgspec.json.decode(raw, type=kind)
    except _UNPACKABLE as error:
        metadata = secret["metadata"]
        raise DecodeError(
            f"cannot read the release record "
            f"{metadata['namespace']}/{metadata['name']} ({type(error).__name__}); "
            "Helm cannot read it either: delete it or mend it"
        ) from None


_UNPACKABLE: tuple[type[Exception], ...] = (
    KeyError,
    TypeError,
    ValueError,
    RecursionError,
    binascii.Error,
    zlib.error,
)


def _pack(fields: Json) -> str:
    packed = gzip.compress(msgspec.json.encode(fields), mtime=0)
    return base64.b64encode(base64.b64encode(packed)).decode()
