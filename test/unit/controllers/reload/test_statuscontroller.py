"""The status of ReloaderConfigs, as the API server has it in the end.

There is no controller manager here: a reload is a change of a pod template.
"""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from hashlib import sha256

import pytest
from structlog.testing import capture_logs

from api.apps.v1 import Deployment
from api.core.v1 import Secret
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
from controller_runtime.testing.apiserver.faults import Target
from controllers.reload.options import ReloadOptions
from controllers.reload.sources.digest import secret_digest
from controllers.reload.sources.hashing import Hashing

EVENT = GroupVersionKind("events.k8s.io", "v1", "Event")
RESOURCE = Resource(gvk=ReloaderConfig.gvk, plural="reloaderconfigs")

S = "shop/Secret/s"
WEB: Json = {"kind": "Deployment", "name": "web"}
API: Json = {"kind": "Deployment", "name": "api"}
NAMES_S: Json = {"watchedResources": {"secrets": ["s"]}, "targets": [WEB]}


def data(value: str) -> dict[str, str]:
    return {"k": b64encode(value.encode()).decode()}


def canonical(value: str) -> str:
    return secret_digest({"k": value.encode()}).canonical


class World:
    """An API server, and a client that is not the manager's."""

    def __init__(self, server: ApiServer, client: Client) -> None:
        self.server = server
        self.client = client

    async def create(self, kind: type[KubeObject], name: str, **fields: object) -> None:
        gvk = kind.gvk
        metadata = {"name": name, "namespace": "shop"}
        head = {"apiVersion": gvk.api_version, "kind": gvk.kind}
        await self.client.create({**head, "metadata": metadata, **fields})

    async def config(self, name: str = "x", /, **spec: object) -> None:
        await self.create(ReloaderConfig, name, spec=spec)

    async def secret(self, name: str = "s", value: str = "old") -> None:
        await self.create(Secret, name, data=data(value))

    async def workload(self, name: str = "web", uses: str = "s") -> None:
        container = {
            "name": "app",
            "image": "x",
            "envFrom": [{"secretRef": {"name": uses}}],
        }
        labels = {"app": name}
        template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
        selector = {"matchLabels": labels}
        await self.create(
            Deployment, name, spec={"selector": selector, "template": template}
        )

    async def change(self, value: str = "new", name: str = "s") -> None:
        await self.patch(Secret, name, {"data": data(value)})

    async def patch(self, kind: type[KubeObject], name: str, changes: Json) -> None:
        await self.client.patch(kind.gvk, name, "shop", patch=merge_patch(changes))

    async def delete(self, kind: type[KubeObject], name: str) -> None:
        await self.client.delete(kind.gvk, name, "shop")

    async def status(self, name: str = "x") -> Json:
        found = await self.client.get(ReloaderConfig.gvk, name, "shop")
        status: Json = found.get("status", {})
        return status

    async def conditions(self, name: str = "x") -> dict[str, str]:
        """Return `status reason` by type."""
        found = (await self.status(name)).get("conditions", [])
        return {c["type"]: f"{c['status']} {c['reason']}" for c in found}

    async def events(self, name: str = "x") -> list[str]:
        """Return the reasons of Events about a config."""
        found = (await self.client.list(EVENT, "shop")).items
        mine = [e for e in found if e["regarding"]["kind"] == "ReloaderConfig"]
        mine = [e for e in mine if e["regarding"]["name"] == name]
        return [e["reason"] for e in sorted(mine, key=lambda e: str(e["eventTime"]))]

    def writes(self) -> int:
        """Count the writes to statuses."""
        return len(self.server.requests.of("patch", "reloaderconfigs"))

    async def settled(self, seconds: float = 30) -> None:
        """Let everything happen that will happen by itself."""
        await asyncio.sleep(seconds)

    @asynccontextmanager
    async def manager(self, **options: object) -> AsyncIterator[Manager]:
        given = ReloadOptions(**options)  # type: ignore[arg-type]  # any option
        async with managing(self.server.config(), given) as manager:
            await self.settled()
            yield manager


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with ApiServer() as server, HttpTransport(server.config()) as transport:
        server.register(RESOURCE)
        yield World(server, Client(transport, scheme=Scheme()))


