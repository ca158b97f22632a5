"""Write what is made from code in `charts/pilothouse`, and what goes with it.

    VERSION              ─▶ Chart.yaml, and the tag of config/manager
    grants of a manager  ─▶ files/roles.yaml: rules, and when they are not needed
    Settings             ─▶ $defs of values.schema.json
    config/crd, …        ─▶ files/: a chart can read nothing outside of its folder
    config/prometheus    ─▶ config/prometheus/rules.yaml, the same as PrometheusRules

`python -m hack.gen_chart --check` writes nothing and fails if a file differs.

A rule is needed unless the values say one of its words. Which words there are, and what
they take away, is found out by asking managers with such settings; the tests ask for
combinations as well.
"""

from __future__ import annotations

import json
import re
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import yaml

from controller_runtime import Grant, Json, Metrics, Roles
from controllers.manager import build
from controllers.rbac import nowhere
from controllers.reloader.command import compose
from controllers.reloader.settings import read
from controllers.settings import CONTROLLERS, Settings, version
from hack.gen_rbac import users

ROOT = Path(__file__).parents[1]
CHART = ROOT / "charts" / "pilothouse"

HOME, PLACE = "home", "place"
"""Stand for the namespace that it runs in, and for one that it works in."""

Words: TypeAlias = frozenset[str]

_OFF: Mapping[str, Mapping[str, Mapping[str, object]]] = {
    "reload": {
        "namespaces": {"namespaces": (PLACE,)},
        "secrets": {"resources_to_ignore": ("secrets",)},
        "configmaps": {"resources_to_ignore": ("configmaps",)},
        "jobs": {"ignored_workload_types": ("jobs",)},
        "cronjobs": {"ignored_workload_types": ("cronjobs",)},
        "jobsOfAnyKind": {"ignored_workload_types": ("jobs", "cronjobs")},
        "dryRun": {"dry_run": True},
        "optionalKinds": {"optional_kinds": False},
    },
    "bundle": {
        "namespaces": {"namespaces": (PLACE,)},
        "watchValues": {"watch_values": False},
    },
    "release": {"namespaces": {"namespaces": (PLACE,)}},
    "autopilot": {},
}
"""Controller → word → settings that may take grants away."""

_RELOADER_OFF: Mapping[str, tuple[str, ...]] = {
    "namespaces": (f"--namespaces={PLACE}",),
    "secrets": ("--resources-to-ignore=secrets",),
    "configmaps": ("--resources-to-ignore=configmaps",),
    "jobs": ("--ignored-workload-types=jobs",),
    "cronjobs": ("--ignored-workload-types=cronjobs",),
    "jobsOfAnyKind": ("--ignored-workload-types=jobs,cronjobs",),
}
"""Word → arguments of the stand-in that may take grants away."""

_RELOADER_ON: Mapping[str, tuple[str, ...]] = {
    "csi": ("--enable-csi-integration=true",),
    "ha": ("--enable-ha=true",),
}
"""Word → arguments of which it is the lack."""

SECRETS = frozenset({"alert_webhook_url", "alert_webhook_proxy"})
"""Settings that are for the environment: a ConfigMap is no place for them."""


def chart_roles() -> Json:
    """Return what `files/roles.yaml` should say."""
    return {
        "controllers": {name: _controller(name) for name in CONTROLLERS},
        "election": _rules(_election()),
        "metrics": _rules(_guarded() - _plain()),
        "metricsReader": _rules([Grant("get", path="/metrics")]),
        "reloader": _reloader(),
        "users": list(yaml.safe_load_all(users())),
    }


def _plain(**settings: object) -> frozenset[Grant]:
    given = {"controllers": ("reload",), "metrics_secure": False, **settings}
    return build(Settings.model_validate(given), nowhere(), Metrics()).grants


def _guarded() -> frozenset[Grant]:
    return _plain(metrics_secure=True)


