"""Which requests each handler makes of an event."""

from __future__ import annotations

from typing import ClassVar

import pytest

from controller_runtime.event import Created, Deleted, Event, Generic, Updated
from controller_runtime.handler import for_object, for_owner, mapped
from controller_runtime.meta import (
    GroupVersionKind,
    KubeObject,
    Meta,
    OwnerReference,
    RawObject,
)
from controller_runtime.reconcile import Request

BUNDLE = GroupVersionKind("example.com", "v1", "Bundle")


class Bundle(KubeObject):
    gvk: ClassVar = BUNDLE


def owned(
    name: str = "web",
    *,
    api_version: str = "example.com/v1",
    kind: str = "Bundle",
    controller: bool = True,
) -> OwnerReference:
    return OwnerReference(
        api_version=api_version, kind=kind, name=name, uid="u", controller=controller
    )


def pod(
    *owners: OwnerReference, name: str = "web-0", namespace: str = "shop"
) -> RawObject:
    return RawObject(
        Meta(name=name, namespace=namespace, owner_references=owners), b"{}"
    )


@pytest.mark.parametrize(
    "event",
    [
        Created(pod()),
        Updated(pod(name="old"), pod()),
        Deleted(pod()),
        Generic(pod()),
    ],
)
def test_an_object_is_reconciled_for_whatever_happens_to_it(event: Event) -> None:
    assert list(for_object().requests(event)) == [Request("shop", "web-0")]


@pytest.mark.parametrize("event", [Created, Deleted, Generic])
def test_the_owner_is_reconciled_for_whatever_happens_to_its_object(
    event: type[Created | Deleted | Generic],
) -> None:
    requests = for_owner(BUNDLE).requests(event(pod(owned())))

    assert list(requests) == [Request("shop", "web")]


def test_an_object_that_changes_hands_concerns_the_old_owner_and_the_new() -> None:
    event = Updated(pod(owned("old")), pod(owned("new")))

    assert list(for_owner(BUNDLE).requests(event)) == [
        Request("shop", "old"),
        Request("shop", "new"),
    ]


def test_an_owner_is_named_once() -> None:
    event = Updated(pod(owned(), owned()), pod(owned()))

    assert list(for_owner(BUNDLE).requests(event)) == [Request("shop", "web")]


@pytest.mark.parametrize(
    ("reference", "matches"),
    [
        pytest.param(owned(api_version="example.com/v2"), True, id="another version"),
        pytest.param(owned(api_version="example.org/v1"), False, id="another group"),
        pytest.param(owned(api_version="v1"), False, id="the core group"),
        pytest.param(owned(kind="Release"), False, id="another kind"),
        pytest.param(owned(controller=False), False, id="not in control"),
    ],
)
def test_an_owner_is_known_by_group_and_kind_and_by_being_in_control(
    reference: OwnerReference, matches: bool
) -> None:
    requests = list(for_owner(BUNDLE).requests(Created(pod(reference))))

    assert bool(requests) is matches


def test_an_owner_of_the_core_group_is_found() -> None:
    config_map = GroupVersionKind("", "v1", "ConfigMap")
    reference = owned(api_version="v1", kind="ConfigMap")

    requests = for_owner(config_map).requests(Created(pod(reference)))

    assert list(requests) == [Request("shop", "web")]


def test_all_owners_are_reconciled_if_asked_for() -> None:
    event = Created(pod(owned("a", controller=False), owned("b")))

    requests = for_owner(BUNDLE, is_controller=False).requests(event)

    assert list(requests) == [Request("shop", "a"), Request("shop", "b")]


def test_a_cluster_scoped_owner_is_named_without_a_namespace() -> None:
    requests = for_owner(BUNDLE, namespaced=False).requests(Created(pod(owned())))

    assert list(requests) == [Request("", "web")]


def test_the_kind_of_an_owner_may_be_given_as_its_model() -> None:
    assert list(for_owner(Bundle).requests(Created(pod(owned())))) == [
        Request("shop", "web")
    ]


def test_an_object_without_owners_concerns_nobody() -> None:
    assert not list(for_owner(BUNDLE).requests(Created(pod())))


def test_a_function_maps_both_versions_of_an_update_each_request_once() -> None:
    def neighbours(obj: RawObject) -> list[str]:
        return [obj.meta.name, "all", "all"]

    handler = mapped(neighbours)

    assert list(handler.requests(Created(pod(name="a")))) == ["a", "all"]
    assert list(handler.requests(Updated(pod(name="a"), pod(name="b")))) == [
        "a",
        "all",
        "b",
    ]
