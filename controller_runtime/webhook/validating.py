"""Validating webhooks: say no, with a reason that helps.

    CREATE ─▶ validate_create(object)        UPDATE ─▶ validate_update(old, object)
    DELETE ─▶ validate_delete(old object)    CONNECT ─▶ nobody is asked: allowed

A validator that returns has allowed the request; what it returns are warnings. One that
raises `DeniedError`, or an `ApiError` such as `invalid(…)` makes, refuses it in these
words. Semantics: controller-runtime `webhook/admission/validator_custom.go`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol, TypeAlias, TypeVar, overload, runtime_checkable

from pydantic import ValidationError

from controller_runtime.meta import GroupVersionKind, Json, Kind, KubeObject
from controller_runtime.webhook.admission import AdmissionHandler
from controller_runtime.webhook.objects import (
    read_object,
    read_old_object,
    refuse_unknown,
)
from controller_runtime.webhook.response import (
    AdmissionResponse,
    allow,
    causes_of,
    invalid,
)
from controller_runtime.webhook.review import AdmissionRequest, Operation

T = TypeVar("T")
T_contra = TypeVar("T_contra", contravariant=True)
K = TypeVar("K", bound=KubeObject)

Warnings: TypeAlias = Sequence[str] | None
"""Shown to the user, who gets what he asked for all the same."""


@runtime_checkable
class Validator(Protocol[T_contra]):
    """Decides what may be done to the objects of a kind."""

    async def validate_create(
        self, obj: T_contra, request: AdmissionRequest, /
    ) -> Warnings:
        """Raise if there should be no such object."""
        ...

    async def validate_update(
        self, old: T_contra, new: T_contra, request: AdmissionRequest, /
    ) -> Warnings:
        """Raise if `old` may not become `new`.

        Objects that are being deleted come here when a finalizer goes: refuse that,
        and they stay for ever.
        """
        ...

    async def validate_delete(
        self, obj: T_contra, request: AdmissionRequest, /
    ) -> Warnings:
        """Raise if it should stay."""
        ...


ValidateFunction: TypeAlias = Callable[
    [T | None, T | None, AdmissionRequest], Awaitable[Warnings]
]
"""All three in one: (object, old object, request); the first is `None` on DELETE, the
second on CREATE."""


@overload
def validating(
    kind: type[K], validator: Validator[K] | ValidateFunction[K]
) -> AdmissionHandler: ...
@overload
def validating(
    kind: GroupVersionKind, validator: Validator[Json] | ValidateFunction[Json]
) -> AdmissionHandler: ...


def validating(
    kind: Kind, validator: Validator[Any] | ValidateFunction[Any]
) -> AdmissionHandler:
    """Make a handler of a validator, which gets objects as `kind` says.

    A pydantic `ValidationError` that it raises is a refusal too, field by field.
    """

    async def validate(request: AdmissionRequest) -> AdmissionResponse:
        refuse_unknown(request)
        if request.operation == Operation.CONNECT:
            return allow()
        try:
            warnings = await _ask(kind, validator, request)
        except ValidationError as error:
            raise invalid(kind, request.name, *causes_of(error)) from error
        return allow(*([warnings] if isinstance(warnings, str) else warnings or ()))

    return validate


async def _ask(
    kind: Kind,
    validator: Validator[Any] | ValidateFunction[Any],
    request: AdmissionRequest,
) -> Warnings:
    is_deleted = request.operation == Operation.DELETE
    is_created = request.operation == Operation.CREATE
    new = None if is_deleted else read_object(kind, request)
    old = None if is_created else read_old_object(kind, request)
    if isinstance(validator, Validator):
        if is_created:
            return await validator.validate_create(new, request)
        if is_deleted:
            return await validator.validate_delete(old, request)
        return await validator.validate_update(old, new, request)
    return await validator(new, old, request)
