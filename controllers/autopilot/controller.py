"""The sweep over a catalogue, and the assets that it queues.

    source, CRDs, Nodes, inputs ──event──▶ SWEEP ─┬─ tombstones
                                                  ├─ the source object's own asset
                                                  ├─ context, verdicts ──▶ Plan
                                                  └─ every asset that applies, in order
    managed object, namespace ──event──▶ asset ◀──┘
                                           │ render, keep
                                           ▼
                                    Round: told when all have been tried

One worker: assets are applied in the order in which they are queued, and no sweep
changes the plan while one is worked on. An asset that fails is tried again by itself,
later with each failure, and holds up no other; a source asset that fails ends the
sweep, for what the others say may depend on it.

Nothing is asked of the server in a sweep that finds nothing changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

import structlog

from controller_runtime import (
    Controller,
    GroupVersionKind,
    Json,
    NamespacedName,
    RawObject,
    reference,
)
from controllers.autopilot.annotations import (
    AnnotationKeys,
    annotations_of,
    with_metadata,
)
from controllers.autopilot.apply import FAILURES, identify
from controllers.autopilot.assets import Asset, Catalog
from controllers.autopilot.bulletin import Bulletin
from controllers.autopilot.context import RenderContext
from controllers.autopilot.errors import RenderError
from controllers.autopilot.exclusion import Exclusions, read_exclusions
from controllers.autopilot.gates import Scope, Verdict, judge_all
from controllers.autopilot.gauges import AutopilotMetrics, Target
from controllers.autopilot.keeper import Keeper
from controllers.autopilot.lookups import Lookup
from controllers.autopilot.notices import Notices
from controllers.autopilot.options import AutopilotOptions
from controllers.autopilot.round import Round
from controllers.autopilot.scene import Scene
from controllers.autopilot.tombstones import Gravedigger
from controllers.autopilot.wanted import Became, Kept, Wanted
from controllers.autopilot.watches import SWEEP, Key, Watches

if TYPE_CHECKING:
    from controllers.autopilot.render import Rendered, Renderer

log = structlog.get_logger(__name__)


class Plan(NamedTuple):
    """What one sweep has decided."""

    context: RenderContext
    exclusions: Exclusions
    verdicts: Mapping[str, Verdict]
    """By asset, in the order in which they are applied."""
    source: GroupVersionKind
    """The version in which the source object is read."""

    def active(self, name: str) -> Asset | None:
        """Return an asset if it applies."""
        verdict = self.verdicts.get(name)
        return verdict.asset if verdict is not None and verdict.active else None


class _Place(NamedTuple):
    """Where the object of an asset is, as last rendered."""

    gvk: GroupVersionKind
    key: NamespacedName
    target: Target


class Autopilot:
    """Reconciles the sweep and the assets."""

    def __init__(
        self,
        options: AutopilotOptions,
        *,
        watches: Watches,
        scene: Scene,
        keeper: Keeper,
        gravedigger: Gravedigger,
        notices: Notices,
        metrics: AutopilotMetrics,
        now: Callable[[], float],
    ) -> None:
        self._options = options
        self._catalog: Catalog = options.catalog
        self._keys = AnnotationKeys(self._catalog.identity.domain)
        self._renderer: Renderer | None = None
        """Made with the first asset: Jinja takes megabytes, and idle clusters none."""
        self.watches = watches
        self._scene = scene
        self._keeper = keeper
        self._gravedigger = gravedigger
        self._notices = notices
        self._metrics = metrics
        self._bulletin = Bulletin(notices, metrics, self._catalog)
        self._now = now
        self._controller: Controller[Key] | None = None
        self._plan: Plan | None = None
        self._round = Round()
        self._rendered: dict[str, tuple[RenderContext, Rendered]] = {}
        self._places: dict[str, _Place] = {}
        self._remark = "has not looked yet"

    def attach(self, controller: Controller[Key]) -> None:
        """Queue assets at this controller, and watch through it."""
        self._controller = controller
        self.watches.attach(controller, self)

    def remark(self) -> str:
        """Say what keeps the controller from work, for `/readyz?verbose`."""
        return self._remark

    def owners(self, gvk: GroupVersionKind, entry: RawObject) -> Iterable[Key]:
        """Return the assets that a managed object belongs to."""
        return [
            name
            for name, place in self._places.items()
            if place.gvk == gvk and place.key == entry.key
        ]

    def in_namespace(self, namespace: str) -> Iterable[Key]:
        """Return the assets whose object is in a namespace."""
        return [
            name
            for name, place in self._places.items()
            if place.key.namespace == namespace
        ]

    async def reconcile(self, key: Key) -> timedelta | None:
        if key == SWEEP:
            return await self._sweep()
        return await self._asset(key)

    # The sweep

    async def _sweep(self) -> timedelta | None:
        fades = self._scene.look()
        self._forget_unserved()
        kind = self._catalog.source
        gvk = self._source_kind()
        if gvk is None:
            self._rest(f"waits for the CRD {kind.crd} ({' or '.join(kind.versions)})")
            return fades
        lookup = self._source_lookup(gvk)
        found = await self.watches.single(lookup, minds_status=False)
        if not found:
            self._rest(f"waits for {kind.kind} {lookup.namespace}/{lookup.name}", gvk)
            return fades
        (source,) = found
        self._notices.about(reference(gvk, source))
        scope = self._scope(source)
        if scope.is_idle:
            self._rest(f"is off: {self._keys.autopilot} is not set on {kind.kind}", gvk)
            return fades
        await self._gravedigger.bury(self._catalog.tombstones)
        plan, again = await self._applied_source(gvk, source, scope)
        self._begin(plan)
        return min(filter(None, (fades, again, self._gravedigger.again)), default=None)

    def _source_kind(self) -> GroupVersionKind | None:
        kind = self._catalog.source
        versions = (GroupVersionKind(kind.group, v, kind.kind) for v in kind.versions)
        return next(filter(self._scene.serves, versions), None)

    def _scope(self, source: Json) -> Scope:
        text = annotations_of(source).get(self._keys.autopilot)
        scope = Scope.parse(
            text, self._catalog, default_enabled=self._options.default_enabled
        )
        if scope.unknown:
            self._bulletin.unknown_names(scope.unknown)
        return scope

    async def _applied_source(
        self, gvk: GroupVersionKind, source: Json, scope: Scope
    ) -> tuple[Plan, timedelta | None]:
        """Apply what configures the source object, and plan with what that makes.

        Returns:
            The plan, and when to look again.
        """
        plan, again = await self._planned(gvk, source, scope), None
        for name, verdict in plan.verdicts.items():
            # One for another version of the source object is for another cluster.
            is_meant = verdict.asset.kind == gvk and verdict.asset.is_source_config
            if verdict.active and is_meant:
                kept = await self._keep(name, verdict.asset, plan)
                again = kept.again or again
                if kept.live is not None:
                    plan = await self._planned(gvk, kept.live, scope)
        return plan, again

    async def _planned(self, gvk: GroupVersionKind, source: Json, scope: Scope) -> Plan:
        context = await self._scene.context(source)
        exclusions = read_exclusions(
            annotations_of(source).get(self._keys.disabled_resources, "")
        )
        self._bulletin.bad_exclusions(exclusions.problems)
        verdicts = judge_all(self._catalog, context, scope)
        return Plan(context, exclusions, {v.asset.name: v for v in verdicts}, gvk)

    def _begin(self, plan: Plan) -> None:
        """Let go of what does not apply, and queue what does."""
        self._plan, self._remark = plan, ""
        self._bulletin.verdicts(plan.verdicts.values(), self._scene.crds)
        active = {name for name in plan.verdicts if plan.active(name)}
        for name in (self._places.keys() | self._rendered.keys()) - active:
            self._drop(name)
        self._follow(self._source_lookup(plan.source))
        names = [
            name
            for name, verdict in plan.verdicts.items()
            if verdict.active and not verdict.asset.is_source_config
        ]
        self._round.begin(names)
        for name in names:
            self._queue(name)
        if not names:
            self._bulletin.round(self._round.finished())

    def _queue(self, name: Key) -> None:
        assert self._controller is not None  # noqa: S101 - attached before it runs
        self._controller.queue.add(name, cause="sweep")

    def _rest(self, remark: str, gvk: GroupVersionKind | None = None) -> None:
        """Do nothing, and say why; objects that there are stay as they are."""
        if remark != self._remark:
            log.info("autopilot rests", why=remark)
        self._remark, self._plan = remark, None
        self._bulletin.rest()
        for name in self._places.keys() | self._rendered.keys():
            self._drop(name)
        self._follow(*([] if gvk is None else [self._source_lookup(gvk)]))

    def _drop(self, name: str) -> None:
        """Let go of an asset that is not wanted now, and of what it asked about."""
        self._rendered.pop(name, None)
        self._vacate(name)

    def _vacate(self, name: str) -> None:
        """Let go of the object of an asset; it stays as it is."""
        place = self._places.pop(name, None)
        if place is not None:
            self._keeper.forget(place.target)
            self._metrics.gone(place.target)

    def _forget_unserved(self) -> None:
        for gvk in self.watches.followed:
            if not self._scene.serves(gvk):
                log.info("kind is not served any more", kind=str(gvk))
                self.watches.forget(gvk)

    def _follow(self, *sources: Lookup) -> None:
        """Let go of watches that nothing needs any more."""
        inputs = {
            lookup
            for _, rendered in self._rendered.values()
            for lookup in rendered.inputs
        }
        self.watches.keep_only(
            kinds={place.gvk for place in self._places.values()},
            lookups=[*sources, *self._scene.followed(inputs)],
        )

    def _source_lookup(self, gvk: GroupVersionKind) -> Lookup:
        return Lookup(gvk, self._options.source_namespace, self._catalog.source.name)

    # One asset

    async def _asset(self, name: str) -> timedelta | None:
        plan = self._plan
        asset = plan.active(name) if plan is not None else None
        if plan is None or asset is None or asset.is_source_config:
            self._bulletin.round(self._round.settle(name))
            return None
        try:
            if not await self._is_asked_for(asset, plan):
                return None  # the sweep that the source object has queued will tell
            kept = await self._keep(name, asset, plan)
        except FAILURES as error:
            why = str(error) or type(error).__name__
            self._bulletin.round(self._round.settle(name, failure=why))
            raise
        is_applied = kept.became is Became.APPLIED
        self._bulletin.round(self._round.settle(name, applied=is_applied))
        return kept.again

    async def _is_asked_for(self, asset: Asset, plan: Plan) -> bool:
        """Look at the gate again: a plan may have been made many assets ago."""
        lookup = self._source_lookup(plan.source)
        found = await self.watches.single(lookup, minds_status=False)
        return any(self._scope(source).selects(asset) for source in found)

    async def _keep(self, name: str, asset: Asset, plan: Plan) -> Kept:
        rendered = await self._render(asset, plan)
        if rendered.object is None:
            self._vacate(name)
            return Kept(Became.EMPTY)
        wanted = self._wanted(asset, rendered.object)
        self._place(name, wanted)
        target = wanted.target
        if plan.exclusions.covers(target.kind, target.namespace, target.name):
            return self._keeper.exclude(wanted)
        began = self._now()
        try:
            return await self._keeper.keep(wanted)
        finally:
            self._metrics.took(target, self._now() - began)

    async def _render(self, asset: Asset, plan: Plan) -> Rendered:
        context, rendered = self._rendered.get(asset.name, (None, None))
        if rendered is not None and context is plan.context:
            return rendered
        try:
            rendered = await self._made_renderer().render(
                asset, plan.context, self._scene.answer
            )
        except RenderError as error:
            place = self._places.get(asset.name)
            self._bulletin.unrendered(asset, place.target if place else None, error)
            raise
        self._rendered[asset.name] = (plan.context, rendered)
        return rendered

    def _made_renderer(self) -> Renderer:
        from controllers.autopilot.render import Renderer  # noqa: PLC0415 - lazy

        if self._renderer is None:
            self._renderer = Renderer(self._catalog)
        return self._renderer

    def _wanted(self, asset: Asset, obj: Json) -> Wanted:
        gvk, key = identify(obj)
        kind, identity = self._catalog.source, self._catalog.identity
        is_source = (gvk.group, gvk.kind, key.name) == (
            kind.group,
            kind.kind,
            kind.name,
        )
        label = {identity.managed_by_label: identity.managed_by_value}
        baseline = with_metadata(obj, labels=label)
        return Wanted(asset, baseline, gvk, key, self._scene.epoch(gvk), is_source)

    def _place(self, name: str, wanted: Wanted) -> None:
        before = self._places.get(name)
        if before is not None and before.target != wanted.target:
            self._vacate(name)
        self._places[name] = _Place(wanted.gvk, wanted.key, wanted.target)
