"""From what code watches and declares to roles, and from roles to what they allow."""

from __future__ import annotations

from typing import ClassVar

import pytest

from controller_runtime import (
    Grant,
    GroupVersionKind,
    KubeObject,
    NamespacedName,
    Permission,
    Roles,
)
from controller_runtime.rbac import (
    OPEN_TO_ALL,
    PolicyRule,
    Watched,
    allows,
    minimise,
    needed,
)
from controller_runtime.requestinfo import RequestInfo, request_info
from controller_runtime.resources import Resource, resource_of

POD = GroupVersionKind("", "v1", "Pod")
NODE = GroupVersionKind("", "v1", "Node")
DEPLOYMENT = GroupVersionKind("apps", "v1", "Deployment")
EVENT = GroupVersionKind("events.k8s.io", "v1", "Event")


class Sheep(KubeObject):
    """A kind whose plural nobody would guess, of which each cluster has its own."""

    gvk: ClassVar = GroupVersionKind("farm.example", "v1", "Sheep")
    plural: ClassVar = "flocks"
    namespaced: ClassVar = False


def texts(grants: frozenset[Grant]) -> list[str]:
    return sorted(map(str, grants))


def rule(verbs: str, groups: str, resources: str, names: str = "") -> PolicyRule:
    """Return a rule; `core` is the group without a name."""
    return PolicyRule(
        verbs=tuple(verbs.split()),
        api_groups=tuple("" if g == "core" else g for g in groups.split()),
        resources=tuple(resources.split()),
        resource_names=tuple(names.split()),
    )


@pytest.mark.parametrize(
    ("gvk", "resource"),
    [
        (POD, Resource("", "pods", namespaced=True)),
        (NODE, Resource("", "nodes", namespaced=False)),
        (
            GroupVersionKind("networking.k8s.io", "v1", "Ingress"),
            Resource("networking.k8s.io", "ingresses", namespaced=True),
        ),
        (
            GroupVersionKind("networking.k8s.io", "v1", "NetworkPolicy"),
            Resource("networking.k8s.io", "networkpolicies", namespaced=True),
        ),
        (
            GroupVersionKind("", "v1", "Endpoints"),
            Resource("", "endpoints", namespaced=True),
        ),
        (
            GroupVersionKind("example.com", "v1", "Node"),
            Resource("example.com", "nodes", namespaced=True),
        ),
    ],
)
def test_the_resource_of_a_kind_without_a_model_is_the_usual_one(
    gvk: GroupVersionKind, resource: Resource
) -> None:
    assert resource_of(gvk) == resource


def test_a_model_says_its_plural_and_its_scope() -> None:
    assert resource_of(Sheep) == Resource("farm.example", "flocks", namespaced=False)


def test_to_watch_takes_list_and_watch_and_no_get() -> None:
    grants = needed([Watched(POD, ("",))], [])

    assert texts(grants) == ["list pods", "watch pods"]


def test_to_watch_some_namespaces_takes_it_in_each_of_them() -> None:
    grants = needed([Watched(POD, ("blog", "shop"))], [])

    assert texts(grants) == [
        "list pods in blog",
        "list pods in shop",
        "watch pods in blog",
        "watch pods in shop",
    ]


def test_to_watch_one_name_takes_it_for_that_name() -> None:
    grants = needed([Watched(POD, ("shop",), "metadata.name=web")], [])

    assert texts(grants) == ["list pods web in shop", "watch pods web in shop"]


@pytest.mark.parametrize("selector", ["metadata.name!=web", "type!=x", "a=b"])
def test_to_watch_by_other_fields_takes_all_names(selector: str) -> None:
    assert Grant("list", "", "pods") in needed([Watched(POD, ("",), selector)], [])


def test_what_is_in_no_namespace_is_watched_in_the_whole_cluster() -> None:
    grants = needed([Watched(NODE, ("shop",)), Watched(Sheep, ("shop",))], [])

    assert {grant.namespace for grant in grants} == {""}


def test_a_permission_holds_where_its_kind_is_watched() -> None:
    watched = [Watched(DEPLOYMENT, ("shop",)), Watched(POD, ("",))]

    grants = needed(watched, [Permission(DEPLOYMENT, ("patch",))])

    assert Grant("patch", "apps", "deployments", "", "shop") in grants
    assert Grant("patch", "apps", "deployments") not in grants


def test_a_permission_for_what_is_not_watched_holds_where_anything_is() -> None:
    watched = [Watched(DEPLOYMENT, ("shop",)), Watched(POD, ("blog",))]

    grants = needed(watched, [Permission(EVENT, ("create",))])

    assert {g.namespace for g in grants if g.resource == "events"} == {"blog", "shop"}


