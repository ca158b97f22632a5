"""What the settings of the autopilot say is what its options say."""

from __future__ import annotations

from dataclasses import fields

import pytest

from controllers.autopilot.options import AutopilotOptions
from controllers.settings import AutopilotSettings

DEFAULTS = {
    field.name: field.default
    for field in fields(AutopilotOptions)
    if field.name in AutopilotSettings.model_fields and field.name != "catalog"
}


@pytest.mark.parametrize("name", DEFAULTS)
def test_a_setting_has_the_default_of_its_option(name: str) -> None:
    assert getattr(AutopilotSettings(), name) == DEFAULTS[name]


def test_managers_to_override_are_separated_by_commas_and_may_be_none() -> None:
    def read(text: str) -> tuple[str, ...]:
        return AutopilotSettings.model_validate(
            {"override_managers": text}
        ).override_managers

    assert read("kubectl-edit, k9s") == ("kubectl-edit", "k9s")
    assert read("") == ()
