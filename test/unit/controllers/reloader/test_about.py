"""What the process tells of itself, for those who read what the original tells."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime

import pytest

from controller_runtime import Json
from controllers.reloader.about import meta_info
from controllers.reloader.settings import read

BUILD: Mapping[str, type] = {
    "goVersion": str,
    "releaseVersion": str,
    "commitHash": str,
    "commitTime": str,
    "edition": str,
}

OPTIONS: Mapping[str, type] = {
    "autoReloadAll": bool,
    "configmapUpdateOnChangeAnnotation": str,
    "secretUpdateOnChangeAnnotation": str,
    "secretProviderClassUpdateOnChangeAnnotation": str,
    "reloaderAutoAnnotation": str,
    "ignoreResourceAnnotation": str,
    "configmapReloaderAutoAnnotation": str,
    "secretReloaderAutoAnnotation": str,
    "secretProviderClassReloaderAutoAnnotation": str,
    "configmapExcludeReloaderAnnotation": str,
    "secretExcludeReloaderAnnotation": str,
    "secretProviderClassExcludeReloaderAnnotation": str,
    "autoSearchAnnotation": str,
    "searchMatchAnnotation": str,
    "rolloutStrategyAnnotation": str,
    "pauseDeploymentAnnotation": str,
    "pauseDeploymentTimeAnnotation": str,
    "logFormat": str,
    "logLevel": str,
    "isArgoRollouts": bool,
    "reloadStrategy": str,
    "reloadOnCreate": bool,
    "reloadOnDelete": bool,
    "syncAfterRestart": bool,
    "enableHA": bool,
    "enableCSIIntegration": bool,
    "webhookUrl": str,
    "resourcesToIgnore": list,
    "workloadTypesToIgnore": list,
    "namespaceSelectors": list,
    "resourceSelectors": list,
    "namespacesToIgnore": list,
    "enablePProf": bool,
    "pprofAddr": str,
}
"""Names and types of the original (`pkg/common`, structs with JSON tags)."""

POD = {"POD_NAME": "p", "POD_NAMESPACE": "ops"}


def told(*arguments: str) -> Mapping[str, Json]:
    data = meta_info(read(arguments, POD), version="1.2.3")["data"]
    return {name: json.loads(text) for name, text in data.items()}


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--enable-ha", "--namespace-selector=a=b,c", "--resources-to-ignore=secrets"),
    ],
)
def test_names_and_types_are_those_that_a_reader_in_go_expects(
    arguments: tuple[str, ...],
) -> None:
    data = told(*arguments)

    assert set(data) == {"buildInfo", "reloaderOptions", "deploymentInfo"}
    for wanted, found in ((BUILD, "buildInfo"), (OPTIONS, "reloaderOptions")):
        for name, kind in wanted.items():
            assert type(data[found][name]) is kind, name
    assert datetime.fromisoformat(data["buildInfo"]["commitTime"]).year == 1
    assert data["buildInfo"]["releaseVersion"] == "1.2.3"


@pytest.mark.parametrize(
    ("argument", "name", "value"),
    [
        ("--auto-reload-all", "autoReloadAll", True),
        ("--reload-strategy=annotations", "reloadStrategy", "annotations"),
        ("--enable-csi-integration", "enableCSIIntegration", True),
        ("--resources-to-ignore=configMaps", "resourcesToIgnore", ["configmaps"]),
        (
            "--ignored-workload-types=jobs,cronjobs",
            "workloadTypesToIgnore",
            ["cronjobs", "jobs"],
        ),
        ("--namespace-selector=a:b", "namespaceSelectors", ["a:b"]),
        ("--namespaces-to-ignore=b,a", "namespacesToIgnore", ["a", "b"]),
        ("--namespaces=b,a", "namespaces", ["b", "a"]),
        ("--secret-annotation=x/y", "secretUpdateOnChangeAnnotation", "x/y"),
        ("--enable-pprof", "pprofAddr", ":6060"),
        ("--log-format=json", "logFormat", "json"),
        (
            "--webhook-url=https://h.example/T0KEN",
            "webhookUrl",
            "https://h.example:443",
        ),
    ],
)
def test_options_are_told(argument: str, name: str, value: object) -> None:
    assert told(argument)["reloaderOptions"][name] == value


def test_without_options_nothing_is_left_out() -> None:
    data = told()["reloaderOptions"]

    assert data["resourcesToIgnore"] == data["workloadTypesToIgnore"] == []
    assert data["reloaderAutoAnnotation"] == "reloader.stakater.com/auto"
    assert (data["logFormat"], data["logLevel"]) == ("", "info")
