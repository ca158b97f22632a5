"""Scenarios 30 and 31: what the original's own unit tests hold it to, held here.

The names of its tests stand beside ours. Those that are about conflicts, Jobs, leases
and alerts are elsewhere, where the same is said about a server.
"""

from __future__ import annotations

import json
from base64 import b64encode
from datetime import UTC, datetime

import pytest

from api.core.v1 import PodSpec, PodTemplateSpec
from controller_runtime import Json, Meta, RawObject, Updated
from controller_runtime.meta import read_meta
from controllers.reload.annotations import read_policy
from controllers.reload.options import ReloadOptions
from controllers.reload.plan import Marker, Plan
from controllers.reload.policy import Match
from controllers.reload.record import LAST_RELOADED_FROM, RECORD
from controllers.reload.references import Reference, container_for, references
from controllers.reload.rollout import decide, variable_name
from controllers.reload.sources import (
    Source,
    SourceKey,
    SourceKind,
    is_news,
    read_source,
    reducer,
)
from controllers.reload.sources.digest import DELETED, config_map_digest, mounted_digest
from controllers.reload.workloads import Workload, WorkloadKey
from controllers.reload.writing.patches import last_reloaded_from

CM, SECRET, SPC = (
    SourceKind.CONFIG_MAP,
    SourceKind.SECRET,
    SourceKind.SECRET_PROVIDER_CLASS,
)


# --- TestGetContainerUsingResource -------------------------------------------------


def volume(**kind: Json) -> Json:
    return {"name": "v", **kind}


def csi(**attributes: str) -> Json:
    return volume(csi={"driver": "d", "volumeAttributes": attributes})


MOUNTS: Json = {"volumeMounts": [{"name": "v"}]}
MAP_VOLUME = volume(configMap={"name": "x"})
SECRET_VOLUME = volume(secret={"secretName": "x"})


def key_ref(field: str) -> Json:
    return {"env": [{"name": "E", "valueFrom": {field: {"name": "x", "key": "k"}}}]}


def from_all(field: str) -> Json:
    return {"envFrom": [{field: {"name": "x"}}]}


def pod(
    *containers: Json, init: tuple[Json, ...] = (), volumes: tuple[Json, ...] = ()
) -> PodSpec:
    return PodSpec.model_validate(
        {"containers": containers, "initContainers": init, "volumes": volumes}
    )


APP, SIDECAR, INIT = {"name": "app"}, {"name": "sidecar"}, {"name": "init"}


@pytest.mark.parametrize(
    ("spec", "kind", "match", "chosen"),
    [
        pytest.param(
            pod(APP | MOUNTS, volumes=(MAP_VOLUME,)),
            *(CM, Match.EXPLICIT, "app"),
            id="a container mounts it",
        ),
        pytest.param(
            pod(APP, SIDECAR, init=(INIT | MOUNTS,), volumes=(SECRET_VOLUME,)),
            *(SECRET, Match.EXPLICIT, "app"),
            id="an init container mounts it: the first container",
        ),
        pytest.param(
            pod(APP | from_all("configMapRef")),
            *(CM, Match.EXPLICIT, "app"),
            id="a container has it as variables",
        ),
        pytest.param(
            pod(APP, init=(INIT | from_all("secretRef"),)),
            *(SECRET, Match.EXPLICIT, "app"),
            id="an init container has it as variables: the first container",
        ),
        pytest.param(
            pod(APP, SIDECAR),
            *(CM, Match.EXPLICIT, "app"),
            id="listed and not used: the first container",
        ),
        pytest.param(
            pod(APP), CM, Match.AUTO, None, id="neither listed nor used: none"
        ),
        pytest.param(pod(), CM, Match.EXPLICIT, None, id="no containers: none"),
        pytest.param(
            pod(init=(INIT | MOUNTS,), volumes=(MAP_VOLUME,)),
            *(CM, Match.EXPLICIT, None),
            id="init containers alone: none",
        ),
        pytest.param(
            pod(APP | MOUNTS, volumes=(csi(secretProviderClass="x"),)),
            *(SPC, Match.EXPLICIT, "app"),
            id="a CSI volume of a SecretProviderClass",
        ),
        pytest.param(
            pod(APP | key_ref("configMapKeyRef")),
            *(CM, Match.EXPLICIT, "app"),
            id="a variable from a key of a ConfigMap",
        ),
        pytest.param(
            pod(APP | key_ref("secretKeyRef")),
            *(SECRET, Match.EXPLICIT, "app"),
            id="a variable from a key of a Secret",
        ),
    ],
)
def test_the_container_is_the_one_that_the_original_marks(
    spec: PodSpec, kind: SourceKind, match: Match, chosen: str | None
) -> None:
    """Scenario 30: TestGetContainerUsingResource, eleven rows."""
    assert container_for(spec, Reference(kind, "x"), match) == chosen


