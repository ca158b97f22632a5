"""Where the binaries come from, and what can go wrong on the way."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import io
import json
import os
import tarfile
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from controller_runtime.testing.envtest import (
    Assets,
    AssetsError,
    AssetsOptions,
    ChecksumError,
    Mirrors,
    PlainProgress,
    QuietProgress,
)
from controller_runtime.testing.envtest.binaries import (
    APISERVER,
    ETCD,
    KWOK,
    PARTS,
    REGISTRY,
    Platform,
    go_module,
    release_of,
)

PROGRAM = b"#!/bin/sh\nexit 0\n"

VERSIONS = {
    project: go_module(project).version
    for project in ("etcd", "kubernetes", "kwok", "registry")
}

LINUX = Platform.here().os == "linux"


@dataclass
class Mirror:
    """A server of releases; what is cut short promises more than it sends."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    cut_short: set[str] = field(default_factory=set)

    def publish(self, url: str, content: bytes) -> None:
        self.files[url.removeprefix(self.url)] = content

    @property
    def mirrors(self) -> Mirrors:
        return Mirrors(
            kubernetes=self.url,
            etcd=self.url,
            kwok=self.url,
            kwok_checksums=f"{self.url}/tags",
            registry=self.url,
            prometheus=self.url,
        )


@pytest.fixture
def mirror() -> Iterator[Mirror]:
    mirror = Mirror()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content = mirror.files.get(self.path)
            if content is None:
                self.send_error(404)
                return
            missing = 1000 if self.path in mirror.cut_short else 0
            self.send_response(200)
            self.send_header("Content-Length", str(len(content) + missing))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        mirror.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield mirror
        server.shutdown()
        thread.join()


@pytest.fixture
def nowhere() -> Mirrors:
    """Mirrors that nobody answers at: the discard port of this machine."""
    url = "http://127.0.0.1:9"
    return Mirrors(**{mirror.name: url for mirror in fields(Mirrors)})


@dataclass
class FakeGo:
    """A `go` that notes its calls, writes half a program, waits for leave, goes on."""

    folder: Path

    @property
    def calls(self) -> list[int]:
        """Process ids of the builds so far."""
        log = self.folder / "calls"
        return [int(pid) for pid in log.read_text().split()] if log.exists() else []

    @property
    def environ(self) -> Mapping[str, str]:
        return {"PATH": f"{self.folder}:/bin:/usr/bin"}

    def allow(self) -> None:
        (self.folder / "allowed").touch()

    def write(self, *, version: str = "go1.26.8", fails_with: str = "") -> None:
        script = f"""#!/bin/sh
        if [ "$1" = env ]; then echo {version}; exit 0; fi
        if [ "{fails_with}" ]; then echo "{fails_with}"; exit 1; fi
        while [ "$1" != -o ]; do shift; done
        printf half > "$2"
        echo $$ >> "{self.folder}/calls"
        while [ ! -e "{self.folder}/allowed" ]; do sleep 0.05; done
        printf '%s' '{PROGRAM.decode()}' > "$2"
        """
        go = self.folder / "go"
        go.write_text(script)
        go.chmod(0o755)


