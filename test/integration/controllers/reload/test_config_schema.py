"""The CRD as the API server takes it: fields, rules, columns, the status."""

from __future__ import annotations

import json

import pytest

from api.reload.v1alpha1 import ReloaderConfig
from controller_runtime import Client, InvalidError, Json, merge_patch
from controllers.up.samples import apply_samples

pytestmark = pytest.mark.usefixtures("crd")

TARGET: Json = {"kind": "Deployment", "name": "web"}


def body(namespace: str, name: str = "app", **spec: object) -> Json:
    return {
        "apiVersion": "reloader.stakater.com/v1alpha1",
        "kind": "ReloaderConfig",
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
    }


async def test_defaults_are_those_of_the_original(
    client: Client, namespace: str
) -> None:
    made = await client.create(body(namespace, targets=[TARGET]))

    assert made["spec"]["reloadStrategy"] == "env-vars"
    assert made["spec"]["rolloutStrategy"] == "rollout"
    assert made["spec"]["autoReloadAll"] is False
    assert made["spec"]["historyLimit"] == 10
    config = ReloaderConfig.model_validate(made)
    assert config.spec.targets[0].name == "web"


async def test_columns_and_names_are_those_that_users_type(
    client: Client, namespace: str
) -> None:
    await client.create(
        body(namespace, targets=[TARGET, {"kind": "Job", "name": "sweep"}])
    )

    answer = await client.transport.request(
        "GET",
        f"/apis/reloader.stakater.com/v1alpha1/namespaces/{namespace}/reloaderconfigs",
        accept="application/json;as=Table;v=v1;g=meta.k8s.io",
    )
    table = json.loads(answer.body)
    columns = [it["name"] for it in table["columnDefinitions"]]
    assert columns == [
        *("Name", "Strategy", "Targets", "Reloads", "Last Reload", "Ready", "Age"),
        "Pending",
    ]
    assert table["rows"][0]["cells"][1:3] == ["env-vars", "web"]
    found = await client.transport.request(
        "GET", "/apis/reloader.stakater.com/v1alpha1"
    )
    (resource,) = [
        it
        for it in json.loads(found.body)["resources"]
        if it["name"] == "reloaderconfigs"
    ]
    assert resource["shortNames"] == ["rc", "rlc"]
    assert resource["singularName"] == "reloaderconfig"


async def test_the_sample_is_taken(client: Client, namespace: str) -> None:
    applied = await apply_samples(client, "reload_reloaderconfig.yaml", namespace)

    assert applied[-1]["kind"] == "ReloaderConfig"


async def test_status_and_spec_are_written_apart(
    client: Client, namespace: str
) -> None:
    made = await client.create(
        body(namespace, targets=[TARGET]) | {"status": {"reloadCount": 7}}
    )
    assert "reloadCount" not in made.get("status", {})

    patch = merge_patch({"status": {"reloadCount": 1}, "spec": {"suspend": True}})
    after = await client.patch(
        ReloaderConfig.gvk, "app", namespace, patch=patch, subresource="status"
    )
    assert after["status"]["reloadCount"] == 1
    assert after["spec"] == made["spec"]
    assert after["metadata"]["generation"] == made["metadata"]["generation"]


@pytest.mark.parametrize(
    "spec",
    [
        pytest.param({}, id="nothing"),
        pytest.param({"targets": [{**TARGET, "pausePeriod": "1h30m"}]}, id="1h30m"),
        pytest.param({"targets": [{**TARGET, "pausePeriod": "1.5m"}]}, id="1.5m"),
        pytest.param({"targets": [{"kind": "*", "selector": {}}]}, id="everything"),
        pytest.param(
            {"targets": [TARGET, {**TARGET, "namespace": "other"}]}, id="namespaces"
        ),
        pytest.param(
            {"watchedResources": {"secrets": ["/db-.*/"], "configMaps": ["app"]}},
            id="regex",
        ),
        pytest.param(
            {"alerts": {"slack": {"secretRef": {"name": "hook"}}}}, id="alert-secret"
        ),
        pytest.param(
            {"window": {"schedule": "0 2 * * 1-5", "duration": "2h"}}, id="window"
        ),
        pytest.param(
            {"dependsOn": [{"kind": "StatefulSet", "name": "db"}]}, id="depends"
        ),
    ],
)
async def test_what_is_right_is_taken(
    client: Client, namespace: str, spec: Json
) -> None:
    made = await client.create(body(namespace, **spec))

    assert ReloaderConfig.model_validate(made).spec.dry_run is False


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        pytest.param(
            {"targets": [{**TARGET, "pausePeriod": "5 minutes"}]},
            "spec.targets[0].pausePeriod",
            id="pause-in-words",
        ),
        pytest.param(
            {"targets": [{"kind": "ReplicaSet", "name": "web"}]},
            "spec.targets[0].kind",
            id="kind",
        ),
        pytest.param(
            {"targets": [{"name": "web"}]}, "spec.targets[0].kind", id="no-kind"
        ),
        pytest.param(
            {"targets": [{"kind": "Deployment"}]},
            "exactly one of name, selector must be set",
            id="no-name",
        ),
        pytest.param(
            {"targets": [{**TARGET, "selector": {}}]},
            "exactly one of name, selector must be set",
            id="name-and-selector",
        ),
        pytest.param(
            {"targets": [TARGET, {**TARGET, "namespace": ""}]},
            "spec.targets[1]",
            id="twice",
        ),
        pytest.param(
            {
                "targets": [
                    {
                        "kind": "Job",
                        "selector": {
                            "matchExpressions": [{"key": "a", "operator": "In"}]
                        },
                    }
                ]
            },
            "In and NotIn need values",
            id="selector",
        ),
        pytest.param(
            {"targets": [{"kind": "Job", "selector": {}, "canary": True}]},
            "canary needs a name",
            id="canary-by-labels",
        ),
        pytest.param({"reloadStrategy": "default"}, "spec.reloadStrategy", id="how"),
        pytest.param({"rolloutStrategy": "kill"}, "spec.rolloutStrategy", id="kill"),
        pytest.param(
            {"alerts": {"slack": {}}},
            "exactly one of url, secretRef must be set",
            id="alert-nowhere",
        ),
        pytest.param(
            {
                "alerts": {
                    "teams": {"url": "https://x.test", "secretRef": {"name": "s"}}
                }
            },
            "exactly one of url, secretRef must be set",
            id="alert-twice",
        ),
        pytest.param(
            {"window": {"schedule": "0 2 * * *", "duration": "1s"}},
            "spec.window.duration",
            id="window",
        ),
        pytest.param(
            {"dependsOn": [{"kind": "*", "name": "db"}]},
            "kind must be one kind, not all",
            id="depends-on-all",
        ),
        pytest.param({"historyLimit": 101}, "spec.historyLimit", id="history"),
    ],
)
async def test_what_is_wrong_is_refused_at_admission(
    client: Client, namespace: str, spec: Json, field: str
) -> None:
    with pytest.raises(InvalidError) as caught:
        await client.create(body(namespace, **spec))

    assert field in str(caught.value)
