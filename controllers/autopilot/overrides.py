"""Users' patches of what is applied: which one is in force, and why not another.

    annotation ──parse──▶ operations ──apply──▶ object ──check──▶ in force
        │ no                  │ no                │ no
        └─────────────────────┴───────────────────┴──▶ the last good patch, likewise
                                                          │ no
                                                          └──▶ the baseline as it is

Before it is applied a patch is judged by its paths, afterwards by its result: what
identifies an object, makes it ours or steers us stays as the baseline has it, however
a patch got there. Kinds that give rights or change nodes take no patch at all.

Pure: nothing here reads or writes the cluster, and a bad patch is an answer (`Patched`
says what is wrong with it), not an error.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import jsonpatch
import jsonpointer
import msgspec

from controller_runtime import Json
from controllers.autopilot.annotations import (
    AnnotationKeys,
    Wishes,
    annotations_of,
    labels_of,
)
from controllers.autopilot.errors import AutopilotError
from controllers.autopilot.pointers import (
    Pointer,
    PointerError,
    overlaps,
    parse_pointer,
)

SENSITIVE_KINDS = frozenset(
    {
        "APIService",
        "ClusterRole",
        "ClusterRoleBinding",
        "CustomResourceDefinition",
        "KubeletConfig",
        "MachineConfig",
        "MutatingWebhookConfiguration",
        "Namespace",
        "PodSecurityPolicy",
        "Role",
        "RoleBinding",
        "Secret",
        "SecurityContextConstraints",
        "ServiceAccount",
        "ValidatingAdmissionPolicy",
        "ValidatingAdmissionPolicyBinding",
        "ValidatingWebhookConfiguration",
    }
)
"""Kinds that take no patch: they give rights, hold secrets or reboot nodes."""

_PROTECTED_METADATA = (
    "creationTimestamp",
    "deletionTimestamp",
    "finalizers",
    "generation",
    "managedFields",
    "name",
    "namespace",
    "ownerReferences",
    "resourceVersion",
    "uid",
)

MAX_OPERATIONS = 256
"""Operations of a patch. An annotation has room for thousands, a human does not."""

MAX_BYTES = 1 << 20
"""Size of what a patch may make: more than that etcd does not take."""

MAX_DEPTH = 100
"""Levels of what a patch may make; the same as a catalogue's files."""

_NEEDS: Mapping[str, tuple[str, ...]] = {
    "add": ("path", "value"),
    "remove": ("path",),
    "replace": ("path", "value"),
    "move": ("from", "path"),
    "copy": ("from", "path"),
    "test": ("path", "value"),
}
"""Operations of RFC 6902, and their members."""

_FAILURES: tuple[type[Exception], ...] = (
    jsonpatch.JsonPatchException,
    jsonpointer.JsonPointerException,
    IndexError,
    KeyError,
    RecursionError,
    TypeError,
    ValueError,
)
"""What applying an operation may raise; the library lets some of Python's own pass."""


class OverrideError(AutopilotError):
    """A patch that cannot be used; says what is wrong with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PatchRules:
    """What a patch must leave alone, and whom it may concern."""

    keys: AnnotationKeys
    managed_by_label: str
    sensitive_kinds: Collection[str] = SENSITIVE_KINDS

    @property
    def protected(self) -> tuple[Pointer, ...]:
        """Places that no override may touch, hold or lie in."""
        return (
            ("apiVersion",),
            ("kind",),
            ("status",),
            *(("metadata", name) for name in _PROTECTED_METADATA),
            ("metadata", "labels", self.managed_by_label),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Patched:
    """What users make of a baseline."""

    object: Json
    operations: int = 0
    """Of the patch in force."""
    in_force: str = ""
    """The text of that patch; empty for none."""
    problem: str = ""
    """Why the annotation's patch is not the one in force; empty if it is."""

    @property
    def is_held(self) -> bool:
        """The last good patch stands in for one that cannot be used."""
        return bool(self.problem and self.in_force)


def patched(
    baseline: Json,
    wishes: Wishes,
    rules: PatchRules,
    *,
    is_sensitive: bool = False,
    refused: Mapping[str, str] | None = None,
) -> Patched:
    """Apply the patch that users ask for, or the last good one, or none.

    Args:
        baseline: The rendered object, with our label on it.
        wishes: Its annotations in the cluster.
        rules: What is allowed.
        is_sensitive: It takes no patch, whatever its kind.
        refused: Text of a patch → why the API server did not take its result.
    """
    if not wishes.patch:
        return Patched(object=baseline)
    server = refused or {}
    problem = ""
    for text in dict.fromkeys(filter(None, (wishes.patch, wishes.last_good))):
        if text in server:
            problem = problem or server[text]
            continue
        try:
            operations = read_patch(text, rules)
            result = apply_patch_to(baseline, operations, rules, sensitive=is_sensitive)
        except OverrideError as error:
            problem = problem or str(error)
            continue
        return Patched(
            object=result,
            operations=len(operations),
            in_force=text,
            problem=problem,
        )
    return Patched(object=baseline, problem=problem)


