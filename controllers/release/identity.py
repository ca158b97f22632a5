"""Which release a ManagedRoost stands for, and how the release says so: pure.

    ManagedRoost ─▶ name and namespace of the release
                 ─▶ labels of its records: whose they are, and what they deployed

The labels are kept with the release, so a status that is lost, or an object that is
made anew, costs no deployment.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

from api.release.v1alpha1 import GROUP, ManagedRoost

UID_LABEL = f"{GROUP}/uid"
"""Label of a record: uid of the ManagedRoost whose release it is."""

DIGEST_LABEL = f"{GROUP}/config-digest"
"""Label of a record: the beginning of the digest of what it deployed."""

DIGEST_LENGTH = 40
"""Hexadecimal digits of a digest that fit into a label beside nothing else."""

MAX_NAME = 53
"""Longest name of a release: names of its objects may append ten characters to it
(Helm `pkg/chart/common/util`)."""


class ReleaseKey(NamedTuple):
    """A release of the cluster. No two operations on one may overlap."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


def release_key(roost: ManagedRoost) -> ReleaseKey:
    """Return which release an object is about."""
    spec = roost.spec
    name = spec.release_name or short_name(roost.metadata.name)
    return ReleaseKey(spec.namespace or roost.metadata.namespace, name)


def short_name(name: str) -> str:
    """Shorten a name to what Helm takes; the same name always to the same."""
    if len(name) <= MAX_NAME:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()
    return f"{name[:40].rstrip('-.')}-{digest[:12]}"


def release_labels(roost: ManagedRoost, config_digest: str) -> dict[str, str]:
    """Return the labels of a record that deploys what a digest stands for."""
    return {
        UID_LABEL: roost.metadata.uid,
        DIGEST_LABEL: config_digest[:DIGEST_LENGTH],
    }


def is_same_digest(label: str, config_digest: str) -> bool:
    """Tell whether a record deployed what a digest stands for."""
    return bool(label) and label == config_digest[:DIGEST_LENGTH]
