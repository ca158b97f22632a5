"""What is told of a sweep: Events, metrics and log, about all of a catalogue.

What is told of a single object is `voice`'s.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

import structlog

from controller_runtime import GroupVersionKind
from controllers.autopilot.annotations import AnnotationKeys
from controllers.autopilot.assets import Asset, Catalog
from controllers.autopilot.errors import RenderError
from controllers.autopilot.gates import Verdict, Why
from controllers.autopilot.gauges import AutopilotMetrics, Target
from controllers.autopilot.notices import Notices, Reason, first_few
from controllers.autopilot.round import Report

log = structlog.get_logger(__name__)


class Bulletin:
    """Tells how sweeps go, and what they leave out."""

    def __init__(
        self, notices: Notices, metrics: AutopilotMetrics, catalog: Catalog
    ) -> None:
        self._notices = notices
        self._metrics = metrics
        self._name = catalog.name
        self._keys = AnnotationKeys(catalog.identity.domain)
        self._missing: dict[str, list[str]] = {}
        """CRD → assets that were skipped for want of it."""

    def rest(self) -> None:
        """Nothing is wanted, so nothing is missing."""
        self._missing = {}
        self._metrics.missing(())

    def unknown_names(self, names: Sequence[str]) -> None:
        """The source object asks for what the catalogue does not have."""
        self._notices.tell(
            Reason.ASSET_SKIPPED,
            f"{self._keys.autopilot} names no asset or group of the catalogue: "
            f"{', '.join(names)}",
            what=self._keys.autopilot,
        )

    def bad_exclusions(self, problems: Iterable[str]) -> None:
        """Rules of the source object cannot be read."""
        key = self._keys.disabled_resources
        for problem in first_few(problems):
            self._notices.tell(Reason.INVALID_EXCLUSION, f"{key}: {problem}", what=key)

    def verdicts(self, verdicts: Iterable[Verdict], crds: Collection[str]) -> None:
        """Assets apply, or do not.

        Args:
            verdicts: On all of them.
            crds: Those that there are now.
        """
        missing: dict[str, list[str]] = {}
        kinds: set[GroupVersionKind] = set()
        for verdict in verdicts:
            match verdict.why:
                case Why.CRD:
                    for crd in verdict.missing_crds:
                        missing.setdefault(crd, []).append(verdict.asset.name)
                        kinds.add(_kind_of(crd, verdict.asset))
                        self._missing_crd(crd, verdict.asset)
                case Why.ERROR | Why.UNKNOWN:
                    self._skipped(verdict)
                case Why.VERSION:
                    kinds.add(verdict.asset.kind)
                    self._skipped(verdict)
                case Why.WANTED | Why.SCOPE | Why.CONDITIONS:
                    pass
        self._discovered(crds)
        self._missing = missing
        self._metrics.missing(kinds)

    def unrendered(
        self, asset: Asset, target: Target | None, error: RenderError
    ) -> None:
        """A template failed; what was applied stays."""
        self._metrics.render_error(asset.name)
        if target is not None:
            self._metrics.compliant(target, is_so=False)
        self._notices.tell(
            Reason.RENDER_FAILED,
            f"{asset.name} cannot be rendered: {error}",
            what=asset.name,
        )

    def round(self, report: Report | None) -> None:
        """All assets of a sweep have been tried."""
        if report is None or not report.is_news:
            return
        if report.failures:
            log.warning("sweep failed", outcome=str(report))
            self._notices.tell(Reason.RECONCILE_FAILED, str(report), what=self._name)
        else:
            log.info("sweep done", applied=report.applied, assets=report.total)
            self._notices.tell(Reason.RECONCILE_SUCCEEDED, str(report), what=self._name)

    def _missing_crd(self, crd: str, asset: Asset) -> None:
        self._notices.tell(
            Reason.CRD_MISSING,
            f"{asset.name} is not applied as long as there is no CRD {crd}: a soft "
            "dependency, nothing else waits for it",
            what=f"{crd} {asset.name}",
        )

    def _skipped(self, verdict: Verdict) -> None:
        name = verdict.asset.name
        told = self._notices.tell(
            Reason.ASSET_SKIPPED, f"{name} is skipped: {verdict.message}", what=name
        )
        if told and verdict.why is Why.ERROR:
            self._metrics.condition_error(name)

    def _discovered(self, crds: Collection[str]) -> None:
        for crd, assets in self._missing.items():
            if crd in crds:
                self._notices.tell(
                    Reason.CRD_DISCOVERED,
                    f"the CRD {crd} is there, for {_joined(assets)}",
                    what=crd,
                )


def _kind_of(crd: str, asset: Asset) -> GroupVersionKind:
    """Name the kind that is missing: the asset's own, or the one that gates it."""
    if crd == asset.required_crd:
        return asset.kind
    plural, _, group = crd.partition(".")
    return GroupVersionKind(group, "", plural)


def _joined(names: Iterable[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last
