"""The reload controller on a real control plane: real rollouts, on a fake node.

Each test has a namespace, and a manager that sees no other. That something does *not*
reload is shown by a witness: another workload, whose source changes afterwards and
which has reloaded while nothing moved at the first.
"""

from __future__ import annotations

import asyncio
import json
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from api.apps.v1 import DaemonSet, Deployment, StatefulSet
from api.batch.v1 import CronJob, Job
from api.core.v1 import ConfigMap, Secret
from conformance.reloads import IMAGE, SECONDS
from controller_runtime import (
    Client,
    GroupVersionKind,
    HttpTransport,
    Json,
    Manager,
    ManagerOptions,
    RestConfig,
    Scheme,
    load_restconfig,
    merge_patch,
)
from controller_runtime.testing.eventually import (
    eventually,
    eventually_gone,
    eventually_list,
)
from controllers.reload import setup
from controllers.reload.options import ReloadOptions, Strategy
from controllers.reload.record import LAST_RELOADED_FROM, RECORD

EVENT = GroupVersionKind("events.k8s.io", "v1", "Event")
POD = GroupVersionKind("", "v1", "Pod")
REPLICA_SET = GroupVersionKind("apps", "v1", "ReplicaSet")

KINDS = (Deployment.gvk, StatefulSet.gvk, DaemonSet.gvk)

AUTO = {"reloader.stakater.com/auto": "true"}
CONFIG_MAPS = "configmap.reloader.stakater.com/reload"
SECRETS = "secret.reloader.stakater.com/reload"


class Snapshot(NamedTuple):
    """What must not move where nothing reloads."""

    generation: int
    template: Json
    pods: frozenset[str]
    """Their uids."""


class Workload:
    """One workload of a test."""

    def __init__(self, client: Client, gvk: GroupVersionKind, obj: Json) -> None:
        self.client = client
        self.gvk = gvk
        self.name: str = obj["metadata"]["name"]
        self.namespace: str = obj["metadata"]["namespace"]

    async def rolled_out(self) -> Snapshot:
        """Wait until the newest template is all that runs."""
        return await self._when(_is_rolled_out)

    async def adopted(self, *sources: str) -> Snapshot:
        """Wait until sources such as `cm/c` are in the record."""
        return await self._when(
            lambda obj: set(sources) <= _record(obj).keys() and _is_rolled_out(obj)
        )

    async def reloaded(self, since: Snapshot) -> Snapshot:
        """Wait until another template is all that runs, in pods that are all new."""
        now = await self._when(
            lambda obj: _template(obj) != since.template and _is_rolled_out(obj)
        )
        assert now.pods
        assert now.pods.isdisjoint(since.pods)
        return now

    async def snapshot(self) -> Snapshot:
        return await self._snapshot(await self._read())

    async def variables(self) -> set[str]:
        """Name the variables of its container."""
        (container,) = (await self.snapshot()).template["spec"]["containers"]
        return {entry["name"] for entry in container.get("env", [])}

    async def revisions(self) -> int:
        """Count the templates that a Deployment has had."""
        found = await self.client.list(
            REPLICA_SET, self.namespace, label_selector=f"app={self.name}"
        )
        return len(found.items)

    async def _when(self, condition: Callable[[Json], bool]) -> Snapshot:
        obj = await eventually(
            *(self.client, self.gvk, self.name, self.namespace, condition),
            timeout=SECONDS,
        )
        return await self._snapshot(obj)

    async def _read(self) -> Json:
        return await self.client.get(self.gvk, self.name, self.namespace)

    async def _snapshot(self, obj: Json) -> Snapshot:
        pods = await self.client.list(
            POD, self.namespace, label_selector=f"app={self.name}"
        )
        living = [p for p in pods.items if "deletionTimestamp" not in p["metadata"]]
        return Snapshot(
            obj["metadata"]["generation"],
            _template(obj),
            frozenset(pod["metadata"]["uid"] for pod in living),
        )


def _record(obj: Json) -> dict[str, str]:
    record: dict[str, str] = json.loads(
        obj["metadata"].get("annotations", {}).get(RECORD, "{}")
    )
    return record


