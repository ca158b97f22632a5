"""A namespace with bundles in it, a registry, and managers that come and go.

kwok ends the pods of Jobs well, at once. A bundle that is `held` has pods that no node
takes: the test ends them itself, as a kubelet would, with the exit code and the output
of the stand-in for werf or of its own choice.
"""

from __future__ import annotations

import asyncio
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from itertools import count

from api.batch.v1 import Job
from api.bundle.v1alpha1 import WerfBundle
from api.core.v1 import Secret
from conformance import werf
from controller_runtime import (
    Client,
    GroupVersionKind,
    HttpTransport,
    Json,
    Manager,
    ManagerOptions,
    RestConfig,
    SystemClock,
    Transport,
    merge_patch,
)
from controller_runtime.testing.envtest import Registry
from controller_runtime.testing.envtest.certificates import KeyPair
from controller_runtime.testing.eventually import (
    eventually,
    eventually_gone,
    eventually_list,
)
from controllers.bundle import setup
from controllers.bundle.options import BundleOptions
from controllers.manager import scheme
from controllers.oci import (
    ANONYMOUS,
    Access,
    Credential,
    RegistryClient,
    RegistryClientOptions,
    RemoteRepository,
    Repository,
    ThrottleOptions,
    WireOptions,
)
from controllers.up.bundle_samples import push_bundle
from controllers.web import Http, Tls

EVENT = GroupVersionKind("events.k8s.io", "v1", "Event")
POD = GroupVersionKind("", "v1", "Pod")
ACCOUNT = GroupVersionKind("", "v1", "ServiceAccount")

HELD = {"held": "yes"}
"""Labels that no node has."""

PATH = "org/bundle"

QUICK = BundleOptions(
    spread=timedelta(),
    preflight_retry=timedelta(milliseconds=500),
    debounce=timedelta(milliseconds=300),
    first_failure=timedelta(seconds=1),
    apply_retries=(timedelta(seconds=1),),
)
"""Settings under which a test need not wait."""

HASTY = RegistryClientOptions(
    wire=WireOptions(throttle=ThrottleOptions(rate_per_host=1e6, burst_per_host=1000))
)


class Yard:
    """One namespace, one repository."""

    def __init__(
        self, client: Client, config: RestConfig, namespace: str, registry: Registry
    ) -> None:
        self.client = client
        self.config = config
        self.namespace = namespace
        self.registry = registry
        self._requests = count(1)

    @property
    def url(self) -> str:
        return f"{self.registry.host}/{PATH}"

    @asynccontextmanager
    async def manager(
        self,
        options: BundleOptions = QUICK,
        *,
        namespaces: tuple[str, ...] = (),
        transport: Transport | None = None,
    ) -> AsyncIterator[Manager]:
        """Run a manager with the bundle controller, for this namespace alone."""
        async with HttpTransport(self.config) as own:
            manager = Manager(
                transport or own,
                scheme=scheme(),
                options=ManagerOptions(
                    metrics_bind_address="0",
                    health_probe_bind_address="0",
                    graceful_shutdown_timeout=timedelta(seconds=10),
                ),
            )
            places = (self.namespace, *namespaces)
            setup(manager, replace(options, namespaces=places))
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(manager.start())
                try:
                    yield manager
                finally:
                    manager.stop()

    @asynccontextmanager
    async def repository(
        self, credential: Credential = ANONYMOUS, *, pair: KeyPair | None = None
    ) -> AsyncIterator[RemoteRepository]:
        is_plain = self.registry.url.startswith("http:")
        tls = Tls() if is_plain else Tls(ca=self.registry.ca_pem)
        if pair is not None:
            tls = replace(tls, certificate=pair.public, key=pair.private)
        access = Access(credential=credential, tls=tls, insecure=is_plain)
        async with Http() as http:
            client = RegistryClient(http, clock=SystemClock(), options=HASTY)
            yield client.repository(Repository(self.registry.host, PATH), access)

    async def publish(
        self, *tags: str, greeting: str = "hello", credential: Credential = ANONYMOUS
    ) -> str:
        """Push bundles, and return the digest of the last."""
        digest = ""
        async with self.repository(credential) as repository:
            for tag in tags:
                digest = await push_bundle(
                    repository, tag, values={"greeting": greeting}
                )
        return digest

    async def publish_as(self, tag: str, pair: KeyPair) -> None:
        """Push a bundle with a client certificate."""
        async with self.repository(pair=pair) as repository:
            await push_bundle(repository, tag)

    async def bundle(
        self,
        name: str = "app",
        *,
        held: bool = False,
        registry: Mapping[str, object] | None = None,
        converge: Mapping[str, object] | None = None,
        **spec: object,
    ) -> Bundle:
        """Create a bundle."""
        where = {"url": self.url, "insecure": True, **(registry or {})}
        how = {**({"nodeSelector": HELD} if held else {}), **(converge or {})}
        await self.client.create(
            {
                "apiVersion": WerfBundle.gvk.api_version,
                "kind": WerfBundle.gvk.kind,
                "metadata": {"name": name, "namespace": self.namespace},
                "spec": {"registry": where, "converge": how, **spec},
            }
        )
        return Bundle(self, name)

    async def create(
        self,
        gvk: GroupVersionKind,
        name: str,
        namespace: str = "",
        **fields: object,
    ) -> Json:
        head = {"apiVersion": gvk.api_version, "kind": gvk.kind}
        metadata = {"name": name, "namespace": namespace or self.namespace}
        return await self.client.create({**head, "metadata": metadata, **fields})

    async def secret(self, name: str, data: Mapping[str, bytes]) -> None:
        encoded = {key: b64encode(value).decode() for key, value in data.items()}
        await self.create(Secret.gvk, name, data=encoded)

    def moment(self) -> str:
        """Return a new value for an annotation."""
        return str(next(self._requests))