async def test_a_reload_is_in_the_status_with_all_that_belongs_to_it(
    world: World,
) -> None:
    """Scenarios 1 and 15."""
    await world.secret()
    await world.workload()
    await world.config(**NAMES_S)

    async with world.manager():
        await world.change()
        await world.settled()
        found = await world.client.get(ReloaderConfig.gvk, "x", "shop")

    status = found["status"]
    assert status["reloadCount"] == 1
    assert status["observedGeneration"] == found["metadata"]["generation"] == 1
    assert status["watchedResourceHashes"] == {S: canonical("new")}
    (row,) = status["targetStatus"]
    assert (row["kind"], row["namespace"], row["name"]) == ("Deployment", "shop", "web")
    assert row["reloadCount"] == 1
    assert row["lastReloadTime"] == status["lastReloadTime"]
    assert row["observedHashes"] == {S: canonical("new")[:20]}
    (entry,) = status["history"]
    assert (entry["source"], entry["workload"]) == (S, "shop/Deployment/web")
    assert (entry["hash"], entry["outcome"]) == (canonical("new")[:20], "Reloaded")
    conditions = {c["type"]: c for c in status["conditions"]}
    assert conditions["Available"]["status"] == "True"
    assert conditions["Degraded"]["status"] == "False"
    assert {c["observedGeneration"] for c in conditions.values()} == {1}
    assert await world.events() == ["ReloadSucceeded"]


async def test_two_targets_that_reload_for_one_change_count_one(world: World) -> None:
    """Scenario 4."""
    await world.secret()
    await world.workload("web")
    await world.workload("api")
    await world.config(**NAMES_S | {"targets": [WEB, API]})

    async with world.manager():
        await world.change()
        await world.settled()

    status = await world.status()
    assert status["reloadCount"] == 1
    assert [row["reloadCount"] for row in status["targetStatus"]] == [1, 1]
    assert len(status["history"]) == 2


async def test_both_configs_that_watch_one_secret_count_its_change(
    world: World,
) -> None:
    """Scenario 14."""
    await world.secret()
    await world.workload("web")
    await world.workload("api")
    await world.config("one", **NAMES_S)
    await world.config("two", **NAMES_S | {"targets": [API]})

    async with world.manager():
        await world.change()
        await world.settled()

    one, two = await world.status("one"), await world.status("two")
    assert one["reloadCount"] == two["reloadCount"] == 1
    assert [row["name"] for row in one["targetStatus"]] == ["web"]
    assert [row["name"] for row in two["targetStatus"]] == ["api"]


async def test_a_target_that_is_missing_is_told_until_it_is_there(
    world: World,
) -> None:
    """Scenario 10."""
    await world.secret()
    await world.config(**NAMES_S)

    async with world.manager():
        missing = await world.conditions()
        await world.workload()
        await world.settled()
        there = await world.conditions()
        adopted = await world.status()
        await world.change()
        await world.settled()

    assert missing["Available"] == "False TargetNotFound"
    assert missing["Degraded"] == "True TargetNotFound"
    assert there["Available"] == "True Reconciled"
    assert there["Degraded"] == "False Reconciled"
    assert adopted.get("reloadCount", 0) == 0
    assert (await world.status())["reloadCount"] == 1
    assert await world.events() == ["TargetNotFound", "Reconciled", "ReloadSucceeded"]


async def test_the_hash_of_a_source_is_there_while_the_source_is(world: World) -> None:
    """Scenarios 11 and 12."""
    await world.workload()
    await world.config(**NAMES_S)

    async with world.manager():
        absent, degraded = await world.status(), await world.conditions()
        await world.secret()
        await world.settled(5)
        created, mended = await world.status(), await world.conditions()
        await world.delete(Secret, "s")
        await world.settled(10)
        deleted = await world.status()
        await world.secret(value="other")
        await world.settled(5)
        back = await world.status()

    assert "watchedResourceHashes" not in absent
    assert degraded["Available"] == "True Reconciled"
    assert degraded["Degraded"] == "True ResourceNotFound"
    assert created["watchedResourceHashes"] == {S: canonical("old")}
    assert mended["Degraded"] == "False Reconciled"
    assert "watchedResourceHashes" not in deleted
    assert back["watchedResourceHashes"] == {S: canonical("other")}


