"""The requests of one client: where they go, what they say, who hears of them.

    kind, name ─Discovery─▶ path ─┐
    options over Defaults ────────┴▶ Transport ─▶ answer
                                                    └─▶ WriteLog, of every write

A write ends in one of three ways, and the log is told which: it was answered, it was
refused, which changes nothing and is told to nobody, or its answer was lost, and then
it may have been done. What is only tried (`dry_run`) is told to nobody either.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol, TypeAlias, TypedDict

import msgspec

from controller_runtime.discovery import ApiResource, Discovery, bad_request
from controller_runtime.errors import ControllerRuntimeError, ServerError
from controller_runtime.meta import GroupVersionKind, Json, KubeObject
from controller_runtime.patch import APPLY
from controller_runtime.transport import JSON, NOT_SENT_ERRORS, Transport

FieldValidation: TypeAlias = Literal["Ignore", "Warn", "Strict"]
PropagationPolicy: TypeAlias = Literal["Orphan", "Background", "Foreground"]


class ListOptions(TypedDict, total=False):
    """What a list may ask for."""

    label_selector: str
    """As kubectl's `--selector` takes it."""

    field_selector: str
    """As kubectl's `--field-selector` takes it."""

    limit: int
    """Objects a page; 0, the default, asks for all at once."""

    continue_: str
    """That of the page before."""

    resource_version: str
    """The oldest version that will do: `0` takes any the server has at hand; empty, the
    default, takes the newest."""

    raw: Mapping[str, str]
    """Whatever else the query may have, such as `resourceVersionMatch`."""


class WriteOptions(TypedDict, total=False):
    """What every write may ask for."""

    dry_run: bool
    """Answer what would be, change nothing."""

    field_owner: str | None
    """Who owns the fields that are written; the client's owner by default."""

    raw: Mapping[str, str]
    """Whatever else the query may have."""


class DeleteOptions(TypedDict, total=False):
    """What a deletion may ask for."""

    grace_period_seconds: int | None
    """Instead of the kind's; 0 is at once."""

    propagation_policy: PropagationPolicy | None
    """What happens to the objects that it owns; the kind's default by default."""

    dry_run: bool
    """Change nothing."""

    raw: Mapping[str, str]
    """Whatever else the query may have, such as
    `ignoreStoreReadErrorWithClusterBreakingPotential`, as text. What is of the options
    is sent among them: a server that was sent options reads none of the query."""


def _number(text: str) -> int | str:
    return int(text) if text.isdecimal() else text  # the server says what is wrong


def _flag(text: str) -> bool:
    # `Convert_Slice_string_To_bool` of k8s.io/apimachinery
    return text.lower() not in {"false", "0"}


