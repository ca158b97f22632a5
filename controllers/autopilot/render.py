"""Templates become objects, the same bytes for the same input.

    asset + context ──▶ Jinja, in a sandbox, in a thread ──▶ YAML ──▶ one object
                               │ asks                            └──▶ nothing at all
                               ▼
                            lookups

A template that asks about the cluster is rendered again with the answers, until it asks
nothing new: what it did with a guess is thrown away, its errors too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, NamedTuple

from jinja2 import TemplateError, TemplateSyntaxError

from controller_runtime import Json
from controllers.autopilot.assets import Asset, Catalog
from controllers.autopilot.context import RenderContext
from controllers.autopilot.documents import read_object
from controllers.autopilot.errors import AutopilotError, RenderError
from controllers.autopilot.facts import Fact
from controllers.autopilot.functions import FILTERS, FUNCTIONS, TESTS, inquiring
from controllers.autopilot.lookups import (
    Answer,
    Inquiry,
    Lookup,
    Resolve,
    knows_nothing,
)
from controllers.autopilot.sandbox import Budget, Sandbox, TooMuchError

DEADLINE = timedelta(seconds=5)
"""How long one run of a template may compute."""

_TEMPLATE = ".j2"
_MAX_RUNS = 20
"""Most runs of one template: each asks something new, and no sane one asks that often
for what an answer has told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """What came of an asset."""

    object: Json | None
    """A fresh one; `None` if the template says that there is nothing to do here."""

    inputs: frozenset[Lookup] = field(default=frozenset())
    """What it asked of the cluster: render again when one of these changes."""

    unknown: tuple[str, ...] = ()
    """What it asked and could not be told; the object may be another where it is
    known."""

    text: str = ""
    """The YAML that the object was read from."""


class _Run(NamedTuple):
    """One run of a template."""

    rendered: Rendered | None
    unanswered: frozenset[Lookup] = frozenset()


class Renderer:
    """Renders the assets of one catalogue; keeps its templates compiled."""

    def __init__(self, catalog: Catalog, *, deadline: timedelta = DEADLINE) -> None:
        self._catalog = catalog
        self._deadline = deadline
        self._sandbox = Sandbox(catalog.files, FUNCTIONS, FILTERS, TESTS)

    async def render(
        self, asset: Asset, context: RenderContext, resolve: Resolve = knows_nothing
    ) -> Rendered:
        """Make the object of an asset.

        The object is as the template says: no label is added to it.

        Args:
            asset: One of the catalogue.
            context: What the template reads.
            resolve: Answers what the template asks, once for each question. Several
                assets ask the same: remember answers for as long as a sweep lasts.

        Raises:
            RenderError: The template is wrong, undefined values included; takes too
                long; makes too much, no object, or several.
        """
        answers: dict[Lookup, Answer] = {}
        for _ in range(_MAX_RUNS):
            # No timeout: the run counts its own time, and nothing in it waits.
            run = await asyncio.to_thread(self._run, asset, context, answers)
            if run.rendered is not None:
                return run.rendered
            for lookup in sorted(run.unanswered):
                answers[lookup] = await resolve(lookup)
        raise RenderError(
            f"{asset.path}: after {_MAX_RUNS} runs it still asks for something new"
        )

    def render_now(
        self, asset: Asset, context: RenderContext, answers: Mapping[Lookup, Answer]
    ) -> Rendered:
        """Make the object of an asset, blocking; what is not in `answers` is unknown.

        Raises:
            RenderError: As `render`.
        """
        known = dict(answers)
        while True:
            run = self._run(asset, context, known)
            if run.rendered is not None:
                return run.rendered
            known |= dict.fromkeys(run.unanswered)

    def _run(
        self, asset: Asset, context: RenderContext, answers: Mapping[Lookup, Answer]
    ) -> _Run:
        inquiry = Inquiry(answers)
        try:
            made, text = self._object(asset, context, inquiry)
        except RenderError:
            if inquiry.unanswered:
                return _Run(None, frozenset(inquiry.unanswered))
            raise
        if inquiry.unanswered:
            return _Run(None, frozenset(inquiry.unanswered))
        return _Run(
            Rendered(
                object=made,
                inputs=frozenset(inquiry.asked),
                unknown=tuple(inquiry.unknown),
                text=text,
            )
        )

    def _object(
        self, asset: Asset, context: RenderContext, inquiry: Inquiry
    ) -> tuple[Json | None, str]:
        path = asset.path
        if path.endswith(_TEMPLATE):
            text = self._text(asset, context, inquiry)
        else:
            text = self._catalog.files[path]
        try:
            made = read_object(text, origin=path)
        except AutopilotError as error:
            raise RenderError(f"what came of {error}") from None
        if made is not None:
            _check(made, asset)
        return made, text

    def _text(self, asset: Asset, context: RenderContext, inquiry: Inquiry) -> str:
        budget = Budget(self._deadline.total_seconds())
        variables = _variables(self._catalog, asset, context, inquiry)
        try:
            with self._sandbox.within(budget):
                template = self._sandbox.get_template(asset.path)
                return "".join(_counted(template.generate(variables), budget))
        except TemplateSyntaxError as error:
            place = f"{error.filename or asset.path}:{error.lineno}"
            raise RenderError(f"{place}: {error.message}") from None
        except (RecursionError, SyntaxError, MemoryError):
            # The last two are the compiler's, of what Jinja makes of the template.
            raise RenderError(
                f"{asset.path} is nested too deeply, or a macro calls itself too often"
            ) from None
        except (
            TemplateError,
            TooMuchError,
            AutopilotError,
            ArithmeticError,
            AttributeError,
            LookupError,
            TypeError,
            ValueError,
        ) as error:
            place = _place(error, self._catalog) or asset.path
            raise RenderError(f"{place}: {error}") from None


