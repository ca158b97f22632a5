"""What an admission webhook may say.

allow      let it pass
deny       refuse it: 403 Forbidden, unless said otherwise
errored    the webhook itself failed
patched    let it pass, changed
respond_to what an error means: `DeniedError` and the API's own errors refuse

A validator raises; whoever handles raw requests may return one of these instead.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Self

import jsonpatch
from pydantic import ValidationError

from controller_runtime.errors import ApiError, ControllerRuntimeError, InvalidError
from controller_runtime.meta import Kind, kind_of
from controller_runtime.transport import TRANSPORT_ERRORS


class Cause(NamedTuple):
    """One thing that is wrong with an object (`metav1.StatusCause`)."""

    field: str
    """Such as `spec.replicas` or `spec.ports[0].name`."""

    message: str

    reason: str = "FieldValueInvalid"


@dataclass(frozen=True, slots=True, kw_only=True)
class AdmissionResponse:
    """The answer to an admission request."""

    allowed: bool

    code: int = 200
    """As an HTTP status; the API server makes it 400 at least where it refuses."""

    reason: str = ""
    """Machine-readable, such as `Forbidden`."""

    message: str = ""
    """What the user reads when it is refused."""

    details: Mapping[str, object] = field(default_factory=dict)
    """`metav1.StatusDetails`: the causes are in there."""

    warnings: Sequence[str] = ()
    """Each is shown to the user; best shorter than 120 characters."""

    patch: Sequence[Mapping[str, Any]] = ()
    """RFC 6902 operations on the object as it was sent."""

    audit_annotations: Mapping[str, str] = field(default_factory=dict)
    """Go into the audit log, under the webhook's name."""

    def warned(self, warnings: Iterable[str]) -> Self:
        """Return this answer with warnings before its own."""
        return replace(self, warnings=(*warnings, *self.warnings))


class DeniedError(ControllerRuntimeError):
    """A validator's no; the text is what the user reads."""

    def __init__(
        self,
        message: str,
        *,
        code: int = 403,
        reason: str = "Forbidden",
        causes: Iterable[Cause] = (),
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.causes = tuple(causes)


def allow(*warnings: str) -> AdmissionResponse:
    """Let it pass."""
    return AdmissionResponse(allowed=True, warnings=warnings)


def deny(
    message: str,
    *,
    code: int = 403,
    reason: str = "Forbidden",
    causes: Iterable[Cause] = (),
) -> AdmissionResponse:
    """Refuse it, and tell the user why."""
    listed = _listed(causes)
    return AdmissionResponse(
        allowed=False,
        code=code,
        reason=reason,
        message=message,
        details={"causes": listed} if listed else {},
    )


def errored(message: str, *, code: int = 500) -> AdmissionResponse:
    """Refuse it, because nobody could decide."""
    reason = "InternalError" if code == 500 else ""
    return AdmissionResponse(allowed=False, code=code, reason=reason, message=message)


def patched(
    sent: Mapping[str, object], wanted: Mapping[str, object], *warnings: str
) -> AdmissionResponse:
    """Let it pass as `wanted`; `sent` is the object of the request, unchanged."""
    operations = jsonpatch.make_patch(sent, wanted).patch
    return AdmissionResponse(
        allowed=True, patch=tuple(operations), warnings=tuple(warnings)
    )


def invalid(kind: Kind, name: str, *causes: Cause) -> InvalidError:
    """Make the error to raise when fields are wrong, worded as the API server's own.

    `Widget.example.com "w" is invalid: spec.size: must be odd`, code 422.
    """
    gvk = kind_of(kind)
    what = f"{gvk.kind}.{gvk.group}" if gvk.group else gvk.kind
    text = [f"{cause.field}: {cause.message}" for cause in causes]
    listed = text[0] if len(text) == 1 else f"[{', '.join(text)}]"
    details = {"name": name, "group": gvk.group, "kind": gvk.kind}
    return InvalidError(
        f'{what} "{name}" is invalid: {listed}',
        status=422,
        reason="Invalid",
        details={**details, "causes": _listed(causes)},
    )


def causes_of(error: ValidationError, *, at: str = "") -> list[Cause]:
    """Name the fields that a pydantic model refuses, and why; no value is in there."""
    return [
        Cause(_path((*([at] if at else ()), *problem["loc"])), problem["msg"])
        for problem in error.errors(
            include_url=False, include_input=False, include_context=False
        )
    ]


def respond_to(error: Exception) -> AdmissionResponse | None:
    """Return what an error says to the API server; `None` if it is a bug's."""
    match error:
        case DeniedError():
            return deny(
                str(error), code=error.code, reason=error.reason, causes=error.causes
            )
        case ApiError():
            return AdmissionResponse(
                allowed=False,
                code=error.status,
                reason=error.reason,
                message=str(error),
                details=error.details,
            )
        case ControllerRuntimeError():
            return errored(str(error))
        case _ if isinstance(error, TRANSPORT_ERRORS):
            return errored(
                "the webhook cannot reach what it has to ask: "
                f"{str(error) or type(error).__name__}"
            )
        case _:
            return None


def _listed(causes: Iterable[Cause]) -> list[Mapping[str, str]]:
    return [
        {"reason": cause.reason, "message": cause.message, "field": cause.field}
        for cause in causes
    ]


def _path(parts: Iterable[int | str]) -> str:
    path = ""
    for part in parts:
        if isinstance(part, int):
            path += f"[{part}]"
        else:
            path += f".{part}" if path else part
    return path or "object"
