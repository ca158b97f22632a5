"""Owner references, with the exact fields that go to the server."""

from __future__ import annotations

import copy
from typing import Any, ClassVar

import pytest

from controller_runtime.meta import (
    GroupVersionKind,
    Json,
    KubeObject,
    Meta,
    ObjectMeta,
    OwnerReference,
    RawObject,
)
from controller_runtime.ownership import (
    AlreadyOwnedError,
    OwnershipError,
    find_controller,
    has_controller_reference,
    has_owner_reference,
    is_controlled_by,
    owner_references,
    remove_controller_reference,
    remove_owner_reference,
    set_controller_reference,
    set_owner_reference,
)


class Bundle(KubeObject):
    gvk: ClassVar = GroupVersionKind("example.com", "v1", "Bundle")


class Job(KubeObject):
    gvk: ClassVar = GroupVersionKind("batch", "v1", "Job")


BUNDLE = Bundle(metadata=ObjectMeta(namespace="shop", name="web", uid="u-1"))
CONTROLLED_BY_BUNDLE = {
    "apiVersion": "example.com/v1",
    "kind": "Bundle",
    "name": "web",
    "uid": "u-1",
    "controller": True,
    "blockOwnerDeletion": True,
}
OWNED_BY_BUNDLE = {
    "apiVersion": "example.com/v1",
    "kind": "Bundle",
    "name": "web",
    "uid": "u-1",
}
OWNED_BY_OTHER = {
    "apiVersion": "v1",
    "kind": "ConfigMap",
    "name": "web",
    "uid": "u-2",
    "blockOwnerDeletion": False,
}


def pod(*owners: Json, namespace: str = "shop") -> Json:
    metadata: Json = {"name": "web-0", "labels": {"a": "b"}}
    if namespace:
        metadata["namespace"] = namespace
    if owners:
        metadata["ownerReferences"] = [dict(owner) for owner in owners]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {}}


def references(obj: Json) -> list[Json]:
    found: list[Json] = obj["metadata"]["ownerReferences"]
    return found


def owner(**changes: Any) -> Json:
    """The bundle without a model; `changes` go to its metadata."""
    metadata = {"namespace": "shop", "name": "web", "uid": "u-1"} | changes
    return {"apiVersion": "example.com/v1", "kind": "Bundle", "metadata": metadata}


def test_a_controller_reference_has_exactly_the_fields_that_the_collector_reads() -> (
    None
):
    owned = set_controller_reference(BUNDLE, pod())

    assert references(owned) == [CONTROLLED_BY_BUNDLE]


def test_an_owner_without_a_model_gives_the_same_reference() -> None:
    assert set_controller_reference(owner(), pod()) == set_controller_reference(
        BUNDLE, pod()
    )


def test_an_owner_reference_does_not_claim_control() -> None:
    assert references(set_owner_reference(BUNDLE, pod())) == [OWNED_BY_BUNDLE]


def test_blocking_the_owners_deletion_is_a_choice() -> None:
    owned = set_owner_reference(BUNDLE, pod(), block_owner_deletion=True)
    controlled = set_controller_reference(BUNDLE, pod(), block_owner_deletion=False)

    assert references(owned) == [OWNED_BY_BUNDLE | {"blockOwnerDeletion": True}]
    assert references(controlled) == [
        CONTROLLED_BY_BUNDLE | {"blockOwnerDeletion": False}
    ]


def test_the_given_dependent_stays_as_it_was() -> None:
    given = pod(OWNED_BY_OTHER)
    before = copy.deepcopy(given)

    set_controller_reference(BUNDLE, given)
    set_owner_reference(BUNDLE, given)
    remove_owner_reference(
        {**pod(), "kind": "ConfigMap", "metadata": {"name": "web"}}, given
    )

    assert given == before


def test_all_else_of_the_dependent_is_kept() -> None:
    owned = set_controller_reference(BUNDLE, pod(OWNED_BY_OTHER))

    assert references(owned) == [OWNED_BY_OTHER, CONTROLLED_BY_BUNDLE]
    assert owned["metadata"]["labels"] == {"a": "b"}
    assert owned["spec"] == {}


def test_a_dependent_with_a_model_keeps_it_and_is_written_with_the_reference() -> None:
    job = Job(metadata=ObjectMeta(namespace="shop", name="web-1"))

    owned = set_controller_reference(BUNDLE, job)

    assert isinstance(owned, Job)
    assert owned.model_dump(by_alias=True, exclude_unset=True)["metadata"] == {
        "namespace": "shop",
        "name": "web-1",
        "ownerReferences": [CONTROLLED_BY_BUNDLE],
    }
    assert owner_references(job) == ()


def test_a_model_read_from_the_server_tells_its_owners() -> None:
    job = Job.model_validate(
        {"metadata": {"name": "web-1", "ownerReferences": [OWNED_BY_OTHER]}}
    )

    assert owner_references(job) == (
        OwnerReference(api_version="v1", kind="ConfigMap", name="web", uid="u-2"),
    )


def test_setting_a_reference_again_brings_version_and_uid_up_to_date_in_place() -> None:
    outdated = CONTROLLED_BY_BUNDLE | {"apiVersion": "example.com/v0", "uid": "u-0"}

    owned = set_controller_reference(BUNDLE, pod(outdated, OWNED_BY_OTHER))

    assert references(owned) == [CONTROLLED_BY_BUNDLE, OWNED_BY_OTHER]


def test_an_owner_becomes_controller_and_the_controller_owner_in_place() -> None:
    controlled = set_controller_reference(BUNDLE, pod(OWNED_BY_BUNDLE))
    assert references(controlled) == [CONTROLLED_BY_BUNDLE]

    owned = set_owner_reference(BUNDLE, controlled)
    assert references(owned) == [OWNED_BY_BUNDLE]