def _template(obj: Json) -> Json:
    template: Json = obj["spec"]["template"]
    return template


_COUNTS: Mapping[str, tuple[str, ...]] = {
    "Deployment": ("replicas", "updatedReplicas", "availableReplicas"),
    "StatefulSet": ("replicas", "readyReplicas", "availableReplicas"),
    "DaemonSet": ("updatedNumberScheduled", "numberAvailable"),
}
"""Fields of a status that count all pods once they run with the newest template."""


def _is_rolled_out(obj: Json) -> bool:
    """Tell what `kubectl rollout status` waits for."""
    status = obj.get("status", {})
    if status.get("observedGeneration") != obj["metadata"]["generation"]:
        return False
    if status.get("currentRevision") != status.get("updateRevision"):
        return False
    # A pod of a DaemonSet for each node; on somebody's cluster there may be several.
    pods = status.get("desiredNumberScheduled", 1)
    return bool(pods) and all(status.get(it) == pods for it in _COUNTS[obj["kind"]])


class Shop:
    """A namespace, and what the tests do in it."""

    def __init__(self, client: Client, config: RestConfig, namespace: str) -> None:
        self.client = client
        self.config = config
        self.namespace = namespace

    @asynccontextmanager
    async def manager(self, **options: Any) -> AsyncIterator[None]:
        """Run a manager with the reload controller, for this namespace alone."""
        async with HttpTransport(self.config) as transport:
            manager = Manager(
                transport,
                options=ManagerOptions(
                    metrics_bind_address="0", health_probe_bind_address="0"
                ),
            )
            setup(manager, ReloadOptions(namespaces=(self.namespace,), **options))
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(manager.start())
                yield
                manager.stop()

    async def config_map(self, name: str, **data: str) -> None:
        await self.create(ConfigMap.gvk, name, data=data)

    async def secret(self, name: str, **data: bytes) -> None:
        await self.create(Secret.gvk, name, data=_encoded(data))

    async def change_config_map(self, name: str, **data: str) -> None:
        await self.patch(ConfigMap.gvk, name, {"data": data})

    async def change_secret(self, name: str, **data: bytes) -> None:
        await self.patch(Secret.gvk, name, {"data": _encoded(data)})

    async def delete(self, gvk: GroupVersionKind, name: str) -> None:
        await self.client.delete(gvk, name, self.namespace)
        await eventually_gone(self.client, gvk, name, self.namespace)

    async def create(
        self,
        gvk: GroupVersionKind,
        name: str,
        annotations: Mapping[str, str] | None = None,
        **fields: object,
    ) -> Json:
        metadata = {
            "name": name,
            "namespace": self.namespace,
            "annotations": dict(annotations or {}),
        }
        head = {"apiVersion": gvk.api_version, "kind": gvk.kind}
        return await self.client.create({**head, "metadata": metadata, **fields})

    async def patch(self, gvk: GroupVersionKind, name: str, changes: Json) -> None:
        await self.client.patch(gvk, name, self.namespace, patch=merge_patch(changes))

    async def workload(
        self,
        name: str,
        annotations: Mapping[str, str],
        *,
        gvk: GroupVersionKind = Deployment.gvk,
        config_maps: Iterable[str] = (),
        secrets: Iterable[str] = (),
    ) -> Workload:
        """Create a workload of one pod that has these in its variables; let it run."""
        container = {
            "name": "app",
            "image": IMAGE,
            "envFrom": [
                *({"configMapRef": {"name": used}} for used in config_maps),
                *({"secretRef": {"name": used}} for used in secrets),
            ],
        }
        labels = {"app": name}
        spec: Json = {
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [container]},
            },
        }
        if gvk == StatefulSet.gvk:
            spec["serviceName"] = name
        created = await self.create(gvk, name, annotations, spec=spec)
        workload = Workload(self.client, gvk, created)
        await workload.rolled_out()
        return workload

    async def events(self, reason: str) -> list[Json]:
        found = await self.client.list(EVENT, self.namespace)
        return [event for event in found.items if event["reason"] == reason]


