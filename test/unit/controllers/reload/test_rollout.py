"""What is written to a workload, and when nothing is."""

from __future__ import annotations

import json
from base64 import b64encode
from datetime import UTC, datetime
from hashlib import sha1, sha256

import msgspec
import pytest

from api.core.v1 import PodTemplateSpec
from controller_runtime import Json, Meta
from controllers.reload.annotations import read_policy
from controllers.reload.happenings import Happened
from controllers.reload.options import ReloadOptions, Strategy
from controllers.reload.plan import Marker, Plan, describe
from controllers.reload.record import (
    LAST_RELOADED_FROM,
    RECORD,
    RELOADED_AT,
    REVISION,
    read_record,
)
from controllers.reload.rollout import decide, problems, variable_name
from controllers.reload.sources import Source, SourceKey, SourceKind
from controllers.reload.sources.digest import DELETED, config_map_digest, secret_digest
from controllers.reload.workloads import Workload, WorkloadKey
from controllers.reload.writing.patches import patch_for

AUTO = {"reloader.stakater.com/auto": "true"}
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
WEB = WorkloadKey("Deployment", "shop", "web")


def config_map(name: str = "c", **data: str) -> Source:
    key = SourceKey(SourceKind.CONFIG_MAP, "shop", name)
    return Source(key, config_map_digest(data, {}), {})


def secret(name: str = "s", **data: bytes) -> Source:
    return Source(SourceKey(SourceKind.SECRET, "shop", name), secret_digest(data), {})


def recorded(*sources: Source) -> dict[str, str]:
    """The record of a workload that runs with these contents."""
    return {s.key.recorded: s.digest.recorded for s in sources}


def workload(
    *,
    annotations: dict[str, str] = AUTO,
    record: dict[str, str] | str | None = None,
    env: dict[str, str] | None = None,
    template_annotations: dict[str, str] | None = None,
    uses: tuple[str, ...] = ("c",),
) -> Workload:
    """A workload of two containers, of which the second uses ConfigMaps and `s`."""
    if record is not None:
        text = record if isinstance(record, str) else json.dumps(record)
        annotations = annotations | {RECORD: text}
    variables: list[Json] = [{"name": k, "value": v} for k, v in (env or {}).items()]
    sources: list[Json] = [{"configMapRef": {"name": name}} for name in uses]
    sources.append({"secretRef": {"name": "s"}})
    template = {
        "metadata": {"annotations": template_annotations or {}},
        "spec": {
            "containers": [
                {"name": "proxy"},
                {"name": "app", "env": variables, "envFrom": sources},
            ]
        },
    }
    meta = Meta(resource_version="42", annotations=annotations)
    return Workload(WEB, meta, PodTemplateSpec.model_validate(template))


def plan(
    of: Workload,
    *sources: Source,
    happened: Happened | None = None,
    options: ReloadOptions | None = None,
) -> Plan | None:
    template = of.template.metadata.annotations
    policy = read_policy(of.meta.annotations, template, options or ReloadOptions())
    return decide(of, policy, sources, happened or Happened())


def must_plan(
    of: Workload,
    *sources: Source,
    happened: Happened | None = None,
    options: ReloadOptions | None = None,
) -> Plan:
    made = plan(of, *sources, happened=happened, options=options)
    assert made is not None
    return made


def body(of: Workload, made: Plan) -> Json:
    patch = patch_for(of, made, now=NOW)
    assert patch.content_type == "application/strategic-merge-patch+json"
    decoded: Json = json.loads(patch.body)
    return decoded


OLD, NEW = config_map(k="old"), config_map(k="new")


def test_content_that_the_record_has_is_left_alone() -> None:
    assert plan(workload(record=recorded(NEW)), NEW) is None


def test_content_that_the_record_has_not_reloads() -> None:
    made = must_plan(workload(record=recorded(OLD)), NEW)

    (marker,) = made.markers
    hash_ = NEW.digest.marker
    variable = "STAKATER_C_CONFIGMAP"
    content = NEW.digest.canonical
    assert marker == Marker(
        NEW.key, "app", variable, hash_, hash_, content=content, is_annotated=True
    )
    assert made.record == recorded(NEW)


