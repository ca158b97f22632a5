"""What own writes make of each answer to a write, and for what reads then wait.

Answers are given by hand: servers of other versions, aggregated ones and those in
trouble say more than one server ever would.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import msgspec
import pytest

from controller_runtime.cache import CacheOptions
from controller_runtime.cacheoptions import NamespaceOptions
from controller_runtime.calls import Target
from controller_runtime.errors import ForbiddenError, NotFoundError
from controller_runtime.informer import Informer
from controller_runtime.interceptor import Call, InterceptedTransport, Proceed
from controller_runtime.meta import Json
from controller_runtime.ownwrites import OwnWrites, _Doubt
from controller_runtime.testing.apiserver import ApiServer
from controller_runtime.transport import HttpTransport, Response

pytest.register_assert_rewrite("conformance.cached")

from conformance.cached import CONFIG_MAP, Place, World, reading  # noqa: E402

FAR = "999999"
"""A version that no store reaches."""


@pytest.fixture
async def server() -> AsyncIterator[ApiServer]:
    async with ApiServer() as server:
        yield server


@pytest.fixture
async def place(server: ApiServer) -> AsyncIterator[Place]:
    async with HttpTransport(server.config()) as transport:
        yield Place(transport, "n")


def now() -> float:
    return asyncio.get_running_loop().time()


class Desk:
    """Own writes of a cache that has seen the object `a`, and nobody else's."""

    def __init__(self, world: World, place: Place, *, ordered: bool | None) -> None:
        self.world = world
        self.writes = OwnWrites(world.cache, place.transport)
        self.writes._ordered = ordered
        informer = world.cache.default(CONFIG_MAP)
        assert informer is not None
        self.informer: Informer = informer
        (known,) = informer.list("n")
        self.uid = known.meta.uid
        self.version = known.meta.resource_version

    def wrote(self, answer: object) -> None:
        self.writes.wrote(Target(CONFIG_MAP, "n", "a"), encoded(answer))

    def deleted(self, answer: object, name: str = "a", namespace: str = "n") -> None:
        self.writes.deleted(Target(CONFIG_MAP, namespace, name), encoded(answer))

    def config_map(self, **metadata: object) -> Json:
        """Return `a` as it is known, but for some of its metadata."""
        answer = self.world.config_map("a")
        known = {"uid": self.uid, "resourceVersion": self.version}
        answer["metadata"] |= known | metadata
        return answer

    @property
    def waits(self) -> bool:
        """Whether a read would wait for the store."""
        return CONFIG_MAP in self.writes._pending

    @property
    def doubts(self) -> bool:
        """Whether a read would ask the server."""
        return CONFIG_MAP in self.writes._doubts


def encoded(answer: object) -> bytes:
    return answer if isinstance(answer, bytes) else msgspec.json.encode(answer)


@asynccontextmanager
async def desk_of(place: Place, *, ordered: bool | None = True) -> AsyncIterator[Desk]:
    async with reading(place) as world:
        await world.create("a")
        await world.get("a")
        yield Desk(world, place, ordered=ordered)


STATUS = {"kind": "Status", "metadata": {}, "status": "Success"}


# --- which reads a doubt concerns


@pytest.mark.behaviour("K4")
@pytest.mark.parametrize(
    ("doubt", "read", "concerned"),
    [
        (("n", "a"), ("n", "a"), True),
        (("n", "a"), ("n", "b"), False),
        (("n", "a"), ("m", "a"), False),
        (("n", "a"), ("n", ""), True),
        (("n", "a"), ("m", ""), False),
        (("n", "a"), ("", ""), True),
        (("n", ""), ("n", "a"), True),
        (("n", ""), ("m", "a"), False),
        (("n", ""), ("", ""), True),
        (("", ""), ("n", "a"), True),
        (("", ""), ("n", ""), True),
        (("", "a"), ("", "a"), True),
        (("", "a"), ("", "b"), False),
    ],
)
def test_a_doubt_concerns_reads_of_the_same_object_or_of_more(
    doubt: tuple[str, str], read: tuple[str, str], *, concerned: bool
) -> None:
    assert _Doubt(*doubt).concerns(*read) is concerned


# --- answers to a creation or a change


