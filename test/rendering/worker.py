"""Renders and installs a chart with Helm itself: a line of JSON in, a line of JSON out.

A process of its own, so that the tests' has no Go in it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import helm_python as helm


def answer(chart: helm.Chart, path: Path, request: dict[str, Any]) -> object:
    """Render, lint, install, upgrade or uninstall."""
    values: dict[str, Any] = {}
    for file in request["files"]:
        parsed = helm.values_from_yaml(Path(file).read_text(encoding="utf-8"))
        values = _merged(values, parsed)
    values = _merged(values, request["values"])
    if request["call"] == "lint":
        return helm.lint(path, values, strict=True, namespace=request["namespace"])
    if "kubeconfig" in request:
        return _act(chart, values, request)
    chart.validate_schema(values)
    return chart.render(values, name=request["name"], namespace=request["namespace"])


def _act(chart: helm.Chart, values: dict[str, Any], request: dict[str, Any]) -> object:
    name, namespace = request["name"], request["namespace"]
    with helm.Config(
        kubeconfig_path=request["kubeconfig"], namespace=namespace, qps=50
    ) as config:
        if request["call"] == "uninstall":
            return config.uninstall(name, timeout=60, wait="watcher")
        if request["call"] == "install":
            return config.install(
                *(chart, name, values),
                namespace=namespace,
                create_namespace=True,
                timeout=60,
                wait="watcher",
            )
        return config.upgrade(
            *(chart, name, values), namespace=namespace, timeout=60, wait="watcher"
        )


def _merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Merge values as `--values` does: mappings are joined, all else is replaced."""
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        is_deeper = isinstance(old, dict) and isinstance(value, dict)
        merged[key] = _merged(old, value) if is_deeper else value  # type: ignore[arg-type] # both are
    return merged


def main(path: Path) -> None:
    """Answer until stdin ends."""
    with helm.Chart.load(path) as chart:
        for line in sys.stdin:
            request = json.loads(line)
            reply: dict[str, object] = {"id": request["id"]}
            try:
                reply["ok"] = answer(chart, path, request)
            except helm.HelmError as error:
                reply["error"] = str(error)
            sys.stdout.write(json.dumps(reply) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
