"""Reloads that ReloaderConfigs ask for, on an API server.

There is no controller manager here: a reload is a change of a pod template.
"""

from __future__ import annotations

import asyncio
import json
from base64 import b64encode
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import datetime

import pytest
from structlog.testing import capture_logs

from api.apps.v1 import Deployment, StatefulSet
from api.batch.v1 import CronJob, Job
from api.core.v1 import ConfigMap, Secret
from api.reload.v1alpha1 import ReloaderConfig
from conformance.reloads import managing
from controller_runtime import (
    Client,
    GroupVersionKind,
    HttpTransport,
    Json,
    KubeObject,
    Manager,
    Scheme,
    merge_patch,
)
from controller_runtime.testing.apiserver import ApiServer, Resource
from controllers.reload.options import LegacyTrigger, ReloadOptions
from controllers.reload.record import LAST_RELOADED_FROM, RECORD
from controllers.reload.sources import SourceKind
from controllers.reload.writing.patches import LAST_RELOAD, RESOURCE_HASH, TRIGGERED_AT

EVENT = GroupVersionKind("events.k8s.io", "v1", "Event")
NAMESPACE = GroupVersionKind("", "v1", "Namespace")
RESOURCE = Resource(gvk=ReloaderConfig.gvk, plural="reloaderconfigs")

AUTO = {"reloader.stakater.com/auto": "true"}
IGNORE = {"reloader.stakater.com/ignore": "true"}
WEB: Json = {"kind": "Deployment", "name": "web"}
NAMES_S: Json = {"watchedResources": {"secrets": ["s"]}, "targets": [WEB]}
USES: Json = {"autoReloadAll": True, "targets": [WEB]}

MARK_S = "STAKATER_S_SECRET"
MARK_C = "STAKATER_C_CONFIGMAP"


class World:
    """An API server, and a client that is not the manager's."""

    def __init__(self, server: ApiServer, client: Client) -> None:
        self.server = server
        self.client = client

    async def create(
        self,
        gvk: GroupVersionKind,
        name: str,
        *,
        namespace: str = "shop",
        labels: Mapping[str, str] | None = None,
        annotations: Mapping[str, str] | None = None,
        **fields: object,
    ) -> None:
        metadata = {
            "name": name,
            "namespace": namespace,
            "labels": labels or {},
            "annotations": annotations or {},
        }
        head = {"apiVersion": gvk.api_version, "kind": gvk.kind}
        await self.client.create({**head, "metadata": metadata, **fields})

    async def config(
        self, name: str = "x", namespace: str = "shop", /, **s: object
    ) -> None:
        await self.create(ReloaderConfig.gvk, name, namespace=namespace, spec=s)

    async def secret(self, name: str = "s", value: str = "old", **more: object) -> None:
        await self.create(Secret.gvk, name, data=_data(value), **more)  # type: ignore[arg-type]

    async def config_map(self, name: str = "c", **more: object) -> None:
        await self.create(ConfigMap.gvk, name, data={"k": "old"}, **more)  # type: ignore[arg-type]

    async def workload(
        self,
        name: str = "web",
        gvk: GroupVersionKind = Deployment.gvk,
        *,
        uses: tuple[str, ...] = ("s",),
        **more: object,
    ) -> None:
        sources = [{"secretRef": {"name": used}} for used in uses]
        first = {"name": "proxy", "image": "x"}
        second = {"name": "app", "image": "x", "envFrom": sources}
        labels = {"app": name}
        template: Json = {
            "metadata": {"labels": labels},
            "spec": {"containers": [first, second], "restartPolicy": "Always"},
        }
        spec: Json = {"selector": {"matchLabels": labels}, "template": template}
        if gvk == StatefulSet.gvk:
            spec["serviceName"] = name
        await self.create(gvk, name, spec=spec, **more)  # type: ignore[arg-type]

    async def change(
        self, name: str = "s", value: str = "new", namespace: str = "shop"
    ) -> None:
        patch = {"data": _data(value)}
        await self.patch(Secret, name, patch, namespace=namespace)

    async def patch(
        self,
        model: type[KubeObject],
        name: str,
        changes: Json,
        *,
        namespace: str = "shop",
    ) -> None:
        await self.client.patch(model.gvk, name, namespace, patch=merge_patch(changes))

    async def template(
        self,
        name: str = "web",
        gvk: GroupVersionKind = Deployment.gvk,
        namespace: str = "shop",
    ) -> Json:
        found = await self.client.get(gvk, name, namespace)
        template: Json = found["spec"]["template"]
        return template

    async def marks(
        self,
        name: str = "web",
        gvk: GroupVersionKind = Deployment.gvk,
        namespace: str = "shop",
    ) -> dict[str, dict[str, str]]:
        """Return container → variables."""
        template = await self.template(name, gvk, namespace)
        return {
            c["name"]: {one["name"]: one["value"] for one in c.get("env") or []}
            for c in template["spec"]["containers"]
        }

    async def reloaded(self, name: str = "web", namespace: str = "shop") -> set[str]:
        """Return the marks of sources that a Deployment has."""
        marks = await self.marks(name, namespace=namespace)
        return {v for names in marks.values() for v in names} - {TRIGGERED_AT}

    async def record(self, name: str = "web") -> dict[str, str]:
        found = await self.client.get(Deployment.gvk, name, "shop")
        text = found["metadata"].get("annotations", {}).get(RECORD, "{}")
        record: dict[str, str] = json.loads(text)
        return record

    async def events(self, reason: str) -> list[Json]:
        events = (await self.client.list(EVENT, "")).items
        return [event for event in events if event["reason"] == reason]

    async def notes(self, reason: str) -> list[str]:
        return [str(event["note"]) for event in await self.events(reason)]

    def writes(self) -> list[str]:
        """Return the writes to workloads."""
        kinds = ("deployments", "statefulsets", "jobs", "cronjobs")
        return [r.verb for k in kinds for r in self.server.requests.of("patch", k)]

    async def settled(self) -> None:
        """Let everything happen that will happen by itself within half a minute."""
        await asyncio.sleep(30)

    @asynccontextmanager
    async def manager(self, **options: object) -> AsyncIterator[Manager]:
        given = ReloadOptions(**options)  # type: ignore[arg-type]
        async with managing(self.server.config(), given) as manager:
            await self.settled()
            yield manager


