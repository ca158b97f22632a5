"""Reading the objects of a request as the kind that a webhook is for.

What a model refuses is told to the user field by field, as the API server tells what a
schema refuses: constraints of a model are the shortest validators.
"""

from __future__ import annotations

import copy
from typing import Any

from pydantic import ValidationError

from controller_runtime.errors import BadRequestError
from controller_runtime.meta import GroupVersionKind, Json, Kind, kind_of
from controller_runtime.webhook.response import causes_of, invalid
from controller_runtime.webhook.review import AdmissionRequest, Operation


def read_object(kind: Kind, request: AdmissionRequest) -> Any:
    """Read the object of a request as its model, or as a dict of the caller's own.

    Raises:
        BadRequestError: There is none, or it is of another kind.
        InvalidError: The model refuses it.
    """
    return _read(kind, request, request.object, "object")


def read_old_object(kind: Kind, request: AdmissionRequest) -> Any:
    """Read the stored object of a request. Raises as `read_object` does."""
    return _read(kind, request, request.old_object, "oldObject")


def refuse_unknown(request: AdmissionRequest) -> None:
    """Raise `BadRequestError` for an operation that is none of `Operation`."""
    if request.operation not in Operation.__members__:
        raise bad_request(f"unknown operation {request.operation!r}")


def bad_request(message: str) -> BadRequestError:
    """Make the error for a request that no webhook of ours should get."""
    return BadRequestError(message, status=400, reason="BadRequest")


def _read(kind: Kind, request: AdmissionRequest, sent: Json | None, where: str) -> Any:
    gvk = kind_of(kind)
    if sent is None:
        raise bad_request(f"the {request.operation} of a {gvk} comes without {where}")
    found = GroupVersionKind.parse(
        str(sent.get("apiVersion", "")), str(sent.get("kind", ""))
    )
    if found != gvk:
        raise bad_request(f"the webhook is for {gvk}, and was sent a {found}")
    if isinstance(kind, GroupVersionKind):
        return copy.deepcopy(sent)
    try:
        return kind.model_validate(sent)
    except ValidationError as error:
        at = "" if where == "object" else where
        raise invalid(kind, request.name, *causes_of(error, at=at)) from None
