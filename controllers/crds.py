"""The `crds` verb: CRDs and reference pages of our kinds, written, compared, missed.

`hack/gen_crds.py` and the gates call the same function, so there is one answer to what
the files should be.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from api.owned import OWNED
from api.reload.v1alpha1 import ReloaderConfig
from controller_runtime import (
    Discovery,
    KubeObject,
    NoKindMatchError,
    Transport,
    schema,
)

CRDS = Path("config/crd/bases")
PAGES = Path("docs/reference")

_MEANWHILE = "their controllers wait, but for reload, which goes by annotations"

_RELOAD_ALONE = "reload goes by annotations alone"

_INSTALL = "pilothouse crds --stdout | kubectl apply --server-side -f -"


def manifests(models: Sequence[type[KubeObject]] = OWNED) -> str:
    """Return all CRDs as one text of YAML, which `kubectl apply -f -` reads."""
    return "".join(schema.render(models).values())


async def missing(
    transport: Transport, models: Sequence[type[KubeObject]] = OWNED
) -> str:
    """Say which CRDs a cluster lacks and how they get there; nothing if it has all."""
    discovery = Discovery(transport)
    lacking = []
    for model in models:
        try:
            await discovery.resource(model.gvk)
        except NoKindMatchError:
            lacking.append(model)
    if not lacking:
        return ""
    is_reload = [model.gvk.kind for model in lacking] == [ReloaderConfig.gvk.kind]
    names = ", ".join(f"{model.gvk.kind}.{model.gvk.group}" for model in lacking)
    return f"{names}; until {_INSTALL}, {_RELOAD_ALONE if is_reload else _MEANWHILE}"


def kinds_of(controllers: Collection[str]) -> Sequence[type[KubeObject]]:
    """Return the kinds of ours that some controllers are about.

    Those of a controller are in the package of `api` that is named like it.
    """
    return [model for model in OWNED if model.__module__.split(".")[1] in controllers]


def generate(
    output: Path,
    pages: Path,
    *,
    check: bool,
    models: Sequence[type[KubeObject]] = OWNED,
) -> list[str]:
    """Write what differs, or only say so; return a line for each file.

    Files of ours that belong to no model any more are removed.

    Args:
        output: Folder of the CRDs.
        pages: Folder of the reference pages.
        check: Write nothing.
        models: The kinds.
    """
    made = (
        (schema.render(models), output),
        (schema.render_reference(models), pages),
    )
    lines: list[str] = []
    for files, folder in made:
        lines += schema.drift(files, folder, complete=True)
        if not check:
            schema.write(files, folder, complete=True)
    return lines
