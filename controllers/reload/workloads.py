"""Everything with a pod template, in one view.

    WORKLOADS            kinds that every server has
    OPTIONAL_WORKLOADS   kinds that come and go with their CRD, or with OpenShift
    ExtraWorkload        a kind that nobody here knows, and where its pod template is

What reloads is a thing with a pod template; which thing only matters for its address.
A key names a workload in the queue, and a `Workload` is one version of it, parsed
from the cache when it is needed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from functools import reduce
from operator import getitem
from typing import NamedTuple, TypeAlias

import msgspec
from pydantic import ValidationError

from api.apps.v1 import DaemonSet, Deployment, StatefulSet
from api.argoproj.v1alpha1 import Rollout
from api.batch.v1 import CronJob, Job
from api.core.v1 import PodTemplateSpec
from api.openshift.v1 import DeploymentConfig
from controller_runtime import (
    DecodeError,
    GroupVersionKind,
    Json,
    Meta,
    NamespacedName,
    RawObject,
    strip_managed_fields,
)

WorkloadModel: TypeAlias = (
    type[Deployment]
    | type[StatefulSet]
    | type[DaemonSet]
    | type[Job]
    | type[CronJob]
    | type[Rollout]
    | type[DeploymentConfig]
)

WORKLOADS: Mapping[str, WorkloadModel] = {
    model.gvk.kind: model
    for model in (Deployment, StatefulSet, DaemonSet, CronJob, Job)
}
"""kind → model, of what is there always."""

OPTIONAL_WORKLOADS: Mapping[str, WorkloadModel] = {
    model.gvk.kind: model for model in (Rollout, DeploymentConfig)
}
"""kind → model, of what may be there."""

_MODELS: Mapping[str, WorkloadModel] = {**WORKLOADS, **OPTIONAL_WORKLOADS}

KINDS = frozenset(_MODELS)
"""All of them."""


TemplatePath: TypeAlias = tuple[str, ...]
"""Fields from an object to its pod template."""

_TEMPLATE: TemplatePath = ("spec", "template")
_OF_JOBS: TemplatePath = ("spec", "jobTemplate", "spec", "template")

_EXTRA = re.compile(
    r"(?:(?P<group>[a-z0-9.-]+)/)?(?P<version>v[a-z0-9]+)/(?P<kind>[A-Z][A-Za-z0-9]*)"
    r":(?P<path>(?:\.[A-Za-z][A-Za-z0-9]*)+)"
)


class ExtraWorkload(NamedTuple):
    """A kind with a pod template, from outside."""

    gvk: GroupVersionKind
    path: TemplatePath

    @property
    def kind(self) -> str:
        """What keys call it, like no other: `Service.v1.serving.knative.dev`."""
        group, version, kind = self.gvk
        return ".".join(filter(None, (kind, version, group)))

    @classmethod
    def parse(cls, text: str) -> ExtraWorkload:
        """Read `group/version/Kind:.path.to.template`; the core group has no `group/`.

        Raises:
            ValueError: It is something else, or a kind that reloads anyway.
        """
        match = _EXTRA.fullmatch(text)
        if match is None:
            raise ValueError(
                f"{text!r} is not group/version/Kind:.path.to.template, such as "
                "serving.knative.dev/v1/Service:.spec.template"
            )
        gvk = GroupVersionKind(match["group"] or "", match["version"], match["kind"])
        known = _MODELS.get(gvk.kind)
        if known is not None and known.gvk.group == gvk.group:
            raise ValueError(f"{text!r}: {gvk.kind} reloads anyway; leave it out")
        return cls(gvk, tuple(match["path"].split(".")[1:]))


class WorkloadKey(NamedTuple):
    """Which workload. The kind is part of it: all kinds share one queue."""

    kind: str
    """Alone, or as `ExtraWorkload.kind` says it."""

    namespace: str
    name: str

    @property
    def object_key(self) -> NamespacedName:
        """Its place among the workloads of its kind."""
        return NamespacedName(self.namespace, self.name)

    @property
    def gvk(self) -> GroupVersionKind:
        """Its kind in full."""
        if not self.is_extra:
            return _MODELS[self.kind].gvk
        kind, version, *group = self.kind.split(".", 2)
        return GroupVersionKind("".join(group), version, kind)

    @property
    def is_extra(self) -> bool:
        """Whether its kind is one that nobody here knows."""
        return self.kind not in _MODELS

    def __str__(self) -> str:
        return f"{self.kind}/{self.namespace}/{self.name}"


Covers: TypeAlias = Callable[[NamespacedName, Mapping[str, str]], bool]
"""Place and labels of a workload → whether anybody may claim it."""


class Workload(NamedTuple):
    """One version of a workload."""

    key: WorkloadKey
    meta: Meta
    """Its own metadata; that of its pods is in `template`."""

    template: PodTemplateSpec

    raw: bytes = b"{}"
    """All of it, as JSON."""

    path: TemplatePath = _TEMPLATE
    """Where its pod template is."""

    def document(self) -> Json:
        """Parse all of it; the caller owns what is returned."""
        parsed: Json = msgspec.json.decode(self.raw)
        return parsed


def workload_key(kind: str, entry: RawObject) -> WorkloadKey:
    """Name an object of the cache."""
    return WorkloadKey(kind, entry.meta.namespace, entry.meta.name)


def read_workload(
    kind: str, entry: RawObject, path: TemplatePath | None = None
) -> Workload:
    """Parse an object of the cache.

    Args:
        kind: Its kind, as keys call it.
        entry: The object.
        path: Where the pod template is, of an `ExtraWorkload`.
    """
    key = workload_key(kind, entry)
    if path is not None:
        return Workload(key, entry.meta, _template(entry, path), entry.raw, path)
    model = _MODELS[kind].model_validate_json(entry.raw)
    if isinstance(model, CronJob):
        template = model.spec.job_template.spec.template
        return Workload(key, entry.meta, template, entry.raw, _OF_JOBS)
    return Workload(key, entry.meta, model.spec.template, entry.raw)


def _template(entry: RawObject, path: TemplatePath) -> PodTemplateSpec:
    """Read a pod template, empty if there is none: nobody knows what others write."""
    try:
        found = reduce(getitem, path, msgspec.json.decode(entry.raw))
        return PodTemplateSpec.model_validate(found)
    except (LookupError, TypeError, ValidationError):
        return PodTemplateSpec()


def waits_for_deletion(workload: Workload) -> bool:
    """Tell whether old pods stay until somebody deletes them."""
    if workload.key.kind not in {StatefulSet.gvk.kind, DaemonSet.gvk.kind}:
        return False
    strategy = workload.document()["spec"].get("updateStrategy") or {}
    return strategy.get("type") == "OnDelete"


def is_run_of_cron_job(kind: str, entry: RawObject) -> bool:
    """Tell whether an object is a Job that a CronJob has started."""
    return kind == Job.gvk.kind and any(
        owner.controller and owner.kind == CronJob.gvk.kind
        for owner in entry.meta.owner_references
    )


class _Owner(msgspec.Struct, rename="camel", omit_defaults=True):
    api_version: str = ""
    kind: str = ""
    name: str = ""
    uid: str = ""
    controller: bool = False

    def is_cron_job(self) -> bool:
        return self.controller and self.kind == CronJob.gvk.kind


class _Metadata(msgspec.Struct, rename="camel", omit_defaults=True):
    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    generation: int = 0
    labels: dict[str, str] | None = None
    owner_references: list[_Owner] | None = None


class _Bare(msgspec.Struct):
    metadata: _Metadata


class _Marked(msgspec.Struct):
    """What is left of a workload; which it is stands first."""

    is_bare: bool
    metadata: _Metadata


_bare = msgspec.json.Decoder(_Bare)

_BARE = b'{"is_bare":true,'


def is_bare(entry: RawObject) -> bool:
    """Tell whether the cache has only the name and the labels of a workload."""
    return entry.raw.startswith(_BARE)


def reducer(
    words: Collection[bytes], is_claimed: Covers | None = None
) -> Callable[[bytes], bytes]:
    """Make the cache's transform for workloads: most of them never reload.

    Args:
        words: One of these stands in every workload that may; none keeps all.
        is_claimed: Tells by place and labels which others may.

    Returns:
        A function that leaves of the others what a key and a selector take.
    """

    def reduce(raw: bytes) -> bytes:
        stripped = strip_managed_fields(raw)
        if not words or any(word in stripped for word in words):
            return stripped
        try:
            metadata = _bare.decode(stripped).metadata
        except msgspec.MsgspecError as error:
            raise DecodeError(f"cannot read a workload: {error}") from error
        place = NamespacedName(metadata.namespace, metadata.name)
        if is_claimed is not None and is_claimed(place, metadata.labels or {}):
            return stripped
        owners = metadata.owner_references or ()
        metadata.owner_references = [it for it in owners if it.is_cron_job()] or None
        return msgspec.json.encode(_Marked(is_bare=True, metadata=metadata))

    return reduce
