"""ConfigMaps and Secrets that bundles name: found, read, and told about.

    a name ─▶ the bundle's namespace ─▶ the target namespace ─▶ missing
              the first that exists wins entirely

Only metadata is watched, and an index knows which bundles name an object. Content is
read live when it is needed, once for each version, so that it is never in a cache that
holds what nobody asked for.
"""

from __future__ import annotations

import asyncio
from base64 import b64decode
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from api.bundle.v1alpha1 import ValuesSource, WerfBundle
from api.core.v1 import ConfigMap, Secret
from controller_runtime import (
    Client,
    ForbiddenError,
    Informer,
    Json,
    KubeObject,
    NamespacedName,
    NotFoundError,
)
from controllers.bundle.errors import BlockedError
from controllers.bundle.intention import readable, target_namespace
from controllers.bundle.options import BundleOptions
from controllers.bundle.values import RESOLVED, Source, Values, merge

_REMEMBERED = 256
"""Objects whose content is kept, with up to 1 MiB each."""

_LONG = 64 << 10
"""Bytes of values above which a thread reads them."""

NO_HELM_RELEASES = "type!=helm.sh/release.v1"
"""Secrets that Helm keeps its history in: many, and named by no bundle."""


class SourceName(NamedTuple):
    """A ConfigMap or Secret that somebody names."""

    kind: type[KubeObject]
    name: str

    def __str__(self) -> str:
        return f"{self.kind.gvk.kind} {self.name}"


@dataclass(frozen=True, slots=True)
class Found:
    """A ConfigMap or Secret that is there."""

    kind: type[KubeObject]
    namespace: str
    name: str
    version: str
    """Changes with the content; uid and resourceVersion."""
    data: Mapping[str, bytes] = field(repr=False)

    def __str__(self) -> str:
        return f"{self.kind.gvk.kind} {self.namespace}/{self.name}"


def names_of(bundle: WerfBundle) -> Iterator[SourceName]:
    """Yield what a bundle names: credentials, authorities, values."""
    registry, tls = bundle.spec.registry, bundle.spec.registry.tls_config
    if registry.secret_ref is not None:
        yield SourceName(Secret, registry.secret_ref.name)
    if tls is not None:
        for reference in (tls.ca_secret_ref, tls.client_cert_secret_ref):
            if reference is not None:
                yield SourceName(Secret, reference.name)
    for source in bundle.spec.converge.values_from:
        if source.config_map_ref is not None:
            yield SourceName(ConfigMap, source.config_map_ref.name)
        if source.secret_ref is not None:
            yield SourceName(Secret, source.secret_ref.name)


def places_of(bundle: WerfBundle) -> tuple[str, ...]:
    """Return the namespaces that names are looked up in, in their order."""
    return tuple(dict.fromkeys((bundle.metadata.namespace, target_namespace(bundle))))


def index_value(kind: type[KubeObject], key: NamespacedName) -> str:
    """Return what the bundles that may read an object are indexed under."""
    return f"{kind.gvk.kind}/{key}"


def index_values(body: Json) -> Iterator[str]:
    """Return the index values of a bundle, for `index_by_body`."""
    bundle = readable(body)
    if bundle is None:
        return
    for kind, name in names_of(bundle):
        for namespace in places_of(bundle):
            yield index_value(kind, NamespacedName(namespace, name))


class Sources:
    """Reads what bundles name."""

    def __init__(
        self, client: Client, watched: Mapping[type[KubeObject], Informer]
    ) -> None:
        """Read with `client`, live.

        Args:
            client: Asks the API server.
            watched: Metadata of each kind, to know what is there; empty if nothing is
                watched, so that the server is asked each time.
        """
        self._client = client
        self._watched = watched
        self._read: OrderedDict[tuple[str, ...], Found] = OrderedDict()

    async def find(
        self, source: SourceName, places: tuple[str, ...], *, condition: str
    ) -> Found | None:
        """Return an object from the first place that has it; `None` if none does.

        Raises:
            BlockedError: It must not be read, which is never the same as missing.
        """
        for namespace in places:
            found = await self._read_one(source, namespace, condition)
            if found is not None:
                return found
        return None

    async def _read_one(
        self, source: SourceName, namespace: str, condition: str
    ) -> Found | None:
        kind, name = source
        remembered = self._remembered(source, namespace)
        if isinstance(remembered, Found):
            return remembered
        if remembered is _ABSENT:
            return None
        try:
            obj = await self._client.get(kind, name, namespace)
        except NotFoundError:
            return None
        except ForbiddenError as error:
            raise BlockedError(
                f"the manager may not read {kind.gvk.kind} {namespace}/{name}: "
                f"{error}; give its account the verb get there",
                condition=condition,
                reason="ReadForbidden",
            ) from None
        found = Found(
            kind,
            namespace,
            name,
            f"{obj.metadata.uid}/{obj.metadata.resource_version}",
            _data(obj),
        )
        if self._watched:
            self._read[kind.gvk.kind, namespace, name] = found
            if len(self._read) > _REMEMBERED:
                self._read.popitem(last=False)
        return found

    def _remembered(self, source: SourceName, namespace: str) -> object:
        """Return what is known without asking."""
        informer = self._watched.get(source.kind)
        if informer is None:
            return None
        entry = informer.get(NamespacedName(namespace, source.name))
        if entry is None:
            return _ABSENT
        known = self._read.get((source.kind.gvk.kind, namespace, source.name))
        version = f"{entry.meta.uid}/{entry.meta.resource_version}"
        return known if known is not None and known.version == version else None


_ABSENT = object()


def _data(obj: KubeObject) -> Mapping[str, bytes]:
    match obj:
        case Secret():
            return {key: b64decode(value) for key, value in obj.data.items()}
        case ConfigMap():
            return {key: value.encode() for key, value in obj.data.items()}
        case _:
            raise TypeError(f"{obj.gvk} is no source")


async def resolve(
    bundle: WerfBundle, sources: Sources, options: BundleOptions
) -> Values:
    """Read and merge all values of a bundle.

    Raises:
        BlockedError: Sources are missing (all are named), or cannot be read.
    """
    found: list[Source] = []
    missing: list[str] = []
    places = places_of(bundle)
    for each in bundle.spec.converge.values_from:
        name = _named(each)
        there = await sources.find(name, places, condition=RESOLVED)
        if there is not None:
            found.append(Source(str(there), there.data, each.key, name.kind is Secret))
        elif not each.optional:
            missing.append(str(name))
    if missing:
        raise BlockedError(
            f"values are missing: {', '.join(missing)}; create them in "
            f"{' or '.join(places)}, or make them optional",
            condition=RESOLVED,
            reason="SourceNotFound",
            retry_after=options.preflight_retry,
        )
    inline = bundle.spec.converge.values
    if sum(len(it) for source in found for it in source.data.values()) < _LONG:
        return merge(inline, found)
    return await asyncio.to_thread(merge, inline, found)


def _named(source: ValuesSource) -> SourceName:
    if source.config_map_ref is not None:
        return SourceName(ConfigMap, source.config_map_ref.name)
    # The schema wants one of the two.
    return SourceName(Secret, source.secret_ref.name if source.secret_ref else "")
