"""Conversion webhooks: one kind in several versions, each made of any other.

    v1alpha1 ──to_hub──▶ ┌─────┐ ──from_hub──▶ v1alpha1
    v1beta1  ──to_hub──▶ │ hub │ ──from_hub──▶ v1beta1
                         └─────┘

Versions know the hub and not each other, so n versions take 2(n-1) functions. They are
plain functions of models: what they leave out of the new object is not in it. Metadata
is carried over; labels and annotations may be changed, and nothing else of it, because
the API server refuses or undoes it (apiextensions `conversion/webhook_converter.go`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import structlog

from controller_runtime.errors import ConfigError, ControllerRuntimeError
from controller_runtime.meta import GroupVersionKind, Json, Kind, kind_of
from controller_runtime.nesting import why
from controller_runtime.patch import document
from controller_runtime.scheme import Scheme

log = structlog.get_logger(__name__)

H = TypeVar("H")
S = TypeVar("S")

_MAY_CHANGE = frozenset({"labels", "annotations"})

_AT_ONCE = 50
"""Objects between two looks at the event loop: a list may have thousands."""


class ConversionError(ControllerRuntimeError):
    """An object cannot be had in the version that was asked for; the text says why."""


class UnexpectedConversionError(ControllerRuntimeError):
    """A function that converts raised what it should not; its cause is the error."""


@dataclass(frozen=True, slots=True)
class Spoke(Generic[H, S]):
    """A version of a kind, and the way to the hub and back."""

    kind: type[S] | GroupVersionKind
    """Its model, or its name if the functions take dicts."""

    to_hub: Callable[[S], H]
    from_hub: Callable[[H], S]


class Hub(Generic[H]):
    """A kind in all its versions."""

    def __init__(
        self, kind: type[H] | GroupVersionKind, *spokes: Spoke[H, Any]
    ) -> None:
        """Join versions to the hub's.

        Args:
            kind: The version that all others are converted through: the richest, so
                that nothing gets lost on the way.
            spokes: The others.

        Raises:
            ConfigError: They are not versions of one kind, or two are the same.
        """
        self._hub: Kind = _kind(kind)
        self._spokes = {kind_of(_kind(spoke.kind)): spoke for spoke in spokes}
        self._scheme = Scheme()
        if len({*self._spokes, self.gvk}) != len(spokes) + 1:
            raise ConfigError(f"a version of {self.gvk} is there twice")
        for gvk in self._spokes:
            if (gvk.group, gvk.kind) != (self.gvk.group, self.gvk.kind):
                raise ConfigError(f"{gvk} is no version of {self.gvk}")

    @property
    def gvk(self) -> GroupVersionKind:
        """The kind in the hub's version."""
        return kind_of(self._hub)

    @property
    def versions(self) -> frozenset[str]:
        """Every version that can be converted from and to."""
        return frozenset({self.gvk.version, *(gvk.version for gvk in self._spokes)})

    def check(self, versions: Iterable[str]) -> None:
        """Make sure that versions, such as those that a CRD serves, can be converted.

        Raises:
            ConfigError: Some cannot; the text names them.
        """
        if missing := sorted(set(versions) - self.versions):
            raise ConfigError(
                f"{self.gvk.kind}.{self.gvk.group} has no conversion for "
                f"{', '.join(missing)}: give its hub {self.gvk.version} a Spoke of each"
            )

    def convert(self, obj: Mapping[str, Any], version: str) -> Json:
        """Return an object in another version.

        Raises:
            ConversionError: That version is not known or the object's own, or the
                functions changed what has to stay.
            DecodeError: The object is not what its model says.
            Exception: What a function of a spoke raised.
        """
        source = self._scheme.gvk_of(obj)
        target = source._replace(version=version)
        if source == target:
            raise ConversionError(f"it is {source.api_version} already")
        for gvk in (source, target):
            if gvk != self.gvk and gvk not in self._spokes:
                raise ConversionError(f"no conversion knows {gvk}")
        converted = document(self._from_hub(self._to_hub(obj, source), target))
        head = {"apiVersion": target.api_version, "kind": target.kind}
        metadata = _metadata(obj.get("metadata"), converted.get("metadata"))
        return {**head, **converted, **head, "metadata": metadata}

    def _to_hub(self, obj: Mapping[str, Any], source: GroupVersionKind) -> Any:
        if source == self.gvk:
            return self._scheme.decode(self._hub, obj)
        spoke = self._spokes[source]
        return spoke.to_hub(self._scheme.decode(_kind(spoke.kind), obj))

    def _from_hub(self, obj: Any, target: GroupVersionKind) -> Any:
        return obj if target == self.gvk else self._spokes[target].from_hub(obj)


