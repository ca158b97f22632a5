"""Hashes over every content."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from controllers.reload.sources.digest import config_map_digest, secret_digest
from controllers.reload.sources.keys import KeyScope

KEYS = st.text("ab.=;-", min_size=1, max_size=4)
"""Characters that matter to the layout of what is hashed, `=` and `;` above all."""

CONTENTS = st.dictionaries(KEYS, st.binary(max_size=4) | st.just(b"1;b=2"), max_size=4)


@given(st.data(), CONTENTS)
def test_the_order_of_keys_does_not_matter(
    data: st.DataObject, content: dict[str, bytes]
) -> None:
    shuffled = dict(data.draw(st.permutations(list(content.items()))))

    assert secret_digest(shuffled) == secret_digest(content)


@given(CONTENTS, CONTENTS)
def test_contents_share_a_canonical_hash_only_if_they_are_equal(
    one: dict[str, bytes], other: dict[str, bytes]
) -> None:
    is_same = secret_digest(one).canonical == secret_digest(other).canonical

    assert is_same == (one == other)


@given(st.dictionaries(KEYS, st.text(max_size=4), max_size=4), CONTENTS)
def test_a_key_that_moves_to_the_other_section_changes_the_canonical_hash(
    text: dict[str, str], binary: dict[str, bytes]
) -> None:
    as_bytes = {key: value.encode() for key, value in text.items()}

    apart = config_map_digest(text, binary)
    together = config_map_digest({}, binary | as_bytes)

    if text:
        assert apart.canonical != together.canonical
    else:
        assert apart == together


NAMES = st.frozensets(KEYS, max_size=4)
SCOPES = st.builds(KeyScope, st.none() | NAMES, NAMES)


def part(content: dict[str, bytes], scope: KeyScope) -> dict[str, bytes]:
    """Return what is in scope, as the words say it."""
    return {
        key: value
        for key, value in content.items()
        if (scope.only is None or key in scope.only) and key not in scope.ignored
    }


@given(CONTENTS, CONTENTS, SCOPES)
def test_within_a_scope_contents_are_equal_if_what_is_in_scope_is(
    one: dict[str, bytes], other: dict[str, bytes], scope: KeyScope
) -> None:
    hashes = [secret_digest(it).within(scope).recorded for it in (one, other)]

    assert (hashes[0] == hashes[1]) == (part(one, scope) == part(other, scope))


@given(CONTENTS, SCOPES, SCOPES)
def test_a_joined_scope_has_what_is_in_either(
    content: dict[str, bytes], one: KeyScope, other: KeyScope
) -> None:
    joined = one.joined(other)

    assert part(content, joined) == part(content, one) | part(content, other)


@given(SCOPES, SCOPES)
def test_scopes_of_one_tag_have_the_same_keys(one: KeyScope, other: KeyScope) -> None:
    every = dict.fromkeys(one.ignored | other.ignored | {"a", "b"}, b"")
    every |= dict.fromkeys((one.only or frozenset()) | (other.only or frozenset()), b"")

    if one.tag == other.tag:
        assert part(every, one) == part(every, other)


@given(CONTENTS, CONTENTS, SCOPES, SCOPES)
def test_a_record_of_the_same_scope_is_believed_only_of_the_same_part(
    before: dict[str, bytes],
    now: dict[str, bytes],
    one: KeyScope,
    other: KeyScope,
) -> None:
    """Of another scope it is believed, but not if it was of all, and that differs."""
    recorded = secret_digest(before).within(one).recorded
    is_believed = secret_digest(now).within(other).is_recorded(recorded)

    if one.tag == other.tag or one.is_whole:
        assert is_believed == (part(before, one) == part(now, one))
    else:
        assert is_believed
