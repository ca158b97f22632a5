"""One chart cut out of an index is what a parser of the whole finds there."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml
from hypothesis import given
from hypothesis import strategies as st

from controllers.release.chart.index import read_entry

NAMES = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,6}[a-z0-9])?", fullmatch=True)

LINES = st.sampled_from(
    ["app:", "  app:", "    - version: 6", "entries:", "- a", "# b", "", "x: 'y", "ä"]
)

TEXTS = st.one_of(
    st.text(
        st.characters(codec="utf-8", categories=["L", "N", "P", "Zs"]), max_size=20
    ),
    st.lists(LINES, max_size=5).map("\n".join),
)

VERSIONS = st.lists(
    st.fixed_dictionaries(
        {
            "version": st.sampled_from(["1.10", "0x10", "1e3", "2.0.0-rc.1", "true"]),
            "urls": st.lists(
                st.just("https://a.example/x.tgz"), min_size=1, max_size=2
            ),
        },
        optional={
            "description": TEXTS,
            "annotations": st.dictionaries(NAMES, TEXTS, max_size=2),
            "dependencies": st.just([{"name": "app", "version": "9"}]),
        },
    ),
    max_size=3,
)

INDEXES = st.fixed_dictionaries(
    {"entries": st.dictionaries(NAMES, VERSIONS, max_size=4)},
    optional={"apiVersion": st.just("v1"), "note": TEXTS, "zz": VERSIONS},
)


class Dumper(yaml.SafeDumper):
    """Writes what is there twice twice: an index has no aliases."""

    def ignore_aliases(self, data: object) -> bool:
        return True


class Indented(Dumper):
    """Indents lists below their key, as Go's yaml.v3 does."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)


def written(index: Mapping[str, object], style: str, *, width: int) -> str:
    if style == "json":
        return json.dumps(index)
    dumper = Indented if style == "indented" else Dumper
    return yaml.dump(
        index,
        Dumper=dumper,
        sort_keys=False,
        width=width,
        allow_unicode=True,
        default_flow_style=style == "flow",
    )


@given(
    index=INDEXES,
    style=st.sampled_from(["block", "indented", "flow", "json"]),
    width=st.sampled_from([20, 1000]),
    windows=st.booleans(),
)
def test_one_chart_is_cut_out_as_it_is(
    index: Mapping[str, Mapping[str, Sequence[Mapping[str, object]]]],
    style: str,
    width: int,
    windows: bool,
) -> None:
    text = written(index, style, width=width)
    if windows and style != "json":
        text = text.replace("\n", "\r\n")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "index.yaml"
        path.write_bytes(text.encode())
        for name, versions in {"app": [], **index["entries"]}.items():
            found = read_entry(path, name)

            assert [(each.version, list(each.urls)) for each in found] == [
                (each["version"], each["urls"]) for each in versions
            ]
