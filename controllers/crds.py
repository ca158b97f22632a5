"""The `crds` verb: CRDs and reference pages of our kinds, written, compared, missed.

`hack/gen_crds.py` and the gates call the same function, so there is one answer to what
the files should be.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from api.owned import OWNED
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

_INSTALL = "pilothouse crds --stdout | kubectl apply --server-side -f -"


def manifests(models: Sequence[type[KubeObject]] = OWNED) -> str:
    """Return all CRDs as one text of YAML, which `kubectl apply -f -` reads."""
    return "".join(schema.render(models).values())


async def missing(
    transport: Transport, models: Sequence[type[KubeObject]] = OWNED
) -> str:
    """Say which CRDs a cluster lacks and how they get there; nothing if it has all."""
    discovery = Discovery(transport)
    kinds = []
    for model in models:
        try:
            await discovery.resource(model.gvk)
        except NoKindMatchError:
            kinds.append(f"{model.gvk.kind}.{model.gvk.group}")
    if not kinds:
        return ""
    return f"{', '.join(kinds)}; until {_INSTALL} {_MEANWHILE}"


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