def test_a_permission_where_nothing_is_watched_holds_everywhere() -> None:
    assert texts(needed([], [Permission(POD, ("get",))])) == ["get pods"]


def test_a_permission_may_name_its_namespaces_names_and_subresource() -> None:
    permission = Permission(
        POD, ("get",), subresource="log", names=("web",), namespaces=("shop",)
    )

    assert texts(needed([], [permission])) == ["get pods/log web in shop"]


def test_a_creation_cannot_be_limited_to_names() -> None:
    permission = Permission(POD, ("create", "get"), names=("web",))

    assert texts(needed([], [permission])) == ["create pods", "get pods web"]


def test_a_kind_named_in_two_ways_is_one_resource() -> None:
    watched = [Watched(Sheep.gvk, ("",))]

    grants = needed(watched, [Permission(Sheep, ("patch",))])

    assert {grant.resource for grant in grants} == {"flocks"}


def test_a_model_that_only_the_scheme_knows_names_the_resource() -> None:
    grants = needed([Watched(Sheep.gvk, ("",))], [], model_for=lambda _: Sheep)

    assert {grant.resource for grant in grants} == {"flocks"}


def test_what_a_wider_grant_gives_is_not_given_again() -> None:
    permissions = [
        Permission(POD, ("get",), namespaces=("",)),
        Permission(POD, ("get",), namespaces=("shop",)),
        Permission(POD, ("get",), names=("web",), namespaces=("shop",)),
    ]

    assert texts(needed([], permissions)) == ["get pods"]


def test_grants_are_joined_into_the_fewest_rules() -> None:
    grants = [
        Grant(verb, group, resource)
        for group, resource in (("", "pods"), ("", "secrets"), ("apps", "deployments"))
        for verb in ("list", "watch")
    ]

    assert minimise([*grants, Grant("patch", "apps", "deployments")]) == (
        rule("list watch", "core", "pods secrets"),
        rule("list patch watch", "apps", "deployments"),
    )


def test_groups_with_the_same_resources_are_joined() -> None:
    grants = [Grant("create", group, "events") for group in ("events.k8s.io", "")]

    assert minimise(grants) == (rule("create", "core events.k8s.io", "events"),)


def test_names_are_joined_with_names_and_never_with_all() -> None:
    grants = [
        Grant("get", "", "pods", "a"),
        Grant("get", "", "pods", "b"),
        Grant("list", "", "pods"),
    ]

    assert minimise(grants) == (
        rule("list", "core", "pods"),
        rule("get", "core", "pods", "a b"),
    )


def test_the_order_of_grants_does_not_matter() -> None:
    grants = [Grant(v, g, r) for v in "ab" for g in ("", "x") for r in ("p", "q")]

    assert minimise(grants) == minimise(reversed(grants))


def test_paths_and_resources_are_rules_of_their_own() -> None:
    grants = [
        Grant("get", path="/metrics"),
        Grant("get", path="/healthz"),
        Grant("get", "", "pods"),
    ]

    assert [it.to_json() for it in minimise(grants)] == [
        {"nonResourceURLs": ["/healthz", "/metrics"], "verbs": ["get"]},
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]},
    ]


def test_each_namespace_gets_its_role_and_the_rest_is_for_the_cluster() -> None:
    grants = [
        Grant("get", "", "nodes"),
        Grant("get", "", "pods", "", "shop"),
        Grant("get", "", "pods", "", "blog"),
    ]

    made = Roles.of("tester", grants).objects()

    assert [(it["kind"], it["metadata"].get("namespace")) for it in made] == [
        ("ClusterRole", None),
        ("Role", "blog"),
        ("Role", "shop"),
    ]
    assert {it["metadata"]["name"] for it in made} == {"tester"}


def test_without_anything_for_the_cluster_there_is_no_cluster_role() -> None:
    (role,) = Roles.of("tester", [Grant("get", "", "pods", "", "shop")]).objects()

    assert role["kind"] == "Role"


def test_bindings_are_beside_the_roles_that_they_refer_to() -> None:
    grants = [Grant("get", "", "nodes"), Grant("get", "", "pods", "", "shop")]

    made = Roles.of("tester", grants).objects(NamespacedName("ops", "bob"))

    _, cluster_binding, role, binding = made
    assert cluster_binding["kind"] == "ClusterRoleBinding"
    assert cluster_binding["roleRef"]["kind"] == "ClusterRole"
    assert binding["metadata"] == role["metadata"]
    assert binding["roleRef"] == {
        "apiGroup": "rbac.authorization.k8s.io",
        "kind": "Role",
        "name": "tester",
    }
    assert binding["subjects"] == [
        {"kind": "ServiceAccount", "name": "bob", "namespace": "ops"}
    ]


