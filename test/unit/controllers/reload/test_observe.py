"""What the stores answer when the controller asks."""

from __future__ import annotations

import json

from controller_runtime import Json, RawObject, Store
from controller_runtime.meta import read_meta
from controller_runtime.question import Change
from controllers.reload.observe import Observer
from controllers.reload.options import ReloadOptions
from controllers.reload.sources import SourceKey, SourceKind, reducer
from controllers.reload.workloads import OPTIONAL_WORKLOADS, WORKLOADS, WorkloadKey

ALL = {**WORKLOADS, **OPTIONAL_WORKLOADS}
AUTO = "reloader.stakater.com/auto"
CONFIGMAPS = "configmap.reloader.stakater.com/reload"


class Cluster:
    """Stores as a cache would have them, and the observer that reads them."""

    def __init__(self, options: ReloadOptions | None = None) -> None:
        self.workloads = {kind: Store(m.gvk) for kind, m in ALL.items()}
        self.sources = {kind: Store(kind.model.gvk) for kind in SourceKind}
        self.observer = Observer(
            self.workloads, self.sources, options or ReloadOptions()
        )

    def put(self, store: Store, raw: bytes) -> None:
        store.apply([Change(RawObject(read_meta(raw), raw))], "1")

    def add_source(self, kind: SourceKind, name: str, namespace: str = "shop") -> None:
        raw = json.dumps({"metadata": {"name": name, "namespace": namespace}}).encode()
        self.put(self.sources[kind], reducer(kind, ())(raw))

    def add_workload(
        self,
        kind: str,
        annotations: dict[str, str],
        *,
        name: str = "web",
        namespace: str = "shop",
        uses: str = "c",
    ) -> WorkloadKey:
        container: Json = {"name": "app", "envFrom": [{"configMapRef": {"name": uses}}]}
        template = {"spec": {"containers": [container]}}
        body = {
            "metadata": {
                "name": name,
                "namespace": namespace,
                "annotations": annotations,
            },
            "spec": {
                "template": template,
                "jobTemplate": {"spec": {"template": template}},
            },
        }
        self.put(self.workloads[kind], json.dumps(body).encode())
        return WorkloadKey(kind, namespace, name)

    def affected(
        self, name: str, kind: SourceKind = SourceKind.CONFIG_MAP
    ) -> set[WorkloadKey]:
        return set(self.observer.affected(SourceKey(kind, "shop", name)))

    def sources_of(self, key: WorkloadKey) -> set[tuple[SourceKind, str]]:
        workload = self.observer.workload(key)
        assert workload is not None
        found = self.observer.supply.sources(workload, self.observer.policy(workload))
        return {(source.key.kind, source.key.name) for source in found}


def test_a_source_concerns_workloads_of_every_kind_that_use_it() -> None:
    cluster = Cluster()

    keys = {cluster.add_workload(kind, {AUTO: "true"}) for kind in ALL}

    assert cluster.affected("c") == keys
    assert cluster.affected("other") == set()
    assert cluster.affected("c", SourceKind.SECRET) == set()


def test_a_source_concerns_workloads_that_list_it_by_name_or_pattern() -> None:
    cluster = Cluster()
    by_name = cluster.add_workload("Deployment", {CONFIGMAPS: "x"}, name="a")
    by_pattern = cluster.add_workload("Deployment", {CONFIGMAPS: "y.*"}, name="b")

    assert cluster.affected("x") == {by_name, by_pattern}
    assert cluster.affected("c") == {by_pattern}, "a pattern is not tried here"


def test_a_source_concerns_no_workload_of_another_namespace() -> None:
    cluster = Cluster()
    cluster.add_workload("Deployment", {AUTO: "true"}, namespace="other")

    assert cluster.affected("c") == set()


def test_a_workload_without_annotations_is_not_parsed() -> None:
    cluster = Cluster()
    raw = b'{"metadata":{"name":"web","namespace":"shop"},"spec":"unreadable"}'

    cluster.put(cluster.workloads["Deployment"], raw)

    assert cluster.affected("c") == set()


def test_a_workload_without_annotations_counts_when_all_do() -> None:
    cluster = Cluster(ReloadOptions(auto_reload_all=True))

    key = cluster.add_workload("Deployment", {})

    assert cluster.affected("c") == {key}


def test_a_workload_that_drops_its_annotation_is_found_no_more() -> None:
    cluster = Cluster()
    cluster.add_workload("Deployment", {AUTO: "true"})

    cluster.add_workload("Deployment", {})

    assert cluster.affected("c") == set()


def test_a_workload_that_is_not_cached_is_not_there() -> None:
    assert Cluster().observer.workload(WorkloadKey("Deployment", "shop", "x")) is None


def test_sources_are_those_that_exist_of_those_that_are_used_or_listed() -> None:
    cluster = Cluster()
    for name in ("c", "listed", "app-1", "app-2", "unused"):
        cluster.add_source(SourceKind.CONFIG_MAP, name)
    cluster.add_source(SourceKind.CONFIG_MAP, "app-3", namespace="other")
    cluster.add_source(SourceKind.SECRET, "c")

    key = cluster.add_workload(
        "Deployment",
        {
            "configmap.reloader.stakater.com/auto": "true",
            CONFIGMAPS: "listed,app-.*,gone",
        },
    )

    assert cluster.sources_of(key) == {
        (SourceKind.CONFIG_MAP, name) for name in ("c", "listed", "app-1", "app-2")
    }


def test_a_list_alone_leaves_what_the_pods_use_unread() -> None:
    cluster = Cluster()
    cluster.add_source(SourceKind.CONFIG_MAP, "c")
    cluster.add_source(SourceKind.CONFIG_MAP, "x")

    key = cluster.add_workload("Deployment", {CONFIGMAPS: "x"})

    assert cluster.sources_of(key) == {(SourceKind.CONFIG_MAP, "x")}
