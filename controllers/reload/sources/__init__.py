"""Sources as this controller keeps them: hashed, then dropped.

    object ──reducer──▶ metadata + digest ──▶ cache ──read_source──▶ Source

The reducer runs once, on the way into the cache, so no value of a Secret stays in
memory, and thousands of Secrets that nobody uses cost a few hundred bytes each, and
20 for each key.

Of who owns which field, a third of an object, one moment is kept: when content was last
written, as the server says it. It errs on the late side: an owner's time moves with
all that it writes. But that a key was taken away moves the time of nobody.

A SecretProviderClass has its content elsewhere; what arrives in the cluster is which
versions each pod has that mounts it. So what is kept of one is what its pods say, each
in an object of its own, and the youngest of these is what it holds now.

It hashes on the event loop: 256 KiB take under a millisecond. Content beyond that is
rare (1 MiB is the limit), and a transform has no way to wait for a thread.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from enum import StrEnum
from typing import NamedTuple, TypeAlias, assert_never

import msgspec

from api.core.v1 import ConfigMap, Secret
from api.secretsstore.v1 import SecretProviderClassPodStatus
from controller_runtime import (
    DecodeError,
    Deleted,
    Event,
    KubeObject,
    RawObject,
    Updated,
)
from controllers.reload.sources.digest import (
    Digest,
    config_map_digest,
    mounted_digest,
    secret_digest,
)


class SourceKind(StrEnum):
    """What can make a workload reload."""

    CONFIG_MAP = "configmap"
    SECRET = "secret"  # noqa: S105 - a kind, not a password
    SECRET_PROVIDER_CLASS = "secretproviderclass"  # noqa: S105

    @property
    def model(self) -> type[KubeObject]:
        """The kind that says what it holds."""
        match self:
            case SourceKind.CONFIG_MAP:
                return ConfigMap
            case SourceKind.SECRET:
                return Secret
            case SourceKind.SECRET_PROVIDER_CLASS:
                return SecretProviderClassPodStatus
            case _:
                assert_never(self)

    @property
    def component(self) -> str:
        """Who reports Events about it, as in the original."""
        is_class = self is SourceKind.SECRET_PROVIDER_CLASS
        return f"reloader-{self.value}{'es' if is_class else 's'}"

    @property
    def abbreviation(self) -> str:
        """As a workload's record says it."""
        return _ABBREVIATIONS.get(self, self.value)

    @property
    def is_missed(self) -> bool:
        """Whether one that is not there is known to be gone.

        A SecretProviderClass that no pod mounts at the moment is not.
        """
        return self is not SourceKind.SECRET_PROVIDER_CLASS

    @property
    def is_labelled(self) -> bool:
        """Whether objects of `model` carry labels that a user chose for the source."""
        return self is not SourceKind.SECRET_PROVIDER_CLASS

    @property
    def type_name(self) -> str:
        """`CONFIGMAP` or `SECRET`, as environment variables and Events say it."""
        return self.value.upper()


_ABBREVIATIONS = {
    SourceKind.CONFIG_MAP: "cm",
    SourceKind.SECRET_PROVIDER_CLASS: "spc",
}


class SourceKey(NamedTuple):
    """Which source. A ConfigMap and a Secret of one name are two."""

    kind: SourceKind
    namespace: str
    name: str

    @property
    def recorded(self) -> str:
        """The source as a workload's record names it, in the workload's namespace."""
        return f"{self.kind.abbreviation}/{self.name}"

    def recorded_in(self, namespace: str) -> str:
        """The source as the record of a workload of some namespace names it."""
        if self.namespace == namespace:
            return self.recorded
        return f"{self.kind.abbreviation}/{self.namespace}/{self.name}"

    @classmethod
    def of_record(cls, text: str, namespace: str) -> SourceKey | None:
        """Read what `recorded_in` writes; `None` if it is something else."""
        abbreviation, *names = text.split("/")
        found = (kind for kind in SourceKind if kind.abbreviation == abbreviation)
        kind = next(found, None)
        if kind is None or len(names) not in {1, 2} or not all(names):
            return None
        return cls(kind, names[0] if len(names) > 1 else namespace, names[-1])


_NO_LABELS: Mapping[str, str] = {}


class Source(NamedTuple):
    """What is known of a ConfigMap or Secret: everything but its content."""

    key: SourceKey
    digest: Digest
    annotations: Mapping[str, str]
    """Those that the reducer was told to keep."""

    version: str = ""
    """The resource version that it was read at; says nothing about content."""

    labels: Mapping[str, str] = _NO_LABELS
    """What ReloaderConfigs select by."""

    written: str = ""
    """When content was last added or replaced, in RFC 3339; empty if nobody knows."""

    whole: str = ""
    """Canonical hash of all its keys, where `digest` is of some of them."""

    is_interim: bool = False
    """A Secret without content, of an owner that may be about to fill it."""


class _Owner(msgspec.Struct):
    """A line of managedFields."""

    time: str = ""
    """RFC 3339, seconds, UTC: such texts sort as what they mean."""

    fields: msgspec.Raw = msgspec.field(name="fieldsV1", default=msgspec.Raw(b"{}"))

    @property
    def has_content(self) -> bool:
        return any(word in bytes(self.fields) for word in _CONTENT_FIELDS)


_CERTIFICATE = "cert-manager.io/certificate-name"
"""Annotation of a Secret that cert-manager makes, without being its owner."""

_CONTENT_FIELDS = (b'"f:data"', b'"f:binaryData"')


