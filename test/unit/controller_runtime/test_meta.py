"""Durations, quantities and numbers: read as such, written as they came."""

from __future__ import annotations

import copy
import pickle
from datetime import timedelta
from decimal import Decimal
from typing import Annotated

import pytest
from pydantic import Field, ValidationError

from controller_runtime import ApiModel, Duration, Number, Quantity


class Holder(ApiModel):
    span: Annotated[Duration, Field(ge=timedelta(seconds=1))] = Duration("1m")
    amount: Annotated[Quantity, Field(le=Quantity("1Gi"))] = Quantity(1)
    number: Number = 0.5


class TestDuration:
    @pytest.mark.parametrize(
        ("text", "span"),
        [
            ("15m", timedelta(minutes=15)),
            ("1h30m", timedelta(minutes=90)),
            ("1.5h", timedelta(minutes=90)),
            ("90s", timedelta(seconds=90)),
            ("2ms", timedelta(milliseconds=2)),
            ("3us", timedelta(microseconds=3)),
            ("3µs", timedelta(microseconds=3)),
            ("1600ns", timedelta(microseconds=2)),
            ("0s", timedelta()),
        ],
    )
    def test_it_is_the_span_that_its_text_says(
        self, text: str, span: timedelta
    ) -> None:
        assert Duration(text) == span
        assert str(Duration(text)) == text

    @pytest.mark.parametrize("text", ["", "5", "5 minutes", "-1s", "1d", "1,5s", "s"])
    def test_another_text_is_refused_with_an_example(self, text: str) -> None:
        with pytest.raises(ValueError, match="is no duration such as 90s"):
            Duration(text)

    def test_one_that_no_timedelta_can_hold_is_refused(self) -> None:
        with pytest.raises(ValueError, match="longer than a duration can be"):
            Duration(f"{10**15}h")

    @pytest.mark.parametrize(
        ("span", "text"),
        [
            (timedelta(minutes=90), "1h30m"),
            (timedelta(days=1), "24h"),
            (timedelta(milliseconds=1500), "1.5s"),
            (timedelta(), "0s"),
        ],
    )
    def test_a_timedelta_is_written_in_its_shortest_form(
        self, span: timedelta, text: str
    ) -> None:
        assert str(Duration.of(span)) == text
        assert Duration.of(span) == span

    def test_a_negative_timedelta_is_refused(self) -> None:
        with pytest.raises(ValueError, match="cannot be negative"):
            Duration.of(-timedelta(seconds=1))

    def test_copies_keep_the_text(self) -> None:
        it = Duration("90m")

        assert str(copy.deepcopy(it)) == "90m"
        assert str(pickle.loads(pickle.dumps(it))) == "90m"  # noqa: S301 - our own

    def test_what_is_computed_from_it_is_a_timedelta(self) -> None:
        assert type(Duration("1m") * 2) is timedelta


class TestQuantity:
    @pytest.mark.parametrize(
        ("wire", "amount"),
        [
            ("500m", Decimal("0.5")),
            ("64Mi", Decimal(64 * 2**20)),
            ("1k", Decimal(1000)),
            ("12e2", Decimal(1200)),
            ("1E", Decimal(10**18)),
            ("-1.5", Decimal("-1.5")),
            (".5", Decimal("0.5")),
            (2, Decimal(2)),
        ],
    )
    def test_it_is_the_amount_that_it_says(
        self, wire: int | str, amount: Decimal
    ) -> None:
        assert Quantity(wire) == amount
        assert Quantity(wire).wire == wire

    @pytest.mark.parametrize("text", ["", "lots", "1 Gi", "1KI", "1e", "0" * 65])
    def test_another_text_is_refused_with_an_example(self, text: str) -> None:
        with pytest.raises(ValueError, match="is no quantity such as 500m"):
            Quantity(text)

    def test_copies_keep_the_text(self) -> None:
        it = Quantity("0.5Gi")

        assert str(copy.deepcopy(it)) == "0.5Gi"
        assert pickle.loads(pickle.dumps(it)).wire == "0.5Gi"  # noqa: S301 - our own


def test_a_model_writes_them_as_they_came() -> None:
    wire = '{"span":"90m","amount":"1024Mi","number":1}'

    assert Holder.model_validate_json(wire).model_dump_json() == wire


def test_a_model_takes_what_they_are_in_python() -> None:
    holder = Holder(span=timedelta(hours=1), amount=Quantity(3))

    assert holder.model_dump(mode="json") == {"span": "1h", "amount": 3, "number": 0.5}
    assert holder.span == timedelta(hours=1)


@pytest.mark.parametrize(
    "wrong",
    [
        {"span": 5},
        {"span": "10ms"},
        {"amount": "2Gi"},
        {"amount": 0.5},
        {"amount": True},
    ],
)
def test_a_model_refuses_other_types_and_what_is_out_of_bounds(
    wrong: dict[str, object],
) -> None:
    with pytest.raises(ValidationError):
        Holder.model_validate(wrong)