_DELETE_OPTIONS: Mapping[str, Callable[[str], object]] = {
    "gracePeriodSeconds": _number,
    "propagationPolicy": str,
    "orphanDependents": _flag,
    "ignoreStoreReadErrorWithClusterBreakingPotential": _flag,
}
"""What a query may say of `metav1.DeleteOptions`, and how it is written as JSON."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Defaults:
    """What the calls of a client say unless they say otherwise."""

    field_owner: str
    """Who owns the fields that are written."""

    field_validation: FieldValidation | None = None
    """What the server does about unknown or duplicate fields; `None` leaves it to the
    server, which warns."""

    dry_run: bool = False
    """Change nothing, whatever a call says."""

    namespace: str = ""
    """Where everything is. What is elsewhere, or in no namespace, is refused; empty
    refuses nothing."""


class Target(NamedTuple):
    """What a write is about."""

    gvk: GroupVersionKind
    namespace: str
    name: str
    """Empty for a collection, and for a creation that leaves the name to the server."""


class WriteLog(Protocol):
    """Hears of every write that was done, or may have been."""

    def wrote(self, target: Target, answer: bytes) -> None:
        """Take note of the answer: the object, its subresource, or a Status."""
        ...

    def deleted(self, target: Target, answer: bytes) -> None:
        """Take note of the answer: what is deleted, or a Status."""
        ...

    def lost(self, target: Target) -> None:
        """Take note that nobody knows whether it was done."""
        ...


class NoLog:
    """A `WriteLog` of a client whose reads are live."""

    def wrote(self, target: Target, answer: bytes) -> None:
        """Forget it."""

    def deleted(self, target: Target, answer: bytes) -> None:
        """Forget it."""

    def lost(self, target: Target) -> None:
        """Forget it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Calls:
    """Makes the requests of one client."""

    transport: Transport
    discovery: Discovery
    defaults: Defaults
    log: WriteLog

    async def resource(self, gvk: GroupVersionKind) -> ApiResource:
        """Return how a kind is served."""
        return await self.discovery.resource(gvk)

    async def place(self, gvk: GroupVersionKind, namespace: str) -> str:
        """Return the namespace of a call that names this one.

        Raises:
            BadRequestError: The client is kept to another one.
        """
        own = self.defaults.namespace
        if not own:
            return namespace
        if not (await self.resource(gvk)).namespaced:
            raise bad_request(f"{gvk} is not in a namespace, this client in {own}")
        if namespace not in {"", own}:
            raise bad_request(f"{gvk} in {namespace}: this client is kept to {own}")
        return own

    async def target(
        self, gvk: GroupVersionKind, name: str, namespace: str, subresource: str = ""
    ) -> tuple[Target, str]:
        """Return an object by its place, and the path of it or of a part of it."""
        # An empty name would turn one object into all of them.
        if not name:
            raise bad_request(f"{gvk} needs a name")
        place = await self.place(gvk, namespace)
        path = (await self.resource(gvk)).path(place, name, subresource)
        return Target(gvk, place, name), path

    async def collection(
        self, gvk: GroupVersionKind, namespace: str, *, doing: str = ""
    ) -> tuple[Target, str]:
        """Return the objects of a namespace, or all of them, and their path.

        Args:
            gvk: Their kind.
            namespace: Where they are; empty for everywhere.
            doing: What is done to them, if that is possible in one namespace only.

        Raises:
            BadRequestError: They are in namespaces and none is given to do it in.
        """
        place = await self.place(gvk, namespace)
        resource = await self.resource(gvk)
        if doing and resource.namespaced and not place:
            raise bad_request(f"{doing} {resource.plural} needs a namespace")
        return Target(gvk, place, ""), resource.path(place)

    def params(
        self, options: WriteOptions, content_type: str = JSON, force: bool | None = None
    ) -> Mapping[str, str]:
        """Return the query of a write."""
        # What is applied the server validates in any case.
        validation = None if content_type == APPLY else self.defaults.field_validation
        params = {
            "fieldManager": options.get("field_owner") or self.defaults.field_owner,
            "fieldValidation": validation or "",
            "dryRun": "All" if self._is_dry(options) else "",
            "force": "" if force is None else str(force).lower(),
        }
        # What a call or the client is held to is not undone by what is raw.
        return {**options.get("raw", {}), **given(params)}

    async def write(
        self,
        method: str,
        path: str,
        target: Target,
        *,
        params: Mapping[str, str],
        body: bytes,
        content_type: str = JSON,
    ) -> bytes:
        """Create or change something, and return the answer."""
        answer = await self._send(
            method,
            path,
            target,
            dry_run="dryRun" in params,
            params=params,
            body=body,
            content_type=content_type,
        )
        if "dryRun" not in params:
            self.log.wrote(target, answer)
        return answer

    async def delete(
        self,
        path: str,
        target: Target,
        options: DeleteOptions,
        *,
        params: Mapping[str, str] | None = None,
        preconditions: Mapping[str, str] | None = None,
    ) -> None:
        """Delete something, or all that the query selects."""
        raw = dict(options.get("raw", {}))
        dry_run = self._is_dry(options) or "dryRun" in raw
        raw.pop("dryRun", None)
        head: Json = {"apiVersion": "v1", "kind": "DeleteOptions"}
        for name in [it for it in _DELETE_OPTIONS if it in raw]:
            head[name] = _DELETE_OPTIONS[name](raw.pop(name))
        wanted = {
            "preconditions": preconditions or None,
            "gracePeriodSeconds": options.get("grace_period_seconds"),
            "propagationPolicy": options.get("propagation_policy"),
            "dryRun": ["All"] if dry_run else None,
        }
        said = {name: value for name, value in wanted.items() if value is not None}
        body = msgspec.json.encode(head | said)
        answer = await self._send(
            "DELETE",
            path,
            target,
            dry_run=dry_run,
            params={**raw, **(params or {})},
            body=body,
        )
        if not dry_run:
            self.log.deleted(target, answer)

    async def _send(
        self,
        method: str,
        path: str,
        target: Target,
        *,
        dry_run: bool,
        params: Mapping[str, str],
        body: bytes,
        content_type: str = JSON,
    ) -> bytes:
        try:
            answer = await self.transport.request(
                method, path, params=params, body=body, content_type=content_type
            )
        except BaseException as error:  # a cancelled write may be done as well
            if not dry_run and may_be_done(error):
                self.log.lost(target)
            raise
        return answer.body

    def _is_dry(self, options: WriteOptions | DeleteOptions) -> bool:
        return self.defaults.dry_run or options.get("dry_run", False)


def may_be_done(error: BaseException) -> bool:
    """Tell whether a write that ended like this can have been done all the same.

    A refusal says that it was not. A server's own trouble says nothing: the answer of
    etcd may have been late, or a proxy in between may have given up.
    """
    if isinstance(error, ControllerRuntimeError):
        return isinstance(error, ServerError)
    return not isinstance(error, NOT_SENT_ERRORS)


def name_of(obj: KubeObject | Json) -> tuple[str, str]:
    """Return the name and the namespace that an object gives itself."""
    if isinstance(obj, KubeObject):
        return obj.metadata.name, obj.metadata.namespace
    metadata = obj.get("metadata") or {}
    return str(metadata.get("name") or ""), str(metadata.get("namespace") or "")


def given(values: Mapping[str, str | None]) -> Mapping[str, str]:
    """Return what is not empty."""
    return {name: value for name, value in values.items() if value}