class _Metadata(msgspec.Struct, rename="camel", omit_defaults=True):
    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    managed_fields: list[_Owner] | None = None
    owner_references: list[msgspec.Raw] | None = None

    def take_written(self) -> str:
        """Drop the owners; return when content was last written."""
        owners, self.managed_fields = self.managed_fields or (), None
        return max((it.time for it in owners if it.has_content), default="")

    def take_made(self) -> bool:
        """Drop the references to owners; tell whether somebody makes the object."""
        owners, self.owner_references = self.owner_references, None
        return bool(owners) or _CERTIFICATE in (self.annotations or {})


class _ConfigMap(msgspec.Struct, rename="camel"):
    metadata: _Metadata
    data: dict[str, str] | None = None
    binary_data: dict[str, bytes] | None = None

    def digest(self) -> Digest:
        return config_map_digest(self.data or {}, self.binary_data or {})


class _Secret(msgspec.Struct):
    metadata: _Metadata
    data: dict[str, bytes] | None = None

    @property
    def is_empty(self) -> bool:
        return not any((self.data or {}).values())

    def digest(self) -> Digest:
        return secret_digest(self.data or {})


class _Mounted(msgspec.Struct):
    id: str = ""
    version: str = ""


class _PodStatus(msgspec.Struct, rename="camel"):
    secret_provider_class_name: str = ""
    objects: list[_Mounted] | None = None


class _SecretProviderClassPodStatus(msgspec.Struct):
    metadata: _Metadata
    status: _PodStatus = msgspec.field(default_factory=_PodStatus)

    @property
    def name(self) -> str:
        return self.status.secret_provider_class_name

    def digest(self) -> Digest:
        objects = self.status.objects or ()
        return mounted_digest(self.name, {one.id: one.version for one in objects})


class _Reduced(msgspec.Struct, omit_defaults=True):
    metadata: _Metadata
    digest: Digest
    source: str = ""
    """Name of the source, where it is not that of the object."""

    written: str = ""
    interim: bool = False


class _Digested(msgspec.Struct):
    digest: Digest
    source: str = ""
    written: str = ""
    interim: bool = False


_digested = msgspec.json.Decoder(_Digested)

_Content: TypeAlias = _ConfigMap | _Secret | _SecretProviderClassPodStatus

_CONTENT: Mapping[SourceKind, type[_Content]] = {
    SourceKind.CONFIG_MAP: _ConfigMap,
    SourceKind.SECRET: _Secret,
    SourceKind.SECRET_PROVIDER_CLASS: _SecretProviderClassPodStatus,
}


def reducer(kind: SourceKind, keep: Collection[str]) -> Callable[[bytes], bytes]:
    """Make the cache's transform for one kind of source.

    Args:
        kind: What the objects are.
        keep: Annotations that decisions depend on; the others are dropped.

    Returns:
        A function from the JSON of an object to that of its metadata and `digest`.
        It raises `DecodeError`, without the content, when it cannot read one.
    """
    decoder: msgspec.json.Decoder[_Content] = msgspec.json.Decoder(_CONTENT[kind])
    kept = frozenset(keep)

    def reduce(raw: bytes) -> bytes:
        try:
            source = decoder.decode(raw)
        except msgspec.MsgspecError as error:
            raise DecodeError(f"cannot read a {kind}: {error}") from error
        metadata = source.metadata
        is_empty = isinstance(source, _Secret) and source.is_empty
        is_interim = metadata.take_made() and is_empty
        annotations = metadata.annotations or {}
        kept_here = kept & annotations.keys()
        metadata.annotations = {k: annotations[k] for k in kept_here} or None
        name = ""
        if isinstance(source, _SecretProviderClassPodStatus):
            name = source.name
        written = metadata.take_written()
        left = _Reduced(metadata, source.digest(), name, written, is_interim)
        reduced = msgspec.json.encode(left)
        # A copy has the size that it has; the encoder's buffer is up to half as large
        # again, and would stay.
        return memoryview(reduced).tobytes()

    return reduce


def source_key(kind: SourceKind, entry: RawObject) -> SourceKey:
    """Name the source that an object of the cache is, or tells of."""
    name = entry.meta.name
    if kind is SourceKind.SECRET_PROVIDER_CLASS:
        name = _digested.decode(entry.raw).source
    return SourceKey(kind, entry.meta.namespace, name)


def read_source(kind: SourceKind, entry: RawObject) -> Source:
    """Read what the reducer left."""
    kept = _digested.decode(entry.raw)
    return Source(
        key=SourceKey(kind, entry.meta.namespace, kept.source or entry.meta.name),
        digest=kept.digest,
        annotations=entry.meta.annotations,
        version=entry.meta.resource_version,
        labels=entry.meta.labels,
        written=kept.written,
        is_interim=kept.interim,
    )


def youngest(entries: Iterable[RawObject]) -> RawObject | None:
    """Return the object that was written last (resource versions are numbers)."""
    return max(entries, key=_age, default=None)


def is_news(kind: SourceKind, event: Event, *, labels: bool = False) -> bool:
    """Tell whether workloads have to look at a source again.

    They do when it comes or goes, and when its content or our annotations change; they
    do not when other metadata changes. That a pod goes says nothing about what it had.

    Args:
        kind: What the object tells of.
        event: What happened to it.
        labels: Somebody selects sources by their labels: these count as well.
    """
    if isinstance(event, Updated):
        old, new = (read_source(kind, entry) for entry in (event.old, event.object))
        same = old._replace(version=new.version, written=new.written)
        return (same if labels else same._replace(labels=new.labels)) != new
    return kind.is_missed or not isinstance(event, Deleted)


def _age(entry: RawObject) -> tuple[int, str]:
    version = entry.meta.resource_version
    return len(version), version  # numbers, of any length