def test_roles_that_are_read_give_what_was_written() -> None:
    grants = frozenset(
        {
            Grant("get", "", "nodes"),
            Grant("get", path="/metrics"),
            Grant("get", "", "pods", "web", "shop"),
        }
    )
    written = Roles.of("tester", grants).objects(NamespacedName("ops", "bob"))
    others = Roles.of("other", [Grant("delete", "", "nodes")]).objects()

    assert Roles.read("tester", [*written, *others]).grants == grants


ALLOWED = [
    (rule("get", "core", "pods"), "GET", "/api/v1/namespaces/n/pods/a"),
    (rule("*", "core", "pods"), "DELETE", "/api/v1/namespaces/n/pods/a"),
    (rule("get", "*", "pods"), "GET", "/apis/x/v1/namespaces/n/pods/a"),
    (rule("get", "core", "*"), "GET", "/api/v1/namespaces/n/pods/a/log"),
    (rule("get", "core", "*/log"), "GET", "/api/v1/namespaces/n/pods/a/log"),
    (rule("get", "core", "pods/log"), "GET", "/api/v1/namespaces/n/pods/a/log"),
    (rule("get", "core", "pods", "a b"), "GET", "/api/v1/namespaces/n/pods/a"),
    (PolicyRule(verbs=("get",), non_resource_urls=("/x/*",)), "GET", "/x/y/z"),
    (PolicyRule(verbs=("get",), non_resource_urls=("*",)), "GET", "/x"),
]

REFUSED = [
    (rule("get", "core", "pods"), "GET", "/api/v1/namespaces/n/pods"),
    (rule("get", "core", "pods"), "GET", "/api/v1/namespaces/n/pods/a/log"),
    (rule("get", "core", "pods/log"), "GET", "/api/v1/namespaces/n/pods/a"),
    (rule("get", "core", "*/log"), "GET", "/api/v1/namespaces/n/pods/a"),
    (rule("get", "core", "*/og"), "GET", "/api/v1/namespaces/n/pods/a/log"),
    (rule("get", "apps", "pods"), "GET", "/api/v1/namespaces/n/pods/a"),
    (rule("get", "core", "pods", "a b"), "GET", "/api/v1/namespaces/n/pods/c"),
    (rule("create", "core", "pods", "a"), "POST", "/api/v1/namespaces/n/pods"),
    (rule("*", "*", "*"), "GET", "/metrics"),
    (PolicyRule(verbs=("get",), non_resource_urls=("/x",)), "GET", "/x/y"),
    (PolicyRule(verbs=("get",), non_resource_urls=("*",)), "GET", "/api/v1/pods"),
]


@pytest.mark.parametrize(("given", "method", "path"), ALLOWED)
def test_a_rule_allows_what_kube_apiserver_lets_it(
    given: PolicyRule, method: str, path: str
) -> None:
    assert allows([given], request_info(method, path))


@pytest.mark.parametrize(("given", "method", "path"), REFUSED)
def test_a_rule_allows_nothing_else(given: PolicyRule, method: str, path: str) -> None:
    assert not allows([given], request_info(method, path))


def test_a_role_of_a_namespace_says_nothing_about_others() -> None:
    rules = [rule("list", "core", "pods")]
    here = RequestInfo("list", "", "pods", namespace="shop")

    assert allows(rules, here, namespace="shop")
    assert not allows(rules, here._replace(namespace="blog"), namespace="shop")
    assert not allows(rules, here._replace(namespace=""), namespace="shop")


def test_what_no_request_needed_is_named() -> None:
    roles = Roles.of("tester", [Grant("get", "", "pods"), Grant("list", "", "pods")])
    asked = [RequestInfo("get", "", "pods", namespace="shop", name="web")]

    assert list(map(str, roles.unused(asked))) == ["list pods"]
    assert roles.allow(asked[0])


@pytest.mark.parametrize("path", ["/version", "/api/v1", "/apis/apps/v1", "/apis"])
def test_what_is_served_may_be_asked_by_all(path: str) -> None:
    assert OPEN_TO_ALL.allow(request_info("GET", path))


@pytest.mark.parametrize("path", ["/metrics", "/api/v1/pods", "/logs"])
def test_other_paths_may_not(path: str) -> None:
    assert not OPEN_TO_ALL.allow(request_info("GET", path))
