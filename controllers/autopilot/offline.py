"""A cluster out of files, as far as there are files.

    --hco-file  the source object       --crds     which CRDs there are
    --nodes     Nodes                   --objects  what templates ask for
    --facts     facts, said outright    --image    images

What no file tells is unknown, and shown as such: never false, never made up.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from controller_runtime import ConfigError, GroupVersionKind, Json
from controllers.autopilot.assets import Catalog
from controllers.autopilot.context import CrdState, RenderContext, SourceObject
from controllers.autopilot.documents import read_documents
from controllers.autopilot.errors import CatalogError
from controllers.autopilot.facts import Fact, Facts, NodeMemory, NodeView, Value
from controllers.autopilot.lookups import CRD, Answer, Lookup
from controllers.autopilot.topology import topology_facts

_CLUSTER_CONFIG = "config.openshift.io"


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """What there is of a cluster."""

    source: Path
    nodes: Path | None = None
    objects: Path | None = None
    """Folder."""

    crds: Path | None = None
    """Folder; all CRDs that there are."""

    facts: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OfflineCluster:
    """What the files say."""

    context: RenderContext
    objects: tuple[Json, ...] = ()
    crds: Mapping[str, Json] | None = None
    """By name; `None` if no file says which there are."""

    async def resolve(self, lookup: Lookup) -> Answer:
        """Answer from the files."""
        if lookup.kind == CRD and self.crds is not None:
            found = self.crds.get(lookup.name)
            return () if found is None else (found,)
        objects = tuple(obj for obj in self.objects if _is_asked_for(obj, lookup))
        return objects or None


def read_cluster(
    catalog: Catalog,
    files: Files,
    *,
    now: datetime,
    images: Mapping[str, str],
    metrics_prefix: str,
) -> OfflineCluster:
    """Read all files. Blocks: call it in a thread.

    Raises:
        ConfigError: A file cannot be read, or is not what it should be.
    """
    objects = tuple(_objects(files.objects)) if files.objects else ()
    crds = None
    if files.crds is not None:
        crds = {obj["metadata"]["name"]: obj for obj in _crds(files.crds)}
    context = RenderContext(
        source=_source(catalog, files.source),
        identity=catalog.identity,
        facts=_facts(catalog, files, objects, now),
        images=images,
        crds=None if crds is None else {n: _state(crd) for n, crd in crds.items()},
        metrics_prefix=metrics_prefix,
    )
    return OfflineCluster(context=context, objects=objects, crds=crds)


def _source(catalog: Catalog, file: Path) -> SourceObject:
    kind = catalog.source
    for document in _documents(file):
        gvk = _kind_of(document)
        if (gvk.group, gvk.kind) == (kind.group, kind.kind):
            if gvk.version not in kind.versions:
                known = " and ".join(kind.versions)
                raise ConfigError(
                    f"{file}: {kind.kind} is {gvk.api_version}; known are {known}"
                )
            return SourceObject(document, kind)
    raise ConfigError(f"{file} has no {kind.kind} of {kind.group}")


def _facts(
    catalog: Catalog, files: Files, objects: tuple[Json, ...], now: datetime
) -> Facts:
    memory = NodeMemory()
    if files.nodes is not None:
        memory.update((NodeView.of(node) for node in _items(files.nodes)), now)
    topology = topology_facts(
        memory.nodes,
        _cluster_config(objects, "Infrastructure"),
        _cluster_config(objects, "Scheduler"),
    )
    hardware = memory.hardware(catalog.facts)
    if files.facts is None:
        return Facts(hardware=hardware, topology=topology)
    said = _said(files.facts)
    return Facts(
        hardware=_overruled(hardware, said.pop("hardware", {}), files.facts),
        topology=_overruled(topology, said.pop("topology", {}), files.facts),
    )


def _said(file: Path) -> dict[str, Any]:
    match list(_documents(file)):
        case [{**sections}] if sections.keys() <= {"hardware", "topology"} and all(
            isinstance(section, dict) for section in sections.values()
        ):
            return {str(name): section for name, section in sections.items()}
        case _:
            raise ConfigError(f"{file} must have the maps hardware and topology alone")


def _overruled(
    facts: Mapping[str, Fact], said: Mapping[str, Value], file: Path
) -> Mapping[str, Fact]:
    for name in said:
        if name not in facts:
            known = ", ".join(sorted(facts))
            raise ConfigError(f"{file}: no fact is named {name}; there are {known}")
    return {**facts, **{name: Fact(v, (f"{file}",)) for name, v in said.items()}}


def _cluster_config(objects: tuple[Json, ...], kind: str) -> Json | None:
    wanted = GroupVersionKind(_CLUSTER_CONFIG, "v1", kind)
    lookup = Lookup(wanted, name="cluster")
    return next((obj for obj in objects if _is_asked_for(obj, lookup)), None)


def _is_asked_for(obj: Mapping[str, Any], lookup: Lookup) -> bool:
    metadata = obj.get("metadata") or {}
    return (
        _kind_of(obj) == lookup.kind
        and lookup.name in {"", metadata.get("name")}
        and lookup.namespace in {"", metadata.get("namespace", "")}
    )


def _crds(folder: Path) -> Iterator[Json]:
    return (obj for obj in _objects(folder) if _kind_of(obj) == CRD)


def _state(crd: Json) -> CrdState:
    """Read a CRD of a file, which nobody has established: in a cluster it would be."""
    versions = crd["spec"].get("versions") or ()
    served = tuple(v["name"] for v in versions if v.get("served"))
    return CrdState(name=crd["metadata"]["name"], versions=served)


def _objects(folder: Path) -> Iterator[Json]:
    if not folder.is_dir():
        raise ConfigError(f"{folder} is no folder")
    for file in sorted(folder.rglob("*")):
        if file.suffix in {".yaml", ".yml", ".json"}:
            yield from _items(file)


def _items(file: Path) -> Iterator[Json]:
    """Yield the objects of a file; a list is its items."""
    for document in _documents(file):
        items = document.get("items")
        if isinstance(items, list) and str(document.get("kind")).endswith("List"):
            yield from items
        else:
            yield document


def _documents(file: Path) -> Iterator[Json]:
    try:
        documents = read_documents(file.read_text(encoding="utf-8"), origin=str(file))
    except OSError as error:
        raise ConfigError(f"cannot read {file}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{file} is not UTF-8") from None
    except CatalogError as error:
        raise ConfigError(str(error)) from None
    for document in documents:
        if not isinstance(document, dict):
            raise ConfigError(f"{file} has a document that is no map")
        yield document


def _kind_of(obj: Mapping[str, Any]) -> GroupVersionKind:
    return GroupVersionKind.parse(str(obj.get("apiVersion")), str(obj.get("kind")))
