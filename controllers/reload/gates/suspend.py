"""Somebody says "not now" of all workloads in a namespace.

    reloader.stakater.com/pause: "true"   on a Namespace, as on a workload

Changes wait until it is taken away, and are one reload then. This is for those who can
read Namespaces at all: they are no part of a namespace, and whoever may only look into
some has no right to them.

    asked for ──▶ unknown ──listed──▶ known
                     └──forbidden──▶ left out ──a right is given──▶ known

While it is unknown, in the first moments of a process, every reload waits: what
somebody has suspended must not slip through at a restart.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from controller_runtime import Event, NamespacedName, RawObject, Updated
from controllers.reload.gates import Gate, Hold, HoldReason, Turn
from controllers.reload.workloads import WorkloadKey

_A_MOMENT = 0.5
"""Seconds until it is asked again what is not known yet."""


class Places(Protocol):
    """Namespaces in the cache."""

    def get(self, key: NamespacedName, /) -> RawObject | None: ...


class Suspensions:
    """Which namespaces are suspended, as far as that can be known."""

    def __init__(self, annotation: str, *, is_asked: bool) -> None:
        """Know nothing yet.

        Args:
            annotation: That a Namespace says it with.
            is_asked: Namespaces will be read, or refused; if not, none is suspended.
        """
        self.annotation = annotation
        self._is_known = not is_asked
        self._places: Places | None = None

    def know(self, places: Places) -> None:
        """Read it here from now on."""
        self._places, self._is_known = places, True

    def leave_out(self) -> None:
        """Count no namespace as suspended: they cannot be read."""
        self._is_known = True

    def says_so(self, namespace: RawObject) -> bool:
        """Tell whether a Namespace says that it is suspended."""
        return namespace.meta.annotations.get(self.annotation) == "true"

    def of(self, namespace: str) -> bool | None:
        """Tell whether a namespace is suspended; `None` while that is not known."""
        if not self._is_known:
            return None
        if self._places is None:
            return False
        found = self._places.get(NamespacedName("", namespace))
        return found is not None and self.says_so(found)


class NamespaceGate(Gate):
    """Holds all in a namespace that is suspended."""

    def __init__(self, suspensions: Suspensions) -> None:
        self._suspensions = suspensions

    def ask(self, turn: Turn) -> Hold | None:
        """Hold what is suspended."""
        namespace = turn.key.namespace
        match self._suspensions.of(namespace):
            case True:
                text = f"until {self._suspensions.annotation} is taken away from "
                return Hold(HoldReason.SUSPENDED, f"{text}namespace {namespace}")
            case None:
                text = "until it is known which namespaces are suspended"
                return Hold(HoldReason.SUSPENDED, text, _A_MOMENT, quiet=True)
            case _:
                return None


class InNamespace(Protocol):
    """Finds workloads by namespace."""

    def in_namespace(self, namespace: str, /) -> Iterable[WorkloadKey]: ...


@dataclass(frozen=True, slots=True)
class ResumeHandler:
    """Names the workloads of a namespace that is not suspended any more."""

    suspensions: Suspensions
    workloads: InNamespace

    def requests(self, event: Event, /) -> Iterable[WorkloadKey]:
        """Yield them when the annotation goes."""
        if not isinstance(event, Updated) or not self.suspensions.says_so(event.old):
            return ()
        if self.suspensions.says_so(event.object):
            return ()
        return tuple(self.workloads.in_namespace(event.object.meta.name))