async def test_a_spec_that_cannot_be_obeyed_in_full_says_which_field(
    world: World,
) -> None:
    await world.secret()
    await world.workload()
    elsewhere = {**WEB, "namespace": "vault"}
    await world.config(**NAMES_S | {"targets": [WEB, elsewhere]})

    async with world.manager():
        pass

    conditions = await world.conditions()
    assert conditions["Degraded"] == "True InvalidSpec"
    assert conditions["Available"] == "False InvalidSpec"
    (degraded,) = (
        c for c in (await world.status())["conditions"] if c["type"] == "Degraded"
    )
    assert "spec.targets[1].namespace" in degraded["message"]
    assert "--allow-cross-namespace" in degraded["message"]


async def test_the_config_that_does_not_decide_is_told_so(world: World) -> None:
    await world.secret()
    await world.workload()
    await world.config("b", **NAMES_S | {"reloadStrategy": "annotations"})

    async with world.manager():
        alone = await world.conditions("b")
        await world.config("a", **NAMES_S)  # comes first by name
        await world.settled(5)
        winner, loser = await world.conditions("a"), await world.conditions("b")
        await world.delete(ReloaderConfig, "a")
        await world.settled(5)
        alone_again = await world.conditions("b")

    assert alone["Degraded"] == alone_again["Degraded"] == "False Reconciled"
    assert winner["Degraded"] == "False Reconciled"
    assert loser["Degraded"] == "True InvalidSpec"
    assert loser["Available"] == "True Reconciled"


async def test_a_reload_that_is_refused_is_told_until_it_succeeds(
    world: World,
) -> None:
    """Scenario 47."""
    await world.secret()
    await world.workload()
    await world.config(**NAMES_S)

    with capture_logs():
        async with world.manager():
            refusal = world.server.faults.on(
                verb="patch", resource="deployments", times=None
            )
            fault = refusal.answer(403, message="not you")
            await world.change()
            await world.settled(5)
            failed, degraded = await world.status(), await world.conditions()
            fault.remove()
            await world.settled()

    assert "not you" in failed["targetStatus"][0]["lastError"]
    assert failed.get("reloadCount", 0) == 0
    assert failed["history"][0]["outcome"] == "Failed"
    assert degraded["Degraded"] == "True ReloadFailed"
    assert degraded["Available"] == "True Reconciled"
    status = await world.status()
    assert status["reloadCount"] == 1
    assert "lastError" not in status["targetStatus"][0]
    assert (await world.conditions())["Degraded"] == "False Reconciled"


async def test_a_dry_run_says_what_would_reload(world: World) -> None:
    """Scenario 54."""
    await world.secret()
    await world.workload()
    await world.config(**NAMES_S, dryRun=True)

    async with world.manager():
        await world.change()
        await world.settled()

    status = await world.status()
    (planned,) = status["wouldReload"]
    assert (planned["workload"], planned["sources"]) == ("shop/Deployment/web", [S])
    assert status.get("reloadCount", 0) == 0
    assert world.server.requests.of("patch", "deployments") == []


async def test_a_reload_that_waits_is_listed_and_then_not(world: World) -> None:
    await world.secret()
    await world.workload()
    await world.config(**NAMES_S, suspend=True)

    async with world.manager():
        await world.change()
        await world.settled()
        held, progressing = await world.status(), await world.conditions()
        await world.patch(ReloaderConfig, "x", {"spec": {"suspend": False}})
        await world.settled()

    (pending,) = held["pending"]
    assert (pending["workload"], pending["sources"]) == ("shop/Deployment/web", [S])
    assert pending["reason"] == "Suspended"
    assert held["pendingCount"] == 1
    assert progressing["Progressing"] == "True Reconciling"
    status = await world.status()
    assert "pending" not in status
    assert status["reloadCount"] == 1


