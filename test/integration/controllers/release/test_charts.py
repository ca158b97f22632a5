"""Charts out of real places: distribution, with a password and TLS, and HTTP."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from conformance.charts import chart
from conformance.repositories import ChartRepository, push_chart, serving
from controller_runtime import SystemClock
from controller_runtime.testing.envtest import (
    ALICE,
    AssetsOptions,
    QuietProgress,
    Registry,
    RegistryLogin,
    RegistryOptions,
)
from controllers.oci import Credential, RegistryClientOptions
from controllers.release.chart import (
    Auth,
    AuthType,
    ChartOptions,
    Charts,
    ChartSource,
    Reason,
    RepositoryOptions,
    SourceError,
    credential_for,
)
from controllers.web import Tls

ALICE_LOGIN = Credential(username=ALICE.username, password=ALICE.password)


@asynccontextmanager
async def fetching(
    folder: Path, *, index_life: float = 0, memory: float = 0
) -> AsyncIterator[Charts]:
    options = ChartOptions(
        folder=folder,
        repository=RepositoryOptions(index_life=index_life),
        registry=RegistryClientOptions(memory=memory),
    )
    charts = Charts(options, clock=SystemClock())
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(charts.run())
        yield charts
        running.cancel()


@asynccontextmanager
async def registry(
    login: RegistryLogin = RegistryLogin.PASSWORD, *, tls: bool = True
) -> AsyncIterator[Registry]:
    options = RegistryOptions(
        login=login, tls=tls, assets=AssetsOptions(download=False, build=False)
    )
    async with Registry(options, progress=QuietProgress()) as running:
        yield running


def oci(registry: Registry, version: str = "1.0.0") -> ChartSource:
    return ChartSource(
        url=f"oci://{registry.host}/charts",
        name="app",
        version=version,
        credential=ALICE_LOGIN,
        tls=Tls(ca=registry.ca_pem),
    )


async def pushed(registry: Registry, content: bytes, version: str = "1.0.0") -> str:
    return await push_chart(
        f"oci://{registry.host}/charts",
        content,
        version=version,
        credential=ALICE_LOGIN,
        tls=Tls(ca=registry.ca_pem),
    )


def http(repository: ChartRepository, version: str = "^1") -> ChartSource:
    return ChartSource(
        url=repository.url,
        name="app",
        version=version,
        credential=Credential(
            username=repository.username, password=repository.password
        ),
    )


async def refused(resolving: Awaitable[object]) -> SourceError:
    with pytest.raises(SourceError) as caught:
        await resolving
    return caught.value


async def test_a_folder_that_was_cleared_away_is_told_of_and_made_anew(
    tmp_path: Path,
) -> None:
    """A cleaner of temporary files, or a disk that is full."""
    repository = ChartRepository()
    content = chart()
    entry = {"apiVersion": "v2", "name": "app", "version": "1.0.0", "urls": ["a.tgz"]}
    index = {"apiVersion": "v1", "entries": {"app": [entry]}}
    repository.files = {"/index.yaml": json.dumps(index).encode(), "/a.tgz": content}
    folder = tmp_path / "cache"
    async with serving(repository), fetching(folder) as charts:
        before = await charts.resolve(http(repository))
        shutil.rmtree(folder)

        error = await refused(charts.resolve(http(repository)))
        after = await charts.resolve(http(repository))

    assert (error.reason, error.is_transient) == (Reason.FETCH_FAILED, True)
    assert "--release-cache" in str(error)
    assert after == before


async def test_a_chart_comes_out_of_a_registry_with_tls_and_a_password(
    tmp_path: Path,
) -> None:
    """1, 3: and what a wrong password gets is no chart of anybody else's."""
    async with registry() as there, fetching(tmp_path) as charts:
        digest = await pushed(there, chart())
        found = await charts.resolve(oci(there))
        wrong = replace(
            oci(there), credential=Credential(username="alice", password="s3cret")
        )
        error = await refused(charts.resolve(wrong))
        stranger = await refused(charts.resolve(replace(oci(there), tls=Tls())))

    assert (found.name, found.version, found.digest) == ("app", "1.0.0", digest)
    assert found.path.read_bytes() == chart()
    assert error.reason is Reason.AUTH_FAILED
    assert "s3cret" not in str(error)
    assert stranger.reason is Reason.FETCH_FAILED
    assert "certificate" in str(stranger)


@pytest.mark.parametrize("login", [RegistryLogin.PASSWORD, RegistryLogin.TOKEN])
async def test_every_form_of_a_secret_opens_the_same_registry(
    tmp_path: Path, login: RegistryLogin
) -> None:
    """4."""
    async with registry(login) as there, fetching(tmp_path) as charts:
        await pushed(there, chart())
        source = oci(there)
        docker = {
            "auths": {
                there.host: {"username": ALICE.username, "password": ALICE.password}
            }
        }
        for auth in (
            Auth(username=ALICE.username, password=ALICE.password),
            Auth(type=AuthType.TOKEN, username=ALICE.username, token=ALICE.password),
            Auth(
                type=AuthType.DOCKER_CONFIG,
                secret={".dockerconfigjson": json.dumps(docker).encode()},
            ),
        ):
            credential = credential_for(source.url, source.name, auth)
            found = await charts.resolve(replace(source, credential=credential))
            assert found.version == "1.0.0"


