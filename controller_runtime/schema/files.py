"""CRDs and their documentation as files: written, or compared with what is there.

    models ──render──▶ name → text ──write──▶ folder
                                   ──drift──▶ what `write` would change

The same models make the same bytes, so the files can be checked in and a gate can tell
that somebody changed one side alone. Blocking: for command lines and tests.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import yaml

from controller_runtime.errors import SchemaError
from controller_runtime.meta import Json, KubeObject
from controller_runtime.schema.crd import crds_for
from controller_runtime.schema.options import CrdOptions
from controller_runtime.schema.reference import reference_of

HEADER = "# Made from the models by controller_runtime.schema. Do not edit.\n"
"""First line of every file of ours: a folder may have others."""

PAGE_HEADER = (
    "<!-- Made from the models by controller_runtime.schema. Do not edit. -->\n"
)

WIDTH = 88


def models_in(*modules: str) -> list[type[KubeObject]]:
    """Import modules and return the kinds with `crd` that they define, in their order.

    Args:
        modules: Such as `website`, or `website:Website` for one model of it.

    Raises:
        SchemaError: There is no such module, or nothing in it.
    """
    return [model for each in modules for model in _models_in(each)]


def render(
    models: Iterable[type[KubeObject]], *, description_limit: int | None = None
) -> dict[str, str]:
    """Return the CRDs as YAML: `<group>_<plural>.yaml` → text."""
    made = crds_for(models, description_limit=description_limit)
    names = [f"{crd['spec']['group']}_{crd['spec']['names']['plural']}" for crd in made]
    return {f"{name}.yaml": to_yaml(crd) for name, crd in zip(names, made, strict=True)}


def render_reference(models: Iterable[type[KubeObject]]) -> dict[str, str]:
    """Return the documentation of the CRDs: `<group>_<kind>.md` → Markdown."""
    return {
        f"{crd['spec']['group']}_{crd['spec']['names']['kind'].lower()}.md": PAGE_HEADER
        + reference_of(crd)
        for crd in crds_for(models)
    }


def to_yaml(crd: Json) -> str:
    """Return a CRD as YAML, in the order of its keys."""
    text = yaml.dump(
        crd, Dumper=_Plain, sort_keys=False, allow_unicode=True, width=WIDTH
    )
    return f"{HEADER}---\n{text}"


def write(
    files: Mapping[str, str], folder: Path, *, complete: bool = False
) -> list[str]:
    """Write files and return the names of those that changed.

    Args:
        files: Name → text.
        folder: Is made if need be.
        complete: These are all: another one of ours in the folder is removed.
    """
    changed = [name for name, _ in _differences(files, folder, complete=complete)]
    for name in changed:
        if name in files:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(files[name], encoding="utf-8")
        else:
            (folder / name).unlink()
    return changed


def drift(
    files: Mapping[str, str], folder: Path, *, complete: bool = False
) -> list[str]:
    """Return what `write` would change, one line each."""
    return [
        f"{folder / name} {what}"
        for name, what in _differences(files, folder, complete=complete)
    ]


class _Plain(yaml.SafeDumper):
    """Repeats what is there twice instead of inventing anchors."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Plain.add_representer(str, _text)


def _differences(
    files: Mapping[str, str], folder: Path, *, complete: bool
) -> Iterator[tuple[str, str]]:
    for name, text in files.items():
        path = folder / name
        if not path.exists():
            yield name, "is missing"
        elif path.read_text(encoding="utf-8") != text:
            yield name, "is not what the models say"
    if complete and folder.is_dir():
        for path in sorted(folder.iterdir()):
            if path.name not in files and path.is_file() and _is_ours(path):
                yield path.name, "belongs to no model"


def _is_ours(path: Path) -> bool:
    with path.open(encoding="utf-8") as file:
        return file.readline() in {HEADER, PAGE_HEADER}


def _models_in(target: str) -> list[type[KubeObject]]:
    name, _, wanted = target.partition(":")
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if not error.name or not f"{name}.".startswith(f"{error.name}."):
            raise
        raise SchemaError(
            f"there is no module {name!r}: name it as in an import, and be in the "
            "folder that it is imported from"
        ) from None
    found = [
        value
        for attribute, value in vars(module).items()
        if isinstance(value, type)
        and issubclass(value, KubeObject)
        and isinstance(getattr(value, "crd", None), CrdOptions)
        and (attribute == wanted if wanted else value.__module__ == module.__name__)
    ]
    if not found:
        raise SchemaError(
            f"{target} has no kind of its own: a KubeObject with "
            "`crd: ClassVar = CrdOptions()`"
        )
    return found