class Bundle:
    """One bundle of a test."""

    def __init__(self, yard: Yard, name: str) -> None:
        self.yard = yard
        self.client = yard.client
        self.namespace = yard.namespace
        self.name = name

    async def when(
        self, condition: Callable[[WerfBundle], object], *, timeout: float = 30
    ) -> WerfBundle:
        return await eventually(
            self.client,
            WerfBundle,
            self.name,
            self.namespace,
            condition,
            timeout=timeout,
        )

    async def phase(self, phase: str) -> WerfBundle:
        return await self.when(lambda bundle: bundle.status.phase == phase)

    async def applied(self, tag: str) -> WerfBundle:
        return await self.when(
            lambda bundle: (
                bundle.status.last_applied_tag == tag
                and bundle.status.phase == "Synced"
            )
        )

    async def ready_says(self, reason: str) -> WerfBundle:
        return await self.when(
            lambda bundle: condition(bundle, "Ready").reason == reason
        )

    async def patch(self, **spec: object) -> None:
        await self.client.patch(
            WerfBundle.gvk,
            self.name,
            self.namespace,
            patch=merge_patch({"spec": spec}),
        )

    async def delete(self) -> None:
        """Delete it, and wait until it is gone."""
        await self.client.delete(WerfBundle.gvk, self.name, self.namespace)
        await eventually_gone(self.client, WerfBundle.gvk, self.name, self.namespace)

    async def made(self) -> WerfBundle:
        """Wait until the status has seen the Job that was made."""
        return await self.when(
            lambda it: it.status.active_job and it.status.active_job.created_at
        )

    async def poll(self) -> WerfBundle:
        """Have the registry asked now, and wait until it was."""
        moment = self.yard.moment()
        annotations = {"werf.io/reconcile-requested-at": moment}
        await self.client.patch(
            WerfBundle.gvk,
            self.name,
            self.namespace,
            patch=merge_patch({"metadata": {"annotations": annotations}}),
        )
        return await self.when(
            lambda bundle: bundle.status.handled_reconcile_at == moment
        )

    async def jobs(self, namespace: str = "") -> list[Json]:
        listed = await self.client.list(
            Job.gvk,
            namespace or self.namespace,
            label_selector=f"werf.io/bundle={self.name}",
        )
        return list(listed.items)

    async def job(self, number: int = 1, namespace: str = "") -> Json:
        """Wait until there are so many Jobs, all let go, and return the newest."""

        def enough(jobs: list[Json]) -> bool:
            return len(jobs) == number and all(
                not job["spec"].get("suspend") for job in jobs
            )

        jobs = await eventually_list(
            self.client,
            Job.gvk,
            namespace or self.namespace,
            enough,
            label_selector=f"werf.io/bundle={self.name}",
        )
        return max(jobs, key=_attempt_of)

    async def pod(self, job: Json) -> Json:
        """Wait for the pod of a Job that has not ended."""
        pods = await eventually_list(
            self.client,
            POD,
            job["metadata"]["namespace"],
            lambda pods: any(_is_alive(pod) for pod in pods),
            label_selector=f"batch.kubernetes.io/job-name={job['metadata']['name']}",
        )
        return next(pod for pod in pods if _is_alive(pod))

    async def run(self, job: Json) -> werf.Applied:
        """Let a held Job run the stand-in, to its end."""
        (container,) = (await self.pod(job))["spec"]["containers"]
        done = werf.run(container["args"])
        await self.end(job, done.exit_code, done.output)
        return werf.applied(container["args"])

    async def end(self, job: Json, exit_code: int, output: str = "") -> None:
        """End the pod of a held Job as a kubelet would."""
        pod = await self.pod(job)
        terminated = {"exitCode": exit_code, "message": output[-4096:]}
        status = {
            "phase": "Failed" if exit_code else "Succeeded",
            "containerStatuses": [
                {
                    "name": "werf",
                    "image": "werf",
                    "imageID": "",
                    "ready": False,
                    "restartCount": 0,
                    "state": {"terminated": terminated},
                }
            ],
        }
        await self._patch_pod(pod, status)

    async def evict(self, job: Json) -> None:
        """End the pod of a held Job as an eviction does."""
        pod = await self.pod(job)
        disruption = {
            "type": "DisruptionTarget",
            "status": "True",
            "reason": "EvictionByEvictionAPI",
        }
        await self._patch_pod(pod, {"phase": "Failed", "conditions": [disruption]})

    async def _patch_pod(self, pod: Json, status: Json) -> None:
        metadata = pod["metadata"]
        await self.client.patch(
            POD,
            metadata["name"],
            metadata["namespace"],
            patch=merge_patch({"status": status}),
            subresource="status",
        )

    async def events(self) -> set[str]:
        listed = await self.client.list(EVENT, self.namespace)
        return {
            it["reason"] for it in listed.items if it["regarding"]["name"] == self.name
        }

    async def told(self, reason: str) -> Json:
        """Wait for an Event."""
        events = await eventually_list(
            self.client,
            EVENT,
            self.namespace,
            lambda events: any(_is(it, self.name, reason) for it in events),
        )
        return next(it for it in events if _is(it, self.name, reason))


