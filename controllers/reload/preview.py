"""`/preview`: what would reload now and why, from the cache alone, as JSON.

    ?ns=shop&kind=Deployment&name=web   one workload: each source, and the rule
    ?ns=shop&kind=Secret&name=db        a source: the workloads that it concerns
    ?ns=shop&kind=Deployment            all of a kind; without `kind`, of all kinds
                             &limit=20  so many workloads, by name; 100 by default

No request is made, nothing is written, and nothing is told of what a source holds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import islice

import msgspec

from controller_runtime import Json, Query, Reply
from controllers.reload.explain import Explanation, Reason, Seen, explain
from controllers.reload.gates import Gates
from controllers.reload.happenings import Happened
from controllers.reload.observe import Observer
from controllers.reload.options import ReloadOptions
from controllers.reload.rollout import problems
from controllers.reload.sources import Source, SourceKey, SourceKind
from controllers.reload.status.traces import source_name, workload_name
from controllers.reload.workloads import Workload, WorkloadKey

_SHOWN = 100
"""Workloads, and sources of each, unless `limit` says otherwise."""

_MOST = 500
"""Workloads, whatever `limit` says: the loop stands still meanwhile."""

_USAGE = (
    "say which: /preview?ns=shop&kind=Deployment&name=web; kind may be that of a "
    "source or missing, name may be missing"
)

_SOURCES = {kind.model.gvk.kind.lower(): kind for kind in SourceKind} | {
    "secretproviderclass": SourceKind.SECRET_PROVIDER_CLASS
}


class Preview:
    """Answers `/preview`."""

    def __init__(
        self,
        observer: Observer,
        gates: Gates,
        happened: Callable[[Workload, Sequence[Source]], Happened],
        options: ReloadOptions,
        *,
        seen: Callable[[Workload], Workload] = lambda workload: workload,
    ) -> None:
        """Describe where to look.

        Args:
            observer: Has workloads and sources.
            gates: Where reloads wait.
            happened: Says what a look would take into account besides.
            options: What the flags say.
            seen: Returns a workload as a look compares it.
        """
        self._observer = observer
        self._as_seen = seen
        self._gates = gates
        self._happened = happened
        self._is_dry = options.dry_run
        keys = options.keys
        autos = {keys.auto, keys.configmap_auto, keys.secret_auto, keys.spc_auto}
        self._autos = frozenset(autos)

    async def answer(self, path: str, query: Query) -> Reply:
        """Answer a GET; a route of an `HttpServer`."""
        place, kind, name = (_one(query, key) for key in ("ns", "kind", "name"))
        if path or not place or (name and not kind):
            return _reply({"error": _USAGE}, 404 if path else 400)
        if (limit := _limit(_one(query, "limit"))) is None:
            return _reply({"error": f"limit is no number from 1 to {_MOST}"}, 400)
        if (source := _SOURCES.get(kind.lower())) is not None and name:
            return _reply(self.of_source(SourceKey(source, place, name), limit))
        kinds = {it.lower(): it for it in self._observer.workload_kinds}
        if kind and kind.lower() not in kinds:
            known = ", ".join(sorted(kinds.values()))
            return _reply({"error": f"{kind} is not looked at: {known} are"}, 404)
        if not name:
            wanted = [kinds[kind.lower()]] if kind else list(kinds.values())
            keys = [k for one in wanted for k in self._observer.names(one, place)]
            left = max(len(keys) - limit, 0)
            return _reply({"workloads": self._all(keys, limit), "left": left})
        key = WorkloadKey(kinds[kind.lower()], place, name)
        if not self._observer.is_there(key):
            text = f"{workload_name(key)} is not in the cache"
            return _reply({"error": text}, 404)
        return _reply(self.of_workload(key, limit))

    def of_source(self, source: SourceKey, limit: int = _SHOWN) -> Json:
        """Tell which workloads a source concerns, and what would become of them."""
        keys = sorted(set(self._observer.affected(source)))
        return {
            "source": source_name(source),
            "isThere": self._observer.supply.source(source) is not None,
            "workloads": self._all(keys, limit, only=source),
            "left": max(len(keys) - limit, 0),
        }

    def of_workload(
        self, key: WorkloadKey, limit: int = _SHOWN, *, only: SourceKey | None = None
    ) -> Json:
        """Tell what would become of a workload, and why.

        Args:
            key: Which.
            limit: How many sources are told of at most.
            only: The only source that is told of.
        """
        said: Json = {"workload": workload_name(key), "wouldReload": False}
        if not self._observer.places.is_ours(key.namespace):
            return said | {"reason": "its namespace is not selected"}
        workload = self._observer.workload(key)
        if workload is None:
            text = "it is being read: ask again"
            if not self._observer.is_awaited(key):
                text = "it has no annotation of ours, and no ReloaderConfig claims it"
            return said | {"reason": text}
        # Of a dry run it is asked what would become of workloads as they are now.
        if not self._is_dry or self._gates.waiting(key) is not None:
            workload = self._as_seen(workload)
        policy = self._observer.policy(workload)
        found = list(self._observer.supply.sources(workload, policy))
        seen = self._seen(workload, found)
        explained = explain(workload, policy, seen, self._happened(workload, found))
        reasons = [it for it in explained.reasons if only in {None, it.source}]
        said |= self._verdict(key, explained)
        if policy.asks:
            said["strategy"] = policy.strategy.value
        said["sources"] = [_about(reason) for reason in reasons[:limit]]
        said["left"] = max(len(reasons) - limit, 0)
        said["problems"] = [
            f"{problem.annotation}: {problem.reason}"
            for problem in problems(workload, policy)
        ]
        return said

    def _verdict(self, key: WorkloadKey, explained: Explanation) -> Json:
        waiting = self._gates.waiting(key) if explained.would_reload else None
        verdict: Json = {"wouldReload": explained.would_reload}
        if waiting is not None:
            verdict["waits"] = waiting.hold.text
            verdict["waitsFor"] = waiting.hold.reason.value
        if self._is_dry:
            verdict["dryRun"] = True
        return verdict

    def _seen(self, workload: Workload, found: Iterable[Source]) -> Seen:
        observer, supply = self._observer, self._observer.supply
        asked = {*supply.uses(workload), *observer.listed(workload)}
        sources = {
            key: source for key in asked if (source := supply.source(key)) is not None
        }
        return Seen(
            sources | {source.key: source for source in found},
            asked,
            frozenset(supply.kinds),
            self._autos,
        )

    def _all(
        self,
        keys: Iterable[WorkloadKey],
        limit: int,
        *,
        only: SourceKey | None = None,
    ) -> list[Json]:
        chosen = islice(sorted(keys), limit)
        return [self.of_workload(key, _SHOWN, only=only) for key in chosen]


def _about(reason: Reason) -> Json:
    said: Json = {
        "source": source_name(reason.source),
        "rule": reason.rule.value,
        "because": reason.text,
    }
    if reason.state:
        said["state"] = reason.state.value
    if reason.configs:
        said["configs"] = list(reason.configs)
    return said


def _one(query: Query, name: str) -> str:
    values = query.get(name) or [""]
    return values[-1]


def _limit(text: str) -> int | None:
    """Read how many; `None` if that is none."""
    number = int(text[:9]) if text.isdecimal() else 0 if text else _SHOWN
    return min(number, _MOST) or None


def _reply(content: Json, status: int = 200) -> Reply:
    body = msgspec.json.format(msgspec.json.encode(content), indent=2)
    return Reply(body + b"\n", status, "application/json")
