"""Kinds and their models: JSON to objects and back.

A `Scheme` knows which model belongs to which kind. It is an instance, made where the
process is put together: two managers in one process may know different models.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Generic, NamedTuple, TypeVar, overload

import msgspec
from pydantic import ValidationError

from controller_runtime.errors import DecodeError
from controller_runtime.meta import (
    GroupVersionKind,
    Json,
    Kind,
    KubeObject,
    read_meta,
)
from controller_runtime.nesting import UNREADABLE, items, shallow, why

T = TypeVar("T", bound=KubeObject)

Item = TypeVar("Item")

_decode_dict = msgspec.json.Decoder(dict[str, object]).decode


class ObjectList(NamedTuple, Generic[Item]):
    """A list, or a page of one."""

    items: list[Item]
    resource_version: str
    """The version of the whole collection, from which a watch may start."""
    continue_: str = ""
    """Asks for the next page; empty at the end."""
    remaining: int | None = None
    """Objects on later pages, when the server counts them."""


class Scheme:
    """The models that a process knows."""

    def __init__(self, *models: type[KubeObject]) -> None:
        self._models: dict[GroupVersionKind, type[KubeObject]] = {}
        for model in models:
            self.register(model)

    def register(self, model: type[KubeObject]) -> None:
        """Make `model` the one for its kind.

        Raises:
            ValueError: Another model is.
        """
        known = self._models.setdefault(model.gvk, model)
        if known is not model:
            raise ValueError(f"{model.gvk} has a model already: {known.__qualname__}")

    def model_for(self, gvk: GroupVersionKind) -> type[KubeObject] | None:
        """Return the model of a kind, if it has one."""
        return self._models.get(gvk)

    def versions(self, group: str, kind: str) -> frozenset[str]:
        """Return the versions of a kind that have a model."""
        return frozenset(
            gvk.version
            for gvk in self._models
            if (gvk.group, gvk.kind) == (group, kind)
        )

    def gvk_of(self, obj: KubeObject | Mapping[str, object]) -> GroupVersionKind:
        """Return the kind of an object.

        Raises:
            DecodeError: It is a mapping without apiVersion or kind.
        """
        if isinstance(obj, KubeObject):
            return obj.gvk
        api_version, kind = obj.get("apiVersion"), obj.get("kind")
        if not (isinstance(api_version, str) and isinstance(kind, str)):
            raise DecodeError("an object needs an apiVersion and a kind")
        return GroupVersionKind.parse(api_version, kind)

    @overload
    def decode(self, kind: type[T], data: bytes | Mapping[str, object]) -> T: ...
    @overload
    def decode(
        self, kind: GroupVersionKind, data: bytes | Mapping[str, object]
    ) -> Json: ...

    def decode(
        self, kind: Kind, data: bytes | Mapping[str, object]
    ) -> KubeObject | Json:
        """Read an object as its model, or as a dict that says which kind it is.

        Fields that the model does not name are kept. Items of lists come without
        apiVersion and kind: a dict gets them here.

        Raises:
            DecodeError: It is not such an object; the text has no values of it.
        """
        if not isinstance(kind, GroupVersionKind):
            return _validate(kind, data)
        document = _parse(kind, data) if isinstance(data, bytes) else data
        head = {"apiVersion": kind.api_version, "kind": kind.kind}
        return {**head, **document}

    def encode(self, obj: KubeObject | Mapping[str, object]) -> bytes:
        """Write an object: apiVersion and kind first, then the fields that are set."""
        gvk = self.gvk_of(obj)
        head = {"apiVersion": gvk.api_version, "kind": gvk.kind}
        if isinstance(obj, KubeObject):
            body = obj.model_dump_json(
                by_alias=True, exclude_unset=True, exclude=set(head)
            )
            start = msgspec.json.encode(head)
            return start if body == "{}" else start[:-1] + b"," + body.encode()[1:]
        return msgspec.json.encode({**head, **obj})


class _ListMeta(msgspec.Struct, rename="camel"):
    resource_version: str = ""
    continue_: str = msgspec.field(default="", name="continue")
    remaining_item_count: int | None = None


class _List(msgspec.Struct):
    metadata: _ListMeta = msgspec.field(default_factory=_ListMeta)
    items: list[msgspec.Raw] | None = None  # a nil slice of Go arrives as null


_decode_list = msgspec.json.Decoder(_List).decode


def read_list(gvk: GroupVersionKind, body: bytes) -> ObjectList[msgspec.Raw]:
    """Read a list and none of its items, which are views of `body`.

    Raises:
        DecodeError: It is no list.
    """
    try:
        found = _split(body)
    except msgspec.MsgspecError as error:
        raise DecodeError(f"cannot read a list of {gvk}: {error}") from None
    return ObjectList(found.items or [], *msgspec.structs.astuple(found.metadata))


def _split(body: bytes) -> _List:
    try:
        return _decode_list(body)
    except RecursionError:  # an item is nested too deeply
        return msgspec.structs.replace(_decode_list(shallow(body)), items=items(body))


def _validate(model: type[T], data: bytes | Mapping[str, object]) -> T:
    try:
        if isinstance(data, bytes):
            return model.model_validate_json(data)
        return model.model_validate(data)
    except ValidationError as error:
        what = _name(model.gvk, data)
        raise DecodeError(f"cannot read {what}: {_problems(error)}") from None


def _problems(error: ValidationError) -> str:
    """Say what is wrong where, without a value."""
    problems = error.errors(include_url=False, include_input=False)
    if any("recursion limit" in problem["msg"] for problem in problems):
        return why(RecursionError())
    return "; ".join(
        f"{'.'.join(map(str, problem['loc'])) or 'object'}: {problem['type']}"
        for problem in problems
    )


def _parse(gvk: GroupVersionKind, data: bytes) -> Mapping[str, object]:
    try:
        return _decode_dict(data)
    except UNREADABLE as error:
        raise DecodeError(f"cannot read {_name(gvk, data)}: {why(error)}") from None


def _name(gvk: GroupVersionKind, data: bytes | Mapping[str, object]) -> str:
    """Name an object that may be anything."""
    try:
        meta = read_meta(data if isinstance(data, bytes) else msgspec.json.encode(data))
    except (DecodeError, TypeError, RecursionError):
        return str(gvk)
    return f"{gvk} {meta.key}"
