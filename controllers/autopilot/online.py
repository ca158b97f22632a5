"""A cluster as it is, read once: for a preview, which watches nothing."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from controller_runtime import (
    Client,
    ConfigError,
    GroupVersionKind,
    Json,
    NoKindMatchError,
    NotFoundError,
)
from controllers.autopilot.assets import Catalog
from controllers.autopilot.context import CrdState, RenderContext, SourceObject
from controllers.autopilot.facts import Facts, NodeMemory, NodeView
from controllers.autopilot.lookups import CRD, Answer, Lookup
from controllers.autopilot.topology import topology_facts

_NODE = GroupVersionKind("", "v1", "Node")
_INFRASTRUCTURE = GroupVersionKind("config.openshift.io", "v1", "Infrastructure")
_SCHEDULER = GroupVersionKind("config.openshift.io", "v1", "Scheduler")


class OnlineCluster:
    """Asks the API server, each question once."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._answers: dict[Lookup, Answer] = {}

    async def resolve(self, lookup: Lookup) -> Answer:
        """Answer from the cluster.

        Raises:
            ApiError: The server refuses, such as for want of rights.
        """
        if lookup not in self._answers:
            self._answers[lookup] = await self._ask(lookup)
        return self._answers[lookup]

    async def _ask(self, lookup: Lookup) -> Answer:
        kind, namespace, name = lookup
        try:
            if name:
                return (await self._client.get(kind, name, namespace),)
            return tuple((await self._client.list(kind, namespace)).items)
        except (NotFoundError, NoKindMatchError):
            return ()

    async def context(
        self,
        catalog: Catalog,
        *,
        namespace: str,
        images: Mapping[str, str],
        now: datetime,
        metrics_prefix: str,
    ) -> RenderContext:
        """Read what all assets depend on.

        Args:
            catalog: What the source object and the facts are.
            namespace: Of the source object.
            images: Images that templates may name.
            now: When this is.
            metrics_prefix: What templates are told of it.

        Raises:
            ConfigError: There is no source object.
        """
        source = await self._source(catalog, namespace)
        crds = await self.resolve(Lookup(CRD)) or ()
        memory = NodeMemory()
        nodes = await self.resolve(Lookup(_NODE)) or ()
        memory.update(map(NodeView.of, nodes), now)
        topology = topology_facts(
            memory.nodes,
            await self._one(_INFRASTRUCTURE),
            await self._one(_SCHEDULER),
        )
        return RenderContext(
            source=SourceObject(source, catalog.source),
            identity=catalog.identity,
            facts=Facts(hardware=memory.hardware(catalog.facts), topology=topology),
            images=images,
            crds={state.name: state for state in map(CrdState.of, crds)},
            metrics_prefix=metrics_prefix,
        )

    async def _source(self, catalog: Catalog, namespace: str) -> Json:
        source = catalog.source
        for version in source.versions:
            kind = GroupVersionKind(source.group, version, source.kind)
            answer = await self.resolve(Lookup(kind, namespace, source.name))
            for found in answer or ():
                return dict(found)
        raise ConfigError(
            f"there is no {source.kind} {namespace}/{source.name} in this cluster; "
            "give its namespace with --namespace, or a file with --hco-file"
        )

    async def _one(self, kind: GroupVersionKind) -> Mapping[str, Any] | None:
        answer = await self.resolve(Lookup(kind, name="cluster")) or ()
        return next(iter(answer), None)
