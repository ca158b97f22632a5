"""Which events each predicate lets pass."""

from __future__ import annotations

import pytest

from controller_runtime.event import Created, Deleted, Event, Generic, Updated
from controller_runtime.meta import Meta, RawObject
from controller_runtime.predicate import (
    Predicate,
    annotation_changed,
    by_object,
    for_event,
    generation_changed,
    label_changed,
    label_selector,
    resource_version_changed,
)
from controller_runtime.selectors import LabelSelector, SelectorError

ALWAYS = Predicate(lambda event: True)
NEVER = Predicate(lambda event: False)


def obj(
    *,
    uid: str = "u",
    resource_version: str = "1",
    generation: int = 1,
    labels: dict[str, str] | None = None,
    annotations: dict[str, str] | None = None,
) -> RawObject:
    meta = Meta(
        name="web",
        uid=uid,
        resource_version=resource_version,
        generation=generation,
        labels=labels or {},
        annotations=annotations or {},
    )
    return RawObject(meta, b"{}")


OLD = obj()
CREATED, DELETED, GENERIC = Created(OLD), Deleted(OLD), Generic(OLD)
NOT_UPDATES: list[Event] = [CREATED, DELETED, GENERIC]

CHANGES = {
    "resource version": obj(resource_version="2"),
    "generation": obj(generation=2),
    "labels": obj(labels={"a": "b"}),
    "annotations": obj(annotations={"a": "b"}),
}


@pytest.mark.parametrize(
    ("predicate", "part"),
    [
        pytest.param(resource_version_changed(), "resource version", id="version"),
        pytest.param(generation_changed(), "generation", id="generation"),
        pytest.param(label_changed(), "labels", id="labels"),
        pytest.param(annotation_changed(), "annotations", id="annotations"),
    ],
)
def test_a_change_of_its_part_alone_is_what_a_predicate_admits(
    predicate: Predicate, part: str
) -> None:
    admitted = {name for name, new in CHANGES.items() if predicate(Updated(OLD, new))}

    assert admitted == {part}
    assert not predicate(Updated(OLD, OLD))
    assert all(map(predicate, NOT_UPDATES)), "only updates are judged"


@pytest.mark.parametrize(
    "predicate",
    [
        resource_version_changed(),
        generation_changed(),
        label_changed(),
        annotation_changed(),
    ],
)
def test_an_object_that_was_made_anew_between_two_looks_has_changed(
    predicate: Predicate,
) -> None:
    assert predicate(Updated(OLD, obj(uid="another")))


def test_a_filter_is_asked_about_the_new_version_of_an_update() -> None:
    new = obj(resource_version="2")
    is_new = by_object(lambda o: o is new)

    assert is_new(Updated(OLD, new))
    assert not is_new(Updated(new, OLD))
    assert is_new(Created(new))
    assert is_new(Deleted(new))
    assert is_new(Generic(new))
    assert not any(map(is_new, NOT_UPDATES))


@pytest.mark.parametrize("selector", ["a=b", LabelSelector.parse("a=b")])
def test_a_selector_admits_objects_by_their_present_labels(
    selector: str | LabelSelector,
) -> None:
    predicate = label_selector(selector)
    member = obj(labels={"a": "b"})

    assert predicate(Created(member))
    assert not predicate(Created(OLD))
    assert predicate(Updated(OLD, member))
    assert not predicate(Updated(member, OLD))


def test_a_selector_that_cannot_be_read_is_an_error_from_the_start() -> None:
    with pytest.raises(SelectorError):
        label_selector("a=b=c")


def test_an_event_without_a_function_of_its_own_is_admitted() -> None:
    predicate = for_event()

    assert all(map(predicate, [*NOT_UPDATES, Updated(OLD, OLD)]))


def test_each_kind_of_event_is_asked_about_with_its_own_function() -> None:
    asked: list[Event] = []

    def deny(event: Event) -> bool:
        asked.append(event)
        return False

    updated = Updated(OLD, OLD)
    cases: list[tuple[Predicate, Event]] = [
        (for_event(created=deny), CREATED),
        (for_event(updated=deny), updated),
        (for_event(deleted=deny), DELETED),
        (for_event(generic=deny), GENERIC),
    ]

    for predicate, event in cases:
        others = [e for e in [*NOT_UPDATES, updated] if e is not event]
        assert not predicate(event)
        assert all(map(predicate, others))
    assert [id(event) for event in asked] == [id(event) for _, event in cases]


@pytest.mark.parametrize(
    ("predicate", "admits"),
    [
        (ALWAYS & ALWAYS, True),
        (ALWAYS & NEVER, False),
        (NEVER & ALWAYS, False),
        (NEVER | NEVER, False),
        (ALWAYS | NEVER, True),
        (NEVER | ALWAYS, True),
        (~ALWAYS, False),
        (~NEVER, True),
        (~(ALWAYS & NEVER) & ALWAYS, True),
    ],
)
def test_predicates_combine_like_the_words_and_or_not(
    predicate: Predicate, admits: bool
) -> None:
    assert predicate(CREATED) is admits


def test_the_second_of_two_is_asked_only_if_it_matters() -> None:
    def fail(event: Event) -> bool:
        raise AssertionError("asked without need")

    assert not (NEVER & Predicate(fail))(CREATED)
    assert (ALWAYS | Predicate(fail))(CREATED)