@pytest.mark.behaviour("K4")
@pytest.mark.parametrize("answer", [STATUS, b"garbage", []])
async def test_an_answer_without_the_object_leaves_a_doubt(
    place: Place, answer: object
) -> None:
    async with desk_of(place) as desk:
        desk.wrote(answer)

        assert desk.doubts
        assert not desk.waits


@pytest.mark.behaviour("K4")
async def test_an_object_without_a_version_was_made_for_the_caller_alone(
    place: Place,
) -> None:
    async with desk_of(place) as desk:
        desk.wrote({"kind": "TokenRequest", "metadata": {"name": "a"}})

        assert not desk.writes.concern(CONFIG_MAP)


@pytest.mark.behaviour("K4")
@pytest.mark.parametrize("name", ["a", "unknown"])
async def test_an_object_that_ends_in_its_own_time_is_not_waited_for_to_be_gone(
    place: Place, name: str
) -> None:
    async with desk_of(place) as desk:
        ends = {"name": name, "deletionTimestamp": "2030-01-01T00:00:00Z"}
        desk.wrote(desk.config_map(**ends))

        assert not desk.waits


@pytest.mark.behaviour("K4")
async def test_who_takes_the_last_finalizer_of_an_object_that_stays_reads_it_at_once(
    place: Place,
) -> None:
    async with reading(place) as world:
        await world.create("a", finalizers=["example.com/hold"])
        await world.get("a")
        await world.change("a", metadata={"finalizers": None})

        began = now()
        read = await world.get("a")

    assert "finalizers" not in read["metadata"]
    assert now() - began < 1
    assert world.stale_reads == 0


# --- answers to a deletion


@pytest.mark.behaviour("K4")
async def test_an_object_that_comes_with_its_deletion_is_waited_for_to_be_gone(
    place: Place,
) -> None:
    async with desk_of(place) as desk:
        desk.deleted(desk.config_map())

        assert desk.waits


@pytest.mark.behaviour("K4")
@pytest.mark.parametrize(
    ("answer", "waits"),
    [
        pytest.param(STATUS, True, id="no word of which"),
        pytest.param(b"garbage", True, id="no word at all"),
        pytest.param(STATUS | {"details": {"uid": "another"}}, False, id="another"),
    ],
)
async def test_a_deletion_is_of_the_object_that_the_answer_names_or_that_was_known(
    place: Place, answer: object, *, waits: bool
) -> None:
    async with desk_of(place) as desk:
        desk.deleted(answer)

        assert desk.waits is waits


@pytest.mark.behaviour("K4")
@pytest.mark.parametrize("place_", [("unknown", "n"), ("a", "elsewhere")])
async def test_the_deletion_of_what_the_cache_does_not_have_is_not_waited_for(
    place: Place, place_: tuple[str, str]
) -> None:
    async with desk_of(place) as desk:
        desk.deleted(STATUS, *place_)

        assert not desk.writes.concern(CONFIG_MAP)


@pytest.mark.behaviour("K4")
async def test_what_is_deleted_before_the_cache_saw_it_is_read_as_one_that_ends(
    server: ApiServer, place: Place
) -> None:
    server.faults.on(verb="watch", times=None).lag(3)
    async with desk_of(place) as desk:
        held = desk.world.config_map("held", finalizers=["example.com/hold"])
        await desk.world.live.create(held)
        await desk.world.client.delete(CONFIG_MAP, "held", "n")

        read = await desk.world.get("held")

    assert read["metadata"]["deletionTimestamp"]


# --- answers to a deletion of many


def a_list(*items: object) -> Json:
    return {"kind": "ConfigMapList", "items": list(items)}


@pytest.mark.behaviour("K4")
@pytest.mark.parametrize("answer", [STATUS, b"garbage", a_list({"metadata": 1}), []])
async def test_a_deletion_of_many_that_does_not_name_them_leaves_a_doubt(
    place: Place, answer: object
) -> None:
    async with desk_of(place) as desk:
        desk.deleted(answer, name="")

        assert desk.doubts
        assert not desk.waits


@pytest.mark.behaviour("K4")
@pytest.mark.parametrize(("count", "waits"), [(1000, True), (1001, False)])
async def test_up_to_a_thousand_deleted_objects_are_waited_for_one_by_one(
    place: Place, count: int, *, waits: bool
) -> None:
    async with desk_of(place) as desk:
        item = {"metadata": {"name": "new", "namespace": "n", "resourceVersion": FAR}}

        desk.deleted(a_list(*[item] * count), name="")

        assert desk.waits is waits
        assert desk.doubts is not waits


