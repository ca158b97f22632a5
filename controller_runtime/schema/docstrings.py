"""What the source says about a field: the string beneath it.

Read when a schema is made and not when a class is: nobody else pays for it, and no
model has to ask for it (pydantic's `use_attribute_docstrings` would have both).
"""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Iterator, Mapping
from functools import cache
from itertools import pairwise


def field_docstrings(model: type) -> Mapping[str, str]:
    """Return the docstrings of a class's fields, inherited ones included.

    A class whose source is not at hand has none.
    """
    found: dict[str, str] = {}
    for cls in reversed(model.__mro__):
        found |= _own(cls)
    return found


def one_paragraph_a_line(text: str) -> str:
    """Undo the wrapping of a docstring; lists and indented lines stay as they are."""
    lines = inspect.cleandoc(text).strip()
    return re.sub(r"(?<!\n)\n(?![\n\s*-])", " ", lines)


@cache
def _own(cls: type) -> Mapping[str, str]:
    if cls.__module__ in {"builtins", "pydantic.main"}:
        return {}
    try:
        source = textwrap.dedent(inspect.getsource(cls))
    except (OSError, TypeError):
        return {}
    definition = ast.parse(source).body[0]
    return dict(_documented(definition)) if isinstance(definition, ast.ClassDef) else {}


def _documented(definition: ast.ClassDef) -> Iterator[tuple[str, str]]:
    for field, beneath in pairwise(definition.body):
        match field, beneath:
            case (
                ast.AnnAssign(target=ast.Name(id=name)),
                ast.Expr(value=ast.Constant(value=str(text))),
            ):
                yield name, text
            case _:
                pass