def test_a_change_has_one_name_whatever_is_written_to_the_source_besides() -> None:
    web = workload(record=recorded(OLD))
    first, later = (must_plan(web, NEW._replace(version=v)) for v in ("7", "8"))

    assert first.change == later.change


def test_the_same_change_after_another_reload_has_another_name() -> None:
    moments = (f"2026-11-21T12:00:0{second}Z" for second in range(2))
    webs = (
        workload(annotations={**AUTO, RELOADED_AT: it}, record=recorded(OLD))
        for it in moments
    )
    first, second = (must_plan(web, NEW) for web in webs)

    assert first.change != second.change


def test_a_source_at_first_sight_is_adopted() -> None:
    assert plan(workload(), NEW) == Plan(recorded(NEW), ())


def test_a_source_that_joins_others_is_adopted() -> None:
    both = (NEW, secret(k=b"v"))

    assert plan(workload(record=recorded(NEW)), *both) == Plan(recorded(*both), ())


def test_a_source_that_does_not_concern_the_workload_is_not_recorded() -> None:
    assert plan(workload(), config_map("unused", k="v")) is None


def test_a_source_that_is_ignored_is_not_recorded() -> None:
    ignored = NEW._replace(annotations={"reloader.stakater.com/ignore": "true"})

    assert plan(workload(), ignored) is None


def test_a_source_that_is_gone_stays_in_the_record() -> None:
    record = recorded(config_map("gone", k="v"), OLD)

    made = must_plan(workload(record=record), NEW)

    assert made.record == record | recorded(NEW)


def test_a_source_that_comes_back_the_same_does_nothing() -> None:
    """Scenario 45."""
    of = workload(record=recorded(OLD))

    assert plan(of) is None
    assert plan(of, OLD) is None


def test_a_source_that_comes_back_changed_reloads() -> None:
    """Scenario 45."""
    assert must_plan(workload(record=recorded(OLD)), NEW).markers


@pytest.mark.parametrize("junk", ["{", "[]", '{"cm/c": 7}', "null", ""])
def test_an_unreadable_record_is_a_problem_and_begun_again(junk: str) -> None:
    of = workload(record=junk)

    assert plan(of, NEW) == Plan(recorded(NEW), ())
    policy = read_policy(of.meta.annotations, {}, ReloadOptions())
    assert [p.annotation for p in problems(of, policy)] == [RECORD]


def test_a_workload_without_a_record_has_no_problem() -> None:
    of = workload()

    assert read_record(of) == {}
    assert problems(of, read_policy(of.meta.annotations, {}, ReloadOptions())) == ()


# --- what comes and goes -----------------------------------------------------------

ON_CREATE = ReloadOptions(reload_on_create=True)
ON_DELETE = ReloadOptions(reload_on_delete=True)
CAME = Happened(appeared=frozenset({NEW.key}))
GONE = {NEW.key.recorded: DELETED.recorded}


MISSED = Happened(missed=frozenset({NEW.key}))


@pytest.mark.parametrize(
    ("created", "written", "reloads"),
    [
        pytest.param("", "", True, id="nobody knows when"),
        pytest.param("2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z", True, id="before"),
        pytest.param("2026-01-01T00:00:01Z", "2026-01-01T00:00:00Z", False, id="after"),
    ],
)
def test_what_changed_before_a_workload_was_known_reloads_if_it_was_there(
    created: str, written: str, reloads: bool
) -> None:
    """Scenario 56."""
    of = workload()
    of = of._replace(meta=msgspec.structs.replace(of.meta, creation_timestamp=created))
    source = NEW._replace(written=written)

    found = must_plan(of, source, happened=MISSED)

    assert bool(found.markers) == reloads


def test_what_changed_before_a_workload_was_known_is_no_news_to_its_record() -> None:
    of = workload(record=recorded(NEW))

    assert plan(of, NEW, happened=MISSED) is None


