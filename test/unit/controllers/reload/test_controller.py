"""The controller at work on an API server, down to the requests that it makes.

There is no controller manager here: a reload is a change of a pod template.
"""

from __future__ import annotations

import asyncio
import json
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from structlog.testing import capture_logs

from api.apps.v1 import DaemonSet, Deployment, StatefulSet
from api.core.v1 import ConfigMap, Secret
from conformance.reloads import managing
from controller_runtime import (
    Client,
    GroupVersionKind,
    HttpTransport,
    Json,
    Manager,
    Scheme,
    merge_patch,
)
from controller_runtime.testing.apiserver import ApiServer
from controllers.reload.options import ReloadOptions
from controllers.reload.record import LAST_RELOADED_FROM, RECORD
from controllers.reload.sources import SourceKind

EVENT = GroupVersionKind("events.k8s.io", "v1", "Event")
KINDS = (Deployment.gvk, StatefulSet.gvk, DaemonSet.gvk)
AUTO = {"reloader.stakater.com/auto": "true"}


class World:
    """An API server, and a client that is not the manager's."""

    def __init__(self, server: ApiServer, client: Client) -> None:
        self.server = server
        self.client = client

    async def create(self, gvk: GroupVersionKind, name: str, **fields: object) -> None:
        metadata = {
            "name": name,
            "namespace": "shop",
            "annotations": fields.pop("annotations", {}),
        }
        head = {"apiVersion": gvk.api_version, "kind": gvk.kind}
        await self.client.create({**head, "metadata": metadata, **fields})

    async def config_map(self, name: str, **data: str) -> None:
        await self.create(ConfigMap.gvk, name, data=data)

    async def workload(
        self,
        name: str,
        annotations: dict[str, str],
        *,
        gvk: GroupVersionKind = Deployment.gvk,
        uses: tuple[str, ...] = ("c",),
        secrets: tuple[str, ...] = (),
    ) -> None:
        sources = [{"configMapRef": {"name": used}} for used in uses]
        sources += [{"secretRef": {"name": used}} for used in secrets]
        container = {"name": "app", "image": "x", "envFrom": sources}
        labels = {"app": name}
        template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
        spec: Json = {"selector": {"matchLabels": labels}, "template": template}
        if gvk == StatefulSet.gvk:
            spec["serviceName"] = name
        await self.create(gvk, name, annotations=annotations, spec=spec)

    async def change(self, name: str, **data: str) -> None:
        await self.patch(ConfigMap.gvk, name, {"data": data})

    async def patch(self, gvk: GroupVersionKind, name: str, changes: Json) -> None:
        await self.client.patch(gvk, name, "shop", patch=merge_patch(changes))

    async def read(self, name: str, gvk: GroupVersionKind = Deployment.gvk) -> Json:
        return await self.client.get(gvk, name, "shop")

    async def record(
        self, name: str, gvk: GroupVersionKind = Deployment.gvk
    ) -> dict[str, str]:
        workload = await self.read(name, gvk)
        text = workload["metadata"].get("annotations", {}).get(RECORD, "{}")
        record: dict[str, str] = json.loads(text)
        return record

    async def markers(
        self, name: str, gvk: GroupVersionKind = Deployment.gvk
    ) -> dict[str, str]:
        workload = await self.read(name, gvk)
        (container,) = workload["spec"]["template"]["spec"]["containers"]
        return {entry["name"]: entry["value"] for entry in container.get("env", [])}

    async def events(self, reason: str) -> list[Json]:
        """Return the Events with a reason, oldest first."""
        found = await self.client.list(EVENT, "shop")
        events = sorted(found.items, key=lambda event: str(event["eventTime"]))
        return [event for event in events if event["reason"] == reason]

    async def settled(self) -> None:
        """Let everything happen that will happen by itself within a few seconds."""
        await asyncio.sleep(5)

    @asynccontextmanager
    async def manager(
        self, options: ReloadOptions | None = None
    ) -> AsyncIterator[Manager]:
        """Run a manager with the reload controller, from after its first look on."""
        given = options or ReloadOptions()
        async with managing(self.server.config(), given) as manager:
            await self.settled()
            yield manager


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with ApiServer() as server, HttpTransport(server.config()) as transport:
        yield World(server, Client(transport, scheme=Scheme()))


