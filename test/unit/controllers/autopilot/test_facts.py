"""What Nodes and the platform tell, and what nobody tells."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from controller_runtime import Json
from controllers.autopilot.errors import CatalogError
from controllers.autopilot.facts import (
    Fact,
    NodeMemory,
    NodeView,
    fact_of,
    pattern,
)
from controllers.autopilot.loader import load_builtin
from controllers.autopilot.topology import topology_facts

START = datetime(2026, 1, 1, tzinfo=UTC)
RULES = {rule.name: rule for rule in load_builtin().facts}
NFD = "feature.node.kubernetes.io"
MASTER, CONTROL_PLANE, WORKER = (
    {f"node-role.kubernetes.io/{role}": ""}
    for role in ("master", "control-plane", "worker")
)


def node(name: str = "n", **fields: dict[str, str]) -> NodeView:
    return NodeView(
        name,
        fields.get("labels", {}),
        fields.get("annotations", {}),
        fields.get("capacity", {}),
    )


@pytest.mark.parametrize(
    ("fact", "fields", "expected"),
    [
        ("pciDevicesPresent", {"labels": {f"{NFD}/pci-present": "true"}}, True),
        (
            "pciDevicesPresent",
            {"labels": {f"{NFD}/pci-0300_10de.present": "true"}},
            True,
        ),
        ("pciDevicesPresent", {"labels": {f"{NFD}/pci-0300.present": "false"}}, False),
        ("pciDevicesPresent", {"capacity": {"nvidia.com/gpu": "2"}}, True),
        ("pciDevicesPresent", {"capacity": {"nvidia.com/gpu": "0"}}, False),
        ("pciDevicesPresent", {"capacity": {"devices.kubevirt.io/kvm": "1k"}}, False),
        ("pciDevicesPresent", {"capacity": {"x.kubernetes.io/y": "1"}}, False),
        ("pciDevicesPresent", {"capacity": {"hugepages-1Gi": "1Gi"}}, False),
        ("pciDevicesPresent", {"capacity": {"attachable-volumes-aws": "9"}}, False),
        ("pciDevicesPresent", {"capacity": {"cpu": "8", "memory": "1Gi"}}, False),
        ("numaNodesPresent", {"labels": {f"{NFD}/memory-numa": "true"}}, True),
        ("numaNodesPresent", {"labels": {f"{NFD}/memory-numa": "false"}}, False),
        (
            "numaNodesPresent",
            {"labels": {f"{NFD}/cpu-hardware_multithreading": "true"}},
            True,
        ),
        (
            "numaNodesPresent",
            {"annotations": {"kubevirt.io/topology-manager-policy": "best-effort"}},
            True,
        ),
        (
            "numaNodesPresent",
            {"annotations": {"kubevirt.io/topology-manager-policy": ""}},
            False,
        ),
        ("vfioCapable", {"labels": {f"{NFD}/iommu-enabled": "true"}}, True),
        ("vfioCapable", {"labels": {f"{NFD}/iommu.enabled": "true"}}, True),
        ("vfioCapable", {"labels": {f"{NFD}/iommu.enabled": "false"}}, False),
        ("usbDevicesPresent", {"labels": {f"{NFD}/usb-present": "true"}}, True),
        ("usbDevicesPresent", {"labels": {f"{NFD}/usb-ef_1.present": "true"}}, True),
        ("gpuPresent", {"capacity": {"amd.com/gpu": "1"}}, True),
        ("gpuPresent", {"capacity": {"gpu.intel.com/xe": "1"}}, True),
        ("gpuPresent", {"capacity": {"nvidia.com/mig-1g.5gb": "1"}}, True),
        ("gpuPresent", {"labels": {f"{NFD}/pci-0302_10de.present": "true"}}, True),
        ("gpuPresent", {"labels": {f"{NFD}/pci-0200_8086.present": "true"}}, False),
        ("sriovCapable", {"labels": {f"{NFD}/network-sriov.capable": "true"}}, True),
    ],
)
def test_facts_of_the_catalogue(
    fact: str, fields: dict[str, dict[str, str]], expected: bool
) -> None:
    """Scenario 57: the tables, and a Node with KubeVirt's own devices alone."""
    found = fact_of(RULES[fact], [node("other"), node("this", **fields)])

    assert found.value is expected
    assert bool(found.because) is expected
    assert all(reason.startswith("node this: ") for reason in found.because)


def test_a_fact_says_where_it_comes_from_and_not_a_thousand_times() -> None:
    nodes = [node(f"n{i}", capacity={"amd.com/gpu": "1"}) for i in range(1000)]

    found = fact_of(RULES["gpuPresent"], nodes)

    assert found.because[0] == "node n0: capacity amd.com/gpu=1"
    assert len(found.because) == 5


