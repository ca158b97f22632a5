"""`pilothouse lint-patch`: what a patch and ignored fields would make of an asset.

    asset ──render──▶ baseline ──patch, masks──▶ object ──▶ does it fit its CRD?

The judges are the controller's. Nothing is asked whether the asset applies here: a
patch is written before the feature is turned on. Exit codes: 0 it would be in force,
1 the command cannot do what is asked, 2 it would not.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from controller_runtime import ConfigError, Json
from controllers.autopilot.annotations import Wishes
from controllers.autopilot.assets import Asset
from controllers.autopilot.command import RenderOptions, asset_of, cluster, schemas
from controllers.autopilot.documents import write_yaml
from controllers.autopilot.loader import load_catalog
from controllers.autopilot.preview import SchemaOf, labelled
from controllers.autopilot.render import Renderer
from controllers.autopilot.schemas import object_misfits
from controllers.autopilot.standing import effective_of, rules_of

_STDIN = Path("-")


async def lint_patch(
    options: RenderOptions, *, patch: Path | None, ignore_fields: str
) -> int:
    """Print what would be applied; return the exit code.

    Args:
        options: Where the source object is, and which asset it is about.
        patch: File with a JSON patch; `-` is standard input.
        ignore_fields: As the annotation has them.

    Raises:
        ControllerRuntimeError: With a sentence for the user.
    """
    catalog = await asyncio.to_thread(load_catalog, options.catalog)
    asset = asset_of(catalog, options.asset)
    text = await asyncio.to_thread(_read, patch) if patch is not None else ""
    wishes = Wishes(patch=text.strip(), ignore_fields=ignore_fields.strip())
    checking = replace(options, validate=True)
    async with cluster(catalog, options) as (context, resolve, _):
        rendered = await Renderer(catalog).render(asset, context, resolve)
        known = await schemas(checking, catalog, resolve)
    if rendered.object is None:
        raise ConfigError(f"the asset {asset.name} makes nothing here")
    rules = rules_of(catalog.identity)
    baseline = labelled(rendered.object, catalog.identity)
    made, problems = effective_of(baseline, wishes, asset, rules)
    problems = (*problems, *_misfits(asset, made, known))
    for problem in problems:
        sys.stderr.write(f"pilothouse: {problem}\n")
    sys.stdout.write(write_yaml(made))
    return 2 if problems else 0


def _misfits(asset: Asset, made: Json, known: SchemaOf | None) -> Iterator[str]:
    schema = known(asset) if known else None
    if schema is not None:
        yield from object_misfits(made, schema)


def _read(file: Path) -> str:
    try:
        return sys.stdin.read() if file == _STDIN else file.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot read {file}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{file} is not UTF-8") from None
