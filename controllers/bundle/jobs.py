"""Jobs on the cluster: found, made in three steps, followed to their end, cleaned up.

    create suspended ─▶ Secrets, owned by it ─▶ unsuspend ─▶ runs ─▶ Complete, Failed

Every step may be repeated: what exists is taken for done if it is ours. A Job is found
in the cache or, if it is not there, live: only the server can say that one is gone.

A Job has ended when its condition says so, not when a pod of it has failed: an evicted
pod is replaced.
"""

from __future__ import annotations

import asyncio
import json
import re
from base64 import b64decode
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from pydantic import ValidationError

from api.batch.v1 import Job
from api.bundle.status import ActiveJob
from api.bundle.v1alpha1 import WerfBundle
from api.core.v1 import ConfigMap, Secret
from controller_runtime import (
    TRANSPORT_ERRORS,
    AlreadyExistsError,
    ApiError,
    Client,
    GroupVersionKind,
    Informer,
    Json,
    NamespacedName,
    NotFoundError,
    RawObject,
    Scheme,
    merge_patch,
    set_owner_reference,
)
from controllers.bundle.job import (
    BUNDLE_UID,
    CONTAINER,
    FINGERPRINT,
    MASKED,
    Apply,
    job_for,
    label,
    secrets_for,
)
from controllers.bundle.logs import LINES, Verdict, judge, lines_too, tail

log = structlog.get_logger(__name__)

POD = GroupVersionKind("", "v1", "Pod")

BY_UID = "bundle-uid"
"""Index of Jobs by the bundle that they are for."""

BY_LIFE = "life"
"""Index of Jobs by whether they have ended; there may be thousands that have."""

_ALIVE = "alive"

_POD_OF = "batch.kubernetes.io/job-name"

_LOG_TIMEOUT = 10.0
"""Seconds in which a kubelet has to hand out a log; the result does not wait longer."""

_LOGS_KEPT = 5
"""ConfigMaps with logs that a bundle keeps."""

_STUCK = frozenset(
    {
        "ErrImagePull",
        "ImagePullBackOff",
        "InvalidImageName",
        "CreateContainerConfigError",
    }
)

_NO_LOG: tuple[type[Exception], ...] = (ApiError, *TRANSPORT_ERRORS)
"""What asking for a log may raise."""

