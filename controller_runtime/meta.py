"""Kinds, names and metadata: the vocabulary every other module shares.

An object crosses the framework in one of three forms:

    RawObject   its JSON as bytes beside a small typed `Meta`: what the cache holds,
                and all that predicates, handlers and selectors look at
    KubeObject  a pydantic model that reads the fields it names and keeps the rest
    dict        plain JSON, for kinds without a model

A kind is named by a model class or by a `GroupVersionKind`; `kind_of` turns either
into the latter.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple, Self, TypeAlias

import msgspec
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr
from pydantic.alias_generators import to_camel

from controller_runtime.errors import DecodeError


class GroupVersionKind(NamedTuple):
    """The type of a Kubernetes object, such as `apps/v1, Deployment`."""

    group: str
    version: str
    kind: str

    @property
    def api_version(self) -> str:
        """The `apiVersion` field: `v1` for the core group, else `group/version`."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def __str__(self) -> str:
        return f"{self.kind} ({self.api_version})"

    @classmethod
    def parse(cls, api_version: str, kind: str) -> GroupVersionKind:
        """Read the `apiVersion` and `kind` of an object."""
        group, _, version = api_version.rpartition("/")
        return cls(group, version, kind)


class NamespacedName(NamedTuple):
    """Where an object lives. `namespace` is empty for cluster-scoped objects."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}" if self.namespace else self.name


class OwnerReference(
    msgspec.Struct, frozen=True, gc=False, rename="camel", kw_only=True
):
    """Who owns an object (`metav1.OwnerReference`)."""

    api_version: str
    kind: str
    name: str
    uid: str
    controller: bool = False
    block_owner_deletion: bool = False


_NO_STRINGS: Mapping[str, str] = {}


class Meta(msgspec.Struct, frozen=True, gc=False, rename="camel", kw_only=True):
    """The part of `metadata` that the framework reads, decoded once per version.

    Frozen, and invisible to the garbage collector: never put it in a cycle. The
    mappings are shared with every reader and must not be changed.
    """

    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    generation: int = 0
    creation_timestamp: str = ""
    """RFC 3339, seconds, UTC."""
    deletion_timestamp: str = ""
    """Set while finalizers hold up a deletion; empty otherwise."""
    labels: Mapping[str, str] = msgspec.field(default_factory=lambda: _NO_STRINGS)
    annotations: Mapping[str, str] = msgspec.field(default_factory=lambda: _NO_STRINGS)
    owner_references: tuple[OwnerReference, ...] = ()
    finalizers: tuple[str, ...] = ()

    @property
    def key(self) -> NamespacedName:
        """The object's place, as a request names it."""
        return NamespacedName(self.namespace, self.name)


class RawObject(msgspec.Struct, frozen=True, gc=False):
    """One version of an object as the cache holds it: typed metadata, bytes of JSON.

    Equal resource versions of one uid mean equal content; comparing `raw` does not
    answer that, since servers may order keys differently.
    """

    meta: Meta
    raw: bytes

    @property
    def key(self) -> NamespacedName:
        return self.meta.key


class _Envelope(msgspec.Struct):
    metadata: Meta = msgspec.field(default_factory=Meta)


_envelope_decoder = msgspec.json.Decoder(_Envelope)


def read_meta(raw: bytes | msgspec.Raw) -> Meta:
    """Decode the metadata of an object and nothing else.

    Raises:
        DecodeError: The bytes are not a JSON object with such metadata.
    """
    try:
        return _envelope_decoder.decode(raw).metadata
    except msgspec.MsgspecError as error:
        raise DecodeError(f"cannot read the metadata of an object: {error}") from error


class ApiModel(BaseModel):
    """A part of an object as the API server has it: camelCase, unknown fields kept."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        extra="allow",
        frozen=True,
        populate_by_name=True,
    )


class ObjectMeta(ApiModel):
    """`metadata` of an object; `None` and empty both mean that the field is absent."""

    name: str = ""
    namespace: str = ""
    generate_name: str | None = None
    uid: str = ""
    resource_version: str = ""
    generation: int = 0
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None
    labels: Mapping[str, str] = Field(default_factory=dict)
    annotations: Mapping[str, str] = Field(default_factory=dict)
    finalizers: tuple[str, ...] = ()


class KubeObject(ApiModel):
    """A whole object; a subclass names its kind.

    class Widget(KubeObject):
        gvk: ClassVar = GroupVersionKind("example.com", "v1", "Widget")
        spec: WidgetSpec
    """

    gvk: ClassVar[GroupVersionKind]

    plural: ClassVar[str] = ""
    """Its name in paths and roles, such as `widgets`; empty for the usual one."""

    namespaced: ClassVar[bool] = True
    """Its objects are in namespaces. Kubernetes' own kinds need not say so."""

    metadata: ObjectMeta = ObjectMeta()

    _is_partial: bool = PrivateAttr(default=False)

    @property
    def is_partial(self) -> bool:
        """It was read where less is kept of it than the server has."""
        return self._is_partial

    def mark_partial(self) -> Self:
        """Say so of this object and of its copies, and return it."""
        self._is_partial = True
        return self

    @property
    def key(self) -> NamespacedName:
        """The object's place, as a request names it."""
        return NamespacedName(self.metadata.namespace, self.metadata.name)


Json: TypeAlias = dict[str, Any]
"""An object without a model. The caller owns it."""


class PartialJson(dict[str, Any]):
    """An object without a model, of which the server has more than is here."""


def is_partial(obj: KubeObject | Mapping[str, object]) -> bool:
    """Tell whether to write `obj` back whole would take something away."""
    if isinstance(obj, KubeObject):
        return obj.is_partial
    return isinstance(obj, PartialJson)


Kind: TypeAlias = GroupVersionKind | type[KubeObject]
"""What an API call accepts for the kind: a model, or the kind's name for plain JSON."""


def kind_of(kind: Kind) -> GroupVersionKind:
    """Return the `GroupVersionKind` of a model class, or what was given."""
    return kind if isinstance(kind, GroupVersionKind) else kind.gvk