def _data(value: str) -> dict[str, str]:
    return {"k": b64encode(value.encode()).decode()}


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with ApiServer() as server, HttpTransport(server.config()) as transport:
        server.register(RESOURCE)
        world = World(server, Client(transport, scheme=Scheme()))
        for name in ("shop", "vault"):
            await world.client.create(
                {
                    "apiVersion": "v1",
                    "kind": "Namespace",
                    "metadata": {"name": name, "labels": {"name": name}},
                }
            )
        yield world


# --- what a reload writes ----------------------------------------------------------


async def test_a_config_reloads_a_workload_without_annotations(world: World) -> None:
    """Scenario 1: the marks of both originals, in one patch."""
    await world.secret()
    await world.workload()
    await world.config(**NAMES_S)

    async with world.manager():
        assert (await world.record()).keys() == {"secret/s"}
        world.server.requests.clear()
        await world.change()
        await world.settled()
        asked = [
            (r.verb, r.resource)
            for r in world.server.requests
            if r.resource and r.verb != "watch"
        ]

    assert asked == [
        ("patch", "secrets"),
        ("patch", "deployments"),
        ("create", "events"),
        ("patch", "reloaderconfigs"),  # later: its status
        ("create", "events"),
    ]
    marks = await world.marks()
    assert marks["app"].keys() == {MARK_S}
    assert marks["proxy"].keys() == {TRIGGERED_AT}
    assert datetime.fromisoformat(marks["proxy"][TRIGGERED_AT]).tzinfo is not None
    annotations = (await world.template())["metadata"]["annotations"]
    assert annotations.keys() == {RESOURCE_HASH}
    assert len(annotations[RESOURCE_HASH]) == 64


async def test_the_strategy_of_a_config_is_obeyed(world: World) -> None:
    """Scenario 3."""
    await world.config_map()
    await world.workload("db", StatefulSet.gvk)
    await world.config(
        watchedResources={"configMaps": ["c"]},
        targets=[{"kind": "StatefulSet", "name": "db"}],
        reloadStrategy="annotations",
    )

    async with world.manager():
        await world.patch(ConfigMap, "c", {"data": {"k": "new"}})
        await world.settled()

    template = await world.template("db", StatefulSet.gvk)
    assert template["metadata"]["annotations"].keys() == {
        *(LAST_RELOAD, RESOURCE_HASH, LAST_RELOADED_FROM)
    }
    assert await world.marks("db", StatefulSet.gvk) == {"proxy": {}, "app": {}}


async def test_a_targets_own_strategy_goes_first(world: World) -> None:
    """Target > config > annotation."""
    await world.secret()
    strategy = {"reloader.stakater.com/reload-strategy": "annotations"}
    await world.workload(annotations=strategy)
    await world.workload("api", annotations=strategy)
    api = {"kind": "Deployment", "name": "api", "reloadStrategy": "annotations"}
    await world.config(**NAMES_S | {"targets": [WEB, api]})

    async with world.manager():
        await world.change()
        await world.settled()

    assert await world.reloaded("web") == {MARK_S}
    assert await world.reloaded("api") == set()
    assert LAST_RELOAD in (await world.template("api"))["metadata"]["annotations"]