def _election() -> frozenset[Grant]:
    elsewhere = {"namespaces": (PLACE,)}  # or Events would be granted everywhere
    grants = _plain(reload=elsewhere, leader_elect=True, leader_election_namespace=HOME)
    return frozenset(it for it in grants if it.namespace == HOME)


def _controller(name: str) -> Json:
    """Tell what is needed where it works from what is of the cluster, come what may."""
    found = _grants_of(name)
    scoped = found.get("namespaces", found[""])
    of_cluster = {it for it in scoped if not it.namespace}
    return {
        "cluster": _conditional({w: it & of_cluster for w, it in found.items()}),
        "namespaced": _conditional({w: it - of_cluster for w, it in found.items()}),
    }


def _grants_of(name: str) -> Mapping[str, frozenset[Grant]]:
    """Return word → what one controller needs then; no word for when nothing is off."""
    sections = {"": {}, **_OFF[name]}
    return {
        word: _plain(controllers=(name,), **{name: section})
        for word, section in sections.items()
    }


def _reloader() -> Json:
    everything = [it for given in _RELOADER_ON.values() for it in given]
    found = {"": _stand_in(*everything)}
    for word, given in _RELOADER_OFF.items():
        found[word] = _stand_in(*everything, *given)
    for word, given in _RELOADER_ON.items():
        found[word] = _stand_in(*(it for it in everything if it not in given))
    there = {
        word: frozenset(it for it in grants if it.namespace == HOME)
        for word, grants in found.items()
    }
    elsewhere = {word: found[word] - there[word] for word in found}
    # Events are written here too, which a ClusterRole says already.
    only_scoped = there["namespaces"] - there[""]
    at_home = {word: grants | only_scoped for word, grants in there.items()}
    return {"watched": _conditional(elsewhere), "home": _conditional(at_home)}


def _stand_in(*arguments: str) -> frozenset[Grant]:
    environ = {"POD_NAME": "any", "POD_NAMESPACE": HOME, "RELOADER_NAMESPACE": HOME}
    return compose(read(arguments, environ), nowhere(), Metrics()).grants


def _conditional(found: Mapping[str, frozenset[Grant]]) -> list[Json]:
    """Say which rules are needed unless which words are said.

    Args:
        found: word → grants; no word for when nothing is off.

    Raises:
        ValueError: A word gives something.
    """
    anywhere = {word: _without_place(grants) for word, grants in found.items()}
    groups: defaultdict[tuple[str, ...], set[Grant]] = defaultdict(set)
    for grant in anywhere[""]:
        off = (word for word, grants in anywhere.items() if grant not in grants)
        groups[tuple(sorted(off))].add(grant)
    for word, grants in anywhere.items():
        if more := grants - anywhere[""]:
            raise ValueError(f"{word} gives more: {', '.join(map(str, more))}")
    return [{"unless": [*off], "rules": _rules(groups[off])} for off in sorted(groups)]


def _without_place(grants: Iterable[Grant]) -> frozenset[Grant]:
    return frozenset(
        it._replace(namespace="") if it.namespace == PLACE else it for it in grants
    )


def _rules(grants: Iterable[Grant]) -> list[Json]:
    roles = Roles.of("any", (it._replace(namespace="") for it in grants))
    return [rule.to_json() for rule in roles.cluster]


def definitions() -> Json:
    """Return the schema of each controller's settings, under the names of values."""
    made = Settings.model_json_schema(by_alias=False)
    sections = {name: made["$defs"][f"{name.title()}Settings"] for name in CONTROLLERS}
    return {name: _section(section) for name, section in sections.items()}


def _section(section: Json) -> Json:
    properties = {
        camel(name): _setting(field)
        for name, field in section["properties"].items()
        if name not in SECRETS
    }
    return {
        "type": "object",
        "additionalProperties": False,
        "properties": properties,
    }