async def test_a_tag_that_is_pushed_anew_is_another_chart(tmp_path: Path) -> None:
    """16: unless its digest is pinned."""
    async with registry() as there, fetching(tmp_path) as charts:
        first = await pushed(there, chart())
        pinned = replace(oci(there), digest=first)
        before = await charts.resolve(pinned)
        second = await pushed(there, chart(values={"greeting": "other"}))
        after = await charts.resolve(oci(there))
        error = await refused(charts.resolve(pinned))

    assert (before.digest, after.digest) == (first, second)
    assert before.path.read_bytes() != after.path.read_bytes()
    assert error.reason is Reason.DIGEST_MISMATCH
    assert error.is_terminal


RANGES = [
    ("^1.0.0", "1.2.0+b1"),
    (">=0.0.0-0", "2.0.0-rc.1"),
    ("1.1.0", "1.1.0"),
    ("1.2.0+b1", "1.2.0+b1"),
    ("~1.1", "1.1.0"),
]


async def test_a_range_is_the_newest_release_in_a_registry(tmp_path: Path) -> None:
    """2."""
    async with registry() as there, fetching(tmp_path) as charts:
        for version in ("1.1.0", "2.0.0-rc.1", "1.2.0+b1", "1.0.0"):
            await pushed(there, chart(version=version), version)
        found = {
            wanted: (await charts.resolve(oci(there, wanted))).version
            for wanted, _ in RANGES
        }
        error = await refused(charts.resolve(oci(there, "^3")))

    assert found == dict(RANGES)
    assert error.reason is Reason.NOT_FOUND
    assert "4 are versions" in str(error)


async def test_a_range_is_the_newest_release_in_a_repository(tmp_path: Path) -> None:
    """2."""
    async with (
        serving(ChartRepository(username="me", password="a:b")) as there,
        fetching(tmp_path) as charts,
    ):
        there.publish("1.1.0", "2.0.0-rc.1", "1.2.0+b1", "1.0.0")
        found = {
            wanted: (await charts.resolve(http(there, wanted))).version
            for wanted, _ in RANGES
        }
        error = await refused(charts.resolve(http(there, "^3")))
        absent = await refused(charts.resolve(replace(http(there), name="other")))

    assert found == dict(RANGES)
    assert error.reason is absent.reason is Reason.NOT_FOUND
    assert "begins with 1.0.0" in str(error)


async def test_a_password_of_a_repository_counts(tmp_path: Path) -> None:
    """3: for the archive, too."""
    async with (
        serving(ChartRepository(username="me", password="a:b")) as there,
        fetching(tmp_path) as charts,
    ):
        there.publish("1.0.0")
        found = await charts.resolve(http(there))
        wrong = Credential(username="me", password="s3cret")
        error = await refused(charts.resolve(replace(http(there), credential=wrong)))
        none = await refused(
            charts.resolve(replace(http(there), credential=Credential()))
        )

    assert found.path.read_bytes() == chart()
    assert error.reason is none.reason is Reason.AUTH_FAILED
    assert "s3cret" not in str(error)
    assert "secretRef" in str(none)


async def test_no_other_host_sees_the_password_unless_it_is_to(tmp_path: Path) -> None:
    """58: neither by the index nor by a redirect."""
    async with (
        serving(ChartRepository()) as other,
        serving(ChartRepository(username="me", password="a:b")) as there,
        fetching(tmp_path) as charts,
    ):
        other.publish("1.0.0", "1.1.0")
        there.publish("1.0.0", base=f"{other.url}/")
        await charts.resolve(http(there))
        there.publish("1.1.0")
        there.redirects["/app-1.1.0.tgz"] = f"{other.url}/app-1.1.0.tgz"
        await charts.resolve(http(there))
        assert [each.path for each in other.asked] == [
            "/app-1.0.0.tgz",
            "/app-1.1.0.tgz",
        ]
        assert not any(each.has_login for each in other.asked)

        there.publish("1.2.0", base=f"{other.url}/")
        other.publish("1.2.0")
        await charts.resolve(replace(http(there), pass_credentials=True))
        assert other.asked[-1].has_login


async def test_two_who_want_the_same_ask_once_and_later_only_whether_it_changed(
    tmp_path: Path,
) -> None:
    """59, in a repository."""
    async with serving(ChartRepository()) as there:
        there.publish("1.0.0")
        async with (
            fetching(tmp_path, index_life=60) as charts,
            asyncio.TaskGroup() as tasks,
        ):
            for _ in range(2):
                tasks.create_task(charts.resolve(http(there)))
        assert [each.path for each in there.asked] == ["/index.yaml", "/app-1.0.0.tgz"]

        there.asked.clear()
        async with fetching(tmp_path) as charts:  # the next process, the same disk
            await charts.resolve(http(there))
            there.publish("1.0.0", "1.0.1")
            found = await charts.resolve(http(there))

    assert [(each.path, each.is_conditional, each.status) for each in there.asked] == [
        ("/index.yaml", True, 304),
        ("/index.yaml", True, 200),
        ("/app-1.0.1.tgz", False, 200),
    ]
    assert found.version == "1.0.1"