async def test_a_burst_of_reloads_is_one_write_of_the_status(world: World) -> None:
    await world.secret()
    names = [f"w{number}" for number in range(20)]
    for name in names:
        await world.workload(name)
    targets = [{"kind": "Deployment", "name": name} for name in names]
    await world.config(**NAMES_S | {"targets": targets})

    async with world.manager():
        before = world.writes()
        await world.change()
        await world.settled()

    status = await world.status()
    assert status["reloadCount"] == 1
    assert len(status["targetStatus"]) == 20
    assert world.writes() - before <= 3
    assert (await world.events()).count("ReloadSucceeded") <= 3


async def test_nothing_is_written_when_there_is_nothing_new(world: World) -> None:
    await world.secret()
    await world.workload()
    await world.config(**NAMES_S)
    async with world.manager():
        await world.change()
        await world.settled()

    before = world.writes()
    async with world.manager():
        await world.patch(Secret, "s", {"metadata": {"labels": {"touched": "yes"}}})
        await world.settled(60)

    assert world.writes() == before


REFUSALS: dict[str, Callable[[World], object]] = {
    "conflict": lambda world: refuse(world).answer(409, reason="Conflict"),
    "busy": lambda world: refuse(world).answer(429, retry_after=1),
    "broken": lambda world: refuse(world).answer(500),
    "lost answer": lambda world: refuse(world).cut(handled=True),
}


def refuse(world: World) -> Target:
    return world.server.faults.on(verb="patch", resource="reloaderconfigs", times=3)


@pytest.mark.parametrize("refusal", REFUSALS.values(), ids=REFUSALS)
async def test_a_status_that_is_refused_counts_no_more_and_no_less(
    world: World, refusal: Callable[[World], object]
) -> None:
    await world.secret()
    await world.workload()
    await world.config(**NAMES_S)

    with capture_logs():
        async with world.manager():
            refusal(world)
            await world.change("one")
            await world.settled(3)
            await world.change("two")
            await world.settled(60)

    status = await world.status()
    assert status["reloadCount"] == 2
    assert status["targetStatus"][0]["reloadCount"] == 2
    assert len(status["history"]) == 2


async def test_a_status_that_is_forbidden_keeps_nobody_and_is_told_once(
    world: World,
) -> None:
    await world.secret()
    await world.workload()
    await world.config(**NAMES_S)
    refusal = world.server.faults.on(
        verb="patch", resource="reloaderconfigs", times=None
    )

    with capture_logs() as logs:
        async with world.manager():
            fault = refusal.answer(403)
            await world.change("one")
            await world.settled(5)
            await world.change("two")
            await world.settled(5)
            found = await world.client.get(Deployment.gvk, "web", "shop")
            fault.remove()
            await world.settled(70)

    told = [log for log in logs if "may not be written" in log["event"]]
    assert len(told) == 1
    assert "STAKATER_S_SECRET" in str(found["spec"]["template"])
    assert (await world.status())["reloadCount"] == 2


async def test_counts_go_on_after_a_restart(world: World) -> None:
    await world.secret()
    await world.workload()
    await world.config(**NAMES_S)
    async with world.manager():
        await world.change("one")
        await world.settled()

    await world.change("two")  # while nobody looks
    async with world.manager():
        pass

    status = await world.status()
    assert status["reloadCount"] == 2
    assert status["watchedResourceHashes"] == {S: canonical("two")}


async def test_a_reload_that_was_not_written_before_the_end_is_counted_afterwards(
    world: World,
) -> None:
    await world.secret()
    await world.workload()
    await world.config(**NAMES_S)
    async with world.manager():
        fault = refuse(world).answer(403)
        await world.change()
        await world.settled(5)
    fault.remove()
    before = await world.status()

    async with world.manager():
        pass
    async with world.manager():
        pass

    assert before.get("reloadCount", 0) == 0
    status = await world.status()
    assert status["reloadCount"] == 1
    assert status["targetStatus"][0]["reloadCount"] == 1
    assert status["lastReloadTime"] == status["targetStatus"][0]["lastReloadTime"]


