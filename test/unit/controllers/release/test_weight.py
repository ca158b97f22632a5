"""What makes a chart heavy."""

from __future__ import annotations

from pathlib import Path

from conformance.charts import chart
from controllers.release.helm.weight import weigh


def test_the_largest_files_are_named(tmp_path: Path) -> None:
    path = tmp_path / "chart.tgz"
    path.write_bytes(
        chart(
            templates={"a.yaml": "a" * 5000},
            files={"docs/large.md": "x" * 900_000, "b.txt": "x" * 20_000},
        )
    )

    told = weigh(path)

    assert "5 kB of templates and 920 kB of other files" in told
    assert (
        "app/docs/large.md 900 kB, app/b.txt 20 kB, app/templates/a.yaml 5 kB" in told
    )


def test_what_is_no_archive_has_no_files(tmp_path: Path) -> None:
    path = tmp_path / "chart.tgz"
    path.write_bytes(b"nothing")

    assert weigh(path) == "the chart's files cannot be listed"
    assert weigh(tmp_path) == "the chart's files cannot be listed"
