"""Laws of versions and constraints that hold whatever is written."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from controllers.versions import (
    Constraint,
    InvalidConstraintError,
    Version,
    parse_constraint,
    parse_tag,
    select,
)

number = st.integers(min_value=0, max_value=4)
prerelease = st.sampled_from(["", "", "-0", "-alpha", "-alpha.1", "-rc.2", "-rc.10"])
build = st.sampled_from(["", "", "", "_b1", "_b10"])
versions = st.builds(
    lambda a, b, c, pre, build: f"{a}.{b}.{c}{pre}{build}",
    number,
    number,
    number,
    prerelease,
    build,
)
bound = st.builds(
    lambda numbers, pre: ".".join(map(str, numbers)) + pre,
    st.lists(number, min_size=1, max_size=3),
    prerelease,
)
operator = st.sampled_from(["", "=", "!=", ">", "<", ">=", "<=", "~", "^"])
comparison = st.builds("{}{}".format, operator, bound)


def read(text: str) -> Version:
    version = parse_tag(text)
    assert version is not None
    return version


def allows(text: str, version: str) -> bool:
    # With pre-releases: without, groups differ by what they name.
    constraint = parse_constraint(text)
    return constraint.allows(read(version), include_prereleases=True)


@given(comparison, comparison, versions)
def test_a_comma_is_and_and_two_bars_are_or(
    left: str, right: str, version: str
) -> None:
    both = allows(left, version) and allows(right, version)
    either = allows(left, version) or allows(right, version)

    assert allows(f"{left}, {right}", version) == both
    assert allows(f"{left} {right}", version) == both
    assert allows(f"{left} || {right}", version) == either


@given(versions, versions)
def test_opposite_comparisons_never_agree(of: str, version: str) -> None:
    text = of.partition("_")[0]

    assert allows(f"={text}", version) is not allows(f"!={text}", version)
    assert allows(f">{text}", version) is not allows(f"<={text}", version)
    assert allows(f"<{text}", version) is not allows(f">={text}", version)


@given(versions)
def test_a_version_is_within_its_own_tilde_and_caret(version: str) -> None:
    plain = version.partition("_")[0]

    assert allows(f"~{plain}", version)
    assert allows(f"^{plain}", version)
    assert allows(f"={plain}", version)


@given(st.lists(versions, max_size=20), comparison, st.randoms(use_true_random=False))
def test_the_order_of_tags_does_not_matter(
    tags: list[str], text: str, shuffler: random.Random
) -> None:
    constraint = parse_constraint(text)
    chosen = select(tags, constraint)
    shuffler.shuffle(tags)

    assert select(tags, constraint) == chosen
    if chosen.version is not None:
        assert all(
            read(tag) <= chosen.version for tag in tags if constraint.allows(read(tag))
        )


@given(st.text(alphabet="0123456789.xX*v-+~^=<>!|, ab\t", max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        constraint = parse_constraint(text)
    except InvalidConstraintError:
        return

    assert isinstance(constraint, Constraint)
