"""What the server fills in for the built-in kinds.

Not all of it: what a controller reads back or compares with what it sent, from
kubernetes `pkg/apis/*/v1/defaults.go` and the `PrepareForCreate` of each kind.
Every function changes its first argument, which nobody else holds yet.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator

from controller_runtime.meta import Json


def pod(new: Json, old: Json | None) -> None:
    """Default a Pod; a new one is pending."""
    pod_spec(new.setdefault("spec", {}))
    new["spec"].setdefault("enableServiceLinks", True)
    if old is None:
        new["status"] = {"phase": "Pending"}


def deployment(new: Json, old: Json | None) -> None:
    """Default a Deployment."""
    spec = new.setdefault("spec", {})
    spec.setdefault("replicas", 1)
    spec.setdefault("revisionHistoryLimit", 10)
    spec.setdefault("progressDeadlineSeconds", 600)
    _strategy(spec.setdefault("strategy", {}), maxSurge="25%", maxUnavailable="25%")
    _template(spec)
    if old is None:
        new["status"] = {}


def stateful_set(new: Json, old: Json | None) -> None:
    """Default a StatefulSet."""
    spec = new.setdefault("spec", {})
    spec.setdefault("replicas", 1)
    spec.setdefault("revisionHistoryLimit", 10)
    spec.setdefault("podManagementPolicy", "OrderedReady")
    _strategy(spec.setdefault("updateStrategy", {}), partition=0)
    _template(spec)
    if old is None:
        new["status"] = {"replicas": 0, "availableReplicas": 0}


def daemon_set(new: Json, old: Json | None) -> None:
    """Default a DaemonSet."""
    spec = new.setdefault("spec", {})
    spec.setdefault("revisionHistoryLimit", 10)
    _strategy(spec.setdefault("updateStrategy", {}), maxSurge=0, maxUnavailable=1)
    _template(spec)
    if old is None:
        numbers = ("current", "desired")
        new["status"] = {f"{name}NumberScheduled": 0 for name in numbers}
        new["status"] |= {"numberMisscheduled": 0, "numberReady": 0}


def replica_set(new: Json, old: Json | None) -> None:
    """Default a ReplicaSet."""
    spec = new.setdefault("spec", {})
    spec.setdefault("replicas", 1)
    _template(spec)
    if old is None:
        new["status"] = {"replicas": 0}


def job(new: Json, old: Json | None) -> None:
    """Default a Job, and tie its pods to it."""
    spec = new.setdefault("spec", {})
    if not spec.get("manualSelector") and old is None:
        _own_selector(new)
    _job_spec(spec)
    spec.setdefault("manualSelector", False)
    if old is None:
        new["status"] = {}


def cron_job(new: Json, old: Json | None) -> None:
    """Default a CronJob."""
    spec = new.setdefault("spec", {})
    spec.setdefault("concurrencyPolicy", "Allow")
    spec.setdefault("suspend", False)
    spec.setdefault("successfulJobsHistoryLimit", 3)
    spec.setdefault("failedJobsHistoryLimit", 1)
    template = spec.setdefault("jobTemplate", {}).setdefault("spec", {})
    _template(template)
    if old is None:
        new["status"] = {}


def config_map(new: Json, old: Json | None) -> None:
    """Drop what is empty, as its Go struct does."""
    _drop_empty(new, "data", "binaryData")


def secret(new: Json, old: Json | None) -> None:
    """Move `stringData` into `data`, and give the secret a type."""
    for name, text in (new.pop("stringData", None) or {}).items():
        encoded = base64.b64encode(text.encode()).decode()
        new.setdefault("data", {})[name] = encoded
    new.setdefault("type", "Opaque")
    _drop_empty(new, "data")


def namespace(new: Json, old: Json | None) -> None:
    """Label a Namespace with its name; a new one is active."""
    labels = new["metadata"].setdefault("labels", {})
    labels["kubernetes.io/metadata.name"] = new["metadata"].get("name", "")
    if old is None:
        new["spec"] = {"finalizers": ["kubernetes"]}
        new["status"] = {"phase": "Active"}


def pod_spec(spec: Json) -> None:
    """Default the spec of a pod or of a template for pods."""
    spec.setdefault("restartPolicy", "Always")
    spec.setdefault("dnsPolicy", "ClusterFirst")
    spec.setdefault("schedulerName", "default-scheduler")
    spec.setdefault("terminationGracePeriodSeconds", 30)
    spec.setdefault("securityContext", {})
    if "serviceAccountName" in spec:
        spec.setdefault("serviceAccount", spec["serviceAccountName"])
    for container in _containers(spec):
        _container(container)
    for volume in spec.get("volumes") or ():
        _volume(volume)


def _containers(spec: Json) -> Iterator[Json]:
    yield from spec.get("initContainers") or ()
    yield from spec.get("containers") or ()


def _container(container: Json) -> None:
    container.setdefault("resources", {})
    container.setdefault("terminationMessagePath", "/dev/termination-log")
    container.setdefault("terminationMessagePolicy", "File")
    container.setdefault("imagePullPolicy", _pull_policy(container.get("image", "")))
    for port in container.get("ports") or ():
        port.setdefault("protocol", "TCP")
    for variable in container.get("env") or ():
        if "fieldRef" in (variable.get("valueFrom") or {}):
            variable["valueFrom"]["fieldRef"].setdefault("apiVersion", "v1")
    for name in ("livenessProbe", "readinessProbe", "startupProbe"):
        if name in container:
            _probe(container[name])


def _pull_policy(image: str) -> str:
    name = image.rpartition("/")[2]
    is_latest = "@" not in image and (":" not in name or name.endswith(":latest"))
    return "Always" if is_latest else "IfNotPresent"


def _probe(probe: Json) -> None:
    probe.setdefault("timeoutSeconds", 1)
    probe.setdefault("periodSeconds", 10)
    probe.setdefault("successThreshold", 1)
    probe.setdefault("failureThreshold", 3)
    if "httpGet" in probe:
        probe["httpGet"].setdefault("path", "/")
        probe["httpGet"].setdefault("scheme", "HTTP")


def _volume(volume: Json) -> None:
    for name in ("configMap", "secret", "projected", "downwardAPI"):
        if name in volume:
            volume[name].setdefault("defaultMode", 0o644)
    if set(volume) == {"name"}:
        volume["emptyDir"] = {}


def _template(spec: Json) -> None:
    pod_spec(spec.setdefault("template", {}).setdefault("spec", {}))


def _strategy(strategy: Json, **numbers: object) -> None:
    strategy.setdefault("type", "RollingUpdate")
    if strategy["type"] == "RollingUpdate":
        update = strategy.setdefault("rollingUpdate", {})
        for name, value in numbers.items():
            update.setdefault(name, value)


def _job_spec(spec: Json) -> None:
    if "completions" not in spec and "parallelism" not in spec:
        spec["completions"] = 1
    spec.setdefault("parallelism", 1)
    spec.setdefault("backoffLimit", 6)
    spec.setdefault("completionMode", "NonIndexed")
    spec.setdefault("suspend", False)
    spec.setdefault("podReplacementPolicy", "TerminatingOrFailed")
    _template(spec)


def _own_selector(job_: Json) -> None:
    """Label job and template with the job's uid, and select by it."""
    metadata = job_["metadata"]
    prefix = "batch.kubernetes.io/"
    labels = {f"{prefix}controller-uid": metadata["uid"], "job-name": metadata["name"]}
    labels |= {"controller-uid": metadata["uid"], f"{prefix}job-name": metadata["name"]}
    spec = job_["spec"]
    template = spec.setdefault("template", {}).setdefault("metadata", {})
    for labelled in (metadata, template):
        labelled["labels"] = {**labels, **labelled.get("labels", {})}
    own = {f"{prefix}controller-uid": metadata["uid"]}
    spec["selector"] = {"matchLabels": own}


def _drop_empty(object_: Json, *names: str) -> None:
    for name in names:
        if not object_.get(name):
            object_.pop(name, None)