@pytest.mark.parametrize(
    ("when", "by_config", "by_annotation"),
    [
        (LegacyTrigger.CRD, True, False),
        (LegacyTrigger.NEVER, False, False),
        (LegacyTrigger.ALWAYS, True, True),
    ],
)
async def test_the_marks_of_the_operator_are_left_when_they_are_asked_for(
    world: World,
    when: LegacyTrigger,
    by_config: bool,
    by_annotation: bool,
) -> None:
    await world.secret()
    await world.workload()
    await world.workload("api", annotations=AUTO)
    await world.config(**NAMES_S)

    async with world.manager(legacy_trigger_env=when):
        await world.change()
        await world.settled()

    assert (TRIGGERED_AT in (await world.marks("web"))["proxy"]) is by_config
    assert (TRIGGERED_AT in (await world.marks("api"))["proxy"]) is by_annotation
    assert await world.reloaded("web") == await world.reloaded("api") == {MARK_S}


async def test_a_job_that_starts_anew_has_the_marks_too(world: World) -> None:
    await world.secret()
    await world.workload("once", Job.gvk)
    await world.config(**NAMES_S | {"targets": [{"kind": "Job", "name": "once"}]})

    async with world.manager():
        await world.change()
        await world.settled()

    marks = await world.marks("once", Job.gvk)
    assert marks["proxy"].keys() == {TRIGGERED_AT}
    assert marks["app"].keys() == {MARK_S}


# --- which workloads ---------------------------------------------------------------


async def test_each_target_of_a_config_reloads(world: World) -> None:
    """Scenario 4."""
    await world.secret()
    await world.workload()
    await world.workload("api")
    await world.config(
        watchedResources={"secrets": ["s"]},
        targets=[WEB, {"kind": "Deployment", "name": "api"}],
    )

    async with world.manager():
        await world.change()
        await world.settled()

    assert await world.reloaded("web") == await world.reloaded("api") == {MARK_S}


async def test_a_target_may_come_later(world: World) -> None:
    """Scenario 10."""
    await world.secret()
    await world.config(**NAMES_S)

    async with world.manager():
        with capture_logs() as logs:
            await world.change(value="first")
            await world.settled()
            await world.workload()
            await world.settled()
            assert await world.reloaded() == set()
            await world.change(value="second")
            await world.settled()

    assert await world.reloaded() == {MARK_S}
    assert [e for e in logs if e["log_level"] in {"warning", "error"}] == []


async def test_a_config_may_come_later_than_its_workloads(world: World) -> None:
    """Then the cache has only their names, and all of them are read once."""
    await world.secret()
    for name in ("web", "api", "other"):
        await world.workload(name)

    async with world.manager():
        world.server.requests.clear()
        await world.config(**NAMES_S)
        await world.settled()
        (read,) = world.server.requests.of("list", "deployments")
        assert read.params["fieldSelector"] == "metadata.name=web"
        await world.change()
        await world.settled()
        assert world.server.requests.of("list", "deployments") == [read]
        await world.change(value="newer")
        await world.settled()

    assert await world.reloaded() == {MARK_S}
    assert await world.reloaded("api") == await world.reloaded("other") == set()
    assert len(await world.notes("Reloaded")) == 2


async def test_workloads_that_cannot_be_read_are_read_when_they_can(
    world: World,
) -> None:
    await world.secret()
    await world.workload()

    async with world.manager():
        fault = world.server.faults.on(
            verb="list", resource="deployments", times=2
        ).answer(500)
        await world.config(**NAMES_S)
        await world.settled()
        await world.change()
        await world.settled()

    assert fault.struck == 2
    assert await world.reloaded() == {MARK_S}


async def test_targets_may_be_selected_by_labels_of_any_kind(world: World) -> None:
    await world.secret()
    await world.workload(labels={"team": "a"})
    await world.workload("db", StatefulSet.gvk, labels={"team": "a"})
    await world.workload("api", labels={"team": "b"})
    await world.config(
        watchedResources={"secrets": ["s"]},
        targets=[{"kind": "*", "selector": {"matchLabels": {"team": "a"}}}],
    )

    async with world.manager():
        await world.change()
        await world.settled()
        assert await world.reloaded("web") == {MARK_S}
        assert (await world.marks("db", StatefulSet.gvk))["app"].keys() == {MARK_S}
        assert await world.reloaded("api") == set()

        await world.patch(Deployment, "api", {"metadata": {"labels": {"team": "a"}}})
        world.server.requests.clear()
        await world.patch(Deployment, "web", {"metadata": {"labels": {"team": "b"}}})
        await world.settled()
        assert world.server.requests.of("list", "deployments") == [], "it is let go"
        before = await world.marks("web")
        await world.change(value="newer")
        await world.settled()

    assert await world.reloaded("api") == {MARK_S}
    assert await world.marks("web") == before


