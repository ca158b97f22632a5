"""The Job that applies a bundle: a value in, objects out. Pure.

    Apply ─▶ Job                 made suspended, so that nothing runs before its Secrets
          ├▶ Secret <job>-registry  config.json for this registry alone
          ├▶ Secret <job>-values    values.yaml, and what logs must not show
          └▶ Secret <job>-ca        the registry's authority

The Secrets belong to the Job and go with it. The Job belongs to the bundle if it is in
its namespace; the garbage collector would take an owner in another one for gone, so
there labels and the finalizer stand in. Its name follows from what it does, so that a
manager that died after making it finds it again.

What werf wants and does: `/docs` of werf 2, and measured on 2.70; a Job always gets
`tag@digest`, since a tag may move and werf resolves no versions.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta

from api.batch.v1 import Job
from api.bundle.status import JobType, Observed, Trigger
from api.bundle.v1alpha1 import ConvergeSpec, WerfBundle
from api.core.v1 import Secret
from controller_runtime import Json, set_controller_reference
from controllers.bundle.fingerprint import fingerprint, limited, short, tag_hash
from controllers.bundle.intention import GROUP, Intention
from controllers.bundle.registry import Login
from controllers.bundle.values import Values
from controllers.oci import Credential

CONTAINER = "werf"

MANAGED_BY = "app.kubernetes.io/managed-by"
OPERATOR = "werf-operator"
OURS = f"{MANAGED_BY}={OPERATOR}"
"""Selects the Jobs that are ours."""

BUNDLE_UID = f"{GROUP}/bundle-uid"
BUNDLE = f"{GROUP}/bundle"
"""As an annotation `namespace/name`; as a label the name, shortened."""

FINGERPRINT = f"{GROUP}/fingerprint"

_LABEL_MAX = 63

_GRACE = timedelta(seconds=300)
"""What the Job gets beyond the time that werf gets, to pull images and to end."""

_ROOT = "/werf"

_TMP = f"{_ROOT}/tmp"  # noqa: S108 - a volume of its own

_ENVIRONMENT: Mapping[str, str] = {
    "HOME": f"{_ROOT}/home",
    "WERF_HOME": f"{_ROOT}/home/.werf",
    "TMPDIR": _TMP,
    "WERF_TMP_DIR": _TMP,
    "WERF_TELEMETRY": "0",
    "WERF_DISABLE_AUTO_HOST_CLEANUP": "1",
    # As variables, because older versions end at a flag that they do not know.
    "WERF_NO_CREATE_NAMESPACE": "1",
    "NELM_FEAT_MORE_DETAILED_EXIT_CODE_FOR_PLAN": "true",
    "WERF_LOG_TERMINAL_WIDTH": "140",
    "WERF_DOCKER_CONFIG": f"{_ROOT}/docker",
}

_ID = 1000
"""User and group `build` of werf's images."""

