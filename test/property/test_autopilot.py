"""Values on their way through YAML: into templates, out of them, and to Go."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from controllers.autopilot.documents import read_documents, read_object, write_yaml
from controllers.autopilot.functions import q

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.text(st.characters(exclude_categories=["Cs", "Cc"]) | st.sampled_from("\n\t"))
    | st.sampled_from(["yes", "y", "1e3", "0644", "2024-01-01", "~", "0x1f", "1:30"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("ab:#- "), inner)
    ),
    max_leaves=8,
)


@given(JSON)
def test_what_is_written_is_read_back(value: object) -> None:
    text = write_yaml(value)

    assert next(iter(read_documents(text, origin="it")), None) == value


@given(st.text() | st.dictionaries(st.text(), st.text()))
def test_what_is_quoted_is_one_value_whatever_is_in_it(value: Any) -> None:
    """No value of the source object can add a field: scenario 58, by injection."""
    text = f"data: {q(value)}\nother: 1\n"

    assert read_object(text, origin="it") == {"data": value, "other": 1}