@pytest.mark.parametrize(
    ("options", "happened", "reloads"),
    [
        pytest.param(ON_CREATE, CAME, True, id="asked for, and it came"),
        pytest.param(ON_CREATE, Happened(), False, id="it was there before"),
        pytest.param(ReloadOptions(), CAME, False, id="nobody asked"),
    ],
)
def test_a_source_that_appears_reloads_if_that_is_asked_for(
    options: ReloadOptions, happened: Happened, reloads: bool
) -> None:
    made = must_plan(workload(), NEW, options=options, happened=happened)

    assert bool(made.markers) is reloads
    assert made.record == recorded(NEW)


def test_a_source_may_itself_ask_for_a_reload_when_it_appears() -> None:
    asking = NEW._replace(
        annotations={"reloader.stakater.com/reload-on-create": "true"}
    )

    assert must_plan(workload(), asking, happened=CAME).markers


def test_a_source_that_appears_with_what_the_record_has_reloads_nothing() -> None:
    of = workload(record=recorded(NEW))

    assert plan(of, NEW, options=ON_CREATE, happened=CAME) is None


def test_a_source_that_goes_reloads_if_that_is_asked_for() -> None:
    of = workload(record=recorded(OLD))

    made = must_plan(of, options=ON_DELETE)

    assert [m.value for m in made.markers] == [DELETED.marker]
    assert made.record == GONE
    assert plan(of) is None


def test_a_source_may_have_asked_for_a_reload_when_it_goes() -> None:
    asked = {"reloader.stakater.com/reload-on-delete": "true"}
    of = workload(record=recorded(OLD))

    silent = OLD._replace(digest=DELETED)
    asking = silent._replace(annotations=asked)

    assert must_plan(of, happened=Happened(gone={OLD.key: asking})).markers
    assert plan(of, happened=Happened(gone={OLD.key: silent})) is None


def test_the_variable_of_a_source_that_goes_is_taken_away() -> None:
    of = workload(record=recorded(OLD), env={"STAKATER_C_CONFIGMAP": OLD.digest.marker})

    patch = body(of, must_plan(of, options=ON_DELETE))

    (container,) = patch["spec"]["template"]["spec"]["containers"]
    assert container["env"] == [{"name": "STAKATER_C_CONFIGMAP", "$patch": "delete"}]


def test_a_source_that_went_and_comes_back_reloads() -> None:
    assert must_plan(workload(record=GONE), OLD, options=ON_DELETE).markers


def test_a_source_that_stays_away_reloads_once() -> None:
    assert plan(workload(record=GONE), options=ON_DELETE) is None


def test_a_source_that_goes_and_is_not_used_any_more_reloads_nothing() -> None:
    of = workload(record=recorded(OLD), uses=())

    assert plan(of, options=ON_DELETE) is None


def test_what_a_namespace_has_when_it_becomes_ours_is_adopted() -> None:
    of = workload(record=recorded(OLD))

    assert plan(of, NEW, happened=Happened(joined=True)) == Plan(recorded(NEW))


# --- changing over from stakater/Reloader -----------------------------------------


def test_its_variable_for_this_content_is_adopted() -> None:
    of = workload(env={"STAKATER_C_CONFIGMAP": NEW.digest.marker})

    assert plan(of, NEW) == Plan(recorded(NEW), ())


def test_its_variable_for_other_content_is_a_missed_change() -> None:
    of = workload(env={"STAKATER_C_CONFIGMAP": OLD.digest.marker})

    assert [m.value for m in must_plan(of, NEW).markers] == [NEW.digest.marker]


def test_its_variable_for_the_secret_of_the_same_name_says_nothing() -> None:
    of = workload(env={"STAKATER_C_SECRET": OLD.digest.marker})

    assert must_plan(of, NEW).markers == ()


def last_reloaded_from(source: Source, **other: str) -> dict[str, str]:
    what = {
        "type": source.key.kind.type_name,
        "name": source.key.name,
        "namespace": source.key.namespace,
        "hash": source.digest.marker,
        "containerRefs": ["app"],
        "observedAt": 1795246083,
    }
    return {LAST_RELOADED_FROM: json.dumps(what | other)}


