"""The roles that the stand-in needs, from its flags.

    flags, environment ─▶ compose ─▶ Manager, not started ─▶ grants ─▶ roles

With `--namespaces` there are Roles there and in the namespace that it runs in, and no
ClusterRole.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from controller_runtime import Metrics
from controllers.rbac import Manifest, RoleOptions, manifest_of, nowhere, write
from controllers.reloader.command import compose
from controllers.reloader.settings import read


async def write_roles(
    arguments: Sequence[str],
    environ: Mapping[str, str],
    options: RoleOptions,
    output: Path | None,
    namespace: str = "",
) -> int:
    """Write to a file or to stdout; return the exit code.

    Args:
        arguments: The flags that it will have.
        environ: The variables that it will have.
        options: What is to be written.
        output: The file.
        namespace: Where it will run; empty for what the variables say.

    Raises:
        ConfigError: A flag cannot be used, or the file cannot be written.
    """
    return await write(roles(arguments, environ, options, namespace), output)


def roles(
    arguments: Sequence[str],
    environ: Mapping[str, str],
    options: RoleOptions,
    namespace: str = "",
) -> Manifest:
    """Return the roles for these flags and variables.

    Raises:
        ConfigError: A flag cannot be used.
    """
    if namespace:
        pod = {"POD_NAME": "any", "POD_NAMESPACE": namespace}
        environ = {**environ, **pod, "RELOADER_NAMESPACE": namespace}
    settings = read(arguments, environ)
    return manifest_of(compose(settings, nowhere(), Metrics()).grants, options)
