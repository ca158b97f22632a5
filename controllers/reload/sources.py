"""ConfigMaps and Secrets as this controller keeps them: hashed, then dropped.

    object ──reducer──▶ metadata + digest ──▶ cache ──read_source──▶ Source

The reducer runs once, on the way into the cache, so no value of a Secret stays in
memory, and thousands of Secrets that nobody uses cost a few hundred bytes each.

It hashes on the event loop: 256 KiB take under a millisecond. Content beyond that is
rare (1 MiB is the limit), and a transform has no way to wait for a thread.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from enum import StrEnum
from typing import NamedTuple, assert_never

import msgspec

from api.core.v1 import ConfigMap, Secret
from controller_runtime import (
    DecodeError,
    Event,
    KubeObject,
    RawObject,
    Updated,
)
from controllers.reload.digest import Digest, config_map_digest, secret_digest


class SourceKind(StrEnum):
    """What can make a workload reload."""

    CONFIG_MAP = "configmap"
    SECRET = "secret"  # noqa: S105 - a kind, not a password

    @property
    def model(self) -> type[KubeObject]:
        """The kind as an API call wants it."""
        match self:
            case SourceKind.CONFIG_MAP:
                return ConfigMap
            case SourceKind.SECRET:
                return Secret
            case _:
                assert_never(self)

    @property
    def component(self) -> str:
        """Who reports Events about it, as in the original."""
        return f"reloader-{self.value}s"

    @property
    def abbreviation(self) -> str:
        """As a workload's record says it."""
        return "cm" if self is SourceKind.CONFIG_MAP else self.value

    @property
    def is_missed(self) -> bool:
        """Whether one that is not there is known to be gone."""
        return True

    @property
    def type_name(self) -> str:
        """`CONFIGMAP` or `SECRET`, as environment variables and Events say it."""
        return self.value.upper()


class SourceKey(NamedTuple):
    """Which source. A ConfigMap and a Secret of one name are two."""

    kind: SourceKind
    namespace: str
    name: str

    @property
    def recorded(self) -> str:
        """The source as a workload's record names it, in the workload's namespace."""
        return f"{self.kind.abbreviation}/{self.name}"

    @classmethod
    def of_record(cls, text: str, namespace: str) -> SourceKey | None:
        """Read what `recorded` writes; `None` if it is something else."""
        abbreviation, _, name = text.partition("/")
        found = (kind for kind in SourceKind if kind.abbreviation == abbreviation)
        kind = next(found, None)
        return cls(kind, namespace, name) if kind is not None and name else None


class Source(NamedTuple):
    """What is known of a ConfigMap or Secret: everything but its content."""

    key: SourceKey
    digest: Digest
    annotations: Mapping[str, str]
    """Those that the reducer was told to keep."""


class _Metadata(msgspec.Struct, rename="camel", omit_defaults=True):
    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None


class _ConfigMap(msgspec.Struct, rename="camel"):
    metadata: _Metadata
    data: dict[str, str] | None = None
    binary_data: dict[str, bytes] | None = None

    def digest(self) -> Digest:
        return config_map_digest(self.data or {}, self.binary_data or {})


class _Secret(msgspec.Struct):
    metadata: _Metadata
    data: dict[str, bytes] | None = None

    def digest(self) -> Digest:
        return secret_digest(self.data or {})


class _Reduced(msgspec.Struct):
    metadata: _Metadata
    digest: Digest


class _Digested(msgspec.Struct):
    digest: Digest


_digested = msgspec.json.Decoder(_Digested)


def reducer(kind: SourceKind, keep: Collection[str]) -> Callable[[bytes], bytes]:
    """Make the cache's transform for one kind of source.

    Args:
        kind: What the objects are.
        keep: Annotations that decisions depend on; the others are dropped.

    Returns:
        A function from the JSON of an object to that of its metadata and `digest`.
        It raises `DecodeError`, without the content, when it cannot read one.
    """
    content = _ConfigMap if kind is SourceKind.CONFIG_MAP else _Secret
    decoder: msgspec.json.Decoder[_ConfigMap | _Secret] = msgspec.json.Decoder(content)
    kept = frozenset(keep)

    def reduce(raw: bytes) -> bytes:
        try:
            source = decoder.decode(raw)
        except msgspec.MsgspecError as error:
            raise DecodeError(f"cannot read a {kind}: {error}") from error
        metadata = source.metadata
        annotations = metadata.annotations or {}
        kept_here = kept & annotations.keys()
        metadata.annotations = {k: annotations[k] for k in kept_here} or None
        return msgspec.json.encode(_Reduced(metadata, source.digest()))

    return reduce


def source_key(kind: SourceKind, entry: RawObject) -> SourceKey:
    """Name an object of the cache."""
    return SourceKey(kind, entry.meta.namespace, entry.meta.name)


def read_source(kind: SourceKind, entry: RawObject) -> Source:
    """Read what the reducer left."""
    return Source(
        key=source_key(kind, entry),
        digest=_digested.decode(entry.raw).digest,
        annotations=entry.meta.annotations,
    )


def is_news(kind: SourceKind, event: Event) -> bool:
    """Tell whether workloads have to look at a source again.

    They do when it comes or goes, and when its content or our annotations change; they
    do not when other metadata changes.
    """
    if isinstance(event, Updated):
        return read_source(kind, event.old) != read_source(kind, event.object)
    return True