async def test_what_a_cron_job_runs_is_no_target(world: World) -> None:
    await world.secret()
    owner = {"apiVersion": "batch/v1", "kind": "CronJob", "name": "c", "uid": "u"}
    metadata = {"ownerReferences": [owner | {"controller": True}]}
    await world.workload("run", Job.gvk)
    await world.patch(Job, "run", {"metadata": metadata})
    await world.config(
        watchedResources={"secrets": ["s"]}, targets=[{"kind": "*", "selector": {}}]
    )
    uid = (await world.client.get(Job.gvk, "run", "shop"))["metadata"]["uid"]

    async with world.manager():
        await world.change()
        await world.settled()

    assert (await world.client.get(Job.gvk, "run", "shop"))["metadata"]["uid"] == uid


@pytest.mark.parametrize("allowed", [False, True])
async def test_other_namespaces_take_a_flag(
    world: World,
    allowed: bool,
) -> None:
    await world.secret()
    await world.secret(value="theirs", namespace="vault")
    await world.workload(namespace="vault")
    await world.config(**NAMES_S | {"targets": [WEB | {"namespace": "vault"}]})

    async with world.manager(allow_cross_namespace=allowed):
        await world.change(namespace="vault")  # not the one that is named
        await world.settled()
        assert await world.reloaded(namespace="vault") == set()
        await world.change()
        await world.settled()

    assert await world.reloaded(namespace="vault") == ({MARK_S} if allowed else set())


async def test_containers_that_do_not_count_are_left_alone(world: World) -> None:
    await world.secret()
    await world.workload()
    await world.config(**USES | {"targets": [WEB | {"containers": ["proxy"]}]})
    await world.config(
        "y", **NAMES_S | {"targets": [WEB | {"name": "api", "containers": ["proxy"]}]}
    )
    await world.workload("api")

    async with world.manager():
        await world.change()
        await world.settled()

    assert await world.reloaded("web") == set()
    assert (await world.marks("api"))["proxy"].keys() == {MARK_S, TRIGGERED_AT}


# --- which sources -----------------------------------------------------------------


async def test_all_that_pods_use_may_count(world: World) -> None:
    await world.secret()
    await world.secret("unused")
    await world.workload()
    await world.workload("api")
    await world.config(**USES)

    async with world.manager():
        await world.change()
        await world.change("unused")
        await world.settled()

    assert await world.reloaded("web") == {MARK_S}
    assert await world.reloaded("api") == set()


async def test_what_pods_use_is_looked_at_anew_when_they_change(world: World) -> None:
    await world.secret()
    await world.secret("t")
    await world.workload()
    await world.config(**USES)

    async with world.manager():
        containers = (await world.template())["spec"]["containers"]
        containers[1]["envFrom"] = [{"secretRef": {"name": "t"}}]
        template = {"spec": {"containers": containers}}
        await world.patch(Deployment, "web", {"spec": {"template": template}})
        await world.settled()
        await world.change("s")
        await world.change("t")
        await world.settled()

    assert await world.reloaded() == {"STAKATER_T_SECRET"}


async def test_names_may_be_patterns_for_whole_names(world: World) -> None:
    for name in ("db-1", "adb-1", "api"):
        await world.secret(name)
    await world.workload()
    await world.config(watchedResources={"secrets": ["/db-[0-9]|ap./"]}, targets=[WEB])

    async with world.manager():
        for name in ("db-1", "adb-1", "api"):
            await world.change(name)
        await world.settled()

    assert await world.reloaded() == {"STAKATER_DB_1_SECRET", "STAKATER_API_SECRET"}


async def test_of_a_source_some_keys_may_count(world: World) -> None:
    """A7: `k` is what changes."""
    scopes = [
        {"kind": "Secret", "name": "s", "ignoreKeys": ["k"]},
        {"kind": "Secret", "name": "/.*/", "keys": ["k"]},
    ]
    for name in ("s", "t"):
        await world.secret(name)
    await world.workload()
    names = {"secrets": ["s", "t"], "keyScopes": scopes}
    await world.config(watchedResources=names, targets=[WEB])

    async with world.manager():
        await world.change("s")
        await world.change("t")
        await world.settled()

    assert await world.reloaded() == {"STAKATER_T_SECRET"}


async def test_a_pattern_that_cannot_be_read_hurts_no_other(world: World) -> None:
    await world.secret()
    await world.workload()
    await world.config(
        watchedResources={"secrets": ["/app-config[/", "s"]}, targets=[WEB]
    )

    with capture_logs() as logs:
        async with world.manager():
            await world.change()
            await world.settled()

    assert await world.reloaded() == {MARK_S}
    (line,) = [e for e in logs if e["log_level"] == "warning"]
    assert line["config"] == "shop/x"
    assert line["field"] == "spec.watchedResources.secrets[0]"


