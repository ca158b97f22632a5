"""Charts: found, fetched, checked, kept.

    charts = Charts(ChartOptions(folder=…), clock=clock)      a runnable
    credential = credential_for(url, name, Auth(…))            pure
    chart = await charts.resolve(ChartSource(url=…, name=…, version="^1", …))
    chart.version, chart.digest, chart.path

`source` has the words, `credentials` reads Secrets, `index` reads an index without
reading all of it, `refusals` says what errors mean; `registry` and `repository` know
the two kinds of places, `shelf` keeps files. Nothing of Helm is loaded for it.
"""

from controllers.release.chart.charts import ChartOptions, Charts
from controllers.release.chart.credentials import Auth, AuthType, credential_for
from controllers.release.chart.repository import RepositoryOptions
from controllers.release.chart.source import (
    ChartSource,
    Reason,
    ResolvedChart,
    SourceError,
)

__all__ = [
    "Auth",
    "AuthType",
    "ChartOptions",
    "ChartSource",
    "Charts",
    "Reason",
    "RepositoryOptions",
    "ResolvedChart",
    "SourceError",
    "credential_for",
]
