"""Bundles made here, for samples and tests: what `werf bundle publish` would push.

    push_bundle(registries.repository(…), "v1.0.0", templates={…}) ──▶ digest

An OCI manifest that does not say its type, a config of Helm's type that is Chart.yaml
as JSON, and one layer: the chart's folder as tar.gz, with the service values of werf.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import NamedTuple

import yaml

from controllers.oci import HELM_CONFIG, WERF_CHART, Content, RemoteRepository
from controllers.up.charts import archive

CONFIG_MAP = """\
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ .Release.Name }}
data:
  greeting: {{ .Values.greeting | quote }}
"""

_HELPERS = '{{- define "werf_name" -}}{{ .Chart.Name }}{{- end -}}\n'


class BundleContent(NamedTuple):
    """What is pushed of a bundle."""

    config: Content
    layer: Content


def bundle_content(
    version: str,
    *,
    name: str = "sample",
    values: Mapping[str, object] | None = None,
    templates: Mapping[str, str] | None = None,
    files: Mapping[str, bytes] | None = None,
) -> BundleContent:
    """Make a bundle.

    Args:
        version: Of the chart: semantic, without a `v`.
        name: Of the chart, which is the name of its folder.
        values: Defaults of the chart.
        templates: File name → template; a ConfigMap by default.
        files: Path in the folder → content, over what is made here.
    """
    chart = {"apiVersion": "v2", "name": name, "version": version}
    service = {"werf": {"name": name, "version": "2"}}
    content: dict[str, bytes] = {
        "Chart.yaml": yaml.safe_dump(chart).encode(),
        "values.yaml": yaml.safe_dump(
            {"greeting": "hello", **(values or {}), **service, "global": service}
        ).encode(),
        "templates/_werf_helpers.tpl": _HELPERS.encode(),
        "extra_annotations.json": b"{}",
    }
    wanted = {"configmap.yaml": CONFIG_MAP} if templates is None else templates
    content |= {f"templates/{file}": text.encode() for file, text in wanted.items()}
    content |= files or {}
    return BundleContent(
        Content(HELM_CONFIG, json.dumps(chart).encode()),
        Content(
            WERF_CHART, archive({f"{name}/{path}": it for path, it in content.items()})
        ),
    )


async def push_bundle(
    repository: RemoteRepository,
    tag: str,
    *,
    name: str = "sample",
    values: Mapping[str, object] | None = None,
    templates: Mapping[str, str] | None = None,
) -> str:
    """Publish a bundle under a tag, and return its digest.

    A tag that is a version is the chart's version, too, as in werf.

    Raises:
        RegistryError: The registry does not take it.
    """
    version = tag.removeprefix("v")
    content = bundle_content(version, name=name, values=values, templates=templates)
    return await repository.push(
        tag, config=content.config, layers=[content.layer], states_type=False
    )
