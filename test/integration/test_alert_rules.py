"""Alert rules and dashboards, judged by Prometheus's own promtool.

`make setup-envtest` gets it. Where it is missing these tests fail, and are not skipped.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from controller_runtime import Json
from controller_runtime.testing.envtest import Assets, AssetsOptions, QuietProgress
from controller_runtime.testing.envtest.binaries import PROMTOOL

ROOT = Path(__file__).parents[2]
RULES = sorted((ROOT / "config" / "prometheus").glob("*.rules.yaml"))
TESTS = sorted((ROOT / "test" / "data" / "prometheus").glob("*.test.yaml"))
DASHBOARDS = sorted((ROOT / "config" / "grafana").glob("*.json"))

_VARIABLES = {"$__rate_interval": "5m", "$job": ".*"}


@pytest.fixture
async def promtool() -> Path:
    options = AssetsOptions.from_environ(os.environ, download=False, build=False)
    found = await Assets(options, progress=QuietProgress()).find([PROMTOOL])
    return found["promtool"]


async def output(*command: str | Path) -> tuple[int | None, str]:
    process = await asyncio.create_subprocess_exec(
        *map(str, command),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    text, _ = await process.communicate()
    return process.returncode, text.decode()


def cases_and_rules(path: Path) -> tuple[Json, Json]:
    """Read promtool's tests, and the rules that they are about."""
    cases = yaml.safe_load(path.read_text())
    (name,) = cases["rule_files"]
    return cases, yaml.safe_load((path.parent / name).read_text())


def queries(dashboard: Path) -> Iterator[str]:
    for quoted in re.findall(r'"expr": ("(?:[^"\\]|\\.)*")', dashboard.read_text()):
        yield json.loads(quoted)


def test_there_is_something_to_judge() -> None:
    assert RULES
    assert TESTS
    assert DASHBOARDS


@pytest.mark.parametrize("path", RULES, ids=lambda path: str(path.name))
async def test_rules_are_rules(promtool: Path, path: Path) -> None:
    code, text = await output(promtool, "check", "rules", "--lint=all", path)

    assert (code, "FAILED" in text) == (0, False), text


@pytest.mark.parametrize("path", TESTS, ids=lambda path: str(path.name))
async def test_alerts_fire_in_time_and_are_over_in_time(
    promtool: Path, path: Path
) -> None:
    code, text = await output(promtool, "test", "rules", path)

    assert (code, "FAILED" in text) == (0, False), text


@pytest.mark.parametrize("path", TESTS, ids=lambda path: str(path.name))
async def test_a_rule_that_is_wrong_is_noticed(
    promtool: Path, path: Path, tmp_path: Path
) -> None:
    """Each alert in turn never fires, and its test says so."""
    cases, rules = cases_and_rules(path)
    cases["rule_files"] = ["rules.yaml"]
    (tmp_path / "cases.yaml").write_text(yaml.safe_dump(cases))

    for rule in (rule for group in rules["groups"] for rule in group["rules"]):
        right, rule["expr"] = rule["expr"], "vector(1) > 2"
        (tmp_path / "rules.yaml").write_text(yaml.safe_dump(rules))
        code, text = await output(promtool, "test", "rules", tmp_path / "cases.yaml")
        rule["expr"] = right
        assert code != 0, f"nothing misses {rule['alert']}"
        assert f"alertname: {rule['alert']}" in text


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: str(path.name))
async def test_every_query_of_a_dashboard_can_be_asked(
    promtool: Path, path: Path, tmp_path: Path
) -> None:
    rules = []
    for number, expression in enumerate(queries(path)):
        asked = expression
        for name, value in _VARIABLES.items():
            asked = asked.replace(name, value)
        assert "$" not in asked
        rules.append({"record": f"query:{number}", "expr": asked})
    written = tmp_path / "queries.yaml"
    written.write_text(yaml.safe_dump({"groups": [{"name": "all", "rules": rules}]}))

    code, text = await output(promtool, "check", "rules", "--lint=none", written)

    assert code == 0, text
    assert f"{len(rules)} rules found" in text
