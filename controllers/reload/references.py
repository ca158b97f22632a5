"""Which workloads use which objects.

    index_values   a workload → what it is found under
    lookup_values  a source   → what to look under for the workloads it may concern

Both speak of one index, which the store of each kind of workload keeps:

    secret/shop/db     lists the Secret `db`, or uses it and reloads for what it uses
    secret/shop/*      lists Secrets by pattern

The index answers "perhaps": a reconcile decides. A workload without annotations of
ours is in no index, and changes of what it uses cost a look into a dictionary.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from typing import NamedTuple

from api.core.v1 import Container, PodSpec, Volume
from controllers.reload.annotations import Match, ReloadPolicy
from controllers.reload.sources import SourceKey, SourceKind
from controllers.reload.workloads import Workload

_ANY = "*"
"""Stands for the name, of which it can be no part."""


class Reference(NamedTuple):
    """An object in the workload's own namespace that its pods use."""

    kind: SourceKind
    name: str


def references(pod: PodSpec) -> frozenset[Reference]:
    """Name what the containers use: in variables, and in volumes that they mount.

    Init containers count. Ephemeral containers are not part of a template, and a
    volume that nobody mounts changes nothing in a pod.
    """
    containers = (*pod.containers, *pod.init_containers)
    mounted = {mount.name for c in containers for mount in c.volume_mounts}
    volumes = (volume for volume in pod.volumes if volume.name in mounted)
    return frozenset(
        [reference for c in containers for reference in _of_variables(c)]
        + [reference for volume in volumes for reference in _of_volume(volume)]
    )


def container_for(
    pod: PodSpec, reference: Reference, match: Match, only: Collection[str] = ()
) -> str | None:
    """Choose the container that takes the marker of a source.

    The order is stakater/Reloader's (`getContainerUsingResource`): the first that
    mounts it, then the first that has it in a variable; where that is an init
    container, and for a source that is listed but not used, the first of all. Unlike
    there, a second volume of the same source counts too.

    Args:
        pod: What the containers are in.
        reference: The source.
        match: Whether they have to use it.
        only: Names of containers; the others do not count. None of them is there:
            all do.

    Returns:
        The container's name. `None` if the pods do not use a source that they would
        have to use, or have no containers.
    """
    if not pod.containers:
        return None
    counted = _counted(pod.containers, only)
    initial = _counted(pod.init_containers, only)
    if only and not counted and not initial:
        counted, initial = pod.containers, pod.init_containers
    first = (counted or pod.containers)[0].name
    for uses in _ways_to_use(pod, reference):
        for container in counted:
            if uses(container):
                return container.name
        if any(map(uses, initial)):
            return first
    return first if match is Match.EXPLICIT else None


def index_values(workload: Workload, policy: ReloadPolicy) -> Iterator[str]:
    """Yield under what a workload is found; the same value may come twice."""
    used = references(workload.template.spec)
    for kind, rules in policy.rules.items():
        place = f"{kind}/{workload.key.namespace}"
        for name in rules.names.literals:
            yield f"{place}/{name}"
        if rules.names.patterns:
            yield f"{place}/{_ANY}"
        if rules.auto or rules.search:
            for reference in used:
                if reference.kind is kind:
                    yield f"{place}/{reference.name}"


def lookup_values(source: SourceKey) -> tuple[str, str]:
    """Return where workloads are found that a source may concern."""
    place = f"{source.kind}/{source.namespace}"
    return f"{place}/{source.name}", f"{place}/{_ANY}"


def _counted(
    containers: Sequence[Container], only: Collection[str]
) -> Sequence[Container]:
    return [c for c in containers if c.name in only] if only else containers


def _ways_to_use(
    pod: PodSpec, reference: Reference
) -> Iterator[Callable[[Container], bool]]:
    for volume in pod.volumes:
        if reference in _of_volume(volume):
            yield partial(_mounts, volume.name)
    yield lambda container: reference in _of_variables(container)


def _mounts(volume: str, container: Container) -> bool:
    return any(mount.name == volume for mount in container.volume_mounts)


def _of_variables(container: Container) -> Iterator[Reference]:
    for one in container.env:
        if one.value_from is not None:
            if one.value_from.config_map_key_ref is not None:
                yield _config_map(one.value_from.config_map_key_ref.name)
            if one.value_from.secret_key_ref is not None:
                yield _secret(one.value_from.secret_key_ref.name)
    for whole in container.env_from:
        if whole.config_map_ref is not None:
            yield _config_map(whole.config_map_ref.name)
        if whole.secret_ref is not None:
            yield _secret(whole.secret_ref.name)


def _of_volume(volume: Volume) -> Iterator[Reference]:
    if volume.config_map is not None:
        yield _config_map(volume.config_map.name)
    if volume.secret is not None:
        yield _secret(volume.secret.secret_name)
    if volume.projected is not None:
        for part in volume.projected.sources:
            if part.config_map is not None:
                yield _config_map(part.config_map.name)
            if part.secret is not None:
                yield _secret(part.secret.name)

    if volume.csi is not None:
        # Any driver may have attributes; this one no other uses.
        name = volume.csi.volume_attributes.get("secretProviderClass", "")
        if name:
            yield Reference(SourceKind.SECRET_PROVIDER_CLASS, name)


def _config_map(name: str) -> Reference:
    return Reference(SourceKind.CONFIG_MAP, name)


def _secret(name: str) -> Reference:
    return Reference(SourceKind.SECRET, name)
