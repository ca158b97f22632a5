"""A stand-in for werf: the arguments that it takes, and how it ends.

What it knows was measured on werf 2.70.0: an unknown flag, a missing one or a tag that
is no reference ends with 1 and a line that starts with `Error:`. Unknown environment
variables are ignored.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

_SWITCHES = {
    "--auto-rollback",
    "--insecure-registry",
    "--skip-tls-verify-registry",
}

_OPTIONS = {
    "--repo",
    "--tag",
    "--release",
    "--namespace",
    "--timeout",
    "--log-color-mode",
    "--log-pretty",
    "--values",
    "--set",
    "--set-json",
    "--add-annotation",
}

_REFERENCE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}(@sha256:[a-f0-9]{64})?")


class Run(NamedTuple):
    """How it ended."""

    exit_code: int
    output: str


class Applied(NamedTuple):
    """What a `bundle apply` was asked for."""

    repository: str
    tag: str
    digest: str
    release: str
    namespace: str


def run(args: Sequence[str]) -> Run:
    """Run `werf <args>`."""
    if list(args[:2]) == ["converge"] or args[0] == "converge":
        return _error("unable to get git work tree")
    if list(args[:2]) != ["bundle", "apply"]:
        return _error(f'unknown command "{args[0]}" for "werf"')
    options: dict[str, str] = {}
    for arg in args[2:]:
        name, equals, value = arg.partition("=")
        if name in _SWITCHES and not equals:
            continue
        if name not in _OPTIONS or not equals:
            return _error(f"unknown flag: {name}")
        options[name] = value
    for needed in ("--repo", "--release"):
        if needed not in options:
            return _error(f"{needed} param required")
    if not _REFERENCE.fullmatch(options.get("--tag", "latest")):
        return _error("could not parse reference")
    if not re.fullmatch("[0-9]+", options.get("--timeout", "0")):
        return _error('invalid argument for "--timeout" flag')
    return Run(0, f"Succeeded release {options['--release']}")


def applied(args: Sequence[str]) -> Applied:
    """Read what is applied where; only for arguments that `run` takes."""
    assert run(args).exit_code == 0, run(args).output
    options = dict(arg.split("=", 1) for arg in args[2:] if "=" in arg)
    tag, _, digest = options["--tag"].partition("@")
    return Applied(
        options["--repo"],
        tag,
        digest,
        options["--release"],
        options.get("--namespace", "default"),
    )


def _error(message: str) -> Run:
    return Run(1, f"Error: {message}\n")