def condition(bundle: WerfBundle, type_: str) -> Condition:
    """Return a condition; one that is absent says so."""
    for each in bundle.status.conditions:
        if each.type == type_:
            return Condition(each.status, each.reason, each.message)
    return Condition("", "", "")


class Condition:
    """What a condition says."""

    def __init__(self, status: str, reason: str, message: str) -> None:
        self.status = status
        self.reason = reason
        self.message = message

    def __repr__(self) -> str:
        return f"{self.status} {self.reason}: {self.message}"


def args_of(job: Json) -> list[str]:
    """Return what a Job calls werf with."""
    (container,) = job["spec"]["template"]["spec"]["containers"]
    return list(container["args"])


def secret_text(secret: Secret, key: str) -> str:
    """Return a key of a Secret."""
    return b64decode(secret.data[key]).decode()


def _attempt_of(job: Json) -> tuple[str, int, str]:
    metadata = job["metadata"]
    attempt = int(metadata["annotations"]["werf.io/attempt"])
    return metadata["creationTimestamp"], attempt, metadata["name"]


def _is_alive(pod: Json) -> bool:
    phase = pod.get("status", {}).get("phase")
    return phase not in {"Failed", "Succeeded"}


def _is(event: Json, name: str, reason: str) -> bool:
    return bool(event["regarding"]["name"] == name and event["reason"] == reason)
