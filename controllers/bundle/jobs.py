"""Jobs on the cluster: counted, found, made in three steps, cleaned up.

    create suspended ─▶ Secrets, owned by it ─▶ unsuspend ─▶ runs ─▶ see `outcomes`

Every step may be repeated: what exists is taken for done if it is ours. A Job is found
in the cache or, if it is not there or has not been let go there, live: only the server
can say that one is gone, or has not run.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from pydantic import ValidationError

from api.batch.v1 import Job
from api.bundle.status import ActiveJob
from api.bundle.v1alpha1 import WerfBundle
from api.core.v1 import Secret
from controller_runtime import (
    AlreadyExistsError,
    Client,
    GroupVersionKind,
    Informer,
    Json,
    NamespacedName,
    NotFoundError,
    RawObject,
    Scheme,
    merge_patch,
)
from controllers.bundle.job import (
    BUNDLE_UID,
    FINGERPRINT,
    Apply,
    job_for,
    secrets_for,
)
from controllers.bundle.outcomes import is_over

BY_UID = "bundle-uid"
"""Index of Jobs by the bundle that they are for."""

BY_LIFE = "life"
"""Index of Jobs by whether they have ended; there may be thousands that have."""

_ALIVE = "alive"


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
    """Makes and removes Jobs."""

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


def _place(obj: Json) -> str:
    return str(obj["metadata"]["namespace"])


def _mark(obj: Json) -> tuple[object, object]:
    metadata = obj["metadata"]
    labels, annotations = metadata.get("labels", {}), metadata.get("annotations", {})
    return labels.get(BUNDLE_UID), annotations.get(FINGERPRINT)
