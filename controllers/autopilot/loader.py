"""Catalogues are read from folders, and checked as a whole.

    <folder>/metadata.yaml      which assets there are, and when they apply
    <folder>/active/**          *.yaml, *.yaml.j2, and files that templates embed
    <folder>/tombstones/**.yaml what was wanted once and is to go

A catalogue that is wrong anywhere is not loaded at all: half of one would look like
one that wants less. Everything here reads files: call it in a thread.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from controller_runtime import GroupVersionKind, NamespacedName
from controllers.autopilot.assets import Asset, Catalog, Tombstone
from controllers.autopilot.documents import MAX_BYTES, read_documents, read_object
from controllers.autopilot.errors import CatalogError
from controllers.autopilot.features import features_of
from controllers.autopilot.metadata import (
    AnyCondition,
    AssetEntry,
    Condition,
    HardwareCondition,
    Metadata,
    NotCondition,
    TopologyCondition,
)
from controllers.autopilot.topology import YES_OR_NO

CATALOGS = Path(__file__).parent / "catalogs"
"""Catalogues that come with the program."""

METADATA = "metadata.yaml"
TEMPLATE = ".j2"

_BUILT_IN_GROUPS = frozenset({"", "apps", "batch", "policy", "autoscaling"})
_API_VERSION = re.compile(r"^apiVersion: *([\w./-]+) *$", re.MULTILINE)
_KIND = re.compile(r"^kind: *(\w+) *$", re.MULTILINE)


def load_builtin(name: str = "kubevirt") -> Catalog:
    """Read a catalogue that comes with the program."""
    return load_catalog(CATALOGS / name)


def load_catalog(folder: Path) -> Catalog:
    """Read a catalogue and check it as a whole.

    Raises:
        CatalogError: Anything is wrong with it; the text names file and field.
    """
    text = _read(folder / METADATA, folder)
    metadata = _metadata(text, folder / METADATA)
    files = dict(_files(folder, "active"))
    assets = tuple(
        _asset(entry, index, files) for index, entry in enumerate(metadata.assets)
    )
    buried = dict(_files(folder, "tombstones"))
    _check_references(metadata, assets)
    return Catalog(
        name=folder.name,
        digest=_digest({METADATA: text, **files, **buried}),
        identity=metadata.identity,
        source=metadata.source,
        facts=metadata.facts,
        assets=assets,
        features=features_of(metadata, assets),
        tombstones=tuple(
            tombstone
            for path, content in buried.items()
            for tombstone in _tombstones(path, content, metadata)
        ),
        files=files,
    )


def _metadata(text: str, file: Path) -> Metadata:
    content = read_object(text, origin=str(file)) or {}
    try:
        return Metadata.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        name = _name_at(content, first["loc"])
        problem = first["msg"].removeprefix("Value error, ")
        raise CatalogError(f"{file}: {place}{name}: {problem}") from None


def _name_at(content: Mapping[str, Any], place: tuple[int | str, ...]) -> str:
    """Name the asset or feature that an error is about, if it is about one."""
    entry: Any = content
    for part in place[:2]:
        try:
            entry = entry[part]
        except (LookupError, TypeError):
            return ""
    return f" ({entry['name']})" if isinstance(entry, dict) and "name" in entry else ""


def _files(folder: Path, below: str) -> Iterator[tuple[str, str]]:
    """Yield path → text of all files, in an order that no file system decides."""
    for file in sorted((folder / below).rglob("*")):
        if file.is_file() and not file.name.startswith("."):
            yield file.relative_to(folder).as_posix(), _read(file, folder)


def _read(file: Path, folder: Path) -> str:
    if not file.resolve().is_relative_to(folder.resolve()):
        raise CatalogError(f"{file} leads out of the catalogue: copy what it links to")
    try:
        if file.stat().st_size > MAX_BYTES:
            raise CatalogError(f"{file} is longer than {MAX_BYTES} bytes")
        return file.read_text(encoding="utf-8")
    except OSError as error:
        raise CatalogError(f"cannot read {file}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise CatalogError(f"{file} is not UTF-8") from None


def _digest(files: Mapping[str, str]) -> str:
    whole = hashlib.sha256()
    for path, text in sorted(files.items()):
        content = text.encode()
        whole.update(f"{path}\0{len(content)}\0".encode())
        whole.update(content)
    return whole.hexdigest()


def _asset(entry: AssetEntry, index: int, files: Mapping[str, str]) -> Asset:
    text = files.get(entry.path)
    if text is None:
        raise CatalogError(
            f"asset {entry.name}: there is no file {entry.path}; paths start with "
            "active/"
        )
    kind = _kind_of(entry, text)
    if entry.component and entry.component != kind.kind:
        raise CatalogError(
            f"asset {entry.name}: component is {entry.component}, and {entry.path} "
            f"makes a {kind.kind}"
        )
    required = guess_crd(kind) if entry.required_crd is None else entry.required_crd
    return Asset(
        name=entry.name,
        index=index,
        path=entry.path,
        kind=kind,
        group=entry.group,
        phase=entry.phase,
        install=entry.install,
        order=entry.reconcile_order,
        conditions=entry.conditions,
        required_crd=required,
        gate_crd=entry.gate_crd,
        params=entry.template_params,
        wave=entry.wave,
        health=entry.health,
        on_inactive=entry.on_inactive,
        drift=entry.drift,
        depends_on=entry.depends_on,
        sensitive=entry.sensitive,
    )


def _kind_of(entry: AssetEntry, text: str) -> GroupVersionKind:
    """Find the kind, which is known before anything is rendered."""
    if not entry.path.endswith((".yaml", f".yaml{TEMPLATE}")):
        raise CatalogError(
            f"asset {entry.name}: {entry.path} is neither .yaml nor .yaml{TEMPLATE}"
        )
    if not entry.path.endswith(TEMPLATE):
        read_object(text, origin=entry.path)
    api_version, kind = _API_VERSION.search(text), _KIND.search(text)
    if api_version is None or kind is None:
        raise CatalogError(
            f"asset {entry.name}: {entry.path} must have apiVersion and kind on lines "
            "of their own, without anything to render in them"
        )
    return GroupVersionKind.parse(api_version[1], kind[1])


def guess_crd(kind: GroupVersionKind) -> str:
    """Guess the name of a kind's CRD; empty for kinds that have none.

    For where there is no server to ask, which knows. The rule is
    virt-platform-autopilot's: `es` after s, x and ch, else `s`.
    """
    if kind.group in _BUILT_IN_GROUPS or kind.group.endswith(".k8s.io"):
        return ""
    name = kind.kind.lower()
    if name == "securitycontextconstraints":
        plural = name
    else:
        plural = name + ("es" if name.endswith(("s", "x", "ch")) else "s")
    return f"{plural}.{kind.group}"


def _check_references(metadata: Metadata, assets: tuple[Asset, ...]) -> None:
    """Refuse names of what is not there."""
    names = {asset.name for asset in assets}
    facts = {rule.name for rule in metadata.facts}
    for asset in assets:
        for other in asset.depends_on:
            if other not in names:
                raise CatalogError(f"asset {asset.name} depends on {other}: no such")
        source = metadata.source
        if asset.order == 0 and asset.kind[::2] != (source.group, source.kind):
            raise CatalogError(
                f"asset {asset.name}: reconcile_order 0 is for {source.kind} alone"
            )
        for condition in flat(asset.conditions):
            match condition:
                case HardwareCondition(detector=name) if name not in facts:
                    raise CatalogError(
                        f"asset {asset.name}: no fact is named {name}; there are "
                        f"{', '.join(sorted(facts)) or 'none'}"
                    )
                case TopologyCondition(field=name) if name not in YES_OR_NO:
                    raise CatalogError(
                        f"asset {asset.name}: {name} is no yes-or-no field of the "
                        f"topology; there are {', '.join(sorted(YES_OR_NO))}"
                    )


def flat(conditions: tuple[Condition, ...]) -> Iterator[Condition]:
    """Yield conditions and those inside of them."""
    for condition in conditions:
        yield condition
        if isinstance(condition, NotCondition):
            yield from flat((condition.condition,))
        elif isinstance(condition, AnyCondition):
            yield from flat(condition.conditions)


def _tombstones(path: str, text: str, metadata: Metadata) -> Iterator[Tombstone]:
    identity = metadata.identity
    label, value = identity.managed_by_label, identity.managed_by_value
    for document in read_documents(text, origin=path):
        match document:
            case {
                "apiVersion": str(api_version),
                "kind": str(kind),
                "metadata": {"name": str(name), "labels": dict(labels)} as place,
            } if labels.get(label) == value:
                yield Tombstone(
                    file=path,
                    kind=GroupVersionKind.parse(api_version, kind),
                    key=NamespacedName(place.get("namespace", ""), name),
                )
            case _:
                raise CatalogError(
                    f"{path}: a tombstone has apiVersion, kind, a name, and the label "
                    f"{label}: {value}"
                )
