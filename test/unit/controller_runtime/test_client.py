"""What each verb asks of the API server, and what it makes of the answer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, ClassVar, NamedTuple

import pytest

from controller_runtime.client import Client, ObjectList
from controller_runtime.errors import (
    BadRequestError,
    ConflictError,
    DecodeError,
    NoKindMatchError,
    NotFoundError,
)
from controller_runtime.meta import (
    ApiModel,
    GroupVersionKind,
    Json,
    Kind,
    KubeObject,
    ObjectMeta,
)
from controller_runtime.patch import (
    Patch,
    apply_patch,
    json_patch,
    merge_patch,
    strategic_merge_patch,
)
from controller_runtime.scheme import Scheme
from controller_runtime.testing.apiserver import ApiServer
from controller_runtime.transport import HttpTransport, Response

WIDGET = GroupVersionKind("example.com", "v1", "Widget")
NODE = GroupVersionKind("", "v1", "Node")
WIDGETS = "/apis/example.com/v1/namespaces/ns/widgets"


class Spec(ApiModel):
    size: int = 1


class Widget(KubeObject):
    gvk: ClassVar = WIDGET

    spec: Spec = Spec()


class Node(KubeObject):
    gvk: ClassVar = NODE


class ConfigMap(KubeObject):
    gvk: ClassVar = GroupVersionKind("", "v1", "ConfigMap")


class Asked(NamedTuple):
    method: str
    path: str
    params: Mapping[str, str]
    content_type: str = "application/json"
    body: Any = None


class Server:
    """Notes what it is asked and gives one answer; discovery it just answers."""

    KINDS: ClassVar = {
        "/apis/example.com/v1": ("widgets", "Widget", True),
        "/api/v1": ("nodes", "Node", False),
    }

    def __init__(self, answer: object) -> None:
        self.answer = (
            answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        )
        self.asked: list[Asked] = []

    async def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: bytes | None = None,
        content_type: str = "application/json",
        accept: str = "application/json",
        timeout: float | None = 30.0,
    ) -> Response:
        if path in {"/api", "/apis"}:
            raise NotFoundError("not here", status=404)
        if path in self.KINDS:
            name, kind, namespaced = self.KINDS[path]
            kinds = [{"name": name, "kind": kind, "namespaced": namespaced}]
            return Response(200, {}, json.dumps({"resources": kinds}).encode())
        sent = json.loads(body) if body else None
        self.asked.append(Asked(method, path, params or {}, content_type, sent))
        return Response(200, {}, self.answer)

    def stream(
        self,
        path: str,
        *,
        params: Mapping[str, str],
        idle_timeout: float,
        accept: str = "application/json",
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        raise NotImplementedError


def meeting(answer: object, **options: Any) -> tuple[Client, Server]:
    server = Server(answer)
    return Client(server, scheme=Scheme(), **options), server


def stored(name: str = "a") -> Json:
    """Return an object as the server has it."""
    metadata = {"name": name, "namespace": "ns", "resourceVersion": "7"}
    head = {"apiVersion": "example.com/v1", "kind": "Widget"}
    return {**head, "metadata": metadata, "spec": {"size": 2}}


def wanted(**metadata: str) -> Widget:
    place = {"name": "a", "namespace": "ns"} | metadata
    return Widget(metadata=ObjectMeta.model_validate(place), spec=Spec(size=2))


SENT: Json = {
    "apiVersion": "example.com/v1",
    "kind": "Widget",
    "metadata": {"name": "a", "namespace": "ns"},
    "spec": {"size": 2},
}
OWNED = {"fieldManager": "pilothouse"}


class TestGet:
    async def test_a_model_is_answered_with_a_model(self) -> None:
        client, server = meeting(stored())

        widget = await client.get(Widget, "a", "ns")

        assert isinstance(widget, Widget)
        assert widget.metadata.resource_version == "7"
        assert server.asked == [Asked("GET", f"{WIDGETS}/a", {})]

    async def test_a_kind_is_answered_with_a_dict(self) -> None:
        client, _ = meeting(stored())

        assert await client.get(WIDGET, "a", "ns") == stored()

    async def test_a_subresource_has_its_own_path(self) -> None:
        client, server = meeting(stored())

        await client.get(WIDGET, "a", "ns", subresource="scale")

        assert server.asked[0].path == f"{WIDGETS}/a/scale"

    async def test_a_cluster_scoped_object_has_no_namespace(self) -> None:
        client, server = meeting({"metadata": {"name": "a"}})

        await client.get(Node, "a", "ignored")

        assert server.asked[0].path == "/api/v1/nodes/a"

    async def test_an_answer_that_is_no_such_object_is_an_error(self) -> None:
        client, _ = meeting({"metadata": {"name": "a"}, "spec": {"size": "x"}})

        with pytest.raises(DecodeError, match=r"Widget .* a: spec.size"):
            await client.get(Widget, "a", "ns")

    async def test_a_kind_that_is_not_served_is_an_error(self) -> None:
        client, _ = meeting({})

        with pytest.raises(NoKindMatchError):
            await client.get(WIDGET._replace(kind="Gadget"), "a", "ns")


class TestList:
    async def test_all_namespaces_are_listed_unless_one_is_named(self) -> None:
        client, server = meeting({"items": []})

        await client.list(Widget)
        await client.list(Widget, "ns")
        await client.list(Node)

        assert server.asked == [
            Asked("GET", "/apis/example.com/v1/widgets", {}),
            Asked("GET", WIDGETS, {}),
            Asked("GET", "/api/v1/nodes", {}),
        ]

    async def test_what_to_list_is_said_in_the_query(self) -> None:
        client, server = meeting({"items": []})

        await client.list(
            WIDGET,
            label_selector="a=b,c!=d",
            field_selector="metadata.name=x",
            limit=500,
            continue_="token",
            resource_version="0",
        )

        assert server.asked[0].params == {
            "labelSelector": "a=b,c!=d",
            "fieldSelector": "metadata.name=x",
            "limit": "500",
            "continue": "token",
            "resourceVersion": "0",
        }

    @pytest.mark.behaviour("K3")
    async def test_items_have_the_kind_that_the_server_leaves_out(self) -> None:
        metadata = {"resourceVersion": "9", "continue": "c", "remainingItemCount": 4}
        items = [{"metadata": {"name": name}} for name in ("a", "b")]
        client, _ = meeting({"metadata": metadata, "items": items})

        dicts = await client.list(WIDGET)
        models = await client.list(Widget)

        head = {"apiVersion": "example.com/v1", "kind": "Widget"}
        assert dicts == ObjectList([head | item for item in items], "9", "c", 4)
        assert [widget.metadata.name for widget in models.items] == ["a", "b"]

    async def test_what_has_no_name_here_can_be_asked_for_too(self) -> None:
        client, server = meeting({"items": []})

        await client.list(
            WIDGET,
            resource_version="7",
            raw={"resourceVersionMatch": "Exact", "resourceVersion": "1"},
        )

        assert server.asked[0].params == {
            "resourceVersionMatch": "Exact",
            "resourceVersion": "7",
        }

    async def test_a_long_list_lets_others_run(self) -> None:
        client, _ = meeting({"items": [stored()] * 600})
        turns = 0

        async def other() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(other())
            await client.resource(WIDGET)
            await asyncio.sleep(0)
            before = turns
            await client.list(Widget)
            running.cancel()

        assert turns - before == 2

    async def test_an_answer_that_is_no_list_is_an_error(self) -> None:
        client, _ = meeting(b"<html>")

        with pytest.raises(DecodeError, match="cannot read a list of Widget"):
            await client.list(Widget)


FORMS = pytest.mark.parametrize("obj", [wanted(), SENT], ids=["model", "dict"])


class TestCreate:
    @FORMS
    async def test_an_object_goes_to_its_collection_and_comes_back_in_its_form(
        self, obj: Widget | Json
    ) -> None:
        client, server = meeting(stored())

        created = await client.create(obj)

        assert created == client.scheme.decode(
            Widget if isinstance(obj, Widget) else WIDGET, stored()
        )
        json_ = "application/json"
        assert server.asked == [Asked("POST", WIDGETS, OWNED, json_, SENT)]

    async def test_a_dry_run_and_another_owner_are_said_in_the_query(self) -> None:
        client, server = meeting(stored(), field_owner="us")

        await client.create(wanted(), dry_run=True)
        await client.create(wanted(), field_owner="me")

        assert [asked.params for asked in server.asked] == [
            {"fieldManager": "us", "dryRun": "All"},
            {"fieldManager": "me"},
        ]

    async def test_a_name_may_be_left_to_the_server(self) -> None:
        client, server = meeting(stored())

        await client.create(wanted(name="", generateName="a-"))

        assert server.asked[0].body["metadata"]["generateName"] == "a-"

    async def test_a_namespaced_object_needs_its_namespace(self) -> None:
        client, server = meeting(stored())

        with pytest.raises(BadRequestError, match="needs a namespace"):
            await client.create(wanted(namespace=""))

        assert not server.asked

    async def test_a_cluster_scoped_object_is_created(self) -> None:
        client, server = meeting({"metadata": {"name": "a"}})

        await client.create(Node(metadata=ObjectMeta(name="a")))

        assert server.asked[0].path == "/api/v1/nodes"


class TestUpdate:
    async def test_raw_options_of_a_deletion_are_where_the_server_reads_them(
        self,
    ) -> None:
        client, server = meeting({})
        flag = "ignoreStoreReadErrorWithClusterBreakingPotential"

        await client.delete(
            Widget,
            "a",
            "ns",
            grace_period_seconds=1,
            raw={
                flag: "true",
                "orphanDependents": "0",
                "gracePeriodSeconds": "9",
                "propagationPolicy": "Orphan",
                "pretty": "true",
            },
        )

        assert server.asked[0].params == {"pretty": "true"}
        assert server.asked[0].body == {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            flag: True,
            "orphanDependents": False,
            "gracePeriodSeconds": 1,
            "propagationPolicy": "Orphan",
        }

    async def test_a_raw_query_does_not_undo_what_the_client_is_held_to(self) -> None:
        client, server = meeting(stored())
        dry = client.with_defaults(dry_run=True)

        await dry.update(wanted(), raw={"dryRun": "", "pretty": "true"})
        await client.delete(Widget, "a", "ns", raw={"pretty": "true"})

        assert server.asked[0].params["dryRun"] == "All"
        assert [asked.params["pretty"] for asked in server.asked] == ["true", "true"]

    @FORMS
    async def test_an_object_is_put_in_its_place(self, obj: Widget | Json) -> None:
        client, server = meeting(stored())

        updated = await client.update(obj)

        assert type(updated) is type(obj)
        json_ = "application/json"
        assert server.asked == [Asked("PUT", f"{WIDGETS}/a", OWNED, json_, SENT)]

    async def test_a_status_is_put_in_its_own_place(self) -> None:
        client, server = meeting(stored())

        await client.update(wanted(), subresource="status", dry_run=True)

        assert server.asked[0].path == f"{WIDGETS}/a/status"
        assert server.asked[0].params == OWNED | {"dryRun": "All"}

    async def test_unknown_fields_may_be_refused(self) -> None:
        client, server = meeting(stored(), field_validation="Strict")

        await client.update(wanted())
        await client.apply(wanted())

        validations = [it.params.get("fieldValidation") for it in server.asked]
        assert validations == ["Strict", None]


class TestApply:
    @FORMS
    async def test_the_fields_that_are_set_are_applied(
        self, obj: Widget | Json
    ) -> None:
        client, server = meeting(stored())

        applied = await client.apply(obj)

        assert type(applied) is type(obj)
        yaml = "application/apply-patch+yaml"
        assert server.asked == [Asked("PATCH", f"{WIDGETS}/a", OWNED, yaml, SENT)]

    async def test_fields_are_taken_over_by_force(self) -> None:
        client, server = meeting(stored())

        await client.apply(wanted(), force=True, subresource="status", field_owner="me")

        assert server.asked[0].path == f"{WIDGETS}/a/status"
        assert server.asked[0].params == {"fieldManager": "me", "force": "true"}

    @pytest.mark.parametrize("kind", [Widget, WIDGET])
    async def test_an_object_that_was_read_is_refused(self, kind: Kind) -> None:
        client, server = meeting({})
        managed = stored()
        managed["metadata"]["managedFields"] = [{"manager": "other"}]

        with pytest.raises(BadRequestError, match="managedFields"):
            await client.apply(client.scheme.decode(kind, managed))

        assert not server.asked


class TestPatch:
    @pytest.mark.parametrize(
        "patch",
        [
            merge_patch({"spec": {"size": None}}),
            strategic_merge_patch({"spec": {"size": 2}}),
            json_patch([{"op": "remove", "path": "/spec/size"}]),
        ],
        ids=["merge", "strategic", "json"],
    )
    async def test_a_patch_is_sent_in_its_language(self, patch: Patch) -> None:
        client, server = meeting(stored())

        patched = await client.patch(Widget, "a", "ns", patch=patch)

        assert isinstance(patched, Widget)
        sent = json.loads(patch.body)
        assert server.asked == [
            Asked("PATCH", f"{WIDGETS}/a", OWNED, patch.content_type, sent)
        ]

    async def test_a_patch_of_a_status_by_another_owner(self) -> None:
        client, server = meeting(stored())

        answer = await client.patch(
            WIDGET,
            "a",
            "ns",
            patch=apply_patch(SENT),
            subresource="status",
            field_owner="me",
            force=False,
            dry_run=True,
        )

        assert answer == stored()
        assert server.asked[0].path == f"{WIDGETS}/a/status"
        assert server.asked[0].params == {
            "fieldManager": "me",
            "force": "false",
            "dryRun": "All",
        }


OPTIONS: Json = {"apiVersion": "v1", "kind": "DeleteOptions"}


class TestDelete:
    async def test_an_object_is_deleted_as_its_kind_says(self) -> None:
        client, server = meeting({"kind": "Status"})

        await client.delete(Widget, "a", "ns")
        await client.delete(NODE, "a")

        json_ = "application/json"
        assert server.asked == [
            Asked("DELETE", f"{WIDGETS}/a", {}, json_, OPTIONS),
            Asked("DELETE", "/api/v1/nodes/a", {}, json_, OPTIONS),
        ]

    @pytest.mark.behaviour("K12")
    async def test_a_deletion_says_which_object_it_means_and_how(self) -> None:
        client, server = meeting({})

        await client.delete(
            Widget,
            "a",
            "ns",
            uid="u",
            resource_version="7",
            grace_period_seconds=0,
            propagation_policy="Foreground",
            dry_run=True,
        )

        assert server.asked[0].body == OPTIONS | {
            "preconditions": {"uid": "u", "resourceVersion": "7"},
            "gracePeriodSeconds": 0,
            "propagationPolicy": "Foreground",
            "dryRun": ["All"],
        }

    @pytest.mark.behaviour("K12")
    async def test_a_deletion_that_means_another_object_is_a_conflict(self) -> None:
        async with ApiServer() as server, HttpTransport(server.config()) as transport:
            client = Client(transport, scheme=Scheme())
            place = ObjectMeta(name="a", namespace="ns")
            config = await client.create(ConfigMap(metadata=place))

            with pytest.raises(ConflictError):
                await client.delete(ConfigMap, "a", "ns", uid="another")
            await client.delete(ConfigMap, "a", "ns", uid=config.metadata.uid)
            with pytest.raises(NotFoundError):
                await client.get(ConfigMap, "a", "ns")

    @pytest.mark.behaviour("K12")
    async def test_what_the_selectors_match_is_deleted(self) -> None:
        client, server = meeting({})

        await client.delete_all_of(
            Widget,
            "ns",
            label_selector="a=b",
            field_selector="metadata.name!=x",
            propagation_policy="Background",
        )

        selectors = {"labelSelector": "a=b", "fieldSelector": "metadata.name!=x"}
        body = OPTIONS | {"propagationPolicy": "Background"}
        json_ = "application/json"
        assert server.asked == [Asked("DELETE", WIDGETS, selectors, json_, body)]

    async def test_all_namespaces_are_never_emptied_at_once(self) -> None:
        client, server = meeting({})

        with pytest.raises(BadRequestError, match="needs a namespace"):
            await client.delete_all_of(Widget, label_selector="a=b")

        assert not server.asked


TOKEN = GroupVersionKind("authentication.k8s.io", "v1", "TokenRequest")


class TestSubresources:
    async def test_a_part_is_read_as_its_own_kind(self) -> None:
        client, server = meeting({"spec": {"replicas": 3}})
        scales = client.subresource(Widget, "scale")

        scale = await scales.get(
            "a", "ns", kind=GroupVersionKind("autoscaling", "v1", "Scale")
        )

        assert server.asked == [Asked("GET", f"{WIDGETS}/a/scale", {})]
        assert scale["kind"] == "Scale"
        assert scale["spec"] == {"replicas": 3}

    async def test_what_is_sent_to_a_part_need_not_name_the_object(self) -> None:
        client, server = meeting({"status": {"token": "t"}})
        body = {"apiVersion": TOKEN.api_version, "kind": TOKEN.kind, "spec": {}}

        made = await client.subresource(WIDGET, "token").create("a", "ns", body=body)

        sent = Asked("POST", f"{WIDGETS}/a/token", OWNED, body=body)
        assert server.asked == [sent]
        assert made["kind"] == "TokenRequest"
        assert made["status"] == {"token": "t"}

    async def test_where_the_server_says_done_the_caller_gets_what_was_sent(
        self,
    ) -> None:
        client, _ = meeting({"kind": "Status", "status": "Success"})

        assert (
            await client.subresource(WIDGET, "binding").create("a", "ns", body=wanted())
            == wanted()
        )

    async def test_a_part_is_replaced_and_patched_where_it_is(self) -> None:
        client, server = meeting(stored())
        parts = client.subresource(Widget, "resize")

        await parts.update("a", "ns", body=wanted(), dry_run=True)
        await parts.patch("a", "ns", patch=merge_patch({"spec": {}}), kind=Widget)

        path, tried = f"{WIDGETS}/a/resize", OWNED | {"dryRun": "All"}
        merge = "application/merge-patch+json"
        assert server.asked == [
            Asked("PUT", path, tried, body=SENT),
            Asked("PATCH", path, OWNED, merge, {"spec": {}}),
        ]

    async def test_a_part_of_no_object_is_refused(self) -> None:
        client, server = meeting({})

        with pytest.raises(BadRequestError, match="needs a name"):
            await client.subresource(Widget, "scale").get("", "ns", kind=WIDGET)

        assert not server.asked


class TestNames:
    async def test_without_a_name_no_verb_reaches_for_the_collection(self) -> None:
        client, server = meeting({})
        nameless: Json = {**SENT, "metadata": {"namespace": "ns"}}

        for call in (
            client.get(Widget, "", "ns"),
            client.update(nameless),
            client.apply(wanted(name="")),
            client.patch(Widget, "", "ns", patch=merge_patch({})),
            client.delete(Widget, "", "ns"),
        ):
            with pytest.raises(BadRequestError, match="needs a name"):
                await call

        assert not server.asked

    async def test_without_a_namespace_no_verb_guesses_one(self) -> None:
        client, server = meeting({})

        for call in (
            client.get(Widget, "a"),
            client.update(wanted(namespace="")),
            client.delete(Widget, "a"),
        ):
            with pytest.raises(BadRequestError, match="needs a namespace"):
                await call

        assert not server.asked

    async def test_a_name_that_leads_elsewhere_is_refused(self) -> None:
        client, server = meeting({})

        with pytest.raises(BadRequestError, match="is no name of an object"):
            await client.delete(Widget, "../../secrets/a", "ns")

        assert not server.asked
