"""`pilothouse render`: what the autopilot would apply, without applying it.

    files or a cluster ──▶ context ──▶ Previewer ──▶ items ──▶ yaml, json or a table

Exit codes: 0 all well, 1 the command cannot do what is asked, 2 an asset cannot be
made, 3 `--diff` found changes.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

from controller_runtime import (
    Client,
    ConfigError,
    HttpTransport,
    Json,
    Scheme,
    SystemClock,
    load_restconfig,
)
from controllers.autopilot.assets import Asset, Catalog
from controllers.autopilot.context import RenderContext, images_from
from controllers.autopilot.exclusion import read_exclusions
from controllers.autopilot.gates import Scope
from controllers.autopilot.listing import as_json, as_status, as_yaml
from controllers.autopilot.loader import CATALOGS, load_catalog
from controllers.autopilot.lookups import CRD, Lookup, Resolve
from controllers.autopilot.offline import Files, read_cluster
from controllers.autopilot.online import OnlineCluster
from controllers.autopilot.platformcrds import FILE, platform_crds
from controllers.autopilot.preview import Item, Previewer, SchemaOf, Status, shown
from controllers.autopilot.schemas import Schema, schema_of
from controllers.autopilot.standing import LiveStandings, StandingOf, baseline

_METRICS_PREFIX = "virt_platform"

_Output: TypeAlias = Literal["yaml", "json", "status"]
_OUTPUTS: Mapping[str, _Output] = {"yaml": "yaml", "json": "json", "status": "status"}


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderOptions:
    """What is to be shown, and of what."""

    files: Files | None = None
    """Files that stand for a cluster; exclusive with `kubeconfig`."""

    kubeconfig: Path | None = None
    context: str | None = None
    namespace: str = ""
    """Of the source object; empty is the catalogue's."""

    catalog: Path = CATALOGS / "kubevirt"
    images: Mapping[str, str] = field(default_factory=dict)
    """Besides those of the environment."""

    asset: str = ""
    """Only this one."""

    show_excluded: bool = False
    explain: bool = False
    """Show every condition, and what templates asked."""

    diff: bool = False
    """Ask the cluster what an apply would change."""

    validate: bool = False
    """Check objects against the CRDs of the cluster, or of the catalogue."""

    output: _Output = "yaml"


def read_options(
    *,
    hco_file: Path | None,
    kubeconfig: Path | None,
    nodes: Path | None = None,
    facts: Path | None = None,
    objects: Path | None = None,
    crds: Path | None = None,
    image: Sequence[str] = (),
    catalog: Path | None = None,
    output: str = "yaml",
    **others: Any,
) -> RenderOptions:
    """Read the flags of the command line.

    Raises:
        ConfigError: They do not go together, or one is not what it should be.
    """
    if (hco_file is None) == (kubeconfig is None):
        raise ConfigError("give either --hco-file or --kubeconfig, and not both")
    of_files = {"nodes": nodes, "facts": facts, "objects": objects, "crds": crds}
    given = [name for name, value in of_files.items() if value is not None]
    if hco_file is None and given:
        raise ConfigError(f"--{given[0]} goes with --hco-file; a cluster has its own")
    if others.get("diff") and kubeconfig is None:
        raise ConfigError("--diff compares with a cluster: give --kubeconfig")
    if output not in _OUTPUTS:
        raise ConfigError(f"--output is {output}; it can be {', '.join(_OUTPUTS)}")
    images = dict(each.split("=", 1) for each in image if "=" in each)
    if len(images) != len(image):
        raise ConfigError("--image is given as name=reference, each name once")
    return RenderOptions(
        files=None if hco_file is None else Files(source=hco_file, **of_files),
        kubeconfig=kubeconfig,
        catalog=catalog or CATALOGS / "kubevirt",
        images=images,
        output=_OUTPUTS[output],
        **others,
    )


async def render(options: RenderOptions) -> int:
    """Print a preview; return the exit code.

    Raises:
        ControllerRuntimeError: With a sentence for the user.
    """
    catalog = await asyncio.to_thread(load_catalog, options.catalog)
    if options.asset:
        asset_of(catalog, options.asset)
    async with cluster(catalog, options) as (context, resolve, standing_of):
        previewer = Previewer(
            catalog=catalog,
            context=context,
            scope=_scope(catalog, context),
            resolve=resolve,
            is_disabled=_disabled(context),
            standing_of=standing_of,
            schema_of=await schemas(options, catalog, resolve),
        )
        items = await previewer.items(options.asset)
    everything = options.show_excluded or bool(options.asset)
    sys.stdout.write(_text(items, options, everything=everything))
    if any(item.status is Status.ERROR for item in items):
        return 2
    return 3 if any(item.changes for item in items) else 0


