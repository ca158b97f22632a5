"""Watches that come and go with the kinds that a catalogue needs, in one process.

    always    CRDs (names, versions), Nodes (facts), Namespaces (metadata)
    follow    the source object, objects that templates asked about, and each managed
              kind that is wanted and served; the last with our label only

A kind is followed from the moment that somebody needs it, and let go of when its CRD
is deleted or nobody needs it any more. Letting go of the last source of an informer
ends its watch, so nothing here outlives its CRD.

An object that lost our label leaves the label-selected view: its deletion there queues
the asset, which then finds it with a read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import timedelta
from typing import NamedTuple, Protocol, TypeAlias

from controller_runtime import (
    CacheView,
    Controller,
    DecodeError,
    Event,
    GroupVersionKind,
    Informer,
    Json,
    KindSource,
    Manager,
    NamespacedName,
    RawObject,
    ReflectorOptions,
    SyncTimeoutError,
    Updated,
    Watching,
    annotation_changed,
    by_object,
    generation_changed,
    label_changed,
    mapped,
)
from controllers.autopilot.kinds import (
    NAMESPACE,
    NODE,
    CrdInfo,
    keep_facts_of_node,
    keep_names_of_crd,
    read_crd,
)
from controllers.autopilot.loader import guess_crd
from controllers.autopilot.lookups import CRD, Lookup

Key: TypeAlias = str
"""What is worked on: an asset by its name, or the sweep by an empty one."""

SWEEP: Key = ""


class _Followed(NamedTuple):
    gvk: GroupVersionKind
    options: ReflectorOptions


class _Open(NamedTuple):
    watching: Watching
    informer: Informer


class Concern(Protocol):
    """Knows what to work on when something happens."""

    def owners(self, gvk: GroupVersionKind, entry: RawObject, /) -> Iterable[Key]:
        """Return the assets that a managed object belongs to."""
        ...

    def in_namespace(self, namespace: str, /) -> Iterable[Key]:
        """Return the assets whose object is in a namespace."""
        ...


class _NoConcern:
    def owners(self, gvk: GroupVersionKind, entry: RawObject, /) -> Iterable[Key]:
        del gvk, entry
        return ()

    def in_namespace(self, namespace: str, /) -> Iterable[Key]:
        del namespace
        return ()


_HAS_GENERATION = by_object(lambda obj: obj.meta.generation > 0)


class Watches:
    """All watches of the controller, and what they keep.

    Args:
        manager: Has the cache.
        label_selector: Finds the objects that are ours.
        timeout: Longest that a first list may take.
        node_delay: Between a change of a Node and the sweep, for all that follow it.
    """

    def __init__(
        self,
        manager: Manager,
        *,
        label_selector: str,
        timeout: timedelta,
        node_delay: timedelta,
    ) -> None:
        self._manager = manager
        self._concern: Concern = _NoConcern()
        self._timeout = timeout
        self._managed = ReflectorOptions(label_selector=label_selector)
        self._controller: Controller[Key] | None = None
        self._open: dict[_Followed, _Open] = {}
        cache = manager.cache
        crds = cache.view(ReflectorOptions(transform=keep_names_of_crd))
        nodes = cache.view(ReflectorOptions(transform=keep_facts_of_node))
        spaces = cache.view(ReflectorOptions(metadata_only=True))
        self._crds = crds.declare(CRD)
        self._nodes = nodes.declare(NODE)
        self._namespaces = spaces.declare(NAMESPACE)
        self._crds_read: dict[tuple[str, str], CrdInfo] = {}
        self.always = (
            KindSource(crds, CRD, mapped(_sweep), [_is_news]),
            KindSource(nodes, NODE, mapped(_sweep), [_is_news], delay=node_delay),
            KindSource(spaces, NAMESPACE, mapped(self._of_namespace)),
        )
        """Sources that the controller has from the start."""

    def attach(self, controller: Controller[Key], concern: Concern) -> None:
        """Let this controller have the sources that come later.

        Args:
            controller: Is to work on what they bring up.
            concern: Knows what to work on.
        """
        self._controller = controller
        self._concern = concern

    def crds(self) -> Mapping[str, CrdInfo]:
        """Return the CRDs that there are, by name."""
        read: dict[tuple[str, str], CrdInfo] = {}
        for entry in self._crds.list():
            version = (entry.meta.name, entry.meta.resource_version)
            read[version] = self._crds_read.get(version) or read_crd(entry)
        self._crds_read = read
        return {name: crd for (name, _), crd in read.items()}

    def serves(self, gvk: GroupVersionKind) -> bool:
        """Whether a kind is there, as far as CRDs say; built-in ones are."""
        if not guess_crd(gvk):
            return True
        return any(crd.serves(gvk) for crd in self.crds().values())

    def nodes(self) -> Iterator[RawObject]:
        """Yield the Nodes, cut down."""
        return self._nodes.list()

    def has_namespace(self, name: str) -> bool:
        """Whether there is such a namespace, and it is not about to go."""
        found = self._namespaces.get(NamespacedName("", name))
        return found is not None and not found.meta.deletion_timestamp

    async def managed(self, gvk: GroupVersionKind, key: NamespacedName) -> Json | None:
        """Return an object of ours from the cache, following its kind from now on.

        Raises:
            SyncTimeoutError: The kind could not be listed in time.
            ApiError: It may not be listed.
            NoKindMatchError: It is not served.
        """
        followed = _Followed(gvk, self._managed)
        if followed not in self._open:
            await self._follow(followed, self._of_managed(gvk), _is_spec_news)
        return _parsed(gvk, self._open[followed].informer.get(key))

    async def single(
        self, lookup: Lookup, *, minds_status: bool = True
    ) -> tuple[Json, ...]:
        """Return what a lookup finds, following it from now on.

        Args:
            lookup: What is looked for.
            minds_status: Sweep when its status changes as well.

        Raises:
            SyncTimeoutError: It could not be listed in time.
            ApiError: It may not be listed.
            NoKindMatchError: The kind is not served.
        """
        followed = _Followed(lookup.kind, _options(lookup))
        if followed not in self._open:
            news = _is_news if minds_status else _is_spec_news
            await self._follow(followed, _sweep, news)
        entries = self._open[followed].informer.list()
        ordered = sorted(entries, key=lambda entry: entry.key)
        found = (_parsed(lookup.kind, entry) for entry in ordered)
        return tuple(filter(None, found))

    def keep_only(
        self,
        *,
        kinds: Iterable[GroupVersionKind],
        lookups: Iterable[Lookup],
    ) -> None:
        """Let go of every kind and lookup that is not among these."""
        wanted = {_Followed(gvk, self._managed) for gvk in kinds}
        wanted |= {_Followed(it.kind, _options(it)) for it in lookups}
        for followed in self._open.keys() - wanted:
            self._let_go(followed)

    def forget(self, gvk: GroupVersionKind) -> None:
        """Let go of a kind that is served no more, and of what was known of it."""
        for followed in tuple(self._open):
            if followed.gvk == gvk:
                self._let_go(followed)
        self._manager.discovery.forget(gvk)

    @property
    def followed(self) -> frozenset[GroupVersionKind]:
        """The kinds that are followed now."""
        return frozenset(followed.gvk for followed in self._open)

    async def _follow(
        self,
        followed: _Followed,
        keys: Callable[[RawObject], Iterable[Key]],
        is_news: Callable[[Event], bool],
    ) -> None:
        assert self._controller is not None  # noqa: S101 - attached before it runs
        gvk, options = followed
        view = CacheView(self._manager.cache, options)
        self._manager.discovery.forget(gvk)  # it may have been missed a moment ago
        await self._manager.discovery.resource(gvk)
        source = KindSource(view, gvk, mapped(keys), [is_news])
        seconds = self._timeout.total_seconds()
        try:
            watching = await self._controller.watch(source, timeout=seconds)
        except SyncTimeoutError as error:
            raise SyncTimeoutError(
                f"{gvk} was not listed within {seconds:g} s; is its conversion webhook "
                "or API service well?"
            ) from error
        self._open[followed] = _Open(watching, await view.informer(gvk))

    def _let_go(self, followed: _Followed) -> None:
        self._open.pop(followed).watching.stop()

    def _of_managed(
        self, gvk: GroupVersionKind
    ) -> Callable[[RawObject], Iterable[Key]]:
        return lambda entry: self._concern.owners(gvk, entry)

    def _of_namespace(self, entry: RawObject) -> Iterable[Key]:
        return self._concern.in_namespace(entry.meta.name)


def _sweep(_: RawObject) -> Iterable[Key]:
    return (SWEEP,)


def _is_news(event: Event) -> bool:
    """Tell whether what is kept of an object has changed, but for its version."""
    if not isinstance(event, Updated) or event.is_resync:
        return True
    before, after = _content(event.old), _content(event.object)
    return before is None or before != after


def _is_spec_news(event: Event) -> bool:
    """Tell whether more of an object has changed than its status.

    Kinds without generations, such as ConfigMaps, have no status to speak of.
    """
    changed = generation_changed() | annotation_changed() | label_changed()
    return changed(event) or not _HAS_GENERATION(event)


def _content(entry: RawObject) -> Json | None:
    try:
        content = entry.parse()
    except DecodeError:
        return None  # who reads it will tell
    for name in ("resourceVersion", "managedFields"):
        content["metadata"].pop(name, None)
    return content


def _parsed(gvk: GroupVersionKind, entry: RawObject | None) -> Json | None:
    if entry is None:
        return None
    # Items of a list do not say what they are.
    return {"apiVersion": gvk.api_version, "kind": gvk.kind, **entry.parse()}


def _options(lookup: Lookup) -> ReflectorOptions:
    return ReflectorOptions(
        namespace=lookup.namespace,
        field_selector=f"metadata.name={lookup.name}" if lookup.name else "",
    )
