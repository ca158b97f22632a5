"""How a Job ended: what its pod says, the end of its log, and where that is kept.

    Job ─▶ its newest pod ─▶ exit code of werf ─┐
                          └▶ log, or last words ┴▶ secrets hidden ─▶ End

What a log must not show is in the Secrets of the Job. While they cannot be read,
nothing of the log is shown. A Job has ended when its condition says so, not when a pod
of it has failed: an evicted pod is replaced.
"""

from __future__ import annotations

import asyncio
import json
import re
from base64 import b64decode
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from api.batch.v1 import Job
from api.bundle.v1alpha1 import WerfBundle
from api.core.v1 import ConfigMap, Secret
from controller_runtime import (
    TRANSPORT_ERRORS,
    AlreadyExistsError,
    ApiError,
    Client,
    GroupVersionKind,
    Json,
    NotFoundError,
    set_owner_reference,
)
from controllers.bundle.job import BUNDLE_UID, CONTAINER, MASKED, label
from controllers.bundle.logs import LINES, Verdict, judge, lines_too, tail

log = structlog.get_logger(__name__)

POD = GroupVersionKind("", "v1", "Pod")

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


def is_over(job: Job) -> bool:
    """Tell whether a Job has ended."""
    return _final(job) is not None


class Outcomes:
    """Finds out about Jobs from their pods."""

    def __init__(self, client: Client) -> None:
        """Read with `client`, live."""
        self._client = client

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
        for name in _mounted_secrets(
            job.model_dump(mode="json", by_alias=True, exclude_unset=True)
        ):
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
                with suppress(NotFoundError):
                    await self._client.delete(ConfigMap, each.name, namespace)
        return f"{namespace}/{name}"


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
