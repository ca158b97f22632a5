"""The small pure parts: names, inventory, history, orders, validation, dispositions."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.release.status import ManagedRoostStatus, Phase
from conformance.releases import NOON, managed_roost, revision
from controller_runtime import DecodeError, find_condition
from controllers.release import counters, outcomes
from controllers.release.chart import ResolvedChart
from controllers.release.desired import Desired
from controllers.release.failures import Again, disposition
from controllers.release.helm.engine import Apply, Failure
from controllers.release.history import last_good, release_status, with_snapshot
from controllers.release.identity import (
    MAX_NAME,
    ReleaseKey,
    is_same_digest,
    release_key,
    release_labels,
    short_name,
)
from controllers.release.inventory import Item, from_status, read_manifest, to_status
from controllers.release.options import ReleaseOptions
from controllers.release.orders import order_for
from controllers.release.plan import Remediation, Step
from controllers.release.records import HelmStatus, Payload
from controllers.release.status import MAX_MESSAGE, conclude
from controllers.release.teardown import Farewell, decide
from controllers.release.unsupported import unsupported_fields
from controllers.release.validation import validate

OPTIONS = ReleaseOptions()
DIGEST = "a" * 64
DESIRED = Desired(
    chart=ResolvedChart(
        name="app", version="1.0.0", digest="sha256:1", path=Path("app.tgz")
    ),
    values={"a": 1},
    secrets=frozenset(),
    digest=DIGEST,
)


@given(st.from_regex(r"[a-z0-9]([-a-z0-9]{0,200}[a-z0-9])?", fullmatch=True))
def test_every_name_has_one_that_helm_takes(name: str) -> None:
    short = short_name(name)

    assert len(short) <= MAX_NAME
    assert short == name or len(name) > MAX_NAME


def test_names_that_differ_at_their_end_differ_when_shortened() -> None:
    assert short_name("a" * 60) != short_name("a" * 61)


def test_the_release_is_where_the_object_is_unless_it_says_otherwise() -> None:
    assert release_key(managed_roost()) == ReleaseKey("shop", "web")
    assert release_key(
        managed_roost(namespace="other", releaseName="site")
    ) == ReleaseKey("other", "site")


def test_a_label_holds_enough_of_a_digest_to_know_it_again() -> None:
    labels = release_labels(managed_roost(), DIGEST)

    assert all(len(value) <= 63 for value in labels.values())
    assert is_same_digest(labels["roost.birb.party/config-digest"], DIGEST)
    assert not is_same_digest("", DIGEST)


MANIFEST = """
---
# Source: app/templates/a.yaml
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
---
---
apiVersion: v1
kind: List
items:
  - {apiVersion: v1, kind: Namespace, metadata: {name: other}}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata:
  name: data
  namespace: other
  annotations: {helm.sh/resource-policy: " Keep"}
