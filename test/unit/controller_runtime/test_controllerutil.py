"""Bringing objects about: the conformance tests, and what a part of one allows."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from controller_runtime.client import Client
from controller_runtime.controllerutil import create_or_patch, create_or_update
from controller_runtime.errors import BadRequestError
from controller_runtime.meta import PartialJson
from controller_runtime.scheme import Scheme
from controller_runtime.testing.apiserver import ApiServer
from controller_runtime.transport import HttpTransport

pytest.register_assert_rewrite("conformance.ensuring", "conformance.kit")

from conformance.ensuring import *  # noqa: E402, F403 - the tests
from conformance.ensuring import UPDATED, wanted  # noqa: E402 - as above


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with ApiServer() as server, HttpTransport(server.config()) as transport:
        yield Client(transport, scheme=Scheme())


@pytest.fixture
def namespace() -> str:
    return "shop"


async def test_what_was_read_in_part_is_patched_and_never_replaced(
    client: Client,
) -> None:
    class Partly(Client):
        async def get(self, *args: Any, **options: Any) -> Any:
            found = await super().get(*args, **options)
            del found["spec"]
            return PartialJson(found)

    def rebuilt(obj: dict[str, Any]) -> dict[str, Any]:
        return {**obj, "metadata": {**obj["metadata"], "labels": {"a": "b"}}}

    it = wanted("shop")
    await client.create(it)
    partly = Partly(client.transport, scheme=client.scheme)

    with pytest.raises(BadRequestError, match="a part of this object"):
        await create_or_update(partly, it, rebuilt)
    ensured = await create_or_patch(partly, it, rebuilt)

    assert ensured.result is UPDATED
    assert ensured.obj["spec"]["replicas"] == 0
