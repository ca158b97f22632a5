"""What the cache keeps for this controller: which objects of a kind, and what of them.

Other controllers may keep more, in views of their own. Nothing is watched before it is
declared.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import astuple, replace
from typing import NamedTuple

from controller_runtime import (
    Cache,
    CacheView,
    GroupVersionKind,
    ReflectorOptions,
    WatchOptions,
    strip_managed_fields,
)
from controllers.reload.filters import not_in, selector
from controllers.reload.options import ReloadOptions, flag_of
from controllers.reload.sources import SourceKind, reducer
from controllers.reload.workloads import Covers
from controllers.reload.workloads import reducer as workload_reducer

NAMESPACE = GroupVersionKind("", "v1", "Namespace")

_GROUP = "reloader.stakater.com/"

_NO_HELM_RELEASES = "type!=helm.sh/release.v1"
"""Secrets that Helm keeps its history in: many, large, and used by no pod."""


class Views(NamedTuple):
    """What of each kind this controller keeps; other controllers may keep more."""

    workloads: CacheView
    sources: Mapping[SourceKind, CacheView]
    classes: CacheView
    """SecretProviderClasses, for what is written on them."""
    configs: CacheView
    """ReloaderConfigs."""
    namespaces: CacheView | None = None
    """None where nobody asks for their labels."""
    places: CacheView | None = None
    """Namespaces, for whether they are suspended; None where they are named."""

    @classmethod
    def of(
        cls, cache: Cache, options: ReloadOptions, is_claimed: Covers | None = None
    ) -> Views:
        """Describe the views; nothing is watched yet.

        Args:
            cache: Where they will be.
            options: What is watched.
            is_claimed: Tells which workloads are kept in full besides those with
                annotations.

        Raises:
            ConfigError: A selector cannot be read.
        """
        everything = ReflectorOptions(
            namespaces=options.namespaces, field_selector=_places(options)
        )
        words = () if options.auto_reload_all else words_of(options)
        reduce = workload_reducer(words, is_claimed)
        workloads = replace(
            everything,
            transform=reduce,
            watch=WatchOptions(poll=options.poll.total_seconds()),
        )
        asks = options.namespace_selector or options.allow_cross_namespace
        selects = asks and not options.namespaces
        namespaces = cache.view(ReflectorOptions(metadata_only=True))
        return cls(
            cache.view(workloads),
            dict(_of_sources(cache, options, everything)),
            cache.view(replace(everything, metadata_only=True)),
            cache.view(replace(everything, transform=strip_managed_fields)),
            namespaces if selects else None,
            None if options.namespaces else namespaces,
        )


def _of_sources(
    cache: Cache, options: ReloadOptions, everything: ReflectorOptions
) -> Iterator[tuple[SourceKind, CacheView]]:
    """Yield the views of sources: hashed, and with what is written on them."""
    keys = options.keys
    keep = {keys.match, keys.ignore, keys.ignore_keys}
    keep |= {keys.on_create, keys.on_delete}
    labels = selector(
        options.resource_label_selector, flag=flag_of("resource-label-selector")
    )
    for kind in SourceKind:
        if kind in options.ignored_sources:
            continue
        wanted = replace(
            everything,
            transform=reducer(kind, keep),
            label_selector=str(labels) if kind.is_labelled else "",
            field_selector=_also(kind, everything.field_selector),
        )
        yield kind, cache.view(wanted)


def words_of(options: ReloadOptions) -> tuple[bytes, ...]:
    """Name what stands in every workload that may reload: few words, looked for often.

    By default all keys share one.
    """
    keys = [str(key) for key in astuple(options.keys)]
    others = [key for key in keys if _GROUP not in key]
    shared = [_GROUP] if len(others) < len(keys) else []
    return tuple(word.encode() for word in (*shared, *others))


def _places(options: ReloadOptions) -> str:
    """Leave out namespaces at the server, where that costs nobody anything."""
    return "" if options.namespaces else not_in(options.namespaces_to_ignore)


def _also(kind: SourceKind, fields: str) -> str:
    if kind is not SourceKind.SECRET:
        return fields
    return ",".join(filter(None, [_NO_HELM_RELEASES, fields]))
