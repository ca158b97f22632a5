"""Indexes of repositories: one chart found in what may be a hundred megabytes."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from controllers.release.chart.index import IndexFileError, Release, read_entry

SHA = "a" * 64

BLOCK = f"""\
apiVersion: v1
# entries:
entries:
  app-extra:
  - name: app-extra
    version: 9.9.9
    urls: [extra.tgz]
  app:
  # the newest
  - apiVersion: v2
    created: "2026-01-01T00:00:00Z"
    description: |
      A text with lines that look like charts:

      app:
        - version: 6.6.6
          urls: [evil.tgz]
    digest: {SHA}
    name: app
    urls:
    - https://charts.example/app-1.10.0.tgz
    - other.tgz
    version: 1.10
  - description: >-
      app:
    version: '1.9.0'
    digest: sha256:{SHA}
    urls: [app-1.9.0.tgz]
  - version: 1.8.0
  - urls: [nothing.tgz]
  zebra:
  - version: 0.1.0
    urls: [zebra.tgz]
generated: "2026-01-01T00:00:00Z"
"""

APP = [
    Release(
        version="1.10",
        urls=("https://charts.example/app-1.10.0.tgz", "other.tgz"),
        digest=f"sha256:{SHA}",
    ),
    Release(version="1.9.0", urls=("app-1.9.0.tgz",), digest=f"sha256:{SHA}"),
]

AS_JSON = json.dumps(
    {
        "apiVersion": "v1",
        "annotations": {"app": [{"version": "6.6.6", "urls": ["evil.tgz"]}]},
        "entries": {
            "app-extra": [{"version": "9.9.9", "urls": ["extra.tgz"]}],
            "app": [
                {"version": each.version, "urls": each.urls, "digest": each.digest}
                for each in APP
            ],
        },
    }
)

STYLES: Mapping[str, str] = {
    "block": BLOCK,
    "block with Windows line ends": BLOCK.replace("\n", "\r\n"),
    "block with quoted names": BLOCK.replace("  app:\n  #", '  "app":\n  #'),
    "block with lists indented": re.sub(r"(?m)^(?=    |  - )", "  ", BLOCK),
    "block after a document's mark": f"---\n{BLOCK}",
    "JSON": AS_JSON,
    "flow style that is no JSON": AS_JSON.replace('"version"', "version"),
    "JSON with lines": json.dumps(json.loads(AS_JSON), indent=2),
    "entries before the rest": BLOCK.replace("apiVersion: v1\n", "") + "apiVersion: v1",
}


def index(folder: Path, content: str) -> Path:
    path = folder / "index.yaml"
    path.write_bytes(content.encode())
    return path


@pytest.mark.parametrize("content", STYLES.values(), ids=STYLES.keys())
def test_the_versions_of_one_chart_are_read_as_text(
    tmp_path: Path, content: str
) -> None:
    path = index(tmp_path, content)

    assert read_entry(path, "app") == APP
    assert [each.version for each in read_entry(path, "app-extra")] == ["9.9.9"]
    assert read_entry(path, "ap") == []


@pytest.mark.parametrize(
    "content", ["entries: {}\n", "entries:\n", "entries:\ngenerated: x\n"]
)
def test_an_index_without_charts_has_none(tmp_path: Path, content: str) -> None:
    assert not read_entry(index(tmp_path, content), "app")


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("", "empty"),
        ("<html>not found</html>", "no mapping"),
        ("[]", "no mapping"),
        ("{}", "no `entries`"),
        ("charts: {}", "no `entries`"),
        ('{"entries": []}', "no mapping"),
        ('{"entries": {"app": {}}}', "no list"),
        ('{"entries": {"app": [', "not YAML"),
        ("entries:\n  app:\n  - version: [1\n", "not YAML"),
        ("entries:\n  app:\n  - &a {version: '1', urls: [x]}\n  - *a\n", "alias"),
        ("{entries: {app: " + "[" * 60 + "]" * 60 + "}}", "nested too deep"),
    ],
)
def test_what_is_no_index_is_refused(tmp_path: Path, content: str, why: str) -> None:
    with pytest.raises(IndexFileError, match=why):
        read_entry(index(tmp_path, content), "app")


def test_a_bill_of_aliases_is_not_paid(tmp_path: Path) -> None:
    bomb = "a: &a [x]\nb: &b [*a,*a]\nentries:\n  app:\n  - version: *b\n    urls: []\n"

    with pytest.raises(IndexFileError, match="alias"):
        read_entry(index(tmp_path, bomb), "app")