async def test_a_change_costs_one_patch_and_one_event_and_no_read(
    world: World,
) -> None:
    await world.config_map("c", k="old")
    await world.workload("web", AUTO)

    async with world.manager():
        world.server.requests.clear()
        await world.change("c", k="new")
        await world.settled()
        # A request about no resource is discovery, once for each group.
        asked = [(r.verb, r.resource) for r in world.server.requests if r.resource]

    assert asked == [
        ("patch", "configmaps"),  # ours: the change
        ("patch", "deployments"),
        ("create", "events"),
    ]


@pytest.mark.parametrize("gvk", KINDS, ids=lambda gvk: str(gvk.kind))
async def test_a_changed_source_changes_the_template_and_the_record(
    world: World, gvk: GroupVersionKind
) -> None:
    await world.config_map("c", k="old")
    await world.workload("web", AUTO, gvk=gvk)

    async with world.manager():
        adopted = await world.record("web", gvk)
        await world.change("c", k="new")
        await world.settled()

    assert (await world.markers("web", gvk)).keys() == {"STAKATER_C_CONFIGMAP"}
    assert (await world.record("web", gvk)).keys() == adopted.keys() == {"cm/c"}
    assert await world.record("web", gvk) != adopted
    (event,) = await world.events("Reloaded")
    assert event["type"] == "Normal"
    assert event["reportingController"] == "reloader-configmaps"
    assert event["regarding"]["kind"] == gvk.kind
    assert event["note"] == (
        "'c' of type 'CONFIGMAP' in namespace 'shop' changed: "
        f"'web' of type '{gvk.kind}' in namespace 'shop' reloads"
    )


async def test_a_first_look_adopts_and_changes_no_template(world: World) -> None:
    await world.config_map("c", k="v")
    await world.workload("web", AUTO)
    before = (await world.read("web"))["spec"]

    async with world.manager():
        pass

    assert (await world.record("web")).keys() == {"cm/c"}
    assert (await world.read("web"))["spec"] == before
    assert await world.events("Reloaded") == []


async def test_writes_are_owned_by_the_field_manager_that_gitops_ignores(
    world: World,
) -> None:
    await world.config_map("c", k="v")
    await world.workload("web", AUTO)

    async with world.manager():
        (patch,) = world.server.requests.of("patch", "deployments")

    assert patch.params["fieldManager"] == "Reloader"


async def test_a_reload_is_logged_with_what_and_how(world: World) -> None:
    await world.config_map("c", k="old")
    await world.workload("web", AUTO)

    async with world.manager():
        with capture_logs() as logs:
            await world.change("c", k="new")
            await world.settled()

    (line,) = [e for e in logs if e["event"] == "Successfully triggered reload"]
    assert line["log_level"] == "info"
    assert (line["kind"], line["name"], line["strategy"], line["sources"]) == (
        *("Deployment", "web"),
        "env-vars",
        ["shop/ConfigMap/c"],
    )
    (change,) = [e for e in logs if e["event"] == "ConfigMap data changed"]
    assert (change["namespace"], change["source"]) == ("shop", "c")
    assert change["oldHash"] != change["newHash"]
    assert len(change["oldHash"]) == len(change["newHash"]) == 20


async def test_what_waits_is_in_the_log_as_it_is_in_an_event(world: World) -> None:
    await world.config_map("c", k="old")
    await world.workload("web", {**AUTO, "reloader.stakater.com/pause": "true"})

    async with world.manager():
        with capture_logs() as logs:
            await world.change("c", k="new")
            await world.settled()

    (line,) = [e for e in logs if e["event"] == "reload waits"]
    assert line["sources"] == ["shop/ConfigMap/c"]
    assert "pause" in line["why"]


async def test_a_change_while_the_manager_was_down_reloads_once(world: World) -> None:
    await world.config_map("c", k="old")
    await world.workload("web", AUTO)
    await world.workload("other", AUTO, uses=("d",))
    await world.config_map("d", k="same")
    async with world.manager():
        pass

    await world.change("c", k="new")
    for _ in range(2):
        async with world.manager():
            pass

    assert len(await world.events("Reloaded")) == 1
    assert (await world.markers("web")).keys() == {"STAKATER_C_CONFIGMAP"}
    assert await world.markers("other") == {}