@pytest.mark.parametrize(
    ("volumes", "used"),
    [
        pytest.param((csi(secretProviderClass="x"),), True, id="its class"),
        pytest.param((csi(secretProviderClass="y"),), False, id="another class"),
        pytest.param((csi(),), False, id="a driver without attributes"),
        pytest.param((volume(csi={"driver": "d"}),), False, id="not even none"),
        pytest.param(
            ({"name": "w", "configMap": {"name": "x"}}, csi(secretProviderClass="x")),
            True,
            id="beside another volume",
        ),
        pytest.param((MAP_VOLUME,), False, id="a ConfigMap of that name"),
        pytest.param((), False, id="no volume"),
    ],
)
def test_a_csi_volume_uses_the_class_that_it_names(
    volumes: tuple[Json, ...], used: bool
) -> None:
    """Scenario 30: TestGetVolumeMountName, TestGetVolumeMountNameCSI."""
    found = references(pod(APP | MOUNTS, volumes=volumes))

    assert (Reference(SPC, "x") in found) is used


# --- TestGetEnvVarName -------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "name", "variable"),
    [
        (CM, "my-config", "STAKATER_MY_CONFIG_CONFIGMAP"),
        (SECRET, "my-secret", "STAKATER_MY_SECRET_SECRET"),
        (CM, "my-app-config", "STAKATER_MY_APP_CONFIG_CONFIGMAP"),
        (CM, "my.app.config", "STAKATER_MY_APP_CONFIG_CONFIGMAP"),
        (SPC, "my.spc", "STAKATER_MY_SPC_SECRETPROVIDERCLASS"),
    ],
)
def test_hyphens_and_dots_of_a_name_are_underscores_of_a_variable(
    kind: SourceKind, name: str, variable: str
) -> None:
    """Scenario 30: TestGetEnvVarName."""
    assert variable_name(SourceKey(kind, "shop", name)) == variable


# --- TestGetHashFromConfigMap ------------------------------------------------------


def test_text_and_bytes_of_a_config_map_make_its_hash_together() -> None:
    """Scenario 30: TestGetHashFromConfigMap."""
    contents = [
        ({"k": "v"}, {}),
        ({"k": "w"}, {}),
        ({}, {"b": b"v"}),
        ({}, {"b": b"w"}),
        ({"k": "v"}, {"b": b"v"}),
        ({"k": "v"}, {"b": b"w"}),
        ({"k": "w"}, {"b": b"v"}),
    ]

    digests = [config_map_digest(text, binary) for text, binary in contents]

    assert len({digest.marker for digest in digests}) == len(contents)
    assert len({digest.recorded for digest in digests}) == len(contents)


# --- TestRemoveContainerEnvVars ----------------------------------------------------


def workload(
    container: Json, *, record: dict[str, str], template: dict[str, str] | None = None
) -> Workload:
    annotations = {
        "reloader.stakater.com/auto": "true",
        "reloader.stakater.com/reload-on-delete": "true",
        RECORD: json.dumps(record),
    }
    spec = {"containers": [container] if container else []}
    spec["volumes"] = [csi(secretProviderClass="x")]
    metadata = {"annotations": template or {}}
    return Workload(
        WorkloadKey("Deployment", "shop", "web"),
        Meta(annotations=annotations),
        PodTemplateSpec.model_validate({"metadata": metadata, "spec": spec}),
    )


def plan(of: Workload, *sources: Source) -> Plan | None:
    policy = read_policy(of.meta.annotations, {}, ReloadOptions())
    return decide(of, policy, sources)


@pytest.mark.parametrize(
    ("field", "recorded", "variable"),
    [
        ("configMapRef", "cm/x", "STAKATER_X_CONFIGMAP"),
        ("secretRef", "secret/x", "STAKATER_X_SECRET"),
    ],
)
def test_the_variable_of_a_source_that_is_gone_is_taken_away(
    field: str, recorded: str, variable: str
) -> None:
    """Scenario 30: TestRemoveContainerEnvVars."""
    env = [{"name": variable, "value": "sha-value"}]

    made = plan(
        workload(APP | from_all(field) | {"env": env}, record={recorded: "0" * 20})
    )

    assert made is not None
    (marker,) = made.markers
    assert (marker.container, marker.variable, marker.value) == ("app", variable, None)


def test_where_there_is_no_variable_to_take_away_the_marker_says_that_it_is_gone() -> (
    None
):
    """Scenario 30: the original does nothing here; nothing would be a change missed."""
    made = plan(workload(APP | from_all("configMapRef"), record={"cm/x": "0" * 20}))

    assert made is not None
    assert [marker.value for marker in made.markers] == [DELETED.marker]


def test_without_containers_a_source_that_is_gone_changes_nothing() -> None:
    """Scenario 30: TestRemoveContainerEnvVars."""
    assert plan(workload({}, record={"cm/x": "0" * 20})) is None


# --- TestJsonEscape ----------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["app", 'say "hello"', "path\\to\\file", "line1\nline2", '{"key":"value"}']
)
def test_a_marker_is_json_whatever_stands_in_it(name: str) -> None:
    """Scenario 30: TestJsonEscape, TestCreateReloadedAnnotations."""
    key = SourceKey(CM, "shop", name)
    marker = Marker(key, name, "V", "hash", "hash")

    text = last_reloaded_from(marker, datetime(2026, 11, 21, tzinfo=UTC))

    read = json.loads(text)
    assert (read["name"], read["containerRefs"]) == (name, [name])


