"""Where templates run: Jinja's sandbox, with less in it and an end to everything.

A template is written by the author of a catalogue and fed by whoever may edit the
source object. It can reach data and the functions that it is given, no attribute of a
Python object but a few methods; its loops, calls, values and output are counted, so it
ends within a time and a size; and there is nothing in reach that differs between two
runs.

A value that holds another one twice doubles with each turn of a loop, at no cost until
it is printed or compared, which nothing can end. So what is put together is measured
when it is put together.
"""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager
from functools import wraps
from typing import Any

from jinja2 import BaseLoader, StrictUndefined, Template, TemplateNotFound, nodes
from jinja2.environment import Environment
from jinja2.runtime import Context, LoopContext, Macro
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

from controllers.autopilot.documents import MAX_BYTES

_FILTERS = (
    "abs",
    "capitalize",
    "count",
    "dictsort",
    "first",
    "float",
    "int",
    "items",
    "last",
    "length",
    "list",
    "lower",
    "max",
    "min",
    "reject",
    "rejectattr",
    "reverse",
    "round",
    "select",
    "selectattr",
    "sort",
    "string",
    "title",
    "trim",
    "unique",
    "upper",
)
"""Jinja's own that stay: none that is random, writes HTML, or reaches attributes."""

_METHODS: Mapping[type, frozenset[str]] = {
    str: frozenset(
        {
            "endswith",
            "lower",
            "lstrip",
            "removeprefix",
            "removesuffix",
            "rstrip",
            "split",
            "splitlines",
            "startswith",
            "strip",
            "upper",
        }
    ),
    dict: frozenset(["get", "items", "keys", "values"]),
}

_STEPS_BETWEEN_LOOKS = 64
_MAX_MADE = 4 * MAX_BYTES
"""Most that the values of one run may take, together and about, in bytes."""

_ITEM_BYTES = 32
"""What an item of a list or map takes, at the least."""

_MAX_ITEMS = 100_000
"""Most items in a value, those of what it holds included."""

_MAX_BITS = 4096
"""Longest integer that arithmetic may make."""


class TooMuchError(Exception):
    """A template takes too long or makes too much; the text says which."""


class Budget:
    """What is left to one run, of time and of output."""

    def __init__(
        self, seconds: float, clock: Callable[[], float] = time.thread_time
    ) -> None:
        self._seconds = seconds
        self._clock = clock
        self._end = clock() + seconds
        self._steps = 0
        self._printed = 0
        self._made = 0
        self._output = 0

    def step(self) -> None:
        """Count a turn of a loop or a call.

        Raises:
            TooMuchError: The time is over: that of this thread, so that a template
                does not fail because the machine is busy.
        """
        self._steps += 1
        if self._steps % _STEPS_BETWEEN_LOOKS == 0 and self._clock() > self._end:
            raise TooMuchError(f"it takes longer than {self._seconds:g} s")

    def make(self, size: int) -> None:
        """Count what a value takes, be it thrown away at once.

        Raises:
            TooMuchError: All of them take more than a template has use for.
        """
        self._made += size
        if self._made > _MAX_MADE:
            raise TooMuchError(f"it makes values of more than {_MAX_MADE} bytes")

    def print(self, characters: int) -> None:
        """Count what expressions print, be it into a variable.

        Raises:
            TooMuchError: It is more than a file may have.
        """
        self._printed += characters
        if self._printed > MAX_BYTES:
            raise TooMuchError(f"it prints more than {MAX_BYTES} characters")

    def write(self, characters: int) -> None:
        """Count what comes out in the end.

        Raises:
            TooMuchError: It is more than a file may have.
        """
        self._output += characters
        if self._output > MAX_BYTES:
            raise TooMuchError(f"it makes more than {MAX_BYTES} characters")