@pytest.fixture
def go(tmp_path: Path) -> FakeGo:
    folder = tmp_path / "go"
    folder.mkdir()
    fake = FakeGo(folder)
    fake.write()
    return fake


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something that only the file system or the process table knows."""
    while not condition():  # noqa: ASYNC110 - nothing to wait on
        await asyncio.sleep(0.01)


def files_in(folder: Path) -> set[str]:
    """Name what is in a folder, but for the lock that stays."""
    found = {path.name for path in folder.rglob("*") if path.is_file()}
    return found - {"lock"}


def assets(options: AssetsOptions) -> Assets:
    return Assets(options, progress=QuietProgress())


def downloads(mirror: Mirror, cache: Path) -> Assets:
    """Assets that can be had from the mirror or not at all."""
    return assets(AssetsOptions(cache=cache, mirrors=mirror.mirrors, build=False))


def publish_apiserver(mirror: Mirror, *, checksum_of: bytes = PROGRAM) -> str:
    version = VERSIONS["kubernetes"]
    release = release_of(APISERVER, version, Platform.here(), mirror.mirrors)
    mirror.publish(release.url, PROGRAM)
    digest = hashlib.sha256(checksum_of).hexdigest()
    mirror.publish(release.checksum_url, digest.encode())
    return release.url


async def test_a_release_with_the_right_checksum_is_installed_and_can_be_run(
    mirror: Mirror, tmp_path: Path
) -> None:
    publish_apiserver(mirror)

    found = await downloads(mirror, tmp_path).find([APISERVER])

    program = found["kube-apiserver"]
    assert program.read_bytes() == PROGRAM
    assert os.access(program, os.X_OK)
    assert files_in(tmp_path) == {"kube-apiserver"}


async def test_a_release_with_the_wrong_checksum_is_deleted_and_named(
    mirror: Mirror, go: FakeGo, tmp_path: Path
) -> None:
    url = publish_apiserver(mirror, checksum_of=b"something else")
    options = AssetsOptions(
        cache=tmp_path / "cache", mirrors=mirror.mirrors, environ=go.environ
    )

    with pytest.raises(ChecksumError) as raised:
        await assets(options).find([APISERVER])

    assert raised.value.url == url
    assert raised.value.expected == hashlib.sha256(b"something else").hexdigest()
    assert raised.value.got == hashlib.sha256(PROGRAM).hexdigest()
    assert files_in(tmp_path / "cache") == set()
    assert go.calls == []


async def test_a_release_that_is_cut_short_leaves_nothing_and_says_how_much_came(
    mirror: Mirror, tmp_path: Path
) -> None:
    url = publish_apiserver(mirror)
    mirror.cut_short.add(url.removeprefix(mirror.url))

    came = f"cut short: {len(PROGRAM)} of {len(PROGRAM) + 1000} bytes"
    with pytest.raises(AssetsError, match=came):
        await downloads(mirror, tmp_path).find([APISERVER])

    assert files_in(tmp_path) == set()


async def test_a_release_that_is_cut_short_is_built_where_there_is_go(
    mirror: Mirror, go: FakeGo, tmp_path: Path
) -> None:
    url = publish_apiserver(mirror)
    mirror.cut_short.add(url.removeprefix(mirror.url))
    go.allow()
    options = AssetsOptions(
        cache=tmp_path / "cache", mirrors=mirror.mirrors, environ=go.environ
    )

    found = await assets(options).find([APISERVER])

    assert found["kube-apiserver"].read_bytes() == PROGRAM
    assert len(go.calls) == 1


@pytest.mark.skipif(not LINUX, reason="elsewhere etcd comes as a zip")
async def test_etcd_is_taken_out_of_its_archive_and_nothing_else_is(
    mirror: Mirror, tmp_path: Path
) -> None:
    version = VERSIONS["etcd"]
    release = release_of(ETCD, version, Platform.here(), mirror.mirrors)
    assert release.member is not None
    archive = tar_of({release.member: PROGRAM, "../../escaped": b"no", "README": b"no"})
    mirror.publish(release.url, archive)
    sums = (
        f"{'0' * 64}  another\n{hashlib.sha256(archive).hexdigest()}  {release.asset}"
    )
    mirror.publish(release.checksum_url, sums.encode())

    found = await downloads(mirror, tmp_path / "cache").find([ETCD])

    assert found["etcd"].read_bytes() == PROGRAM
    assert files_in(tmp_path) == {"etcd"}


@pytest.mark.skipif(not LINUX, reason="elsewhere etcd comes as a zip")
async def test_an_archive_without_its_program_is_no_release(
    mirror: Mirror, tmp_path: Path
) -> None:
    version = VERSIONS["etcd"]
    release = release_of(ETCD, version, Platform.here(), mirror.mirrors)
    archive = tar_of({"README": b"nothing here"})
    mirror.publish(release.url, archive)
    sums = f"{hashlib.sha256(archive).hexdigest()}  {release.asset}"
    mirror.publish(release.checksum_url, sums.encode())

    with pytest.raises(AssetsError, match="does not hold"):
        await downloads(mirror, tmp_path).find([ETCD])

    assert files_in(tmp_path) == set()


async def test_kwok_is_checked_against_what_github_says_of_the_release(
    mirror: Mirror, tmp_path: Path
) -> None:
    version = VERSIONS["kwok"]
    release = release_of(KWOK, version, Platform.here(), mirror.mirrors)
    digest = f"sha256:{hashlib.sha256(PROGRAM).hexdigest()}"
    described = {"assets": [{"name": release.asset, "digest": digest}]}
    mirror.publish(release.url, PROGRAM)
    mirror.publish(release.checksum_url, json.dumps(described).encode())

    found = await downloads(mirror, tmp_path).find([KWOK])

    assert found["kwok"].read_bytes() == PROGRAM


async def test_kubebuilders_own_folder_is_looked_into_unless_a_version_is_asked_for(
    go: FakeGo, nowhere: Mirrors, tmp_path: Path
) -> None:
    own = tmp_path / "kubebuilder"
    own.mkdir()
    (own / "etcd").write_bytes(PROGRAM)
    (own / "etcd").chmod(0o755)
    go.allow()
    options = AssetsOptions(
        kubebuilder=own,
        cache=tmp_path / "cache",
        mirrors=nowhere,
        environ=go.environ,
    )

    found = await assets(options).find([ETCD])
    pinned = await assets(replace(options, kubernetes="1.36")).find([ETCD])

    assert found["etcd"].parent == own
    assert pinned["etcd"].is_relative_to(tmp_path / "cache")


@pytest.mark.skipif(not LINUX, reason="it is published for Linux alone")
async def test_the_registry_is_taken_out_of_its_archive(
    mirror: Mirror, tmp_path: Path
) -> None:
    version = VERSIONS["registry"]
    release = release_of(REGISTRY, version, Platform.here(), mirror.mirrors)
    archive = tar_of({"LICENSE": b"no", "registry": PROGRAM})
    mirror.publish(release.url, archive)
    digest = hashlib.sha256(archive).hexdigest()
    mirror.publish(release.checksum_url, f"{digest}\n".encode())

    found = await downloads(mirror, tmp_path).find([REGISTRY])

    assert found["registry"].read_bytes() == PROGRAM
    assert files_in(tmp_path) == {"registry"}


async def test_kubebuilder_assets_come_first(
    mirror: Mirror, go: FakeGo, tmp_path: Path
) -> None:
    publish_apiserver(mirror)
    given = tmp_path / "given"
    given.mkdir()
    (given / "kube-apiserver").write_bytes(b"given")
    (given / "kube-apiserver").chmod(0o755)
    environ = {
        **go.environ,
        "KUBEBUILDER_ASSETS": str(given),
        "PILOTHOUSE_CACHE": str(tmp_path / "cache"),
        "PILOTHOUSE_KUBERNETES_URL": mirror.url,
    }

    found = await assets(AssetsOptions.from_environ(environ)).find([APISERVER])

    assert found == {"kube-apiserver": given / "kube-apiserver"}


async def test_what_kubebuilder_assets_lack_is_looked_for_elsewhere_and_said(
    nowhere: Mirrors, go: FakeGo, tmp_path: Path
) -> None:
    given = tmp_path / "given"
    given.mkdir()
    (given / "kube-apiserver").write_bytes(PROGRAM)
    (given / "kube-apiserver").chmod(0o755)
    go.allow()
    said = io.StringIO()
    options = AssetsOptions(
        folder=given, cache=tmp_path / "cache", mirrors=nowhere, environ=go.environ
    )

    found = await Assets(options, progress=PlainProgress(said)).find([APISERVER, ETCD])

    assert found["kube-apiserver"].parent == given
    assert found["etcd"].is_relative_to(tmp_path / "cache")
    assert f"KUBEBUILDER_ASSETS={given} holds no etcd" in said.getvalue()
    assert "building etcd" in said.getvalue()


async def test_without_network_and_without_go_one_sentence_says_what_to_install(
    nowhere: Mirrors, tmp_path: Path
) -> None:
    options = AssetsOptions(
        cache=tmp_path, mirrors=nowhere, environ={"PATH": str(tmp_path)}
    )

    with pytest.raises(AssetsError) as raised:
        await assets(options).find([ETCD])

    text = str(raised.value)
    assert "127.0.0.1:9 cannot be reached from here; there is no Go" in text
    assert "install Go 1.26 or newer (https://go.dev/dl)" in text
    assert "KUBEBUILDER_ASSETS" in text
    assert "\n" not in text


async def test_whoever_may_only_look_is_told_to_set_up_first(tmp_path: Path) -> None:
    options = AssetsOptions(cache=tmp_path, download=False, build=False)

    with pytest.raises(AssetsError, match=r"envtest setup`, which downloads or builds"):
        await assets(options).find([ETCD])


async def test_a_go_that_is_too_old_is_named(
    nowhere: Mirrors, go: FakeGo, tmp_path: Path
) -> None:
    go.write(version="go1.22.3")
    options = AssetsOptions(
        cache=tmp_path / "cache", mirrors=nowhere, environ=go.environ
    )

    with pytest.raises(AssetsError, match=r"go1\.22\.3; install Go 1\.26 or newer"):
        await assets(options).find([ETCD])

    assert go.calls == []


async def test_two_builders_at_once_build_once_and_both_get_it(
    nowhere: Mirrors, go: FakeGo, tmp_path: Path
) -> None:
    options = AssetsOptions(
        cache=tmp_path / "cache", mirrors=nowhere, environ=go.environ
    )
    said = io.StringIO()

    async with asyncio.timeout(60), asyncio.TaskGroup() as builders:
        first = builders.create_task(assets(options).find([ETCD]))
        await until(lambda: len(go.calls) == 1)
        second = builders.create_task(
            Assets(options, progress=PlainProgress(said)).find([ETCD])
        )
        await until(lambda: "waiting for another builder" in said.getvalue())
        go.allow()

    assert first.result() == second.result()
    assert first.result()["etcd"].read_bytes() == PROGRAM
    assert len(go.calls) == 1


async def test_an_interrupted_build_leaves_nothing_and_the_next_one_succeeds(
    nowhere: Mirrors, go: FakeGo, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    options = AssetsOptions(cache=cache, mirrors=nowhere, environ=go.environ)

    async with asyncio.timeout(60), asyncio.TaskGroup() as builders:
        build = builders.create_task(assets(options).find([ETCD]))
        await until(lambda: len(go.calls) == 1)
        assert files_in(cache) >= {"program"}
        build.cancel()
    left = files_in(cache)
    go.allow()
    found = await assets(options).find([ETCD])

    assert left == set()
    assert not is_running(go.calls[0])
    assert found["etcd"].read_bytes() == PROGRAM


async def test_what_a_killed_builder_left_is_swept_up_by_the_next(
    nowhere: Mirrors, go: FakeGo, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    options = AssetsOptions(cache=cache, mirrors=nowhere, environ=go.environ)
    go.allow()
    place = (await assets(options).find([ETCD]))["etcd"]
    place.unlink()
    (place.parent / ".build.x").mkdir()
    (place.parent / ".build.x" / "program").write_bytes(b"half")
    (place.parent / ".etcd.y").write_bytes(b"half")

    await assets(options).find([ETCD])

    assert files_in(cache) == {"etcd"}


async def test_a_failed_build_shows_what_go_said(
    nowhere: Mirrors, go: FakeGo, tmp_path: Path
) -> None:
    go.write(fails_with="no such package")
    options = AssetsOptions(
        cache=tmp_path / "cache", mirrors=nowhere, environ=go.environ
    )

    with pytest.raises(AssetsError, match=r"(?s)building etcd failed.*no such package"):
        await assets(options).find([ETCD])


async def test_setup_gathers_everything_in_one_folder(
    nowhere: Mirrors, go: FakeGo, tmp_path: Path
) -> None:
    go.allow()
    options = AssetsOptions(
        cache=tmp_path / "cache", mirrors=nowhere, environ=go.environ
    )

    folder = await assets(options).link(PARTS)
    again = await assets(options).link(PARTS)

    assert folder == again
    assert {path.name for path in folder.iterdir()} == {part.name for part in PARTS}
    assert all(os.access(path, os.X_OK) for path in folder.iterdir())


async def test_a_version_that_nobody_has_is_refused(tmp_path: Path) -> None:
    options = AssetsOptions(kubernetes="1.2", cache=tmp_path)

    with pytest.raises(AssetsError, match=r"kubernetes 1\.2 cannot be set up"):
        await assets(options).find([APISERVER])


def tar_of(files: Mapping[str, bytes]) -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return content.getvalue()


def is_running(pid: int) -> bool:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, 0)
        return True
    return False
