"""Templates, in a sandbox: what they make, what they may not, and where they end."""

from __future__ import annotations

import asyncio
import threading
from datetime import timedelta
from typing import Any

import pytest

from conformance.catalogs import CONFIG_MAP, asset, catalog, context, source
from controller_runtime import ForbiddenError, GroupVersionKind, Json
from controllers.autopilot.context import RenderContext
from controllers.autopilot.documents import read_object
from controllers.autopilot.errors import RenderError
from controllers.autopilot.facts import Fact, Facts
from controllers.autopilot.lookups import Answer, Lookup
from controllers.autopilot.render import Rendered, Renderer

CONFIG = GroupVersionKind("", "v1", "ConfigMap")
SECOND = timedelta(seconds=1)


async def rendered(
    text: str,
    of: RenderContext | None = None,
    *,
    answers: dict[Lookup, Answer] | None = None,
    files: dict[str, str] | None = None,
    **fields: Any,
) -> Rendered:
    wanted = asset(**fields)
    everything = {wanted.path: CONFIG_MAP + text, **(files or {})}
    renderer = Renderer(catalog(wanted, files=everything), deadline=SECOND / 5)

    async def resolve(lookup: Lookup) -> Answer:
        return (answers or {}).get(lookup)

    return await renderer.render(wanted, of or context(), resolve)


async def data(text: str, of: RenderContext | None = None, **fields: Any) -> Any:
    made = await rendered(f"data: {text}", of, **fields)
    assert made.object is not None
    return made.object["data"]


