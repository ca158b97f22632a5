"""Which kinds templates may ask the cluster about, without running them (pure).

Roles are written from this: what a template asks in one cluster, and in another does
not, it must be allowed to ask in both.
"""

from __future__ import annotations

from collections.abc import Iterator

from jinja2 import Environment, TemplateSyntaxError, nodes

from controller_runtime import GroupVersionKind
from controllers.autopilot.assets import Catalog
from controllers.autopilot.errors import CatalogError
from controllers.autopilot.functions import ASKED_KINDS, OBJECT_EXISTS


def asked_kinds(catalog: Catalog) -> frozenset[GroupVersionKind]:
    """Return the kinds that any template of a catalogue may ask about.

    Raises:
        CatalogError: A template is no Jinja, or asks `object_exists` about a kind that
            is not written there in words.
    """
    # Never renders anything, so what the sandbox keeps out does not matter.
    environment = Environment(autoescape=False)  # noqa: S701
    return frozenset(
        kind
        for path, text in catalog.files.items()
        if path.endswith(".j2")
        for kind in _in_template(environment, path, text)
    )


def _in_template(
    environment: Environment, path: str, text: str
) -> Iterator[GroupVersionKind]:
    try:
        tree = environment.parse(text, path, path)
    except TemplateSyntaxError as error:
        raise CatalogError(f"{path}:{error.lineno}: {error.message}") from None
    for call in tree.find_all(nodes.Call):
        match call.node:
            case nodes.Name(name=name) if name in ASKED_KINDS:
                yield ASKED_KINDS[name]
            case nodes.Name(name=name) if name == OBJECT_EXISTS:
                yield _literal_kind(path, call)
            case _:
                pass


def _literal_kind(path: str, call: nodes.Call) -> GroupVersionKind:
    match call.args:
        case [nodes.Const(value=str(api_version)), nodes.Const(value=str(kind)), *_]:
            return GroupVersionKind.parse(api_version, kind)
        case _:
            raise CatalogError(
                f"{path}:{call.lineno}: {OBJECT_EXISTS} wants apiVersion and kind in "
                "words, so that a role can be written"
            )
