"""What templates may call.

Names are sprig's and Jinja's, in snake case. Everything is a function of its arguments;
what asks the cluster is a function of the run's `Inquiry` besides (`inquiring`).
"""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from jinja2 import Undefined

from controller_runtime import GroupVersionKind
from controllers.autopilot.documents import read_documents, write_yaml
from controllers.autopilot.lookups import CRD, Inquiry, Lookup
from controllers.autopilot.sandbox import bounded, measured, printed
from controllers.autopilot.schemas import enum_of, field_of, schema_of

_NOT_IN_YAML = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ud800-\udfff\ufffe\uffff]")
"""What JSON may have as it is in a string, and YAML may not or reads as a line end."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,252}")
"""What an object may be called, of any kind. A selector takes a comma for another of
its terms, and an empty name for every object."""

_CONFIG_MAP = GroupVersionKind("", "v1", "ConfigMap")
_PROMETHEUS_RULE = GroupVersionKind("monitoring.coreos.com", "v1", "PrometheusRule")
_STORAGE_PROFILE = GroupVersionKind("cdi.kubevirt.io", "v1beta1", "StorageProfile")


def q(value: object) -> str:
    """Write a value so that YAML reads it back, whatever is in it."""
    return _NOT_IN_YAML.sub(lambda m: f"\\u{ord(m[0]):04x}", printed(_plain(value)))


def dig(obj: object, *steps: str, default: object = None) -> object:
    """Follow steps through maps; a step that is missing, or in no map, gives `default`.

    As sprig: what is there and null is null.
    """
    for step in steps:
        if not isinstance(obj, Mapping) or step not in obj:
            return default
        obj = obj[step]
    return obj


def has_annotation(obj: Mapping[str, Any], key: str, value: str | None = None) -> bool:
    """Tell whether an object has an annotation, with that value if one is given."""
    annotations = dig(obj, "metadata", "annotations")
    if not isinstance(annotations, Mapping) or key not in annotations:
        return False
    return value is None or annotations[key] == value


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in sorted(value.items())}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def _default(value: object, other: object) -> object:
    """Return something else for what is undefined or null; empty is a value."""
    return other if value is None or isinstance(value, Undefined) else value


def _batch(values: Iterable[object], size: int) -> list[list[object]]:
    """Cut a list into lists of that many items; the last may have fewer."""
    items = list(values)
    return [items[at : at + size] for at in range(0, len(items), size)]


def _sum(values: Iterable[object]) -> float:
    """Add numbers; lists would take longer with each."""
    return sum(_number(each) for each in values)


def _number(value: object) -> float:
    if not isinstance(value, int | float):
        raise TypeError(f"sum adds numbers, and {type(value).__name__} is none")
    return value


def _is_empty(value: object) -> bool:
    return value is None or value is False or value in ("", 0, [], {}, ())


def _ternary(condition: object, yes: object, no: object) -> object:
    return yes if condition else no


def _b64enc(value: str) -> str:
    return base64.b64encode(value.encode()).decode()


def _b64dec(value: str) -> str:
    return base64.b64decode(value, validate=True).decode()


def _indent(value: str, width: int = 4) -> str:
    """Put spaces before every line, the first included."""
    lines = value.split("\n")
    bounded(len(value) + width * len(lines))
    return "\n".join(" " * width + line if line else line for line in lines)


def _nindent(value: str, width: int = 4) -> str:
    """Start a line, and indent from there."""
    return "\n" + _indent(value, width)


def _to_yaml(value: object) -> str:
    return write_yaml(_plain(value)).removesuffix("\n")


def _from_yaml(text: str) -> object:
    return next(iter(read_documents(text, origin="the text")), None)


def _from_json(text: str) -> object:
    return json.loads(text)


def _join(values: Iterable[object], separator: str = "") -> str:
    texts = [v if isinstance(v, str) else printed(v) for v in values]
    bounded(sum(map(len, texts)) + len(separator) * len(texts))
    return separator.join(texts)


def _replace(text: str, old: str, new: str) -> str:
    bounded(len(text) + text.count(old) * len(new))
    return text.replace(old, new)


def _split_list(text: str, separator: str) -> list[str]:
    return text.split(separator)


def _contains(text: str, part: str) -> bool:
    return part in text


def _has_prefix(text: str, prefix: str) -> bool:
    return text.startswith(prefix)


def _has_suffix(text: str, suffix: str) -> bool:
    return text.endswith(suffix)


def _trim_prefix(text: str, prefix: str) -> str:
    return text.removeprefix(prefix)


def _trim_suffix(text: str, suffix: str) -> str:
    return text.removesuffix(suffix)


def _keys(value: Mapping[str, object]) -> list[str]:
    return sorted(value)


def _values(value: Mapping[str, object]) -> list[object]:
    return [value[key] for key in sorted(value)]


def _pick(value: Mapping[str, object], *names: str) -> dict[str, object]:
    return {name: value[name] for name in names if name in value}


def _omit(value: Mapping[str, object], *names: str) -> dict[str, object]:
    return {name: item for name, item in value.items() if name not in names}


def merge(first: Mapping[str, Any], *others: Mapping[str, Any]) -> dict[str, Any]:
    """Merge maps deeply into a new one; what comes first wins."""
    measured([first, *others])
    merged: dict[str, Any] = {}
    for other in (*reversed(others), first):
        merged = merge_overwrite(merged, other)
    return merged


def merge_overwrite(
    first: Mapping[str, Any], *others: Mapping[str, Any]
) -> dict[str, Any]:
    """Merge maps deeply into a new one; what comes last wins."""
    measured([first, *others])
    merged = dict(first)
    for other in others:
        for key, value in other.items():
            mine = merged.get(key)
            if isinstance(mine, Mapping) and isinstance(value, Mapping):
                merged[key] = merge_overwrite(mine, value)
            else:
                merged[key] = value
    return merged


FILTERS: Mapping[str, Callable[..., Any]] = {
    "b64dec": _b64dec,
    "b64enc": _b64enc,
    "batch": _batch,
    "ceil": math.ceil,
    "contains": _contains,
    "default": _default,
    "floor": math.floor,
    "from_json": _from_json,
    "from_yaml": _from_yaml,
    "has_prefix": _has_prefix,
    "has_suffix": _has_suffix,
    "indent": _indent,
    "join": _join,
    "keys": _keys,
    "merge": merge,
    "merge_overwrite": merge_overwrite,
    "nindent": _nindent,
    "omit": _omit,
    "pick": _pick,
    "q": q,
    "quote": q,
    "replace": _replace,
    "split_list": _split_list,
    "sum": _sum,
    "ternary": _ternary,
    "to_json": q,
    "to_yaml": _to_yaml,
    "trim_prefix": _trim_prefix,
    "trim_suffix": _trim_suffix,
    "values": _values,
}

TESTS: Mapping[str, Callable[..., bool]] = {"empty": _is_empty}

FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "dig": dig,
    "has_annotation": has_annotation,
    "merge": merge,
    "merge_overwrite": merge_overwrite,
    "ternary": _ternary,
}


OBJECT_EXISTS = "object_exists"
"""Asks about the kind that its first two arguments name."""

ASKED_KINDS: Mapping[str, GroupVersionKind] = {
    "crd_enum": CRD,
    "crd_has_enum": CRD,
    "crd_has_field": CRD,
    "get_config_map_data": _CONFIG_MAP,
    "prometheus_rule_has_recording_rule": _PROMETHEUS_RULE,
    "storage_profile_rwx_class": _STORAGE_PROFILE,
}
"""What the other functions ask about, whatever their arguments."""


def inquiring(inquiry: Inquiry) -> Mapping[str, Callable[..., Any]]:
    """Return the functions that ask the cluster."""

    def one(kind: GroupVersionKind, ns: str, name: str) -> Mapping[str, Any] | None:
        if not _NAME.fullmatch(name) or not (ns == "" or _NAME.fullmatch(ns)):
            return None  # nothing is called so
        return inquiry.one(Lookup(kind, ns, name))

    def schema(crd: str) -> Mapping[str, Any] | None:
        found = one(CRD, "", crd)
        return schema_of(found) if found else None

    def crd_enum(crd: str, path: str) -> Sequence[Any]:
        return enum_of(schema(crd), path)

    def crd_has_enum(crd: str, path: str, value: object) -> bool:
        return value in enum_of(schema(crd), path)

    def crd_has_field(crd: str, path: str) -> bool:
        return field_of(schema(crd), path) is not None

    def object_exists(api_version: str, kind: str, ns: str, name: str) -> bool:
        gvk = GroupVersionKind.parse(api_version, kind)
        return one(gvk, ns, name) is not None

    def prometheus_rule_has_recording_rule(ns: str, name: str, record: str) -> bool:
        rule = one(_PROMETHEUS_RULE, ns, name) or {}
        return any(
            each.get("record") == record
            for group in dig(rule, "spec", "groups", default=[]) or []  # type: ignore[attr-defined]  # as its CRD says
            for each in group.get("rules") or []
        )

    def get_config_map_data(ns: str, name: str, key: str) -> str:
        found = one(_CONFIG_MAP, ns, name) or {}
        return str(dig(found, "data", key, default=""))

    def storage_profile_rwx_class() -> str:
        profiles = inquiry.ask(Lookup(_STORAGE_PROFILE))
        shared = (p["metadata"]["name"] for p in profiles if _is_shared(p))
        return min(shared, default="")

    return {
        "crd_enum": crd_enum,
        "crd_has_enum": crd_has_enum,
        "crd_has_field": crd_has_field,
        "get_config_map_data": get_config_map_data,
        OBJECT_EXISTS: object_exists,
        "prometheus_rule_has_recording_rule": prometheus_rule_has_recording_rule,
        "storage_profile_rwx_class": storage_profile_rwx_class,
    }


def _is_shared(profile: Mapping[str, Any]) -> bool:
    """Tell whether a storage class has file systems that many Nodes write to."""
    sets = (profile.get("status") or {}).get("claimPropertySets") or []
    return any(
        each.get("volumeMode") == "Filesystem"
        and "ReadWriteMany" in (each.get("accessModes") or [])
        for each in sets
    )