def read_patch(text: str, rules: PatchRules) -> Sequence[Mapping[str, Any]]:
    """Parse a JSON patch and judge its paths.

    Raises:
        OverrideError: It is no JSON patch, or touches what is forbidden.
    """
    try:
        decoded = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise OverrideError(f"the patch is not JSON: {error}") from error
    if not isinstance(decoded, list):
        raise OverrideError("the patch is not a JSON array of operations (RFC 6902)")
    if len(decoded) > MAX_OPERATIONS:
        raise OverrideError(
            f"the patch has {len(decoded)} operations; {MAX_OPERATIONS} is the most"
        )
    for number, operation in enumerate(decoded):
        _check_operation(number, operation, rules)
    return decoded


def apply_patch_to(
    baseline: Json,
    operations: Sequence[Mapping[str, Any]],
    rules: PatchRules,
    *,
    sensitive: bool = False,
) -> Json:
    """Apply operations that `read_patch` has read, and judge what comes of it.

    Raises:
        OverrideError: The object takes no patch, an operation fails, or the result is
            not the same object any more.
    """
    kind = baseline.get("kind")
    if sensitive or kind in rules.sensitive_kinds:
        raise OverrideError(f"{kind} is sensitive and cannot be patched by annotation")
    copied = 0
    result = deepcopy(_roomy(baseline))
    for number, operation in enumerate(operations):
        try:
            if operation["op"] == "copy":  # a chain of copies doubles with each
                copied += _size(jsonpointer.resolve_pointer(result, operation["from"]))
                _check_bytes(copied)
            # In place: a copy of everything for each operation takes minutes.
            patch = jsonpatch.JsonPatch([deepcopy(dict(operation))])
            result = patch.apply(result, in_place=True)
        except _FAILURES as error:
            raise OverrideError(f"{_named(number, operation)}: {error}") from error
    _check_result(baseline, result, rules)
    return _tidy(result)


def _check_operation(number: int, operation: object, rules: PatchRules) -> None:
    if not isinstance(operation, Mapping):
        raise OverrideError(f"operation {number} of the patch is no JSON object")
    op = operation.get("op")
    if not isinstance(op, str) or op not in _NEEDS:
        raise OverrideError(
            f"operation {number} of the patch has no `op` out of {', '.join(_NEEDS)}"
        )
    for member in _NEEDS[op]:
        if member not in operation:
            raise OverrideError(f"operation {number} ({op}) has no {member!r}")
    for member in ("path", "from"):
        if member in operation:
            _check_path(_named(number, operation), operation[member], rules)


def _check_path(name: str, path: object, rules: PatchRules) -> None:
    if not isinstance(path, str):
        raise OverrideError(f"{name}: a path is a string")
    if path == "":
        raise OverrideError(f"{name}: the whole object is forbidden")
    try:
        pointer = parse_pointer(path)
    except PointerError as error:
        raise OverrideError(f"{name}: {error}") from error
    if overlaps(pointer, rules.protected):
        raise OverrideError(
            f"{name}: {path} is forbidden: what identifies the object is not patched"
        )


def _named(number: int, operation: Mapping[str, Any]) -> str:
    path = str(operation.get("path", ""))
    return f"operation {number} ({operation['op']} {path[:200]})"


def _roomy(baseline: Json) -> Json:
    """Make room for a first label or annotation, to which a patch could not add."""
    metadata = {"labels": {}, "annotations": {}} | dict(baseline["metadata"])
    return {**baseline, "metadata": metadata}


def _tidy(obj: Json) -> Json:
    metadata = {
        name: value
        for name, value in obj["metadata"].items()
        if value or name not in {"labels", "annotations"}
    }
    return {**obj, "metadata": metadata}


def _check_result(baseline: Json, result: Any, rules: PatchRules) -> None:
    if not isinstance(result, dict) or not isinstance(result.get("metadata"), dict):
        raise OverrideError("the patch leaves no object")
    for before, after in zip(
        _identity(baseline, rules), _identity(result, rules), strict=True
    ):
        if before != after:
            raise OverrideError(
                "the patch is forbidden: it changes what identifies the object, our "
                "label on it, or annotations that steer us"
            )
    _check_size(result)


def _identity(obj: Json, rules: PatchRules) -> Sequence[object]:
    metadata = obj["metadata"]
    labels: object = labels_of(obj)
    annotations: object = annotations_of(obj)
    if not isinstance(labels, Mapping) or not isinstance(annotations, Mapping):
        raise OverrideError("the patch makes labels or annotations something else")
    return (
        obj.get("apiVersion"),
        obj.get("kind"),
        {name: metadata.get(name) for name in _PROTECTED_METADATA},
        labels.get(rules.managed_by_label),
        {name: annotations.get(name) for name in rules.keys.control},
        "status" in obj,
    )


def _size(obj: object) -> int:
    try:
        return len(msgspec.json.encode(obj))
    except (RecursionError, msgspec.MsgspecError, TypeError) as error:
        raise OverrideError(f"the patch makes no JSON object: {error}") from error


def _check_bytes(size: int) -> None:
    if size > MAX_BYTES:
        raise OverrideError(f"the patch makes {size} bytes; {MAX_BYTES} is the most")


def _check_size(obj: object) -> None:
    _check_bytes(_size(obj))
    if _depth(obj) > MAX_DEPTH:
        raise OverrideError(f"the patch nests deeper than {MAX_DEPTH} levels")


def _depth(obj: object) -> int:
    level, depth = [obj], 0
    while level and depth <= MAX_DEPTH + 1:
        level = [child for value in level for child in _children(value)]
        depth += 1
    return depth - 1


def _children(value: object) -> Collection[object]:
    if isinstance(value, Mapping):
        return value.values()
    return value if isinstance(value, list) else ()
