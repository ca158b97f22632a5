"""Which workloads use which objects.

    index_values   a workload → what it is found under
    lookup_values  a source   → what to look under for the workloads it may concern

Both speak of one index, which the store of each kind of workload keeps:

    secret/shop/db     lists the Secret `db`, or uses it and reloads for what it uses
    secret/shop/*      lists Secrets by pattern
    secret/ops/ca      lists a Secret of another namespace

The index answers "perhaps": a reconcile decides. A workload without annotations of
ours is in no index, and changes of what it uses cost a look into a dictionary.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial, reduce
from posixpath import normpath
from typing import NamedTuple

from api.core.v1 import Container, KeyToPath, PodSpec, Volume, VolumeMount
from controllers.reload.options import ExtraReference
from controllers.reload.policy import Match, ReloadPolicy
from controllers.reload.sources import SourceKey, SourceKind
from controllers.reload.sources.keys import ALL_KEYS, KeyScope
from controllers.reload.workloads import Workload

_ANY = "*"
"""Stands for the name, of which it can be no part."""


class Reference(NamedTuple):
    """An object in the workload's own namespace that its pods use."""

    kind: SourceKind
    name: str


class Use(NamedTuple):
    """One place of a pod where it uses an object."""

    reference: Reference
    keys: KeyScope = ALL_KEYS
    """Those that it uses there."""


def references(
    pod: PodSpec, extra: Collection[ExtraReference] = ()
) -> frozenset[Reference]:
    """Name what the containers use: in variables, and in volumes that they mount.

    Init containers count. Ephemeral containers are not part of a template, and a
    volume that nobody mounts changes nothing in a pod.

    Args:
        pod: What runs.
        extra: What else counts as a use.
    """
    return frozenset(use.reference for use in _uses(pod, extra))


def used_keys(
    pod: PodSpec, reference: Reference, extra: Collection[ExtraReference] = ()
) -> KeyScope | None:
    """Name the keys of an object that the containers use; `None` if they do not.

    A variable has one key, `envFrom` all. A volume has those of its `items` or all, and
    a `subPath` of it the one that is this file, or those in this directory.
    """
    scopes = [use.keys for use in _uses(pod, extra) if use.reference == reference]
    return reduce(KeyScope.joined, scopes) if scopes else None


def container_for(
    pod: PodSpec,
    reference: Reference,
    match: Match,
    extra: Collection[ExtraReference] = (),
    only: Collection[str] = (),
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
        extra: What else counts as a use.
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
    for uses in _ways_to_use(pod, reference, extra):
        for container in counted:
            if uses(container):
                return container.name
        if any(map(uses, initial)):
            return first
    is_used = any(use.reference == reference for use in _of_pod(pod, extra))
    return first if is_used or match is Match.EXPLICIT else None


def index_values(workload: Workload, policy: ReloadPolicy) -> Iterator[str]:
    """Yield under what a workload is found; the same value may come twice."""
    used = references(workload.template.spec, policy.extra)
    for kind, rules in policy.rules.items():
        place = f"{kind}/{workload.key.namespace}"
        for name in rules.names.literals:
            yield f"{place}/{name}"
        for full_name in rules.names.in_full:
            yield f"{kind}/{full_name}"
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


def _uses(pod: PodSpec, extra: Collection[ExtraReference]) -> Iterator[Use]:
    volumes = {volume.name: volume for volume in pod.volumes}
    for container in (*pod.containers, *pod.init_containers):
        yield from _of_variables(container)
        for mount in container.volume_mounts:
            if (volume := volumes.get(mount.name)) is not None:
                yield from _of_volume(volume, extra, _path_of(mount))
    yield from _of_pod(pod, extra)


def _counted(
    containers: Sequence[Container], only: Collection[str]
) -> Sequence[Container]:
    return [c for c in containers if c.name in only] if only else containers


def _ways_to_use(
    pod: PodSpec, reference: Reference, extra: Collection[ExtraReference]
) -> Iterator[Callable[[Container], bool]]:
    for volume in pod.volumes:
        if any(use.reference == reference for use in _of_volume(volume, extra)):
            yield partial(_mounts, volume.name)
    yield lambda container: any(
        use.reference == reference for use in _of_variables(container)
    )


def _mounts(volume: str, container: Container) -> bool:
    return any(mount.name == volume for mount in container.volume_mounts)


def _of_pod(pod: PodSpec, extra: Collection[ExtraReference]) -> Iterator[Use]:
    if ExtraReference.IMAGE_PULL_SECRETS in extra:
        for secret in pod.image_pull_secrets:
            yield Use(_secret(secret.name))


def _of_variables(container: Container) -> Iterator[Use]:
    for one in container.env:
        if one.value_from is not None:
            if (ref := one.value_from.config_map_key_ref) is not None:
                yield Use(_config_map(ref.name), _only(ref.key))
            if (ref := one.value_from.secret_key_ref) is not None:
                yield Use(_secret(ref.name), _only(ref.key))
    for whole in container.env_from:
        if whole.config_map_ref is not None:
            yield Use(_config_map(whole.config_map_ref.name))
        if whole.secret_ref is not None:
            yield Use(_secret(whole.secret_ref.name))


def _of_volume(
    volume: Volume, extra: Collection[ExtraReference], path: str = ""
) -> Iterator[Use]:
    """Yield what stands in a volume, or in a path of it."""
    if (map_ := volume.config_map) is not None:
        yield Use(_config_map(map_.name), _files(map_.items, path))
    if volume.secret is not None:
        yield Use(_secret(volume.secret.secret_name), _files(volume.secret.items, path))
    if volume.projected is not None:
        for part in volume.projected.sources:
            if (map_ := part.config_map) is not None:
                yield Use(_config_map(map_.name), _files(map_.items, path))
            if part.secret is not None:
                yield Use(_secret(part.secret.name), _files(part.secret.items, path))
    if volume.csi is not None:
        # Any driver may have attributes; this one no other uses.
        name = volume.csi.volume_attributes.get("secretProviderClass", "")
        if name:
            yield Use(Reference(SourceKind.SECRET_PROVIDER_CLASS, name))
        secret = volume.csi.node_publish_secret_ref
        if secret is not None and ExtraReference.CSI_NODE_PUBLISH in extra:
            yield Use(_secret(secret.name))


def _files(items: Sequence[KeyToPath], path: str) -> KeyScope:
    """Return the keys that are files in a path of a volume."""
    if not items:
        return _only(path) if path else ALL_KEYS
    paths = {item.key: normpath(item.path) for item in items}
    return _only(*(key for key, file in paths.items() if _is_in(file, path)))


def _is_in(file: str, path: str) -> bool:
    return not path or file == path or file.startswith(f"{path}/")


def _path_of(mount: VolumeMount) -> str:
    """Return which path of a volume is mounted; empty for all, or who knows which."""
    return "" if mount.sub_path in {"", "."} else normpath(mount.sub_path)


def _only(*keys: str) -> KeyScope:
    return KeyScope(frozenset(keys))


def _config_map(name: str) -> Reference:
    return Reference(SourceKind.CONFIG_MAP, name)


def _secret(name: str) -> Reference:
    return Reference(SourceKind.SECRET, name)
