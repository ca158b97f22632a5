"""`python -m controllers`: the manager, and the commands around it.

    run       the manager, against a cluster
    reloader  stands in for stakater/Reloader, command line and all
    up        a local control plane, the manager and samples on it
    rbac      the roles that the manager needs, or `reloader`
    crds      the CRDs of our kinds, and a page about each
    render    what the autopilot would apply, from files or a cluster
    lint-patch  what a user's patch makes of it
    version   what this is

Whatever goes wrong for a reason that a user can mend ends with one sentence on
stderr and exit code 1; only a defect of ours shows a traceback. What a command
needs is imported when it runs.
"""

from __future__ import annotations

import asyncio
import gc
import os
import sys
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Annotated, Any, TypeAlias

if __name__ == "__main__":
    # Nothing that is imported is garbage, and to find that out is a fifth of the time
    # that imports take. `_sentence_on_error` takes it back.
    gc.disable()
    from controllers.lean import import_lean

    import_lean()

try:
    import typer
except ModuleNotFoundError as error:
    sys.exit(f"pilothouse: {error}; `make sync` sets up what it needs, in .venv")

from controller_runtime.errors import ControllerRuntimeError, ForbiddenError
from controllers.flags import values, with_settings
from controllers.settings import load

_ConfigFile: TypeAlias = Annotated[
    Path | None, typer.Option(help="YAML file of settings.", show_default=False)
]

_ServiceAccount: TypeAlias = Annotated[
    str, typer.Option(help="namespace/name to bind the roles to. [no bindings]")
]

_RolesFile: TypeAlias = Annotated[
    Path | None, typer.Option(help="File to write. [stdout]", show_default=False)
]

_HcoFile: TypeAlias = Annotated[
    Path | None, typer.Option(help="YAML of the HyperConverged.", show_default=False)
]

_Kubeconfig: TypeAlias = Annotated[
    Path | None,
    typer.Option(help="Read a cluster instead of files.", show_default=False),
]

_Context: TypeAlias = Annotated[
    str | None, typer.Option(help="Context of the kubeconfig.")
]

_HcoNamespace: TypeAlias = Annotated[
    str, typer.Option(help="Of the HyperConverged. [openshift-cnv]")
]

_CrdsFolder: TypeAlias = Annotated[
    Path | None,
    typer.Option(help="Folder of all CRDs that there are.", show_default=False),
]

_Catalog: TypeAlias = Annotated[
    Path | None, typer.Option(help="Folder of another catalogue. [kubevirt's]")
]

app = typer.Typer(
    name="pilothouse",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # its tables cut the names of flags off
)


def _show_version(is_wanted: bool) -> None:
    if is_wanted:
        version()
        raise typer.Exit


@app.callback()
def main(
    *,
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=_show_version,
            is_eager=True,
            help="Print the version.",
        ),
    ] = False,
) -> None:
    """Run a cluster's platform jobs in one manager."""


@app.command()
@with_settings
def run(
    *,
    config: _ConfigFile = None,
    ask: Annotated[
        bool, typer.Option("--ask", help="Show the cluster and ask before starting.")
    ] = False,
    **flags: object,
) -> None:
    """Run the manager until SIGTERM or Ctrl-C."""
    from controllers.run import run_manager  # noqa: PLC0415 - lazy

    _sentence_on_error(
        lambda: run_manager(load(values(flags), os.environ, config), ask=ask)
    )


_FOREIGN_FLAGS = {"allow_extra_args": True, "ignore_unknown_options": True}
"""For a command that reads flags in its own way."""


@app.command(add_help_option=False, context_settings=_FOREIGN_FLAGS)
def reloader(context: typer.Context) -> None:
    """Stand in for stakater/Reloader, flags and all. See its --help."""
    from controllers.reloader.command import (  # noqa: PLC0415 - lazy
        help_text,
        run_reloader,
    )

    if "--help" in context.args or "-h" in context.args:
        typer.echo(help_text())
        return
    _sentence_on_error(lambda: run_reloader(context.args, os.environ))