async def test_a_template_reads_the_source_object_and_its_own_parameters() -> None:
    given_source = source(
        {"virtualization": {"liveMigrationConfig": {"a": 7}}}, annotations={"x/y": "z"}
    )
    text = """
      a: {{ hco_get("liveMigrationConfig.a", 5) | int }}
      b: {{ source_get("liveMigrationConfig.b", 5) }}
      c: {{ source.metadata.name | q }}
      d: {{ hco.metadata.namespace == source_ns }}
      e: {{ params.role }}
      f: {{ has_annotation(source, "x/y") }}
      g: {{ has_annotation(source, "x/y", "other") }}
      h: {{ identity.managed_by_label }}
      i: {{ metrics_prefix }}
      j: {{ images["one"] | q }}
    """

    made = await data(
        text, context(given_source, images={"one": "a:b"}), params={"role": "worker"}
    )

    assert made == {
        "a": 7,
        "b": 5,
        "c": "kubevirt-hyperconverged",
        "d": True,
        "e": "worker",
        "f": True,
        "g": False,
        "h": "platform.kubevirt.io/managed-by",
        "i": "virt_platform",
        "j": "a:b",
    }


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("dig({'a': {'b': 1}}, 'a', 'b', default=2)", 1),
        ("dig({'a': {'b': 1}}, 'a', 'c', default=2)", 2),
        ("dig({'a': 1}, 'a', 'b', default=2)", 2),
        ("dig({'a': none}, 'a', default=2)", None),
        ("[none | default(3), nobody | default(4), '' | default(5)]", [3, 4, ""]),
        ("'yes' | ternary('a', 'b')", "a"),
        ("ternary(false, 'a', 'b')", "b"),
        ("'é' | b64enc", "w6k="),
        ("'w6k=' | b64dec", "é"),
        ("'a\nb' | indent(2)", "  a\n  b"),
        ("'a\nb' | nindent(2)", "\n  a\n  b"),
        ("{'b': [1], 'a': none} | to_yaml", "a: null\nb:\n- 1"),
        ("('{\"a\": 1}' | from_json).a", 1),
        ("('a: [x]' | from_yaml).a[0]", "x"),
        ("'  a ' | trim", "a"),
        ("'abc' | trim_prefix('a') | trim_suffix('c')", "b"),
        ("'a.b' | replace('.', '-')", "a-b"),
        ("'a' | upper ~ ('B' | lower)", "Ab"),
        ("'abc' | contains('b')", True),
        ("'abc' | has_prefix('b')", False),
        ("'abc' | has_suffix('c')", True),
        ("'a,b' | split_list(',')", ["a", "b"]),
        ("['a', 1] | join('-')", "a-1"),
        ("{'b': 1, 'a': 2} | keys", ["a", "b"]),
        ("{'b': 1, 'a': 2} | values", [2, 1]),
        ("{'b': 1, 'a': 2} | pick('a', 'c')", {"a": 2}),
        ("{'b': 1, 'a': 2} | omit('a')", {"b": 1}),
        ("{'a': {'b': 1}} | merge({'a': {'b': 2, 'c': 3}})", {"a": {"b": 1, "c": 3}}),
        (
            "{'a': {'b': 1}} | merge_overwrite({'a': {'b': 2}}, {'d': 4})",
            {"a": {"b": 2}, "d": 4},
        ),
        ("[7 + 1, 7 - 1, 7 * 2, 7 // 2, 7 % 2, -7, 2 ** 3]", [8, 6, 14, 3, 1, -7, 8]),
        ("[1.5 | floor, 1.5 | ceil, 1.26 | round(1)]", [1, 2, 1.3]),
        ("[[3, 1] | min, [3, 1] | max, [3, 1] | sort]", [1, 3, [1, 3]]),
        ("'x' in ['x']", True),
        ("[[] is empty, 0 is empty, 'a' is empty]", [True, True, False]),
        ("('a b' | split_list(' '))[1]", "b"),
    ],
)
async def test_functions_of_templates(expression: str, value: object) -> None:
    assert await data("{{ (" + expression + ") | q }}") == value


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{{ nobody }}", ":4: 'nobody' is undefined"),
        ("{{ source.spec.nobody }}", ":4: 'dict object' has no attribute 'nobody'"),
        ("\n\n{{ params.x }}", ":6: 'dict object' has no attribute 'x'"),
        ("{{ nobody | default(params.y) }}", "has no attribute 'y'"),
        ("{{ env('HOME') }}", "'env' is undefined"),
        ("{{ now() }}", "'now' is undefined"),
        ("{{ lipsum() }}", "'lipsum' is undefined"),
        ("{{ cycler }}{{ joiner }}", "'cycler' is undefined"),
        ("{{ [1] | random }}", "No filter named 'random'"),
        ("{{ '' | attr('__class__') }}", "No filter named 'attr'"),
        ("{{ [''] | map('upper') }}", "No filter named 'map'"),
        ("{{ ''.__class__ }}", "__class__"),
        ("{{ source.__class__.__mro__ }}", "__class__"),
        ("{{ dig.__globals__ }}", "__globals__"),
        ("{{ range.__globals__ }}", "__globals__"),
        ("{{ [''] | selectattr('__class__') | list }}", "__class__"),
        ("{{ ['', 'a'] | sort(attribute='__class__') }}", "__class__"),
        ("{{ ''.format(1) }}", "'format'"),
        ("{{ source.update({}) }}", "'update'"),
        ("{{ source.metadata.clear() }}", "'clear'"),
        ("{{ [].append(1) }}", "'append'"),
        ("{{ self }}", "not JSON serializable"),
        ("{{ namespace }}", "not JSON serializable"),
        ("{% include '/etc/passwd' %}", "the catalogue has no file /etc/passwd"),
        ("{% import '../x' as x %}", "the catalogue has no file ../x"),
        ("{{ read_asset('../../x') }}", "the catalogue has no file active/../../x"),
        ("{% if %}", ":4: Expected an expression"),
        ("{% do x %}", "unknown tag 'do'"),
        ("{{ 1 / 0 }}", "division by zero"),
        ("{{ 'x' | b64dec }}", "Invalid base64"),
        ("{{ hardware.nobody }}", "hardware has no nobody; there are gpu"),
        ("{{ hco_get('nobody') }}", "nobody is no field of HyperConverged"),
    ],
)
async def test_what_a_template_may_not_do_fails_it(text: str, reason: str) -> None:
    """Scenario 58: nothing undefined, nothing of Python, nothing that varies."""
    of = context(facts=Facts(hardware={"gpu": Fact(True)}))

    with pytest.raises(RenderError) as caught:
        await rendered(text, of)

    assert reason in str(caught.value)
    assert str(caught.value).startswith(("active/made.yaml.j2", "../", "/etc"))


SLOW = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"
GROWING = (
    "{% set n = namespace(s='aaaa') %}"
    "{% for i in range(60) %}{% set n.s = MORE %}{% endfor %}"
)


KEEPING = (
    "{% set n = namespace(all=[]) %}"
    "{% for i in range(500) %}{% set n.all = n.all + [MORE] %}{% endfor %}"
)