def test_before_nodes_were_read_a_fact_is_unknown_and_not_false() -> None:
    memory = NodeMemory()
    assert memory.hardware(RULES.values())["gpuPresent"] == Fact(None)
    assert memory.nodes is None

    memory.update([], START)

    assert memory.hardware(RULES.values())["gpuPresent"] == Fact(False)


def test_a_node_that_is_gone_counts_for_ten_minutes() -> None:
    memory = NodeMemory()
    gpu = node("gpu", capacity={"amd.com/gpu": "1"})

    def present(after: timedelta, *nodes: NodeView) -> tuple[object, timedelta | None]:
        again = memory.update(nodes, START + after)
        return memory.hardware(RULES.values())["gpuPresent"].value, again

    minutes = timedelta(minutes=1)
    assert present(0 * minutes, gpu) == (True, None)
    assert present(1 * minutes) == (True, 10 * minutes)
    assert present(6 * minutes, node()) == (True, 5 * minutes)
    assert present(11 * minutes, node()) == (False, None)


def test_a_node_that_comes_back_in_time_was_never_gone() -> None:
    memory = NodeMemory()
    gpu = node("gpu", capacity={"amd.com/gpu": "1"})
    memory.update([gpu], START)
    memory.update([], START + timedelta(minutes=1))

    again = memory.update([gpu], START + timedelta(minutes=2))

    assert again is None
    assert memory.nodes == (gpu,)


def test_a_node_is_read_whole_or_stripped() -> None:
    assert NodeView.of({"metadata": {"name": "n"}}) == node()
    assert NodeView.of(
        {
            "metadata": {"name": "n", "labels": {"a": "b"}, "annotations": None},
            "status": {"capacity": {"cpu": "1"}},
        }
    ) == node(labels={"a": "b"}, capacity={"cpu": "1"})


@pytest.mark.parametrize("text", ["(", "[a", "a{1001}"])
def test_what_is_no_regular_expression_is_said_to_be_none(text: str) -> None:
    with pytest.raises(CatalogError, match="is no regular expression"):
        pattern(text)


def roles(*labels: dict[str, str]) -> list[NodeView]:
    return [node(f"n{index}", labels=each) for index, each in enumerate(labels)]


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        (roles(), (0, 0, 0, False)),
        (roles(MASTER, WORKER, WORKER), (1, 2, 3, False)),
        (roles(CONTROL_PLANE, {}), (1, 0, 2, False)),
        (roles(*[MASTER | CONTROL_PLANE | WORKER] * 3), (3, 0, 3, True)),
        (roles(MASTER | WORKER, MASTER), (2, 0, 2, False)),
        (roles(MASTER | WORKER, WORKER), (1, 1, 2, False)),
    ],
)
def test_roles_are_counted(
    nodes: list[NodeView], expected: tuple[int, int, int, bool]
) -> None:
    facts = topology_facts(nodes, None, None)

    names = ("masterCount", "workerCount", "totalNodeCount", "isCompact")
    assert tuple(facts[name].value for name in names) == expected


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ({}, {"isHCP": False, "cloudProvider": "", "isAWS": False}),
        ({"controlPlaneTopology": "External"}, {"isHCP": True}),
        ({"controlPlaneTopology": "HighlyAvailable"}, {"isHCP": False}),
        *(
            ({"platformStatus": {"type": provider}}, {f"is{provider}": True})
            for provider in ("AWS", "Azure", "GCP", "BareMetal", "VSphere", "OpenStack")
        ),
        (
            {"platformStatus": {"type": "AWS"}},
            {"isAzure": False, "cloudProvider": "AWS"},
        ),
    ],
)
def test_the_platform_says_what_it_is(status: Json, expected: dict[str, Any]) -> None:
    facts = topology_facts([], {"status": status}, None)

    assert {name: facts[name].value for name in expected} == expected


def test_what_cannot_be_read_is_unknown_and_takes_nothing_else_along() -> None:
    """Scenario 56: each lookup fails alone."""
    infrastructure = {"status": {"platformStatus": {"type": "AWS"}}}

    without_scheduler = topology_facts([], infrastructure, None)
    without_platform = topology_facts([], None, {"spec": {"mastersSchedulable": True}})
    without_nodes = topology_facts(None, infrastructure, None)

    assert without_scheduler["hasSchedulableMasters"].value is None
    assert without_scheduler["isAWS"].value is True
    assert without_scheduler["totalNodeCount"].value == 0
    assert without_platform["isAWS"].value is None
    assert without_platform["isHCP"].value is None
    assert without_platform["hasSchedulableMasters"].value is True
    assert without_nodes["totalNodeCount"].value is None
    assert without_nodes["isAWS"].value is True
