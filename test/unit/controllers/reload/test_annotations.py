"""Which sources a workload reloads for, rule by rule."""

from __future__ import annotations

from dataclasses import replace

import pytest

from controllers.reload.annotations import read_policy
from controllers.reload.options import AnnotationKeys, ReloadOptions, Strategy
from controllers.reload.policy import PROBLEMS_MAX, Match, Problem, ReloadPolicy
from controllers.reload.sources import Source, SourceKey, SourceKind
from controllers.reload.sources.digest import secret_digest

AUTO = "reloader.stakater.com/auto"
CONFIGMAPS_AUTO = "configmap.reloader.stakater.com/auto"
SECRETS_AUTO = "secret.reloader.stakater.com/auto"
CONFIGMAPS_RELOAD = "configmap.reloader.stakater.com/reload"
SECRETS_RELOAD = "secret.reloader.stakater.com/reload"
CONFIGMAPS_EXCLUDE = "configmaps.exclude.reloader.stakater.com/reload"
SECRETS_EXCLUDE = "secrets.exclude.reloader.stakater.com/reload"
SEARCH = "reloader.stakater.com/search"
MATCH = "reloader.stakater.com/match"
IGNORE = "reloader.stakater.com/ignore"
STRATEGY = "reloader.stakater.com/reload-strategy"
ON_CREATE = "reloader.stakater.com/reload-on-create"
ON_DELETE = "reloader.stakater.com/reload-on-delete"


def config_map(name: str = "c", **annotations: str) -> Source:
    return source(SourceKind.CONFIG_MAP, name, annotations)


def secret(name: str = "s", **annotations: str) -> Source:
    return source(SourceKind.SECRET, name, annotations)


def source(kind: SourceKind, name: str, annotations: dict[str, str]) -> Source:
    return Source(SourceKey(kind, "shop", name), secret_digest({}), annotations)


def policy(
    metadata: dict[str, str],
    template: dict[str, str] | None = None,
    *,
    auto_reload_all: bool = False,
) -> ReloadPolicy:
    options = ReloadOptions(auto_reload_all=auto_reload_all)
    return read_policy(metadata, template or {}, options)


@pytest.mark.parametrize(
    ("metadata", "of_config_map", "of_secret"),
    [
        pytest.param({}, None, None, id="no annotation"),
        pytest.param({AUTO: "true"}, Match.AUTO, Match.AUTO, id="auto"),
        pytest.param({AUTO: "false"}, None, None, id="auto is off"),
        pytest.param({CONFIGMAPS_AUTO: "true"}, Match.AUTO, None, id="one kind's auto"),
        pytest.param({SECRETS_AUTO: "true"}, None, Match.AUTO, id="the other kind's"),
        pytest.param(
            {AUTO: "false", SECRETS_AUTO: "true"},
            *(None, Match.AUTO),
            id="a kind's auto beats that of all",
        ),
        pytest.param({CONFIGMAPS_RELOAD: "c"}, Match.EXPLICIT, None, id="by name"),
        pytest.param({SECRETS_RELOAD: "s"}, None, Match.EXPLICIT, id="Secret by name"),
        pytest.param({SECRETS_RELOAD: "c"}, None, None, id="a name of the other kind"),
        pytest.param(
            {CONFIGMAPS_RELOAD: "c", AUTO: "false"},
            *(Match.EXPLICIT, None),
            id="a name counts though auto is off",
        ),
        pytest.param(
            {CONFIGMAPS_RELOAD: "c", AUTO: "true"},
            *(Match.EXPLICIT, Match.AUTO),
            id="a name goes before auto",
        ),
        pytest.param(
            {AUTO: "true", CONFIGMAPS_EXCLUDE: "a, c"},
            *(None, Match.AUTO),
            id="excluded from auto",
        ),
        pytest.param(
            {SECRETS_RELOAD: "s", SECRETS_EXCLUDE: "s"},
            *(None, None),
            id="excluded though named",
        ),
        pytest.param(
            {AUTO: "true", CONFIGMAPS_EXCLUDE: ".*"},
            *(Match.AUTO, Match.AUTO),
            id="excluded names are no patterns",
        ),
        pytest.param({AUTO: "true", IGNORE: "true"}, None, None, id="ignored"),
        pytest.param(
            {AUTO: "true", IGNORE: "True"},
            *(Match.AUTO, Match.AUTO),
            id="ignore wants exactly `true`",
        ),
    ],
)
def test_annotations_of_the_workload_decide(
    metadata: dict[str, str], of_config_map: Match | None, of_secret: Match | None
) -> None:
    decided = policy(metadata)

    assert decided.match(config_map("c")) is of_config_map
    assert decided.match(secret("s")) is of_secret


