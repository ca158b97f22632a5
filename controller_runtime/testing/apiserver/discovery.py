"""What the server says of itself: groups, versions, resources, its version."""

from __future__ import annotations

from collections.abc import Iterable

from controller_runtime.meta import Json
from controller_runtime.testing.apiserver.requests import Catalogue
from controller_runtime.testing.apiserver.resources import Resource

VERSION: Json = {
    "major": "1",
    "minor": "36",
    "gitVersion": "v1.36.3",
    "gitTreeState": "clean",
    "platform": "linux/amd64",
}


_FORM = "g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"


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


def aggregated(catalogue: Catalogue, path: str, accept: str) -> Json | None:
    """Return all that the groups at `path` serve, if one asks for it in this form.

    Older forms than `apidiscovery.k8s.io/v2` are not served.
    """
    if path not in {"/api", "/apis"} or _FORM not in accept:
        return None
    groups = {"": ["v1"]} if path == "/api" else catalogue.groups()
    items = []
    for group, versions in groups.items():
        prefix = f"{path}/{group}" if group else path
        served = [(it, catalogue.at(f"{prefix}/{it}")) for it in versions]
        metadata = {"name": group, "creationTimestamp": None}
        entries = [_version(version, found) for version, found in served]
        items.append({"metadata": metadata, "versions": entries})
    return {
        "kind": "APIGroupDiscoveryList",
        "apiVersion": "apidiscovery.k8s.io/v2",
        "metadata": {},
        "items": items,
    }


def _version(version: str, resources: Iterable[Resource]) -> Json:
    served = [it.aggregated_discovery() for it in resources]
    return {"version": version, "resources": served, "freshness": "Current"}


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