@pytest.mark.parametrize(
    "text",
    [
        SLOW,
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
        "{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}",
        "{{ 'a' * 100000000 }}",
        "{{ [1] * 100000000 }}",
        "{{ 9 ** 99999999 }}",
        "{{ ((9 ** 999) ** 999) * 2 }}",
        "{{ '%99999999d' % 1 }}",
        GROWING.replace("MORE", "n.s ~ n.s"),
        GROWING.replace("MORE", "n.s + n.s"),
        GROWING.replace("MORE", "n.s | replace('a', n.s)"),
        GROWING.replace("MORE", "[n.s, n.s] | join(n.s)"),
        GROWING.replace("MORE", "[n.s, n.s]") + "{{ n.s }}",
        GROWING.replace("MORE", "{'a': n.s, 'b': n.s}") + "{{ n.s | q }}",
        GROWING.replace("MORE", "dict(a=n.s, b=n.s)") + "{{ n.s | to_yaml }}",
        GROWING.replace("MORE", "[n.s] + [n.s]") + "{{ n.s == [] }}",
        GROWING.replace("MORE", "[n.s] * 2") + "{{ n.s | string }}",
        GROWING.replace("MORE", "{'a': n.s} | merge({'b': n.s})") + "{{ n.s | q }}",
        KEEPING.replace("MORE", "'x' * 1000000"),
        KEEPING.replace("MORE", "range(100000) | list"),
        KEEPING.replace("MORE", "(i ~ 'x') | indent(1000000)"),
        "{{ [1] | batch(1000000000, 'x') | list }}",
        "{{ [[1], [2]] | sum(start=[]) }}",
        "{{ [[1], [2]] | sum }}",
        "{% include 'active/made.yaml.j2' %}",
        "{% set a = 'aaaa' %}" + "{% set a %}{{ a }}{{ a }}{% endset %}" * 60,
        "{% for i in range(99999) %}" + "x" * 999 + "{% endfor %}",
        "{{ range(999999999) }}",
        "{% for x in [1] %}" * 200 + "{% endfor %}" * 200,
        "{% if true %}" * 200 + "{% endif %}" * 200,
        "{{ " + "(" * 2000 + ")" * 2000 + " }}",
        "{{ " + "[" * 150 + "]" * 150 + " | length | int - 1 or nobody }}",
        "{{ '" + "a' ~ 'b" * 3000 + "' ~ nobody }}",
    ],
)
async def test_every_template_ends(text: str) -> None:
    with pytest.raises(RenderError, match=r"^active/made\.yaml\.j2"):
        await rendered(text)


async def test_files_that_include_each_other_twice_end() -> None:
    files = {
        f"active/{n}": f"{{% include 'active/{n + 1}' %}}" * 2 for n in range(60)
    } | {"active/60": ""}

    with pytest.raises(RenderError, match="takes longer"):
        await rendered("{% include 'active/0' %}", files=files)


async def test_a_template_that_is_slow_does_not_hold_up_the_others() -> None:
    threads = threading.active_count()

    async with asyncio.TaskGroup() as group:
        failing = group.create_task(_failure(SLOW))
        quick = await rendered("data: {}")
        assert not failing.done()

    assert quick.object is not None
    assert "takes longer than 0.2 s" in failing.result()
    assert threading.active_count() <= threads + 2  # asyncio's, which are kept


async def _failure(text: str) -> str:
    with pytest.raises(RenderError) as caught:
        await rendered(text)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("---\na: 1", "has 2 documents"),
        ("- x", "is not YAML"),
        ("kind: Secret", "given twice"),
        ("a: " + "[" * 101 + "]" * 101, "nested deeper"),
    ],
)
async def test_what_comes_out_must_be_one_object(text: str, reason: str) -> None:
    with pytest.raises(
        RenderError, match=rf"^what came of active/made\.yaml\.j2.*{reason}"
    ):
        await rendered(text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("apiVersion: v1\nkind: ConfigMap\n", "without a name"),
        ("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: 1}\n", "without a name"),
        ("apiVersion: v1\nkind: Secret\nmetadata: {name: a}\n", "another kind"),
    ],
)
async def test_the_object_is_of_the_assets_kind_and_named(
    text: str, reason: str
) -> None:
    wanted = asset(path="active/made.yaml")
    renderer = Renderer(catalog(wanted, files={"active/made.yaml": text}))

    with pytest.raises(RenderError, match=reason):
        await renderer.render(wanted, context())


