"""The image, as far as it goes without anybody to build it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import pytest

from controllers.settings import version
from rendering import ROOT, Renderer

LINES = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")


def instructions(name: str) -> Iterator[str]:
    """Yield what comes after an instruction."""
    for line in LINES.splitlines():
        first, _, rest = line.partition(" ")
        if first == name:
            yield rest.strip()


def copies() -> Iterator[tuple[str, str]]:
    """Yield what is copied from the checkout, and where to."""
    for line in instructions("COPY"):
        if not line.startswith("--from"):
            *sources, target = line.split()
            for source in sources:
                is_folder = target.endswith("/")
                yield source, f"{target}{source}" if is_folder else target


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """Lay out the folder of the image, with this environment for the one in it."""
    for source, target in copies():
        place = tmp_path / target
        place.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / source).is_dir():
            place.symlink_to(ROOT / source)
        else:
            shutil.copy(ROOT / source, place)
    (tmp_path / ".venv").symlink_to(sys.prefix)
    return tmp_path


def pilothouse(image: Path, *arguments: str) -> str:
    """Run its program with no environment but what the kernel gives."""
    done = subprocess.run(  # noqa: S603 - ours
        [image / "bin" / "pilothouse", *arguments],
        env={},
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.timeout(90)
def test_its_program_runs_with_an_empty_environment(image: Path) -> None:
    (entrypoint,) = map(json.loads, instructions("ENTRYPOINT"))
    (verb,) = json.loads(next(instructions("CMD")))

    assert entrypoint == ["pilothouse"]
    assert pilothouse(image, "version") == f"pilothouse {version()}\n"
    assert "--leader-elect" in pilothouse(image, verb, "--help")
    assert "--enable-ha" in pilothouse(image, "reloader", "--help")


def test_its_path_has_the_program(chart: Renderer) -> None:
    (env,) = instructions("ENV")
    (place,) = [it for it in set(instructions("WORKDIR")) if it]

    assert f"PATH={place}/bin:" in env
    assert "bin/pilothouse" in {target.removeprefix("./") for _, target in copies()}
    verb = chart.render().container["args"][0]
    assert [verb] == json.loads(next(instructions("CMD")))


def test_it_runs_as_the_user_of_the_chart(chart: Renderer) -> None:
    (user,) = instructions("USER")
    context = chart.render().pod["securityContext"]

    assert user == f"{context['runAsUser']}:{context['runAsGroup']}"


def test_what_is_copied_is_there_and_sent_to_the_builder() -> None:
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    sent = {line.removeprefix("!") for line in ignored if line.startswith("!")}

    assert "*" in ignored
    for source, _ in copies():
        assert (ROOT / source).exists(), source
        assert any(fnmatch(source, pattern) for pattern in sent), source


def test_what_is_installed_is_pinned_by_hash_and_names_no_index() -> None:
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    (install,) = [it for it in instructions("RUN") if "pip" in it and "install" in it]

    assert {"--require-hashes", "--no-deps"} <= set(install.split())
    for text in (lock, LINES):
        said = re.sub(r"#.*", "", text)
        assert not re.search(r"(?:index-url|find-links|trusted-host)[ =]\S", said)
        assert not re.search("://(?!github.com/pilothouse)", said)
    pins = re.findall(r"^\S+==\S+.*(?:\n    --hash=sha256:\S+.*)+", lock, re.MULTILINE)
    assert len(pins) == len(re.findall(r"^[a-z0-9]", lock, re.MULTILINE))