class Sandbox(ImmutableSandboxedEnvironment):
    """The environment of all templates of a catalogue; safe to use in threads."""

    intercepted_binops = frozenset({"+", "*", "**", "%", "//"})

    def __init__(
        self,
        files: Mapping[str, str],
        functions: Mapping[str, Callable[..., Any]],
        filters: Mapping[str, Callable[..., Any]],
        tests: Mapping[str, Callable[..., bool]],
    ) -> None:
        super().__init__(
            undefined=StrictUndefined,
            autoescape=False,
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
            auto_reload=False,
            loader=_CatalogLoader(files),
            finalize=self._print,
        )
        self._running = threading.local()
        kept: dict[str, Any] = {name: self.filters[name] for name in _FILTERS}
        self.filters = {
            name: self._counted(function)
            for name, function in (kept | dict(filters)).items()
        }
        self.tests |= tests
        for name in ("lipsum", "cycler", "joiner"):
            del self.globals[name]
        self.globals |= functions

    @contextmanager
    def within(self, budget: Budget) -> Iterator[None]:
        """Count what this thread renders against a budget."""
        self._running.budget = budget
        try:
            yield
        finally:
            del self._running.budget

    def tick(self) -> str:
        """Count a turn of a loop; every loop of a template calls this."""
        budget: Budget | None = getattr(self._running, "budget", None)
        if budget is not None:
            budget.step()
        return ""

    def get_template(self, *args: Any, **kwargs: Any) -> Template:
        """Count an `include`, `import` or `extends` like a turn of a loop."""
        self.tick()
        return super().get_template(*args, **kwargs)

    def get_or_select_template(self, *args: Any, **kwargs: Any) -> Template:
        """Count it, as `get_template` does."""
        self.tick()
        return super().get_or_select_template(*args, **kwargs)

    def select_template(self, *args: Any, **kwargs: Any) -> Template:
        """Count it, as `get_template` does."""
        self.tick()
        return super().select_template(*args, **kwargs)

    def collection(self, value: Any) -> Any:
        """Return a list or map that a template has put together, if it is no bomb."""
        self._make(_ITEM_BYTES * measured(value))
        return value

    def concatenate(self, *parts: object) -> str:
        """Do what `~` does."""
        texts = [self._print(part) for part in parts]
        bounded(sum(map(len, texts)))
        return "".join(texts)

    def getattr(self, obj: Any, attribute: str) -> Any:
        """Prefer what is in a map to what Python has by the same name."""
        if isinstance(obj, Mapping) and attribute in obj:
            return obj[attribute]
        return super().getattr(obj, attribute)

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        if isinstance(obj, Namespace | LoopContext | Macro):
            return not attr.startswith("_")
        kind = dict if isinstance(obj, Mapping) else type(obj)
        return attr in _METHODS.get(kind, ())

    def wrap_str_format(self, value: Any) -> None:
        """Have no `str.format`: a width in it makes as many characters."""

    def call(
        self,
        context: Context,
        obj: Any,
        /,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        self.tick()
        made = super().call(context, obj, *args, **kwargs)
        return self.collection(made) if obj is dict else self._sized(made)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        self.tick()
        match operator:
            case "%" if isinstance(left, str):
                raise TooMuchError("% does not format strings here: use ~")
            case "+" if isinstance(left, Sequence) and isinstance(right, Sequence):
                self._make(_size(left) + _size(right))
            case "*" if isinstance(left, Sequence) or isinstance(right, Sequence):
                amounts = [_amount(each) for each in (left, right)]
                is_text = isinstance(left, str) or isinstance(right, str)
                self._make(math.prod(amounts) * (1 if is_text else _ITEM_BYTES))
            case "*" if _bits(left) + _bits(right) > _MAX_BITS:
                raise TooMuchError("a number is too large")
            case "**" if _bits(left) * abs(right) > _MAX_BITS:
                raise TooMuchError("a number is too large")
            case _:
                pass
        made = super().call_binop(context, operator, left, right)
        return self.collection(made) if isinstance(made, list | tuple) else made

    def _counted(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def counted(*args: Any, **kwargs: Any) -> Any:
            return self._sized(function(*args, **kwargs))

        return counted

    def _sized(self, value: Any) -> Any:
        if isinstance(value, str | list | tuple | Mapping):
            self._make(_size(value))
        return value

    def _make(self, size: int) -> None:
        bounded(size)
        budget: Budget | None = getattr(self._running, "budget", None)
        if budget is not None:
            budget.make(size)

    def _print(self, value: object) -> str:
        """Write a value as YAML has it: `true`, `null`, and maps as JSON."""
        text = value if isinstance(value, str) else printed(value)
        budget: Budget | None = getattr(self._running, "budget", None)
        if budget is not None:
            budget.print(len(text))
        return text


def printed(value: object) -> str:
    """Write a value that is no string.

    Raises:
        TypeError: It is neither data nor undefined.
    """
    if isinstance(value, StrictUndefined):
        return str(value)  # raises, and says what is undefined
    if isinstance(value, Mapping):
        value = dict(value)
    return json.dumps(value, ensure_ascii=False, sort_keys=True, allow_nan=False)


def bounded(length: int) -> int:
    """Return a length that is about to be.

    Raises:
        TooMuchError: It is more than a file may have.
    """
    if length > MAX_BYTES:
        raise TooMuchError(f"it makes a value of more than {MAX_BYTES} characters")
    return length


def measured(value: object) -> int:
    """Count the items of a value and of what it holds, as often as it holds it.

    Raises:
        TooMuchError: There are more than a template has use for.
    """
    left: list[object] = [value]
    items = 0
    while left:
        each = left.pop()
        if isinstance(each, Mapping):
            left.extend(each.values())
        elif isinstance(each, list | tuple):
            left.extend(each)
        items += 1
        if items + len(left) > _MAX_ITEMS:
            raise TooMuchError(f"it makes a value of more than {_MAX_ITEMS} items")
    return items


def _size(value: Any) -> int:
    return len(value) * (1 if isinstance(value, str) else _ITEM_BYTES)


class _CatalogLoader(BaseLoader):
    """Loads templates from a catalogue alone, with every loop counted."""

    def __init__(self, files: Mapping[str, str]) -> None:
        self._files = files

    def load(
        self,
        environment: Environment,
        name: str,
        globals: MutableMapping[str, Any] | None = None,  # noqa: A002 - Jinja's
    ) -> Template:
        source = self._files.get(name)
        if source is None:
            raise TemplateNotFound(name, f"the catalogue has no file {name}")
        tree = environment.parse(source, name, name)
        _count(tree)
        code = environment.compile(tree, name, name)
        return environment.template_class.from_code(
            environment, code, {} if globals is None else globals
        )


def _count(tree: nodes.Template) -> None:
    """Have loops, `~`, and lists and maps of values, go through the sandbox."""
    for loop in list(tree.find_all(nodes.For)):
        tick = _through("tick", loop.lineno)
        loop.body.insert(0, nodes.ExprStmt(tick, lineno=loop.lineno))
    _rewrite(tree)


def _rewrite(node: nodes.Node) -> None:
    for child in node.iter_child_nodes():
        _rewrite(child)
    for field, value in node.iter_fields():
        if isinstance(value, nodes.Node):
            setattr(node, field, _counting(value))
        elif isinstance(value, list):
            value[:] = [
                _counting(each) if isinstance(each, nodes.Node) else each
                for each in value
            ]


def _counting(node: nodes.Node) -> nodes.Node:
    match node:
        case nodes.Concat():
            return _through("concatenate", node.lineno, *node.nodes)
        case nodes.Tuple(ctx=ctx) if ctx != "load":
            return node  # names that are assigned to
        case nodes.List() | nodes.Tuple() | nodes.Dict() if not _is_constant(node):
            return _through("collection", node.lineno, node)
        case _:
            return node


def _is_constant(node: nodes.Expr) -> bool:
    names = node.find_all((nodes.Name, nodes.Call, nodes.Filter, nodes.BinExpr))
    return next(iter(names), None) is None


def _through(function: str, line: int, *arguments: nodes.Expr) -> nodes.Call:
    named = nodes.EnvironmentAttribute(function, lineno=line)
    return nodes.Call(named, list(arguments), [], None, None, lineno=line)


def _amount(value: object) -> int:
    return len(value) if isinstance(value, Sequence) else int(value or 0)  # type: ignore[call-overload]  # a number, or it raises


def _bits(value: object) -> int:
    return value.bit_length() if isinstance(value, int) else 0