class Conversions:
    """Every kind that one path converts."""

    def __init__(self) -> None:
        self._hubs: dict[tuple[str, str], Hub[Any]] = {}

    def add(self, hub: Hub[Any]) -> None:
        """Convert the versions of one more kind.

        Raises:
            ConfigError: The kind has a hub.
        """
        key = hub.gvk.group, hub.gvk.kind
        if key in self._hubs:
            raise ConfigError(f"{hub.gvk.kind}.{hub.gvk.group} has a hub already")
        self._hubs[key] = hub

    async def convert(
        self, objects: Iterable[Mapping[str, Any]], api_version: str
    ) -> list[Json]:
        """Return objects in a version, in their order; lists item by item.

        Raises:
            ConversionError: One cannot be converted; the text names it.
            UnexpectedConversionError: A function of a spoke has a bug.
        """
        converted = []
        for number, obj in enumerate(objects):
            if number % _AT_ONCE == _AT_ONCE - 1:
                await asyncio.sleep(0)
            if _is_list(obj):
                items = await self.convert(obj["items"], api_version)
                converted.append({**obj, "apiVersion": api_version, "items": items})
            else:
                converted.append(self._convert(obj, api_version))
        return converted

    def _convert(self, obj: Mapping[str, Any], api_version: str) -> Json:
        what = f"cannot convert {_name(obj)} to {api_version}"
        try:
            hub, version = self._hub(Scheme().gvk_of(obj), api_version)
            return hub.convert(obj, version)
        except ControllerRuntimeError as error:
            raise ConversionError(f"{what}: {error}") from error
        except RecursionError as error:
            raise ConversionError(f"{what}: {why(error)}") from error
        except Exception as error:
            raise UnexpectedConversionError(
                f"{what}: it failed with a {type(error).__name__}; "
                "the log of the webhook has more"
            ) from error

    def _hub(self, source: GroupVersionKind, api_version: str) -> tuple[Hub[Any], str]:
        group, _, version = api_version.rpartition("/")
        hub = self._hubs.get((source.group, source.kind))
        if hub is None or group != source.group:
            raise ConversionError(f"no conversion from {source} is known")
        return hub, version


def _kind(given: Any) -> Kind:
    """Tell the type checker what a hub or a spoke is made of."""
    kind: Kind = given
    return kind


def _metadata(before: object, after: object) -> Json:
    """Return the metadata of a converted object.

    Raises:
        ConversionError: A field changed that must not.
    """
    old = before if isinstance(before, Mapping) else {}
    new = after if isinstance(after, Mapping) else {}
    changed = sorted(
        field
        for field, value in new.items()
        if field not in _MAY_CHANGE and old.get(field) != value
    )
    if changed:
        raise ConversionError(
            f"the conversion changed metadata.{', metadata.'.join(changed)}; "
            "only labels and annotations may change"
        )
    if not new:
        return dict(old)
    kept = {field: value for field, value in old.items() if field not in _MAY_CHANGE}
    return {**kept, **{field: new[field] for field in _MAY_CHANGE if field in new}}


def _is_list(obj: Mapping[str, Any]) -> bool:
    kind = obj.get("kind")
    return (
        isinstance(kind, str)
        and kind.endswith("List")
        and isinstance(obj.get("items"), list)
    )


def _name(obj: Mapping[str, Any]) -> str:
    metadata = obj.get("metadata")
    names = metadata if isinstance(metadata, Mapping) else {}
    namespace, name = names.get("namespace", ""), names.get("name", "")
    return (
        f"{obj.get('kind')} {namespace}/{name}"
        if namespace
        else f"{obj.get('kind')} {name}"
    )