@pytest.mark.parametrize("text", ["1", "t", "T", "TRUE", "true", "True"])
def test_auto_is_on_for_what_go_calls_true(text: str) -> None:
    assert policy({AUTO: text}).match(secret()) is Match.AUTO


@pytest.mark.parametrize("text", ["0", "f", "F", "FALSE", "false", "False", ""])
def test_auto_is_off_for_what_go_calls_false_and_nobody_complains(text: str) -> None:
    decided = policy({AUTO: text})

    assert decided.match(secret()) is None
    assert decided.problems == ()


@pytest.mark.parametrize("text", ["yes", "tRUE", " true", "on"])
def test_auto_that_cannot_be_read_is_off_and_a_single_problem(text: str) -> None:
    decided = policy({AUTO: text, CONFIGMAPS_AUTO: "true"})

    assert decided.match(secret()) is None
    assert decided.match(config_map()) is Match.AUTO
    assert [p.annotation for p in decided.problems] == [AUTO]
    assert repr(text) in decided.problems[0].reason


@pytest.mark.parametrize(
    ("source", "match"),
    [
        pytest.param(config_map(**{MATCH: "true"}), Match.AUTO, id="tagged"),
        pytest.param(config_map(), None, id="not tagged"),
        pytest.param(config_map(**{MATCH: "True"}), None, id="tagged otherwise"),
        pytest.param(
            config_map(**{MATCH: "true", IGNORE: "true"}), None, id="tagged, ignored"
        ),
    ],
)
def test_search_finds_what_carries_match(source: Source, match: Match | None) -> None:
    assert policy({SEARCH: "true"}).match(source) is match


def test_search_wants_exactly_true() -> None:
    assert policy({SEARCH: "1"}).match(config_map(**{MATCH: "true"})) is None


def test_match_without_search_means_nothing() -> None:
    assert policy({AUTO: "false"}).match(config_map(**{MATCH: "true"})) is None


@pytest.mark.parametrize(
    "metadata", [{AUTO: "true"}, {CONFIGMAPS_RELOAD: "c"}, {CONFIGMAPS_AUTO: "true"}]
)
def test_an_ignored_source_reloads_nothing(metadata: dict[str, str]) -> None:
    assert policy(metadata).match(config_map("c", **{IGNORE: "true"})) is None


