"""Hashes over every content."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from controllers.reload.digest import config_map_digest, secret_digest

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
