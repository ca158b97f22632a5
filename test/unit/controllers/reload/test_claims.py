"""What ReloaderConfigs claim, and who wins."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

import pytest

from api.core.v1 import PodTemplateSpec
from api.reload.v1alpha1 import ReloaderConfig
from controller_runtime import Json, Meta, NamespacedName
from controllers.reload.annotations import read_policy
from controllers.reload.configs import Configs
from controllers.reload.configs.asked import read_config
from controllers.reload.configs.claims import Claim, Config, conflicts, merged
from controllers.reload.options import ReloadOptions, Strategy
from controllers.reload.plan import Marker
from controllers.reload.policy import Match
from controllers.reload.rollout import decide
from controllers.reload.sources import Source, SourceKey, SourceKind
from controllers.reload.sources.digest import secret_digest
from controllers.reload.sources.keys import ALL_KEYS, KeyScope
from controllers.reload.terms import Dependency, Limit
from controllers.reload.workloads import Workload, WorkloadKey

WEB = WorkloadKey("Deployment", "shop", "web")
TARGET: Json = {"kind": "Deployment", "name": "web"}
S = SourceKey(SourceKind.SECRET, "shop", "s")
NOTHING = secret_digest({})


def config(name: str = "x", /, *, reaches_out: bool = False, **spec: object) -> Config:
    body = {"metadata": {"name": name, "namespace": "shop"}, "spec": spec}
    model = ReloaderConfig.model_validate(body)
    return read_config(model, allow_cross_namespace=reaches_out)


def claim(of: Config, labels: Mapping[str, str] | None = None) -> Claim:
    found = of.target(WEB, labels or {})
    assert found is not None
    return Claim(of, found, WEB, lambda namespace: {"name": namespace})


def source(key: SourceKey = S, **labels: str) -> Source:
    return Source(key, NOTHING, {}, labels=labels)


def named(*secrets: str, **more: object) -> Json:
    return {"watchedResources": {"secrets": secrets, **more}, "targets": [TARGET]}


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        pytest.param(named("s"), Match.EXPLICIT, id="named"),
        pytest.param(named("t"), None, id="another"),
        pytest.param(named("/[rs]/"), Match.EXPLICIT, id="pattern"),
        pytest.param(named("/x|s./"), None, id="pattern-of-a-part"),
        pytest.param(named("s", enableTargetedReload=True), Match.EXPLICIT, id="mode"),
        pytest.param(
            named("s", enableTargetedReload=True)
            | {"targets": [TARGET | {"requireReference": True}]},
            Match.AUTO,
            id="targeted",
        ),
        pytest.param(
            named("s") | {"targets": [TARGET | {"requireReference": True}]},
            Match.EXPLICIT,
            id="required-without-mode",
        ),
        pytest.param(
            {"autoReloadAll": True, "targets": [TARGET]}, Match.AUTO, id="uses"
        ),
        pytest.param({"targets": [TARGET]}, None, id="nothing"),
        pytest.param(
            {"matchLabels": {"a": "b"}, "targets": [TARGET]}, Match.AUTO, id="labels"
        ),
        pytest.param(named("s") | {"matchLabels": {"a": "c"}}, None, id="other-labels"),
        pytest.param(
            named("s") | {"ignoreResources": [{"kind": "Secret", "name": "s"}]},
            None,
            id="ignored",
        ),
        pytest.param(
            named("s")
            | {
                "ignoreResources": [
                    {"kind": "Secret", "name": "s", "namespace": "vault"},
                    {"kind": "ConfigMap", "name": "s"},
                ]
            },
            Match.EXPLICIT,
            id="another-ignored",
        ),
        pytest.param(
            named(resourceSelector={"matchLabels": {"a": "b"}}),
            Match.EXPLICIT,
            id="selected",
        ),
        pytest.param(
            named(resourceSelector={"matchLabels": {"a": "c"}}), None, id="unselected"
        ),
    ],
)
def test_a_source_matches_as_the_config_says(
    spec: Json, expected: Match | None
) -> None:
    assert claim(config(**spec)).match(source(a="b")) is expected


def test_sources_of_other_namespaces_have_to_be_selected() -> None:
    foreign = source(SourceKey(SourceKind.SECRET, "vault", "s"))
    selector = {"matchLabels": {"name": "vault"}}
    here = claim(config(**named("s") | {"autoReloadAll": True}))
    there = claim(
        config(reaches_out=True, **named("s", namespaceSelector=selector)),
    )

    assert here.match(foreign) is None
    assert there.match(foreign) is Match.EXPLICIT
    assert there.match(source()) is Match.EXPLICIT, "what is named counts besides"


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        (named("s", namespaceSelector={}), "spec.watchedResources.namespaceSelector"),
        (
            named("s") | {"targets": [TARGET | {"namespace": "vault"}]},
            "spec.targets[0].namespace",
        ),
        (named("s", "/a(/"), "spec.watchedResources.secrets[1]"),
        (named("s", "/(?=a)/"), "spec.watchedResources.secrets[1]"),
        (named("s", *["/a/"] * 101), "spec.watchedResources.secrets"),
        (named("s") | {"matchLabels": {"a": "no label"}}, "spec.matchLabels"),
        (
            named("s")
            | {"targets": [{"kind": "*", "selector": {"matchLabels": {"a": "b c"}}}]},
            "spec.targets[0].selector",
        ),
    ],
)
def test_what_cannot_be_obeyed_is_named_and_left_out(spec: Json, field: str) -> None:
    read = config(**spec)

    assert [problem.annotation for problem in read.problems] == [field]
    assert not any(target.namespace == "vault" for target in read.targets)
    assert read.watched.resources is None


def test_a_selector_of_namespaces_takes_their_labels() -> None:
    spec = named("s", namespaceSelector={})
    body = {"metadata": {"name": "x", "namespace": "shop"}, "spec": spec}
    model = ReloaderConfig.model_validate(body)

    read = read_config(model, allow_cross_namespace=True, sees_namespaces=False)

    assert [p.annotation for p in read.problems] == [
        "spec.watchedResources.namespaceSelector"
    ]
    assert read.watched.resources is None


def test_a_marker_names_all_who_want_it() -> None:
    pod = {"containers": [{"name": "app"}]}
    template = PodTemplateSpec.model_validate({"spec": pod})
    record = {"reloader.stakater.com/applied-hashes": '{"secret/s":"old"}'}
    listed = {"secret.reloader.stakater.com/reload": "s"}
    claims = [claim(config("a", **named("s"))), claim(config("b", **named("s")))]

    def marker(annotations: dict[str, str], wishes: list[Claim]) -> Marker:
        policy = merged(read_policy(annotations, {}, ReloadOptions()), wishes)
        meta = Meta(annotations=record | annotations)
        plan = decide(Workload(WEB, meta, template), policy, [source()])
        assert plan is not None
        (found,) = plan.markers
        assert plan.triggers is bool(wishes)
        return found

    both = tuple(it.config for it in claims)
    by_configs, by_all = marker({}, claims), marker(listed, claims)
    by_annotations = marker(listed, [])

    assert (by_configs.configs, by_configs.is_annotated) == (both, False)
    assert (by_all.configs, by_all.is_annotated) == (both, True)
    assert (by_annotations.configs, by_annotations.is_annotated) == ((), True)
    assert by_configs.content == NOTHING.canonical


def test_labels_that_cannot_be_read_match_nothing() -> None:
    read = config(**named("s") | {"matchLabels": {"a": "no label"}})

    assert claim(read).match(source(a="no label")) is None


def test_a_target_by_name_goes_before_one_by_labels() -> None:
    read = config(
        targets=[
            {"kind": "*", "selector": {}, "pausePeriod": "1h"},
            TARGET | {"pausePeriod": "1m"},
        ]
    )

    assert claim(read).target.cooldown == timedelta(minutes=1)


def test_of_two_ways_the_first_config_by_name_decides_and_the_other_is_told() -> None:
    first = config("a", **named("s"))
    second = config(
        "b",
        **named("s") | {"reloadStrategy": "annotations", "rolloutStrategy": "restart"},
    )
    claims = [claim(first), claim(second)]

    policy = merged(read_policy({}, {}, ReloadOptions()), claims)
    found = list(conflicts(claims))

    assert policy.strategy is Strategy.ENV_VARS
    assert not policy.restarts
    assert [it.field for it in found] == ["reloadStrategy", "rolloutStrategy"]
    assert {it.loser for it in found} == {second.key}
    assert "ReloaderConfig shop/a" in found[0].problem.reason


def test_which_keys_count_is_said_by_name_before_pattern() -> None:
    scopes = [
        {"kind": "Secret", "name": "/.*/", "keys": ["a"]},
        {"kind": "Secret", "name": "s", "keys": ["b"], "ignoreKeys": ["c"]},
    ]
    of = claim(config(**named("s", "t", keyScopes=scopes), ignoreKeys=["stamp"]))
    other = source(S._replace(name="t"))
    map_ = source(S._replace(kind=SourceKind.CONFIG_MAP))

    assert of.keys(source()) == KeyScope(frozenset("b"), frozenset({"c", "stamp"}))
    assert of.keys(other) == KeyScope(frozenset("a"), frozenset({"stamp"}))
    assert of.keys(map_) == KeyScope(ignored=frozenset({"stamp"}))


def test_what_limits_reloads_adds_up() -> None:
    first = config(
        "a",
        **named("s")
        | {
            "targets": [TARGET | {"pausePeriod": "5m"}],
            "minInterval": "1m",
            "maxConcurrent": 2,
            "suspend": True,
            "dependsOn": [{"kind": "StatefulSet", "name": "db"}],
        },
    )
    second = config(
        "b",
        **named("s")
        | {
            "minInterval": "1h",
            "window": {"schedule": "0 2 * * *", "duration": "1h"},
            "onFailure": "Rollback",
        },
    )

    policy = read_policy({}, {}, ReloadOptions())
    terms = merged(policy, [claim(first), claim(second)]).terms

    assert terms.cooldown == timedelta(minutes=5)
    assert terms.min_interval == timedelta(hours=1)
    assert terms.max_concurrent == (Limit(first.key, 2),)
    assert terms.suspended_configs == {first.key}
    assert terms.after == (Dependency("StatefulSet", "db"),)
    assert [window.schedule for window in terms.windows] == ["0 2 * * *"]
    assert terms.rolls_back


def test_a_workload_that_is_ignored_has_no_claims() -> None:
    ignored = {"reloader.stakater.com/ignore": "true"}
    policy = read_policy(ignored, {}, ReloadOptions())

    assert not merged(policy, [claim(config(**named("s")))]).asks


# --- all of them -------------------------------------------------------------------


def test_claims_come_in_the_order_of_names() -> None:
    configs = Configs()
    for name in ("b", "a", "c"):
        configs.put(config(name, **named("s")))
    configs.put(config("0", targets=[TARGET | {"name": "api"}]))

    found = configs.claims(WEB, {})

    assert [it.config.name for it in found] == ["a", "b", "c"]


def test_news_of_a_source_reach_what_is_bound_to_it() -> None:
    configs = Configs()
    configs.put(config("names", **named("s")))
    configs.put(config("uses", autoReloadAll=True, targets=[TARGET]))
    other = SourceKey(SourceKind.SECRET, "shop", "other")
    used = SourceKey(SourceKind.CONFIG_MAP, "shop", "c")

    assert set(configs.affected(S)) == set()
    configs.bind(WEB, configs.claims(WEB, {}), [used])

    assert set(configs.affected(S)) == {WEB}
    assert set(configs.affected(used)) == {WEB}
    assert set(configs.affected(other)) == set()
    assert set(configs.affected(S._replace(namespace="vault"))) == set()


@pytest.mark.parametrize(
    "watched",
    [{"secrets": ["/s.*/"]}, {"resourceSelector": {}}, {"namespaceSelector": {}}],
    ids=["pattern", "labels", "namespaces"],
)
def test_news_reach_those_who_cannot_name_their_sources(watched: Json) -> None:
    configs = Configs()
    spec: Json = {"watchedResources": watched, "targets": [TARGET]}
    configs.put(config(reaches_out=True, **spec))
    configs.bind(WEB, configs.claims(WEB, {}), [])

    assert set(configs.affected(S)) == {WEB}


def test_labels_of_sources_matter_while_somebody_selects_by_them() -> None:
    configs = Configs()
    configs.put(config(**named("s")))
    assert not configs.want_labels

    configs.put(config("y", **named("s") | {"matchLabels": {"a": "b"}}))
    assert configs.want_labels

    configs.drop(NamespacedName("shop", "y"))
    assert not configs.want_labels


def test_a_selector_covers_workloads_of_any_kind_by_their_labels() -> None:
    configs = Configs()
    selector = {"matchLabels": {"team": "a"}}
    configs.put(config(targets=[{"kind": "StatefulSet", "selector": selector}]))
    db = NamespacedName("shop", "db")

    assert configs.covers(db, {"team": "a"})
    assert not configs.covers(db, {"team": "b"})
    assert not configs.covers(NamespacedName("vault", "db"), {"team": "a"})
    assert configs.claims(WorkloadKey("StatefulSet", *db), {"team": "a"})
    assert not configs.claims(WorkloadKey("Deployment", *db), {"team": "a"})


def keys_of(name: str, *scopes: Json) -> KeyScope:
    """Read which keys of a Secret count."""
    asked = claim(config(**named(name, keyScopes=scopes)))
    return asked.keys(source(S._replace(name=name)))


def scope(name: str, kind: str = "Secret", **keys: list[str]) -> Json:
    return {"kind": kind, "name": name, **keys}


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        pytest.param(keys_of("s"), ALL_KEYS, id="nothing is said"),
        pytest.param(keys_of("s", scope("s")), ALL_KEYS, id="nothing of keys"),
        pytest.param(
            keys_of("s", scope("s", keys=["a"])), KeyScope(frozenset("a")), id="keys"
        ),
        pytest.param(
            keys_of("s", scope("s", ignoreKeys=["a"])),
            KeyScope(ignored=frozenset("a")),
            id="all but some",
        ),
        pytest.param(
            keys_of("s", scope("s", keys=["a", "b"], ignoreKeys=["b"])),
            KeyScope(frozenset("ab"), frozenset("b")),
            id="both",
        ),
        pytest.param(
            keys_of("s", scope("/.*/", keys=["a"]), scope("s", keys=["b"])),
            KeyScope(frozenset("b")),
            id="a name goes before a pattern",
        ),
        pytest.param(
            keys_of("s", scope("s", "ConfigMap", keys=["a"])),
            ALL_KEYS,
            id="of another kind",
        ),
        pytest.param(
            keys_of("s", scope("/s[/", keys=["a"]), scope("/s/", keys=["b"])),
            KeyScope(frozenset("b")),
            id="a pattern that cannot be read",
        ),
    ],
)
def test_a_config_may_want_some_keys_of_a_source(
    keys: KeyScope, expected: KeyScope
) -> None:
    """A7."""
    assert keys == expected


def test_the_loser_of_a_conflict_is_told_among_its_problems() -> None:
    configs = Configs()
    configs.put(config("a", **named("s", "/a(/")))
    configs.put(config("b", **named("s") | {"reloadStrategy": "annotations"}))
    configs.bind(WEB, configs.claims(WEB, {}), [])

    def fields(name: str) -> list[str]:
        return [p.annotation for p in configs.problems(NamespacedName("shop", name))]

    assert fields("a") == ["spec.watchedResources.secrets[1]"]
    assert fields("b") == ["spec.reloadStrategy"]
    assert fields("c") == []


def test_nothing_is_kept_of_what_is_gone() -> None:
    configs = Configs()
    for number in range(10):
        spec = named("s", "/t/", namespaceSelector={})
        configs.put(config(f"x{number}", reaches_out=True, **spec, autoReloadAll=True))
    configs.bind(WEB, configs.claims(WEB, {}), [S])
    before = vars(Configs()).keys()

    for number in range(10):
        configs.drop(NamespacedName("shop", f"x{number}"))
    configs.bind(WEB, configs.claims(WEB, {}), [S])

    assert len(configs) == 0
    for name in before - {"labels_of"}:
        held = getattr(configs, name)
        assert not getattr(held, "_sets", held), name


def test_all_patterns_of_a_config_share_their_steps() -> None:
    """However they are spread over its lists."""
    slow = "/(?:[a-z0-9]?){500}(?:[a-y]?){400}x%d/"
    scopes = [
        {"kind": "Secret", "name": slow % number, "keys": ["k"]} for number in range(9)
    ]

    one = config(
        watchedResources={"secrets": [slow % 10, "s"], "keyScopes": scopes},
        targets=[TARGET],
    )

    refused = [problem for problem in one.problems if "too slow" in problem.reason]
    assert len(refused) == 9
    assert claim(one).match(source()) is Match.EXPLICIT
