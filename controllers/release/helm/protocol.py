"""The lines between manager and worker, as the manager writes and reads them; pure.

    Order ──request──▶ {"id", "call", "arguments": {config, name, chart, values, …}}
    {"hello"} | {"id", "ok" | "error": {code, message}, "cancelled", "rss"} ──▶ Reply

What an action takes is spelled out here, since the SDK refuses options that it does not
know: `OPTIONS` has those of its version 0.2.2 (Helm 4.2.3). Secrets travel in these
lines and nowhere else: not in arguments, the environment or logs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum

from controllers.release.helm.engine import Apply, OperationOptions, Order

REPLY_MAX = 64 << 20
"""Longest line from a worker in bytes; the largest are rendered charts."""

_QPS, _BURST = 50, 100
"""Requests a second of one operation, and at once: client-go's own 5 and 10 make a
chart of 300 objects take a minute."""


class Call(StrEnum):
    """What a worker can be told to do."""

    INSTALL = "install"
    UPGRADE = "upgrade"
    ROLLBACK = "rollback"
    UNINSTALL = "uninstall"
    TEST = "test"
    PARSE = "parse"
    RENDER = "render"


CANCEL = b'{"call":"cancel"}\n'


class ProtocolError(ValueError):
    """A worker wrote something that is no reply."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What a worker answered."""

    id: int
    ok: object = field(default=None, repr=False)

    code: int | None = None
    """The SDK's, if it failed and has one."""

    message: str | None = field(default=None, repr=False)
    """Why it failed; `None` if it did not. It may quote values."""

    cancelled: bool = False
    """Whether the worker had been told to cancel; it has ended then."""

    rss: int = 0
    """Memory of the worker in bytes."""


def request(number: int, call: Call, arguments: Mapping[str, object]) -> bytes:
    """Write a line for a worker."""
    body = {"id": number, "call": call, "arguments": arguments}
    return json.dumps(body, separators=(",", ":")).encode() + b"\n"


def read_reply(line: bytes) -> Reply:
    """Read a line of a worker.

    Raises:
        ProtocolError: It is no reply; the text does not quote it.
    """
    try:
        body = json.loads(line)
        error = body.get("error")
        return Reply(
            id=int(body["id"]),
            ok=body.get("ok"),
            code=error["code"] if error else None,
            message=str(error["message"]) if error else None,
            cancelled=bool(body.get("cancelled")),
            rss=int(body.get("rss", 0)),
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ProtocolError("the worker wrote a line that is no reply") from None


def read_hello(line: bytes) -> str:
    """Read the first line of a worker and return the version of its Helm.

    Raises:
        ProtocolError: It is something else.
    """
    try:
        return str(json.loads(line)["hello"])
    except (ValueError, KeyError, TypeError):
        raise ProtocolError("the worker does not begin with a greeting") from None


def action(
    call: Call, order: Order, *, kubeconfig: str, revision: int = 0
) -> Mapping[str, object]:
    """Return the arguments of an operation on a release.

    Args:
        call: Which.
        order: On what and how.
        kubeconfig: Of the cluster, with credentials that are good now.
        revision: Where a rollback leads to.

    Raises:
        ValueError: There is no chart where one is needed.
    """
    arguments: dict[str, object] = {
        "config": config(order, kubeconfig),
        "name": order.release,
        "options": options(call, order.options, revision=revision),
    }
    if call in {Call.INSTALL, Call.UPGRADE}:
        arguments |= {"chart": _chart(order), "values": order.values}
    return arguments


def rendering(order: Order) -> Mapping[str, object]:
    """Return the arguments for rendering a chart.

    Raises:
        ValueError: There is no chart.
    """
    return {
        "chart": _chart(order),
        "values": order.values,
        "name": order.release,
        "namespace": order.namespace,
    }


def parsing(documents: Sequence[str]) -> Mapping[str, object]:
    """Return the arguments for reading values."""
    return {"documents": list(documents)}


def config(order: Order, kubeconfig: str) -> Mapping[str, object]:
    """Say where the release is; its namespace is also that of its record."""
    impersonation: dict[str, object] = {}
    if order.cluster.user:
        impersonation["kube_as_user"] = order.cluster.user
    if order.cluster.groups:
        impersonation["kube_as_groups"] = list(order.cluster.groups)
    return {
        "kubeconfig_content": kubeconfig,
        "namespace": order.namespace,
        "qps": _QPS,
        "burst_limit": _BURST,
        **impersonation,
    }


def options(
    call: Call, given: OperationOptions, *, revision: int = 0
) -> Mapping[str, object]:
    """Return the options of an action, without those that it does not know."""
    everything: dict[str, object] = {
        "timeout_seconds": _seconds(given.timeout),
        "wait": given.wait,
        "wait_for_jobs": given.wait_for_jobs,
        "server_side_apply": _apply(call, given),
        "force_conflicts": given.force_conflicts
        and given.apply is not Apply.CLIENT_SIDE
        and not given.force_replace,
        "force_replace": given.force_replace,
        "description": given.description,
        "labels": dict(given.labels),
        "create_namespace": given.create_namespace,
        "take_ownership": given.take_ownership,
        "cleanup_on_fail": given.cleanup_on_fail,
        "max_history": given.max_history,
        "reset_values": True,
        "disable_hooks": given.disable_hooks,
        "skip_crds": given.skip_crds,
        "keep_history": given.keep_history,
        "deletion_propagation": given.propagation,
        "ignore_not_found": True,
        "include_names": list(given.tests),
        "version": revision,
    }
    return {
        name: everything[name]
        for name in OPTIONS[call]
        # Most of what is empty means the default, and some of it is refused.
        if everything[name] not in ("", {}, [])
    }


_DEPLOY = (
    "timeout_seconds",
    "wait",
    "wait_for_jobs",
    "server_side_apply",
    "force_conflicts",
    "force_replace",
    "description",
    "labels",
    "take_ownership",
    "disable_hooks",
    "skip_crds",
)

OPTIONS: Mapping[Call, tuple[str, ...]] = {
    Call.INSTALL: (*_DEPLOY, "create_namespace"),
    Call.UPGRADE: (*_DEPLOY, "reset_values", "cleanup_on_fail", "max_history"),
    Call.ROLLBACK: (
        "version",
        "timeout_seconds",
        "wait",
        "wait_for_jobs",
        "server_side_apply",
        "force_conflicts",
        "force_replace",
        "disable_hooks",
        "cleanup_on_fail",
        "max_history",
    ),
    Call.UNINSTALL: (
        "timeout_seconds",
        "wait",
        "description",
        "disable_hooks",
        "keep_history",
        "deletion_propagation",
        "ignore_not_found",
    ),
    Call.TEST: ("timeout_seconds", "include_names"),
}


def _apply(call: Call, given: OperationOptions) -> bool | str:
    """Say how objects are written, in the form that the action takes."""
    mode = Apply.CLIENT_SIDE if given.force_replace else given.apply
    if call is Call.INSTALL:
        return mode is not Apply.CLIENT_SIDE
    return mode.value


def _chart(order: Order) -> str:
    if order.chart is None:
        raise ValueError(
            f"the order for {order.namespace}/{order.release} has no chart"
        )
    return str(order.chart)


def _seconds(duration: timedelta) -> int:
    # Less than a second would be none, which means for ever.
    return max(int(duration.total_seconds()), 1)
