"""What the server says of itself: groups, versions, resources, its version."""

from __future__ import annotations

from controller_runtime.meta import Json
from controller_runtime.testing.apiserver.requests import Catalogue

VERSION: Json = {
    "major": "1",
    "minor": "36",
    "gitVersion": "v1.36.3",
    "gitTreeState": "clean",
    "platform": "linux/amd64",
}


def answer(catalogue: Catalogue, path: str) -> Json | None:
    """Return the document at `path`, or None if there is none."""
    if path == "/version":
        return VERSION
    if path == "/api":
        return {"kind": "APIVersions", "versions": ["v1"]}
    if path == "/apis":
        groups = [_group(name, found) for name, found in catalogue.groups().items()]
        return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}
    group = path.removeprefix("/apis/")
    if group in catalogue.groups():
        document = _group(group, catalogue.groups()[group])
        return {"kind": "APIGroup", "apiVersion": "v1", **document}
    return _resources(catalogue, path)


def _group(name: str, versions: list[str]) -> Json:
    entries = [
        {"groupVersion": f"{name}/{version}", "version": version}
        for version in versions
    ]
    return {"name": name, "versions": entries, "preferredVersion": entries[0]}


def _resources(catalogue: Catalogue, prefix: str) -> Json | None:
    found = catalogue.at(prefix)
    if not found:
        return None
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": found[0].gvk.api_version,
        "resources": [entry for resource in found for entry in resource.discovery()],
    }