def asset_of(catalog: Catalog, name: str) -> Asset:
    """Return the asset of that name.

    Raises:
        ConfigError: There is none.
    """
    asset = catalog.asset(name)
    if asset is None:
        known = ", ".join(each.name for each in catalog.assets)
        raise ConfigError(f"no asset is named {name}; there are {known}")
    return asset


def _disabled(context: RenderContext) -> Callable[[Mapping[str, Any]], bool]:
    key = context.identity.key("disabled-resources")
    read = read_exclusions(context.source.annotations.get(key, ""))
    for problem in read.problems:
        sys.stderr.write(f"pilothouse: {key}: {problem}\n")

    def is_disabled(obj: Mapping[str, Any]) -> bool:
        metadata = obj["metadata"]
        return read.covers(obj["kind"], metadata.get("namespace", ""), metadata["name"])

    return is_disabled


def _text(items: list[Item], options: RenderOptions, *, everything: bool) -> str:
    some = list(shown(items, everything=everything))
    match options.output:
        case "yaml":
            return as_yaml(some, explain=options.explain)
        case "json":
            return as_json(some) + "\n"
        case "status":
            return as_status(some, items) + "\n"


def _scope(catalog: Catalog, context: RenderContext) -> Scope:
    """Read what the source object asks for; without a word, show what all would be."""
    key = catalog.identity.key("autopilot")
    text = context.source.annotations.get(key)
    if text is None:
        sys.stderr.write(
            f"pilothouse: the annotation {key} is absent, so nothing would be applied; "
            f'shown is what {key}="true" would apply\n'
        )
    scope = Scope.parse(text, catalog, default_enabled=True)
    for name in scope.unknown:
        sys.stderr.write(f"pilothouse: {key} names {name}, which there is not\n")
    return scope


@asynccontextmanager
async def cluster(
    catalog: Catalog, options: RenderOptions
) -> AsyncIterator[tuple[RenderContext, Resolve, StandingOf]]:
    """Read files or a cluster, for as long as the `with` lasts."""
    now = SystemClock().now()
    images = {**images_from(os.environ), **options.images}
    if options.files is not None:
        files = options.files
        offline = await asyncio.to_thread(
            lambda: read_cluster(
                catalog, files, now=now, images=images, metrics_prefix=_METRICS_PREFIX
            )
        )
        yield offline.context, offline.resolve, baseline
        return
    config = await asyncio.to_thread(
        load_restconfig,
        kubeconfig=options.kubeconfig,
        context=options.context,
        environ=os.environ,
        home=Path.home(),
    )
    async with HttpTransport(config) as transport:
        client = Client(transport, scheme=Scheme())
        online = OnlineCluster(client)
        context = await online.context(
            catalog,
            namespace=options.namespace or catalog.source.namespace,
            images=images,
            now=now,
            metrics_prefix=_METRICS_PREFIX,
        )
        standings = LiveStandings(client, catalog.identity, compare=options.diff)
        yield context, online.resolve, standings.of


async def schemas(
    options: RenderOptions, catalog: Catalog, resolve: Resolve
) -> SchemaOf | None:
    """Gather the schemas to check against: the cluster's, else the catalogue's.

    Returns:
        `None` if nothing is to be checked.
    """
    if not options.validate:
        return None
    own: dict[str, Json] = {}
    file = options.catalog / FILE
    if await asyncio.to_thread(file.exists):
        crds = await asyncio.to_thread(lambda: list(platform_crds(file=file)))
        own = {crd["metadata"]["name"]: crd for crd in crds}
    known: dict[str, Schema | None] = {}
    for asset in catalog.assets:
        name = asset.required_crd
        answer = await resolve(Lookup(CRD, name=name)) if name else ()
        crd = answer[0] if answer else own.get(name)
        known[asset.name] = schema_of(crd, asset.kind.version) if crd else None

    def of(asset: Asset) -> Schema | None:
        return known[asset.name]

    return of
