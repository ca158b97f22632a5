"""What makes two contents the same, and what the original Reloader makes of them."""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha1

import pytest

from controllers.reload.sources.digest import config_map_digest, secret_digest

EMPTY = "da39a3ee5e6b4b0d3255bfef95601890afd80709"


def sha1_of(content: bytes) -> str:
    return sha1(content, usedforsecurity=False).hexdigest()


def test_nothing_has_the_marker_of_the_empty_string() -> None:
    assert config_map_digest({}, {}).marker == EMPTY
    assert secret_digest({}).marker == EMPTY


def test_the_marker_hash_is_the_original_s_hash() -> None:
    # Published by the original: the SHA-1 of this text.
    assert sha1_of(b"www.stakater.com") == "abd4ed82fb04548388a6cf3c339fd9dc84d275df"

    digest = config_map_digest({"test.url": "www.stakater.com"}, {})

    assert digest.marker == sha1_of(b"test.url=www.stakater.com")


@pytest.mark.parametrize(
    ("data", "binary_data", "text"),
    [
        pytest.param({"k": "v"}, {}, b"k=v", id="one key"),
        pytest.param({"b": "2", "a": "1"}, {}, b"a=1;b=2", id="sorted, joined"),
        # `=` sorts after `-`, so the lines are not in the order of the keys.
        pytest.param({"a": "1", "a-b": "2"}, {}, b"a-b=2;a=1", id="by line, not key"),
        pytest.param({}, {"z": b"\x00\xff"}, b"z=AP8=", id="bytes as base64"),
        pytest.param({"m": "t"}, {"a": b"x"}, b"a=eA==;m=t", id="text and bytes"),
        pytest.param({"u": "ü"}, {}, "u=ü".encode(), id="text beyond ASCII"),
        pytest.param({"e": ""}, {}, b"e=", id="an empty value"),
    ],
)
def test_the_marker_of_a_config_map_is_made_of_sorted_lines(
    data: dict[str, str], binary_data: dict[str, bytes], text: bytes
) -> None:
    assert config_map_digest(data, binary_data).marker == sha1_of(text)


def test_the_marker_of_a_secret_is_made_of_its_raw_bytes() -> None:
    assert secret_digest({"k": b"\xff\x00", "a": b"1"}).marker == sha1_of(
        b"a=1;k=\xff\x00"
    )


def test_contents_that_share_a_marker_differ_canonically() -> None:
    joined = secret_digest({"a": b"1;b=2"})
    split = secret_digest({"a": b"1", "b": b"2"})

    assert joined.marker == split.marker
    assert joined.recorded != split.recorded
    assert joined.other_marker != split.other_marker


def test_text_and_bytes_of_one_key_differ_even_if_they_look_alike() -> None:
    as_text = config_map_digest({"k": b64encode(b"v").decode()}, {})
    as_bytes = config_map_digest({}, {"k": b"v"})

    assert as_text.marker == as_bytes.marker
    assert as_text.recorded != as_bytes.recorded


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param({"a": b"1"}, {"a": b"1", "b": b""}, id="an empty key is added"),
        pytest.param({"a": b"1"}, {}, id="the last key goes"),
        pytest.param({"a": b"1"}, {"b": b"1"}, id="a key is renamed"),
        pytest.param({"ab": b"c"}, {"a": b"bc"}, id="a byte changes sides"),
    ],
)
def test_a_change_of_content_is_a_change_of_the_canonical_hash(
    one: dict[str, bytes], other: dict[str, bytes]
) -> None:
    assert secret_digest(one).recorded != secret_digest(other).recorded


def test_the_canonical_hash_stays_what_records_in_clusters_have() -> None:
    # A change here reloads every workload of every user once.
    digest = config_map_digest({"k": "v"}, {"b": b"\x00"})

    assert digest.recorded == "0840b5081910a01c3e16"
    assert secret_digest({}).recorded == "e3b0c44298fc1c149afb"


def test_hashes_have_the_lengths_that_markers_and_records_have() -> None:
    digest = secret_digest({"k": b"v"})

    assert len(digest.marker) == len(digest.other_marker) == 40
    assert len(digest.recorded) == 20
    assert digest.canonical.startswith(digest.recorded)
