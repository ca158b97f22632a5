"""The page about CRDs shows code that works, and names only what is there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from controller_runtime import schema

PAGE = (Path(__file__).parents[3] / "docs" / "crds.md").read_text()


def test_the_code_on_the_page_makes_a_crd() -> None:
    code = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    names: dict[str, Any] = {"__name__": "mirrors"}

    page = compile("\n".join(code), "crds.md", "exec", dont_inherit=True)
    exec(page, names)  # noqa: S102 - our own page

    crd = schema.crd_for(names["Mirror"])
    assert crd["metadata"]["name"] == "mirrors.example.com"


def test_every_name_of_the_package_on_the_page_exists() -> None:
    names = set(re.findall(r"`schema\.(\w+)", PAGE))

    assert len(names) > 15
    assert [name for name in sorted(names) if not hasattr(schema, name)] == []


def test_every_marker_rule_and_option_is_on_the_page() -> None:
    tools = {"crds_for", "drift", "models_in", "problems", "reference_of", "render"}
    tools |= {"render_reference", "write"}
    missing = {name for name in schema.__all__ if name not in PAGE}

    assert missing <= tools
