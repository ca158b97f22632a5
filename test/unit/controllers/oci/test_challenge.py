"""Headers that say what a registry wants to see."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controllers.oci.challenge import Challenge, parse_challenges

BEARER = (
    'Bearer realm="https://auth.example/token",service="example",'
    'scope="repository:a/b:pull,push"'
)
PARAMETERS = {
    "realm": "https://auth.example/token",
    "service": "example",
    "scope": "repository:a/b:pull,push",
}


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([], []),
        ([BEARER], [("bearer", PARAMETERS)]),
        ([BEARER.replace("Bearer", "bEARER")], [("bearer", PARAMETERS)]),
        (['Basic realm="a, b"'], [("basic", {"realm": "a, b"})]),
        (
            [f'Basic realm="x", {BEARER}'],
            [("basic", {"realm": "x"}), ("bearer", PARAMETERS)],
        ),
        (
            [BEARER, 'Basic realm="x"'],
            [("bearer", PARAMETERS), ("basic", {"realm": "x"})],
        ),
        (
            ["Negotiate, Basic Realm = bare"],
            [("negotiate", {}), ("basic", {"realm": "bare"})],
        ),
        (
            ['Negotiate YWJj==, Bearer realm="r"'],
            [("negotiate", {}), ("bearer", {"realm": "r"})],
        ),
        ([r'Basic realm="say \"hi\""'], [("basic", {"realm": 'say "hi"'})]),
        (
            ['Bearer realm="r",error="invalid_token"'],
            [("bearer", {"realm": "r", "error": "invalid_token"})],
        ),
        ([", ,Basic"], [("basic", {})]),
        (['"nonsense'], []),
        (['Bearer realm="never closed'], [("bearer", {})]),
    ],
)
def test_challenges_are_read(
    headers: list[str], expected: list[tuple[str, dict[str, str]]]
) -> None:
    assert parse_challenges(headers) == [Challenge(*each) for each in expected]


@given(st.text(alphabet='Bearer"=,\\ \tx', max_size=60))
def test_any_header_is_read_to_an_end(header: str) -> None:
    assert isinstance(parse_challenges([header]), list)
