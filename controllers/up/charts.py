"""Charts made in Python, and pushed as `helm push` does; `bundle_samples` has bundles.

Equal content makes equal bytes, so that pushing it again changes no digest.
"""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, field

from controllers.oci import (
    HELM_CHART,
    HELM_CONFIG,
    Content,
    RemoteRepository,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """What is in a chart."""

    name: str
    version: str

    values: Mapping[str, object] = field(default_factory=dict)
    """Defaults."""

    files: Mapping[str, str | bytes] = field(default_factory=dict)
    """Path below the chart's folder → content, such as `templates/service.yaml`."""

    metadata: Mapping[str, object] = field(default_factory=dict)
    """More of `Chart.yaml`, or instead of what is there."""

    @property
    def about(self) -> Mapping[str, object]:
        """`Chart.yaml`."""
        head = {"apiVersion": "v2", "name": self.name, "version": self.version}
        return head | dict(self.metadata)

    def archive(self) -> bytes:
        """Return the chart as a `.tgz`; JSON is YAML."""
        content: dict[str, str | bytes] = {
            "Chart.yaml": json.dumps(self.about),
            "values.yaml": json.dumps(self.values),
            **self.files,
        }
        return archive({f"{self.name}/{path}": data for path, data in content.items()})


def archive(content: Mapping[str, str | bytes]) -> bytes:
    """Return a gzipped tar of path → content."""
    packed = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=packed, mode="wb", mtime=0) as zipped,
        tarfile.open(fileobj=zipped, mode="w") as tar,
    ):
        for path, data in content.items():
            raw = data.encode() if isinstance(data, str) else data
            entry = tarfile.TarInfo(path)
            entry.size = len(raw)
            tar.addfile(entry, io.BytesIO(raw))
    return packed.getvalue()


async def push_chart(repository: RemoteRepository, chart: Chart) -> str:
    """Push a chart under its version, as `helm push` does; return the digest.

    Args:
        repository: Ends with the chart's name.
        chart: What to push.

    Raises:
        RegistryError: The registry refuses.
    """
    layer = Content(HELM_CHART, chart.archive())
    tag = chart.version.replace("+", "_")
    return await repository.push(tag, config=_config(chart), layers=[layer])


def _config(chart: Chart) -> Content:
    about = json.dumps(chart.about, separators=(",", ":"))
    return Content(HELM_CONFIG, about.encode())
