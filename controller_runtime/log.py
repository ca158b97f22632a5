"""Set-up of structlog: JSON or logfmt for machines, columns for people.

Every line carries `level`, `ts` and what the worker bound: `controller`, its kind as
`controllerGroup` and `controllerKind`, the object as `namespace`, `name` and, under the
name of its kind, both (`Deployment="shop/web"`), and `reconcileID`. Lines of libraries
that use `logging` take the same way out. Secrets are kept out where lines are written;
nothing here could tell them from other text.
"""

from __future__ import annotations

import logging
import sys
from typing import Literal, TextIO

import structlog
import structlog.tracebacks

Format = Literal["json", "logfmt", "console"]
Level = Literal["debug", "info", "warning", "error"]


def configure(
    format: Format = "json",  # noqa: A002 - the flag's name
    level: Level = "info",
    *,
    stream: TextIO | None = None,
    timestamp_key: str = "ts",
) -> None:
    """Send every log line of the process to `stream` (stderr), from `level` up.

    For the program's entry point: a library never calls it.

    Args:
        format: What a line looks like. `logfmt` is `key=value`, as logrus writes it.
        level: What is left out: whatever is less.
        stream: Where lines go.
        timestamp_key: What the time is called; `time` in logrus.
    """
    out = stream or sys.stderr
    number = logging.getLevelNamesMapping()[level.upper()]
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key=timestamp_key),
        structlog.processors.StackInfoRenderer(),
    ]
    render: list[structlog.typing.Processor] = _renderer(format, out, timestamp_key)
    structlog.configure(
        processors=[*shared, *render],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(out),
        cache_logger_on_first_use=True,
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            *render,
        ],
        foreign_pre_chain=shared,
    )
    handler = logging.StreamHandler(out)
    handler.setFormatter(formatter)
    logging.basicConfig(handlers=[handler], level=max(number, logging.WARNING))


def _renderer(
    format_: Format, out: TextIO, timestamp_key: str
) -> list[structlog.typing.Processor]:
    if format_ == "json":
        return [
            structlog.processors.ExceptionRenderer(_tracebacks_without_locals()),
            structlog.processors.EventRenamer("msg"),
            structlog.processors.JSONRenderer(),
        ]
    if format_ == "logfmt":
        return [
            structlog.processors.format_exc_info,
            structlog.processors.EventRenamer("msg"),
            structlog.processors.LogfmtRenderer(
                key_order=[timestamp_key, "level", "msg"]
            ),
        ]
    return [
        structlog.dev.ConsoleRenderer(
            colors=out.isatty(),
            timestamp_key=timestamp_key,
            # The default shows local variables, which may be Secrets.
            exception_formatter=structlog.dev.plain_traceback,
        ),
    ]


def _tracebacks_without_locals() -> structlog.tracebacks.ExceptionDictTransformer:
    return structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