class Witness:
    """A workload that shows that everything up to now has been handled."""

    def __init__(self, shop: Shop, workload: Workload, kind: GroupVersionKind) -> None:
        self.shop = shop
        self.workload = workload
        self.kind = kind

    @classmethod
    async def of(cls, shop: Shop, kind: GroupVersionKind) -> Witness:
        """Create one that uses a ConfigMap, or a Secret, of its own.

        Changes of one kind are told in order: a later one has been handled, so an
        earlier one has been, too.
        """
        await shop.create(kind, "witness")
        maps = ["witness"] if kind == ConfigMap.gvk else []
        secrets = ["witness"] if kind == Secret.gvk else []
        workload = await shop.workload(
            "witness", AUTO, config_maps=maps, secrets=secrets
        )
        return cls(shop, workload, kind)

    async def reloads(self) -> None:
        """Change the source, and wait until the witness has reloaded for it."""
        prefix = "cm" if self.kind == ConfigMap.gvk else "secret"
        before = await self.workload.adopted(f"{prefix}/witness")
        changes = {"data": {"k": b64encode(str(before.generation).encode()).decode()}}
        await self.shop.patch(self.kind, "witness", changes)
        await self.workload.reloaded(before)


def _encoded(data: Mapping[str, bytes]) -> dict[str, str]:
    return {key: b64encode(value).decode() for key, value in data.items()}


@pytest.fixture
def config(kubeconfig: Path) -> RestConfig:
    return load_restconfig(kubeconfig=kubeconfig, environ={}, home=kubeconfig.parent)


@pytest.fixture
async def shop(config: RestConfig, namespace: str) -> AsyncIterator[Shop]:
    async with HttpTransport(config) as transport:
        yield Shop(Client(transport, scheme=Scheme()), config, namespace)


@pytest.mark.e2e
@pytest.mark.parametrize(
    ("annotations", "used", "changed"),
    [
        pytest.param({SECRETS: "s"}, [], "secret/s", id="5: a listed Secret"),
        pytest.param({CONFIG_MAPS: "c"}, [], "cm/c", id="6: a listed ConfigMap"),
        pytest.param(AUTO, ["s"], "secret/s", id="7: a Secret that the pods use"),
        pytest.param(
            {SECRETS: "s,unused"},
            ["s"],
            "secret/unused",
            id="9: a listed Secret that the pods do not use, next to one that they do",
        ),
    ],
)
async def test_a_changed_source_gives_workloads_of_every_kind_new_pods(
    shop: Shop, annotations: dict[str, str], used: list[str], changed: str
) -> None:
    """Scenarios 5, 6, 7 and 9."""
    await shop.config_map("c", k="old")
    await shop.secret("s", k=b"old")
    await shop.secret("unused", k=b"old")
    async with shop.manager():
        workloads = [
            await shop.workload(gvk.kind.lower(), annotations, gvk=gvk, secrets=used)
            for gvk in KINDS
        ]
        before = [await workload.adopted(changed) for workload in workloads]

        kind, _, name = changed.partition("/")
        if kind == "cm":
            await shop.change_config_map(name, k="new")
        else:
            await shop.change_secret(name, k=b"new")

        for workload, since in zip(workloads, before, strict=True):
            await workload.reloaded(since)
            suffix = "CONFIGMAP" if kind == "cm" else "SECRET"
            assert await workload.variables() == {f"STAKATER_{name.upper()}_{suffix}"}


async def test_a_first_look_adopts_without_touching_templates_or_pods(
    shop: Shop,
) -> None:
    await shop.config_map("c", k="v")
    workloads = [
        await shop.workload(gvk.kind.lower(), AUTO, gvk=gvk, config_maps=["c"])
        for gvk in KINDS
    ]
    before = [await workload.snapshot() for workload in workloads]

    async with shop.manager():
        after = [await workload.adopted("cm/c") for workload in workloads]

    # The server counts annotations of a Deployment into its generation.
    assert [(s.template, s.pods) for s in after] == [
        (s.template, s.pods) for s in before
    ]
    assert await shop.events("Reloaded") == []