async def test_sources_may_be_selected_by_labels(world: World) -> None:
    await world.secret(labels={"tier": "db"})
    await world.config_map(labels={"tier": "web"})
    await world.workload()
    await world.config(
        watchedResources={"resourceSelector": {"matchLabels": {"tier": "db"}}},
        targets=[WEB],
    )

    async with world.manager():
        await world.patch(ConfigMap, "c", {"data": {"k": "new"}})
        await world.change()
        await world.settled()
        assert await world.reloaded() == {MARK_S}

        # One that gets the labels is taken as it is; its next change counts.
        await world.patch(ConfigMap, "c", {"metadata": {"labels": {"tier": "db"}}})
        await world.settled()
        assert await world.reloaded() == {MARK_S}
        await world.patch(ConfigMap, "c", {"data": {"k": "newer"}})
        await world.settled()

    assert await world.reloaded() == {MARK_S, MARK_C}


async def test_labels_narrow_what_pods_use(world: World) -> None:
    """`matchLabels` alone is what `search` and `match` are for annotations."""
    await world.secret(labels={"reload": "yes", "more": "x"})
    await world.secret("t")
    await world.secret("unused", labels={"reload": "yes"})
    await world.workload(uses=("s", "t"))
    await world.config(matchLabels={"reload": "yes"}, targets=[WEB])

    async with world.manager():
        for name in ("s", "t", "unused"):
            await world.change(name)
        await world.settled()

    assert await world.reloaded() == {MARK_S}


@pytest.mark.parametrize("allowed", [False, True])
async def test_sources_of_other_namespaces_take_a_flag(
    world: World,
    allowed: bool,
) -> None:
    await world.secret(namespace="vault")
    await world.secret(value="ours")
    await world.workload()
    selector = {"matchLabels": {"name": "vault"}}
    await world.config(watchedResources={"namespaceSelector": selector}, targets=[WEB])

    with capture_logs() as logs:
        async with world.manager(allow_cross_namespace=allowed):
            await world.change()  # it is used, but not selected
            await world.change(namespace="vault")
            await world.settled()

    fields = [e["field"] for e in logs if e["log_level"] == "warning"]
    assert await world.reloaded() == ({MARK_S} if allowed else set())
    assert (await world.record()).keys() == ({"secret/vault/s"} if allowed else set())
    place = "spec.watchedResources.namespaceSelector"
    assert fields == ([] if allowed else [place])


async def test_a_namespace_that_gets_the_labels_is_taken_as_it_is(
    world: World,
) -> None:
    await world.secret(namespace="vault")
    await world.workload()
    selector = {"matchLabels": {"open": "yes"}}
    await world.config(watchedResources={"namespaceSelector": selector}, targets=[WEB])
    labels = {"metadata": {"labels": {"open": "yes"}}}

    async with world.manager(allow_cross_namespace=True):
        await world.client.patch(NAMESPACE, "vault", patch=merge_patch(labels))
        await world.settled()
        assert (await world.record()).keys() == {"secret/vault/s"}
        assert await world.reloaded() == set()
        await world.change(namespace="vault")
        await world.settled()

    assert await world.reloaded() == {MARK_S}


async def test_targeted_reloads_are_for_what_the_pods_use(world: World) -> None:
    for name in ("s", "t"):
        await world.secret(name)
    await world.workload()
    await world.workload("api")
    await world.config(
        watchedResources={"secrets": ["s", "t"], "enableTargetedReload": True},
        targets=[
            WEB | {"requireReference": True},
            {"kind": "Deployment", "name": "api"},
        ],
    )

    async with world.manager():
        await world.change("s")
        await world.change("t")
        await world.settled()

    assert await world.reloaded("web") == {MARK_S}
    assert await world.reloaded("api") == {MARK_S, "STAKATER_T_SECRET"}


async def test_objects_of_one_name_are_told_apart(world: World) -> None:
    """Scenario 52."""
    await world.secret("x")
    await world.config_map("x")
    await world.workload()
    await world.config(
        watchedResources={"secrets": ["x"], "configMaps": ["x"]}, targets=[WEB]
    )

    async with world.manager():
        assert (await world.record()).keys() == {"cm/x", "secret/x"}
        await world.change("x")
        await world.settled()
        assert await world.reloaded() == {"STAKATER_X_SECRET"}
        await world.patch(ConfigMap, "x", {"data": {"k": "new"}})
        await world.settled()

    assert await world.reloaded() == {"STAKATER_X_SECRET", "STAKATER_X_CONFIGMAP"}


# --- vetoes ------------------------------------------------------------------------


async def test_a_source_that_a_config_ignores_may_count_for_others(
    world: World,
) -> None:
    await world.secret()
    await world.workload()
    await world.workload("api", annotations=AUTO)
    await world.workload("job")
    ignored = [{"kind": "Secret", "name": "s"}]
    await world.config(
        **NAMES_S
        | {
            "targets": [WEB, {"kind": "Deployment", "name": "api"}],
            "ignoreResources": ignored,
        }
    )
    await world.config("y", **NAMES_S | {"targets": [WEB | {"name": "job"}]})

    async with world.manager():
        await world.change()
        await world.settled()

    assert await world.reloaded("web") == set()
    assert await world.reloaded("api") == await world.reloaded("job") == {MARK_S}


