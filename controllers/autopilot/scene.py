"""The cluster as templates and conditions see it, and what they ask it about.

    CRDs, Nodes, Infrastructure, Scheduler ──▶ RenderContext, one for each sweep
    Lookup ──▶ cache, followed from then on ──▶ Answer

Everything comes from watches, so a sweep over a cluster in which nothing happened asks
the server nothing. The one exception is the schema of a CRD, which is read on demand
and kept until the CRD changes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta

import structlog

from controller_runtime import (
    Client,
    Clock,
    ControllerRuntimeError,
    GroupVersionKind,
    Json,
    NoKindMatchError,
    NotFoundError,
)
from controllers.autopilot.assets import Catalog
from controllers.autopilot.context import RenderContext, SourceObject
from controllers.autopilot.facts import Facts, NodeMemory
from controllers.autopilot.kinds import CrdInfo, read_node
from controllers.autopilot.lookups import CRD, Answer, Lookup
from controllers.autopilot.topology import topology_facts
from controllers.autopilot.watches import Watches

log = structlog.get_logger(__name__)

_INFRASTRUCTURE = Lookup(
    GroupVersionKind("config.openshift.io", "v1", "Infrastructure"), name="cluster"
)
_SCHEDULER = Lookup(
    GroupVersionKind("config.openshift.io", "v1", "Scheduler"), name="cluster"
)

PLATFORM = (_INFRASTRUCTURE, _SCHEDULER)
"""What tells about the platform, on platforms that have it."""


class Scene:
    """Looks at the cluster for one catalogue.

    Args:
        catalog: What the facts are.
        watches: Read from the cache.
        client: Reads schemas live.
        clock: When a Node was last seen.
        images: Images that templates may name.
        metrics_prefix: What templates are told of it.
    """

    def __init__(
        self,
        catalog: Catalog,
        watches: Watches,
        client: Client,
        *,
        clock: Clock,
        images: Mapping[str, str],
        metrics_prefix: str,
    ) -> None:
        self._catalog = catalog
        self._watches = watches
        self._client = client
        self._clock = clock
        self._images = images
        self._metrics_prefix = metrics_prefix
        self._nodes = NodeMemory()
        self._crds: Mapping[str, CrdInfo] = {}
        self._schemas: dict[str, tuple[tuple[str, int], Json]] = {}

    @property
    def crds(self) -> Mapping[str, CrdInfo]:
        """The CRDs of the last look, by name."""
        return self._crds

    def look(self) -> timedelta | None:
        """Take note of what there is; return when to look again, if facts may fade."""
        self._crds = self._watches.crds()
        self._schemas = {n: s for n, s in self._schemas.items() if n in self._crds}
        nodes = map(read_node, self._watches.nodes())
        return self._nodes.update(nodes, self._clock.now())

    def serves(self, gvk: GroupVersionKind) -> bool:
        """Whether a kind is there, as far as CRDs say; built-in ones are."""
        return self._watches.serves(gvk)

    def epoch(self, gvk: GroupVersionKind) -> int:
        """Return a number that changes when the schema of a kind does."""
        for crd in self._crds.values():
            if crd.serves(gvk):
                return hash((crd.uid, crd.generation))
        return 0

    async def context(self, source: Json) -> RenderContext:
        """Return what conditions and templates may read; the rest is unknown."""
        infrastructure = await self._platform(_INFRASTRUCTURE)
        scheduler = await self._platform(_SCHEDULER)
        catalog = self._catalog
        return RenderContext(
            source=SourceObject(source, catalog.source),
            identity=catalog.identity,
            facts=Facts(
                hardware=self._nodes.hardware(catalog.facts),
                topology=topology_facts(self._nodes.nodes, infrastructure, scheduler),
            ),
            images=self._images,
            crds={name: crd.state for name, crd in self._crds.items()},
            metrics_prefix=self._metrics_prefix,
        )

    async def answer(self, lookup: Lookup) -> Answer:
        """Answer what a template asks.

        Raises:
            ApiError: The server refuses to tell.
        """
        if lookup.kind == CRD:
            schema = await self._schema(lookup.name)
            return () if schema is None else (schema,)
        if not self.serves(lookup.kind):
            return ()
        try:
            return await self._watches.single(lookup)
        except NoKindMatchError:
            return ()

    def followed(self, inputs: Iterable[Lookup]) -> list[Lookup]:
        """Return which of these lookups, and of our own, are to be followed."""
        return [
            lookup
            for lookup in (*PLATFORM, *inputs)
            if lookup.kind != CRD and self.serves(lookup.kind)
        ]

    async def _platform(self, lookup: Lookup) -> Json | None:
        if not self.serves(lookup.kind):
            return None
        try:
            found = await self._watches.single(lookup)
        except ControllerRuntimeError as error:
            log.warning("platform unknown", lookup=str(lookup), error=str(error))
            return None
        return found[0] if found else None

    async def _schema(self, name: str) -> Json | None:
        if (crd := self._crds.get(name)) is None:
            return None
        version = (crd.uid, crd.generation)
        known = self._schemas.get(name)
        if known is None or known[0] != version:
            try:
                known = version, await self._client.get(CRD, name)
            except NotFoundError:
                return None
            self._schemas[name] = known
        return known[1]