async def test_three_conflicts_delay_a_reload_and_are_no_errors(world: World) -> None:
    """Scenario 46."""
    await world.config_map("c", k="old")
    await world.workload("web", AUTO)

    async with world.manager():
        conflict = world.server.faults.on(
            verb="patch", resource="deployments", times=3
        ).answer(409, reason="Conflict")
        with capture_logs() as logs:
            await world.change("c", k="new")
            await world.settled()

    assert conflict.struck == 3
    assert len(await world.events("Reloaded")) == 1
    assert await world.events("ReloadFail") == []
    assert [e for e in logs if e["log_level"] in {"warning", "error"}] == []


async def test_conflicts_of_long_ago_do_not_delay_the_next_reload(
    world: World,
) -> None:
    await world.config_map("c", k="0")
    await world.workload("web", AUTO)
    delays = []

    async with world.manager():
        for change in ("1", "2"):
            world.server.requests.clear()
            world.server.faults.on(
                verb="patch", resource="deployments", times=6
            ).answer(409, reason="Conflict")
            await world.change("c", k=change)
            await world.settled()
            patches = world.server.requests.of("patch", "deployments")
            delays.append(patches[-1].time - patches[0].time)

    assert delays[1] == pytest.approx(delays[0], rel=0.1)


async def test_a_cache_that_lags_behind_our_own_write_reloads_nothing_twice(
    world: World,
) -> None:
    world.server.faults.on(verb="watch", resource="deployments", times=None).lag(3)
    await world.config_map("a", k="old")
    await world.config_map("b", k="old")
    await world.workload("web", AUTO, uses=("a", "b"))

    async with world.manager():
        await world.settled()
        world.server.requests.clear()
        await world.change("a", k="new")
        await asyncio.sleep(1)
        # The manager does not know yet that it has reloaded for `a`.
        await world.change("b", k="new")
        await world.settled()
        await world.settled()
        patches = world.server.requests.of("patch", "deployments")

    notes = [event["note"] for event in await world.events("Reloaded")]
    assert [note.partition(" ")[0] for note in notes] == ["'a'", "'b'"]
    assert len(patches) > 2, "nothing was refused: the cache was not behind"


async def test_a_workload_that_goes_meanwhile_is_no_error(world: World) -> None:
    await world.config_map("c", k="old")
    await world.workload("web", AUTO)

    async with world.manager():
        world.server.faults.on(verb="patch", resource="deployments").answer(
            404, reason="NotFound"
        )
        with capture_logs() as logs:
            await world.change("c", k="new")
            await world.settled()

    assert [e for e in logs if e["log_level"] == "error"] == []
    assert await world.events("Reloaded") == []


async def test_a_refused_reload_is_told_and_tried_again_while_others_reload(
    world: World,
) -> None:
    await world.config_map("c", k="old")
    await world.workload("good", AUTO)
    await world.workload("bad", AUTO)

    async with world.manager():
        refusal = world.server.faults.on(
            verb="patch", resource="deployments", name="bad", times=2
        ).answer(403, reason="Forbidden", message="not allowed")
        await world.change("c", k="new")
        await world.settled()

    assert refusal.struck == 2
    failures = await world.events("ReloadFail")
    assert {event["regarding"]["name"] for event in failures} == {"bad"}
    assert all("not allowed" in event["note"] for event in failures)
    reloaded = await world.events("Reloaded")
    assert [event["regarding"]["name"] for event in reloaded] == ["good", "bad"]


async def test_a_bad_annotation_is_told_once_and_the_rest_goes_on(
    world: World,
) -> None:
    key = "configmap.reloader.stakater.com/reload"
    await world.config_map("c", k="old")
    await world.workload("web", {key: "bad[,c"}, uses=())

    async with world.manager():
        await world.change("c", k="new")
        await world.settled()
        told_once = await world.events("InvalidReloadAnnotation")
        annotations = {key: "worse(,c"}
        await world.patch(
            Deployment.gvk, "web", {"metadata": {"annotations": annotations}}
        )
        await world.settled()

    assert (await world.markers("web")).keys() == {"STAKATER_C_CONFIGMAP"}
    (event,) = told_once
    assert event["type"] == "Warning"
    assert key in event["note"]
    assert "'bad['" in event["note"]
    assert len(await world.events("InvalidReloadAnnotation")) == 2


async def test_a_bad_annotation_is_told_again_when_it_was_good_or_gone_meanwhile(
    world: World,
) -> None:
    key = "secret.reloader.stakater.com/reload"

    async with world.manager():
        await world.workload("web", {key: "bad["}, uses=())
        await world.settled()
        for listed in ("good", "bad["):
            changes = {"metadata": {"annotations": {key: listed}}}
            await world.patch(Deployment.gvk, "web", changes)
            await world.settled()
        assert len(await world.events("InvalidReloadAnnotation")) == 2
        await world.client.delete(Deployment.gvk, "web", "shop")
        await world.settled()
        await world.workload("web", {key: "bad["}, uses=())
        await world.settled()

    assert len(await world.events("InvalidReloadAnnotation")) == 3


