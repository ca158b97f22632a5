"""Charts in OCI registries, as `helm push` leaves them.

    version or range ──tags──▶ tag ──HEAD──▶ digest
        ──once──▶ manifest ──▶ layer ──▶ file

The digest of the manifest is asked for each time and everything else at most once: a
tag that was moved is another digest, and so another chart.
"""

from __future__ import annotations

from pathlib import Path

from controllers.oci import (
    HELM_CHART,
    Access,
    Descriptor,
    ManifestError,
    NotModified,
    RegistryClient,
    RegistryError,
    RemoteRepository,
    is_tag,
    read_image,
)
from controllers.oci.memo import Kept, Memo
from controllers.release.chart.credentials import repository_of
from controllers.release.chart.refusals import from_registry
from controllers.release.chart.shelf import Shelf
from controllers.release.chart.source import (
    ChartSource,
    Reason,
    ResolvedChart,
    SourceError,
)
from controllers.versions import (
    Constraint,
    parse_tag,
    select,
)

_MANIFESTS = 1000
"""Manifests remembered, of which only the layer counts: 300 bytes each."""


class RegistryCharts:
    """Resolves charts of `oci://` repositories."""

    def __init__(
        self, registries: RegistryClient, shelf: Shelf, *, limit: int, timeout: float
    ) -> None:
        """Fetch with `registries` into `shelf`: `limit` bytes in `timeout` seconds."""
        self._registries = registries
        self._shelf = shelf
        self._limit = limit
        self._timeout = timeout
        self._layers: Memo[str, Descriptor] = Memo(_MANIFESTS)
        self._fetching: Memo[str, Path] = Memo(1)

    async def resolve(
        self, source: ChartSource, constraint: Constraint
    ) -> ResolvedChart:
        """Find the chart and have it here.

        Raises:
            SourceError: It cannot be had.
        """
        access = Access(
            credential=source.credential, tls=source.tls, insecure=source.plain_http
        )
        repository = self._registries.repository(
            repository_of(source.url, source.name), access
        )
        try:
            async with repository.within(self._timeout):
                tag = await self._tag(repository, source, constraint)
                digest = await self._digest(repository, tag)
                _compare(source, tag, digest)
                layer = await self._layer(repository, digest)
                path = await self._file(repository, layer)
        except RegistryError as error:
            raise from_registry(source, error) from error
        except ManifestError as error:
            raise SourceError(
                f"{source}: {error}; push it with `helm push`",
                reason=Reason.FETCH_FAILED,
            ) from error
        version = tag.replace("_", "+", 1)
        return ResolvedChart(
            name=source.name, version=version, digest=digest, path=path
        )

    async def _tag(
        self, repository: RemoteRepository, source: ChartSource, constraint: Constraint
    ) -> str:
        exact = source.version.replace("+", "_", 1)
        if parse_tag(exact) is not None and is_tag(exact):
            return exact  # which takes no list
        found = await repository.tags()
        tags = () if isinstance(found, NotModified) else found.tags
        selection = select(tags, constraint)
        if selection.version is None or selection.tag is None:
            raise SourceError(
                f"{source}: of {len(tags)} tags, {selection.versions} are versions, "
                f"and none of them fits {source.version!r}",
                reason=Reason.NOT_FOUND,
            )
        return selection.tag

    async def _digest(self, repository: RemoteRepository, tag: str) -> str:
        head = await repository.head(tag)
        assert not isinstance(head, NotModified)  # noqa: S101 - no ETag was sent
        return head.digest

    async def _layer(self, repository: RemoteRepository, digest: str) -> Descriptor:
        async def fetch() -> Kept[Descriptor]:
            image = read_image(await repository.manifest(digest))
            return Kept(_chart_layer(image.layers), float("inf"))

        return await self._layers.get(digest, fetch)

    async def _file(self, repository: RemoteRepository, layer: Descriptor) -> Path:
        name = f"{layer.digest.replace(':', '-')}.tgz"

        async def fetch() -> Kept[Path]:
            path = await self._shelf.take(name, digest=layer.digest)
            if path is None:
                raw = self._shelf.unfinished(name)
                await repository.download(layer, raw, limit=self._limit)
                path = await self._shelf.put(name, raw)
            return Kept(path, 0)

        return await self._fetching.get(layer.digest, fetch)


def _chart_layer(layers: tuple[Descriptor, ...]) -> Descriptor:
    for layer in layers:
        if layer.media_type == HELM_CHART:
            return layer
    raise ManifestError("the manifest has no layer with a Helm chart")


def _compare(source: ChartSource, tag: str, digest: str) -> None:
    if source.digest and source.digest != digest:
        raise SourceError(
            f"{source}: {tag} is {digest}, and chart.digest wants {source.digest}: "
            "somebody pushed another chart under this tag, or the digest is of another",
            reason=Reason.DIGEST_MISMATCH,
        )