@pytest.mark.behaviour("K4")
@pytest.mark.parametrize(
    ("known", "ordered", "waits"),
    [
        pytest.param({}, True, True, id="the object that is there"),
        pytest.param({}, None, True, id="that, of an unordered store"),
        pytest.param({"name": "b", "uid": "b"}, True, True, id="one not seen yet"),
        pytest.param({"name": "b", "uid": "b"}, None, False, id="that, unordered"),
        pytest.param({"uid": "b"}, True, True, id="its successor"),
        pytest.param({"uid": "b"}, None, False, id="that, of an unordered store"),
    ],
)
async def test_of_many_deleted_those_are_waited_for_that_the_store_has_or_may_get(
    place: Place, known: dict[str, object], *, ordered: bool | None, waits: bool
) -> None:
    async with desk_of(place, ordered=ordered) as desk:
        item = desk.config_map(resourceVersion=FAR, **known)

        desk.deleted(a_list(item), name="")

        assert desk.waits is waits


@pytest.mark.behaviour("K4")
async def test_a_deleted_object_that_the_store_had_is_seen_to_be_gone_at_any_version(
    place: Place,
) -> None:
    async with desk_of(place) as desk:
        desk.deleted(a_list(desk.config_map(resourceVersion=FAR)), name="")
        await desk.world.live.delete(CONFIG_MAP, "a", "n")

        began = now()
        assert await desk.writes.settled(desk.informer, "n") is None

        assert now() - began < 1
        assert not desk.waits


# --- reads


def losing(place: Place, verb: str) -> Place:
    """Return the place behind a transport that loses every answer to a verb."""

    async def lost(call: Call, proceed: Proceed) -> Response:
        await proceed()
        raise TimeoutError(f"{call.info}: not in time")

    return place._replace(transport=InterceptedTransport(place.transport, {verb: lost}))


@pytest.mark.behaviour("K4")
async def test_a_list_of_everything_waits_for_writes_wherever_they_were(
    server: ApiServer, place: Place
) -> None:
    server.faults.on(verb="watch", times=None).lag(3)
    world = World(place, CacheOptions())
    world.cache.declare(CONFIG_MAP)

    async with world.running():
        await world.create("a")
        found = await world.client.list(CONFIG_MAP)

    assert [item["metadata"]["name"] for item in found.items] == ["a"]


@pytest.mark.behaviour("K4")
@pytest.mark.behaviour("K7")
async def test_a_list_after_a_write_is_as_new_as_the_store_of_its_namespace(
    place: Place,
) -> None:
    several = {"n": NamespaceOptions(), "m": NamespaceOptions()}
    world = World(place, CacheOptions(default_namespaces=several))
    informer = world.cache.declare(CONFIG_MAP)

    async with world.running():
        made = await world.create("a")
        found = await world.client.list(CONFIG_MAP, "n")

        assert informer.store_of("m").resource_version != found.resource_version

    assert found.resource_version == made["metadata"]["resourceVersion"]


@pytest.mark.behaviour("K4")
@pytest.mark.behaviour("K7")
async def test_a_store_that_lags_is_passed_by_in_its_own_namespace_alone(
    server: ApiServer, place: Place
) -> None:
    server.faults.on(verb="watch", times=None).lag(30)
    several = {"n": NamespaceOptions(), "m": NamespaceOptions()}
    world = World(place, CacheOptions(default_namespaces=several))
    world.cache.declare(CONFIG_MAP)

    async with world.running():
        await world.create("a")
        server.requests.clear()
        read = await world.get("a")
        (live,) = server.requests.of("list")

    assert read["metadata"]["name"] == "a"
    assert live.namespace == "n"
    assert live.params["fieldSelector"] == "metadata.name=a"