async def test_a_refused_adoption_is_tried_again_without_an_event(
    world: World,
) -> None:
    await world.config_map("c", k="v")
    await world.workload("web", AUTO)
    world.server.faults.on(verb="patch", resource="deployments").answer(
        403, reason="Forbidden"
    )

    async with world.manager():
        await world.settled()

    assert (await world.record("web")).keys() == {"cm/c"}
    assert await world.events("ReloadFail") == []


async def test_objects_of_one_name_and_different_kinds_are_all_handled(
    world: World,
) -> None:
    """Scenario 52, without the custom resource."""
    old, new = (b64encode(text).decode() for text in (b"old", b"new"))
    await world.config_map("x", k="old")
    await world.create(Secret.gvk, "x", data={"k": old})
    for gvk in KINDS:
        await world.workload("x", AUTO, gvk=gvk, uses=("x",), secrets=("x",))

    async with world.manager():
        await world.patch(Secret.gvk, "x", {"data": {"k": new}})
        await world.settled()
        of_secret = [(await world.markers("x", gvk)).keys() for gvk in KINDS]
        await world.change("x", k="new")
        await world.settled()

    assert of_secret == [{"STAKATER_X_SECRET"}] * 3
    for gvk in KINDS:
        assert (await world.markers("x", gvk)).keys() == {
            "STAKATER_X_SECRET",
            "STAKATER_X_CONFIGMAP",
        }


async def test_no_value_of_a_secret_is_kept_or_logged(world: World) -> None:
    await world.create(
        Secret.gvk, "s", data={"password": b64encode(b"hunter2").decode()}
    )
    await world.workload("web", AUTO, uses=(), secrets=("s",))

    with capture_logs() as logs:
        async with world.manager() as manager:
            held = [e.raw for kind in manager.cache for e in kind.store.list()]

    everything = b" ".join(held) + repr(logs).encode()
    assert b"password" not in everything
    assert b"hunter2" not in everything
    assert b64encode(b"hunter2") not in everything


async def test_a_workload_without_our_annotations_is_not_even_looked_at(
    world: World,
) -> None:
    await world.config_map("c", k="v")
    await world.workload("web", {})

    async with world.manager() as manager:
        exposition = manager.metrics.exposition().decode()

    assert 'workqueue_adds_total{controller="reload",name="reload"} 0.0' in exposition


async def test_a_namespace_that_is_not_ours_is_left_alone(world: World) -> None:
    await world.config_map("c", k="v")
    await world.workload("web", AUTO)

    async with world.manager(ReloadOptions(namespaces=("elsewhere",))):
        pass

    assert await world.record("web") == {}


@pytest.mark.parametrize("asks", [True, False], ids=["asked for", "not asked for"])
async def test_what_comes_and_goes_reloads_only_where_that_is_asked_for(
    world: World, asks: bool
) -> None:
    """Scenarios 28 and 43."""
    options = ReloadOptions(reload_on_create=asks, reload_on_delete=asks)
    await world.workload("web", AUTO)

    async with world.manager(options):
        await world.config_map("c", k="v")
        await world.settled()
        after_create = await world.markers("web")
        await world.client.delete(ConfigMap.gvk, "c", "shop")
        await world.settled()

    assert (after_create.keys() == {"STAKATER_C_CONFIGMAP"}) is asks
    assert len(await world.events("Reloaded")) == (2 if asks else 0)
    assert await world.markers("web") == {}
    assert (await world.record("web")).keys() == {"cm/c"}


async def test_what_is_there_at_the_start_is_not_new(world: World) -> None:
    """Scenario 31: TestAddHandler, before the controllers are initialised."""
    options = ReloadOptions(reload_on_create=True)
    await world.config_map("c", k="v")
    await world.workload("web", AUTO)

    async with world.manager(options):
        await world.settled()

    assert await world.events("Reloaded") == []
    assert (await world.record("web")).keys() == {"cm/c"}


