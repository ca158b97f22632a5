"""Rules give exactly the grants that they were made of, however they are joined."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from controller_runtime.rbac import Grant, Roles, minimise, without_repetition
from controller_runtime.requestinfo import RequestInfo

verbs = st.sampled_from(["get", "list", "patch"])
groups = st.sampled_from(["", "apps"])
resources = st.sampled_from(["pods", "pods/log", "nodes"])
names = st.sampled_from(["", "a", "b"])
namespaces = st.sampled_from(["", "shop", "blog"])

nothing = st.just("")

on_resources = st.builds(
    Grant, verbs, groups, resources, names, namespaces, path=nothing
)
on_paths = st.builds(
    Grant, verbs, nothing, nothing, nothing, nothing, path=st.sampled_from(["/x", "/y"])
)
grants = st.frozensets(on_resources | on_paths, max_size=25)

requests = st.builds(
    RequestInfo,
    verbs,
    groups,
    st.sampled_from(["pods", "nodes"]),
    st.sampled_from(["", "log"]),
    st.sampled_from(["", "shop", "blog"]),
    st.sampled_from(["", "a", "c"]),
    path=nothing,
)


@given(grants)
def test_rules_give_what_they_were_made_of(given: frozenset[Grant]) -> None:
    there = frozenset(grant._replace(namespace="") for grant in given)

    rules = minimise(there)

    assert {grant for rule in rules for grant in rule.grants()} == there


@given(grants)
def test_no_rule_repeats_what_another_is_about(given: frozenset[Grant]) -> None:
    rules = minimise(given)

    about = [
        (r.api_groups, r.resources, r.resource_names) for r in rules if r.resources
    ]
    assert len(set(about)) == len(about)


@given(grants, st.lists(requests, max_size=20))
def test_roles_allow_what_their_grants_do(
    given: frozenset[Grant], asked: list[RequestInfo]
) -> None:
    roles = Roles.of("tester", given)

    for request in asked:
        assert roles.allow(request) is any(grant.allows(request) for grant in given)


@given(grants)
def test_what_is_left_out_was_given_by_something_wider(
    given: frozenset[Grant],
) -> None:
    kept = without_repetition(given)

    for grant in given - kept:
        assert any(
            grant._replace(name=name, namespace=namespace) in kept
            for name in {"", grant.name}
            for namespace in {"", grant.namespace}
        )


@given(grants)
def test_roles_survive_being_written_and_read(given: frozenset[Grant]) -> None:
    roles = Roles.of("tester", given)

    assert Roles.read("tester", roles.objects()) == roles
