"""Admission reviews on the wire: what the API server asks, and what it is told.

    body ──read_review──▶ Review ──▶ (somebody decides) ──▶ AdmissionResponse
                            │                                     │
                            └──────── write_review ◀──────────────┘

A review that cannot be read is answered with a review too: the API server shows the
message of a refusal, but of an HTTP error only the number. Versions v1 and v1beta1
differ in their name alone. Rules: controller-runtime `webhook/admission/http.go`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

import msgspec

from controller_runtime.errors import ControllerRuntimeError
from controller_runtime.meta import GroupVersionKind, Json
from controller_runtime.nesting import UNREADABLE, surface, why
from controller_runtime.webhook.response import AdmissionResponse

BODY_MAX = 7 * 2**20
"""Bytes of a review: twice an object of etcd's 3 MiB at most, and what is around it."""

_GROUP = "admission.k8s.io"
_VERSIONS = frozenset({f"{_GROUP}/v1", f"{_GROUP}/v1beta1"})
_KIND = "AdmissionReview"


class Operation(StrEnum):
    """What somebody wants to do to an object."""

    CREATE = "CREATE"
    UPDATE = "UPDATE"
    DELETE = "DELETE"
    CONNECT = "CONNECT"


class GroupVersionResource(NamedTuple):
    """A resource as it is in a path, such as `apps/v1, deployments`."""

    group: str
    version: str
    resource: str


_NO_KIND = GroupVersionKind("", "", "")
_NO_RESOURCE = GroupVersionResource("", "", "")


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """Who asks."""

    name: str = ""
    uid: str = ""
    groups: Sequence[str] = ()
    extra: Mapping[str, Sequence[str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class AdmissionRequest:
    """What the API server wants to know before it does what it was asked."""

    uid: str = ""
    """Of this review, not of the object."""

    operation: str = ""
    """An `Operation`, unless the server has learnt another."""

    kind: GroupVersionKind = _NO_KIND
    """Of the object as it is sent here, after a conversion if the rule made one."""

    resource: GroupVersionResource = _NO_RESOURCE

    subresource: str = ""
    """Such as `status`; empty for the object itself."""

    name: str = ""
    """Empty while a name is still to be generated."""

    namespace: str = ""
    """Empty for what is cluster-scoped."""

    user: User = User()

    object: Json | None = None
    """As it was sent, every field of it; none on DELETE."""

    old_object: Json | None = None
    """As it is stored; on UPDATE and DELETE."""

    dry_run: bool = False
    """Nothing will be stored, so nothing may be done anywhere else either."""

    options: Json | None = None
    """The CreateOptions, UpdateOptions … of the call."""


class Review(NamedTuple):
    """A review that could be read."""

    api_version: str
    request: AdmissionRequest


class BadReviewError(ControllerRuntimeError):
    """What was posted is no admission review; it is answered with `code`."""

    def __init__(
        self, message: str, *, code: int = 400, uid: str = "", api_version: str = ""
    ) -> None:
        super().__init__(message)
        self.code = code
        self.uid = uid
        self.api_version = api_version or f"{_GROUP}/v1"


class _Gvk(msgspec.Struct):
    group: str = ""
    version: str = ""
    kind: str = ""


class _Gvr(msgspec.Struct):
    group: str = ""
    version: str = ""
    resource: str = ""


class _User(msgspec.Struct):
    username: str = ""
    uid: str = ""
    groups: list[str] | None = None
    extra: dict[str, list[str]] | None = None


class _Request(msgspec.Struct, rename="camel"):
    uid: str = ""
    operation: str = ""
    kind: _Gvk = msgspec.field(default_factory=_Gvk)
    resource: _Gvr = msgspec.field(default_factory=_Gvr)
    sub_resource: str = ""
    name: str = ""
    namespace: str = ""
    user_info: _User = msgspec.field(default_factory=_User)
    object: dict[str, Any] | None = None
    old_object: dict[str, Any] | None = None
    dry_run: bool | None = None
    options: dict[str, Any] | None = None


class _Review(msgspec.Struct, rename="camel"):
    request: _Request
    api_version: str = ""
    kind: str = ""


class _Uid(msgspec.Struct):
    uid: str = ""


class _Head(msgspec.Struct, rename="camel"):
    """The least that must be read to answer in the words of who asked."""

    api_version: str = ""
    request: _Uid = msgspec.field(default_factory=_Uid)


_decode_review = msgspec.json.Decoder(_Review).decode
_decode_head = msgspec.json.Decoder(_Head).decode


def is_json(content_type: str) -> bool:
    """Tell whether a Content-Type header promises JSON."""
    return content_type.partition(";")[0].strip().lower() == "application/json"


def read_review(content_type: str, body: bytes | None) -> Review:
    """Read what was posted; `body` is `None` if there was more than `BODY_MAX`.

    Raises:
        BadReviewError: It is no admission review.
    """
    if body is None:
        raise BadReviewError(
            f"the review is too large: the limit is {BODY_MAX} bytes", code=413
        )
    if not body:
        raise BadReviewError("the request has no body")
    if not is_json(content_type):
        raise BadReviewError(
            f"the content type is {content_type or 'missing'}, not application/json"
        )
    try:
        review = _decode_review(body)
    except UNREADABLE as error:
        raise _unreadable(body, why(error)) from None
    if review.kind not in {"", _KIND}:
        raise _unreadable(body, f"its kind is {review.kind}")
    if review.api_version and review.api_version not in _VERSIONS:
        raise _unreadable(body, f"its apiVersion is {review.api_version}")
    return Review(review.api_version or f"{_GROUP}/v1", _request(review.request))


def write_review(api_version: str, uid: str, response: AdmissionResponse) -> bytes:
    """Answer the request `uid` in a review of the version it came in."""
    answer: Json = {
        "uid": uid,
        "allowed": response.allowed,
        "status": _status(response),
    }
    if response.patch:
        answer["patchType"] = "JSONPatch"
        answer["patch"] = msgspec.json.encode(response.patch)  # becomes base64
    if response.warnings:
        answer["warnings"] = response.warnings
    if response.audit_annotations:
        answer["auditAnnotations"] = response.audit_annotations
    review = {"apiVersion": api_version, "kind": _KIND, "response": answer}
    return msgspec.json.encode(review)


def _status(response: AdmissionResponse) -> Json:
    status: Json = {"code": response.code}
    if not response.allowed:
        status["status"] = "Failure"
    if response.reason:
        status["reason"] = response.reason
    if response.message:
        status["message"] = response.message
    if response.details:
        status["details"] = response.details
    return status


def _unreadable(body: bytes, why: str) -> BadReviewError:
    try:
        head = surface(_decode_head, body)
    except msgspec.MsgspecError:
        head = _Head()
    return BadReviewError(
        f"cannot read the admission review: {why}",
        uid=head.request.uid,
        api_version=head.api_version if head.api_version in _VERSIONS else "",
    )


def _request(wire: _Request) -> AdmissionRequest:
    user = wire.user_info
    return AdmissionRequest(
        uid=wire.uid,
        operation=wire.operation,
        kind=GroupVersionKind(wire.kind.group, wire.kind.version, wire.kind.kind),
        resource=GroupVersionResource(
            wire.resource.group, wire.resource.version, wire.resource.resource
        ),
        subresource=wire.sub_resource,
        name=wire.name,
        namespace=wire.namespace,
        user=User(
            name=user.username,
            uid=user.uid,
            groups=tuple(user.groups or ()),
            extra=user.extra or {},
        ),
        object=wire.object,
        old_object=wire.old_object,
        dry_run=bool(wire.dry_run),
        options=wire.options,
    )