async def test_a_workload_that_comes_after_its_source_does_not_reload_for_it(
    world: World,
) -> None:
    async with world.manager(ReloadOptions(reload_on_create=True)):
        await world.config_map("c", k="v")
        await world.settled()
        await world.workload("web", AUTO)
        await world.settled()

    assert await world.events("Reloaded") == []
    assert (await world.record("web")).keys() == {"cm/c"}


@pytest.mark.parametrize("kept_by", ["a pause", "the debounce"])
async def test_what_appears_while_its_workload_waits_reloads_after_a_restart(
    world: World, kept_by: str
) -> None:
    pause = {"reloader.stakater.com/pause": "true"} if kept_by == "a pause" else {}
    options = ReloadOptions(reload_on_create=True)
    await world.workload("web", AUTO | pause)
    await world.workload("other", AUTO, uses=("a",))

    async with world.manager(options):
        await world.config_map("c", k="v")
        await asyncio.sleep(0.3)
    assert await world.record("web") == {"cm/c": ""}
    assert await world.markers("web") == {}
    off: Json = {"metadata": {"annotations": dict.fromkeys(pause)}}
    await world.patch(Deployment.gvk, "web", off)
    for _ in range(2):
        async with world.manager(options):
            pass

    assert (await world.markers("web")).keys() == {"STAKATER_C_CONFIGMAP"}
    assert len(await world.events("Reloaded")) == 1
    assert await world.record("other") == {}


async def test_what_waited_to_reload_for_a_source_that_appeared_is_asked_again(
    world: World,
) -> None:
    await world.workload("web", AUTO | {"reloader.stakater.com/pause": "true"})
    async with world.manager(ReloadOptions(reload_on_create=True)):
        await world.config_map("c", k="v")
        await world.settled()

    async with world.manager():  # nobody wants that any more
        pass

    assert await world.events("Reloaded") == []
    assert (await world.record("web"))["cm/c"]


async def test_what_appeared_and_went_while_its_workload_waited_reloads_nothing(
    world: World,
) -> None:
    options = ReloadOptions(reload_on_create=True, reload_on_delete=True)
    pause = "reloader.stakater.com/pause"
    await world.workload("web", AUTO | {pause: "true"})
    async with world.manager(options):
        await world.config_map("c", k="v")
        await world.settled()
        await world.client.delete(ConfigMap.gvk, "c", "shop")
        await world.settled()
        off: Json = {"metadata": {"annotations": {pause: None}}}
        await world.patch(Deployment.gvk, "web", off)
        await world.settled()

    assert await world.events("Reloaded") == []


async def test_what_appeared_while_the_manager_was_down_reloads_if_asked_for(
    world: World,
) -> None:
    options = ReloadOptions(reload_on_create=True, sync_after_restart=True)
    await world.config_map("a", k="v")
    await world.workload("web", AUTO, uses=("a", "b"))
    await world.workload("new", AUTO, uses=("b",))
    async with world.manager(options):
        pass

    await world.config_map("b", k="v")
    for _ in range(2):
        async with world.manager(options):
            pass

    (event,) = await world.events("Reloaded")
    assert event["regarding"]["name"] == "web"


async def test_a_strategy_of_its_own_changes_an_annotation_of_the_template(
    world: World,
) -> None:
    strategy = {"reloader.stakater.com/reload-strategy": "annotations"}
    await world.config_map("c", k="old")
    await world.workload("web", AUTO | strategy)

    async with world.manager():
        await world.change("c", k="new")
        await world.settled()

    template = (await world.read("web"))["spec"]["template"]
    marker = template["metadata"]["annotations"][LAST_RELOADED_FROM]
    assert json.loads(marker)["containerRefs"] == ["app"]
    assert await world.markers("web") == {}


async def label(world: World, name: str, **labels: str | None) -> None:
    namespace = GroupVersionKind("", "v1", "Namespace")
    patch = merge_patch({"metadata": {"labels": labels}})
    await world.client.patch(namespace, name, patch=patch)


async def test_a_namespace_that_is_relabelled_is_ours_from_the_next_change_on(
    world: World,
) -> None:
    """Scenarios 51 and 31: TestResourceInSelectedNamespaces; labels queue nothing."""
    await world.client.create(
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}
    )
    options = ReloadOptions(namespace_selector="team:shop")
    await world.config_map("c", k="0")
    await world.workload("web", AUTO)

    async with world.manager(options):
        assert await world.record("web") == {}
        await label(world, "shop", team="shop")
        await world.settled()
        await world.change("c", k="1")
        await world.settled()
        assert len(await world.events("Reloaded")) == 1
        await label(world, "shop", team=None)
        await world.change("c", k="2")
        await world.settled()
        await label(world, "shop", team="shop")
        await world.settled()
        assert len(await world.events("Reloaded")) == 1
        await world.change("c", k="3")
        await world.settled()

    assert len(await world.events("Reloaded")) == 2


