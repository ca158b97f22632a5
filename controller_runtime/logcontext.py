"""What a worker binds for all that is logged while it works on a key.

    around the worker, the controller's own ─┐
    the key's: Deployment, reconcileID … ────┴─▶ structlog's context variables

To clear and bind anew for each key, as structlog does it, is a fourth of what a
reconcile costs that finds nothing to do. The names are the same each time, so their
variables are looked up once, and set.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextvars import ContextVar, copy_context

from structlog.contextvars import bind_contextvars, clear_contextvars, get_contextvars


class LogContext:
    """The names of one worker; made, and used, in the task that does the work."""

    def __init__(self, own: dict[str, str]) -> None:
        """Take over what is bound around the worker, and add its own."""
        self._always = get_contextvars() | own
        self._always_set: Sequence[tuple[ContextVar[object], object]] = ()
        self._vars: Mapping[str, ContextVar[object]] = {}
        self._size = -1

    def bind(self, names: Mapping[str, str]) -> None:
        """Name the key that is worked on, and forget what was bound for another."""
        # What a reconciler binds is a variable that was not there: then all is cleared,
        # from now on, for a variable never goes away.
        if len(copy_context()) != self._size or names.keys() != self._vars.keys():
            self._bind_anew(names)
            return
        for variable, value in self._always_set:
            variable.set(value)
        for name, variable in self._vars.items():
            variable.set(names[name])

    def _bind_anew(self, names: Mapping[str, str]) -> None:
        clear_contextvars()
        if self._size < 0:
            always = bind_contextvars(**self._always)
            self._always_set = [(always[n].var, v) for n, v in self._always.items()]
            self._vars = {n: t.var for n, t in bind_contextvars(**names).items()}
            self._size = len(copy_context())
        else:
            bind_contextvars(**self._always, **names)