# --- TestSecretProviderClassAnnotationReloaded -------------------------------------

NOW = mounted_digest("x", {"secret": "v2"})
BEFORE = mounted_digest("x", {"secret": "v1"})


def last(name: str, hash_: str) -> dict[str, str]:
    said = {"type": SPC.type_name, "namespace": "shop", "name": name, "hash": hash_}
    return {LAST_RELOADED_FROM: json.dumps(said)}


@pytest.mark.parametrize(
    ("template", "reloads"),
    [
        pytest.param(last("x", NOW.marker), False, id="this class, this hash"),
        pytest.param(last("x", BEFORE.marker), True, id="this class, another hash"),
        pytest.param(last("y", BEFORE.marker), False, id="another class"),
        pytest.param({}, False, id="no annotations"),
        pytest.param({"other": "value"}, False, id="another annotation"),
        pytest.param({LAST_RELOADED_FROM: "{"}, False, id="no JSON"),
    ],
)
def test_the_annotation_says_what_a_class_was_reloaded_for(
    template: dict[str, str], reloads: bool
) -> None:
    """Scenario 30: TestSecretProviderClassAnnotationReloaded.

    Where the annotation says nothing, what is there is adopted (C8).
    """
    source = Source(SourceKey(SPC, "shop", "x"), NOW, {})

    made = plan(workload(APP | MOUNTS, record={}, template=template), source)

    assert made is not None
    assert bool(made.markers) is reloads


# --- TestResourceUpdatedHandler ----------------------------------------------------


def source(
    kind: SourceKind, metadata: Json | None = None, **content: Json
) -> RawObject:
    metadata = {"name": "x", "namespace": "shop", **(metadata or {})}
    raw = json.dumps({"metadata": metadata, **content}).encode()
    reduced = reducer(kind, ())(raw)
    return RawObject(read_meta(reduced), reduced)


def data(**values: str) -> Json:
    return {"data": values}


def secret_data(**values: str) -> Json:
    return {"data": {k: b64encode(v.encode()).decode() for k, v in values.items()}}


def binary(value: bytes, **text: str) -> Json:
    return {"binaryData": {"b": b64encode(value).decode()}, "data": text}


LABELS = ({"labels": {"version": "v1"}}, {"labels": {"version": "v2"}})
NOTES = ({"annotations": {"note": "old"}}, {"annotations": {"note": "new"}})


@pytest.mark.parametrize(
    ("old", "new", "changes"),
    [
        pytest.param(data(k="old"), data(k="new"), True, id="a value changes"),
        pytest.param(data(k="same"), data(k="same"), False, id="nothing changes"),
        pytest.param(data(a="1"), data(a="1", b="2"), True, id="a key is added"),
        pytest.param(data(a="1", b="2"), data(a="1"), True, id="a key is removed"),
        pytest.param(data(), data(k="v"), True, id="there was nothing"),
        pytest.param(data(k="v"), data(), True, id="there is nothing any more"),
        pytest.param(binary(b"old"), binary(b"new"), True, id="bytes change"),
        pytest.param(
            binary(b"old", k="v"), binary(b"new", k="v"), True, id="bytes beside text"
        ),
    ],
)
def test_an_update_of_a_config_map_is_news_if_its_content_changes(
    old: Json, new: Json, changes: bool
) -> None:
    """Scenario 31: TestResourceUpdatedHandler_*."""
    event = Updated(source(CM, **old), source(CM, **new))

    hashes = {read_source(CM, it).digest.marker for it in (event.old, event.object)}
    assert is_news(CM, event) is changes
    assert (len(hashes) > 1) is changes


@pytest.mark.parametrize(
    ("old", "new", "changes"),
    [
        pytest.param(
            secret_data(p="old"), secret_data(p="new"), True, id="a value changes"
        ),
        pytest.param(
            secret_data(p="same"), secret_data(p="same"), False, id="nothing changes"
        ),
        pytest.param(
            secret_data(a="1"), secret_data(a="1", b="2"), True, id="a key is added"
        ),
        pytest.param(
            secret_data(a="1", b="2"), secret_data(a="1"), True, id="a key is removed"
        ),
    ],
)
def test_an_update_of_a_secret_is_news_if_its_content_changes(
    old: Json, new: Json, changes: bool
) -> None:
    """Scenario 31: TestResourceUpdatedHandler_*."""
    event = Updated(source(SECRET, **old), source(SECRET, **new))

    assert is_news(SECRET, event) is changes


@pytest.mark.parametrize("kind", [CM, SECRET])
@pytest.mark.parametrize(("old", "new"), [LABELS, NOTES], ids=["labels", "annotations"])
def test_an_update_of_metadata_alone_is_no_news(
    kind: SourceKind, old: Json, new: Json
) -> None:
    """Scenarios 17 and 31: TestResourceUpdatedHandler_GetConfig."""
    content = secret_data(k="v")

    event = Updated(source(kind, old, **content), source(kind, new, **content))

    assert not is_news(kind, event)
