"""Certificates in files: what changes what is served, and what does not."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from conformance.handshake import serving, shown_by
from controller_runtime.certificates import CertificateAuthority
from controller_runtime.certwatcher import CertWatcher
from controller_runtime.errors import ConfigError
from controller_runtime.metrics import Metrics
from controller_runtime.tls import KeyPair

pytestmark = pytest.mark.behaviour("W6")


@pytest.fixture(scope="module")
def authority() -> CertificateAuthority:
    return CertificateAuthority.create()


async def inline(call: Callable[..., object], *arguments: object) -> object:
    """Call it here: threads do not know the virtual clock."""
    return call(*arguments)


def watcher(folder: Path, metrics: Metrics | None = None) -> CertWatcher:
    return CertWatcher(
        folder / "tls.crt", folder / "tls.key", metrics=metrics, offload=inline
    )


def rewrite(folder: Path, pair: KeyPair) -> None:
    """Write over the files, as `cp` would, with another time."""
    for name, content in (("tls.crt", pair.public), ("tls.key", pair.private)):
        path = folder / name
        path.write_bytes(content)
        status = path.stat()
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1_000_000))


@asynccontextmanager
async def running(watcher: CertWatcher) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(watcher.run())
        await asyncio.sleep(1)
        yield
        task.cancel()


def counts(metrics: Metrics) -> tuple[float, float]:
    read = metrics.registry.get_sample_value
    total = read("certwatcher_read_certificate_total")
    errors = read("certwatcher_read_certificate_errors_total")
    assert total is not None
    assert errors is not None
    return total, errors


async def test_a_pair_that_changes_is_served_after_ten_seconds(
    tmp_path: Path, authority: CertificateAuthority
) -> None:
    old, new = serving(authority), serving(authority)
    old.write(tmp_path, "tls")
    certificates = watcher(tmp_path)

    async with running(certificates):
        first = shown_by(certificates.ssl_context, authority.pem)
        rewrite(tmp_path, new)
        await asyncio.sleep(8.9)
        second = shown_by(certificates.ssl_context, authority.pem)
        await asyncio.sleep(0.2)
        third = shown_by(certificates.ssl_context, authority.pem)

    assert [first, second, third] == [
        old.fingerprint,
        old.fingerprint,
        new.fingerprint,
    ]
    assert certificates.pair == new


async def test_a_half_written_pair_leaves_the_old_one_and_is_counted_until_it_is_whole(
    tmp_path: Path, authority: CertificateAuthority
) -> None:
    old, new, metrics = serving(authority), serving(authority), Metrics()
    old.write(tmp_path, "tls")
    certificates = watcher(tmp_path, metrics)

    async with running(certificates):
        (tmp_path / "tls.crt").write_bytes(new.public)
        await asyncio.sleep(30)
        assert shown_by(certificates.ssl_context, authority.pem) == old.fingerprint
        assert counts(metrics) == (4, 3)
        (tmp_path / "tls.key").write_bytes(new.private)
        await asyncio.sleep(10)

    assert shown_by(certificates.ssl_context, authority.pem) == new.fingerprint
    assert counts(metrics) == (5, 3)


async def test_files_that_are_gone_for_a_while_are_an_error_and_then_served_again(
    tmp_path: Path, authority: CertificateAuthority
) -> None:
    old, new, metrics = serving(authority), serving(authority), Metrics()
    old.write(tmp_path, "tls")
    certificates = watcher(tmp_path, metrics)

    async with running(certificates):
        (tmp_path / "tls.crt").unlink()
        (tmp_path / "tls.key").rename(tmp_path / "away")
        await asyncio.sleep(10)
        assert shown_by(certificates.ssl_context, authority.pem) == old.fingerprint
        new.write(tmp_path, "tls")
        await asyncio.sleep(10)

    assert shown_by(certificates.ssl_context, authority.pem) == new.fingerprint
    assert counts(metrics) == (3, 1)


async def test_a_mounted_secret_changes_by_its_link(
    tmp_path: Path, authority: CertificateAuthority
) -> None:
    old, new = serving(authority), serving(authority)
    old.write(tmp_path / "..2030", "tls")
    new.write(tmp_path / "..2031", "tls")
    (tmp_path / "..data").symlink_to("..2030")
    for name in ("tls.crt", "tls.key"):
        (tmp_path / name).symlink_to(Path("..data") / name)
    certificates = watcher(tmp_path)

    async with running(certificates):
        (tmp_path / "..next").symlink_to("..2031")
        (tmp_path / "..next").rename(tmp_path / "..data")
        await asyncio.sleep(10)

    assert shown_by(certificates.ssl_context, authority.pem) == new.fingerprint


async def test_whoever_asks_is_told_of_what_is_served_and_of_changes_alone(
    tmp_path: Path, authority: CertificateAuthority
) -> None:
    old, new = serving(authority), serving(authority)
    old.write(tmp_path, "tls")
    certificates = watcher(tmp_path)
    early: list[KeyPair] = []
    late: list[KeyPair] = []
    certificates.on_change(early.append)

    async with running(certificates):
        certificates.on_change(late.append)
        rewrite(tmp_path, old)
        await asyncio.sleep(20)
        rewrite(tmp_path, new)
        await asyncio.sleep(20)

    assert early == late == [old, new]


async def test_a_start_without_a_usable_pair_is_an_error_that_names_the_files(
    tmp_path: Path, authority: CertificateAuthority
) -> None:
    with pytest.raises(ConfigError, match=r"certificate .*tls\.crt, key .*tls\.key"):
        await watcher(tmp_path).run()

    serving(authority).write(tmp_path, "tls")
    (tmp_path / "tls.key").write_bytes(serving(authority).private)
    with pytest.raises(ConfigError, match="mismatch"):
        await watcher(tmp_path).load()


async def test_another_period_is_kept(
    tmp_path: Path, authority: CertificateAuthority
) -> None:
    serving(authority).write(tmp_path, "tls")
    metrics = Metrics()
    certificates = CertWatcher(
        tmp_path / "tls.crt",
        tmp_path / "tls.key",
        interval=timedelta(hours=1),
        metrics=metrics,
        offload=inline,
    )

    async with running(certificates):
        await asyncio.sleep(86_400)

    assert counts(metrics) == (25, 0)


async def test_a_key_is_never_logged(
    tmp_path: Path, authority: CertificateAuthority
) -> None:
    pair, other = serving(authority), serving(authority)
    pair.write(tmp_path, "tls")
    certificates = watcher(tmp_path)

    with capture_logs() as logs:
        await certificates.load()
        (tmp_path / "tls.crt").write_bytes(other.private)
        await certificates.check()

    assert [each["log_level"] for each in logs] == ["info", "warning"]
    assert not any(
        line in str(logs)
        for key in (pair.private, other.private)
        for line in key.decode().splitlines()
    )