@pytest.mark.parametrize("is_told", [True, False])
@pytest.mark.parametrize("first", ["web", "api"])
async def test_a_change_counts_once_for_those_that_look_at_other_keys_of_a_source(
    world: World, first: str, is_told: bool
) -> None:
    """The second reloads after a restart; that of the first, or its own, is told."""
    pause = "reloader.stakater.com/pause"
    second = "api" if first == "web" else "web"
    await world.secret()
    await world.workload("web")
    await world.workload("api")
    await world.config(**NAMES_S | {"targets": [WEB, API]})
    scope = {"reloader.stakater.com/ignore-keys": "stamp"}
    await world.patch(Deployment, "api", {"metadata": {"annotations": scope}})
    held: Json = {"metadata": {"annotations": {pause: "true"}}}
    await world.patch(Deployment, second, held)

    async with world.manager():
        await world.change()
        await world.settled()
    assert (await world.status())["reloadCount"] == 1
    await world.patch(Deployment, second, {"metadata": {"annotations": {pause: None}}})
    times = 0 if is_told else None
    target = world.server.faults.on(
        verb="patch", resource="reloaderconfigs", times=times
    )
    refusal = target.answer(500, reason="InternalError")
    async with world.manager():
        pass
    refusal.remove()
    async with world.manager():
        assert (await world.status())["reloadCount"] == 1
        await world.change("newer")
        await world.settled()

    status = await world.status()
    assert status["reloadCount"] == 2
    assert [row["reloadCount"] for row in status["targetStatus"]] == [2, 2]


async def test_an_error_of_one_that_looks_at_some_keys_goes_with_its_reason(
    world: World,
) -> None:
    await world.secret()
    await world.workload("web")
    await world.config(**NAMES_S)
    scope = {"reloader.stakater.com/ignore-keys": "stamp"}
    await world.patch(Deployment, "web", {"metadata": {"annotations": scope}})

    async with world.manager():
        target = world.server.faults.on(
            verb="patch", resource="deployments", times=None
        )
        target.answer(403, reason="Forbidden")
        await world.change()
        await world.settled()
        assert (await world.status())["targetStatus"][0]["lastError"]
        await world.change("old")
        await world.settled()

    assert "lastError" not in (await world.status())["targetStatus"][0]


async def test_a_config_that_goes_is_forgotten(world: World) -> None:
    await world.secret()
    await world.workload()
    await world.config(**NAMES_S)

    async with world.manager():
        await world.delete(ReloaderConfig, "x")
        await world.settled()
        await world.config(**NAMES_S)
        await world.settled()

    status = await world.status()
    assert status.get("reloadCount", 0) == 0
    assert status["watchedResourceHashes"] == {S: canonical("old")}


def test_a_hash_is_a_sha256() -> None:
    assert len(canonical("x")) == len(sha256().hexdigest())


async def test_a_config_that_cannot_be_read_says_so_and_shows_nothing_of_it(
    world: World,
) -> None:
    """It was written before the CRD said what it says now."""
    url = {"url": "https://hooks.example.com/hush/" + "x" * 2048}
    await world.config("x", targets=[WEB], alerts={"slack": url})

    with capture_logs() as logs:
        async with world.manager():
            conditions = await world.conditions()

    assert conditions["Degraded"] == "True InvalidSpec"
    assert conditions["Available"] == "False InvalidSpec"
    assert (await world.status())["observedGeneration"] == 1
    assert "hush" not in str(logs)
    assert [e for e in logs if e["log_level"] == "error"] == []
    assert "hush" not in str(await world.status())


async def test_what_a_cron_job_runs_has_no_row(world: World) -> None:
    everything = {"kind": "*", "selector": {}}
    await world.config("x", autoReloadAll=True, targets=[everything])
    owner = {"apiVersion": "batch/v1", "kind": "CronJob", "name": "tick", "uid": "u"}
    metadata = {
        "name": "tick-1",
        "namespace": "shop",
        "ownerReferences": [owner | {"controller": True}],
    }
    container = {"name": "app", "image": "x"}
    template = {"spec": {"containers": [container], "restartPolicy": "Never"}}
    run = {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata}

    async with world.manager():
        before = world.writes()
        await world.client.create({**run, "spec": {"template": template}})
        await world.settled()

    assert (await world.status()).get("targetStatus", []) == []
    assert world.writes() == before


