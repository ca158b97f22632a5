"""Workloads of every kind, seen as one."""

from __future__ import annotations

import json

import pytest

from controller_runtime import RawObject
from controller_runtime.meta import read_meta
from controllers.reload.workloads import WORKLOADS, WorkloadKey, read_workload


def entry() -> RawObject:
    raw = json.dumps(
        {
            "metadata": {
                "name": "web",
                "namespace": "shop",
                "resourceVersion": "9",
                "annotations": {"on": "workload"},
            },
            "spec": {
                "template": {
                    "metadata": {
                        "creationTimestamp": None,
                        "annotations": {"on": "template"},
                    },
                    "spec": {"containers": [{"name": "app", "image": "x"}]},
                }
            },
        }
    ).encode()
    return RawObject(read_meta(raw), raw)


@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet", "DaemonSet"])
def test_a_workload_of_any_kind_has_a_key_and_a_template(kind: str) -> None:
    workload = read_workload(kind, entry())

    assert workload.key == WorkloadKey(kind, "shop", "web")
    assert workload.meta.resource_version == "9"
    assert workload.meta.annotations == {"on": "workload"}
    assert workload.template.metadata.annotations == {"on": "template"}
    assert [c.name for c in workload.template.spec.containers] == ["app"]


def test_workloads_of_one_name_have_keys_of_their_own() -> None:
    keys = {read_workload(kind, entry()).key for kind in WORKLOADS}

    assert len(keys) == len(WORKLOADS)
    assert {str(key) for key in keys} >= {"Deployment/shop/web"}
