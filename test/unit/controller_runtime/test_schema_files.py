"""Generated files: written, found to be out of date, and those that are checked in."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest
import yaml
from typer.testing import CliRunner

from api.owned import OWNED
from controller_runtime import (
    ApiModel,
    GroupVersionKind,
    KubeObject,
    SchemaError,
    schema,
)
from controller_runtime.schema.__main__ import main
from controllers.__main__ import app
from controllers.crds import CRDS, PAGES, generate

ROOT = Path(__file__).parents[3]
WEBSITE = ROOT / "examples" / "website"


class Spec(ApiModel):
    switch: str = "on"
    """Several
    lines.

    Paragraphs.
    """


class Lamp(KubeObject):
    gvk: ClassVar = GroupVersionKind("example.com", "v1", "Lamp")
    crd: ClassVar = schema.CrdOptions()

    spec: Spec


FILES = schema.render([Lamp])
PAGE = schema.render_reference([Lamp])


@pytest.fixture
def on_path(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.syspath_prepend(str(WEBSITE))
    yield
    sys.modules.pop("website", None)


def test_yaml_reads_as_what_was_made() -> None:
    [(name, text)] = FILES.items()

    assert name == "example.com_lamps.yaml"
    assert yaml.safe_load(text) == schema.crd_for(Lamp)
    assert "default: 'on'" in text
    assert "description: |-\n" in text


def test_a_folder_that_was_written_has_no_drift(tmp_path: Path) -> None:
    folder = tmp_path / "crds"

    assert schema.write(FILES, folder) == ["example.com_lamps.yaml"]
    assert schema.drift(FILES, folder) == []
    assert schema.write(FILES, folder) == []


def test_files_that_are_missing_changed_or_left_over_are_drift(tmp_path: Path) -> None:
    schema.write(
        {**FILES, **PAGE, "old.yaml": FILES["example.com_lamps.yaml"]}, tmp_path
    )
    (tmp_path / "example.com_lamps.yaml").write_text("edited")
    (tmp_path / "mine.yaml").write_text("somebody else's")
    wanted = {**FILES, **PAGE, "new.yaml": ""}

    found = schema.drift(wanted, tmp_path, complete=True)

    assert [line.removeprefix(f"{tmp_path}/") for line in found] == [
        "example.com_lamps.yaml is not what the models say",
        "new.yaml is missing",
        "old.yaml belongs to no model",
    ]


def test_only_files_of_ours_are_removed(tmp_path: Path) -> None:
    schema.write({"old.yaml": FILES["example.com_lamps.yaml"]}, tmp_path)
    (tmp_path / "mine.yaml").write_text("somebody else's")

    schema.write(FILES, tmp_path, complete=True)

    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["example.com_lamps.yaml", "mine.yaml"]


def test_the_crds_of_our_kinds_are_what_the_models_say() -> None:
    assert generate(ROOT / CRDS, ROOT / PAGES, check=True, models=OWNED) == []


def test_a_check_writes_nothing(tmp_path: Path) -> None:
    output, pages = tmp_path / "crds", tmp_path / "pages"

    lines = generate(output, pages, check=True, models=[Lamp])

    assert len(lines) == 2
    assert not output.exists()
    assert generate(output, pages, check=False, models=[Lamp]) == lines
    assert generate(output, pages, check=True, models=[Lamp]) == []


def test_the_verb_writes_where_it_is_told(tmp_path: Path) -> None:
    folders = ("--output", str(tmp_path / "crds"), "--pages", str(tmp_path / "pages"))
    left_over = {"old.yaml": FILES["example.com_lamps.yaml"]}
    schema.write(left_over, tmp_path / "crds")

    found = CliRunner().invoke(app, ["crds", *folders, "--check"])
    CliRunner().invoke(app, ["crds", *folders])
    after = CliRunner().invoke(app, ["crds", *folders, "--check"])

    assert found.exit_code == 1
    assert "old.yaml belongs to no model" in found.stderr
    assert after.exit_code == 0


@pytest.mark.usefixtures("on_path")
def test_the_files_of_the_example_are_what_its_models_say(
    capsys: pytest.CaptureFixture[str],
) -> None:
    folders = ("--output", str(WEBSITE / "crds"), "--docs", str(WEBSITE / "docs"))

    code = main(["website", *folders, "--check"])

    assert (code, capsys.readouterr().err) == (0, "")


@pytest.mark.usefixtures("on_path")
class TestCommandLine:
    def test_without_a_folder_it_prints(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["website:Website"]) == 0

        printed = yaml.safe_load(capsys.readouterr().out)
        assert printed["metadata"]["name"] == "websites.example.com"

    def test_it_writes_and_then_finds_nothing_to_do(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        folders = ("--output", str(tmp_path), "--docs", str(tmp_path))

        assert main(["website", *folders, "--check"]) == 1
        assert "example.com_websites.yaml is missing" in capsys.readouterr().err
        assert main(["website", *folders]) == 0
        assert main(["website", *folders, "--check"]) == 0
        assert (tmp_path / "example.com_website.md").exists()

    def test_a_limit_of_zero_leaves_descriptions_out(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["website", "--description-limit", "0"]) == 0
        assert "description" not in capsys.readouterr().out

    @pytest.mark.parametrize(
        ("module", "words"),
        [
            ("nowhere.at_all", "there is no module 'nowhere.at_all'"),
            ("json", "json has no kind of its own"),
            ("website:Nothing", "website:Nothing has no kind of its own"),
        ],
    )
    def test_a_module_without_kinds_is_an_error_in_one_sentence(
        self, module: str, words: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main([module]) == 1
        assert words in capsys.readouterr().err


def test_an_error_inside_a_module_is_not_taken_for_its_absence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_models.py").write_text("import not_installed_here\n")
    monkeypatch.syspath_prepend(str(tmp_path))

    with pytest.raises(ModuleNotFoundError, match="not_installed_here"):
        schema.models_in("broken_models")
    with pytest.raises(SchemaError):
        schema.models_in("broken_model")
