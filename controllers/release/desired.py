"""What a ManagedRoost asks to have deployed: chart, values, and the digest of both.

    spec.chart ──SourceReader────────────▶ chart ─┐
    inline, ConfigMaps, Secrets ──Composer──▶ values ─┴─▶ Desired, with its digest

Everything is had anew at each look: sources answer from their caches when nothing has
changed, and ConfigMaps and Secrets are read live, since only their metadata is kept.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from api.core.v1 import ConfigMap, Secret
from api.release.chart import ValuesReference
from api.release.v1alpha1 import ManagedRoost
from controller_runtime import (
    Client,
    ForbiddenError,
    NotFoundError,
)
from controllers.release.chart import ResolvedChart
from controllers.release.failures import Again
from controllers.release.helm.engine import EngineError, Failure
from controllers.release.identity import release_key
from controllers.release.sources import DesireError, SourceReader
from controllers.release.values import (
    Composer,
    Piece,
    Precedence,
    Sources,
    Template,
    Values,
    ValuesError,
    config_digest,
    read_pieces,
)

_AGAIN = {
    Failure.INVALID: Again.CHANGE,
    # Where no worker can be started, a hundred objects would start twenty a second.
    Failure.ENGINE: Again.RETRY,
}
"""When values are read again that could not be; else soon."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Desired:
    """What is to be deployed."""

    chart: ResolvedChart
    values: Mapping[str, object] = field(repr=False)
    secrets: frozenset[str] = field(repr=False)
    digest: str
    """Of everything that makes a difference to what is deployed."""

    def __str__(self) -> str:
        return f"{self.chart.name} {self.chart.version}"


class Desirer:
    """Finds out what objects ask for."""

    def __init__(
        self, client: Client, sources: SourceReader, composer: Composer
    ) -> None:
        """Read ConfigMaps and Secrets with `client`, which must not be cached."""
        self._client = client
        self._sources = sources
        self._composer = composer

    async def desired(self, roost: ManagedRoost) -> Desired:
        """Return chart and values.

        Raises:
            DesireError: They cannot be had.
            ApiError: The API server cannot be asked.
        """
        chart = await self._sources.chart(roost)
        values = await self._values(roost)
        return Desired(
            chart=chart,
            values=values.merged,
            secrets=values.secrets,
            digest=_digest(roost, chart, values),
        )

    async def _values(self, roost: ManagedRoost) -> Values:
        said = roost.spec.chart.values
        try:
            sources = Sources(
                inline=_inline(said.inline),
                mapping=said.object,
                config_maps=await self._pieces(roost, said.config_map_refs, ConfigMap),
                secrets=await self._pieces(roost, said.secret_refs, Secret),
                precedence=Precedence(said.precedence),
            )
            return await self._composer.compose(sources, _template(roost))
        except ValuesError as error:
            raise DesireError(
                str(error), reason="ValuesInvalid", again=Again.CHANGE
            ) from None
        except EngineError as error:
            again = _AGAIN.get(error.failure, Again.SOON)
            raise DesireError(str(error), reason="ValuesFailed", again=again) from None

    async def _pieces(
        self,
        roost: ManagedRoost,
        references: Sequence[ValuesReference],
        kind: type[ConfigMap | Secret],
    ) -> Sequence[Piece]:
        pieces: list[Piece] = []
        for reference in references:
            namespace = reference.namespace or roost.metadata.namespace
            where = f"{kind.gvk.kind} {namespace}/{reference.name}"
            data = await self._data(kind, reference.name, namespace, where)
            if data is None or (
                reference.optional and reference.key and reference.key not in data
            ):
                if reference.optional:
                    continue
                raise DesireError(
                    f"{where} does not exist: create it, or say optional: true",
                    reason="ValuesNotFound",
                    again=Again.INTERVAL,
                )
            pieces += read_pieces(
                where,
                data,
                key=reference.key,
                is_secret=kind is Secret,
                target_path=reference.target_path,
                literal=reference.literal,
            )
        return pieces

    async def _data(
        self,
        kind: type[ConfigMap | Secret],
        name: str,
        namespace: str,
        where: str,
    ) -> Mapping[str, str] | None:
        try:
            found: ConfigMap | Secret = await self._client.get(kind, name, namespace)
        except NotFoundError:
            return None
        except ForbiddenError as error:
            raise DesireError(
                str(error), reason="Forbidden", again=Again.INTERVAL
            ) from None
        if isinstance(found, ConfigMap):
            return found.data
        try:
            return {
                key: base64.b64decode(value).decode()
                for key, value in found.data.items()
            }
        except (binascii.Error, UnicodeDecodeError):
            raise ValuesError(f"{where} has values that are no text") from None


def _inline(text: str | None) -> Piece | None:
    return Piece(where="spec.chart.values.inline", text=text) if text else None


def _template(roost: ManagedRoost) -> Template | None:
    template = roost.spec.chart.values.template
    if not template.enabled:
        return None
    key = release_key(roost)
    return Template(
        context=template.context,
        builtin={
            "ROOST_NAME": roost.metadata.name,
            "ROOST_NAMESPACE": roost.metadata.namespace,
            "TARGET_NAMESPACE": key.namespace,
        },
    )


def _digest(roost: ManagedRoost, chart: ResolvedChart, values: Values) -> str:
    spec = roost.spec
    hooks = spec.chart.hooks
    return config_digest(
        roost.metadata.namespace,
        roost.metadata.name,
        chart_name=chart.name,
        version=chart.version,
        chart_digest=chart.digest,
        values=values.merged,
        hooks=hooks.model_dump(mode="json", exclude_none=True) if hooks else None,
        crds=spec.install.crds,
        apply_mode=spec.apply_mode,
    )
