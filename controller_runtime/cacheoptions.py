"""What a cache keeps of each kind: options that inherit, and what comes of them.

    by_object[kind].namespaces[ns]
        ─▶ by_object[kind]
            ─▶ default_namespaces[ns]
                ─▶ default             the first that says something decides

`None` says nothing and inherits; what is empty says something: a label selector `""`
keeps every object, `namespaces={}` keeps every namespace. The order is that of
controller-runtime's documentation (`pkg/cache/cache.go`), also where a kind inherits
its namespaces: there Go lets `DefaultNamespaces[ns]` pass before `ByObject`.

The empty namespace stands for all that are not named beside it, so that no object is
kept twice. Kinds without namespaces take what their kind and `default` say.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from controller_runtime.errors import ConfigError
from controller_runtime.meta import GroupVersionKind, Kind, kind_of
from controller_runtime.reflector import ReflectorOptions
from controller_runtime.watch import WatchOptions
from controller_runtime.wire import Transform


def keep_whole(raw: bytes) -> bytes:
    """Keep an object as it is: the `Transform` that undoes an inherited one."""
    return raw


@dataclass(frozen=True, slots=True, kw_only=True)
class NamespaceOptions:
    """What is kept of one namespace. What is `None` is inherited."""

    label_selector: str | None = None
    """Only objects whose labels match; empty for all."""

    field_selector: str | None = None
    """Only objects whose fields match; empty for all."""

    transform: Transform | None = None
    """Reduces an object before it is stored; `keep_whole` does not."""

    is_partial: bool | None = None
    """See `ReflectorOptions.is_partial`; inherited together with the transform."""

    sync_period: float | None = None
    """Seconds between two reminders of everything; `inf` for never."""

    watch: WatchOptions | None = None
    """How to list, watch and wait."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KindOptions(NamespaceOptions):
    """What is kept of one kind. What is `None` is inherited."""

    metadata_only: bool | None = None
    """The server sends metadata and nothing else."""

    namespaces: Mapping[str, NamespaceOptions] | None = None
    """Only these, with a watch for each; empty for all. A kind that has no namespaces
    is refused if any are named here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheOptions:
    """What a cache keeps."""

    by_object: Mapping[Kind, KindOptions | ReflectorOptions] = field(
        default_factory=dict
    )
    """Default views of single kinds. `ReflectorOptions` inherit nothing."""

    default_namespaces: Mapping[str, NamespaceOptions] | None = None
    """The namespaces of kinds that do not say, with a watch for each."""

    default: ReflectorOptions = field(default_factory=ReflectorOptions)
    """The default view, as far as nothing else says."""

    reader_fail_on_missing_informer: bool = True
    """A read of a kind that nobody declared or watches is an error. Otherwise the first
    read starts to watch it, which may take long and memory that nobody asked for."""

    memory_warning: int | None = 128 << 20
    """Bytes of JSON of one view of one kind from which on a warning says which fields
    they are; `None` never looks. By default 128 MiB, the memory that many operators are
    given in all."""

    def __post_init__(self) -> None:
        """Refuse two answers to one question.

        Raises:
            ConfigError: `default` has namespaces, and `default_namespaces` as well.
        """
        if self.default_namespaces is not None and self.default.places != ("",):
            raise ConfigError(
                "cache options: namespaces are in `default` and `default_namespaces`; "
                "keep one of them"
            )

    def of(self, gvk: GroupVersionKind) -> ReflectorOptions:
        """Return the default view of a kind."""
        kind = self._own(gvk)
        if isinstance(kind, ReflectorOptions):
            return kind
        if kind is None and self.default_namespaces is None:
            return self.default
        kind = kind or KindOptions()
        whole = _over(self.default, kind)
        if kind.metadata_only is not None:
            whole = replace(whole, metadata_only=kind.metadata_only)
        places = self.default_namespaces or {}
        own: Mapping[str, NamespaceOptions] = dict.fromkeys(places, NamespaceOptions())
        if kind.namespaces is not None:
            own = kind.namespaces
        elif self.default_namespaces is None:
            return whole  # `default` says where
        whole = replace(whole, namespace="", namespaces=())
        return replace(
            whole,
            namespaces=tuple(
                _part(
                    name,
                    [options, kind, places.get(name, NamespaceOptions())],
                    replace(whole, **_values(self.default)),
                    others=own,
                )
                for name, options in own.items()
            ),
        )

    def names_namespaces_of(self, gvk: GroupVersionKind) -> bool:
        """Tell whether the kind itself is said to be in namespaces."""
        kind = self._own(gvk)
        return isinstance(kind, KindOptions) and kind.namespaces is not None

    def _own(self, gvk: GroupVersionKind) -> KindOptions | ReflectorOptions | None:
        found = self.by_object.get(gvk)
        if found is not None:
            return found
        named = (o for kind, o in self.by_object.items() if kind_of(kind) == gvk)
        return next(named, None)


_INHERITED = tuple(option.name for option in fields(NamespaceOptions))


def _part(
    name: str,
    chain: Iterable[NamespaceOptions],
    default: ReflectorOptions,
    *,
    others: Iterable[str],
) -> ReflectorOptions:
    """Return the options of one namespace; what comes first in the chain decides."""
    options = default
    for link in reversed(list(chain)):
        options = _over(options, link)
    if not name:
        left_out = [f"metadata.namespace!={other}" for other in sorted(others) if other]
        terms = [*left_out, *filter(None, [options.field_selector])]
        options = replace(options, field_selector=",".join(terms))
    return replace(options, namespace=name)


def _over(under: ReflectorOptions, over: NamespaceOptions) -> ReflectorOptions:
    changes: dict[str, Any] = {
        name: value for name in _INHERITED if (value := getattr(over, name)) is not None
    }
    if over.transform is not None:
        # Whether something is lost is said of a transform, not of a kind.
        changes["is_partial"] = over.is_partial
        changes["transform"] = None if over.transform is keep_whole else over.transform
    return replace(under, **changes)


def _values(options: ReflectorOptions) -> dict[str, Any]:
    return {name: getattr(options, name) for name in _INHERITED}