async def test_a_namespace_that_is_created_with_its_label_is_ours(
    world: World,
) -> None:
    options = ReloadOptions(namespace_selector="team")

    async with world.manager(options):
        metadata = {"name": "shop", "labels": {"team": "shop"}}
        await world.client.create(
            {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}
        )
        await world.config_map("c", k="v")
        await world.workload("web", AUTO)
        await world.settled()

    assert (await world.record("web")).keys() == {"cm/c"}


async def test_a_namespace_to_ignore_is_left_alone(world: World) -> None:
    """Scenario 31: TestAddHandler and others, in an ignored namespace."""
    await world.config_map("c", k="v")
    await world.workload("web", AUTO)

    async with world.manager(
        ReloadOptions(namespaces_to_ignore=frozenset({"shop"}))
    ) as manager:
        held = [e for kind in manager.cache for e in kind.list()]

    assert held == []
    assert await world.record("web") == {}


async def test_sources_without_the_label_are_not_seen(world: World) -> None:
    """Scenario 28, the part of --resource-label-selector."""
    await world.config_map("c", k="old")
    await world.workload("web", AUTO, uses=("c", "labelled"))
    await world.client.create(
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                "name": "labelled",
                "namespace": "shop",
                "labels": {"reload": "yes"},
            },
        }
    )

    async with world.manager(ReloadOptions(resource_label_selector="reload:*")):
        await world.change("c", k="new")
        await world.change("labelled", k="new")
        await world.settled()

    assert (await world.markers("web")).keys() == {"STAKATER_LABELLED_CONFIGMAP"}


async def test_a_kind_of_source_that_is_ignored_is_not_watched_and_others_count(
    world: World,
) -> None:
    """Scenario 43."""
    options = ReloadOptions(
        ignored_sources=frozenset({SourceKind.SECRET}), reload_on_create=True
    )
    await world.workload("web", AUTO, secrets=("s",))

    async with world.manager(options):
        await world.create(Secret.gvk, "s", data={})
        await world.config_map("c", k="v")
        await world.settled()
        asked = world.server.requests.of("watch", "secrets")

    assert (await world.markers("web")).keys() == {"STAKATER_C_CONFIGMAP"}
    assert list(asked) == []


async def test_a_kind_of_workload_that_is_ignored_is_left_alone(
    world: World,
) -> None:
    await world.config_map("c", k="v")
    for gvk in KINDS:
        await world.workload("web", AUTO, gvk=gvk)

    async with world.manager(ReloadOptions(ignored_workloads=frozenset({"DaemonSet"}))):
        pass

    assert await world.record("web", DaemonSet.gvk) == {}
    assert await world.record("web", StatefulSet.gvk) != {}


async def test_a_dry_run_tells_of_a_change_and_writes_to_no_workload(
    world: World,
) -> None:
    """Scenario 54, without the custom resource."""
    await world.config_map("c", k="old")
    await world.workload("web", AUTO)

    async with world.manager(ReloadOptions(dry_run=True)):
        await world.change("c", k="new")
        await world.settled()
        asked = world.server.requests.of("patch", "deployments")

    assert list(asked) == []
    assert len(await world.events("ReloadPlanned")) == 1
    assert await world.events("Reloaded") == []


async def test_a_change_waits_while_the_workload_says_pause_and_comes_then(
    world: World,
) -> None:
    paused = {**AUTO, "reloader.stakater.com/pause": "true"}
    await world.config_map("c", k="old")
    await world.workload("web", paused)
    async with world.manager():
        await world.change("c", k="new")
        await world.settled()
        await world.change("c", k="newer")
        await world.settled()
        assert await world.markers("web") == {}
        held = await world.events("ReloadHeld")
        assert (
            "until its annotation reloader.stakater.com/pause is taken away"
            in held[-1]["note"]
        )

        annotations = {"annotations": {"reloader.stakater.com/pause": None}}
        await world.patch(Deployment.gvk, "web", {"metadata": annotations})
        await world.settled()

    assert len(await world.markers("web")) == 1
    assert len(await world.events("Reloaded")) == 1