@pytest.mark.parametrize("kind", [ConfigMap.gvk, Secret.gvk], ids=lambda k: str(k.kind))
async def test_labels_and_annotations_of_a_source_reload_nothing(
    shop: Shop, kind: GroupVersionKind
) -> None:
    """Scenario 17."""
    await shop.config_map("c", k="v")
    await shop.secret("s", k=b"v")
    async with shop.manager():
        witness = await Witness.of(shop, kind)
        web = await shop.workload("web", AUTO, config_maps=["c"], secrets=["s"])
        before = await web.adopted("cm/c", "secret/s")

        name = "c" if kind == ConfigMap.gvk else "s"
        touched = {"labels": {"touched": "yes"}, "annotations": {"touched": "yes"}}
        await shop.patch(kind, name, {"metadata": touched})
        await witness.reloads()

        assert await web.snapshot() == before
        assert await web.variables() == set()


@pytest.mark.e2e
@pytest.mark.parametrize(
    "annotations",
    [
        pytest.param({}, id="18: no annotation"),
        pytest.param({"reloader.stakater.com/auto": "false"}, id="18: auto is off"),
        pytest.param(
            {SECRETS: "s", "reloader.stakater.com/ignore": "true"}, id="8: ignored"
        ),
    ],
)
async def test_a_workload_that_does_not_ask_for_it_is_left_alone(
    shop: Shop, annotations: dict[str, str]
) -> None:
    """Scenarios 8 and 18."""
    await shop.secret("s", k=b"old")
    async with shop.manager():
        witness = await Witness.of(shop, Secret.gvk)
        web = await shop.workload("web", annotations, secrets=["s"])
        before = await web.snapshot()

        await shop.change_secret("s", k=b"new")
        await witness.reloads()

        assert await web.snapshot() == before


async def test_a_secret_that_is_not_text_has_a_hash_that_stays_until_it_changes(
    shop: Shop,
) -> None:
    """Scenario 44."""
    await shop.secret("s", k=b"\xff\x00")
    web = await shop.workload("web", AUTO, secrets=["s"])
    async with shop.manager():
        before = await web.adopted("secret/s")
    async with shop.manager():
        await (await Witness.of(shop, Secret.gvk)).reloads()
        assert await web.snapshot() == before

        await shop.change_secret("s", k=b"\xff\x01")

        await web.reloaded(before)


async def test_a_source_that_comes_back_reloads_only_if_it_is_another(
    shop: Shop,
) -> None:
    """Scenario 45."""
    await shop.config_map("c", k="v")
    async with shop.manager():
        witness = await Witness.of(shop, ConfigMap.gvk)
        web = await shop.workload("web", AUTO, config_maps=["c"])
        before = await web.adopted("cm/c")

        await shop.delete(ConfigMap.gvk, "c")
        await shop.config_map("c", k="v")
        await witness.reloads()
        assert await web.snapshot() == before

        await shop.delete(ConfigMap.gvk, "c")
        await shop.config_map("c", k="other")
        await web.reloaded(before)


async def test_a_change_while_the_manager_was_down_reloads_exactly_once(
    shop: Shop,
) -> None:
    await shop.config_map("c", k="old")
    web = await shop.workload("web", AUTO, config_maps=["c"])
    async with shop.manager():
        before = await web.adopted("cm/c")

    await shop.change_config_map("c", k="new")
    async with shop.manager():
        after = await web.reloaded(before)
    async with shop.manager():
        await (await Witness.of(shop, ConfigMap.gvk)).reloads()

    assert await web.snapshot() == after
    assert await web.revisions() == 2
    regarding = [e["regarding"]["name"] for e in await shop.events("Reloaded")]
    assert regarding.count("web") == 1


async def test_a_malformed_pattern_is_told_in_an_event_and_the_others_count(
    shop: Shop,
) -> None:
    await shop.config_map("app-config", k="old")
    async with shop.manager():
        web = await shop.workload("web", {CONFIG_MAPS: "bad[,app-.*"})
        before = await web.adopted("cm/app-config")

        await shop.change_config_map("app-config", k="new")

        await web.reloaded(before)
    (event,) = await shop.events("InvalidReloadAnnotation")
    assert event["type"] == "Warning"
    assert event["regarding"]["name"] == "web"
    assert CONFIG_MAPS in event["note"]
    assert "'bad['" in event["note"]


