"""The CRD as the API server takes it: fields, rules, columns, the status."""

from __future__ import annotations

import json

import pytest

from api.bundle.v1alpha1 import WerfBundle
from conformance.bundles import Yard
from controller_runtime import InvalidError, Json, merge_patch
from controllers.up.samples import apply_samples

MINIMAL: Json = {"registry": {"url": "ghcr.io/org/app"}}


def spec(registry: Json | None = None, **more: object) -> Json:
    return {"registry": {**MINIMAL["registry"], **(registry or {})}, **more}


async def test_the_least_bundle_is_taken_and_shown_in_columns(yard: Yard) -> None:
    """Scenario 1."""
    made = await yard.create(WerfBundle.gvk, "app", spec=MINIMAL)
    assert made["spec"]["registry"]["pollInterval"] == "15m"
    assert made["spec"]["converge"]["resourceLimits"] == {"cpu": "1", "memory": "1Gi"}

    answer = await yard.client.transport.request(
        "GET",
        f"/apis/werf.io/v1alpha1/namespaces/{yard.namespace}/werfbundles",
        accept="application/json;as=Table;v=v1;g=meta.k8s.io",
    )
    columns = [it["name"] for it in json.loads(answer.body)["columnDefinitions"]]
    assert {"Phase", "LastAppliedTag", "Ready", "Age"} <= set(columns)
    found = await yard.client.transport.request("GET", "/apis/werf.io/v1alpha1")
    (resource,) = [
        it for it in json.loads(found.body)["resources"] if it["name"] == "werfbundles"
    ]
    assert resource["shortNames"] == ["wb", "wbs"]
    assert resource["categories"] == ["werf"]


async def test_the_sample_is_taken(yard: Yard) -> None:
    applied = await apply_samples(
        yard.client, "werf.io_v1alpha1_werfbundle.yaml", yard.namespace
    )

    assert applied[-1]["kind"] == "WerfBundle"


async def test_status_and_spec_are_written_apart(yard: Yard) -> None:
    """Scenario 3."""
    made = await yard.create(
        WerfBundle.gvk, "app", spec=MINIMAL, status={"phase": "Synced"}
    )
    assert "phase" not in made.get("status", {})

    patch = merge_patch({"status": {"phase": "Made up"}, "spec": {"suspend": True}})
    after = await yard.client.patch(
        WerfBundle.gvk, "app", yard.namespace, patch=patch, subresource="status"
    )
    assert after["status"]["phase"] == "Made up"  # a later version may know it
    assert after["spec"] == made["spec"]
    assert after["metadata"]["generation"] == made["metadata"]["generation"]


@pytest.mark.parametrize(
    "given",
    [
        pytest.param(spec({"pollInterval": "1h30m"}), id="1h30m"),
        pytest.param(spec({"pollInterval": "1m"}), id="1m"),
        pytest.param(spec({"pollInterval": "24h"}), id="24h"),
        pytest.param(spec({"url": "invalid://x"}), id="a url for the controller"),
        pytest.param(spec({"tag": "v1", "versionConstraint": ""}), id="one of three"),
        pytest.param(
            spec(converge={"driftDetection": {"enabled": True, "mode": "Correct"}}),
            id="drift agrees",
        ),
        pytest.param(
            spec(converge={"resourceLimits": {"cpu": "250m", "memory": "64Mi"}}),
            id="quantities",
        ),
        pytest.param(
            spec(converge={"values": {"any": {"thing": [1, None, "x"]}}}), id="values"
        ),
    ],
)
async def test_good_specs_are_taken(yard: Yard, given: Json) -> None:
    """Scenario 2."""
    await yard.create(WerfBundle.gvk, "app", spec=given)


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"registry": {}}, "spec.registry.url"),
        ({}, "spec.registry"),
        (spec({"pollInterval": "5x"}), "spec.registry.pollInterval"),
        (spec({"pollInterval": "30s"}), "spec.registry.pollInterval"),
        (spec({"pollInterval": "25h"}), "spec.registry.pollInterval"),
        (spec({"timeout": "6m"}), "spec.registry.timeout"),
        (spec({"tag": "a/b"}), "spec.registry.tag"),
        (spec({"digest": "sha256:x"}), "spec.registry.digest"),
        (spec({"tag": "v1", "versionConstraint": ">=1"}), "at most one of"),
        (spec({"tag": "v1", "tagFilter": {"include": "x"}}), "tagFilter"),
        (
            spec(
                {
                    "tlsConfig": {
                        "caSecretRef": {"name": "a"},
                        "insecureSkipVerify": True,
                    }
                }
            ),
            "exclude each other",
        ),
        (spec(converge={"targetNamespace": "No"}), "spec.converge.targetNamespace"),
        (spec(converge={"releaseName": "x" * 54}), "spec.converge.releaseName"),
        (spec(converge={"serviceAccountName": ""}), "serviceAccountName"),
        (spec(converge={"logRetentionDays": 0}), "logRetentionDays"),
        (spec(converge={"retries": 11}), "spec.converge.retries"),
        (spec(converge={"timeout": "7h"}), "spec.converge.timeout"),
        (spec(converge={"resourceLimits": {"cpu": "0"}}), "resourceLimits.cpu"),
        (spec(converge={"resourceLimits": {"memory": "1Mi"}}), "resourceLimits.memory"),
        (spec(converge={"resourceLimits": {"cpu": "much"}}), "resourceLimits.cpu"),
        (spec(converge={"valuesFrom": [{"optional": True}]}), "exactly one of"),
        (
            spec(
                converge={
                    "valuesFrom": [
                        {"configMapRef": {"name": "a"}, "secretRef": {"name": "b"}}
                    ]
                }
            ),
            "exactly one of",
        ),
        (
            spec(converge={"driftDetection": {"enabled": True, "mode": "Detect"}}),
            "enabled true is mode Correct",
        ),
        (spec(deletionPolicy="Burn"), "spec.deletionPolicy"),
    ],
)
async def test_bad_specs_are_refused_by_field(
    yard: Yard, given: Json, named: str
) -> None:
    """Scenarios 2 and 69."""
    with pytest.raises(InvalidError) as caught:
        await yard.create(WerfBundle.gvk, "app", spec=given)
    assert named in str(caught.value)
