"""The in-process API server: the conformance tests, and what only it can do."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from random import Random

import pytest
from aiohttp import ClientSession

from controller_runtime.errors import ApiError, InvalidError, StalledError
from controller_runtime.meta import GroupVersionKind, Json
from controller_runtime.testing.apiserver import (
    ApiServer,
    Resource,
    StatusError,
    Timing,
)
from controller_runtime.testing.clock import FakeClock
from controller_runtime.transport import TRANSPORT_ERRORS, HttpTransport

pytest.register_assert_rewrite(
    "conformance.applies",
    "conformance.kit",
    "conformance.lists",
    "conformance.objects",
    "conformance.served",
    "conformance.watches",
)

from conformance.applies import *  # noqa: E402, F403 - the tests
from conformance.kit import WIDGET, Api, config_map, version_of, widget  # noqa: E402
from conformance.lists import *  # noqa: E402, F403 - the tests
from conformance.objects import *  # noqa: E402, F403 - the tests
from conformance.served import *  # noqa: E402, F403 - the tests
from conformance.watches import *  # noqa: E402, F403 - the tests

NAMESPACE = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    async with ApiServer(require_namespaces=True) as server:
        server.register(Resource(gvk=WIDGET, plural="widgets"))
        server.create(NAMESPACE)
        async with HttpTransport(server.config()) as transport:
            yield Api(transport, "shop")


CONFIG_MAP = GroupVersionKind("", "v1", "ConfigMap")
POD = GroupVersionKind("", "v1", "Pod")
NAMESPACES = GroupVersionKind("", "v1", "Namespace")


@asynccontextmanager
async def speaking_to(server: ApiServer, *, token: str = "") -> AsyncIterator[Api]:
    async with HttpTransport(server.config(token=token)) as transport:
        yield Api(transport, "default")


@pytest.fixture
async def server() -> AsyncIterator[ApiServer]:
    async with ApiServer() as server:
        server.register(Resource(gvk=WIDGET, plural="widgets"))
        yield server


def now() -> float:
    return asyncio.get_running_loop().time()


async def test_a_bookmark_comes_every_minute_and_before_the_end(
    server: ApiServer,
) -> None:
    times, versions = [], []
    async with speaking_to(server) as api:
        await api.create(api.widgets, widget("web"))
        async with api.watch(
            api.widgets,
            resourceVersion="2",
            allowWatchBookmarks="true",
            timeoutSeconds="150",
        ) as events:
            for name in ("a", "b", "c"):
                kind, bookmark = await events.next(within=100)
                assert kind == "BOOKMARK"
                times.append(now())
                versions.append(version_of(bookmark))
                # Writes of other kinds move a bookmark as well.
                await api.create(api.configmaps, config_map(name))
            assert await events.rest() == []

    assert times == pytest.approx([60, 120, 148])
    assert versions == [2, 3, 4]
    assert now() == pytest.approx(150)


async def test_the_time_between_bookmarks_can_be_set() -> None:
    timing = Timing(bookmark_seconds=1)
    async with ApiServer(timing=timing) as server, speaking_to(server) as api:
        params = {"allowWatchBookmarks": "true", "resourceVersion": "1"}
        async with api.watch(api.configmaps, **params) as events:
            await events.next()
            await events.next()

    assert now() == pytest.approx(2)


async def test_no_bookmark_comes_unasked(server: ApiServer) -> None:
    params = {"resourceVersion": "1", "timeoutSeconds": "600"}
    async with (
        speaking_to(server) as api,
        api.watch(api.widgets, **params) as events,
    ):
        assert await events.rest() == []

    assert now() == pytest.approx(600)


async def test_a_watch_that_does_not_say_ends_after_half_an_hour(
    server: ApiServer,
) -> None:
    async with speaking_to(server) as api:
        params = {"watch": "true", "resourceVersion": "1"}
        async with api.transport.stream(
            api.widgets, params=params, idle_timeout=3600
        ) as chunks:
            assert [chunk async for chunk in chunks] == []

    assert now() == pytest.approx(1800)


@pytest.mark.behaviour("R7")
async def test_a_watch_of_what_is_forgotten_is_an_error_in_the_stream(
    server: ApiServer,
) -> None:
    async with speaking_to(server) as api:
        start = str(version_of(await api.create(api.widgets, widget("web"))))
        await api.patch(f"{api.widgets}/web", {"spec": {"size": 2}})
        server.compact()

        async with api.watch(api.widgets, resourceVersion=start) as events:
            ((kind, status),) = await events.rest()
        current = str(server.storage.revision)
        async with api.watch(api.widgets, resourceVersion=current) as events:
            await api.delete(f"{api.widgets}/web")
            assert await events.names(1) == [("DELETED", "web")]

    assert kind == "ERROR"
    assert (status["code"], status["reason"]) == (410, "Expired")
    assert status["message"].startswith("too old resource version: ")


async def test_history_can_be_forgotten_in_part(server: ApiServer) -> None:
    async with speaking_to(server) as api:
        first = version_of(await api.create(api.widgets, widget("a")))
        await api.create(api.widgets, widget("b"))
        server.compact(first)

        async with api.watch(api.widgets, resourceVersion=str(first)) as events:
            assert await events.names(1) == [("ADDED", "b")]
        async with api.watch(api.widgets, resourceVersion=str(first - 1)) as events:
            assert [kind for kind, _ in await events.rest()] == ["ERROR"]


@pytest.mark.behaviour("R2")
async def test_a_forgotten_page_can_be_had_inconsistently(server: ApiServer) -> None:
    async with speaking_to(server) as api:
        for name in ("a", "b", "c"):
            await api.create(api.widgets, widget(name))
        page = await api.get(api.widgets, limit="1")
        await api.create(api.widgets, widget("bb"))
        server.compact()

        async with ClientSession(server.config().server) as session:
            token = page["metadata"]["continue"]
            async with session.get(api.widgets, params={"continue": token}) as answer:
                expired = await answer.json()
        rest = await api.get(
            api.widgets, **{"continue": expired["metadata"]["continue"]}
        )

    assert (expired["code"], expired["reason"]) == (410, "Expired")
    assert "continue parameter is too old" in expired["message"]
    assert [item["metadata"]["name"] for item in rest["items"]] == ["b", "bb", "c"]


async def test_an_exact_list_of_what_is_forgotten_has_expired(
    server: ApiServer,
) -> None:
    async with speaking_to(server) as api:
        await api.create(api.widgets, widget("a"))
        server.compact()
        status, said = await api.call(
            "GET", api.widgets, resourceVersion="1", resourceVersionMatch="Exact"
        )

    assert (status, said["reason"]) == (410, "Expired")


async def test_a_version_that_is_yet_to_come_is_a_timeout(server: ApiServer) -> None:
    async with ClientSession(server.config().server) as session:
        for path in ("/api/v1/configmaps", "/api/v1/namespaces/default/configmaps/a"):
            params = {"resourceVersion": "99"}
            async with session.get(path, params=params) as answer:
                said = await answer.json()
            assert answer.status == 504
            assert answer.headers["Retry-After"] == "1"
            text = "Timeout: Too large resource version: 99, current: 1"
            assert said["message"] == text


async def test_a_server_without_watch_lists_refuses_them() -> None:
    async with ApiServer(watch_list=False) as server, speaking_to(server) as api:
        await api.create(api.configmaps, config_map("web"))
        params = {"allowWatchBookmarks": "true"}
        with pytest.raises(InvalidError, match="WatchList feature gate"):
            async with api.watch(
                api.configmaps,
                sendInitialEvents="true",
                resourceVersionMatch="NotOlderThan",
            ):
                pass
        path = api.configmaps
        async with api.watch(path, timeoutSeconds="9", **params) as events:
            assert [kind for kind, _ in await events.rest()] == ["ADDED", "BOOKMARK"]


async def test_an_answer_can_be_a_refusal(server: ApiServer) -> None:
    fault = server.faults.on(verb="list", resource="configmaps", times=2).answer(
        403, message="who are you?", reason="Forbidden"
    )
    async with speaking_to(server) as api:
        await api.get(api.widgets)
        answers = [await api.call("GET", api.configmaps) for _ in range(3)]

    assert [answer.status for answer in answers] == [403, 403, 200]
    assert answers[0].body["message"] == "who are you?"
    assert fault.struck == 2


async def test_a_refusal_may_ask_to_wait(server: ApiServer) -> None:
    server.faults.on(verb="list").answer(429, retry_after=7)
    async with speaking_to(server) as api:
        await api.get(api.configmaps)

    assert now() == pytest.approx(7)
    assert len(server.requests.of("list", "configmaps")) == 2


@pytest.mark.parametrize("status", [401, 409, 410, 500, 504])
async def test_a_watch_can_be_refused(server: ApiServer, status: int) -> None:
    server.faults.on(verb="watch").answer(status)
    async with speaking_to(server) as api:
        with pytest.raises(ApiError) as caught:
            async with api.watch(api.configmaps):
                pass

    assert caught.value.status == status


async def test_a_fault_is_about_one_object(server: ApiServer) -> None:
    server.faults.on(verb="get", name="a", times=None).answer(500)
    async with speaking_to(server) as api:
        for name in ("a", "b"):
            await api.create(api.configmaps, config_map(name))

        statuses = [
            (await api.call("GET", f"{api.configmaps}/{name}")).status
            for name in ("a", "b", "a")
        ]
        server.faults.clear()
        statuses.append((await api.call("GET", f"{api.configmaps}/a")).status)

    assert statuses == [500, 200, 500, 200]


async def test_an_answer_can_be_late_or_never_come(server: ApiServer) -> None:
    async with speaking_to(server) as api:
        server.faults.on(verb="list").delay(5)
        await api.get(api.configmaps)
        assert now() == pytest.approx(5)

        server.faults.on(verb="list").hang()
        with pytest.raises(TimeoutError):
            await api.get(api.configmaps)
        assert now() == pytest.approx(35)


async def test_a_connection_can_break_before_anything_is_done(
    server: ApiServer,
) -> None:
    server.faults.on(verb="create").cut()
    async with speaking_to(server) as api:
        with pytest.raises(TRANSPORT_ERRORS):
            await api.create(api.configmaps, config_map("web"))

        status, _ = await api.call("GET", f"{api.configmaps}/web")
    assert status == 404


async def test_a_connection_can_break_when_all_is_done(server: ApiServer) -> None:
    fault = server.faults.on(verb="create").cut(handled=True)
    async with speaking_to(server) as api:
        with pytest.raises(TRANSPORT_ERRORS):
            await api.create(api.configmaps, config_map("web"))

        assert await api.get(f"{api.configmaps}/web")
    assert (fault.struck, fault.served) == (1, 1)


@pytest.mark.parametrize("dry_run", [False, True])
async def test_a_fault_is_about_dry_runs_or_all_others(
    server: ApiServer, dry_run: bool
) -> None:
    fault = server.faults.on(verb="create", times=None, dry_run=dry_run).answer(500)
    async with speaking_to(server) as api:
        path, body = api.configmaps, config_map("web")

        rehearsed = await api.call("POST", path, body, dryRun="All")
        done = await api.call("POST", path, body)

    assert fault.struck == 1
    assert (rehearsed.status, done.status) == ((500, 201) if dry_run else (201, 500))


async def test_an_answer_can_be_garbage(server: ApiServer) -> None:
    server.faults.on(verb="list").corrupt()
    async with speaking_to(server) as api:
        with pytest.raises(json.JSONDecodeError):
            await api.get(api.configmaps)


async def test_a_watch_can_break_in_the_middle_of_an_event(server: ApiServer) -> None:
    server.faults.on(verb="watch").cut(after=2)
    async with speaking_to(server) as api:
        for name in ("a", "b", "c"):
            await api.create(api.widgets, widget(name))
        async with api.watch(api.widgets) as events:
            assert await events.names(2) == [("ADDED", "a"), ("ADDED", "b")]
            with pytest.raises(TRANSPORT_ERRORS):
                await events.next()


async def test_a_line_of_a_watch_can_be_garbage(server: ApiServer) -> None:
    server.faults.on(verb="watch").corrupt(after=1)
    async with speaking_to(server) as api:
        for name in ("a", "b"):
            await api.create(api.widgets, widget(name))
        async with api.watch(api.widgets) as events:
            assert await events.names(1) == [("ADDED", "a")]
            with pytest.raises(json.JSONDecodeError):
                await events.next()


@pytest.mark.behaviour("R11")
async def test_a_watch_can_fall_silent(server: ApiServer) -> None:
    server.faults.on(verb="watch").stall(after=1)
    async with speaking_to(server) as api:
        for name in ("a", "b"):
            await api.create(api.widgets, widget(name))
        async with api.watch(api.widgets, allowWatchBookmarks="true") as events:
            assert await events.names(1) == [("ADDED", "a")]
            with pytest.raises(StalledError):
                await events.rest()

    assert now() == pytest.approx(60)


async def test_a_watch_can_lag_behind(server: ApiServer) -> None:
    server.faults.on(resource="widgets", times=None).lag(3)
    async with speaking_to(server) as api:
        params = {"resourceVersion": "1"}
        async with (
            api.watch(api.widgets, **params) as slow,
            api.watch(api.configmaps, **params) as quick,
        ):
            await api.create(api.widgets, widget("web"))
            await api.create(api.configmaps, config_map("web"))
            await quick.next()
            assert now() == pytest.approx(0)
            await slow.next()
            assert now() == pytest.approx(3)


async def test_a_warning_can_be_added(server: ApiServer) -> None:
    server.faults.on(verb="list").warn("this is deprecated")
    async with (
        ClientSession(server.config().server) as session,
        session.get("/api/v1/configmaps") as answer,
    ):
        assert answer.status == 200

    assert answer.headers["Warning"] == '299 - "this is deprecated"'


async def test_watches_can_be_ended(server: ApiServer) -> None:
    async with speaking_to(server) as api, api.watch(api.configmaps) as events:
        assert server.watch_count == 1
        server.disconnect_watches()
        assert await events.rest() == []

    assert now() == 0
    assert server.watch_count == 0


async def test_requests_are_remembered(server: ApiServer) -> None:
    async with speaking_to(server) as api:
        await api.create(api.widgets, widget("web"))
        await asyncio.sleep(9)
        await api.patch(f"{api.widgets}/web/status", {"status": {}}, pretty="")
        await api.call("GET", "/version")

    create, patch, version = server.requests
    assert (create.verb, create.method, create.path) == ("create", "POST", api.widgets)
    assert (patch.verb, patch.name, patch.subresource) == ("patch", "web", "status")
    assert (patch.resource, patch.namespace) == ("widgets", "default")
    assert patch.params == {"pretty": ""}
    assert patch.content_type == "application/merge-patch+json"
    assert patch.time == pytest.approx(9)
    assert (version.verb, version.resource) == ("", "")
    assert server.requests.of(verb="patch", resource="widgets", name="web") == [patch]


async def test_an_outage_loses_connections_but_no_objects(server: ApiServer) -> None:
    port = server.port
    async with speaking_to(server) as api:
        await api.create(api.configmaps, config_map("web"))
        async with api.watch(api.configmaps, resourceVersion="1") as events:
            await events.next()
            await server.stop()
            with pytest.raises(TRANSPORT_ERRORS):
                await events.next()
        with pytest.raises(TRANSPORT_ERRORS):
            await api.get(api.configmaps)

        await server.start()

        assert server.port == port
        listed = await api.get(api.configmaps)
    assert [item["metadata"]["name"] for item in listed["items"]] == ["web"]
    assert now() == pytest.approx(0, abs=1)


async def test_a_kind_can_come_and_go(server: ApiServer) -> None:
    gadget = Resource(
        gvk=GroupVersionKind("gadgets.example.com", "v1", "Gadget"),
        plural="gadgets",
        namespaced=False,
        subresources=(),
    )
    path = "/apis/gadgets.example.com/v1/gadgets"
    body = {
        "apiVersion": "gadgets.example.com/v1",
        "kind": "Gadget",
        "metadata": {"name": "one"},
        "status": {"kept": True},
    }
    async with speaking_to(server) as api:
        assert (await api.call("GET", path)).status == 404

        server.register(gadget)
        made = await api.create(path, body)
        assert made["status"] == {"kept": True}
        assert "namespace" not in made["metadata"]
        assert "status" not in await names_served(api, "gadgets.example.com/v1")

        server.unregister(gadget)
        assert (await api.call("GET", f"{path}/one")).status == 404
        server.register(gadget)
        assert (await api.get(path))["items"] == []


async def names_served(api: Api, group_version: str) -> set[str]:
    resources = (await api.get(f"/apis/{group_version}"))["resources"]
    return {resource["name"].rpartition("/")[2] for resource in resources}


async def test_versions_of_a_kind_share_its_objects(server: ApiServer) -> None:
    newer = WIDGET._replace(version="v2")
    server.register(Resource(gvk=newer, plural="widgets"))
    async with speaking_to(server) as api:
        await api.create(api.widgets, widget("web"))
        path = api.path("widgets", newer.api_version)
        read = await api.get(f"{path}/web")
        group = await api.get(f"/apis/{WIDGET.group}")

    assert read["apiVersion"] == newer.api_version
    assert read["spec"] == {"size": 1}
    assert [each["version"] for each in group["versions"]] == ["v1", "v2"]


async def test_only_known_tokens_are_let_in() -> None:
    async with ApiServer(tokens={"secret"}) as server:
        async with speaking_to(server, token="secret") as api:
            await api.get(api.configmaps)
        async with speaking_to(server, token="guess") as api:
            status, said = await api.call("GET", api.configmaps)
        assert (status, said["reason"]) == (401, "Unauthorized")
        server.tokens.add("guess")
        async with speaking_to(server, token="guess") as api:
            await api.get(api.configmaps)


async def test_a_test_can_start_with_objects() -> None:
    server = ApiServer()

    made = server.create(config_map("web"))
    pod = server.create(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "web", "namespace": "shop"},
            "spec": {"containers": []},
            "status": {"phase": "Running"},
        }
    )

    assert server.read(CONFIG_MAP, "web", "default") == made
    assert server.read(POD, "web", "shop") == pod
    assert pod["status"] == {"phase": "Running"}
    assert server.requests == []
    with pytest.raises(StatusError, match='configmaps "nope" not found'):
        server.read(CONFIG_MAP, "nope", "default")
    with pytest.raises(LookupError, match="Widget"):
        server.create(widget("web"))


async def test_a_seed_gives_the_same_objects_twice() -> None:
    def run(seed: int) -> Json:
        clock, random = FakeClock(), Random(seed)  # noqa: S311 - no secret
        server = ApiServer(clock=clock, random=random)
        clock.advance(timedelta(minutes=1))
        body = config_map("", metadata={"name": "", "generateName": "web-"})
        return server.create(body)

    assert run(1) == run(1)
    assert run(1)["metadata"]["uid"] != run(2)["metadata"]["uid"]
    assert run(1)["metadata"]["creationTimestamp"] == "2030-01-01T00:01:00Z"


async def test_a_pod_on_a_node_is_given_time_to_end() -> None:
    clock = FakeClock()
    async with ApiServer(clock=clock) as server, speaking_to(server) as api:
        pods = api.path("pods")
        body = {"metadata": {"name": "web"}, "spec": {"nodeName": "one"}}
        await api.create(pods, body)
        path = f"{pods}/web"

        marked = (await api.delete(path))["metadata"]
        assert marked["deletionTimestamp"] == "2030-01-01T00:00:30Z"
        assert marked["deletionGracePeriodSeconds"] == 30
        assert marked["generation"] == 2

        longer = await api.delete(path, gracePeriodSeconds="60")
        assert longer["metadata"] == marked
        shorter = (await api.delete(path, gracePeriodSeconds="10"))["metadata"]
        assert shorter["deletionTimestamp"] == "2030-01-01T00:00:10Z"

        await api.delete(path, gracePeriodSeconds="0")
        assert (await api.call("GET", path)).status == 404


async def test_a_job_leaves_its_pods_to_the_garbage_collector() -> None:
    async with ApiServer() as server, speaking_to(server) as api:
        jobs = api.path("jobs", "batch/v1")
        made = await api.create(jobs, {"metadata": {"name": "once"}, "spec": {}})
        selector = made["spec"]["selector"]["matchLabels"]
        assert selector == {
            "batch.kubernetes.io/controller-uid": made["metadata"]["uid"]
        }

        marked = await api.delete(f"{jobs}/once")
        assert marked["metadata"]["finalizers"] == ["orphan"]

        body = {"metadata": {"name": "twice"}, "spec": {}}
        await api.create(jobs, body)
        gone = await api.delete(f"{jobs}/twice", propagationPolicy="Background")
        assert gone["status"] == "Success"


async def test_a_namespace_goes_when_it_is_finalised() -> None:
    async with ApiServer(require_namespaces=True) as server:
        server.create(NAMESPACE)
        async with speaking_to(server) as api:
            path = "/api/v1/namespaces/shop"
            shop = api.path("configmaps", namespace="shop")
            await api.create(shop, config_map("before"))

            marked = await api.delete(path)
            assert marked["status"]["phase"] == "Terminating"
            assert marked["spec"]["finalizers"] == ["kubernetes"]
            status, said = await api.call("POST", shop, config_map("after"))
            assert (status, said["reason"]) == (403, "Forbidden")
            assert said["details"]["causes"][0]["reason"] == "NamespaceTerminating"

            del marked["spec"]["finalizers"]
            await api.update(f"{path}/finalize", marked)
            assert (await api.call("GET", path)).status == 404


async def test_a_body_that_is_too_long_is_refused(server: ApiServer) -> None:
    async with speaking_to(server) as api:
        body = config_map("web", data={"long": "x" * (3 * 1024 * 1024)})
        status, said = await api.call("POST", api.configmaps, body)

    assert (status, said["reason"]) == (413, "RequestEntityTooLarge")
