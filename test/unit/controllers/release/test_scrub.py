"""Secrets in texts that people see."""

from __future__ import annotations

import json
from base64 import b64encode

import pytest

from controllers.release.scrub import scrub, secret_texts

SECRET = 'line "one"\n\tline two: ä'


@pytest.mark.parametrize(
    "text",
    [
        SECRET,
        json.dumps(SECRET),
        json.dumps(SECRET, ensure_ascii=False),
        'line "one"',
        "line two: ä",
        b64encode(SECRET.encode()).decode(),
    ],
)
def test_a_secret_is_found_however_it_is_written(text: str) -> None:
    cleaned = scrub(f"at '/a': {text} is wrong", secret_texts({"a": [SECRET]}))

    assert "one" not in cleaned
    assert "two" not in cleaned
    assert text not in cleaned
    assert cleaned.startswith("at '/a': ")


def test_the_longest_secret_goes_first() -> None:
    assert scrub("abcd-efgh abcd", secret_texts(["abcd", "abcd-efgh"])) == "… …"


def test_numbers_and_bytes_are_secrets_and_short_words_are_not() -> None:
    found = secret_texts({"pin": 12345678, "on": True, "port": 80, "v": "v1"}, b"bytes")

    assert {"12345678", "bytes"} <= found
    assert not found & {"true", "80", "v1"}
