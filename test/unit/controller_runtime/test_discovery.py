"""How kinds are found, and how seldom the server is asked."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from functools import partial

import pytest

from controller_runtime.discovery import (
    ApiResource,
    Discovery,
    read_groups,
    read_resources,
)
from controller_runtime.errors import (
    ApiError,
    BadRequestError,
    DecodeError,
    ForbiddenError,
    NoKindMatchError,
    NotFoundError,
    ServerError,
    TooManyRequestsError,
)
from controller_runtime.meta import GroupVersionKind
from controller_runtime.testing.apiserver import ApiServer
from controller_runtime.transport import HttpTransport, Response

POD = GroupVersionKind("", "v1", "Pod")
NODE = GroupVersionKind("", "v1", "Node")
DEPLOYMENT = GroupVersionKind("apps", "v1", "Deployment")
SCALE = GroupVersionKind("autoscaling", "v1", "Scale")

CORE = [
    {"name": "pods", "kind": "Pod", "namespaced": True, "verbs": ["get", "list"]},
    {"name": "pods/status", "kind": "Pod", "namespaced": True, "verbs": ["get"]},
    {"name": "pods/log", "kind": "Pod", "namespaced": True, "verbs": ["get"]},
    {"name": "nodes", "kind": "Node", "namespaced": False, "verbs": ["get"]},
    {"name": "bindings", "kind": "Binding", "namespaced": True},
]
APPS = [
    {"name": "deployments", "kind": "Deployment", "namespaced": True, "verbs": ["get"]},
    {
        "name": "deployments/scale",
        "kind": "Scale",
        "group": "autoscaling",
        "version": "v1",
        "namespaced": True,
        "verbs": ["get"],
    },
]


def group(name: str, *resources: object, freshness: str = "Current") -> object:
    """Return what an aggregated answer says of a group with one version."""
    version = {"version": "v1", "resources": resources, "freshness": freshness}
    return {"metadata": {"name": name}, "versions": [version]}


def kind(plural: str, kind: str, *subresources: str) -> object:
    parts = [{"subresource": it, "verbs": ["get"]} for it in subresources]
    entry = {"resource": plural, "responseKind": {"kind": kind}, "verbs": ["get"]}
    return entry | {"scope": "Namespaced", "subresources": parts}


class Server:
    """Answers discovery from a table; the paths that were asked are in `asked`.

    Unless it has `groups`, it knows no aggregated discovery.
    """

    def __init__(self, served: Mapping[str, object]) -> None:
        self.served = dict(served)
        self.groups: dict[str, list[object]] = {}
        """By root, `/api` or `/apis`."""
        self.refusals: dict[str, Exception] = {}
        """By path."""
        self.asked: list[str] = []
        self.failure: Exception | None = None

    async def request(self, method: str, path: str, **options: object) -> Response:
        self.asked.append(path)
        await asyncio.sleep(1)
        if self.failure is not None:
            raise self.failure
        if path in self.refusals:
            raise self.refusals[path]
        if path in self.groups:
            assert "as=APIGroupDiscoveryList" in str(options["accept"])
            answer = {"kind": "APIGroupDiscoveryList", "items": self.groups[path]}
            return Response(200, {}, json.dumps(answer).encode())
        if path in {"/api", "/apis"}:
            answer = {"kind": "APIGroupList", "groups": []}
            return Response(200, {}, json.dumps(answer).encode())
        if path not in self.served:
            raise NotFoundError("no", status=404)
        return Response(200, {}, json.dumps({"resources": self.served[path]}).encode())

    def stream(
        self,
        path: str,
        *,
        params: Mapping[str, str],
        idle_timeout: float,
        accept: str = "application/json",
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        raise NotImplementedError


def server() -> Server:
    return Server({"/api/v1": CORE, "/apis/apps/v1": APPS})


async def test_a_kind_is_found_with_its_scope_verbs_and_subresources() -> None:
    discovery = Discovery(server())

    pod = await discovery.resource(POD)

    assert pod == ApiResource(
        gvk=POD,
        plural="pods",
        namespaced=True,
        verbs=frozenset({"get", "list"}),
        subresources=frozenset({"status", "log"}),
    )


async def test_the_kind_of_a_subresource_is_no_kind_of_its_own() -> None:
    discovery = Discovery(server())
    await discovery.resource(DEPLOYMENT)

    with pytest.raises(NoKindMatchError):
        await discovery.resource(DEPLOYMENT._replace(kind="Scale"))
    with pytest.raises(NoKindMatchError):
        await discovery.resource(SCALE)


async def test_all_kinds_of_a_group_and_version_take_one_request() -> None:
    api = server()
    discovery = Discovery(api)

    async with asyncio.TaskGroup() as tasks:
        for gvk in (POD, NODE, POD, DEPLOYMENT):
            tasks.create_task(discovery.resource(gvk))
    await discovery.resource(NODE)

    assert sorted(api.asked) == ["/api", "/api/v1", "/apis", "/apis/apps/v1"]


async def test_a_kind_that_appears_later_is_found() -> None:
    api = server()
    discovery = Discovery(api)
    widget = GroupVersionKind("example.com", "v1", "Widget")
    with pytest.raises(NoKindMatchError, match=r"Widget \(example.com/v1\)"):
        await discovery.resource(widget)

    api.served["/apis/example.com/v1"] = [
        {"name": "widgets", "kind": "Widget", "namespaced": False}
    ]
    await asyncio.sleep(5)

    assert (await discovery.resource(widget)).plural == "widgets"


async def test_a_kind_that_is_missing_is_asked_for_every_five_seconds_at_most() -> None:
    api = server()
    discovery = Discovery(api)
    job = POD._replace(kind="Job")

    for _ in range(10):
        with pytest.raises(NoKindMatchError):
            await discovery.resource(job)
    asked_at_once = len(api.asked)
    await asyncio.sleep(5)
    with pytest.raises(NoKindMatchError):
        await discovery.resource(job)

    assert (asked_at_once, len(api.asked)) == (2, 3)


async def test_one_missing_kind_does_not_delay_the_search_for_another() -> None:
    api = Server({"/api/v1": CORE[:1]})
    discovery = Discovery(api)
    with pytest.raises(NoKindMatchError):
        await discovery.resource(POD._replace(kind="Job"))

    api.served["/api/v1"] = CORE

    assert (await discovery.resource(NODE)).plural == "nodes"


async def test_a_kind_that_was_forgotten_is_asked_for_again() -> None:
    api = server()
    discovery = Discovery(api)
    await discovery.resource(POD)
    api.asked.clear()

    discovery.forget(POD)
    await discovery.resource(POD)

    assert api.asked == ["/api/v1"]


async def test_a_server_that_does_not_tell_is_asked_again_at_once() -> None:
    api = server()
    discovery = Discovery(api)
    api.failure = ForbiddenError("no", status=403)
    with pytest.raises(ForbiddenError):
        await discovery.resource(POD)

    api.failure = None

    assert (await discovery.resource(POD)).plural == "pods"


async def test_an_answer_that_is_no_list_of_resources_is_an_error() -> None:
    discovery = Discovery(Server({"/api/v1": "none"}))

    with pytest.raises(DecodeError, match="what /v1 serves"):
        await discovery.resource(POD)


async def test_a_caller_who_gives_up_does_not_take_the_others_with_him() -> None:
    discovery = Discovery(server())

    async with asyncio.TaskGroup() as tasks:
        impatient = tasks.create_task(discovery.resource(POD))
        patient = tasks.create_task(discovery.resource(POD))
        await asyncio.sleep(0.5)
        impatient.cancel()

    assert patient.result().plural == "pods"


# Everything at once.


async def test_two_requests_tell_everything_that_a_server_serves() -> None:
    api = server()
    api.groups["/api"] = [group("", kind("pods", "Pod", "status", "log"))]
    api.groups["/apis"] = [
        group("apps", kind("deployments", "Deployment")),
        group("batch", kind("jobs", "Job")),
    ]
    discovery = Discovery(api)
    job = GroupVersionKind("batch", "v1", "Job")

    async with asyncio.TaskGroup() as tasks:
        for gvk in (POD, DEPLOYMENT, job):
            tasks.create_task(discovery.resource(gvk))
    pod = await discovery.resource(POD)

    assert sorted(api.asked) == ["/api", "/apis"]
    assert pod == ApiResource(
        POD, "pods", True, frozenset({"get"}), frozenset({"status", "log"})
    )


async def test_who_uses_no_named_group_does_not_ask_for_them() -> None:
    api = server()
    api.groups["/api"] = [group("", kind("pods", "Pod"))]

    await Discovery(api).resource(POD)

    assert api.asked == ["/api"]


async def test_a_group_that_is_missing_from_the_whole_is_asked_for_itself() -> None:
    api = server()
    api.groups["/apis"] = [group("batch", kind("jobs", "Job"))]
    discovery = Discovery(api)

    assert (await discovery.resource(DEPLOYMENT)).plural == "deployments"

    assert api.asked == ["/apis", "/apis/apps/v1"]


async def test_what_a_server_away_once_served_is_not_taken_for_true() -> None:
    api = server()
    stale = group("apps", kind("old", "Deployment"), freshness="Stale")
    api.groups["/apis"] = [stale]

    assert (await Discovery(api).resource(DEPLOYMENT)).plural == "deployments"


@pytest.mark.parametrize(
    "refusal",
    [
        ApiError("no such form", status=406),
        ForbiddenError("not at /apis", status=403),
        NotFoundError("a proxy that serves some groups", status=404),
    ],
)
async def test_a_server_that_refuses_the_whole_is_asked_group_by_group(
    refusal: Exception,
) -> None:
    api = server()
    api.refusals["/apis"] = refusal

    found = await Discovery(api).resource(DEPLOYMENT)

    assert found.plural == "deployments"
    assert api.asked == ["/apis", "/apis/apps/v1"]


@pytest.mark.parametrize(
    "trouble",
    [
        TooManyRequestsError("busy", status=429),
        ServerError("an aggregated API is away", status=503),
    ],
)
async def test_a_server_in_trouble_is_asked_for_the_whole_again_after_a_while(
    trouble: Exception,
) -> None:
    api = server()
    api.groups["/apis"] = [group("batch", kind("jobs", "Job"))]
    api.refusals["/apis"] = trouble
    job = GroupVersionKind("batch", "v1", "Job")
    discovery = Discovery(api)
    await discovery.resource(DEPLOYMENT)
    del api.refusals["/apis"]

    with pytest.raises(NoKindMatchError):
        await discovery.resource(job)
    await asyncio.sleep(30)
    assert (await discovery.resource(job)).plural == "jobs"

    assert api.asked == ["/apis", "/apis/apps/v1", "/apis/batch/v1", "/apis"]


class Away(Server):
    """Says which Kubernetes it is once it is back."""

    async def request(self, method: str, path: str, **options: object) -> Response:
        if path != "/version":
            return await super().request(method, path, **options)
        self.asked.append(path)
        if self.failure is not None:
            raise self.failure
        return Response(200, {}, b'{"major":"1","minor":"36"}')


async def test_a_server_that_was_away_is_asked_again_which_kubernetes_it_is() -> None:
    api = Away({})
    discovery = Discovery(api)
    api.failure = ConnectionResetError()
    assert await discovery.server_version() == (0, 0)
    api.failure = None

    assert await discovery.server_version() == (0, 0)
    await asyncio.sleep(30)
    assert await discovery.server_version() == (1, 36)
    await asyncio.sleep(3600)
    assert await discovery.server_version() == (1, 36)

    assert api.asked == ["/version"] * 2


async def test_a_network_that_fails_is_an_error_and_the_whole_is_asked_again() -> None:
    api = server()
    api.groups["/apis"] = [group("apps", kind("deployments", "Deployment"))]
    discovery = Discovery(api)
    api.failure = OSError("no route")
    with pytest.raises(OSError, match="no route"):
        await discovery.resource(DEPLOYMENT)

    api.failure = None
    await discovery.resource(DEPLOYMENT)

    assert api.asked == ["/apis", "/apis"]


async def test_kinds_go_with_the_group_that_the_server_does_not_know_any_more() -> None:
    api = server()
    api.groups["/apis"] = [
        group("apps", kind("deployments", "Deployment"), kind("extras", "Extra"))
    ]
    discovery = Discovery(api)
    extra = DEPLOYMENT._replace(kind="Extra")
    await discovery.resource(extra)

    del api.served["/apis/apps/v1"]
    discovery.forget(DEPLOYMENT)
    with pytest.raises(NoKindMatchError):
        await discovery.resource(DEPLOYMENT)

    with pytest.raises(NoKindMatchError):
        await discovery.resource(extra)


NAMESPACED = ApiResource(DEPLOYMENT, "deployments", True, frozenset(), frozenset())
CLUSTER_SCOPED = ApiResource(NODE, "nodes", False, frozenset(), frozenset())


@pytest.mark.parametrize(
    ("resource", "place", "path"),
    [
        (NAMESPACED, (), "/apis/apps/v1/deployments"),
        (NAMESPACED, ("ns",), "/apis/apps/v1/namespaces/ns/deployments"),
        (NAMESPACED, ("ns", "a"), "/apis/apps/v1/namespaces/ns/deployments/a"),
        (
            NAMESPACED,
            ("ns", "a", "scale"),
            "/apis/apps/v1/namespaces/ns/deployments/a/scale",
        ),
        (CLUSTER_SCOPED, (), "/api/v1/nodes"),
        (CLUSTER_SCOPED, ("", "a", "status"), "/api/v1/nodes/a/status"),
        (CLUSTER_SCOPED, ("ignored", "a"), "/api/v1/nodes/a"),
    ],
)
def test_a_path_leads_to_the_object(
    resource: ApiResource, place: tuple[str, ...], path: str
) -> None:
    assert resource.path(*place) == path


@pytest.mark.parametrize(
    "place",
    [("ns", ".."), ("ns", "."), ("ns", "a/b"), ("ns", "a%2fb"), ("..", "a"), ("", "a")],
)
def test_a_name_that_would_lead_elsewhere_is_refused(place: tuple[str, str]) -> None:
    with pytest.raises(BadRequestError):
        NAMESPACED.path(*place)


class Versioned(Server):
    """Says which Kubernetes it is, in a second."""

    def __init__(self, body: bytes) -> None:
        super().__init__({})
        self.patience: object = None
        self._body = body

    async def request(self, method: str, path: str, **options: object) -> Response:
        self.asked.append(path)
        self.patience = options["timeout"]
        await asyncio.sleep(1)
        if self.failure is not None:
            raise self.failure
        return Response(200, {}, self._body)


@pytest.mark.parametrize(
    ("body", "version"),
    [
        pytest.param(b'{"major":"1","minor":"36"}', (1, 36), id="plain"),
        pytest.param(b'{"major":"1","minor":"35+"}', (1, 35), id="vendor"),
        pytest.param(b'{"major":"1","minor":"new"}', (0, 0), id="wordy"),
        pytest.param(b"{}", (0, 0), id="empty"),
        pytest.param(b"garbage", (0, 0), id="garbage"),
    ],
)
async def test_the_server_is_asked_once_which_kubernetes_it_is(
    body: bytes, version: tuple[int, int]
) -> None:
    server = Versioned(body)
    discovery = Discovery(server)

    async with asyncio.TaskGroup() as tasks:
        asked = [tasks.create_task(discovery.server_version()) for _ in range(2)]

    assert [task.result() for task in asked] == [version, version]
    assert server.patience == 5
    assert server.asked == ["/version"]


async def test_a_server_that_does_not_tell_is_nothing_that_is_known() -> None:
    server = Versioned(b"")
    server.failure = ForbiddenError("no", status=403)
    discovery = Discovery(server)

    assert await discovery.server_version() == (0, 0)
    assert await discovery.server_version() == (0, 0)
    assert server.asked == ["/version"]


@pytest.mark.behaviour("R9")
async def test_a_busy_server_is_not_waited_for_to_say_which_kubernetes_it_is() -> None:
    async with ApiServer() as server, HttpTransport(server.config()) as transport:
        server.faults.on(times=None).answer(429, retry_after=3)
        loop = asyncio.get_running_loop()
        began = loop.time()

        assert await Discovery(transport).server_version() == (0, 0)

        assert 5 <= loop.time() - began < 6


@pytest.mark.parametrize("levels", [1000, 5000])
def test_an_answer_that_is_nested_too_deeply_is_an_error_that_says_so(
    levels: int,
) -> None:
    body = b'{"resources":[],"more":%s}' % (b"[" * levels + b"]" * levels)

    for read in (partial(read_resources, "", "v1"), partial(read_groups, "/api")):
        with pytest.raises(DecodeError, match="nested too deeply"):
            list(read(body))