@pytest.mark.parametrize(
    "annotations",
    [IGNORE, {"secrets.exclude.reloader.stakater.com/reload": "s"}],
    ids=["ignore", "exclude"],
)
async def test_a_workload_has_the_last_word(
    world: World, annotations: dict[str, str]
) -> None:
    await world.secret()
    await world.workload(annotations=annotations)
    await world.workload("witness")
    await world.config(
        **NAMES_S | {"targets": [WEB, {"kind": "Deployment", "name": "witness"}]}
    )

    async with world.manager():
        await world.change()
        await world.settled()

    assert await world.reloaded("witness") == {MARK_S}
    assert await world.reloaded("web") == set()


async def test_a_source_that_is_ignored_is_so_for_configs(world: World) -> None:
    await world.secret(annotations=IGNORE)
    await world.secret("t")
    await world.workload()
    await world.config(watchedResources={"secrets": ["s", "t"]}, targets=[WEB])

    async with world.manager():
        await world.change("s")
        await world.change("t")
        await world.settled()

    assert await world.reloaded() == {"STAKATER_T_SECRET"}


# --- several configs ---------------------------------------------------------------


async def test_two_configs_with_targets_of_their_own_act_apart(world: World) -> None:
    """Scenario 14."""
    await world.secret()
    await world.workload()
    await world.workload("api")
    await world.config("one", **NAMES_S)
    await world.config("two", **NAMES_S | {"targets": [WEB | {"name": "api"}]})

    async with world.manager():
        await world.change()
        await world.settled()

    assert await world.reloaded("web") == await world.reloaded("api") == {MARK_S}
    assert len(await world.notes("Reloaded")) == 2


async def test_configs_and_annotations_on_one_workload_make_one_reload(
    world: World,
) -> None:
    await world.secret()
    await world.workload(annotations=AUTO)
    await world.config("b", **NAMES_S | {"reloadStrategy": "annotations"})
    await world.config("a", **NAMES_S)

    async with world.manager():
        await world.change()
        await world.settled()

    assert len(await world.notes("Reloaded")) == 1
    assert await world.reloaded() == {MARK_S}, "the first config by name decides how"


# --- coming and going --------------------------------------------------------------


async def test_a_change_while_the_manager_was_down_reloads_once(world: World) -> None:
    await world.secret()
    await world.workload()
    await world.config(**NAMES_S)
    async with world.manager():
        pass

    await world.change()
    for _ in range(2):
        async with world.manager():
            pass

    assert len(await world.notes("Reloaded")) == 1


async def test_configs_are_known_before_anything_reloads(world: World) -> None:
    await world.secret()
    await world.workload(annotations=AUTO)
    await world.config(**NAMES_S | {"reloadStrategy": "annotations"})
    async with world.manager():
        pass

    await world.change()
    async with world.manager():
        pass

    assert len(await world.notes("Reloaded")) == 1
    assert await world.reloaded() == set()
    assert LAST_RELOADED_FROM in (await world.template())["metadata"]["annotations"]


async def test_a_config_that_is_deleted_leaves_its_marks(world: World) -> None:
    await world.secret()
    await world.workload()
    await world.config(**NAMES_S)

    async with world.manager():
        await world.change()
        await world.settled()
        marks = await world.marks()
        await world.client.delete(ReloaderConfig.gvk, "x", "shop")
        await world.settled()
        await world.change(value="newer")
        await world.settled()

    assert await world.marks() == marks != {}


async def test_a_config_that_changes_is_obeyed_as_it_is_now(world: World) -> None:
    await world.secret()
    await world.workload()
    await world.workload("api")
    await world.config(**NAMES_S)

    async with world.manager():
        target = {"spec": {"targets": [WEB | {"name": "api"}]}}
        await world.patch(ReloaderConfig, "x", target)
        await world.settled()
        await world.change()
        await world.settled()

    assert await world.reloaded("web") == set()
    assert await world.reloaded("api") == {MARK_S}


async def test_the_kind_may_come_and_go_while_the_manager_runs() -> None:
    """Scenario 50: without the CRD, annotations work; with it, configs do too."""
    async with ApiServer() as server, HttpTransport(server.config()) as transport:
        world = World(server, Client(transport, scheme=Scheme()))
        await world.secret()
        await world.workload()
        await world.workload("api", annotations=AUTO)

        async with world.manager():
            await world.change()
            await world.settled()
            assert await world.reloaded("api") == {MARK_S}

            server.register(RESOURCE)
            await world.config(**NAMES_S)
            await world.settled()
            assert await world.reloaded("web") == set(), "what is there is adopted"
            await world.change(value="newer")
            await world.settled()

        assert await world.reloaded("web") == {MARK_S}


