"""Helm releases that follow a ManagedRoost.

    identity     which release it is           demands     one-shot annotations
    validation   what is wrong with a spec     unsupported what of it is not acted on
    sources      Secrets → who we are          desired     chart + values → digest
    records      what Helm wrote down          observe     records + digest → state
    plan         state → step: a table         locks       is a pending operation dead?
    steps        one step, announced and noted actions/    what each of them does
    driver       steps until nothing is left   operations  what runs, and is overtaken
    history, snapshot, inventory, counters     what a status remembers
    outcomes, status                           what it says, in conditions
    standing, dependencies, ending, teardown   before the first step, after the last
    helm/, chart/, values                      Helm itself, and where charts come from

The resource is birbparty/roost-keeper's ManagedRoost; states and remediation are those
of Flux's helm-controller. Unlike both, this controller recovers a release whose
operation was killed, sees to it that uninstalled objects are gone, and stops at once
what a new spec has overtaken.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

from api.core.v1 import ConfigMap, Secret
from api.release.v1alpha1 import ManagedRoost
from controller_runtime import (
    Controller,
    ControllerOptions,
    Deleted,
    Event,
    Group,
    Informer,
    KindSource,
    Manager,
    Permission,
    RawObject,
    ReflectorOptions,
    Request,
    annotation_changed,
    generation_changed,
    index_by_body,
    mapped,
    resource_version_changed,
)
from controllers.release.actions import Action
from controllers.release.actions.claim import Claim
from controllers.release.actions.install import Install
from controllers.release.actions.rollback import RollBack
from controllers.release.actions.uninstall import Uninstall
from controllers.release.actions.unlock import Unlock
from controllers.release.actions.upgrade import Upgrade
from controllers.release.controller import Releaser
from controllers.release.dependencies import Dependencies
from controllers.release.desired import Desirer
from controllers.release.driver import Driver
from controllers.release.ending import Ending
from controllers.release.helm.engine import Engine
from controllers.release.locks import Holder
from controllers.release.observe import Observer
from controllers.release.operations import Operations
from controllers.release.options import ReleaseOptions
from controllers.release.parts import Parts
from controllers.release.plan import Step
from controllers.release.records import RECORD_TYPE
from controllers.release.sources import SourceReader
from controllers.release.standing import ACCESS_REVIEW, Standing
from controllers.release.steps import Steps
from controllers.release.surroundings import Surroundings
from controllers.release.teardown import NAMESPACE, SERVICE_ACCOUNT, Inspector
from controllers.release.uses import INDEX, recorded, used, uses
from controllers.release.values import Composer
from controllers.release.writer import Writer

__all__ = ["setup"]

_NAME = "release"
_UID = "release-uid"


def setup(manager: Manager, options: ReleaseOptions, parts: Parts) -> None:
    """Add the release controller to a manager that has not started.

    Args:
        manager: Runs it.
        options: How it behaves.
        parts: Helm and the charts; see `real_parts`.
    """
    if parts.charts_run is not None:
        manager.add(parts.charts_run, group=Group.HTTP)
    if parts.engine_run is not None:
        manager.add(parts.engine_run)
    roosts = manager.cache.declare(ManagedRoost)
    roosts.add_index(INDEX, index_by_body(uses))
    roosts.add_index(_UID, lambda entry: (entry.meta.uid,))
    operations = Operations()
    controller = Controller(
        _NAME,
        _releaser(manager, options, parts, roosts, operations),
        sources=[
            _of_roosts(manager, operations),
            _of_config(manager, ConfigMap, roosts, options),
            _of_config(manager, Secret, roosts, options),
            _of_records(manager, roosts, options),
        ],
        options=ControllerOptions(max_concurrent_reconciles=options.workers),
        kind=ManagedRoost,
        metrics=manager.metrics,
        randomness=manager.random,
        tracer=manager.tracer,
        permissions=_PERMISSIONS,
    )
    manager.add(controller)


_PERMISSIONS = (
    Permission(ManagedRoost, ("patch",)),
    Permission(ManagedRoost, ("patch",), subresource="status"),
    Permission(ConfigMap, ("get",)),
    Permission(Secret, ("get", "list", "patch", "update")),
    Permission(NAMESPACE, ("get",)),
    Permission(SERVICE_ACCOUNT, ("get", "impersonate")),
    Permission(ACCESS_REVIEW, ("create",)),
)
"""What is asked of the API server in our own name; Helm acts as the service account of
the object."""


def _releaser(
    manager: Manager,
    options: ReleaseOptions,
    parts: Parts,
    roosts: Informer,
    operations: Operations,
) -> Releaser:
    live = manager.api_reader
    surroundings = Surroundings(
        ours=Holder(
            socket.gethostname(), os.getpid(), f"{manager.random.getrandbits(64):016x}"
        ),
        is_owner_alive=lambda uid: any(roosts.by_index(_UID, uid)),
        is_process_alive=is_process_alive,
        clock=manager.clock,
        randomness=manager.random,
        options=options,
    )
    observer = Observer(live)
    writer = Writer(manager.client, manager.recorder("roost-keeper"), manager.clock)
    uninstall = Uninstall(parts.engine)
    actions = _actions(manager, parts.engine, uninstall)
    steps = Steps(actions, operations, writer, surroundings)
    desirer = Desirer(
        live,
        SourceReader(live, parts.charts, registry_config=options.registry_config),
        Composer(parts.engine),
    )
    return Releaser(
        manager.client,
        dependencies=Dependencies(manager.client),
        desirer=desirer,
        driver=Driver(observer, steps, writer, surroundings),
        ending=Ending(
            manager.client,
            observer,
            Inspector(live, options),
            uninstall,
            operations,
            writer,
            surroundings,
        ),
        standing=Standing(live, options),
        writer=writer,
        surroundings=surroundings,
    )


def _actions(
    manager: Manager, engine: Engine, uninstall: Uninstall
) -> dict[Step, Action]:
    return {
        Step.INSTALL: Install(engine),
        Step.UPGRADE: Upgrade(engine),
        Step.ROLL_BACK: RollBack(engine),
        Step.UNINSTALL: uninstall,
        Step.UNLOCK: Unlock(manager.api_reader),
        Step.CLAIM: Claim(manager.api_reader),
    }


def _of_roosts(manager: Manager, operations: Operations) -> KindSource[Request]:
    """Look at an object when its spec or an annotation changes, not its status."""

    def notice(event: Event) -> bool:
        operations.notice(event.object.meta, is_gone=isinstance(event, Deleted))
        return True

    predicate = generation_changed() | annotation_changed()
    return KindSource(
        manager.cache,
        ManagedRoost,
        mapped(lambda entry: (entry.key,)),
        [notice, predicate],
    )


def _of_config(
    manager: Manager,
    kind: type[ConfigMap | Secret],
    roosts: Informer,
    options: ReleaseOptions,
) -> KindSource[Request]:
    """Look at the objects whose values or credentials have changed, a moment later."""

    def requests(entry: RawObject) -> Iterator[Request]:
        return (it.key for it in roosts.by_index(INDEX, used(kind, entry)))

    selector = f"type!={RECORD_TYPE}" if kind is Secret else ""
    view = manager.cache.view(
        ReflectorOptions(
            metadata_only=True, field_selector=selector, namespaces=options.namespaces
        )
    )
    view.declare(kind)
    return KindSource(
        view,
        kind,
        mapped(requests),
        [resource_version_changed()],
        delay=options.debounce,
    )


def _of_records(
    manager: Manager, roosts: Informer, options: ReleaseOptions
) -> KindSource[Request]:
    """Look at the object whose release somebody has touched."""

    def requests(entry: RawObject) -> Iterator[Request]:
        return (it.key for it in roosts.by_index(INDEX, recorded(entry)))

    view = manager.cache.view(
        ReflectorOptions(
            metadata_only=True,
            field_selector=f"type={RECORD_TYPE}",
            label_selector="owner=helm",
            namespaces=options.namespaces,
        )
    )
    view.declare(Secret)
    return KindSource(
        view,
        Secret,
        mapped(requests),
        [resource_version_changed()],
        delay=options.debounce,
    )


def is_process_alive(pid: int) -> bool:
    """Tell whether a process of this host runs."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
