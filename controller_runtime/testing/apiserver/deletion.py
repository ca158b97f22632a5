"""What a deletion does to an object: remove it, or mark it and wait.

    finalizers, or a pod's grace period  ─▶ marked: deletionTimestamp is set
    nothing holds it up any more         ─▶ finished: it goes
    propagation Foreground or Orphan     ─▶ a finalizer for the garbage collector

The rules are those of apiserver `registry/rest/delete.go` and of `Delete` in
`registry/generic/registry/store.go`.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from controller_runtime.meta import Json
from controller_runtime.testing.apiserver.refusals import precondition_failed
from controller_runtime.testing.apiserver.resources import Resource
from controller_runtime.testing.apiserver.status import Cause, invalid_options

_COLLECTORS = {"Orphan": "orphan", "Foreground": "foregroundDeletion"}
"""Finalizers that a propagation policy leaves for the garbage collector."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteOptions:
    """How to delete, `metav1.DeleteOptions`."""

    uid: str | None = None
    resource_version: str | None = None
    grace_period_seconds: int | None = None
    propagation_policy: str = ""
    dry_run: bool = False

    @classmethod
    def read(cls, body: Json) -> DeleteOptions:
        """Read the body of a request, or what its query says instead.

        Raises:
            StatusError: 422, there is no such propagation policy.
        """
        preconditions = body.get("preconditions") or {}
        policy = body.get("propagationPolicy") or ""
        if policy not in {"", "Foreground", "Background", "Orphan"}:
            known = ("Foreground", "Background", "Orphan", "nil")
            cause = Cause.unsupported("propagationPolicy", f'"{policy}"', known)
            raise invalid_options("DeleteOptions", [cause])
        return cls(
            uid=preconditions.get("uid"),
            resource_version=preconditions.get("resourceVersion"),
            grace_period_seconds=body.get("gracePeriodSeconds"),
            propagation_policy=policy,
            dry_run=bool(body.get("dryRun")),
        )


def timestamp(when: datetime) -> str:
    """Write a time as the API does: RFC 3339 in whole seconds, UTC."""
    return when.strftime("%Y-%m-%dT%H:%M:%SZ")


def is_finished(resource: Resource, object_: Json) -> bool:
    """Whether the object is marked and nothing holds up its deletion."""
    metadata = object_["metadata"]
    held = metadata.get("finalizers") or metadata.get("deletionGracePeriodSeconds")
    if resource.collection == "namespaces":
        held = held or object_["spec"].get("finalizers")
    return "deletionTimestamp" in metadata and not held


def marked(
    resource: Resource, object_: Json, options: DeleteOptions, now: datetime
) -> Json:
    """Return the object as it looks once its deletion has begun."""
    new = copy.deepcopy(object_)
    metadata = new["metadata"]
    grace = _grace_period(resource, object_, options)
    if "deletionTimestamp" not in metadata:
        _set_finalizers(resource, metadata, options)
        _mark(metadata, grace, now)
    elif metadata.get("deletionGracePeriodSeconds", 0) > grace:
        _shorten(metadata, grace, now)
    elif not metadata.get("deletionGracePeriodSeconds"):
        _set_finalizers(resource, metadata, options)
    if resource.collection == "namespaces":
        metadata.pop("deletionGracePeriodSeconds", None)
        new["status"]["phase"] = "Terminating"
    return new


def check_preconditions(
    resource: Resource, object_: Json, options: DeleteOptions
) -> None:
    """Make sure that it is the object that the client means.

    Raises:
        StatusError: 409, it has another uid or resourceVersion.
    """
    metadata = object_["metadata"]
    uid, version = metadata["uid"], metadata["resourceVersion"]
    if options.uid not in {None, uid}:
        raise precondition_failed(
            resource,
            metadata["name"],
            f"the UID in the precondition ({options.uid}) does not match the UID in "
            f"record ({uid}). The object might have been deleted and then recreated",
        )
    if options.resource_version not in {None, version}:
        raise precondition_failed(
            resource,
            metadata["name"],
            f"the ResourceVersion in the precondition ({options.resource_version}) "
            f"does not match the ResourceVersion in record ({version}). The object "
            "might have been modified",
        )


def _mark(metadata: Json, grace: int, now: datetime) -> None:
    metadata["deletionTimestamp"] = timestamp(now + timedelta(seconds=grace))
    metadata["deletionGracePeriodSeconds"] = grace
    if metadata.get("generation"):
        metadata["generation"] += 1


def _shorten(metadata: Json, grace: int, now: datetime) -> None:
    """Move the deletion nearer; a grace period never grows."""
    less = timedelta(seconds=metadata["deletionGracePeriodSeconds"] - grace)
    when = datetime.fromisoformat(metadata["deletionTimestamp"]) - less
    metadata["deletionTimestamp"] = timestamp(max(when, now))
    metadata["deletionGracePeriodSeconds"] = grace


def _set_finalizers(resource: Resource, metadata: Json, options: DeleteOptions) -> None:
    present = metadata.pop("finalizers", [])
    policy = options.propagation_policy or _policy(resource, present)
    kept = [name for name in present if name not in _COLLECTORS.values()]
    if policy in _COLLECTORS:
        kept.append(_COLLECTORS[policy])
    if kept:
        metadata["finalizers"] = kept


def _policy(resource: Resource, finalizers: Sequence[str]) -> str:
    named = [policy for policy, name in _COLLECTORS.items() if name in finalizers]
    if named:
        return named[0]
    return "Orphan" if resource.orphans_by_default else "Background"


def _grace_period(resource: Resource, object_: Json, options: DeleteOptions) -> int:
    """Return the seconds that the object may take; only a pod on a node gets any."""
    if resource.collection != "pods":
        return 0
    spec, status = object_.get("spec", {}), object_.get("status", {})
    if not spec.get("nodeName") or status.get("phase") in {"Succeeded", "Failed"}:
        return 0
    if options.grace_period_seconds is not None:
        return max(options.grace_period_seconds, 0)
    return int(spec.get("terminationGracePeriodSeconds", 30))
