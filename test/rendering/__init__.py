"""The chart, rendered by Helm's own engine, for tests of what comes out."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import yaml

from controller_runtime import Json

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts" / "pilothouse"

RELEASE, NAMESPACE = "platform", "ops"


class RenderError(Exception):
    """Helm refuses; the text is what it says."""


class Rendered:
    """The objects of one rendering."""

    def __init__(self, files: Mapping[str, str]) -> None:
        self.notes = files["pilothouse/templates/NOTES.txt"]
        self.objects: list[Json] = [
            document
            for path, text in sorted(files.items())
            if path.endswith(".yaml")
            for document in yaml.load_all(text, Loader=_Strict)
            if document
        ]

    def of(self, kind: str) -> list[Json]:
        """Return the objects of a kind."""
        return [it for it in self.objects if it["kind"] == kind]

    def one(self, kind: str) -> Json:
        """Return the only object of a kind."""
        (found,) = self.of(kind)
        return found

    @property
    def kinds(self) -> set[str]:
        """The kinds that there are."""
        return {it["kind"] for it in self.objects}

    @property
    def pod(self) -> Json:
        """The spec of the Deployment's pods."""
        spec: Json = self.one("Deployment")["spec"]["template"]["spec"]
        return spec

    @property
    def container(self) -> Json:
        """The only container."""
        (container,) = self.pod["containers"]
        found: Json = container
        return found

    @property
    def config(self) -> str:
        """The file of `--config`."""
        maps = [it for it in self.of("ConfigMap") if "config.yaml" in it["data"]]
        (found,) = maps
        text: str = found["data"]["config.yaml"]
        return text


class Renderer:
    """Asks the process that renders."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._ids = count()

    def render(
        self,
        values: Mapping[str, Any] | None = None,
        *files: Path,
        name: str = RELEASE,
        namespace: str = NAMESPACE,
    ) -> Rendered:
        """Render with the values of files, and others above them.

        Raises:
            RenderError: Helm refuses.
        """
        found = self._ask("render", values, files, name=name, namespace=namespace)
        return Rendered(found)

    def lint(self, values: Mapping[str, Any] | None = None, *files: Path) -> Json:
        """Return what `helm lint --strict` says."""
        found: Json = self._ask("lint", values, files, namespace=NAMESPACE)
        return found

    def act(
        self,
        call: str,
        kubeconfig: Path,
        values: Mapping[str, Any] | None = None,
        *,
        name: str = RELEASE,
        namespace: str = NAMESPACE,
    ) -> None:
        """Install, upgrade or uninstall, and wait until it is so.

        Raises:
            RenderError: Helm fails.
        """
        self._ask(
            *(call, values, ()),
            kubeconfig=str(kubeconfig),
            name=name,
            namespace=namespace,
        )

    def _ask(
        self,
        call: str,
        values: Mapping[str, Any] | None,
        files: Sequence[Path],
        **names: str,
    ) -> Any:
        given = {"values": values or {}, "files": [str(it) for it in files]}
        stdin, stdout = self._process.stdin, self._process.stdout
        if stdin is None or stdout is None:
            raise RuntimeError("the process has no pipes")
        number = next(self._ids)
        stdin.write(json.dumps({"id": number, "call": call, **given, **names}) + "\n")
        stdin.flush()
        answer = json.loads(stdout.readline())
        while answer["id"] != number:  # to one who was stopped while waiting
            answer = json.loads(stdout.readline())
        if "error" in answer:
            raise RenderError(answer["error"])
        return answer["ok"]


@contextmanager
def renderer(chart: Path = CHART) -> Iterator[Renderer]:
    """Start the process that renders, and end it."""
    command = [sys.executable, str(Path(__file__).with_name("worker.py")), str(chart)]
    with subprocess.Popen(  # noqa: S603 - ours
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield Renderer(process)


class _Strict(yaml.CSafeLoader):
    """Refuses a key that is there twice."""

    def construct_mapping(
        self, node: yaml.MappingNode, deep: bool = False
    ) -> dict[Hashable, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(
                    None, None, f"{key!r} is there twice", node.start_mark
                )
        return super().construct_mapping(node, deep)