def test_its_annotation_for_this_content_is_adopted() -> None:
    of = workload(template_annotations=last_reloaded_from(NEW))

    assert must_plan(of, NEW).markers == ()


def test_its_annotation_for_other_content_is_a_missed_change() -> None:
    of = workload(template_annotations=last_reloaded_from(OLD))

    assert must_plan(of, NEW).markers


@pytest.mark.parametrize(
    "annotation",
    [
        last_reloaded_from(OLD, name="other"),
        last_reloaded_from(OLD, namespace="other"),
        last_reloaded_from(OLD, type="SECRET"),
        {LAST_RELOADED_FROM: "{"},
    ],
)
def test_its_annotation_for_another_source_says_nothing(
    annotation: dict[str, str],
) -> None:
    assert must_plan(workload(template_annotations=annotation), NEW).markers == ()


def test_of_two_markers_one_for_this_content_is_enough() -> None:
    of = workload(
        env={"STAKATER_C_CONFIGMAP": OLD.digest.marker},
        template_annotations=last_reloaded_from(NEW),
    )

    assert must_plan(of, NEW).markers == ()


def test_the_record_outranks_the_marker() -> None:
    of = workload(record=recorded(NEW), env={"STAKATER_C_CONFIGMAP": OLD.digest.marker})

    assert plan(of, NEW) is None


# --- markers -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "variable"),
    [
        ("c", "STAKATER_C_CONFIGMAP"),
        ("app-config", "STAKATER_APP_CONFIG_CONFIGMAP"),
        ("app.config.v1", "STAKATER_APP_CONFIG_V1_CONFIGMAP"),
        ("a.-.b", "STAKATER_A_B_CONFIGMAP"),
        ("..a", "STAKATER_A_CONFIGMAP"),
        ("a.", "STAKATER_A__CONFIGMAP"),
        ("1st", "STAKATER_1ST_CONFIGMAP"),
    ],
)
def test_variables_have_the_names_of_the_original(name: str, variable: str) -> None:
    assert variable_name(SourceKey(SourceKind.CONFIG_MAP, "shop", name)) == variable


def test_a_variable_tells_a_secret_from_a_config_map() -> None:
    assert variable_name(secret("c").key) == "STAKATER_C_SECRET"


def test_content_that_shares_its_marker_with_the_last_gets_another() -> None:
    joined = config_map(a="1;b=2")
    split = config_map(a="1", b="2")
    of = workload(
        record=recorded(joined), env={"STAKATER_C_CONFIGMAP": joined.digest.marker}
    )

    (marker,) = must_plan(of, split).markers

    assert marker.value == split.digest.other_marker == split.digest.canonical[:40]


def test_the_other_marker_is_known_again_when_the_record_is_lost() -> None:
    of = workload(env={"STAKATER_C_CONFIGMAP": NEW.digest.other_marker})

    assert plan(of, NEW) == Plan(recorded(NEW), ())


def test_names_that_share_a_variable_get_one_each() -> None:
    """Scenario 41: the later name, `a.b`, gives way."""
    names = ("a-b", "a.b")
    old = [config_map(name, k="old") for name in names]
    new = [config_map(name, k="new") for name in names]

    made = must_plan(workload(record=recorded(*old), uses=names), *reversed(new))

    suffix = sha256(b"a.b").hexdigest()[:6]
    assert [m.variable for m in made.markers] == [
        "STAKATER_A_B_CONFIGMAP",
        f"STAKATER_A_B_CONFIGMAP_{suffix}",
    ]


def test_names_that_share_a_variable_reload_one_after_the_other() -> None:
    """Scenario 41: to equal data, so that the markers are equal as well."""
    names = ("a-b", "a.b")
    (x1, y1), (x2, y2) = (
        [config_map(name, k=value) for name in names] for value in ("old", "new")
    )

    first = must_plan(workload(record=recorded(x1, y1), uses=names), x2, y1)
    env = {m.variable: str(m.value) for m in first.markers}
    second = must_plan(workload(record=dict(first.record), env=env, uses=names), x2, y2)

    assert [m.source for m in first.markers] == [x2.key]
    assert [m.source for m in second.markers] == [y2.key]
    assert second.markers[0].variable not in env