@pytest.mark.parametrize(
    ("listed", "name", "is_match"),
    [
        pytest.param("a,b", "b", True, id="one of several"),
        pytest.param(" a , b ,", "b", True, id="blanks and empty items"),
        pytest.param("a-b", "a-b", True, id="a plain name"),
        pytest.param("a", "ab", False, id="a plain name is a whole name"),
        pytest.param("app-.*", "app-x", True, id="a pattern"),
        pytest.param("app-.*", "my-app-x", False, id="anchored at its start"),
        pytest.param(".*-app", "my-app-x", False, id="anchored at its end"),
        pytest.param("foo|bar", "bar", True, id="an alternative"),
        pytest.param("foo|bar", "foobar", False, id="alternatives are anchored, left"),
        pytest.param("foo|bar", "xbar", False, id="alternatives are anchored, right"),
        pytest.param("a.b", "a.b", True, id="a dot is itself"),
        pytest.param("a.b", "axb", True, id="a dot is any character, too"),
        pytest.param("(?i)APP", "app", True, id="flags"),
        pytest.param("", "a", False, id="nothing"),
        pytest.param(",", "", False, id="nothing matches no name"),
    ],
)
def test_names_are_a_list_of_anchored_patterns(
    listed: str, name: str, is_match: bool
) -> None:
    """Scenario 42, among others."""
    decided = policy({CONFIGMAPS_RELOAD: listed})

    assert (decided.match(config_map(name)) is Match.EXPLICIT) is is_match
    assert decided.problems == ()


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param("app-config[", id="no end"),
        pytest.param("a)|(b", id="balanced only when wrapped"),
        pytest.param("(?=a)a", id="look-ahead"),
        pytest.param(r"(a)\1", id="back-reference"),
        pytest.param("((a{100}){100}){100}", id="a billion states"),
        pytest.param("a." * 600, id="more than 1024 characters"),
    ],
)
def test_a_bad_pattern_is_left_out_and_the_others_count(
    bad: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """Scenario 22."""
    decided = policy({SECRETS_RELOAD: f"{bad},app-.*,db"})

    assert decided.match(secret("app-1")) is Match.EXPLICIT
    assert decided.match(secret("db")) is Match.EXPLICIT
    assert [p.annotation for p in decided.problems] == [SECRETS_RELOAD]
    assert capfd.readouterr().err == "", "RE2 printed by itself"


def test_a_problem_quotes_no_more_of_a_pattern_than_an_event_may_hold() -> None:
    (problem,) = policy({SECRETS_RELOAD: "x." * 2000}).problems

    assert len(problem.reason) < 200


def test_patterns_beyond_a_hundred_are_left_out_and_a_single_problem() -> None:
    listed = ",".join(f"p{n}.*" for n in range(150))

    decided = policy({SECRETS_RELOAD: listed})

    assert decided.match(secret("p99")) is Match.EXPLICIT
    assert len(decided.problems) == 1


CROSS = ReloadOptions(allow_cross_namespace=True)


def test_a_source_of_another_namespace_is_listed_in_full() -> None:
    """A17, #578."""
    asks = read_policy({SECRETS_RELOAD: "ops/ca.pem, s"}, {}, CROSS)
    far = Source(SourceKey(SourceKind.SECRET, "ops", "ca.pem"), secret_digest({}), {})
    near = Source(far.key._replace(namespace="shop"), far.digest, {})

    assert asks.problems == ()
    assert asks.names_in_full(far)
    assert not asks.names_in_full(near)
    assert not asks.names_in_full(far._replace(annotations={IGNORE: "true"}))
    assert not asks.names_in_full(
        Source(SourceKey(SourceKind.CONFIG_MAP, "ops", "ca.pem"), far.digest, {})
    )
    assert asks.match(secret()) is Match.EXPLICIT


def test_a_source_of_another_namespace_may_be_excluded_in_full() -> None:
    annotations = {SECRETS_RELOAD: "ops/ca", SECRETS_EXCLUDE: "ops/ca"}
    far = Source(SourceKey(SourceKind.SECRET, "ops", "ca"), secret_digest({}), {})

    assert not read_policy(annotations, {}, CROSS).names_in_full(far)


@pytest.mark.parametrize(
    ("item", "options", "reason"),
    [
        pytest.param(
            "ops/ca",
            ReloadOptions(),
            "'ops/ca' names a namespace, which takes --reload-allow-cross-namespace "
            "(of `reloader`: --allow-cross-namespace)",
            id="without the flag",
        ),
        pytest.param(
            "ops/.*",
            CROSS,
            "'ops/.*' is no namespace/name; patterns are for the own namespace",
            id="a pattern",
        ),
        pytest.param(
            "ops/",
            CROSS,
            "'ops/' is no namespace/name; patterns are for the own namespace",
            id="no name",
        ),
        pytest.param(
            "a/b/c",
            CROSS,
            "'a/b/c' is no namespace/name; patterns are for the own namespace",
            id="too much",
        ),
        pytest.param(
            "ops/ca",
            replace(CROSS, namespaces=("shop",)),
            "'ops/ca' is in a namespace that is not watched",
            id="not among the namespaces",
        ),
        pytest.param(
            "ops/ca",
            replace(CROSS, namespaces_to_ignore=frozenset({"ops"})),
            "'ops/ca' is in a namespace that is not watched",
            id="among those to ignore",
        ),
    ],
)
def test_what_cannot_be_reached_is_a_problem_and_the_rest_counts(
    item: str, options: ReloadOptions, reason: str
) -> None:
    asks = read_policy({SECRETS_RELOAD: f"{item},s"}, {}, options)

    assert asks.problems == (Problem(SECRETS_RELOAD, reason),)
    assert asks.rules[SourceKind.SECRET].names.in_full == frozenset()
    assert asks.match(secret()) is Match.EXPLICIT


def test_plain_names_may_be_many() -> None:
    decided = policy({SECRETS_RELOAD: ",".join(f"name-{n}" for n in range(500))})

    assert decided.match(secret("name-499")) is Match.EXPLICIT
    assert decided.problems == ()


@pytest.mark.parametrize(
    ("metadata", "template", "of_config_map", "of_secret"),
    [
        pytest.param({}, {AUTO: "true"}, Match.AUTO, Match.AUTO, id="template alone"),
        pytest.param(
            {SECRETS_RELOAD: "s"},
            {AUTO: "true"},
            *(Match.AUTO, Match.EXPLICIT),
            id="a list of one kind leaves the other to the template",
        ),
        pytest.param(
            {SECRETS_RELOAD: "other"},
            {SECRETS_RELOAD: "s"},
            *(None, None),
            id="the lists are not joined",
        ),
        pytest.param(
            {AUTO: "false"},
            {SECRETS_RELOAD: "s", CONFIGMAPS_AUTO: "true"},
            *(None, None),
            id="auto on the workload hides all of the template",
        ),
        pytest.param(
            {AUTO: ""},
            {AUTO: "true"},
            *(None, None),
            id="to be there is enough, empty or not",
        ),
        pytest.param(
            {SEARCH: "true"},
            {AUTO: "true"},
            *(None, None),
            id="search on the workload hides the template",
        ),
        pytest.param(
            {SECRETS_AUTO: "false"},
            {AUTO: "true"},
            *(Match.AUTO, None),
            id="auto of one kind hides the template for that kind",
        ),
        pytest.param(
            {AUTO: "true"},
            {SECRETS_EXCLUDE: "s"},
            *(Match.AUTO, None),
            id="excluded in the template",
        ),
        pytest.param(
            {AUTO: "true", CONFIGMAPS_EXCLUDE: "c"},
            {CONFIGMAPS_EXCLUDE: "x", SECRETS_EXCLUDE: "s"},
            *(None, None),
            id="exclusions are joined",
        ),
        pytest.param(
            {AUTO: "true"}, {IGNORE: "true"}, None, None, id="ignored in the template"
        ),
        pytest.param(
            {"example.com/other": "x"},
            {AUTO: "true"},
            *(Match.AUTO, Match.AUTO),
            id="what is not ours hides nothing",
        ),
    ],
)
def test_the_template_speaks_for_a_kind_on_which_the_workload_is_silent(
    metadata: dict[str, str],
    template: dict[str, str],
    of_config_map: Match | None,
    of_secret: Match | None,
) -> None:
    """Scenario 23."""
    decided = policy(metadata, template)

    assert decided.match(config_map("c")) is of_config_map
    assert decided.match(secret("s")) is of_secret


@pytest.mark.parametrize(
    ("metadata", "match"),
    [
        pytest.param({}, Match.AUTO, id="nothing said"),
        pytest.param({AUTO: "", SECRETS_AUTO: ""}, Match.AUTO, id="said, but empty"),
        pytest.param({AUTO: "false"}, None, id="auto is off"),
        pytest.param({SECRETS_AUTO: "false"}, None, id="the kind's auto is off"),
        pytest.param({CONFIGMAPS_AUTO: "false"}, Match.AUTO, id="the other kind's is"),
        pytest.param({SECRETS_EXCLUDE: "s"}, None, id="excluded"),
        pytest.param({IGNORE: "true"}, None, id="ignored"),
    ],
)
def test_auto_reload_all_is_for_those_that_say_nothing(
    metadata: dict[str, str], match: Match | None
) -> None:
    """Scenario 18, the part under --auto-reload-all."""
    assert policy(metadata, auto_reload_all=True).match(secret("s")) is match


def test_a_policy_that_asks_for_nothing_has_no_rules() -> None:
    assert policy({AUTO: "false", SECRETS_RELOAD: ","}).rules == {}


def test_annotations_go_by_the_names_that_options_give_them() -> None:
    keys = AnnotationKeys(auto="example.com/auto", ignore="example.com/ignore")
    options = ReloadOptions(keys=keys)

    decided = read_policy({"example.com/auto": "true"}, {}, options)

    assert decided.match(secret()) is Match.AUTO
    assert decided.match(secret(**{IGNORE: "true"})) is Match.AUTO
    assert decided.match(secret(**{"example.com/ignore": "true"})) is None
    assert read_policy({AUTO: "true"}, {}, options).rules == {}


@pytest.mark.parametrize(
    ("metadata", "of_config_map", "of_secret"),
    [
        pytest.param({AUTO: "false", CONFIGMAPS_RELOAD: "c"}, None, None, id="names"),
        pytest.param({AUTO: "F", SECRETS_AUTO: "true"}, None, None, id="a kind's auto"),
        pytest.param({AUTO: "false", SEARCH: "true"}, None, None, id="search"),
        pytest.param(
            {SECRETS_AUTO: "false", AUTO: "true", SECRETS_RELOAD: "s"},
            *(Match.AUTO, None),
            id="a kind's false is for that kind",
        ),
        pytest.param(
            {CONFIGMAPS_RELOAD: "c"}, Match.EXPLICIT, None, id="auto is not mentioned"
        ),
    ],
)
def test_a_strict_false_switches_off_all_that_is_asked_for(
    metadata: dict[str, str], of_config_map: Match | None, of_secret: Match | None
) -> None:
    decided = read_policy(metadata, {}, ReloadOptions(strict_auto_false=True))

    assert decided.match(config_map("c", **{MATCH: "true"})) is of_config_map
    assert decided.match(secret("s")) is of_secret


@pytest.mark.parametrize(
    ("metadata", "template", "strategy"),
    [
        pytest.param({}, {}, Strategy.ENV_VARS, id="as the options say"),
        pytest.param(
            {STRATEGY: "annotations"}, {}, Strategy.ANNOTATIONS, id="workload"
        ),
        pytest.param(
            {}, {STRATEGY: "annotations"}, Strategy.ANNOTATIONS, id="template"
        ),
        pytest.param(
            {STRATEGY: "env-vars"},
            {STRATEGY: "annotations"},
            Strategy.ENV_VARS,
            id="the workload goes first",
        ),
    ],
)
def test_a_workload_may_have_a_strategy_of_its_own(
    metadata: dict[str, str], template: dict[str, str], strategy: Strategy
) -> None:
    decided = policy({AUTO: "true", **metadata}, template)

    assert decided.strategy is strategy
    assert decided.problems == ()


def test_a_strategy_that_is_none_is_a_problem_and_the_general_one_holds() -> None:
    options = ReloadOptions(strategy=Strategy.ANNOTATIONS)

    decided = read_policy({AUTO: "true", STRATEGY: "restart"}, {}, options)

    assert decided.strategy is Strategy.ANNOTATIONS
    assert [p.annotation for p in decided.problems] == [STRATEGY]


def test_reloads_for_what_comes_and_goes_are_asked_for_by_option_or_workload() -> None:
    general = ReloadOptions(reload_on_create=True, reload_on_delete=True)
    asking = policy({AUTO: "true", ON_CREATE: "true"}, {ON_DELETE: "true"})
    silent = policy({AUTO: "true", ON_CREATE: "1"})

    assert (asking.on_create, asking.on_delete) == (True, True)
    assert (silent.on_create, silent.on_delete) == (False, False)
    everywhere = read_policy({AUTO: "true"}, {}, general)
    assert (everywhere.on_create, everywhere.on_delete) == (True, True)


def test_of_thousands_of_problems_some_are_told() -> None:
    """An annotation has room for them; logs and memory are everybody's."""
    broken = ",".join(f"({number}" for number in range(20_000))

    policy = read_policy(
        {"secret.reloader.stakater.com/reload": f"{broken},s"}, {}, ReloadOptions()
    )

    assert 0 < len(policy.problems) <= PROBLEMS_MAX
    assert policy.rules[SourceKind.SECRET].names.matches("s")
