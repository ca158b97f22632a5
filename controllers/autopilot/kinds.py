"""CRDs and Nodes as this controller keeps them: what decisions need, and no more.

A CRD is tens or hundreds of kilobytes, almost all of it schema, and a cluster has
hundreds of them; a Node is mostly names of images. Both are cut down on their way into
the cache. What a template asks of a schema is read on demand.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import msgspec

from controller_runtime import DecodeError, GroupVersionKind, RawObject
from controllers.autopilot.context import CrdState
from controllers.autopilot.facts import NodeView

NODE = GroupVersionKind("", "v1", "Node")
NAMESPACE = GroupVersionKind("", "v1", "Namespace")


class _Metadata(msgspec.Struct, rename="camel", omit_defaults=True):
    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    generation: int = 0
    deletion_timestamp: str = ""
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None


class _Names(msgspec.Struct):
    kind: str = ""
    plural: str = ""


class _Version(msgspec.Struct):
    name: str = ""
    served: bool = False


class _Spec(msgspec.Struct):
    group: str = ""
    names: _Names = msgspec.field(default_factory=_Names)
    versions: tuple[_Version, ...] = ()


class _Condition(msgspec.Struct):
    type: str = ""
    status: str = ""


class _CrdStatus(msgspec.Struct, omit_defaults=True):
    conditions: tuple[_Condition, ...] | None = None


class _Crd(msgspec.Struct, omit_defaults=True):
    metadata: _Metadata
    spec: _Spec
    status: _CrdStatus = msgspec.field(default_factory=_CrdStatus)


class _NodeStatus(msgspec.Struct, omit_defaults=True):
    capacity: dict[str, str] | None = None


class _Node(msgspec.Struct, omit_defaults=True):
    metadata: _Metadata
    status: _NodeStatus = msgspec.field(default_factory=_NodeStatus)


_crds = msgspec.json.Decoder(_Crd)
_nodes = msgspec.json.Decoder(_Node)


class CrdInfo(NamedTuple):
    """What is known of a CRD."""

    state: CrdState
    group: str
    kind: str
    generation: int
    """Changes with its schema."""

    uid: str

    def serves(self, gvk: GroupVersionKind) -> bool:
        """Whether objects of this kind and version can be read and written."""
        return (
            self.state.established
            and (self.group, self.kind) == (gvk.group, gvk.kind)
            and gvk.version in self.state.versions
        )


def keep_names_of_crd(raw: bytes) -> bytes:
    """Cut a CRD down to names, versions and conditions."""
    return _cut(_crds, raw)


def keep_facts_of_node(raw: bytes) -> bytes:
    """Cut a Node down to labels, annotations and capacity."""
    return _cut(_nodes, raw)


def read_crd(entry: RawObject) -> CrdInfo:
    """Read what `keep_names_of_crd` left."""
    crd = entry.parse()
    state = CrdState.of(crd)
    if entry.meta.deletion_timestamp:
        # Its objects are being deleted, and none can be created.
        state = replace(state, established=False)
    return CrdInfo(
        state,
        crd["spec"]["group"],
        crd["spec"]["names"]["kind"],
        entry.meta.generation,
        entry.meta.uid,
    )


def read_node(entry: RawObject) -> NodeView:
    """Read what `keep_facts_of_node` left."""
    return NodeView.of(entry.parse())


def _cut(
    decoder: msgspec.json.Decoder[_Crd] | msgspec.json.Decoder[_Node], raw: bytes
) -> bytes:
    try:
        return msgspec.json.encode(decoder.decode(raw))
    except msgspec.MsgspecError as error:
        raise DecodeError(f"cannot read a CRD or Node: {error}") from error
