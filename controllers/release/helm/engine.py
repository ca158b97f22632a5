"""What is asked of Helm and how it can end; no effects.

    Order ──install, upgrade, rollback, uninstall, test──▶ None, or EngineError
                                                            `.failure` says what kind
    texts ──parse──▶ values            Order ──render──▶ manifests

Cancelling the task that awaits an operation cancels the operation: Helm records the
release as failed where it can, the process that ran it is gone before `CancelledError`
comes out, and nothing is written to the cluster afterwards. It takes ten seconds at
most.

Nobody but the caller keeps two operations on one release apart: Helm does not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from controller_runtime import ControllerRuntimeError


class Wait(StrEnum):
    """What an operation waits for before it calls itself done."""

    WATCHER = "watcher"
    """Every object is current, by kstatus, or was deleted."""

    LEGACY = "legacy"
    """Helm 3's own idea of ready."""

    HOOKS_ONLY = "hookOnly"
    """Hooks alone."""


class Apply(StrEnum):
    """How objects are written."""

    AUTO = "auto"
    """Server-side, but as before for a release that was not (upgrade, rollback)."""

    SERVER_SIDE = "true"

    CLIENT_SIDE = "false"
    """Three-way merge, as Helm 3 did."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """Where an operation happens, and as whom."""

    kubeconfig: str = field(default="", repr=False)
    """Content of a kubeconfig whose files are inline; empty for the cluster and the
    account of the manager, whose credentials are taken afresh for each operation.
    Whoever takes it from a user refuses `exec` and paths in it before: the worker runs
    programs and reads files that it names."""

    user: str = ""
    """Whom to impersonate, such as `system:serviceaccount:NAMESPACE:NAME`."""

    groups: tuple[str, ...] = ()
    """Groups of that user. The server knows those of a service account, and whoever
    names them needs a permission for each."""

    @classmethod
    def account(cls, namespace: str, name: str, *, kubeconfig: str = "") -> Cluster:
        """Act as a service account."""
        user = f"system:serviceaccount:{namespace}:{name}"
        return cls(kubeconfig=kubeconfig, user=user)


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationOptions:
    """How an operation is done. What an operation has no use for, it ignores."""

    timeout: timedelta = timedelta(minutes=5)
    """For each wait: one hook, or all objects together. Whole seconds count."""

    wait: Wait = Wait.WATCHER

    wait_for_jobs: bool = False
    """Wait for Jobs to complete, too."""

    apply: Apply = Apply.AUTO
    """An install takes `AUTO` for server-side."""

    description: str = ""
    """Kept in the release record; empty for Helm's own."""

    labels: Mapping[str, str] = field(default_factory=dict)
    """For the release record (install, upgrade). An upgrade keeps those it does not
    name."""

    create_namespace: bool = False
    """Create the namespace if it is not there (install)."""

    take_ownership: bool = False
    """Adopt objects that exist and belong to no release (install, upgrade)."""

    force_conflicts: bool = True
    """Take fields that somebody else changed. Without it, one `kubectl scale` makes
    every later upgrade fail. Right with every `apply`: where the client applies, there
    are no conflicts and nothing is forced."""

    force_replace: bool = False
    """Replace objects instead of patching them; never together with server-side
    apply (install, upgrade, rollback)."""

    cleanup_on_fail: bool = False
    """Delete objects that a failed upgrade or rollback created."""

    max_history: int = 5
    """Revisions to keep; 0 for all (upgrade, rollback)."""

    disable_hooks: bool = False

    skip_crds: bool = False
    """Leave `crds/` alone (install; an upgrade never touches it)."""

    keep_history: bool = False
    """Keep the record of the release, as uninstalled (uninstall)."""

    propagation: str = "background"
    """`background`, `foreground` or `orphan` (uninstall)."""

    tests: tuple[str, ...] = ()
    """Names of the test hooks to run; empty for all (test)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One operation on one release."""

    operation: str
    """Its id: in logs, and in `status.operation`."""

    release: str
    """Name, at most 53 characters."""

    namespace: str
    """Of the record of the release and of objects that name none."""

    cluster: Cluster = field(default_factory=Cluster)

    chart: Path | None = None
    """Archive or directory; needed to install, upgrade and render."""

    values: Mapping[str, object] = field(default_factory=dict, repr=False)
    """All that is laid over the chart's own values. They replace those of the
    revision before; `None` removes a default."""

    options: OperationOptions = field(default_factory=OperationOptions)

    deadline: timedelta | None = None
    """When to give up on the worker itself, from when it begins; `None` for twice
    the timeout (objects and one hook) and thirty seconds."""

    secrets: frozenset[str] = field(default_factory=frozenset, repr=False)
    """Texts that no error and no log may show (`values.secret_texts`)."""

    @property
    def patience(self) -> timedelta:
        """How long the operation may take altogether."""
        return self.deadline or 2 * self.options.timeout + timedelta(seconds=30)


