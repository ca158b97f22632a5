"""A flag for each setting, made of the settings themselves.

    Settings.reload.workers ─▶ --reload-workers 4 ─▶ {"reload.workers": "4"} ─▶ load

So a setting is written down once: its name, its default, and the sentence beneath it,
which is the help. Values stay text; `settings.load` reads them, as it reads those of
the environment, and says what is wrong with one.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin

import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from controllers.settings import Settings

T = TypeVar("T")

_DOT = "__"
"""Stands for the dot of a dotted name in a name of Python."""


def with_settings(command: Callable[..., T]) -> Callable[..., T]:
    """Give a command a flag for each setting; it takes them as `**flags`.

    Those that are not given are `None`. `values` gives them their names back.
    """
    signature = inspect.signature(command, eval_str=True)
    own = [
        parameter
        for parameter in signature.parameters.values()
        if parameter.kind is not inspect.Parameter.VAR_KEYWORD
    ]
    flags = [_parameter(name, field) for name, field in _settings(Settings)]
    # typer reads both, and asks neither where they come from.
    vars(command)["__signature__"] = signature.replace(parameters=[*own, *flags])
    command.__annotations__ |= {flag.name: flag.annotation for flag in flags}
    return command


def values(flags: Mapping[str, object]) -> dict[str, object]:
    """Return the flags of a command under the dotted names of their settings."""
    return {name.replace(_DOT, "."): value for name, value in flags.items()}


def _settings(
    model: type[BaseModel], prefix: str = ""
) -> Iterator[tuple[str, FieldInfo]]:
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from _settings(kind, f"{prefix}{name}.")
        else:
            yield prefix + name, field


def _parameter(name: str, field: FieldInfo) -> inspect.Parameter:
    flag = re.sub(r"[._]", "-", name)
    is_switch = field.annotation is bool
    spelled = f"--{flag}/--no-{flag}" if is_switch else f"--{flag}"
    kind: Any = bool | None if is_switch else str | None
    option = typer.Option(
        spelled, help=_help(field), show_default=False, metavar=_metavar(field)
    )
    return inspect.Parameter(
        name.replace(".", _DOT),
        inspect.Parameter.KEYWORD_ONLY,
        default=None,
        annotation=Annotated[kind, option],
    )


def _metavar(field: FieldInfo) -> str | None:
    """Say what a value looks like: the words there are, or what kind of thing."""
    kind = field.annotation
    several = get_origin(kind) is tuple
    if several:
        kind = get_args(kind)[0]
    if get_origin(kind) is Literal:
        shown = "|".join(map(str, get_args(kind)))
    else:
        parts = set(get_args(kind)) or {kind}
        shown = next((it for known, it in _METAVARS.items() if known in parts), "text")
    return f"{shown},…" if several else shown


_METAVARS: Mapping[Any, str] = {
    bool: "",
    int: "number",
    float: "number",
    timedelta: "time",
    Path: "path",
}


def _help(field: FieldInfo) -> str:
    text = " ".join((field.description or "").replace("`", "").split())
    default = _shown(field.get_default(call_default_factory=True))
    return f"{text} (default: {default})" if default else text


def _shown(value: object) -> str:
    match value:
        case bool():
            return "on" if value else "off"
        case timedelta():
            return f"{value.total_seconds():g}"
        case tuple():
            return ",".join(map(str, value))
        case None:
            return ""
        case _:
            return str(value)
