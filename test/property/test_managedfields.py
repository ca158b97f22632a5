"""What is said to be applied, applying does not change: asked of an API server."""

from __future__ import annotations

from typing import Any, TypeAlias

from hypothesis import given
from hypothesis import strategies as st

from controller_runtime.managedfields import is_applied
from controller_runtime.meta import GroupVersionKind, Json
from controller_runtime.testing.apiserver import ApiServer
from controller_runtime.testing.apiserver.registry import WriteOptions
from controller_runtime.testing.apiserver.rules import Place

DEPLOYMENT = GroupVersionKind("apps", "v1", "Deployment")

Opinions: TypeAlias = tuple[Json, list[Json], Json]
"""Metadata, containers and the rest of the spec."""

WORDS = st.sampled_from(["x", "y"])


def opinions(*, least: int) -> st.SearchStrategy[Opinions]:
    """Return what somebody may want; lists and maps have so many entries at least."""

    def items(key: str, **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
        names = {key: st.sampled_from("abc")}
        item = st.fixed_dictionaries(names, optional=fields)
        return st.lists(item, min_size=least, max_size=3, unique_by=lambda it: it[key])

    def mapping() -> st.SearchStrategy[dict[str, str]]:
        return st.dictionaries(WORDS, WORDS, min_size=least, max_size=2)

    def words(*choices: str) -> st.SearchStrategy[list[str]]:
        word = st.sampled_from(choices)
        return st.lists(word, min_size=least, max_size=3, unique=True)

    metadata = {
        "labels": mapping(),
        "annotations": mapping(),
        "finalizers": words("e.x/a", "e.x/b", "e.x/c"),
    }
    more = {"replicas": st.integers(0, 2), "paused": st.booleans()}
    containers = items(
        "name",
        image=WORDS,
        args=words("x", "y", "z"),
        env=items("name", value=WORDS),
        securityContext=st.just({}),
    )
    return st.tuples(
        st.fixed_dictionaries({}, optional=metadata),
        containers,
        st.fixed_dictionaries({}, optional=more),
    )


def deployment(wanted: Opinions) -> Json:
    metadata, containers, more = wanted
    template = {"spec": {"containers": containers}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "n", **metadata},
        "spec": {"template": template, **more},
    }


def content(obj: Json) -> Json:
    """Return what is not about who wrote when: a server tidies that up as it likes."""
    metadata = {
        name: value
        for name, value in obj["metadata"].items()
        if name not in {"managedFields", "resourceVersion"}
    }
    return {**obj, "metadata": metadata}


class Server:
    """An API server without its HTTP."""

    def __init__(self) -> None:
        server = ApiServer()
        self.registry = server._registry
        resource = server._catalogue.of_kind(DEPLOYMENT)
        self.place = Place(resource, "n", "web")

    def apply(self, obj: Json, manager: str) -> Json:
        options = WriteOptions(manager=manager, force=True)
        return self.registry.apply(self.place, obj, options)


@given(
    before=opinions(least=0),
    theirs=st.none() | opinions(least=0),
    wanted=opinions(least=0),
)
def test_what_is_said_to_be_applied_is_not_changed_by_applying_it(
    before: Opinions,
    theirs: Opinions | None,
    wanted: Opinions,
) -> None:
    server = Server()
    live = server.apply(deployment(before), "us")
    if theirs is not None:
        live = server.apply(deployment(theirs), "them")

    # `before` more often than chance would have it
    for it in (deployment(before), deployment(wanted)):
        says = is_applied(it, live, manager="us")
        after = server.apply(it, "us")
        if says:
            assert content(after) == content(live)
        live = after


# Servers drop what is empty, and who wants that has to ask them.
@given(wanted=opinions(least=1))
def test_what_was_just_applied_is_said_to_be(
    wanted: Opinions,
) -> None:
    server = Server()

    live = server.apply(deployment(wanted), "us")

    assert is_applied(deployment(wanted), live, manager="us")