def _counted(chunks: Iterator[str], budget: Budget) -> Iterator[str]:
    for chunk in chunks:
        budget.write(len(chunk))
        yield chunk


def _check(made: Json, asset: Asset) -> None:
    path = asset.path
    kind = asset.kind
    if (made.get("apiVersion"), made.get("kind")) != (kind.api_version, kind.kind):
        raise RenderError(f"{path} made another kind than {kind}")
    metadata = made.get("metadata")
    if not isinstance(metadata, dict) or not isinstance(metadata.get("name"), str):
        raise RenderError(f"{path} made an object without a name")


def _place(error: Exception, catalog: Catalog) -> str:
    """Find file and line of the template that failed."""
    place, traceback = "", error.__traceback__
    while traceback is not None:
        file = traceback.tb_frame.f_code.co_filename
        if file in catalog.files:
            place = f"{file}:{traceback.tb_lineno}"
        traceback = traceback.tb_next
    return place


def _variables(
    catalog: Catalog, asset: Asset, context: RenderContext, inquiry: Inquiry
) -> dict[str, Any]:
    identity = context.identity
    return {
        "source": context.source.obj,
        "hco": context.source.obj,
        "source_get": context.source.get,
        "hco_get": context.source.get,
        "source_ns": context.source.namespace,
        "hardware": _Known(context.facts.hardware, "hardware", inquiry),
        "topology": _Known(context.facts.topology, "topology", inquiry),
        "images": context.images,
        "params": asset.params,
        "metrics_prefix": context.metrics_prefix,
        "identity": {
            "domain": identity.domain,
            "managed_by_label": identity.managed_by_label,
            "managed_by_value": identity.managed_by_value,
            "field_manager": identity.field_manager,
        },
        "read_asset": _reader(catalog),
        **inquiring(inquiry),
    }


def _reader(catalog: Catalog) -> Callable[[str], str]:
    def read_asset(path: str) -> str:
        """Return a file of the catalogue, by its path below `active`."""
        text = catalog.files.get(f"active/{path}")
        if text is None:
            raise RenderError(f"the catalogue has no file active/{path}")
        return text

    return read_asset


class _Known(Mapping[str, object]):
    """Facts as a template sees them; reading one that is unknown is noted."""

    def __init__(self, facts: Mapping[str, Fact], name: str, inquiry: Inquiry) -> None:
        self._facts = facts
        self._name = name
        self._inquiry = inquiry

    def __getitem__(self, key: str) -> object:
        if key not in self._facts:
            known = ", ".join(sorted(self._facts)) or "none"
            raise RenderError(f"{self._name} has no {key}; there are {known}")
        value = self._facts[key].value
        if value is None:
            self._inquiry.unknown[f"{self._name}.{key}"] = None
        return value

    def __iter__(self) -> Iterator[str]:
        return iter(self._facts)

    def __len__(self) -> int:
        return len(self._facts)

    def __contains__(self, key: object) -> bool:
        return key in self._facts