async def test_a_config_that_comes_back_begins_to_count_anew(world: World) -> None:
    await world.secret()
    await world.workload()
    await world.config("x", **NAMES_S)

    async with world.manager():
        await world.change()
        await asyncio.sleep(0.75)  # reloaded, and not in the status yet
        await world.delete(ReloaderConfig, "x")
        await world.config("x", **NAMES_S)
        await world.settled()
        assert (await world.status()).get("reloadCount", 0) == 0

        await world.change("newer")
        await world.settled()

    assert (await world.status())["reloadCount"] == 1


async def test_a_namespace_that_gets_the_labels_is_in_the_status_soon(
    world: World,
) -> None:
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "vault"}}
    await world.client.create(namespace)
    secret = {"metadata": {"name": "s", "namespace": "vault"}, "data": data("old")}
    await world.client.create({"apiVersion": "v1", "kind": "Secret", **secret})
    selector = {"matchLabels": {"a": "b"}}
    await world.config("x", watchedResources={"namespaceSelector": selector})

    async with world.manager(allow_cross_namespace=True):
        before = (await world.status()).get("watchedResourceHashes", {})
        labels = merge_patch({"metadata": {"labels": {"a": "b"}}})
        gvk = GroupVersionKind("", "v1", "Namespace")
        await world.client.patch(gvk, "vault", patch=labels)
        await world.settled()

    assert before == {}
    hashes = (await world.status())["watchedResourceHashes"]
    assert hashes == {"vault/Secret/s": canonical("old")}


async def test_a_window_that_cannot_be_read_is_told_and_never_open(
    world: World,
) -> None:
    await world.secret()
    await world.workload()
    window = {"schedule": "0 2 * * 9", "duration": "1h"}
    await world.config("x", **NAMES_S, window=window)

    async with world.manager():
        await world.change()
        await world.settled()
        conditions = await world.conditions()

    assert conditions["Degraded"] == "True InvalidSpec"
    assert (await world.status()).get("reloadCount", 0) == 0


async def test_with_a_key_no_hash_is_shown_that_others_could_make(
    world: World,
) -> None:
    await world.secret(value="1234")
    await world.workload()
    await world.config("x", **NAMES_S)
    hashing = Hashing(keys=(b"k" * 16,))

    with capture_logs() as logs:
        async with world.manager(hashing=hashing):
            await world.change("5678")
            await world.settled()

    found = await world.client.get(Deployment.gvk, "web", "shop")
    status, events = await world.status(), (await world.client.list(EVENT, "")).items
    assert status["reloadCount"] == 1
    shown = f"{found} {status} {events} {logs}"
    for value in ("1234", "5678"):
        plain = secret_digest({"k": value.encode()})
        assert plain.marker not in shown
        assert plain.canonical[:20] not in shown


async def test_targets_in_namespaces_that_are_not_ours_are_told(world: World) -> None:
    namespace: Json = {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": "shop", "labels": {"ours": "no"}},
    }
    await world.client.create(namespace)
    await world.workload()
    await world.config("x", **NAMES_S)
    gvk = GroupVersionKind("", "v1", "Namespace")

    async with world.manager(namespace_selector="ours=yes"):
        before = await world.conditions()
        labels = merge_patch({"metadata": {"labels": {"ours": "yes"}}})
        await world.secret()
        await world.client.patch(gvk, "shop", patch=labels)
        await world.settled()
        after = await world.conditions()

    assert before["Available"] == "False InvalidSpec"
    assert after["Available"] == "True Reconciled"


async def test_a_server_that_has_another_version_is_asked_less_and_less(
    world: World,
) -> None:
    """A status is written for one version; the server has had another for long."""
    await world.secret()
    await world.workload()
    await world.config("x", **NAMES_S)

    async with world.manager():
        target = world.server.faults.on(
            verb="patch", resource="reloaderconfigs", times=None
        )
        refusal = target.answer(409, reason="Conflict")
        before = world.writes()
        await world.change()
        await world.settled(60)
        tries = world.writes() - before
        refusal.remove()
        await world.settled(60)

    assert 3 < tries < 30
    assert (await world.status())["reloadCount"] == 1