@app.command()
def up(
    *,
    once: Annotated[
        bool, typer.Option("--once", help="End when the samples have been shown.")
    ] = False,
    state: Annotated[Path, typer.Option(help="Folder of the cluster's state.")] = Path(
        ".pilothouse"
    ),
    log_level: Annotated[
        str, typer.Option(help="debug, info, warning or error.")
    ] = "warning",
) -> None:
    """Show the manager at work on a local control plane."""
    from controllers.up import show  # noqa: PLC0415 - lazy

    _sentence_on_error(lambda: show(once=once, state=state, log_level=log_level))


rbac_app = typer.Typer(
    help="Write the roles that `run` needs with these settings.",
    invoke_without_command=True,
)
app.add_typer(rbac_app, name="rbac")


@rbac_app.callback()
@with_settings
def rbac(
    call: typer.Context,
    *,
    config: _ConfigFile = None,
    name: Annotated[str, typer.Option(help="Of the roles.")] = "pilothouse",
    namespaced: Annotated[
        bool, typer.Option("--namespaced", help="No ClusterRole; say what that leaves.")
    ] = False,
    service_account: _ServiceAccount = "",
    output: _RolesFile = None,
    **flags: object,
) -> None:
    """Write the roles that `run` needs with these settings."""
    if call.invoked_subcommand is not None:
        return
    from controllers.rbac import RoleOptions, write_roles  # noqa: PLC0415 - lazy

    options = RoleOptions(
        name=name, namespaced=namespaced, service_account=service_account
    )
    _sentence_on_error(
        lambda: write_roles(load(values(flags), os.environ, config), options, output)
    )


@rbac_app.command("reloader", context_settings=_FOREIGN_FLAGS)
def rbac_reloader(
    context: typer.Context,
    *,
    name: Annotated[str, typer.Option(help="Of the roles.")] = "reloader",
    namespace: Annotated[
        str, typer.Option(help="Where it runs. [RELOADER_NAMESPACE, POD_NAMESPACE]")
    ] = "",
    service_account: _ServiceAccount = "",
    output: _RolesFile = None,
) -> None:
    """Write the roles that `reloader` needs under the same flags, and no more."""
    from controllers.rbac import RoleOptions  # noqa: PLC0415 - lazy
    from controllers.reloader.rbac import write_roles  # noqa: PLC0415 - lazy

    options = RoleOptions(name=name, service_account=service_account)
    _sentence_on_error(
        lambda: write_roles(context.args, os.environ, options, output, namespace)
    )


@app.command()
def crds(
    *,
    output: Annotated[Path, typer.Option(help="Folder of the CRDs.")] = Path(
        "config/crd/bases"
    ),
    pages: Annotated[Path, typer.Option(help="Folder of the reference pages.")] = Path(
        "docs/reference"
    ),
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; fail if a file differs.")
    ] = False,
    stdout: Annotated[
        bool, typer.Option("--stdout", help="Print the CRDs, for kubectl apply -f -.")
    ] = False,
) -> None:
    """Write the CRDs of our kinds. For yours: python -m controller_runtime.schema."""
    from controllers.crds import generate, manifests  # noqa: PLC0415 - lazy

    if stdout:
        typer.echo(manifests(), nl=False)
        return
    lines = generate(output, pages, check=check)
    for line in lines:
        typer.echo(f"pilothouse: {line}" if check else f"wrote: {line}", err=True)
    sys.exit(1 if check and lines else 0)