async def test_a_template_that_makes_nothing_is_no_error() -> None:
    wanted = asset()
    text = "{% if params.x is defined %}a{% endif %}\n  \n"
    renderer = Renderer(catalog(wanted, files={wanted.path: text}))

    assert await renderer.render(wanted, context()) == Rendered(
        object=None, text="  \n"
    )


async def test_an_object_is_nobody_elses() -> None:
    wanted = asset(path="active/made.yaml")
    renderer = Renderer(catalog(wanted, files={"active/made.yaml": CONFIG_MAP}))

    first = await renderer.render(wanted, context())
    assert first.object is not None
    first.object["metadata"]["name"] = "changed"

    second = await renderer.render(wanted, context())
    assert second.object is not None
    assert second.object["metadata"]["name"] == "made"


async def test_what_is_unknown_is_noted_where_it_was_read() -> None:
    """Scenario 56: an unknown fact fails nothing, and is never silently false."""
    facts = Facts(
        hardware={"gpu": Fact(None), "usb": Fact(True)},
        topology={"isHCP": Fact(None), "isAWS": Fact(True)},
    )
    text = "data: {a: {{ topology.isAWS }}, b: {{ 'x' if hardware.gpu else 'y' }}}"

    made = await rendered(text, context(facts=facts))

    assert made.object is not None
    assert made.object["data"] == {"a": True, "b": "y"}
    assert made.unknown == ("hardware.gpu",)


FIRST = Lookup(CONFIG, "ns", "first")
SECOND_ONE = Lookup(CONFIG, "ns", "second")
CHAIN = (
    "data: {{ get_config_map_data('ns', get_config_map_data('ns', 'first', 'next'),"
    " 'value') | q }}"
)


async def test_a_template_is_rendered_again_until_it_asks_nothing_new() -> None:
    answers: dict[Lookup, Answer] = {
        FIRST: ({"data": {"next": "second"}},),
        SECOND_ONE: ({"data": {"value": "found"}},),
    }

    made = await rendered(CHAIN, answers=answers)

    assert made.object is not None
    assert made.object["data"] == "found"
    assert made.inputs == {FIRST, SECOND_ONE}
    assert made.unknown == ()


async def test_what_a_guess_led_to_is_thrown_away() -> None:
    there = "object_exists('v1', 'ConfigMap', 'ns', 'first')"
    text = "{% if not " + there + " %}{{ no }}{% endif %}"

    made = await rendered(text, answers={FIRST: ({},)})

    assert made.inputs == {FIRST}
    with pytest.raises(RenderError, match="'no' is undefined"):
        await rendered(text, answers={FIRST: ()})


async def test_what_nobody_can_tell_is_named() -> None:
    made = await rendered("data: {{ get_config_map_data('ns', 'first', 'a') | q }}")

    assert made.unknown == ("ConfigMap (v1) ns/first",)


@pytest.mark.parametrize("name", ["", "a,metadata.namespace!=ns", "a/../b", "a b"])
async def test_a_name_that_no_object_can_have_is_asked_about_nowhere(name: str) -> None:
    """Such a name comes from the source object, and would select others."""
    text = (
        f"data: {{{{ get_config_map_data('ns', '{name}', 'a') | q }}}}\n"
        f"more: {{{{ get_config_map_data('{name}', '{name}', 'a') | q }}}}\n"
        f"there: {{{{ object_exists('v1', 'Secret', 'ns', '{name}') }}}}"
    )

    made = await rendered(text)

    assert made.object is not None
    assert (made.object["data"], made.object["there"]) == ("", False)
    assert made.inputs == frozenset()


async def test_an_error_of_a_look_up_is_the_assets() -> None:
    wanted = asset()
    renderer = Renderer(catalog(wanted, files={wanted.path: CONFIG_MAP + CHAIN}))

    async def forbidden(lookup: Lookup) -> Answer:
        raise ForbiddenError(f"no {lookup}", status=403)

    with pytest.raises(ForbiddenError):
        await renderer.render(wanted, context(), forbidden)


