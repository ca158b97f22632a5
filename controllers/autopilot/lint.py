"""What is wrong with a catalogue although it loads (pure).

    templates ──▶ a value of the source object that is not quoted
    objects   ──▶ what the CRD does not take, and what YAML readers disagree about
    entries   ──▶ an asset that nothing can turn on

Whoever may edit the source object chooses its values. A value that a template prints as
it is can add fields, or a whole object: `q` makes it a value and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import yaml
from jinja2 import Environment, TemplateSyntaxError, nodes

from controller_runtime import Json
from controllers.autopilot.assets import Asset, Catalog
from controllers.autopilot.documents import traps
from controllers.autopilot.metadata import Install
from controllers.autopilot.schemas import object_misfits, schema_of

_TAINTED = frozenset(
    {
        "source",
        "hco",
        "source_get",
        "hco_get",
        "source_ns",
        "get_config_map_data",
        "crd_enum",
        "storage_profile_rwx_class",
    }
)
"""What gives values that others than the catalogue's author choose."""

_CLEAN = frozenset(
    {"q", "quote", "to_json", "int", "float", "round", "length", "count", "b64enc"}
)
"""Filters after which a value cannot be more than one."""


def entry_problems(catalog: Catalog) -> Iterator[str]:
    """Yield what is wrong with the catalogue's entries."""
    for asset in catalog.assets:
        if asset.install is Install.OPT_IN and not asset.conditions:
            yield f"asset {asset.name} is opt-in and nothing turns it on"


def template_problems(catalog: Catalog) -> Iterator[str]:
    """Yield places where a template prints a value that is not its author's."""
    # Never renders anything, so what the sandbox keeps out does not matter.
    environment = Environment(autoescape=False)  # noqa: S701
    for path, text in catalog.files.items():
        if not path.endswith(".j2"):
            continue
        try:
            tree = environment.parse(text, path, path)
        except TemplateSyntaxError as error:
            yield f"{path}:{error.lineno}: {error.message}"
            continue
        yield from _unquoted(path, tree)


def object_problems(
    asset: Asset, obj: Json, text: str, crds: Mapping[str, Json]
) -> Iterator[str]:
    """Yield what is wrong with what came of an asset.

    Args:
        asset: Where it came from.
        obj: The object.
        text: The YAML that it was read from.
        crds: By name.
    """
    crd = crds.get(asset.required_crd)
    if crd is not None:
        schema = schema_of(crd, asset.kind.version)
        if schema is None:
            yield f"{asset.name}: {asset.required_crd} has no {asset.kind.version}"
        else:
            for misfit in object_misfits(obj, schema):
                yield f"{asset.name}: {misfit}"
    try:
        for trap in traps(text):
            yield f"{asset.path}, line {trap.line} made: {trap.text} {trap.reason}"
    except yaml.YAMLError as error:
        yield f"{asset.path} made no YAML: {error}"


def _unquoted(path: str, tree: nodes.Template) -> Iterator[str]:
    tainted = _tainted_names(tree)
    for output in tree.find_all(nodes.Output):
        for each in output.nodes:
            if not isinstance(each, nodes.TemplateData) and _is_tainted(each, tainted):
                yield (
                    f"{path}:{each.lineno}: a value that is not the catalogue's is "
                    "printed as it is; put `| q` behind it"
                )


def _tainted_names(tree: nodes.Template) -> frozenset[str]:
    """Follow values through `set` and `for`, until nothing new is found."""
    names, before = _TAINTED, frozenset[str]()
    while names != before:
        before = names
        for assign in tree.find_all(nodes.Assign):
            if _is_tainted(assign.node, names):
                names |= _targets(assign.target)
        for block in tree.find_all(nodes.With):
            for target, value in zip(block.targets, block.values, strict=True):
                if _is_tainted(value, names):
                    names |= _targets(target)
        for loop in tree.find_all(nodes.For):
            if _is_tainted(loop.iter, names):
                names |= _targets(loop.target)
    return names


def _targets(target: nodes.Node) -> frozenset[str]:
    names = {name.name for name in target.find_all(nodes.Name)}
    match target:
        case nodes.Name(name=name) | nodes.NSRef(name=name):
            names.add(name)
        case _:
            pass
    return frozenset(names)


def _is_tainted(node: nodes.Node, names: frozenset[str]) -> bool:
    match node:
        case nodes.Name(name=name):
            return name in names
        case nodes.Filter(name=name) if name in _CLEAN:
            return False
        case nodes.Compare() | nodes.Test() | nodes.Not():
            return False
        case nodes.CondExpr():
            chosen = (node.expr1, node.expr2)
            return any(_is_tainted(each, names) for each in chosen if each is not None)
        case _:
            return any(_is_tainted(each, names) for each in node.iter_child_nodes())
