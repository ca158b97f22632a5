"""Charts made in Python, for tests: a tgz of a few lines, always the same bytes."""

from __future__ import annotations

import json
from collections.abc import Mapping

from controllers.up.charts import archive

__all__ = ["archive", "chart"]

CONFIG_MAP = """\
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ .Release.Name }}
data:
  greeting: {{ .Values.greeting | quote }}
"""

NOWHERE = {"no": "node-has-this"}
"""The value `nodes` with which the pods of `DEPLOYMENT` are never scheduled."""

DEPLOYMENT = """\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ .Release.Name }}
spec:
  replicas: {{ .Values.replicas | default 1 }}
  selector:
    matchLabels: {app: {{ .Release.Name }}}
  template:
    metadata:
      labels: {app: {{ .Release.Name }}}
    spec:
      nodeSelector: {{ .Values.nodes | default dict | toJson }}
      terminationGracePeriodSeconds: 0
      containers:
        - {name: app, image: registry.example/app}
"""

MANY_CONFIG_MAPS = """\
{{- range $i := until (int .Values.count) }}
---
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ $.Release.Name }}-{{ $i }}
{{- end }}
"""


def chart(
    name: str = "app",
    version: str = "1.0.0",
    *,
    templates: Mapping[str, str] | None = None,
    values: Mapping[str, object] | None = None,
    files: Mapping[str, str | bytes] | None = None,
    metadata: Mapping[str, object] | None = None,
) -> bytes:
    """Return the archive of a chart.

    Args:
        name: Of the chart.
        version: Of the chart.
        templates: File name below `templates/` → text; by default a ConfigMap that
            shows the value `greeting`.
        values: The chart's own.
        files: Path in the chart → content, such as `values.schema.json`.
        metadata: More of `Chart.yaml`.
    """
    if templates is None:
        templates = {"configmap.yaml": CONFIG_MAP}
    about = {"apiVersion": "v2", "name": name, "version": version, **(metadata or {})}
    content: dict[str, str | bytes] = {
        "Chart.yaml": json.dumps(about),
        "values.yaml": json.dumps(values or {"greeting": "hello"}),
        **{f"templates/{file}": text for file, text in templates.items()},
        **(files or {}),
    }
    return archive({f"{name}/{path}": data for path, data in content.items()})
