"""A registry of one's own: started, kept over restarts, gone afterwards."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from controller_runtime.testing.envtest import (
    AssetsOptions,
    ControlPlaneError,
    ProcessDiedError,
    QuietProgress,
    Registry,
    RegistryOptions,
)

FOUND = AssetsOptions(download=False, build=False)


def in_folder(folder: Path | None) -> Registry:
    options = RegistryOptions(folder=folder, assets=FOUND)
    return Registry(options, progress=QuietProgress())


async def is_open(host: str) -> bool:
    name, _, port = host.partition(":")
    try:
        _, writer = await asyncio.open_connection(name, int(port))
    except OSError:
        return False
    writer.close()
    await writer.wait_closed()
    return True


async def test_nothing_is_left_of_a_temporary_one() -> None:
    async with in_folder(None) as registry:
        host, process = registry.host, registry.process
        folder = process.log.parents[1]
        assert await is_open(host)

    assert not await is_open(host)
    assert not process.running
    assert not await asyncio.to_thread(folder.exists)


async def test_a_kept_one_has_its_port_and_authority_again(tmp_path: Path) -> None:
    async with in_folder(tmp_path) as first:
        host, authority = first.host, first.ca_pem

    async with in_folder(tmp_path) as second:
        assert (second.host, second.ca_pem) == (host, authority)
        with pytest.raises(ControlPlaneError, match="a registry runs on"):
            await in_folder(tmp_path).start()


async def test_a_program_that_ends_shows_the_end_of_its_log(tmp_path: Path) -> None:
    program = tmp_path / "registry"
    text = "#!/bin/sh\necho no such configuration\nexit 3\n"
    await asyncio.to_thread(program.write_text, text)
    await asyncio.to_thread(program.chmod, 0o755)
    registry = Registry(RegistryOptions(binary=program), progress=QuietProgress())

    with pytest.raises(ProcessDiedError, match="no such configuration"):
        await registry.start()
