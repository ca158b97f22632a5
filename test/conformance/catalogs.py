"""Small catalogues of the autopilot, written to a folder or made in memory."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from controller_runtime import GroupVersionKind, Json
from controllers.autopilot.assets import Asset, Catalog
from controllers.autopilot.context import RenderContext, SourceObject
from controllers.autopilot.metadata import Identity, SourceKind

IDENTITY = Identity(managed_by_value="tests", field_manager="tests")

SOURCE = SourceKind(
    group="hco.kubevirt.io",
    kind="HyperConverged",
    plural="hyperconvergeds",
    versions=("v1", "v1beta1"),
    name="kubevirt-hyperconverged",
    namespace="openshift-cnv",
    fields={
        "featureGates": {"v1": "spec.featureGates", "v1beta1": "spec.featureGates"},
        "ksmConfiguration": {
            "v1": "spec.virtualization.ksmConfiguration",
            "v1beta1": "spec.ksmConfiguration",
        },
        "liveMigrationConfig": {
            "v1": "spec.virtualization.liveMigrationConfig",
            "v1beta1": "spec.liveMigrationConfig",
        },
        "nodePlacements.infra": {
            "v1": "spec.deployment.nodePlacements.infra",
            "v1beta1": "spec.infra.nodePlacement",
        },
    },
)

CONFIG_MAP = """\
apiVersion: v1
kind: ConfigMap
metadata: {name: made, namespace: default}
"""

METADATA: Json = {
    "apiVersion": "autopilot/v1",
    "kind": "Catalog",
    "identity": {"managedByValue": "tests", "fieldManager": "tests"},
    "source": SOURCE.model_dump(by_alias=True),
    "facts": [
        {"name": "gpuPresent", "description": "…", "resources": ["nvidia\\.com/.+"]}
    ],
}


def write_catalog(
    folder: Path,
    *,
    assets: list[Json],
    files: Mapping[str, str | bytes] | None = None,
    **metadata: Any,
) -> Path:
    """Write a catalogue in which every asset is outside of features."""
    excluded = [asset["name"] for asset in assets]
    content = METADATA | {"assets": assets, "excluded_assets": excluded} | metadata
    written = {"metadata.yaml": yaml.safe_dump(content), **(files or {})}
    for path, text in written.items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder


def asset(name: str = "made", **fields: Any) -> Asset:
    """Make an asset of a ConfigMap."""
    given: dict[str, Any] = {
        "index": 0,
        "path": f"active/{name}.yaml.j2",
        "kind": GroupVersionKind("", "v1", "ConfigMap"),
    }
    return Asset(name=name, **(given | fields))


def catalog(*assets: Asset, files: Mapping[str, str] | None = None) -> Catalog:
    """Make a catalogue in memory."""
    return Catalog(
        name="tests",
        digest="",
        identity=IDENTITY,
        source=SOURCE,
        facts=(),
        assets=assets,
        features=(),
        tombstones=(),
        files=files or {},
    )


def source(
    spec: Mapping[str, Any] | None = None,
    *,
    version: str = "v1",
    annotations: Mapping[str, str] | None = None,
) -> SourceObject:
    """Make a source object."""
    metadata = {
        "name": SOURCE.name,
        "namespace": SOURCE.namespace,
        "annotations": dict(annotations or {}),
    }
    api_version = f"{SOURCE.group}/{version}"
    obj = {
        "apiVersion": api_version,
        "kind": SOURCE.kind,
        "metadata": metadata,
        "spec": dict(spec or {}),
    }
    return SourceObject(obj, SOURCE)


def context(of: SourceObject | None = None, **fields: Any) -> RenderContext:
    """Make a context."""
    return RenderContext(source=of or source(), identity=IDENTITY, **fields)