async def test_a_kind_that_goes_leaves_annotations_at_work(world: World) -> None:
    await world.secret()
    await world.workload()
    await world.workload("api", annotations=AUTO)
    await world.config(**NAMES_S)

    async with world.manager():
        world.server.unregister(RESOURCE)
        await world.settled()
        await world.change()
        await world.settled()

    assert await world.reloaded("web") == set()
    assert await world.reloaded("api") == {MARK_S}


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        pytest.param(3, set(), id="for-a-while"),
        pytest.param(1000, {MARK_S}, id="for-ever"),
    ],
)
async def test_a_server_in_trouble_is_asked_again_before_anything_reloads(
    world: World, times: int, expected: set[str]
) -> None:
    """The marks are those of the config, or of the flag where it cannot be known."""
    await world.secret()
    await world.workload(annotations=AUTO)
    await world.config(**NAMES_S | {"reloadStrategy": "annotations"})
    async with world.manager():
        pass
    await world.change()

    world.server.faults.on(verb="list", resource="reloaderconfigs", times=times).answer(
        503
    )
    async with world.manager():
        await world.settled()
        await world.settled()

    assert await world.reloaded() == expected


async def test_a_kind_that_may_not_be_listed_holds_nobody_up(world: World) -> None:
    await world.secret()
    await world.workload("api", annotations=AUTO)
    world.server.faults.on(verb="list", resource="reloaderconfigs").answer(
        403, reason="Forbidden"
    )

    with capture_logs() as logs:
        async with world.manager():
            await world.change()
            await world.settled()

    assert await world.reloaded("api") == {MARK_S}
    complaints = [e for e in logs if e["event"] == "kind is left out"]
    assert [e["kind"] for e in complaints] == [str(ReloaderConfig.gvk)]


@pytest.mark.parametrize("where", ["config", "flag"])
async def test_sources_that_come_and_go_count_if_that_is_asked(
    world: World, where: str
) -> None:
    await world.workload()
    await world.workload("api")
    asks = {"reloadOnCreate": True, "reloadOnDelete": True}
    is_flag = where == "flag"
    await world.config(**NAMES_S | ({} if is_flag else asks))
    await world.config("y", **NAMES_S | {"targets": [WEB | {"name": "api"}]})

    async with world.manager(reload_on_create=is_flag, reload_on_delete=is_flag):
        await world.secret()
        await world.settled()
        assert await world.reloaded("web") == {MARK_S}
        await world.client.delete(Secret.gvk, "s", "shop")
        await world.settled()

    assert await world.reloaded("web") == set()
    assert len(await world.notes("Reloaded")) == (4 if is_flag else 2)


# --- holding back ------------------------------------------------------------------


async def test_a_suspended_config_holds_its_reloads(world: World) -> None:
    await world.secret()
    await world.workload()
    await world.config(**NAMES_S)

    async with world.manager():
        await world.patch(ReloaderConfig, "x", {"spec": {"suspend": True}})
        await world.settled()
        await world.change()
        await world.change(value="newer")
        await world.settled()
        assert await world.reloaded() == set()
        assert any(
            "until spec.suspend of ReloaderConfig shop/x" in n
            for n in await world.notes("ReloadHeld")
        )

        await world.patch(ReloaderConfig, "x", {"spec": {"suspend": False}})
        await world.settled()

    assert await world.reloaded() == {MARK_S}
    assert len(await world.notes("Reloaded")) == 1


async def test_what_else_reloads_takes_along_what_a_suspended_config_holds(
    world: World,
) -> None:
    await world.secret()
    await world.secret("t")
    annotation = {"secret.reloader.stakater.com/reload": "t"}
    await world.workload(annotations=annotation)
    await world.config(**NAMES_S | {"suspend": True})

    async with world.manager():
        await world.change("s")
        await world.settled()
        assert await world.reloaded() == set()
        await world.change("t")
        await world.settled()
        assert await world.reloaded() == {MARK_S, "STAKATER_T_SECRET"}
        await world.patch(ReloaderConfig, "x", {"spec": {"suspend": False}})
        await world.settled()

    assert len(await world.notes("Reloaded")) == 1


async def test_a_dry_run_says_what_would_reload_and_writes_nothing(
    world: World,
) -> None:
    """Scenario 54."""
    await world.secret()
    await world.workload()
    await world.config(**NAMES_S | {"dryRun": True})

    async with world.manager():
        await world.change()
        await world.settled()
        await world.change(value="newer")
        await world.settled()

    assert world.writes() == []
    assert await world.record() == {}
    (event,) = await world.events("ReloadPlanned")
    assert event["series"]["count"] == 2


