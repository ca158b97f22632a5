"""Which keys of a source count, and what a hash over some of them is worth."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import pytest

from api.core.v1 import PodSpec, PodTemplateSpec
from controller_runtime import Json, Meta, NamespacedName
from controllers.reload.annotations import read_policy
from controllers.reload.configs.claims import (
    Claim,
    Config,
    KeyRule,
    Target,
    Watched,
    merged,
)
from controllers.reload.happenings import Happened
from controllers.reload.options import ReloadOptions
from controllers.reload.plan import Plan
from controllers.reload.policy import NameList, Problem
from controllers.reload.record import RECORD
from controllers.reload.references import Reference, used_keys
from controllers.reload.rollout import decide
from controllers.reload.sources import Source, SourceKey, SourceKind
from controllers.reload.sources.digest import (
    DELETED,
    Digest,
    config_map_digest,
    secret_digest,
)
from controllers.reload.sources.keys import ALL_KEYS, KeyScope, key_list
from controllers.reload.workloads import Workload, WorkloadKey

AUTO = "reloader.stakater.com/auto"
SCOPE = "reloader.stakater.com/scope"
IGNORE = "reloader.stakater.com/ignore-keys"

CONFIG = Reference(SourceKind.CONFIG_MAP, "c")
SECRET = Reference(SourceKind.SECRET, "s")


def only(*names: str) -> KeyScope:
    return KeyScope(frozenset(names))


def all_but(*names: str) -> KeyScope:
    return KeyScope(ignored=frozenset(names))


def covers(scope: KeyScope, name: str) -> bool:
    """Ask by way of the hashes, as it is used."""
    one = secret_digest({"k": b"v", name: b"1"}).within(scope)
    return one.recorded != secret_digest({"k": b"v", name: b"2"}).within(scope).recorded


# --- scopes ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other", "joined"),
    [
        pytest.param(only("a"), only("b"), "ab", id="two lists"),
        pytest.param(only("a"), ALL_KEYS, "abc", id="a list and all"),
        pytest.param(only("a"), all_but("a", "b"), "ac", id="a list and the rest"),
        pytest.param(all_but("a", "b"), all_but("b", "c"), "ac", id="all but some"),
        pytest.param(only("a", "b").without("b"), only("c"), "ac", id="left out"),
    ],
)
def test_joined_scopes_cover_what_either_does(
    one: KeyScope, other: KeyScope, joined: str
) -> None:
    for scope in (one.joined(other), other.joined(one)):
        assert {name for name in "abc" if covers(scope, name)} == set(joined)


def test_a_scope_of_all_keys_has_no_tag_and_every_other_its_own() -> None:
    scopes = [
        only(), only("a"), only("a", "b"), only("ab"),
        all_but("a"), all_but("a", "b"),
    ]  # fmt: skip

    assert ALL_KEYS.tag == only().joined(ALL_KEYS).tag == ""
    assert len({scope.tag for scope in scopes}) == len(scopes)


def test_ignoring_a_key_that_is_listed_is_not_listing_it() -> None:
    assert only("a", "b").without({"b"}).tag == only("a").tag


def test_a_list_of_keys_may_have_blanks_and_gaps() -> None:
    assert key_list(" a, b.c ,,") == {"a", "b.c"}


# --- what pods use -----------------------------------------------------------------

ITEMS = [
    {"key": "a", "path": "a.conf"},
    {"key": "b", "path": "more/b.conf"},
    {"key": "c", "path": "more/c.conf"},
]
VOLUMES: list[Json] = [
    {"name": "all", "configMap": {"name": "c"}},
    {"name": "some", "configMap": {"name": "c", "items": ITEMS}},
    {"name": "secret", "secret": {"secretName": "s", "items": ITEMS[:1]}},
    {"name": "both", "projected": {"sources": [
        {"configMap": {"name": "c", "items": ITEMS[1:]}},
        {"secret": {"name": "s", "items": ITEMS[:1]}},
    ]}},
]  # fmt: skip


def using(*mounts: Json, init: bool = False, **fields: object) -> PodSpec:
    user = {"name": "app", "volumeMounts": mounts, **fields}
    containers = [{"name": "other"}] if init else [user]
    return PodSpec.model_validate(
        {
            "containers": containers,
            "initContainers": [user] if init else [],
            "volumes": VOLUMES,
        }
    )


def mount(name: str, **fields: str) -> Json:
    return {"name": name, **fields}


def variable(key: str, **field: str) -> Json:
    ((kind, name),) = field.items()
    return {"name": "V", "valueFrom": {kind: {"name": name, "key": key}}}


@pytest.mark.parametrize(
    ("pod", "used"),
    [
        pytest.param(
            using(env=[variable("a", configMapKeyRef="c")]), {"a"}, id="a variable"
        ),
        pytest.param(
            using(
                env=[
                    variable("a", configMapKeyRef="c"),
                    variable("b", configMapKeyRef="c"),
                    variable("z", secretKeyRef="c"),
                    variable("y", configMapKeyRef="other"),
                ]
            ),
            {"a", "b"},
            id="variables",
        ),
        pytest.param(
            using(envFrom=[{"prefix": "P_", "configMapRef": {"name": "c"}}]),
            None,
            id="all as variables, whatever the prefix",
        ),
        pytest.param(using(mount("all")), None, id="a volume"),
        pytest.param(using(mount("some")), {"a", "b", "c"}, id="items"),
        pytest.param(using(mount("all", subPath="b")), {"b"}, id="a file of a volume"),
        pytest.param(
            using(mount("some", subPath="a.conf")), {"a"}, id="a file of an item"
        ),
        pytest.param(
            using(mount("some", subPath="./more/b.conf")),
            {"b"},
            id="a path that is written in another way",
        ),
        pytest.param(
            using(mount("some", subPath="more")), {"b", "c"}, id="a directory of items"
        ),
        pytest.param(
            using(mount("all", subPathExpr="$(POD_NAME)")), None, id="nobody knows"
        ),
        pytest.param(using(mount("both")), {"b", "c"}, id="projected"),
        pytest.param(
            using(mount("both", subPath="more/c.conf")), {"c"}, id="a projected file"
        ),
        pytest.param(
            using(mount("all", subPath="b"), mount("some", subPath="a.conf")),
            {"a", "b"},
            id="two mounts",
        ),
        pytest.param(
            using(mount("all"), env=[variable("a", configMapKeyRef="c")]),
            None,
            id="all of it, and a key besides",
        ),
        pytest.param(
            using(mount("all", subPath="b"), init=True), {"b"}, id="an init container"
        ),
    ],
)  # fmt: skip
def test_pods_use_the_keys_that_they_refer_to(
    pod: PodSpec, used: set[str] | None
) -> None:
    """A7; `None` for all."""
    expected = ALL_KEYS if used is None else only(*used)

    assert used_keys(pod, CONFIG) == expected


def test_pods_that_do_not_use_a_source_use_no_keys_of_it() -> None:
    assert used_keys(using(mount("secret")), CONFIG) is None


def test_pods_use_keys_of_secrets_alike() -> None:
    pod = using(mount("secret"), env=[variable("k", secretKeyRef="s")])

    assert used_keys(pod, SECRET) == only("a", "k")


# --- hashes ------------------------------------------------------------------------


def test_a_hash_over_some_keys_changes_with_these_and_no_others() -> None:
    scope = only("a", "b")
    before = config_map_digest({"a": "1", "x": "1"}, {"b": b"\xff"}).within(scope)

    def after(data: dict[str, str], **binary: bytes) -> Digest:
        return config_map_digest(data, binary).within(scope)

    assert after({"a": "1", "x": "2"}, b=b"\xff").recorded == before.recorded
    assert after({"a": "1"}, b=b"\xff", y=b"").recorded == before.recorded
    assert after({"a": "2", "x": "1"}, b=b"\xff").recorded != before.recorded
    assert after({"a": "1", "x": "1"}, b=b"\xfe").recorded != before.recorded
    assert after({"a": "1", "x": "1"}).recorded != before.recorded  # a key has gone


def test_all_keys_leave_the_hash_that_everybody_makes() -> None:
    digest = secret_digest({"a": b"1"})

    assert digest.within(ALL_KEYS) is digest
    assert digest.within(only("a")).marker != digest.marker


def test_neither_keys_nor_values_can_be_read_from_the_hashes() -> None:
    text = repr(secret_digest({"password": b"hunter2"}))

    assert "password" not in text
    assert "hunter2" not in text


def test_two_keys_take_forty_characters() -> None:
    assert len(secret_digest({"a": b"1" * 10_000, "b": b""}).pieces) == 40


# --- decisions ---------------------------------------------------------------------


def source(**data: str) -> Source:
    key = SourceKey(SourceKind.CONFIG_MAP, "shop", "c")
    return Source(key, config_map_digest(data, {}), {})


def within(scope: KeyScope, **data: str) -> Source:
    whole = source(**data)
    return whole._replace(digest=whole.digest.within(scope))


def plan(now: Source, had: str, happened: Happened | None = None) -> Plan | None:
    annotations = {
        AUTO: "true",
        "reloader.stakater.com/reload-on-delete": "true",
        RECORD: json.dumps({"cm/c": had}),
    }
    container = {"name": "app", "envFrom": [{"configMapRef": {"name": "c"}}]}
    template = PodTemplateSpec.model_validate({"spec": {"containers": [container]}})
    workload = Workload(
        WorkloadKey("Deployment", "shop", "web"),
        Meta(annotations=annotations),
        template,
    )
    policy = read_policy(annotations, {}, ReloadOptions())
    there = [] if now.digest == DELETED else [now]
    return decide(workload, policy, there, happened or Happened())


def reloads(now: Source, had: str) -> bool:
    made = plan(now, had)
    return made is not None and bool(made.markers)


def test_a_key_in_scope_reloads_and_another_does_not() -> None:
    scope = only("a")
    had = within(scope, a="1", b="1").digest.recorded

    assert plan(within(scope, a="1", b="2"), had) is None
    assert reloads(within(scope, a="2", b="1"), had)


@pytest.mark.parametrize(
    ("before", "now"),
    [
        pytest.param(ALL_KEYS, only("a"), id="a scope is added"),
        pytest.param(only("a"), ALL_KEYS, id="a scope is taken away"),
        pytest.param(only("a"), only("a", "b"), id="a key more"),
        pytest.param(all_but("a"), all_but("b"), id="another key is ignored"),
    ],
)
def test_another_scope_is_adopted(before: KeyScope, now: KeyScope) -> None:
    data = {"a": "1", "b": "1"}

    made = plan(within(now, **data), within(before, **data).digest.recorded)

    assert made is not None
    assert made.markers == ()
    assert made.record == {"cm/c": within(now, **data).digest.recorded}


def test_a_change_is_not_lost_when_a_scope_is_added_with_it() -> None:
    """Whether it was in the scope cannot be told any more."""
    assert reloads(within(only("a"), a="2"), source(a="1").digest.recorded)


def test_a_source_that_was_gone_is_new_in_any_scope() -> None:
    gone = source()._replace(digest=DELETED)
    scoped = within(only("a"), a="1")

    assert reloads(gone, scoped.digest.recorded)
    assert reloads(scoped, DELETED.recorded)


def test_the_marker_of_some_keys_is_believed_and_so_is_that_of_all() -> None:
    scoped = within(only("a"), a="1", b="1").digest

    assert scoped.is_marked({scoped.marker})
    assert scoped.is_marked({source(a="1", b="1").digest.marker})
    assert not scoped.is_marked({source(a="1", b="2").digest.marker})
    assert within(only("a"), a="1", b="2").digest.is_marked({scoped.marker})


# --- what is asked for -------------------------------------------------------------


def scope_of(
    annotations: dict[str, str],
    template: dict[str, str] | None = None,
    of_source: dict[str, str] | None = None,
    configs: tuple[Asks, ...] = (),
    used: KeyScope | None = only("used"),  # noqa: B008 - a constant
) -> KeyScope:
    policy = read_policy(annotations, template or {}, ReloadOptions())
    asked = source()._replace(annotations=of_source or {})
    wishes = [claim(asks) for asks in configs]
    policy = merged(policy, wishes)
    return policy.scope(asked, policy.match_from("shop", asked), lambda: used)


class Asks(NamedTuple):
    """A config, as far as keys matter."""

    watched: Watched
    key_rules: tuple[KeyRule, ...] = ()


def claim(asks: Asks) -> Claim:
    web = WorkloadKey("Deployment", "shop", "web")
    config = Config(
        NamespacedName("shop", "config"), asks.watched, key_rules=asks.key_rules
    )
    return Claim(config, Target("", "shop", "web"), web, lambda _: None)


def wanting(*keys: str, **fields: Any) -> Asks:
    """Watch the ConfigMap `c`, and some of its keys."""
    names = NameList(frozenset("c"))
    watched = Watched(**{"names": {SourceKind.CONFIG_MAP: names}, **fields})
    return Asks(watched, (KeyRule(SourceKind.CONFIG_MAP, names, frozenset(keys)),))


NOT_THIS = Asks(Watched(names={SourceKind.SECRET: NameList(frozenset("c"))}))
LISTED = {"configmap.reloader.stakater.com/reload": "c"}


@pytest.mark.parametrize(
    ("scope", "expected"),
    [
        pytest.param(scope_of({}), ALL_KEYS, id="nothing"),
        pytest.param(scope_of({SCOPE: "object"}), ALL_KEYS, id="object"),
        pytest.param(scope_of({SCOPE: "keys"}), only("used"), id="keys"),
        pytest.param(scope_of({}, {SCOPE: "keys"}), only("used"), id="on the template"),
        pytest.param(scope_of({IGNORE: "a"}), all_but("a"), id="ignored"),
        pytest.param(
            scope_of({IGNORE: "a"}, {IGNORE: "b"}, {IGNORE: "c, d"}),
            all_but("a", "b", "c", "d"),
            id="ignored at three places",
        ),
        pytest.param(
            scope_of({SCOPE: "keys"}, used=None), ALL_KEYS, id="keys of what is unused"
        ),
    ],
)
def test_workload_source_and_config_say_which_keys_count(
    scope: KeyScope, expected: KeyScope
) -> None:
    assert scope == expected


@pytest.mark.parametrize(
    ("scope", "expected"),
    [
        pytest.param(scope_of({}, configs=(wanting("a"),)), only("a"), id="one"),
        pytest.param(scope_of({}, configs=(wanting(),)), ALL_KEYS, id="one, all keys"),
        pytest.param(
            scope_of({}, configs=(wanting("a"), NOT_THIS, wanting("b"))),
            only("a", "b"),
            id="two, and one of something else",
        ),
        pytest.param(
            scope_of(
                {},
                configs=(wanting("a"), wanting("b", names={}, uses=True)),
                used=None,
            ),
            only("a"),
            id="two, of which one wants what is used, and it is not",
        ),
        pytest.param(
            scope_of({AUTO: "true"}, configs=(wanting("a"),)),
            ALL_KEYS,
            id="and auto",
        ),
        pytest.param(
            scope_of({AUTO: "true"}, configs=(wanting("a"),), used=None),
            only("a"),
            id="and auto, but it is not used",
        ),
        pytest.param(
            scope_of({AUTO: "true", SCOPE: "keys"}, configs=(wanting("a"),)),
            only("a", "used"),
            id="and auto by keys",
        ),
        pytest.param(
            scope_of(LISTED, configs=(wanting("a"),), used=None),
            ALL_KEYS,
            id="and a list",
        ),
        pytest.param(
            scope_of({IGNORE: "a"}, configs=(wanting("a", "b"),)),
            only("a", "b").without({"a"}),
            id="and what is ignored",
        ),
    ],
)
def test_what_configs_want_is_added_to_what_annotations_do(
    scope: KeyScope, expected: KeyScope
) -> None:
    assert scope == expected


def test_a_scope_that_is_none_is_a_problem_and_no_scope() -> None:
    policy = read_policy({SCOPE: "key"}, {}, ReloadOptions())

    (problem,) = policy.problems
    assert problem == Problem(SCOPE, "'key' is none of object, keys")
    assert not policy.by_keys
