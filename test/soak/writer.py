"""Whoever uses the cluster: changes objects all the time, straight at the server.

What becomes of a single write does not matter: some fail while the server is away.
At the end every object that shall exist is written once more, until that succeeds.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping
from contextlib import suppress

from controller_runtime import (
    TRANSPORT_ERRORS,
    Client,
    ControllerRuntimeError,
    Discovery,
    HttpTransport,
    Json,
    NotFoundError,
    Scheme,
)
from soak.evidence import Stored
from soak.manager import CONFIG_MAP, DIGEST, NAMESPACE, digest

OBJECTS = 40

_FAILURES: tuple[type[Exception], ...] = (*TRANSPORT_ERRORS, ControllerRuntimeError)

_PATIENCE = 5.0
"""Seconds for one write, then for the next: a store that stands still holds it up."""


class Writer:
    """Creates, changes and deletes ConfigMaps."""

    def __init__(
        self, transport: HttpTransport, *, seed: int, rate: float = 25.0
    ) -> None:
        """Make a writer.

        Args:
            transport: The way to the server, without a fault on it.
            seed: What it writes.
            rate: Writes in a second, at most.
        """
        self.writes = 0
        """Those that succeeded."""
        self._client = Client(
            transport, scheme=Scheme(), discovery=Discovery(transport)
        )
        self._random = random.Random(seed)  # noqa: S311 - what is written is no secret
        self._pause = 1 / rate

    async def run(self) -> None:
        """Write until cancelled."""
        while True:
            name = f"c{self._random.randrange(OBJECTS)}"
            with suppress(*_FAILURES):
                async with asyncio.timeout(_PATIENCE):
                    await self._write(name)
                self.writes += 1
            await asyncio.sleep(self._pause)

    async def write_all(self) -> None:
        """Give every object a last version; some are gone for good."""
        for number in range(OBJECTS):
            while not await self._succeeds(f"c{number}", is_kept=number % 8 != 0):  # noqa: ASYNC110 - the server's
                await asyncio.sleep(self._pause)

    async def stored(self) -> Mapping[str, Stored] | None:
        """Return what there is; `None` when the server does not say."""
        with suppress(*_FAILURES):
            async with asyncio.timeout(_PATIENCE):
                listed = await self._client.list(CONFIG_MAP, NAMESPACE)
            return dict(_stored(item) for item in listed.items)
        return None

    async def _succeeds(self, name: str, *, is_kept: bool) -> bool:
        with suppress(*_FAILURES):
            async with asyncio.timeout(_PATIENCE):
                if is_kept:
                    await self._put(name)
                else:
                    await self._delete(name)
            self.writes += 1
            return True
        return False

    async def _write(self, name: str) -> None:
        if self._random.random() < 0.1:
            await self._delete(name)
        else:
            await self._put(name)

    async def _put(self, name: str) -> None:
        await self._client.apply(
            {
                "apiVersion": CONFIG_MAP.api_version,
                "kind": CONFIG_MAP.kind,
                "metadata": {"name": name, "namespace": NAMESPACE},
                "data": {
                    "value": str(self._random.getrandbits(64)),
                    "padding": "x" * self._random.randrange(2000),
                },
            },
            force=True,
        )

    async def _delete(self, name: str) -> None:
        with suppress(NotFoundError):
            await self._client.delete(CONFIG_MAP, name, NAMESPACE)


def _stored(item: Json) -> tuple[str, Stored]:
    metadata = item["metadata"]
    annotations = metadata.get("annotations") or {}
    return f"{metadata['namespace']}/{metadata['name']}", Stored(
        version=metadata["resourceVersion"],
        wanted=digest(item.get("data") or {}),
        digest=annotations.get(DIGEST, ""),
    )
