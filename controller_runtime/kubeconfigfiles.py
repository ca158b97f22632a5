"""Kubeconfig files, merged, as they are written: what is in them is not judged here.

    $KUBECONFIG ─▶ files that are there ─▶ contexts, clusters, users by name
                                           of two with one name the first counts

Every part remembers its file: relative paths begin there, and messages name it.
"""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from controller_runtime.errors import ConfigError


class Entry(NamedTuple):
    """A named part of a kubeconfig, and the file that defines it."""

    role: str
    name: str
    fields: Mapping[str, object]
    file: Path

    def __str__(self) -> str:
        return f"{self.role} {self.name} in {self.file}"

    def error(self, name: str, problem: str, remedy: str) -> ConfigError:
        return ConfigError(f"the {name} of {self} {problem}: {remedy}")

    def text(self, name: str) -> str:
        value = self.fields.get(name)
        if value is None:
            return ""
        if not isinstance(value, str):
            raise self.error(name, "is not a text", "put it in quotes")
        return value

    def flag(self, name: str) -> bool:
        value = self.fields.get(name, False)
        if not isinstance(value, bool):
            raise self.error(name, "is neither true nor false", "write one of them")
        return value

    def section(self, name: str) -> Mapping[str, object] | None:
        value = self.fields.get(name)
        if value is None or isinstance(value, Mapping):
            return value
        raise self.error(name, "has no fields", "write it as kubectl does")

    def path(self, name: str) -> Path | None:
        """Read a path; a relative one starts where the file is."""
        return self.file.parent / text if (text := self.text(name)) else None

    def content(self, name: str) -> bytes | None:
        """Read `name-data`, or the file that `name` points to; the data wins."""
        if text := self.text(data := f"{name}-data"):
            try:
                return base64.b64decode("".join(text.split()), validate=True)
            except (binascii.Error, ValueError):
                raise self.error(
                    data, "is not base64", f"use {name} to name a file instead"
                ) from None
        if (path := self.path(name)) is None:
            return None
        try:
            return path.read_bytes()
        except OSError as error:
            raise self.error(
                name,
                f"cannot be read from {path} ({error.strerror})",
                "correct the path or let this process read it",
            ) from None


class Kubeconfig(NamedTuple):
    """Files, merged."""

    files: str
    """Their names, for messages."""

    current: str
    """Name of the current context; empty if nothing says so."""

    contexts: Mapping[str, Entry]
    clusters: Mapping[str, Entry]
    users: Mapping[str, Entry]

    def context(self, name: str | None = None) -> Entry:
        """Find a context; the current one by default.

        Raises:
            ConfigError: There is no such context, or none is current.
        """
        names = ", ".join(sorted(self.contexts)) or "none: there is no context yet"
        if not (name := name or self.current):
            raise ConfigError(
                f"current-context is not set in {self.files}: name one of {names}"
            )
        if name not in self.contexts:
            raise ConfigError(
                f"the context {name} is not in {self.files}: name one of {names}"
            )
        return self.contexts[name]

    def cluster(self, context: Entry) -> Entry:
        """Find the cluster of a context.

        Raises:
            ConfigError: It is not there.
        """
        return _named(self.clusters, context, "cluster")

    def user(self, context: Entry) -> Entry:
        """Find the user of a context, which may do without; then it has no fields.

        Raises:
            ConfigError: It is not there.
        """
        if not context.text("user"):
            return Entry("user", "", {}, context.file)
        return _named(self.users, context, "user")


def listed_files(environ: Mapping[str, str]) -> Sequence[Path]:
    """Return what `KUBECONFIG` names, without files that are not there.

    If none is there all are returned, so that whoever reads them says so.
    """
    named = environ.get("KUBECONFIG", "").split(os.pathsep)
    listed = [Path(item) for item in named if item]
    # kubectl passes over those that are not there, as long as one is
    return [path for path in listed if path.exists()] or listed


def usual_file(home: Path) -> Path:
    """Return where a kubeconfig is that nothing names."""
    return home / ".kube" / "config"


def read_kubeconfig(paths: Iterable[Path]) -> Kubeconfig:
    """Read files and merge them. Blocks on disk.

    Raises:
        ConfigError: One cannot be read, or is none.
    """
    paths = [path.absolute() for path in paths]
    documents = [(path, _read(path)) for path in paths]
    current = (document.get("current-context") for _, document in documents)
    return Kubeconfig(
        ", ".join(map(str, paths)),
        next((str(name) for name in current if name), ""),
        *(
            {
                entry.name: entry
                for path, document in reversed(documents)
                for entry in _entries(role, path, document)
            }
            for role in ("context", "cluster", "user")
        ),
    )


def _read(path: Path) -> Mapping[str, object]:
    import yaml  # noqa: PLC0415 - in a cluster there is no kubeconfig

    # libyaml is not in every wheel of PyYAML.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        document = yaml.load(path.read_bytes(), loader)  # noqa: S506 -- a safe one
    except OSError as error:
        raise ConfigError(
            f"the kubeconfig {path} cannot be read ({error.strerror}): "
            "correct its path, or KUBECONFIG"
        ) from None
    except yaml.YAMLError as error:
        # Without the parser's own words, which quote the file.
        mark = getattr(error, "problem_mark", None)
        line = f" at line {mark.line + 1}" if mark else ""
        raise ConfigError(
            f"the kubeconfig {path} is not YAML{line}: write it with kubectl config"
        ) from None
    if document is None:
        return {}
    if not isinstance(document, Mapping):
        raise ConfigError(
            f"{path} is no kubeconfig, which has clusters, users and contexts: "
            "name another file"
        )
    return document


def _entries(role: str, path: Path, document: Mapping[str, object]) -> Iterable[Entry]:
    listed = document.get(f"{role}s") or []
    if not isinstance(listed, list):
        raise ConfigError(f"{role}s in {path} is no list: write it as kubectl does")
    # Of two entries with one name the first counts: it is the last to be yielded.
    for item in reversed(listed):
        fields = (item.get(role) or {}) if isinstance(item, Mapping) else None
        if isinstance(fields, Mapping):
            yield Entry(role, str(item.get("name", "")), fields, path)


def _named(entries: Mapping[str, Entry], context: Entry, role: str) -> Entry:
    name = context.text(role)
    if name not in entries:
        names = ", ".join(sorted(entries)) or "none, so add it"
        raise context.error(role, f"is {name!r}, which is not there", f"use {names}")
    return entries[name]