async def test_a_template_that_asks_for_ever_is_given_up() -> None:
    wanted = asset()
    body = (
        "{% set n = namespace(at='0') %}{% for i in range(50) %}"
        "{% set n.at = get_config_map_data('ns', 'at-' ~ n.at, 'next') %}{% endfor %}"
    )
    renderer = Renderer(catalog(wanted, files={wanted.path: CONFIG_MAP + body}))

    async def on_and_on(lookup: Lookup) -> Answer:
        number = lookup.name.removeprefix("at-") or "0"
        return ({"data": {"next": str(int(number) + 1)}},)

    with pytest.raises(RenderError, match="still asks for something new"):
        await renderer.render(wanted, context(), on_and_on)


async def test_what_an_admin_has_written_is_merged_and_kept() -> None:
    """Scenario 52: keys of a ConfigMap's YAML besides ours are as they were."""
    admins = {"prometheusK8s": {"retention": "15d"}, "nodeExporter": {"x": {"y": 1}}}
    text = """
  config.yaml: {{ (get_config_map_data("ns", "first", "config.yaml") | from_yaml or {})
    | merge_overwrite({"nodeExporter": {"collectors": {"ksmd": {"enabled": true}}}})
    | to_yaml | q }}"""
    content = "prometheusK8s: {retention: 15d}\nnodeExporter: {x: {y: 1}}\n"

    made = await data(text, answers={FIRST: ({"data": {"config.yaml": content}},)})
    fresh = await data(text, answers={FIRST: ()})

    ours = {"collectors": {"ksmd": {"enabled": True}}}
    assert read_object(made["config.yaml"], origin="it") == {
        "prometheusK8s": admins["prometheusK8s"],
        "nodeExporter": {"x": {"y": 1}} | ours,
    }
    assert read_object(fresh["config.yaml"], origin="it") == {"nodeExporter": ours}


@pytest.mark.parametrize(
    ("annotations", "expected"),
    [
        ({}, {"A": "1", "B": "2"}),
        ({"a/env": '{"B": "3"}'}, {"A": "1", "B": "3"}),
        ({"a/env": "{}"}, {"A": "1", "B": "2"}),
    ],
)
async def test_defaults_are_overridden_one_by_one(
    annotations: dict[str, str], expected: Json
) -> None:
    """Scenario 53, for the functions that it takes."""
    text = (
        "{% set said = dig(source, 'metadata', 'annotations', 'a/env', default='{}') %}"
        "{{ {'A': '1', 'B': '2'} | merge_overwrite(said | from_json) | to_json }}"
    )

    assert await data(text, context(source(annotations=annotations))) == expected


async def test_the_storage_class_that_many_write_to_is_the_first_by_name() -> None:
    kind = GroupVersionKind("cdi.kubevirt.io", "v1beta1", "StorageProfile")

    def profile(name: str, mode: str, *access: str) -> Json:
        sets = [{"volumeMode": mode, "accessModes": list(access)}]
        return {"metadata": {"name": name}, "status": {"claimPropertySets": sets}}

    profiles = (
        profile("c", "Filesystem", "ReadWriteOnce", "ReadWriteMany"),
        profile("b", "Filesystem", "ReadWriteMany"),
        profile("a", "Block", "ReadWriteMany"),
        {"metadata": {"name": "0"}},
    )
    text = "{{ storage_profile_rwx_class() | q }}"

    assert await data(text, answers={Lookup(kind): profiles}) == "b"
    assert await data(text, answers={Lookup(kind): ()}) == ""


async def test_templates_of_a_catalogue_share_macros() -> None:
    files = {"active/macros.j2": "{% macro f(x) %}<{{ x }}>{% endmacro %}"}

    made = await data(
        "{% from 'active/macros.j2' import f %}{{ f(3) | q }}", files=files
    )

    assert made == "<3>"


async def test_two_renders_are_the_same_bytes() -> None:
    """Scenario 75: order of keys does not show, payloads are not packed."""
    text = "data: {{ source.spec | to_json }}\nmore: {{ read_asset('x') | b64enc }}"
    one = context(source({"a": 1, "b": {"c": 2, "d": 3}}))
    two = context(source({"b": {"d": 3, "c": 2}, "a": 1}))
    files = {"active/x": "payload " * 1000}

    first = await rendered(text, one, files=files)
    second = await rendered(text, two, files=files)

    assert first.text == second.text
    assert "cGF5bG9hZCBw" in first.text