def _setting(field: Json) -> Json:
    kept = {key: value for key, value in field.items() if key != "title"}
    if kept.get("format") == "duration":
        return {
            "description": kept["description"],
            "type": ["string", "number"],
            "minimum": 0,
            "pattern": r"^([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h)?)+$",
        }
    if choices := [it for it in kept.pop("anyOf", []) if it.get("type") != "null"]:
        (choice,) = choices
        kept |= {key: it for key, it in choice.items() if key != "format"}
    if kept.get("type") == "array":
        kept["type"] = ["array", "string"]  # or with commas
    if kept.get("default") is None:
        kept.pop("default", None)
    return kept


def camel(name: str) -> str:
    """Return the name of a setting as values spell it."""
    first, *rest = name.split("_")
    return first + "".join(word.title() for word in rest)


def files() -> Mapping[Path, str]:
    """Return file → what it should have."""
    made: dict[Path, str] = {}
    for source, target in _COPIES:
        for path in sorted((ROOT / source).parent.glob(Path(source).name)):
            made[CHART / "files" / target / path.name] = path.read_text("utf-8")
    roles = yaml.safe_dump(chart_roles(), sort_keys=False)
    made[CHART / "files" / "roles.yaml"] = f"{_HEAD}{roles}"
    schema = json.loads((CHART / "values.schema.json").read_text("utf-8"))
    schema["$defs"] |= definitions()
    made[CHART / "values.schema.json"] = json.dumps(schema, indent=2) + "\n"
    made[ROOT / "config" / "prometheus" / "rules.yaml"] = _HEAD + prometheus_rules()
    for path, pattern, text in _VERSIONED:
        made[path] = re.sub(pattern, text(version()), path.read_text("utf-8"))
    return made


_HEAD = "# Written by hack/gen_chart.py.\n"

_COPIES = (
    ("config/crd/bases/*.yaml", "crds"),
    ("config/grafana/*.json", "grafana"),
    ("config/prometheus/*.rules.yaml", "prometheus"),
)

_VERSIONED: tuple[tuple[Path, str, Callable[[str], str]], ...] = (
    (CHART / "Chart.yaml", r"(?m)^version: .*$", "version: {}".format),
    (CHART / "Chart.yaml", r"(?m)^appVersion: .*$", 'appVersion: "{}"'.format),
    (
        ROOT / "config" / "manager" / "kustomization.yaml",
        r"(?m)^( *)newTag: .*$",
        r"\1newTag: v{}".format,
    ),
)


def prometheus_rules() -> str:
    """Return the alert rules as the Prometheus operator wants them."""
    objects: list[Any] = []
    for path in sorted((ROOT / "config" / "prometheus").glob("*.rules.yaml")):
        name = f"pilothouse-{path.name.removesuffix('.rules.yaml')}"
        objects.append(
            {
                "apiVersion": "monitoring.coreos.com/v1",
                "kind": "PrometheusRule",
                "metadata": {"name": name, "namespace": "pilothouse-system"},
                "spec": yaml.safe_load(path.read_text("utf-8")),
            }
        )
    return yaml.safe_dump_all(objects, explicit_start=True, sort_keys=False, width=100)


def main(arguments: list[str]) -> int:
    """Write what differs, or with `--check` say it; return the exit code."""
    check = "--check" in arguments
    made = files()
    folders = [CHART / "files" / target for _, target in _COPIES]
    copied = {path for folder in folders for path in folder.glob("*")}
    different = sorted(
        {path for path, text in made.items() if not _has(path, text)}
        | (copied - made.keys())
    )
    for path in different:
        print(f"{'differs' if check else 'wrote'}: {path.relative_to(ROOT)}")
        if check:
            continue
        if path in made:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(made[path], encoding="utf-8")
        else:
            path.unlink()
    if check and different:
        print("run `make manifests`")
    return int(check and bool(different))


def _has(path: Path, text: str) -> bool:
    return path.exists() and path.read_text("utf-8") == text


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
