"""Kinds as paths and roles name them, without asking a server.

A model says its plural and its scope. For a kind without a model they are guessed, and
right for every kind of Kubernetes' own. Who talks to a server asks `discovery`.
"""

from __future__ import annotations

from typing import NamedTuple

from controller_runtime.meta import GroupVersionKind, Kind

_CLUSTER_SCOPED = {
    "": "ComponentStatus Namespace Node PersistentVolume",
    "admissionregistration.k8s.io": "MutatingAdmissionPolicy "
    "MutatingAdmissionPolicyBinding MutatingWebhookConfiguration "
    "ValidatingAdmissionPolicy ValidatingAdmissionPolicyBinding "
    "ValidatingWebhookConfiguration",
    "apiextensions.k8s.io": "CustomResourceDefinition",
    "apiregistration.k8s.io": "APIService",
    "authentication.k8s.io": "SelfSubjectReview TokenReview",
    "authorization.k8s.io": "SelfSubjectAccessReview SelfSubjectRulesReview "
    "SubjectAccessReview",
    "certificates.k8s.io": "CertificateSigningRequest ClusterTrustBundle",
    "flowcontrol.apiserver.k8s.io": "FlowSchema PriorityLevelConfiguration",
    "networking.k8s.io": "IPAddress IngressClass ServiceCIDR",
    "node.k8s.io": "RuntimeClass",
    "rbac.authorization.k8s.io": "ClusterRole ClusterRoleBinding",
    "resource.k8s.io": "DeviceClass DeviceTaintRule ResourceSlice",
    "scheduling.k8s.io": "PriorityClass",
    "storage.k8s.io": "CSIDriver CSINode StorageClass VolumeAttachment "
    "VolumeAttributesClass",
    "storagemigration.k8s.io": "StorageVersionMigration",
}
"""group → kinds of Kubernetes' own that are in no namespace."""


class Resource(NamedTuple):
    """A kind as a role and a path name it."""

    group: str
    plural: str
    namespaced: bool


def resource_of(kind: Kind) -> Resource:
    """Return the resource of a kind, without asking a server.

    A model says its plural and its scope; for a kind without one they are what
    Kubernetes' own kinds have.
    """
    if isinstance(kind, GroupVersionKind):
        gvk, plural, namespaced = kind, "", True
    else:
        gvk, plural, namespaced = kind.gvk, kind.plural, kind.namespaced
    is_cluster_scoped = gvk.kind in _CLUSTER_SCOPED.get(gvk.group, "").split()
    return Resource(
        gvk.group,
        plural or usual_plural(gvk.kind),
        namespaced and not is_cluster_scoped,
    )


def usual_plural(kind: str) -> str:
    """Return what a kind is called in paths, unless its author chose otherwise.

    apimachinery's `meta.UnsafeGuessKindToResource`.
    """
    name = kind.lower()
    if name == "endpoints":
        return name
    if name.endswith("s"):
        return f"{name}es"
    return f"{name[:-1]}ies" if name.endswith("y") else f"{name}s"