"""


def test_a_manifest_is_read_into_what_it_is_made_of() -> None:
    items = read_manifest(MANIFEST, namespace="shop")

    assert items == (
        Item("shop", "web", "apps", "Deployment", "v1"),
        Item("shop", "other", "", "Namespace", "v1"),
        Item("other", "data", "", "PersistentVolumeClaim", "v1", is_kept=True),
    )
    known = from_status(to_status(items))
    assert {(it.kind, it.name) for it in known} == {(it.kind, it.name) for it in items}


def test_a_status_knows_what_outlives_the_release_so_nobody_waits_for_it() -> None:
    known = from_status(to_status(read_manifest(MANIFEST, namespace="shop")))

    assert [it.name for it in known if it.is_kept] == ["data"]


@pytest.mark.parametrize(
    "value", ["=", "2024-02-30", "!Ref other", "1_000:99", "<<", "0b2"]
)
def test_no_data_of_an_object_keeps_a_manifest_from_being_read(value: str) -> None:
    """Helm's parser has no opinion on these; PyYAML's safe one raises."""
    manifest = (
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: 1e3\n"
        f"data:\n  a: {value}\n"
    )

    assert read_manifest(manifest, namespace="shop") == (
        Item("shop", "1e3", "", "ConfigMap", "v1"),
    )


def test_a_name_with_an_underscore_is_found_again() -> None:
    role = Item("shop", "read_only", "rbac.authorization.k8s.io", "Role")

    assert from_status(to_status([role])) == (role,)


def test_a_status_names_so_many_objects_and_counts_all() -> None:
    items = [Item("shop", f"c{n}", "", "ConfigMap", "v1") for n in range(700)]

    inventory = to_status(items)

    assert (inventory.count, len(inventory.entries)) == (700, 500)
    assert inventory == to_status(reversed(items))


def test_a_manifest_that_is_no_yaml_is_an_error_without_its_content() -> None:
    with pytest.raises(DecodeError, match="not YAML") as caught:
        read_manifest("secret: [", namespace="shop")
    assert "secret" not in str(caught.value)


def test_the_last_good_revision_is_one_that_was_deployed() -> None:
    failed = revision(3, HelmStatus.FAILED)
    good = revision(2, HelmStatus.SUPERSEDED)

    assert last_good([failed, good, revision(1, HelmStatus.SUPERSEDED)]) is good
    assert last_good([failed]) is None


def test_a_history_stays_short_however_many_upgrades() -> None:
    """Scenario 60."""
    history: tuple[Any, ...] = ()
    for number in range(1, 51):
        newest = revision(number)
        payload = Payload(chart_version="1.0.0", notes="n" * 100_000)
        key = ReleaseKey("shop", "web")
        known = release_status(key, newest, payload, chart_digest="sha256:1")
        history = with_snapshot(history, known, action="upgrade", revisions=[newest])
        status = ManagedRoostStatus(history=history, helm_release=known)
        assert len(status.model_dump_json()) < 64 * 1024

    assert [it.revision for it in history] == [50, 49, 48, 47, 46]


def test_what_became_of_older_revisions_is_followed() -> None:
    one = release_status(ReleaseKey("s", "w"), revision(1), Payload(), chart_digest="x")
    history = with_snapshot((), one, action="install", revisions=[revision(1)])
    two = release_status(ReleaseKey("s", "w"), revision(2), Payload(), chart_digest="x")

    history = with_snapshot(
        history,
        two,
        action="upgrade",
        revisions=[revision(2), revision(1, HelmStatus.SUPERSEDED)],
    )

    assert [(it.action, it.status) for it in history] == [
        ("upgrade", "deployed"),
        ("install", "superseded"),
    ]


def test_an_upgrade_is_ordered_as_the_spec_says() -> None:
    roost = managed_roost(
        chart={"upgradePolicy": {"timeout": "90s"}},
        serviceAccountName="deployer",
        maxHistory=2,
    )

    order = order_for(
        roost, Step.UPGRADE, operation="op", options=OPTIONS, desired=DESIRED
    )

    assert order.options.timeout == timedelta(seconds=90)
    assert order.options.max_history == 2
    assert order.options.apply is Apply.SERVER_SIDE
    assert order.options.force_conflicts
    assert order.cluster.user == "system:serviceaccount:shop:deployer"
    assert order.options.labels["roost.birb.party/uid"] == "ours"


def test_what_helm_refuses_together_is_never_ordered_together() -> None:
    roost = managed_roost(chart={"upgradePolicy": {"force": True}}, applyMode="client")

    order = order_for(
        roost, Step.UPGRADE, operation="op", options=OPTIONS, desired=DESIRED
    )

    assert order.options.force_replace
    assert not order.options.force_conflicts


def test_hooks_are_switched_off_when_all_phases_are() -> None:
    phases = ("preInstall", "postInstall", "preUpgrade", "postUpgrade")
    off = managed_roost(chart={"hooks": dict.fromkeys(phases, False)})
    some = managed_roost(chart={"hooks": {"preInstall": False}})

    def disabled(roost: Any) -> bool:
        order = order_for(roost, Step.INSTALL, operation="op", options=OPTIONS)
        return order.options.disable_hooks

    assert disabled(off)
    assert not unsupported_fields(off.spec)
    assert not disabled(some)
    assert unsupported_fields(some.spec) == ("spec.chart.hooks.preInstall",)


@pytest.mark.parametrize(
    ("spec", "path"),
    [
        ({"chart": {"version": "one"}}, "spec.chart.version"),
        ({"namespace": "other"}, "spec.namespace"),
        ({"approval": "Manual"}, "spec.approval"),
        ({"kubeConfig": {"secretRef": {"name": "k"}}}, "spec.kubeConfig"),
        ({"chart": {"verify": {"provider": "pgp"}}}, "spec.chart.verify"),
        (
            {"chart": {"upgradePolicy": {"force": True}}},
            "spec.chart.upgradePolicy.force",
        ),
        (
            {"chart": {"values": {"inline": "a: 1", "object": {"a": 1}}}},
            "spec.chart.values",
        ),
        (
            {"chart": {"values": {"secretRefs": [{"name": "s", "namespace": "x"}]}}},
            "spec.chart.values.secretRefs[0].namespace",
        ),
    ],
)
def test_what_cannot_be_honoured_is_named_by_its_path(
    spec: Mapping[str, Any], path: str
) -> None:
    (problem,) = validate(managed_roost(**spec), OPTIONS)

    assert problem.path == path
    assert problem.message


def test_options_lift_what_is_forbidden_by_default() -> None:
    roost = managed_roost(
        namespace="other",
        chart={"values": {"secretRefs": [{"name": "s", "namespace": "x"}]}},
    )
    lenient = ReleaseOptions(
        allow_cross_namespace_refs=True, allow_cross_namespace_target=True
    )

    assert validate(roost, lenient) == ()


def test_every_failure_of_the_engine_has_a_disposition() -> None:
    found = {failure: disposition(failure) for failure in Failure}

    counting = {failure for failure, it in found.items() if it.counts}
    assert counting == {Failure.TIMEOUT, Failure.FAILED}
    stalled = {failure for failure, it in found.items() if it.is_stalled}
    assert stalled == {Failure.INVALID, Failure.TOO_LARGE}
    assert found[Failure.TRANSIENT].again is Again.SOON


def test_failures_are_forgotten_with_the_spec_the_chart_or_a_reset() -> None:
    failed = {
        "observedGeneration": 1,
        "failures": {"install": 1, "upgrade": 2, "total": 3},
        "lastAttempted": {"action": "upgrade", "configDigest": DIGEST},
    }
    roost = managed_roost(status=failed)

    kept = counters.begun(roost, is_reset=False)
    assert counters.failures_in_a_row(kept) == 3
    assert counters.compared(kept, DIGEST).failures is not None
    assert counters.compared(kept, "b" * 64).failures is None
    assert counters.begun(roost, is_reset=True).failures is None
    newer = managed_roost(status={**failed, "observedGeneration": 0})
    assert counters.begun(newer, is_reset=False).failures is None


@pytest.mark.parametrize(
    ("spec", "statuses", "last", "expected"),
    [
        ({}, ["failed", "deployed"], "upgrade", Remediation.ROLL_BACK),
        ({}, ["failed", "deployed"], "rollback", Remediation.NONE),
        ({}, ["deployed"], "upgrade", Remediation.NONE),
        ({}, ["failed"], "install", Remediation.NONE),
        (
            {"install": {"remediation": "uninstall"}},
            ["failed"],
            "install",
            Remediation.UNINSTALL,
        ),
        (
            {"install": {"remediation": "uninstall"}},
            ["failed", "deployed"],
            "upgrade",
            Remediation.ROLL_BACK,
        ),
        (
            {"upgrade": {"remediation": "none"}},
            ["failed", "deployed"],
            "upgrade",
            Remediation.NONE,
        ),
        (
            {"chart": {"upgradePolicy": {"atomic": False}}},
            ["failed", "deployed"],
            "upgrade",
            Remediation.NONE,
        ),
    ],
)
def test_a_failure_is_remediated_once_and_only_as_the_spec_allows(
    spec: Mapping[str, Any], statuses: list[str], last: str, expected: Remediation
) -> None:
    roost = managed_roost(status={"lastAttempted": {"action": last}}, **spec)
    count = len(statuses)
    revisions = [
        revision(count - index, HelmStatus(it)) for index, it in enumerate(statuses)
    ]
    action = counters.attempted(roost.status, last, DESIRED, generation=1, seconds=1.0)
    assert action.last_attempted is not None

    assert counters.remediation_of(roost.spec, revisions, roost.status) is expected


def test_an_outcome_replaces_what_the_last_one_said() -> None:
    stalled = conclude(
        ManagedRoostStatus(),
        outcomes.refused("InvalidSpec", ["x" * 5000]),
        generation=1,
        now=NOON,
    )
    assert find_condition(stalled.conditions, "Stalled")
    ready = find_condition(stalled.conditions, "Ready")
    assert ready is not None
    assert len(ready.message) == MAX_MESSAGE

    source = outcomes.source_ready("app", "1.0.0", "sha256:1")
    well = conclude(stalled, outcomes.deployed("app", source), generation=2, now=NOON)

    assert find_condition(well.conditions, "Stalled") is None
    assert (well.phase, well.observed_generation) == (Phase.READY, 2)


@pytest.mark.parametrize(
    ("roost", "revisions", "impediment", "farewell"),
    [
        (managed_roost(), [revision()], "", Farewell.UNINSTALL),
        (managed_roost(), [], "", Farewell.VERIFY),
        (managed_roost(), [revision(uid="other")], "", Farewell.SKIP),
        (managed_roost(), [revision()], "the namespace is gone", Farewell.SKIP),
        (
            managed_roost(annotations={"roost.birb.party/deletion-policy": "Orphan"}),
            [revision()],
            "",
            Farewell.SKIP,
        ),
        (
            managed_roost(
                teardownPolicy={"dataPreservation": {"enabled": True}},
            ),
            [revision()],
            "",
            Farewell.BLOCKED,
        ),
        (
            managed_roost(
                uninstall={"onFailure": "Orphan"},
                status={"failures": {"uninstall": 3}},
            ),
            [revision()],
            "",
            Farewell.SKIP,
        ),
        (
            managed_roost(uninstall={"keepHistory": True}),
            [revision(status=HelmStatus.UNINSTALLED)],
            "",
            Farewell.VERIFY,
        ),
    ],
)
def test_a_release_ends_as_its_object_says(
    roost: Any, revisions: Any, impediment: str, farewell: Farewell
) -> None:
    decision = decide(roost, revisions, impediment=impediment)

    assert decision.farewell is farewell
    assert decision.reason or farewell in {Farewell.UNINSTALL, Farewell.VERIFY}


def test_a_worker_that_dies_again_uses_up_a_retry_and_gets_a_pause() -> None:
    again = disposition(Failure.ENGINE, is_repeated=True)

    assert (again.again, again.counts) == (Again.RETRY, True)
    assert not disposition(Failure.ENGINE).counts