@pytest.mark.behaviour("K4")
@pytest.mark.behaviour("K7")
async def test_a_doubt_is_cleared_up_by_asking_for_no_more_than_it_is_about(
    server: ApiServer, place: Place
) -> None:
    server.faults.on(verb="watch", times=None).lag(3)
    several = {"n": NamespaceOptions(), "m": NamespaceOptions()}
    options = CacheOptions(default_namespaces=several)
    world = World(losing(place, "create"), options)
    world.cache.declare(CONFIG_MAP)

    async with world.running():
        with pytest.raises(TimeoutError):
            await world.create("a")
        server.requests.clear()
        began = now()
        read = await world.get("a")
        waited = now() - began
        (live,) = server.requests.of("list")

    assert read["metadata"]["name"] == "a"
    assert waited == pytest.approx(3, abs=0.2)
    assert live.namespace == "n"
    assert live.params["fieldSelector"] == "metadata.name=a"


@pytest.mark.behaviour("K4")
async def test_a_deletion_whose_answer_was_lost_is_waited_for(
    server: ApiServer, place: Place
) -> None:
    server.faults.on(verb="watch", times=None).lag(3)
    async with desk_of(losing(place, "delete")) as desk:
        with pytest.raises(TimeoutError):
            await desk.world.client.delete(CONFIG_MAP, "a", "n")

        began = now()
        with pytest.raises(NotFoundError):
            await desk.world.get("a")

    assert now() - began == pytest.approx(3, abs=0.2)
    assert desk.world.stale_reads == 0


@pytest.mark.behaviour("K4")
async def test_a_doubt_about_one_namespace_leaves_the_objects_of_others_alone(
    server: ApiServer, place: Place
) -> None:
    server.create(World(Place(place.transport, "m")).config_map("other"))
    world = World(losing(place, "deletecollection"), CacheOptions())
    world.cache.declare(CONFIG_MAP)

    async with world.running():
        with pytest.raises(TimeoutError):
            await world.client.delete_all_of(CONFIG_MAP, "n")
        began = now()
        found = await world.client.list(CONFIG_MAP)

    assert [item["metadata"]["name"] for item in found.items] == ["other"]
    assert now() - began < 1
    assert world.stale_reads == 0


@pytest.mark.behaviour("K4")
async def test_two_who_read_at_a_time_clear_up_the_same_doubts(
    server: ApiServer, place: Place
) -> None:
    async with desk_of(losing(place, "patch")) as desk:
        await desk.world.create("b")
        await desk.world.get("b")
        for name in ("a", "b"):
            with pytest.raises(TimeoutError):
                await desk.world.change(name, data={"value": "2"})
        server.faults.on(verb="list").delay(2)

        async with asyncio.TaskGroup() as tasks:
            reads = [tasks.create_task(desk.world.names()) for _ in range(2)]

        assert [read.result() for read in reads] == [{"a", "b"}, {"a", "b"}]
        assert not desk.world.client._writes.concern(CONFIG_MAP)


# --- which Kubernetes it is


def saying(major: str, minor: str) -> Callable[[], bytes]:
    return lambda: encoded({"major": major, "minor": minor})


def raising(error: Exception) -> Callable[[], bytes]:
    def answer() -> bytes:
        raise error

    return answer


@pytest.mark.behaviour("K4")
@pytest.mark.parametrize(
    ("answer", "ordered"),
    [
        pytest.param(saying("1", "34"), False, id="1.34"),
        pytest.param(saying("1", "34+"), False, id="1.34+"),
        pytest.param(saying("1", "35"), True, id="1.35"),
        pytest.param(saying("1", "35+"), True, id="1.35+"),
        pytest.param(saying("2", "0"), True, id="2.0"),
        pytest.param(saying("", ""), False, id="nothing"),
        pytest.param(saying("1", "new"), False, id="1.new"),
        pytest.param(saying("one", "35"), False, id="one.35"),
        pytest.param(lambda: b"garbage", None, id="garbage"),
        pytest.param(raising(ForbiddenError("no", status=403)), False, id="refused"),
        pytest.param(raising(ConnectionResetError()), None, id="away"),
        pytest.param(raising(TimeoutError()), None, id="silent"),
    ],
)
async def test_versions_are_ordered_from_1_35_on_and_unknown_without_an_answer(
    place: Place, answer: Callable[[], bytes], *, ordered: bool | None
) -> None:
    async def version(call: Call, proceed: Proceed) -> Response:
        assert (call.method, call.path) == ("GET", "/version")
        return Response(200, {}, answer())

    transport = InterceptedTransport(place.transport, {"*": version})
    writes = OwnWrites(World(place).cache, transport)

    await writes._learn_order()

    assert writes._ordered is ordered
