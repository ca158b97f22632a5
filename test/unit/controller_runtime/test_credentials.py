"""Credentials are fresh when they are asked for, and never shown."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import structlog.testing

from controller_runtime.credentials import (
    ClientCertificate,
    PluginAnswer,
    PluginCredentials,
    StaticCredentials,
    TokenFile,
    read_exec_status,
)
from controller_runtime.errors import ConfigError
from controller_runtime.testing.clock import FakeClock


async def test_a_static_token_is_the_same_after_a_refresh() -> None:
    credentials = StaticCredentials.bearer(" t0ken\n")

    await credentials.refresh()

    assert await credentials.authorization() == "Bearer t0ken"


@pytest.mark.behaviour("G2")
async def test_a_token_file_that_is_rotated_is_read_again_after_a_minute(
    tmp_path: Path,
) -> None:
    file = tmp_path / "token"
    file.write_text("first\n")
    credentials = TokenFile(file)
    seen = [await credentials.authorization()]

    file.write_text("second\n")
    await asyncio.sleep(59)
    seen.append(await credentials.authorization())
    await asyncio.sleep(1)
    seen.append(await credentials.authorization())

    assert seen == ["Bearer first", "Bearer first", "Bearer second"]


@pytest.mark.behaviour("R12")
async def test_a_token_file_is_read_again_at_once_when_its_token_is_refused(
    tmp_path: Path,
) -> None:
    file = tmp_path / "token"
    file.write_text("first")
    credentials = TokenFile(file)
    await credentials.authorization()

    file.write_text("second")
    await credentials.refresh()

    assert await credentials.authorization() == "Bearer second"


async def test_a_token_is_kept_while_its_file_is_away(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("first")
    credentials = TokenFile(file)
    await credentials.authorization()

    file.unlink()
    await asyncio.sleep(60)
    with structlog.testing.capture_logs() as logs:
        token = await credentials.authorization()

    assert token == "Bearer first"
    assert [entry["event"] for entry in logs] == ["token file cannot be read again"]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, r"cannot be read \(No such file or directory\): let this process"),
        (b"\xff", r"cannot be read \(not text\): let this process"),
        (b" \n", "is empty: write a token to it"),
    ],
)
async def test_a_token_file_without_a_token_says_what_to_do(
    tmp_path: Path, content: bytes | None, problem: str
) -> None:
    if content is not None:
        (tmp_path / "token").write_bytes(content)

    with pytest.raises(ConfigError, match=f"the token file {tmp_path}/token {problem}"):
        await TokenFile(tmp_path / "token").authorization()


class Plugin:
    """Issues a numbered token each time that it is asked."""

    def __init__(self, expires: datetime | None) -> None:
        self.expires = expires
        self.asked = 0

    def __call__(self) -> PluginAnswer:
        self.asked += 1
        return PluginAnswer(f"Bearer {self.asked}", expires=self.expires)


@pytest.mark.behaviour("G2")
async def test_a_plug_in_is_asked_again_when_its_answer_expires() -> None:
    clock = FakeClock()
    credentials = PluginCredentials(Plugin(clock.now() + timedelta(hours=1)), clock)
    seen = [await credentials.authorization() for _ in range(2)]

    clock.advance(timedelta(minutes=59))
    seen.append(await credentials.authorization())
    clock.advance(timedelta(minutes=1))
    seen.append(await credentials.authorization())

    assert seen == ["Bearer 1", "Bearer 1", "Bearer 1", "Bearer 2"]


@pytest.mark.behaviour("G2")
async def test_a_plug_in_is_asked_again_when_its_answer_is_refused() -> None:
    credentials = PluginCredentials(Plugin(None), FakeClock())
    await credentials.authorization()

    await credentials.refresh()

    assert await credentials.authorization() == "Bearer 2"


async def test_a_plug_in_is_asked_once_by_many() -> None:
    plugin = Plugin(None)
    credentials = PluginCredentials(plugin, FakeClock())

    async with asyncio.TaskGroup() as tasks:
        for _ in range(5):
            tasks.create_task(credentials.authorization())

    assert plugin.asked == 1


@pytest.mark.parametrize(
    ("status", "answer"),
    [
        ({"token": "t"}, PluginAnswer("Bearer t")),
        (
            {"token": "t", "expirationTimestamp": "2030-01-01T00:00:00Z"},
            PluginAnswer("Bearer t", expires=datetime(2030, 1, 1, tzinfo=UTC)),
        ),
        (
            {"token": "t", "expirationTimestamp": "2030-01-01T00:00:00.123456789"},
            PluginAnswer(
                "Bearer t", expires=datetime(2030, 1, 1, 0, 0, 0, 123456, tzinfo=UTC)
            ),
        ),
        (
            {"clientCertificateData": "C", "clientKeyData": "K"},
            PluginAnswer(None, ClientCertificate(b"C", b"K")),
        ),
    ],
)
def test_a_plug_in_may_answer_with_a_token_or_a_certificate(
    status: Mapping[str, str], answer: PluginAnswer
) -> None:
    assert read_exec_status(status) == answer


@pytest.mark.parametrize("status", [{}, {"clientCertificateData": "C"}])
def test_a_plug_in_that_answers_with_neither_is_refused(
    status: Mapping[str, str],
) -> None:
    with pytest.raises(ValueError, match="neither a token nor a certificate"):
        read_exec_status(status)


def test_no_repr_shows_a_secret(tmp_path: Path) -> None:
    answer = PluginAnswer("Bearer s3cret", ClientCertificate(b"s3cret", b"s3cret"))
    credentials = PluginCredentials(lambda: answer, FakeClock())

    shown = f"{answer!r} {answer.certificate!r} {credentials!r}"
    shown += f"{StaticCredentials.basic('s3cret', 's3cret')!r}"

    assert "s3cret" not in shown