_EXIT_CODE = re.compile(r"failed with exit code ([0-9]+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """How a Job ended."""

    is_success: bool
    exit_code: int | None
    verdict: Verdict | None
    """Why it failed."""
    log: str
    started_at: datetime | None
    finished_at: datetime | None


def uid_of(entry: RawObject) -> Iterable[str]:
    """Return the bundle that an object is for, to index by."""
    uid = entry.meta.labels.get(BUNDLE_UID, "")
    return (uid,) if uid else ()


def life_of(body: Json) -> Iterable[str]:
    """Return whether a Job has not ended, for `index_by_body`."""
    try:
        job = Job.model_validate(body)
    except ValidationError:  # an index must not fail
        return ()
    return () if is_over(job) else (_ALIVE,)


def is_over(job: Job) -> bool:
    """Tell whether a Job has ended."""
    return _final(job) is not None


def is_for(job: Job, active: ActiveJob, bundle: WerfBundle) -> bool:
    """Tell whether a Job is the one that a status speaks of."""
    metadata = job.metadata
    return (
        metadata.labels.get(BUNDLE_UID) == bundle.metadata.uid
        and metadata.annotations.get(FINGERPRINT) == active.fingerprint
    )


def created_at(job: Job, now: datetime) -> datetime:
    """Return when a Job was made."""
    text = job.metadata.creation_timestamp
    return datetime.fromisoformat(text) if text else now


class Jobs:
    """Makes and follows Jobs."""

    def __init__(self, client: Client, informer: Informer, scheme: Scheme) -> None:
        """Act through `client`, which reads live.

        Args:
            client: Reads and writes.
            informer: Our Jobs, as the cache has them.
            scheme: Reads them.
        """
        self._client = client
        self._informer = informer
        self._scheme = scheme
        self._begun: set[NamespacedName] = set()
        """Jobs that are being made, until the cache shows them."""

    @property
    def running(self) -> int:
        """How many have not ended, of all bundles, those that are begun included."""
        self._begun = {key for key in self._begun if self._informer.get(key) is None}
        alive = sum(1 for _ in self._informer.by_index(BY_LIFE, _ALIVE))
        return alive + len(self._begun)

    def begin(self, name: str, namespace: str) -> None:
        """Count a Job that is about to be made."""
        self._begun.add(NamespacedName(namespace, name))

    def drop(self, name: str, namespace: str) -> None:
        """Count a Job no more that will not be made."""
        self._begun.discard(NamespacedName(namespace, name))

    async def find(self, name: str, namespace: str) -> Job | None:
        """Return a Job; `None` only if the server says that there is none.

        One that the cache has suspended may have been let go since, and what runs must
        not be taken for something to be made, or removed.
        """
        entry = self._informer.get(NamespacedName(namespace, name))
        if entry is not None:
            job = self._scheme.decode(Job, entry.raw)
            if not job.spec.suspend:
                return job
        try:
            return await self._client.get(Job, name, namespace)
        except NotFoundError:
            self.drop(name, namespace)
            return None

    async def make(self, apply: Apply) -> Job | None:
        """Make the Job and what it mounts, and let it run; go on where it was left.

        Returns:
            The Job; `None` if the name is somebody else's.
        """
        wanted = job_for(apply)
        try:
            made = await self._client.create(wanted)
        except AlreadyExistsError:
            try:
                made = await self._client.get(Job.gvk, apply.name, _place(wanted))
            except NotFoundError:
                return None
        job = self._scheme.decode(Job, made)
        if _mark(made) != _mark(wanted):
            self.drop(apply.name, _place(wanted))
            return None
        if is_over(job) or not job.spec.suspend:
            return job
        for secret in secrets_for(apply, made):
            await self._put(secret)
        patch = merge_patch({"spec": {"suspend": False}})
        return await self._client.patch(Job, apply.name, _place(wanted), patch=patch)

    async def _put(self, secret: Json) -> None:
        """Create a Secret; one of the same name is from an earlier try."""
        try:
            await self._client.create(secret)
        except AlreadyExistsError:
            name = secret["metadata"]["name"]
            await self._delete(Secret.gvk, name, _place(secret))
            await self._client.create(secret)

    async def remove(self, name: str, namespace: str) -> None:
        """Delete a Job with its pods and Secrets, if it is there."""
        self.drop(name, namespace)
        await self._delete(Job.gvk, name, namespace)

    async def remove_all(self, uid: str) -> int:
        """Delete every Job of a bundle; return how many there were."""
        entries = list(self._informer.by_index(BY_UID, uid))
        for entry in entries:
            await self.remove(entry.meta.name, entry.meta.namespace)
        return len(entries)

    async def _delete(self, kind: GroupVersionKind, name: str, namespace: str) -> None:
        try:
            await self._client.delete(
                kind, name, namespace, propagation_policy="Background"
            )
        except NotFoundError:
            return

    async def end(self, job: Job) -> End:
        """Find out how a Job ended that is over."""
        final = _final(job)
        assert final is not None  # noqa: S101 - the caller has asked `is_over`
        pod = await self._newest_pod(job)
        terminated = _terminated(pod)
        text = await self._shown(job, pod, str(terminated.get("message") or ""))
        exit_code = _exit_code(terminated, final.message)
        is_success = final.type == "Complete"
        verdict = judge(text, exit_code=exit_code, job_reason=final.reason)
        return End(
            is_success=is_success,
            exit_code=0 if is_success and exit_code is None else exit_code,
            verdict=None if is_success else verdict,
            log=text,
            started_at=_time(job.status.start_time),
            finished_at=_time(job.status.completion_time),
        )

    async def trouble(self, job: Job) -> str:
        """Say why a Job's pod does not start; empty if it does."""
        pod = await self._newest_pod(job)
        if pod is None:
            return ""
        for state in _states(pod):
            waiting = state.get("waiting") or {}
            if waiting.get("reason") in _STUCK:
                return f"{waiting['reason']}: {waiting.get('message', '')}"[:300]
        for condition in pod.get("status", {}).get("conditions", ()):
            if condition.get("reason") == "Unschedulable":
                return f"Unschedulable: {condition.get('message', '')}"[:300]
        return ""

    async def _newest_pod(self, job: Job) -> Json | None:
        try:
            pods = await self._client.list(
                POD,
                job.metadata.namespace,
                label_selector=f"{_POD_OF}={job.metadata.name}",
            )
        except ApiError as error:
            log.warning("pods of a job cannot be listed", error=str(error))
            return None
        return max(
            pods.items,
            key=lambda pod: str(pod["metadata"].get("creationTimestamp", "")),
            default=None,
        )

    async def _shown(self, job: Job, pod: Json | None, said: str) -> str:
        """Return the end of the log, or else of what the pod said, without secrets."""
        if pod is None:
            return ""
        masked = await self._masked(job)
        if masked is None:
            return ""  # what must not be seen is not known any more
        raw = await self._log(job, pod) or said.encode()
        # Megabytes of log, and as many texts to hide as a Secret has.
        return await asyncio.to_thread(tail, raw, masked)

    async def _log(self, job: Job, pod: Json) -> bytes:
        """Return the end of the log; empty if there is none to be had."""
        if not pod.get("spec", {}).get("nodeName"):
            return b""
        metadata = pod["metadata"]
        path = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}/log"
        try:
            answer = await self._client.transport.request(
                "GET",
                path,
                params={"container": CONTAINER, "tailLines": str(LINES)},
                accept="*/*",
                timeout=_LOG_TIMEOUT,
            )
        except _NO_LOG as error:
            log.debug("no log of a job", job=job.metadata.name, error=str(error))
            return b""
        return answer.body

    async def _masked(self, job: Job) -> tuple[str, ...] | None:
        """Return what the Job's Secrets have to hide; `None` if they cannot be read."""
        hidden: set[str] = set()
        for name in _mounted_secrets(job.model_dump(mode="json", by_alias=True)):
            try:
                secret = await self._client.get(Secret, name, job.metadata.namespace)
            except ApiError:
                return None
            hidden.update(_hidden(secret))
        return lines_too(hidden)

    async def keep_log(
        self, bundle: WerfBundle, job_name: str, text: str, now: datetime
    ) -> str:
        """Put a log into a ConfigMap beside the bundle; return its place.

        Older ones are removed: five stay, and none is kept longer than its Job.
        """
        namespace, uid = bundle.metadata.namespace, bundle.metadata.uid
        name = f"{job_name}-logs"
        config_map: Json = {
            "apiVersion": ConfigMap.gvk.api_version,
            "kind": ConfigMap.gvk.kind,
            "metadata": {
                "name": name,
                "namespace": namespace,
                "labels": {
                    BUNDLE_UID: uid,
                    "werf.io/bundle": label(bundle.metadata.name),
                },
            },
            "data": {"logs": text},
        }
        try:
            await self._client.create(set_owner_reference(bundle, config_map))
        except AlreadyExistsError:
            log.debug("the log is kept already", config_map=name)
        kept = await self._client.list(
            ConfigMap, namespace, label_selector=f"{BUNDLE_UID}={uid}"
        )
        oldest = now - timedelta(days=bundle.spec.converge.log_retention_days)
        others = sorted(
            (it.metadata for it in kept.items if it.metadata.name != name),
            key=lambda metadata: metadata.creation_timestamp or "",
            reverse=True,
        )
        for number, each in enumerate(others, start=1):
            made = _time(each.creation_timestamp or "")
            if number >= _LOGS_KEPT or (made is not None and made < oldest):
                await self._delete(ConfigMap.gvk, each.name, namespace)
        return f"{namespace}/{name}"