MASKED = "masked.json"
"""Key of the Secret with the values: a list of texts to hide in logs. Not mounted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Apply:
    """One try to apply one candidate."""

    bundle: WerfBundle
    intention: Intention
    candidate: Observed
    values: Values
    login: Login
    attempt: int
    trigger: Trigger
    salt: str
    """Another one, another Job, even if all else is the same: the same version may be
    applied again after another one was."""

    @property
    def fingerprint(self) -> str:
        """Equal if the outcome would be."""
        converge = self.bundle.spec.converge
        registry = self.intention.registry
        return fingerprint(
            {
                "repository": str(self.intention.repository),
                "tag": self.candidate.tag,
                "digest": self.candidate.digest,
                "values": self.values.hash,
                "release": self.intention.release,
                "namespace": self.intention.namespace,
                "account": self.intention.service_account,
                "image": self.intention.image,
                "autoRollback": converge.auto_rollback,
                "timeout": converge.timeout.total_seconds(),
                "secret": registry.secret_ref and registry.secret_ref.name,
                "insecure": registry.insecure,
                "tls": registry.tls_config
                and registry.tls_config.model_dump(mode="json"),
            }
        )

    @property
    def name(self) -> str:
        """Of the Job: at most 63 characters, the same for the same try."""
        metadata = self.bundle.metadata
        head = metadata.name[:40].replace(".", "-").rstrip("-")
        tail = short(
            metadata.uid, JobType.APPLY, self.fingerprint, self.attempt, self.salt
        )
        return f"{head}-{tag_hash(self.candidate.tag)}-{tail}"

    @property
    def converge(self) -> ConvergeSpec:
        """How it is to be deployed."""
        return self.bundle.spec.converge


def arguments(apply: Apply) -> list[str]:
    """Return the arguments of werf."""
    return list(_arguments(apply))


def _arguments(apply: Apply) -> Iterator[str]:
    intention, converge = apply.intention, apply.converge
    registry, own = intention.registry, apply.bundle.metadata
    yield from ("bundle", "apply")
    yield f"--repo={intention.repository}"
    yield f"--tag={apply.candidate.tag}@{apply.candidate.digest}"
    yield f"--release={intention.release}"
    yield f"--namespace={intention.namespace}"
    yield f"--timeout={int(converge.timeout.total_seconds())}"
    yield "--log-color-mode=off"
    yield "--log-pretty=false"
    if converge.auto_rollback:
        yield "--auto-rollback"
    if apply.values.document:
        yield f"--values={_ROOT}/values/values.yaml"
    if registry.insecure:
        yield "--insecure-registry"
    if apply.login.tls.skip_verify:
        yield "--skip-tls-verify-registry"
    yield f"--add-annotation={BUNDLE}={own.namespace}/{own.name}"


def job_for(apply: Apply) -> Json:
    """Return the Job, suspended."""
    job: Json = {
        "apiVersion": Job.gvk.api_version,
        "kind": Job.gvk.kind,
        "metadata": {
            "name": apply.name,
            "namespace": apply.intention.namespace,
            "labels": labels(apply),
            "annotations": _annotations(apply),
        },
        "spec": {
            "suspend": True,
            "backoffLimit": 0,
            "completions": 1,
            "parallelism": 1,
            "ttlSecondsAfterFinished": apply.converge.log_retention_days * 86_400,
            "activeDeadlineSeconds": _deadline(apply.converge),
            "podReplacementPolicy": "Failed",
            "podFailurePolicy": {"rules": _failure_rules()},
            "template": {
                "metadata": {
                    "labels": {**apply.converge.pod_labels, **labels(apply)},
                    "annotations": _annotations(apply),
                },
                "spec": _pod(apply),
            },
        },
    }
    if apply.intention.namespace == apply.bundle.metadata.namespace:
        return set_controller_reference(apply.bundle, job)
    return job


def secrets_for(apply: Apply, job: Json) -> Iterator[Json]:
    """Yield what the Job's pod mounts, to be owned by the Job.

    Args:
        apply: What the Job is for.
        job: As the server made it.
    """
    login = apply.login
    yield _secret(apply, job, "registry", {"config.json": _docker_config(apply)})
    if apply.values.document:
        data = {
            "values.yaml": apply.values.text,
            MASKED: apply.values.masked,
        }
        yield _secret(apply, job, "values", data)
    if login.tls.ca:
        yield _secret(
            apply, job, "ca", {"ca.crt": login.tls.ca.decode(errors="replace")}
        )


def labels(apply: Apply) -> dict[str, str]:
    """Return the labels of all that belongs to a Job."""
    own, tag = apply.bundle.metadata, apply.candidate.tag
    return {
        "app.kubernetes.io/name": OPERATOR,
        "app.kubernetes.io/instance": label(own.name),
        MANAGED_BY: OPERATOR,
        "app.kubernetes.io/component": JobType.APPLY,
        BUNDLE: label(own.name),
        f"{GROUP}/bundle-namespace": own.namespace,
        BUNDLE_UID: own.uid,
        f"{GROUP}/tag": label(tag),
        f"{GROUP}/tag-hash": tag_hash(tag),
    }


def label(text: str) -> str:
    """Return a text as a label takes it: its edges and its length are restricted."""
    return limited(re.sub(r"^[^A-Za-z0-9]+|[^A-Za-z0-9]+$", "", text), _LABEL_MAX)


def _annotations(apply: Apply) -> dict[str, str]:
    own = apply.bundle.metadata
    return {
        BUNDLE: f"{own.namespace}/{own.name}",
        f"{GROUP}/tag": apply.candidate.tag,
        f"{GROUP}/digest": apply.candidate.digest,
        FINGERPRINT: apply.fingerprint,
        f"{GROUP}/attempt": str(apply.attempt),
        f"{GROUP}/trigger": apply.trigger,
        f"{GROUP}/values-hash": apply.values.hash,
    }


def _deadline(converge: ConvergeSpec) -> int:
    # A rollback gets as much time again.
    spans = 2 if converge.auto_rollback else 1
    return int((converge.timeout * spans + _GRACE).total_seconds())


def _failure_rules() -> list[Json]:
    """Replace an evicted pod; keep an exit code that says more than `failed`."""
    return [
        {
            "action": "Ignore",
            "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}],
        },
        {
            "action": "FailJob",
            "onExitCodes": {
                "containerName": CONTAINER,
                "operator": "In",
                "values": [2, 3],
            },
        },
    ]


def _pod(apply: Apply) -> Json:
    converge = apply.converge
    optional = {
        "serviceAccountName": apply.intention.service_account,
        "priorityClassName": converge.priority_class_name,
        "nodeSelector": dict(converge.node_selector),
        "tolerations": [
            each.model_dump(by_alias=True, exclude_defaults=True)
            for each in converge.tolerations
        ],
        "imagePullSecrets": [{"name": it.name} for it in converge.image_pull_secrets],
    }
    return {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": 30,
        "automountServiceAccountToken": True,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": _ID,
            "runAsGroup": _ID,
            "fsGroup": _ID,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [_container(apply)],
        "volumes": [volume for volume, _ in _volumes(apply)],
        **{key: value for key, value in optional.items() if value},
    }


def _container(apply: Apply) -> Json:
    limits = apply.converge.resource_limits
    resources = {
        "cpu": limits.cpu.wire,
        "memory": limits.memory.wire,
        "ephemeral-storage": "1Gi",
    }
    environment = dict(_ENVIRONMENT)
    if apply.login.tls.ca:
        environment["SSL_CERT_DIR"] = f"/etc/ssl/certs:{_ROOT}/ca"  # adds, not replaces
    return {
        "name": CONTAINER,
        "image": apply.intention.image,
        "command": ["werf"],
        "args": arguments(apply),
        "env": [{"name": name, "value": it} for name, it in environment.items()],
        "resources": {"limits": resources, "requests": resources},
        "securityContext": {
            "readOnlyRootFilesystem": True,
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        },
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [
            {"name": volume["name"], "mountPath": f"{_ROOT}/{path}"}
            | ({"readOnly": True} if "secret" in volume else {})
            for volume, path in _volumes(apply)
        ],
    }


def _volumes(apply: Apply) -> Iterator[tuple[Json, str]]:
    """Yield volumes with the folders that they are seen in."""
    for name in ("home", "tmp"):
        yield {"name": name, "emptyDir": {"sizeLimit": "1Gi"}}, name
    yield _mounted(apply, "registry", "config.json"), "docker"
    if apply.values.document:
        yield _mounted(apply, "values", "values.yaml"), "values"
    if apply.login.tls.ca:
        yield _mounted(apply, "ca", "ca.crt"), "ca"


def _mounted(apply: Apply, part: str, key: str) -> Json:
    return {
        "name": part,
        "secret": {
            "secretName": f"{apply.name}-{part}",
            "defaultMode": 0o440,
            "items": [{"key": key, "path": key}],
        },
    }


def _secret(apply: Apply, job: Json, part: str, data: Mapping[str, str]) -> Json:
    secret: Json = {
        "apiVersion": Secret.gvk.api_version,
        "kind": Secret.gvk.kind,
        "metadata": {
            "name": f"{apply.name}-{part}",
            "namespace": apply.intention.namespace,
            "labels": labels(apply),
        },
        "type": "Opaque",
        "stringData": dict(data),
    }
    return set_controller_reference(job, secret)


def _docker_config(apply: Apply) -> str:
    """Return a config.json with this registry's entry and no other."""
    entry = _entry(apply.login.credential)
    host = apply.intention.repository.host
    key = "https://index.docker.io/v1/" if host == "docker.io" else host
    return json.dumps({"auths": {key: entry} if entry else {}})


def _entry(credential: Credential) -> Mapping[str, str]:
    # werf ignores `registrytoken`: there the token goes as a password.
    password = credential.password or credential.registry_token
    if credential.identity_token:
        return {"identitytoken": credential.identity_token}
    if not password:
        return {}
    login = f"{credential.username or 'token'}:{password}"
    return {"auth": base64.b64encode(login.encode()).decode()}
