"""The kinds that a fresh server serves."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from types import MappingProxyType

from controller_runtime.meta import GroupVersionKind
from controller_runtime.testing.apiserver import defaults, events
from controller_runtime.testing.apiserver.resources import Resource
from controller_runtime.testing.apiserver.validation import namespace_causes

_LIST_KEYS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "conditions": ("type",),
        "containers": ("name",),
        "env": ("name",),
        "ephemeralContainers": ("name",),
        "hostAliases": ("ip",),
        "imagePullSecrets": ("name",),
        "initContainers": ("name",),
        "ports": ("containerPort", "protocol"),
        "resourceClaims": ("name",),
        "secrets": ("name",),
        "topologySpreadConstraints": ("topologyKey", "whenUnsatisfiable"),
        "volumeDevices": ("devicePath",),
        "volumeMounts": ("mountPath",),
        "volumes": ("name",),
    }
)
"""`patchMergeKey` and `listMapKey` of k8s.io/api, by the name of the field. The first
key is the one of strategic merge. `ports` is a container's: Services are not here."""

_ATOMIC = frozenset(
    {
        "configMapKeyRef",
        "fieldRef",
        "involvedObject",
        "labelSelector",
        "nodeSelector",
        "regarding",
        "related",
        "resourceFieldRef",
        "secretKeyRef",
        "selector",
    }
)
"""`structType=atomic` and `mapType=atomic` of k8s.io/api, by the name of the field."""

_POD_FIELDS = {
    "spec.nodeName": "",
    "spec.restartPolicy": "",
    "spec.schedulerName": "",
    "spec.serviceAccountName": "",
    "spec.hostNetwork": "false",
    "status.phase": "",
    "status.podIP": "",
    "status.nominatedNodeName": "",
}

_built_in = partial(
    Resource,
    built_in=True,
    unconditional_update=True,
    subresources=(),
    generation=None,
    list_keys=_LIST_KEYS,
    atomic=_ATOMIC,
)
_workload = partial(_built_in, subresources=("status",), generation=("spec",))


def _gvk(api_version: str, kind: str) -> GroupVersionKind:
    return GroupVersionKind.parse(api_version, kind)


BUILT_IN: tuple[Resource, ...] = (
    _built_in(
        gvk=_gvk("v1", "Namespace"),
        plural="namespaces",
        short_names=("ns",),
        namespaced=False,
        subresources=("status", "finalize"),
        returns_deleted=True,
        field_selectors={"status.phase": ""},
        prepare=defaults.namespace,
        check=namespace_causes,
    ),
    _built_in(
        gvk=_gvk("v1", "ConfigMap"),
        plural="configmaps",
        short_names=("cm",),
        prepare=defaults.config_map,
    ),
    _built_in(
        gvk=_gvk("v1", "Secret"),
        plural="secrets",
        field_selectors={"type": ""},
        prepare=defaults.secret,
    ),
    _workload(
        gvk=_gvk("v1", "Pod"),
        plural="pods",
        short_names=("po",),
        returns_deleted=True,
        field_selectors=_POD_FIELDS,
        prepare=defaults.pod,
    ),
    _built_in(
        gvk=_gvk("v1", "ServiceAccount"),
        plural="serviceaccounts",
        short_names=("sa",),
        returns_deleted=True,
    ),
    _built_in(
        gvk=_gvk("v1", "Event"),
        plural="events",
        short_names=("ev",),
        create_on_update=True,
        field_selectors=events.SELECTABLE,
        check=events.check_core,
    ),
    _workload(
        gvk=_gvk("apps/v1", "Deployment"),
        plural="deployments",
        short_names=("deploy",),
        generation=("spec", "metadata.annotations"),
        prepare=defaults.deployment,
    ),
    _workload(
        gvk=_gvk("apps/v1", "StatefulSet"),
        plural="statefulsets",
        short_names=("sts",),
        prepare=defaults.stateful_set,
    ),
    _built_in(
        gvk=_gvk("apps/v1", "ControllerRevision"),
        plural="controllerrevisions",
    ),
    _workload(
        gvk=_gvk("apps/v1", "DaemonSet"),
        plural="daemonsets",
        short_names=("ds",),
        prepare=defaults.daemon_set,
    ),
    _workload(
        gvk=_gvk("apps/v1", "ReplicaSet"),
        plural="replicasets",
        short_names=("rs",),
        field_selectors={"status.replicas": "0"},
        prepare=defaults.replica_set,
    ),
    _workload(
        gvk=_gvk("batch/v1", "Job"),
        plural="jobs",
        orphans_by_default=True,
        field_selectors={"status.successful": "0"},
        prepare=defaults.job,
    ),
    _workload(
        gvk=_gvk("batch/v1", "CronJob"),
        plural="cronjobs",
        short_names=("cj",),
        prepare=defaults.cron_job,
    ),
    _built_in(
        gvk=_gvk("coordination.k8s.io/v1", "Lease"),
        plural="leases",
        unconditional_update=False,
        create_on_update=True,
    ),
    _built_in(
        gvk=_gvk("events.k8s.io/v1", "Event"),
        plural="events",
        short_names=("ev",),
        create_on_update=True,
        field_selectors=events.SELECTABLE_NEW,
        check=events.check_new,
        stored_as="events",
        to_stored=events.to_core,
        from_stored=events.from_core,
    ),
)
