"""Writes of which nobody knows whether they were done: what cached reads make of them.

A test gets a `place`: a transport and a namespace of its own.
"""

from __future__ import annotations

import asyncio

import pytest

from conformance.cached import CONFIG_MAP, Place, World, reading
from controller_runtime.errors import NotFoundError
from controller_runtime.interceptor import Call, InterceptedTransport, Proceed
from controller_runtime.patch import merge_patch
from controller_runtime.transport import Response


class Post:
    """A hook that loses answers when it is told to."""

    def __init__(self) -> None:
        self.loses = False
        self.lives = 0
        """Lists that were asked for."""

    async def __call__(self, call: Call, proceed: Proceed, /) -> Response:
        answer = await proceed()
        self.lives += call.info.verb == "list"
        if self.loses and call.info.verb not in {"get", "list", "watch"}:
            raise TimeoutError(f"{call.info}: not in time")
        return answer


@pytest.fixture
def post() -> Post:
    return Post()


@pytest.fixture
def lossy(place: Place, post: Post) -> Place:
    return Place(InterceptedTransport(place.transport, {"*": post}), place.namespace)


async def lose(world: World, post: Post, *names: str) -> None:
    """Change objects, and never hear of it."""
    post.loses = True
    for name in names:
        with pytest.raises(TimeoutError):
            await world.change(name, data={"value": "2"})
    post.loses = False


@pytest.mark.behaviour("K4")
async def test_a_change_whose_answer_was_lost_is_read_like_any_other(
    lossy: Place, post: Post
) -> None:
    async with reading(lossy) as world:
        for name in ("a", "b", "c"):
            await world.create(name)
        await world.names()

        await lose(world, post, "a", "b", "c")
        post.lives = 0
        read = [(await world.get(name))["data"]["value"] for name in ("a", "b", "c")]
        again = await world.get("a")

    assert read == ["2", "2", "2"]
    assert again["data"] == {"value": "2"}
    assert post.lives == 3


@pytest.mark.behaviour("K4")
async def test_a_list_sees_what_a_lost_answer_may_have_told(
    lossy: Place, post: Post
) -> None:
    async with reading(lossy) as world:
        await world.create("a")
        post.loses = True
        with pytest.raises(TimeoutError):
            await world.create("b")
        with pytest.raises(TimeoutError):
            await world.client.delete(CONFIG_MAP, "a", world.namespace)
        post.loses = False

        ours = await world.names() - {"kube-root-ca.crt"}

    assert ours == {"b"}


@pytest.mark.behaviour("K4")
async def test_an_object_that_the_server_was_to_name_is_found_after_a_lost_answer(
    lossy: Place, post: Post
) -> None:
    async with reading(lossy) as world:
        made = world.config_map("", generateName="made-")
        del made["metadata"]["name"]
        post.loses = True
        with pytest.raises(TimeoutError):
            await world.client.create(made)
        post.loses = False

        found = [name for name in await world.names() if name.startswith("made-")]

    assert len(found) == 1


@pytest.mark.behaviour("K4")
@pytest.mark.behaviour("K12")
async def test_after_the_deletion_of_a_selection_none_of_it_is_read(
    lossy: Place, post: Post
) -> None:
    async with reading(lossy) as world:
        for name in ("a", "b", "c"):
            await world.create(name, labels={"team": "red"})
        await world.create("held", labels={"team": "red"}, finalizers=["x.io/hold"])
        await world.create("other", labels={"team": "blue"})
        post.lives = 0

        await world.client.delete_all_of(
            CONFIG_MAP, world.namespace, label_selector="team=red"
        )
        with pytest.raises(NotFoundError):
            await world.get("a")
        left = await world.names(label_selector="team")
        held = await world.get("held")
        await world.change("held", metadata={"finalizers": None})

    assert left == {"held", "other"}
    assert held["metadata"]["deletionTimestamp"]
    assert post.lives == 0
    assert world.stale_reads == 0


@pytest.mark.behaviour("K4")
async def test_the_deletion_of_a_selection_whose_answer_was_lost_is_read(
    lossy: Place, post: Post
) -> None:
    async with reading(lossy) as world:
        for name in ("a", "b", "other"):
            await world.create(name, labels={"team": name})
        post.loses = True
        with pytest.raises(TimeoutError):
            await world.client.delete_all_of(
                CONFIG_MAP, world.namespace, label_selector="team in (a,b)"
            )
        post.loses = False

        with pytest.raises(NotFoundError):
            await world.get("b")
        assert await world.names(label_selector="team") == {"other"}


@pytest.mark.behaviour("K4")
async def test_what_was_only_tried_leaves_nothing_to_wait_for(
    lossy: Place, post: Post
) -> None:
    async with reading(lossy) as world:
        await world.create("a", labels={"team": "red"})
        await world.get("a")
        post.lives = 0
        dry = world.client.with_defaults(dry_run=True)
        tried = dry.patch(
            CONFIG_MAP,
            "a",
            world.namespace,
            patch=merge_patch({"data": {"value": "9"}}),
        )
        for write in (
            tried,
            dry.create(world.config_map("b")),
            dry.delete(CONFIG_MAP, "a", world.namespace),
            dry.delete_all_of(CONFIG_MAP, world.namespace),
        ):
            await write
        post.loses = True
        with pytest.raises(TimeoutError):
            await dry.delete(CONFIG_MAP, "a", world.namespace)
        post.loses = False

        async with asyncio.timeout(1):
            read = await world.get("a")
            names = await world.names(label_selector="team")

    assert read["data"] == {"value": "1"}
    assert names == {"a"}
    assert post.lives == 0
