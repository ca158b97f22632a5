"""Plurals and scopes that are known offline, against those of a real server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from controller_runtime import (
    GroupVersionKind,
    HttpTransport,
    RestConfig,
    load_restconfig,
)
from controller_runtime.discovery import read_resources
from controller_runtime.resources import Resource, resource_of
from controller_runtime.testing.envtest import Cluster


@pytest.fixture
def config(kubeconfig: Path) -> RestConfig:
    return load_restconfig(kubeconfig=kubeconfig, environ={}, home=kubeconfig.parent)


async def test_every_kind_that_kubernetes_serves_is_what_is_known_of_it(
    control_plane: Cluster, config: RestConfig
) -> None:
    groups: Any = await control_plane.api.get("/apis")
    versions = [v["groupVersion"] for g in groups["groups"] for v in g["versions"]]
    ours = [it for it in versions if it.endswith(".k8s.io/v1") or "." not in it]

    served: dict[GroupVersionKind, Resource] = {}
    async with HttpTransport(config) as transport:
        for path in ["/api/v1", *(f"/apis/{version}" for version in ours)]:
            group, _, version = path.removeprefix("/apis/").rpartition("/")
            group = "" if path == "/api/v1" else group
            answer = await transport.request("GET", path)
            for it in read_resources(group, version, answer.body):
                served[it.gvk] = Resource(group, it.plural, it.namespaced)

    assert len(served) > 50
    assert {gvk: resource_of(gvk) for gvk in served} == served