def _place(obj: Json) -> str:
    return str(obj["metadata"]["namespace"])


def _mark(obj: Json) -> tuple[object, object]:
    metadata = obj["metadata"]
    labels, annotations = metadata.get("labels", {}), metadata.get("annotations", {})
    return labels.get(BUNDLE_UID), annotations.get(FINGERPRINT)


@dataclass(frozen=True, slots=True)
class _Final:
    type: str
    reason: str
    message: str


def _final(job: Job) -> _Final | None:
    for it in job.status.conditions:
        if it.type in {"Complete", "Failed"} and it.status == "True":
            return _Final(it.type, it.reason, it.message)
    return None


def _states(pod: Json) -> Iterator[Json]:
    for status in pod.get("status", {}).get("containerStatuses", ()):
        yield status.get("state") or {}


def _terminated(pod: Json | None) -> Json:
    """Return how werf ended, whatever was put into the pod beside it."""
    for status in (pod or {}).get("status", {}).get("containerStatuses", ()):
        if status.get("name") == CONTAINER:
            return (status.get("state") or {}).get("terminated") or {}
    return {}


def _exit_code(terminated: Json, message: str) -> int | None:
    if "exitCode" in terminated:
        return int(terminated["exitCode"])
    found = _EXIT_CODE.search(message)
    return int(found[1]) if found else None


def _time(text: str) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def _mounted_secrets(job: Json) -> list[str]:
    """Name the Secrets that we made for a Job."""
    pod = job.get("spec", {}).get("template", {}).get("spec", {})
    names = [
        it.get("secret", {}).get("secretName", "") for it in pod.get("volumes", ())
    ]
    own = f"{job['metadata']['name']}-"
    return [name for name in names if name.startswith(own) and not name.endswith("-ca")]


def _hidden(secret: Secret) -> Iterator[str]:
    """Yield what a Secret of a Job must not show in a log."""
    for key, value in secret.data.items():
        content = json.loads(b64decode(value))
        if key == MASKED:
            yield from content
        elif key == "config.json":
            for entry in content.get("auths", {}).values():
                yield from filter(None, entry.values())
                login = b64decode(entry.get("auth", "")).decode()
                yield from filter(None, [login.partition(":")[2]])
