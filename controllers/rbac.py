"""`rbac`: the roles that the manager needs, from the manager itself.

    Settings ─▶ build ─▶ Manager, not started ─▶ grants ─▶ roles ─▶ YAML

Nothing is listed here: what controllers watch and declare is what is written, with the
settings that `run` gets. No cluster is asked.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import yaml

from controller_runtime import (
    ConfigError,
    Grant,
    HttpTransport,
    Json,
    Metrics,
    NamespacedName,
    RestConfig,
    Roles,
)
from controllers.manager import build
from controllers.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleOptions:
    """What is to be written."""

    name: str = "pilothouse"
    """Of every role and binding. That for who scrapes is `<name>-metrics-reader`, and
    whom it is bound to is up to the cluster."""

    namespaced: bool = False
    """Roles alone, and a word about what they cannot give."""

    service_account: str = ""
    """`namespace/name` to bind the roles to; empty writes no bindings."""


class Manifest(NamedTuple):
    """What was written."""

    text: str
    remarks: tuple[str, ...]
    """What the roles do not give and the manager would ask for."""


async def write_roles(
    settings: Settings, options: RoleOptions, output: Path | None
) -> int:
    """Write to a file or to stdout, and remarks to stderr; return the exit code.

    Raises:
        ConfigError: The file cannot be written, or a setting does not fit.
    """
    return await write(manifest(settings, options), output)


async def write(written: Manifest, output: Path | None) -> int:
    """Write roles to a file or to stdout, and remarks to stderr; return the exit code.

    Raises:
        ConfigError: The file cannot be written.
    """
    text, remarks = written
    for remark in remarks:
        sys.stderr.write(f"pilothouse: {remark}\n")
    if output is None:
        sys.stdout.write(text)
        return 0
    try:
        await asyncio.to_thread(output.write_text, text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            f"cannot write the roles to {output}: {error.strerror}"
        ) from error
    return 0


def manifest(settings: Settings, options: RoleOptions) -> Manifest:
    """Return the roles for a manager with these settings.

    Raises:
        ConfigError: There is to be an election, and the Lease's namespace is unknown;
            or the service account cannot be read.
    """
    grants = build(settings, nowhere(), Metrics()).grants
    return manifest_of(grants, options, is_guarded=_is_guarded(settings))


def nowhere() -> HttpTransport:
    """Return a transport for a manager that is looked at, and not started."""
    return HttpTransport(RestConfig(server="https://nowhere.invalid"))


def manifest_of(
    grants: frozenset[Grant], options: RoleOptions, *, is_guarded: bool = False
) -> Manifest:
    """Return the roles that give these.

    Args:
        grants: What is needed.
        options: What is to be written.
        is_guarded: Who scrapes needs a role for it.

    Raises:
        ConfigError: The service account cannot be read.
    """
    account = _account(options.service_account)
    left = {it for it in grants if options.namespaced and not it.namespace}
    objects = Roles.of(options.name, grants - left).objects(account)
    if is_guarded and not options.namespaced:
        reader = f"{options.name}-metrics-reader"
        objects += Roles.of(reader, [Grant("get", path="/metrics")]).objects()
    remarks = tuple(_remarks(left))
    return Manifest(_yaml(objects, remarks), remarks)


def _is_guarded(settings: Settings) -> bool:
    return settings.metrics_secure and settings.metrics_bind_address not in {"", "0"}


def _account(text: str) -> NamespacedName | None:
    if not text:
        return None
    namespace, _, name = text.partition("/")
    if not (namespace and name) or "/" in name:
        raise ConfigError(
            f"--service-account={text} is no account: namespace/name would be"
        )
    return NamespacedName(namespace, name)


def _remarks(left: Iterable[Grant]) -> Iterator[str]:
    """Say what is not in the Roles, a line for each resource."""
    ordered = sorted(left, key=lambda grant: (grant.group, grant.resource, grant.verb))
    for (group, resource), same in groupby(ordered, lambda it: (it.group, it.resource)):
        verbs = ", ".join(grant.verb for grant in same)
        name = f"{resource}.{group}" if group else resource
        yield f"not in a Role: {verbs} on {name}, for the whole cluster"


def _yaml(objects: Iterable[Json], remarks: Iterable[str]) -> str:
    head = "".join(f"# {remark}\n" for remark in remarks)
    body = yaml.safe_dump_all(objects, explicit_start=True, sort_keys=False)
    return f"# Written by `pilothouse rbac` from the code.\n{head}{body}"