def far(name: str = "c", **data: str) -> Source:
    source = config_map(name, **data)
    return source._replace(key=source.key._replace(namespace="ops"))


FAR = {"configmap.reloader.stakater.com/reload": "ops/c"}
CROSS = ReloadOptions(allow_cross_namespace=True)


def test_a_source_of_another_namespace_is_recorded_with_it() -> None:
    """A17."""
    (old, new) = (far(k="old"), far(k="new"))

    adopted = must_plan(workload(annotations=FAR), old, options=CROSS)
    made = must_plan(
        workload(annotations=FAR, record=dict(adopted.record)), new, options=CROSS
    )

    assert adopted.markers == ()
    assert adopted.record == {"cm/ops/c": old.digest.recorded}
    (marker,) = made.markers
    assert marker.source == new.key
    # The second container uses a `c`, but another.
    assert marker.container == "proxy"


def test_sources_of_two_namespaces_and_one_name_get_a_variable_each() -> None:
    near = config_map(k="new")
    record = {"cm/c": OLD.digest.recorded, "cm/ops/c": OLD.digest.recorded}

    made = must_plan(
        workload(annotations=AUTO | FAR, record=record),
        *(far(k="new"), near),
        options=CROSS,
    )

    variables = {marker.source: marker.variable for marker in made.markers}
    digits = sha256(b"ops/c").hexdigest()[:6]
    assert variables[near.key] == "STAKATER_C_CONFIGMAP"
    assert variables[far().key] == f"STAKATER_C_CONFIGMAP_{digits}"


def test_a_source_of_another_namespace_that_nobody_lists_is_not_recorded() -> None:
    asks = AUTO | {"configmap.reloader.stakater.com/reload": "c"}

    assert plan(workload(annotations=asks), far(k="v"), options=CROSS) is None


def test_a_source_of_another_namespace_that_goes_reloads_if_that_is_asked_for() -> None:
    asks = FAR | {"reloader.stakater.com/reload-on-delete": "true"}

    of = workload(annotations=asks, record={"cm/ops/c": OLD.digest.recorded})
    went = Happened(gone={far().key: far()._replace(digest=DELETED)})

    made = must_plan(of, options=CROSS, happened=went)

    assert plan(of, options=CROSS) is None  # perhaps it is not ours any more
    assert made.record == {"cm/ops/c": DELETED.recorded}
    assert [marker.source for marker in made.markers] == [far().key]


def test_a_variable_that_two_names_wrote_in_turns_is_the_marker_of_neither() -> None:
    names = ("a-b", "a.b")
    sources = [config_map(name, k="new") for name in names]
    of = workload(env={"STAKATER_A_B_CONFIGMAP": OLD.digest.marker}, uses=names)

    assert plan(of, *sources) == Plan(recorded(*sources), ())


# --- the patch ---------------------------------------------------------------------


def test_a_reload_is_one_patch_of_record_and_markers() -> None:
    old, new = secret(k=b"\xff"), secret(k=b"\x00")
    of = workload(record=recorded(OLD, old))

    patch = body(of, must_plan(of, new, NEW))

    record = json.dumps(recorded(NEW, new), separators=(",", ":"), sort_keys=True)
    at = "2026-11-21T12:00:00.000Z"
    annotations = {RECORD: record, RELOADED_AT: at, REVISION: "1"}
    assert patch == {
        "metadata": {"resourceVersion": "42", "annotations": annotations},
        "spec": {
            "template": {
                "spec": {
                    "containers": [
                        {
                            "name": "app",
                            "env": [
                                {
                                    "name": "STAKATER_C_CONFIGMAP",
                                    "value": NEW.digest.marker,
                                },
                                {
                                    "name": "STAKATER_S_SECRET",
                                    "value": new.digest.marker,
                                },
                            ],
                        }
                    ]
                }
            }
        },
    }