async def test_an_archive_without_a_digest_is_asked_for_and_not_sent_again(
    tmp_path: Path,
) -> None:
    async with serving(ChartRepository()) as there, fetching(tmp_path) as charts:
        there.publish("1.0.0", digests=False)
        first = await charts.resolve(http(there))
        second = await charts.resolve(http(there))
        there.files["/app-1.0.0.tgz"] = chart(values={"greeting": "other"})
        third = await charts.resolve(http(there))

    assert [each.status for each in there.requests("/app-1.0.0.tgz")] == [200, 304, 200]
    assert first == second
    assert first.digest != third.digest


async def test_an_archive_that_is_not_the_one_of_the_index_is_not_used(
    tmp_path: Path,
) -> None:
    async with serving(ChartRepository()) as there, fetching(tmp_path) as charts:
        there.publish("1.0.0")
        there.files["/app-1.0.0.tgz"] = b"another"
        error = await refused(charts.resolve(http(there)))

    assert error.reason is Reason.FETCH_FAILED
    assert not list((tmp_path / "charts").iterdir())


async def test_what_rots_on_disk_is_fetched_again(tmp_path: Path) -> None:
    async with serving(ChartRepository()) as there, fetching(tmp_path) as charts:
        there.publish("1.0.0")
        found = await charts.resolve(http(there))
        found.path.write_bytes(b"rotten")
        again = await charts.resolve(http(there))

    assert again.path.read_bytes() == chart()


async def test_what_is_away_broken_or_wrong_is_called_by_its_name(
    tmp_path: Path,
) -> None:
    async with serving(ChartRepository()) as there, fetching(tmp_path) as charts:
        missing = await refused(charts.resolve(http(there)))
        there.files["/index.yaml"] = b"<html>welcome</html>"
        page = await refused(charts.resolve(http(there)))
        version = await refused(charts.resolve(http(there, "not a version")))
        git = await refused(
            charts.resolve(replace(http(there), url="git+https://git.example/a"))
        )
    async with fetching(tmp_path) as charts:
        away = await refused(charts.resolve(http(there)))

    assert missing.reason is Reason.NOT_FOUND
    assert page.reason is Reason.FETCH_FAILED
    assert "index.yaml" in str(page)
    assert version.reason is git.reason is Reason.INVALID
    assert away.is_transient


MEASURE = """
import asyncio, resource, sys
from pathlib import Path
from controller_runtime import SystemClock
from controllers.release.chart import *

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

async def main(url, folder):
    charts = Charts(ChartOptions(folder=Path(folder)), clock=SystemClock())
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(charts.run())
        small = ChartSource(url=url + "/small", name="app", version="1.0.0")
        await charts.resolve(small)
        before = peak()
        large = ChartSource(url=url, name="app", version="1.0.0")
        found = await charts.resolve(large)
        print((peak() - before) // 1024, found.version)
        running.cancel()

asyncio.run(main(*sys.argv[1:]))
"""


def large_index(style: str) -> bytes:
    """Return an index of 20 MB whose chart comes last."""
    if style == "JSON":
        item = {"version": "1.0.0", "urls": ["x.tgz"], "description": "d" * 400}
        entries = {f"chart-{n}": [item] * 8 for n in range(5000)}
        entries["app"] = [{"version": "1.0.0", "urls": ["app-1.0.0.tgz"]}]
        return json.dumps({"entries": entries}).encode()
    version = f"  - version: 1.0.0\n    description: {'d' * 400}\n    urls: [x.tgz]\n"
    block = "".join(f"  chart-{n}:\n{version * 8}" for n in range(5000))
    app = "  app:\n  - version: 1.0.0\n    urls:\n    - app-1.0.0.tgz\n"
    return f"entries:\n{block}{app}".encode()


@pytest.mark.parametrize("style", ["block", "JSON"])
async def test_an_index_of_20_mb_takes_little_memory(
    tmp_path: Path, style: str
) -> None:
    """28."""
    async with serving(ChartRepository()) as there:
        there.publish("1.0.0")
        there.files["/small/index.yaml"] = there.files["/index.yaml"]
        there.files["/small/app-1.0.0.tgz"] = there.files["/app-1.0.0.tgz"]
        there.files["/index.yaml"] = large_index(style)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", MEASURE, there.url, str(tmp_path)),
            stdout=asyncio.subprocess.PIPE,
        )
        output, _ = await process.communicate()

    assert len(there.files["/index.yaml"]) > 17_000_000
    growth, version = output.decode().split()
    assert version == "1.0.0"
    assert int(growth) < 60