@pytest.mark.parametrize("gvk", KINDS, ids=lambda gvk: str(gvk.kind))
async def test_the_annotations_strategy_rolls_out_and_adds_no_variable(
    shop: Shop, gvk: GroupVersionKind
) -> None:
    await shop.config_map("c", k="old")
    async with shop.manager(strategy=Strategy.ANNOTATIONS):
        web = await shop.workload("web", AUTO, gvk=gvk, config_maps=["c"])
        before = await web.adopted("cm/c")

        await shop.change_config_map("c", k="new")

        after = await web.reloaded(before)
    marker = json.loads(after.template["metadata"]["annotations"][LAST_RELOADED_FROM])
    assert (marker["type"], marker["name"]) == ("CONFIGMAP", "c")
    assert await web.variables() == set()


async def test_what_comes_and_goes_reloads_where_that_is_asked_for(
    shop: Shop,
) -> None:
    """Scenario 28, the part of --reload-on-create and --reload-on-delete."""
    async with shop.manager(reload_on_create=True, reload_on_delete=True):
        web = await shop.workload("web", {CONFIG_MAPS: "c"})
        before = await web.rolled_out()
        # Later than `web`: once it is known, a source that comes is new to both.
        witness = await Witness.of(shop, ConfigMap.gvk)
        await witness.workload.adopted("cm/witness")

        await shop.config_map("c", k="v")
        created = await web.reloaded(before)
        assert await web.variables() == {"STAKATER_C_CONFIGMAP"}

        await shop.delete(ConfigMap.gvk, "c")
        await web.reloaded(created)
        assert await web.variables() == set()


def _idle_pod() -> Json:
    """A template whose pods stay pending, so that a Job of them stays at work."""
    source = {"configMapRef": {"name": "c"}}
    container = {"name": "app", "image": IMAGE, "envFrom": [source]}
    spec = {
        "restartPolicy": "Never",
        "nodeSelector": {"there": "is-none"},
        "containers": [container],
    }
    return {"spec": spec}


async def test_a_cron_job_runs_a_job_for_a_change(shop: Shop) -> None:
    """Scenario 25."""
    await shop.config_map("c", k="old")
    job = {"spec": {"template": _idle_pod()}}
    spec = {"schedule": "0 0 1 1 *", "jobTemplate": job}
    async with shop.manager():
        await shop.create(CronJob.gvk, "x", AUTO, spec=spec)
        await eventually(shop.client, CronJob.gvk, "x", shop.namespace, _has_record)

        await shop.change_config_map("c", k="new")

        await eventually_list(shop.client, Job.gvk, shop.namespace, bool)
        await (await Witness.of(shop, ConfigMap.gvk)).reloads()
    (made,) = (await shop.client.list(Job.gvk, shop.namespace)).items
    (container,) = made["spec"]["template"]["spec"]["containers"]
    assert [one["name"] for one in container["env"]] == ["STAKATER_C_CONFIGMAP"]
    assert made["metadata"]["ownerReferences"][0]["kind"] == "CronJob"


async def test_a_job_at_work_is_started_anew(shop: Shop) -> None:
    """Scenario 26."""
    await shop.config_map("c", k="old")
    async with shop.manager():
        created = await shop.create(Job.gvk, "x", AUTO, spec={"template": _idle_pod()})
        await eventually(shop.client, Job.gvk, "x", shop.namespace, _has_record)

        await shop.change_config_map("c", k="new")

        await eventually_list(
            shop.client,
            Job.gvk,
            shop.namespace,
            lambda jobs: (
                [j["metadata"]["uid"] for j in jobs]
                not in ([], [created["metadata"]["uid"]])
            ),
        )
        after = await shop.client.get(Job.gvk, "x", shop.namespace)
    (container,) = after["spec"]["template"]["spec"]["containers"]
    assert [one["name"] for one in container["env"]] == ["STAKATER_C_CONFIGMAP"]
    assert after["spec"]["selector"] != created["spec"]["selector"]


def _has_record(obj: Json) -> bool:
    return "cm/c" in _record(obj)