def test_an_adoption_is_a_patch_of_metadata_alone() -> None:
    of = workload()

    patch = body(of, must_plan(of, NEW))

    assert patch.keys() == {"metadata"}
    assert patch["metadata"]["resourceVersion"] == "42"
    assert patch["metadata"]["annotations"].keys() == {RECORD}


def test_sources_of_different_containers_go_to_their_own() -> None:
    listed = {"configmap.reloader.stakater.com/reload": "c,unused"}
    unused_old, unused_new = (config_map("unused", k=v) for v in ("old", "new"))
    of = workload(annotations=listed, record=recorded(OLD, unused_old))

    patch = body(of, must_plan(of, NEW, unused_new))

    containers = patch["spec"]["template"]["spec"]["containers"]
    assert {c["name"]: [e["name"] for e in c["env"]] for c in containers} == {
        "app": ["STAKATER_C_CONFIGMAP"],
        "proxy": ["STAKATER_UNUSED_CONFIGMAP"],
    }


ANNOTATIONS = ReloadOptions(strategy=Strategy.ANNOTATIONS)


def test_the_annotations_strategy_writes_the_annotation_of_the_original() -> None:
    of = workload(record=recorded(OLD))

    patch = body(of, must_plan(of, NEW, options=ANNOTATIONS))

    template = patch["spec"]["template"]
    assert template.keys() == {"metadata"}
    assert template["metadata"]["annotations"] == {
        LAST_RELOADED_FROM: (
            '{"type":"CONFIGMAP","name":"c","namespace":"shop",'
            f'"hash":"{NEW.digest.marker}","containerRefs":["app"],'
            '"observedAt":1795262400}'
        )
    }


def test_several_sources_are_one_annotation_that_names_the_first() -> None:
    old, new = secret(k=b"1"), secret(k=b"2")
    of = workload(record=recorded(OLD, old))

    made = must_plan(of, new, NEW, options=ANNOTATIONS)
    annotations = body(of, made)["spec"]["template"]["metadata"]["annotations"]

    assert len(made.markers) == 2
    assert json.loads(annotations[LAST_RELOADED_FROM])["name"] == "c"


def test_its_own_annotation_is_known_again_when_the_record_is_lost() -> None:
    of = workload(record=recorded(OLD))
    made = body(of, must_plan(of, NEW, options=ANNOTATIONS))
    annotations = made["spec"]["template"]["metadata"]["annotations"]

    stripped = workload(template_annotations=annotations)

    assert plan(stripped, NEW) == Plan(recorded(NEW))


def test_the_annotation_of_a_source_that_goes_has_the_hash_of_the_original() -> None:
    of = workload(record=recorded(OLD))
    options = ReloadOptions(strategy=Strategy.ANNOTATIONS, reload_on_delete=True)

    made = body(of, must_plan(of, options=options))

    annotations = made["spec"]["template"]["metadata"]["annotations"]
    empty = sha1(b"__RELOADER_EMPTY_DELETE_MARKER__", usedforsecurity=False)
    assert json.loads(annotations[LAST_RELOADED_FROM])["hash"] == empty.hexdigest()


def test_no_value_of_a_secret_is_in_a_patch() -> None:
    old, new = secret(k=b"v1"), secret(k=b"hunter2")
    of = workload(record=recorded(old))

    patch = patch_for(of, must_plan(of, new), now=NOW)

    assert b"hunter2" not in patch.body
    assert b64encode(b"hunter2") not in patch.body


def test_an_event_names_sources_and_workload_in_quotes() -> None:
    old, new = secret(k=b"1"), secret(k=b"2")
    made = must_plan(workload(record=recorded(OLD, old)), NEW, new)

    assert describe(made, WEB, "reloads") == (
        "'c' of type 'CONFIGMAP' in namespace 'shop', "
        "'s' of type 'SECRET' in namespace 'shop' changed: "
        "'web' of type 'Deployment' in namespace 'shop' reloads"
    )
    assert describe(made, WEB, "cannot be reloaded: forbidden").endswith(
        "'web' of type 'Deployment' in namespace 'shop' cannot be reloaded: forbidden"
    )