@app.command()
def render(
    *,
    hco_file: _HcoFile = None,
    kubeconfig: _Kubeconfig = None,
    context: _Context = None,
    namespace: _HcoNamespace = "",
    nodes: Annotated[
        Path | None, typer.Option(help="YAML of Nodes.", show_default=False)
    ] = None,
    facts: Annotated[
        Path | None,
        typer.Option(help="YAML of facts: hardware, topology.", show_default=False),
    ] = None,
    objects: Annotated[
        Path | None,
        typer.Option(help="Folder of objects that are asked for.", show_default=False),
    ] = None,
    crds: _CrdsFolder = None,
    image: Annotated[
        list[str] | None, typer.Option(help="name=reference; may be repeated.")
    ] = None,
    catalog: _Catalog = None,
    asset: Annotated[str, typer.Option(help="Show this one alone.")] = "",
    show_excluded: Annotated[
        bool, typer.Option("--show-excluded", help="Show what is not applied, too.")
    ] = False,
    explain: Annotated[
        bool, typer.Option("--explain", help="Show conditions, and what was asked.")
    ] = False,
    diff: Annotated[
        bool, typer.Option("--diff", help="Ask the cluster what would change.")
    ] = False,
    validate: Annotated[
        bool, typer.Option("--validate", help="Check objects against their CRDs.")
    ] = False,
    output: Annotated[str, typer.Option(help="yaml, json or status.")] = "yaml",
) -> None:
    """Show what the autopilot would apply. 2 for errors, 3 if --diff finds changes."""
    from controllers.autopilot.command import read_options  # noqa: PLC0415 - lazy
    from controllers.autopilot.command import render as show  # noqa: PLC0415 - lazy

    given: dict[str, Any] = {
        "hco_file": hco_file,
        "kubeconfig": kubeconfig,
        "context": context,
        "namespace": namespace,
        "nodes": nodes,
        "facts": facts,
        "objects": objects,
        "crds": crds,
        "image": image or [],
        "catalog": catalog,
        "asset": asset,
        "show_excluded": show_excluded,
        "explain": explain,
        "diff": diff,
        "validate": validate,
        "output": output,
    }
    _sentence_on_error(lambda: show(read_options(**given)))


@app.command()
def lint_patch(
    *,
    asset: Annotated[str, typer.Option(help="What is to be patched.")],
    hco_file: _HcoFile = None,
    kubeconfig: _Kubeconfig = None,
    context: _Context = None,
    namespace: _HcoNamespace = "",
    crds: _CrdsFolder = None,
    catalog: _Catalog = None,
    patch: Annotated[
        Path | None,
        typer.Option(help="File of a JSON patch; - is stdin.", show_default=False),
    ] = None,
    ignore_fields: Annotated[
        str, typer.Option(help="Pointers, such as /spec/a,/spec/b.")
    ] = "",
) -> None:
    """Show what a patch makes of an asset. 2 if it would not be in force."""
    from controllers.autopilot.command import read_options  # noqa: PLC0415 - lazy
    from controllers.autopilot.patchlint import lint_patch as lint  # noqa: PLC0415

    given: dict[str, Any] = {
        "hco_file": hco_file,
        "kubeconfig": kubeconfig,
        "context": context,
        "namespace": namespace,
        "crds": crds,
        "catalog": catalog,
        "asset": asset,
    }
    _sentence_on_error(
        lambda: lint(read_options(**given), patch=patch, ignore_fields=ignore_fields)
    )


@app.command()
def version() -> None:
    """Print the version."""
    from controllers.settings import version as ours  # noqa: PLC0415 - lazy

    typer.echo(f"pilothouse {ours()}")


def _sentence_on_error(make: Callable[[], Coroutine[Any, Any, int]]) -> None:
    """Run a command; end the process with its exit code, or with a sentence."""
    gc.freeze()
    gc.enable()
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            code = runner.run(make())
    except (ControllerRuntimeError, ExceptionGroup) as error:
        sentences = list(_sentences(error))
        if not sentences:
            raise
        for sentence in sentences:
            typer.echo(f"pilothouse: {sentence}", err=True)
        code = 1
    except KeyboardInterrupt:
        code = 130
    sys.exit(code)


def _sentences(error: Exception) -> Iterator[str]:
    """Yield what to tell the user; nothing if any part of it is a defect of ours."""
    if isinstance(error, ForbiddenError):
        yield f"{error}; `pilothouse rbac` writes the roles that it takes"
    elif isinstance(error, ControllerRuntimeError):
        yield str(error)
    if isinstance(error, ExceptionGroup):
        expected, unexpected = error.split(ControllerRuntimeError)
        if expected is not None and unexpected is None:
            for part in expected.exceptions:
                yield from _sentences(part)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop  # noqa: PLC0415 - an extra
    except ImportError:
        return None
    return uvloop.new_event_loop


if __name__ == "__main__":
    app()
