"""Which events matter: event → bool, combined with `&`, `|` and `~`.

    wanted = generation_changed() | annotation_changed()
    wanted &= ~by_object(lambda o: o.meta.namespace == "kube-system")

A predicate is asked before the handler of its source. It sees metadata alone, never
the body, and must be quick: it runs for every event of a kind. The `*_changed` ones
judge updates and let everything else pass. Names and answers are those of
controller-runtime (`pkg/predicate`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import assert_never

from controller_runtime.event import Created, Deleted, Event, Generic, Updated
from controller_runtime.meta import Meta, RawObject
from controller_runtime.selectors import LabelSelector


class Predicate:
    """A question about an event."""

    __slots__ = ("_admits",)

    def __init__(self, admits: Callable[[Event], bool]) -> None:
        self._admits = admits

    def __call__(self, event: Event) -> bool:
        """Return whether the event matters."""
        return self._admits(event)

    def __and__(self, other: Predicate) -> Predicate:
        return Predicate(lambda event: self(event) and other(event))

    def __or__(self, other: Predicate) -> Predicate:
        return Predicate(lambda event: self(event) or other(event))

    def __invert__(self) -> Predicate:
        return Predicate(lambda event: not self(event))


def for_event(
    *,
    created: Callable[[Created], bool] | None = None,
    updated: Callable[[Updated], bool] | None = None,
    deleted: Callable[[Deleted], bool] | None = None,
    generic: Callable[[Generic], bool] | None = None,
) -> Predicate:
    """Ask another function for each kind of event; without one, the event matters."""

    def admits(event: Event) -> bool:
        match event:
            case Created():
                return created is None or created(event)
            case Updated():
                return updated is None or updated(event)
            case Deleted():
                return deleted is None or deleted(event)
            case Generic():
                return generic is None or generic(event)
        assert_never(event)

    return Predicate(admits)


def by_object(admits: Callable[[RawObject], bool]) -> Predicate:
    """Ask about the object, of an update about its new version."""
    return Predicate(lambda event: admits(event.object))


def label_selector(selector: LabelSelector | str) -> Predicate:
    """Admit objects whose labels match; of an update, those of the new version.

    An object that stops matching is thus not heard of again. To learn that it left,
    select on the server, where leaving is a deletion.

    Raises:
        SelectorError: The text is no selector.
    """
    if isinstance(selector, str):
        selector = LabelSelector.parse(selector)
    matches = selector.matches
    return by_object(lambda obj: matches(obj.meta.labels))


def generation_changed() -> Predicate:
    """Admit updates that changed the spec, as the server counts it.

    Kinds without a generation, such as ConfigMap, are never admitted. Of some
    built-in kinds, such as Deployment, annotations count as well.
    """
    return _changed(lambda meta: meta.generation)


def resource_version_changed() -> Predicate:
    """Admit updates that changed anything; that leaves out reminders."""
    return _changed(lambda meta: meta.resource_version)


def annotation_changed() -> Predicate:
    """Admit updates that changed an annotation."""
    return _changed(lambda meta: meta.annotations)


def label_changed() -> Predicate:
    """Admit updates that changed a label."""
    return _changed(lambda meta: meta.labels)


def _changed(part: Callable[[Meta], object]) -> Predicate:
    def updated(event: Updated) -> bool:
        old, new = event.old.meta, event.object.meta
        # Another uid is another object, which may look the same in this part.
        return part(old) != part(new) or old.uid != new.uid

    return for_event(updated=updated)