@pytest.mark.parametrize(
    "difference",
    [{"name": "api"}, {"kind": "Release"}, {"apiVersion": "example.org/v1"}],
)
def test_an_object_has_one_controller_at_most(difference: Json) -> None:
    taken = pod(CONTROLLED_BY_BUNDLE | difference)

    with pytest.raises(AlreadyOwnedError) as raised:
        set_controller_reference(BUNDLE, taken)

    present = find_controller(taken)
    assert present is not None
    assert raised.value.owner == present
    assert raised.value.dependent == ("shop", "web-0")
    assert str(raised.value) == (
        "Bundle shop/web cannot control Pod shop/web-0: "
        f"{present.kind} {present.name} does"
    )


def test_a_controlled_object_may_have_further_owners() -> None:
    other = CONTROLLED_BY_BUNDLE | {"name": "api"}

    owned = set_owner_reference(BUNDLE, pod(other))

    assert references(owned) == [other, OWNED_BY_BUNDLE]


@pytest.mark.parametrize(
    "set_reference", [set_owner_reference, set_controller_reference]
)
@pytest.mark.parametrize(
    ("its_owner", "namespace", "said"),
    [
        pytest.param(owner(), "other", "same namespace", id="another namespace"),
        pytest.param(owner(), "", "cluster-scoped", id="cluster-scoped dependent"),
        pytest.param(owner(uid=""), "shop", "no uid", id="not yet created"),
        pytest.param(
            {"metadata": owner()["metadata"]}, "shop", "no kind", id="no kind"
        ),
    ],
)
def test_a_relation_that_the_collector_would_punish_is_refused(
    set_reference: Any, its_owner: Json, namespace: str, said: str
) -> None:
    with pytest.raises(OwnershipError, match=said):
        set_reference(its_owner, pod(namespace=namespace))


@pytest.mark.parametrize("namespace", ["shop", ""])
def test_a_cluster_scoped_owner_may_own_anything(namespace: str) -> None:
    owned = set_controller_reference(owner(namespace=""), pod(namespace=namespace))

    assert references(owned) == [CONTROLLED_BY_BUNDLE]


def test_removing_an_owner_leaves_the_others() -> None:
    freed = remove_owner_reference(BUNDLE, pod(CONTROLLED_BY_BUNDLE, OWNED_BY_OTHER))

    assert references(freed) == [OWNED_BY_OTHER]


def test_removing_the_last_owner_leaves_an_empty_list() -> None:
    assert references(remove_owner_reference(BUNDLE, pod(OWNED_BY_BUNDLE))) == []


@pytest.mark.parametrize("dependent", [pod(), pod(OWNED_BY_OTHER)])
def test_an_owner_that_is_none_cannot_be_removed(dependent: Json) -> None:
    with pytest.raises(OwnershipError, match="shop/web does not own Pod shop/web-0"):
        remove_owner_reference(BUNDLE, dependent)


def test_removing_the_controller_leaves_the_others() -> None:
    controlled = pod(OWNED_BY_OTHER, CONTROLLED_BY_BUNDLE)

    assert references(remove_controller_reference(BUNDLE, controlled)) == [
        OWNED_BY_OTHER
    ]


@pytest.mark.parametrize(
    "dependent",
    [
        pytest.param(pod(), id="no owner"),
        pytest.param(pod(OWNED_BY_BUNDLE), id="an owner that does not control"),
        pytest.param(pod(CONTROLLED_BY_BUNDLE | {"name": "api"}), id="another"),
    ],
)
def test_a_controller_that_is_none_cannot_be_removed(dependent: Json) -> None:
    with pytest.raises(OwnershipError, match="web does not control Pod shop/web-0"):
        remove_controller_reference(BUNDLE, dependent)


def test_the_controller_is_found_among_the_owners() -> None:
    found = find_controller(pod(OWNED_BY_OTHER, CONTROLLED_BY_BUNDLE))

    assert found is not None
    assert found.uid == "u-1"
    assert find_controller(pod(OWNED_BY_OTHER)) is None
    assert find_controller(pod()) is None


def test_only_the_very_owner_is_in_control_not_a_namesake() -> None:
    controlled = pod(CONTROLLED_BY_BUNDLE)

    assert is_controlled_by(BUNDLE, controlled)
    assert not is_controlled_by(owner(uid="u-9"), controlled)
    assert not is_controlled_by(BUNDLE, pod(OWNED_BY_BUNDLE))


def test_an_owner_is_known_by_group_kind_and_name() -> None:
    assert has_owner_reference(owner(uid="u-9"), pod(OWNED_BY_BUNDLE))
    assert not has_owner_reference(owner(name="api"), pod(OWNED_BY_BUNDLE))
    assert not has_owner_reference(BUNDLE, pod(OWNED_BY_OTHER))


def test_an_object_from_the_cache_tells_its_owners_without_being_parsed() -> None:
    reference = OwnerReference(
        api_version="example.com/v1",
        kind="Bundle",
        name="web",
        uid="u-1",
        controller=True,
    )
    cached = RawObject(Meta(name="web-0", owner_references=(reference,)), b"not JSON")

    assert owner_references(cached) == (reference,)
    assert find_controller(cached) == reference
    assert is_controlled_by(BUNDLE, cached)
    assert has_owner_reference(BUNDLE, cached)


def test_any_controller_counts_as_one() -> None:
    assert has_controller_reference(pod(OWNED_BY_OTHER, CONTROLLED_BY_BUNDLE))
    assert not has_controller_reference(pod(OWNED_BY_OTHER))
    assert not has_controller_reference(pod())
