"""ReloaderConfigs that the server takes, and nobody would write: all goes on."""

from __future__ import annotations

import pytest

from api.reload.v1alpha1 import ReloaderConfig
from conformance.reloads import SECONDS, Shop, record
from controller_runtime import (
    ApiError,
    Json,
)
from controller_runtime.testing.eventually import eventually

pytestmark = pytest.mark.usefixtures("crd")

TARGET: Json = {"kind": "Deployment", "name": "web"}
USES: Json = {"autoReloadAll": True, "targets": [TARGET]}
SLOW = "(?:[a-z0-9]?){500}(?:[a-y]?){400}"

ODD: dict[str, Json] = {
    "pause-for-ever": {**USES, "targets": [{**TARGET, "pausePeriod": "80000000h"}]},
    "pause-without-end": {
        **USES,
        "targets": [{**TARGET, "pausePeriod": "9" * 40 + "h"}],
    },
    "interval-for-ever": {**USES, "minInterval": "80000000h"},
    "window-never": {**USES, "window": {"schedule": "0 0 30 2 *", "duration": "1h"}},
    "window-nowhere": {
        **USES,
        "window": {"schedule": "0 0 1 1 *", "duration": "1h", "timeZone": "../etc/x"},
    },
    "patterns": {
        **USES,
        "watchedResources": {
            "secrets": [f"/{SLOW}{n}/" for n in range(200)],
            "configMaps": ["/", "//", "/(/", "/[é]+/", "ü", " ", "/" * 1024],
            "keyScopes": [
                {"kind": "Secret", "name": f"/{SLOW}{n}x/"} for n in range(200)
            ],
        },
    },
    "names": {
        **USES,
        "ignoreResources": [{"kind": "Secret", "name": "é/☃"}],
        "ignoreKeys": ["é☃", " "],
        "targets": [
            TARGET,
            {"kind": "*", "name": "n" * 253},
            {"kind": "Job", "name": "a/b", "namespace": "é"},
            {"kind": "CronJob", "name": "..", "containers": ["é"]},
            {"kind": "*", "selector": {}},
        ],
        "matchLabels": {"é": "not a label", "": ""},
    },
    "selectors": {
        **USES,
        "watchedResources": {
            "resourceSelector": {
                "matchExpressions": [{"key": "", "operator": "Odd", "values": ["é"]}]
            },
            "namespaceSelector": {"matchLabels": {"a b": "c d"}},
        },
    },
    "itself": {**USES, "dependsOn": [TARGET], "maxConcurrent": 1},
    "nothing": {},
}


async def test_odd_configs_hurt_no_other(shop: Shop) -> None:
    """The witness: a well-formed config reloads, and each odd one has a status."""
    taken: list[str] = []
    await shop.sources("cm/c")
    await shop.workload("web", uses=["cm/unused"])
    witness = await shop.workload("witness", uses=["cm/c"])
    target = {"kind": "Deployment", "name": "witness"}

    async with shop.manager():
        for name, spec in ODD.items():
            try:
                await shop.reloader(name, **spec)
            except ApiError:
                continue  # better still
            taken.append(name)
        await shop.reloader("witness", autoReloadAll=True, targets=[target])
        for name in (*taken, "witness"):
            await eventually(
                *(shop.client, ReloaderConfig.gvk, name, shop.namespace),
                lambda it: it.get("status", {}).get("observedGeneration") == 1,
                timeout=SECONDS,
            )
        await witness.adopted("cm/c")
        await shop.change("cm/c")
        await eventually(
            *(shop.client, ReloaderConfig.gvk, "witness", shop.namespace),
            lambda it: it["status"].get("reloadCount") == 1,
            timeout=SECONDS,
        )

    assert {"patterns", "names", "itself", "nothing"} <= {*taken}


async def test_a_status_of_more_sources_than_fit_is_taken(shop: Shop) -> None:
    """Of 16 workloads with 800 sources each, all hashes would be two megabytes."""
    for number in range(800):
        await shop.sources(f"cm/{'c' * 110}-{number:0>4}")
    targets = [{"kind": "Deployment", "name": f"w{number}"} for number in range(16)]
    for target in targets:
        await shop.workload(target["name"], uses=["cm/unused"])
    watched = {"configMaps": ["/c+-[0-9]+/"]}

    async with shop.manager():
        await shop.reloader(watchedResources=watched, targets=targets)
        for target in targets:
            await shop.when(target["name"], record)
        await shop.change(f"cm/{'c' * 110}-0000")
        found = await eventually(
            *(shop.client, ReloaderConfig.gvk, "x", shop.namespace),
            lambda it: (
                [row.get("reloadCount") for row in it["status"]["targetStatus"]]
                == [1] * len(targets)
            ),
            timeout=SECONDS,
        )

    assert found["status"]["reloadCount"] == 1
    (available,) = (
        c for c in found["status"]["conditions"] if c["type"] == "Available"
    )
    assert available["message"] == "16 targets, 800 sources"
