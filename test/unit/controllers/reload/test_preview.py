"""What `/preview` says: of each source, which rule decides about it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from controller_runtime import Json, NamespacedName, RawObject, Store
from controller_runtime.meta import read_meta
from controller_runtime.question import Change
from controllers.reload.configs import Configs
from controllers.reload.configs.claims import Config, Target, Watched
from controllers.reload.gates import Gates
from controllers.reload.happenings import Happened
from controllers.reload.observe import Observer
from controllers.reload.options import ReloadOptions
from controllers.reload.preview import Preview
from controllers.reload.record import RECORD
from controllers.reload.rollout import concerns
from controllers.reload.sources import SourceKind, reducer
from controllers.reload.workloads import WORKLOADS, WorkloadKey

GROUP = "reloader.stakater.com"
AUTO = {f"{GROUP}/auto": "true"}
WEB = WorkloadKey("Deployment", "shop", "web")
PASSWORD = "correct horse battery staple"
COUNTED = {"named", "search", "auto", "autoReloadAll", "config"}


class Cluster:
    """Stores as a cache would have them, and what is asked of them."""

    def __init__(self, options: ReloadOptions | None = None) -> None:
        self.workloads = {kind: Store(m.gvk) for kind, m in WORKLOADS.items()}
        self.sources = {
            kind: Store(kind.model.gvk)
            for kind in (SourceKind.CONFIG_MAP, SourceKind.SECRET)
        }
        self.configs = Configs()
        options = options or ReloadOptions()
        self.options = options
        self.observer = Observer(
            self.workloads, self.sources, options, configs=self.configs
        )
        self.preview = Preview(self.observer, Gates(), lambda *_: Happened(), options)

    def source(
        self, kind: SourceKind, name: str, value: str = PASSWORD, **annotations: str
    ) -> None:
        keys = {f"{GROUP}/{key}": text for key, text in annotations.items()}
        field = "stringData" if kind is SourceKind.SECRET else "data"
        body = {
            "metadata": {"name": name, "namespace": "shop", "annotations": keys},
            field: {"k": value},
        }
        if kind is SourceKind.SECRET:
            body["data"] = {"k": "b2xk"}
        self._put(self.sources[kind], reducer(kind, keys)(json.dumps(body).encode()))

    def workload(
        self, annotations: dict[str, str], *, uses: str = "c", name: str = "web"
    ) -> None:
        container: Json = {"name": "app", "envFrom": [{"configMapRef": {"name": uses}}]}
        body = {
            "metadata": {
                "name": name,
                "namespace": "shop",
                "annotations": annotations,
            },
            "spec": {"template": {"spec": {"containers": [container]}}},
        }
        self._put(self.workloads["Deployment"], json.dumps(body).encode())

    def config(self) -> None:
        target = Target("Deployment", "shop", "web")
        self.configs.put(
            Config(NamespacedName("shop", "rc"), Watched(uses=True), targets=(target,))
        )

    async def ask(self, status: int = 200, **query: str) -> Any:
        reply = await self.preview.answer("", {k: [v] for k, v in query.items()})
        assert reply.status == status
        assert PASSWORD.encode() not in reply.body
        return json.loads(reply.body)

    async def web(self) -> Any:
        return await self.ask(ns="shop", kind="Deployment", name="web")

    def record(self, **fields: str) -> dict[str, str]:
        """Return the annotation of a workload that runs with what there is."""
        workload = self.observer.workload(WEB)
        assert workload is not None
        found = self.observer.supply.sources(workload, self.observer.policy(workload))
        hashes = {it.key.recorded_in("shop"): it.digest.recorded for it in found}
        return {RECORD: json.dumps(hashes | fields)}

    def _put(self, store: Store, raw: bytes) -> None:
        store.apply([Change(RawObject(read_meta(raw), raw))], "1")


CONFIGMAPS = f"configmap.{GROUP}/reload"
EXCLUDED = f"configmaps.exclude.{GROUP}/reload"
ALL = ReloadOptions(auto_reload_all=True)


@pytest.mark.parametrize(
    ("annotations", "source", "options", "rule"),
    [
        pytest.param(AUTO, {}, None, "auto", id="auto"),
        pytest.param(
            {f"configmap.{GROUP}/auto": "true"}, {}, None, "auto", id="typed auto"
        ),
        pytest.param({}, {}, ALL, "autoReloadAll", id="auto for all"),
        pytest.param({CONFIGMAPS: "c"}, {}, None, "named", id="named"),
        pytest.param({CONFIGMAPS: "[a-d]"}, {}, None, "named", id="pattern"),
        pytest.param(
            {CONFIGMAPS: "c", f"{GROUP}/auto": "false"}, {}, None, "named", id="C4"
        ),
        pytest.param(
            {f"{GROUP}/search": "true"}, {"match": "true"}, None, "search", id="search"
        ),
        pytest.param(
            {f"{GROUP}/search": "true"}, {}, None, "nobodyAsks", id="no match"
        ),
        pytest.param(AUTO | {EXCLUDED: "c"}, {}, None, "excluded", id="excluded"),
        pytest.param(AUTO, {"ignore": "true"}, None, "ignored", id="ignored"),
        pytest.param(
            AUTO | {f"{GROUP}/ignore": "true"}, {}, None, "workloadIgnored", id="C3"
        ),
        pytest.param(
            {f"secret.{GROUP}/auto": "true"}, {}, None, "nobodyAsks", id="other kind"
        ),
    ],
)
async def test_the_rule_that_decides_is_named(
    annotations: dict[str, str],
    source: dict[str, str],
    options: ReloadOptions | None,
    rule: str,
) -> None:
    """A1; the rules are those of section 2.4."""
    cluster = Cluster(options)
    cluster.source(SourceKind.CONFIG_MAP, "c", **source)
    cluster.workload(annotations)

    (said,) = (await cluster.web())["sources"]

    assert said["source"] == "shop/ConfigMap/c"
    assert said["rule"] == rule
    workload = cluster.observer.workload(WEB)
    assert workload is not None
    found = cluster.observer.supply.source(*cluster.observer.supply.uses(workload))
    assert found is not None
    policy = cluster.observer.policy(workload)
    assert concerns(workload, policy, found) == (rule in COUNTED)
    assert ("state" in said) == (rule in COUNTED)


async def test_a_source_that_is_not_there_or_not_used_is_said_to_be_so() -> None:
    cluster = Cluster()
    cluster.source(SourceKind.CONFIG_MAP, "other")
    cluster.workload({CONFIGMAPS: "gone"})

    rules = {it["source"]: it["rule"] for it in (await cluster.web())["sources"]}

    assert rules == {
        "shop/ConfigMap/c": "absent",
        "shop/ConfigMap/gone": "absent",
    }


@pytest.mark.parametrize(
    ("record", "would", "state"),
    [
        pytest.param({}, False, "current", id="it runs with it"),
        pytest.param({"cm/c": "0" * 20}, True, "changed", id="with something else"),
    ],
)
async def test_what_would_reload_is_what_differs_from_the_record(
    record: dict[str, str], would: bool, state: str
) -> None:
    cluster = Cluster()
    cluster.source(SourceKind.CONFIG_MAP, "c")
    cluster.workload(AUTO)
    first = await cluster.web()
    cluster.workload(AUTO | cluster.record(**record))

    said = await cluster.web()

    assert (first["wouldReload"], first["sources"][0]["state"]) == (False, "adopted")
    assert (said["wouldReload"], said["sources"][0]["state"]) == (would, state)


async def test_a_config_that_wants_it_is_named() -> None:
    cluster = Cluster()
    cluster.config()
    cluster.source(SourceKind.CONFIG_MAP, "c")
    cluster.workload({})

    (said,) = (await cluster.web())["sources"]

    assert (said["rule"], said["configs"]) == ("config", ["shop/rc"])


async def test_of_a_source_the_workloads_are_told_that_it_concerns() -> None:
    cluster = Cluster()
    cluster.source(SourceKind.CONFIG_MAP, "c")
    cluster.workload(AUTO)
    cluster.workload(AUTO, name="other", uses="x")

    said = await cluster.ask(ns="shop", kind="configmap", name="c")

    assert said["isThere"] is True
    assert [it["workload"] for it in said["workloads"]] == ["shop/Deployment/web"]


async def test_no_more_is_told_than_is_asked_for() -> None:
    cluster = Cluster()
    cluster.source(SourceKind.CONFIG_MAP, "c")
    for number in range(600):
        cluster.workload(AUTO, name=f"w{number:03}")

    usual = await cluster.ask(ns="shop")
    few = await cluster.ask(ns="shop", kind="ConfigMap", name="c", limit="2")
    many = await cluster.ask(ns="shop", kind="deployment", limit="999999999999")

    assert len(usual["workloads"]) == 100
    assert [it["workload"][-4:] for it in few["workloads"]] == ["w000", "w001"]
    assert few["left"] == 598
    assert many["left"] == 100
    assert len(many["workloads"]) == 500


@pytest.mark.parametrize(
    ("query", "status", "text"),
    [
        ({}, 400, "say which"),
        ({"ns": "shop", "name": "web"}, 400, "say which"),
        ({"ns": "shop", "kind": "Pod", "name": "web"}, 404, "Pod is not looked at"),
        ({"ns": "shop", "kind": "Job", "name": "web"}, 404, "not in the cache"),
        ({"ns": "shop", "limit": "many"}, 400, "from 1 to 500"),
        ({"ns": "shop", "limit": "0"}, 400, "from 1 to 500"),
    ],
)
async def test_what_cannot_be_answered_is_said_in_a_sentence(
    query: dict[str, str], status: int, text: str
) -> None:
    said = await Cluster().ask(status, **query)

    assert text in said["error"]


async def test_a_workload_that_nobody_asks_about_is_said_to_be_so() -> None:
    cluster = Cluster()
    cluster.workload({})

    said = await cluster.web()

    assert "no annotation of ours" in said["reason"]
    assert said["wouldReload"] is False


async def test_an_annotation_that_cannot_be_read_is_told() -> None:
    cluster = Cluster()
    cluster.workload({CONFIGMAPS: "bad["})

    (problem,) = (await cluster.web())["problems"]

    assert problem.startswith(CONFIGMAPS)
