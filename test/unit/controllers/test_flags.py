"""Every setting has its flag, and every flag is a setting."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from controllers.__main__ import app
from controllers.flags import values, with_settings
from controllers.settings import Settings, load, setting_names

DOCS = Path(__file__).parents[3] / "docs"


def flag(name: str) -> str:
    return "--" + re.sub(r"[._]", "-", name)


@pytest.mark.parametrize("verb", ["run", "rbac"])
def test_a_verb_that_takes_settings_takes_all_of_them(verb: str) -> None:
    shown = CliRunner().invoke(app, [verb, "--help"], env={"COLUMNS": "200"}).stdout

    flags = set(re.findall(r"--[a-z-]+", shown))
    assert {flag(name) for name in setting_names(Settings)} <= flags


@pytest.mark.parametrize("width", ["60", "80", "200"])
def test_no_flag_is_cut_off_in_the_help(width: str) -> None:
    shown = CliRunner().invoke(app, ["run", "--help"], env={"COLUMNS": width}).stdout

    assert "--reload-max-concurrent-rollouts-per-namespace number" in shown
    assert "--reload-strategy env-vars|annotations" in shown
    assert "--reload-resources-to-ignore configmaps|secrets,…" in shown
    assert "--reload-debounce time" in shown
    assert "--reload-hash-key-file path" in shown
    assert "--reload-dry-run / --no-reload-dry-run" in shown


def test_the_list_of_verbs_says_whole_sentences() -> None:
    shown = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "80"}).stdout

    commands = shown.partition("Commands:")[2]
    assert "lint-patch" in commands
    assert "..." not in commands


def test_the_version_is_a_flag_too() -> None:
    asked = [CliRunner().invoke(app, [word]) for word in ("--version", "version")]

    assert [answer.exit_code for answer in asked] == [0, 0]
    assert asked[0].stdout == asked[1].stdout
    assert asked[0].stdout.startswith("pilothouse ")


def test_every_flag_is_explained() -> None:
    @with_settings
    def command(**_: object) -> None:
        """Do nothing."""

    parameters = inspect.signature(command).parameters.values()
    assert [p.name for p in parameters if not p.annotation.__metadata__[0].help] == []


def test_flags_are_read_under_the_names_of_their_settings() -> None:
    found = load(
        values({"reload__workers": "4", "leader_elect": True, "log_level": None}),
        {},
        None,
    )

    assert found.reload.workers == 4
    assert found.leader_elect
    assert found.log_level == "info"


def test_every_flag_is_in_the_manual_or_on_the_page_of_its_controller() -> None:
    def text(name: str) -> str:
        section = name.rpartition(".")[0] or "running"
        pages = [DOCS / "running.md", *DOCS.glob(f"{section}*.md")]
        return "".join(page.read_text(encoding="utf-8") for page in pages)

    names = setting_names(Settings)
    assert [name for name in names if f"{flag(name)}`" not in text(name)] == []