async def test_a_dry_run_is_no_obstacle_for_other_configs(world: World) -> None:
    await world.secret()
    await world.secret("t")
    await world.workload()
    await world.config(
        watchedResources={"secrets": ["s", "t"]}, targets=[WEB], dryRun=True
    )
    await world.config("y", **NAMES_S)

    async with world.manager():
        await world.change("s")
        await world.change("t")
        await world.settled()

    assert await world.reloaded() == {MARK_S}
    (note,) = await world.notes("ReloadPlanned")
    assert "'t' of type 'SECRET'" in note


async def test_what_comes_back_during_a_dry_run_is_told_once(world: World) -> None:
    await world.secret()
    await world.workload()
    await world.config(**NAMES_S)

    async with world.manager():
        await world.change()
        await world.settled()
        await world.patch(ReloaderConfig, "x", {"spec": {"dryRun": True}})
        await world.settled()
        await world.change(value="old")
        await world.settled()
        for value in ("1", "2", "3"):
            touched = {"metadata": {"labels": {"touched": value}}}
            await world.patch(Deployment, "web", touched)
            await world.settled()

    (event,) = await world.events("ReloadPlanned")
    assert "series" not in event


async def test_what_changed_during_a_dry_run_reloads_after_it(world: World) -> None:
    await world.secret()
    await world.workload()
    await world.config(**NAMES_S)

    async with world.manager():
        await world.patch(ReloaderConfig, "x", {"spec": {"dryRun": True}})
        await world.settled()
        await world.change()
        await world.settled()
        assert await world.reloaded() == set()
        await world.patch(ReloaderConfig, "x", {"spec": {"dryRun": False}})
        await world.settled()

    assert await world.reloaded() == {MARK_S}


async def test_a_suspended_cron_job_of_a_config_does_not_run(world: World) -> None:
    await world.secret()
    container = {"name": "app", "image": "x"}
    pod = {"containers": [container], "restartPolicy": "Never"}
    spec = {
        "schedule": "0 0 1 1 *",
        "suspend": True,
        "jobTemplate": {"spec": {"template": {"spec": pod}}},
    }
    await world.create(CronJob.gvk, "nightly", spec=spec)
    target = {"kind": "CronJob", "name": "nightly"}
    await world.config(**NAMES_S | {"targets": [target]})

    async with world.manager():
        await world.change()
        await world.settled()

    assert list((await world.client.list(Job.gvk, "shop")).items) == []
    assert len(await world.notes("ReloadSkipped")) == 1


async def test_sources_of_namespaces_that_are_not_ours_do_not_count(
    world: World,
) -> None:
    """What a config selects is no more than what the manager may look at."""
    await world.secret(namespace="vault")
    await world.secret()
    await world.workload()
    everywhere: Json = {"namespaceSelector": {}}
    await world.config(watchedResources=everywhere, targets=[WEB])

    async with world.manager(
        allow_cross_namespace=True, namespace_selector="name=shop"
    ):
        await world.change(namespace="vault")
        await world.settled()

    assert await world.reloaded() == set()
    assert (await world.record()).keys() == {"secret/s"}


async def test_sources_of_a_kind_that_is_ignored_from_now_on_are_not_gone(
    world: World,
) -> None:
    """Or all workloads would restart with the flag."""
    await world.secret()
    await world.workload()
    await world.config(**NAMES_S, reloadOnDelete=True)
    async with world.manager():
        assert (await world.record()).keys() == {"secret/s"}

    async with world.manager(ignored_sources=frozenset({SourceKind.SECRET})):
        pass

    assert await world.reloaded() == set()


async def test_sources_of_a_namespace_that_is_ours_no_more_are_not_gone(
    world: World,
) -> None:
    await world.secret(namespace="vault")
    await world.config_map()
    await world.workload()
    await world.config(
        watchedResources={"namespaceSelector": {}}, targets=[WEB], reloadOnDelete=True
    )
    labels = merge_patch({"metadata": {"labels": {"name": "closed"}}})

    async with world.manager(
        allow_cross_namespace=True, namespace_selector="name in (shop, vault)"
    ):
        assert "secret/vault/s" in await world.record()
        await world.client.patch(NAMESPACE, "vault", patch=labels)
        await world.settled()
        await world.patch(ConfigMap, "c", {"data": {"k": "new"}})
        await world.settled()

    assert await world.reloaded() == {MARK_C}


async def test_a_source_of_another_namespace_that_goes_counts_if_that_is_asked(
    world: World,
) -> None:
    await world.secret(namespace="vault")
    await world.workload()
    await world.config(
        watchedResources={"namespaceSelector": {}}, targets=[WEB], reloadOnDelete=True
    )

    async with world.manager(allow_cross_namespace=True):
        await world.client.delete(Secret.gvk, "s", "vault")
        await world.settled()

    assert await world.reloaded() == {MARK_S}