class Failure(StrEnum):
    """What kind of failure it is, which tells what to do about it."""

    INVALID = "Invalid"
    """Chart, values, schema or templates: hopeless until one of them changes."""

    AUTH = "Auth"
    """401 from the API server."""

    FORBIDDEN = "Forbidden"
    """403: the account lacks a permission; the message says which."""

    TLS = "TLS"
    """The API server's certificate cannot be believed."""

    TRANSIENT = "Transient"
    """The API server is not there, busy or restarting: no attempt is used up."""

    TIMEOUT = "Timeout"
    """Objects or a hook did not become ready in time; the record says failed."""

    CANCELLED = "Cancelled"
    """The pool is shutting down. A cancelled caller sees `CancelledError` instead."""

    LOCKED = "Locked"
    """The record says that another operation is under way: `unlock` decides."""

    NAME_IN_USE = "NameInUse"
    """There is a release already: look again."""

    NOT_DEPLOYED = "NotDeployed"
    """There is no release, or none that was ever deployed: look again."""

    OWNERSHIP = "Ownership"
    """An object belongs to somebody else, or another field manager holds a field."""

    TOO_LARGE = "TooLarge"
    """The record does not fit into a Secret. Nothing was applied if it was an
    install or an upgrade."""

    FAILED = "Failed"
    """Anything else that Helm says: a hook, a test, an object the server refuses."""

    ENGINE = "Engine"
    """The worker died, panicked or was given up: whether the operation was done is
    unknown, and the record may say that it still is under way."""

    @property
    def is_outcome_unknown(self) -> bool:
        """Whether the release has to be looked at before anything else is done."""
        return self in {Failure.ENGINE, Failure.CANCELLED}


class EngineError(ControllerRuntimeError):
    """Helm did not do what was asked of it.

    The message is Helm's own, without what `Order.secrets` names.
    """

    def __init__(
        self, message: str, *, failure: Failure, code: int | None = None
    ) -> None:
        super().__init__(message)
        self.failure = failure
        self.code = code
        """The SDK's number, if it was the SDK that failed."""


class WorkerDiedError(EngineError):
    """The process that ran the operation ended in the middle of it."""

    def __init__(self, message: str) -> None:
        super().__init__(message, failure=Failure.ENGINE)


class Engine(Protocol):
    """Does what `helm` does.

    Every operation returns when Helm says that it is done.

    Raises:
        EngineError: It was not done, or not known to be.
    """

    async def install(self, order: Order) -> None:
        """Create revision 1; there must be no record of the release."""
        ...

    async def upgrade(self, order: Order) -> None:
        """Create the next revision, also after one that failed."""
        ...

    async def rollback(self, order: Order, *, revision: int = 0) -> None:
        """Create a revision equal to `revision`; 0 is the one before the newest."""
        ...

    async def uninstall(self, order: Order) -> None:
        """Delete the objects and the record; no record is success."""
        ...

    async def test(self, order: Order) -> None:
        """Run the release's test hooks."""
        ...

    async def parse(
        self, documents: Sequence[str], *, secrets: frozenset[str] = frozenset()
    ) -> Sequence[Mapping[str, object]]:
        """Read YAML as Helm reads values files, each by itself and in order.

        Raises:
            EngineError: `INVALID`; the message says which, counted from 1.
        """
        ...

    async def render(self, order: Order) -> Mapping[str, str]:
        """Return template path → text, hooks and notes among them; asks no cluster.

        Values are checked against the chart's schema first.
        """
        ...
