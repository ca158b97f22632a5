"""Which tag is the candidate, out of whatever a registry lists."""

from __future__ import annotations

import pytest

from api.bundle.status import BundleStatus
from api.bundle.v1alpha1 import RegistrySpec
from controllers.bundle.errors import BlockedError
from controllers.bundle.versions import Choice, choose
from controllers.versions import parse_constraint


def chosen(*tags: str) -> Choice:
    return choose(
        tags,
        registry=RegistrySpec(url="registry.example/app"),
        constraint=parse_constraint(""),
        keeps=None,
        status=BundleStatus(),
    )


def test_what_cannot_be_a_tag_is_no_candidate() -> None:
    """To ask for it is no use, and no fault that could be told of the bundle."""
    assert chosen("main", "zz top", f"zz{'z' * 128}").tag == "main"
    with pytest.raises(BlockedError) as caught:
        chosen("zz top")
    assert caught.value.reason == "NoTags"
