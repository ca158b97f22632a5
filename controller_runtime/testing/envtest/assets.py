"""Finding the binaries of a control plane, or making them.

    KUBEBUILDER_ASSETS ──▶ kubebuilder's folder ──▶ cache ──▶ release ──▶ go build
                                                      ▲          │           │
                                                      └──────────┴───────────┘

A binary's place in the cache is named after its version, the platform and the hash
of what it is built from, so what is there is right and is never replaced. One builder
works at a time, under a file lock that the kernel drops with its process; whoever
waited for the lock looks into the cache again before doing anything.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
import threading
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import astuple, dataclass, field
from pathlib import Path

from controller_runtime.testing.envtest.binaries import (
    GoModule,
    Mirrors,
    Part,
    Platform,
    go_module,
    release_of,
)
from controller_runtime.testing.envtest.build import INSTALL_GO, build
from controller_runtime.testing.envtest.download import download, host, reachable
from controller_runtime.testing.envtest.errors import (
    AssetsError,
    ChecksumError,
    DownloadError,
)
from controller_runtime.testing.envtest.progress import Progress

KUBEBUILDER = Path("/usr/local/kubebuilder/bin")
"""Where Go's envtest looks when `KUBEBUILDER_ASSETS` is not set."""

LOCK_POLL = 0.2
"""Seconds between two tries to get the lock. A blocking `flock` would sit in a thread
that nothing can cancel."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AssetsOptions:
    """Where binaries are looked for, and what may be done to get them."""

    kubernetes: str | None = None
    """Version of Kubernetes, or the start of one; by default our newest."""

    folder: Path | None = None
    """A folder that holds the binaries: `KUBEBUILDER_ASSETS`."""

    kubebuilder: Path | None = None
    """Another, which need not exist; not asked when `kubernetes` names a version."""

    cache: Path = field(default_factory=lambda: cache_folder(os.environ))
    """`$PILOTHOUSE_CACHE`, or `pilothouse` in `$XDG_CACHE_HOME` or `~/.cache`."""

    mirrors: Mirrors = field(default_factory=Mirrors)
    """Where releases are fetched from."""

    download: bool = True
    """Whether releases may be fetched."""

    build: bool = True
    """Whether Go may build what is missing."""

    environ: Mapping[str, str] = field(
        default_factory=lambda: dict(os.environ), repr=False
    )
    """What Go is looked for and run with."""

    @classmethod
    def from_environ(
        cls,
        environ: Mapping[str, str],
        *,
        kubernetes: str | None = None,
        download: bool = True,
        build: bool = True,
    ) -> AssetsOptions:
        """Read the folder, the cache and the mirrors from environment variables."""
        folder = environ.get("KUBEBUILDER_ASSETS")
        return cls(
            kubernetes=kubernetes,
            folder=Path(folder) if folder else None,
            kubebuilder=KUBEBUILDER,
            cache=cache_folder(environ),
            mirrors=Mirrors.from_environ(environ),
            download=download,
            build=build,
            environ=dict(environ),
        )


def cache_folder(environ: Mapping[str, str]) -> Path:
    """Return the folder that binaries are kept in."""
    if own := environ.get("PILOTHOUSE_CACHE"):
        return Path(own)
    shared = environ.get("XDG_CACHE_HOME")
    return (Path(shared) if shared else Path.home() / ".cache") / "pilothouse"


class Assets:
    """The binaries of a control plane, found or made on demand."""

    def __init__(self, options: AssetsOptions, *, progress: Progress) -> None:
        self._options = options
        self._progress = progress
        self._here = Platform.here()
        self._reachable: set[str] | None = None

    async def find(self, parts: Iterable[Part]) -> Mapping[str, Path]:
        """Return the path of every part by its name, one after the other.

        Cancelling leaves nothing half-written.

        Raises:
            ChecksumError: A release is not what was published.
            AssetsError: A part is not to be had; the text says what to install.
        """
        return {part.name: await self._find(part) for part in parts}

    async def link(self, parts: Iterable[Part], folder: Path | None = None) -> Path:
        """Gather the parts in one folder of links and return it.

        That folder is what `KUBEBUILDER_ASSETS` may point to, for Go's envtest too.
        """
        paths = await self.find(parts)
        return await asyncio.to_thread(self._link, paths, folder)

    async def _find(self, part: Part) -> Path:
        if (given := await asyncio.to_thread(self._given, part)) is not None:
            return given
        module = await asyncio.to_thread(self._module, part)
        target = self._target(part, module)
        if not await asyncio.to_thread(target.exists):
            async with self._lock():
                if not await asyncio.to_thread(target.exists):
                    await asyncio.to_thread(_sweep, target.parent)
                    await self._make(part, module, target)
        return target

    def _given(self, part: Part) -> Path | None:
        folder, usual = self._options.folder, self._options.kubebuilder
        if folder is not None:
            if os.access(folder / part.name, os.X_OK):
                return (folder / part.name).absolute()
            self._progress.say(
                f"KUBEBUILDER_ASSETS={folder} holds no {part.name}; looking elsewhere"
            )
        if usual is None or self._options.kubernetes is not None:
            return None
        return usual / part.name if os.access(usual / part.name, os.X_OK) else None

    def _module(self, part: Part) -> GoModule:
        wanted = self._options.kubernetes if part.project == "kubernetes" else None
        return go_module(part.project, wanted)

    def _target(self, part: Part, module: GoModule) -> Path:
        name = "-".join((part.project, module.version, *self._here, module.digest))
        return self._options.cache / "envtest" / name / part.name

    async def _make(self, part: Part, module: GoModule, target: Path) -> None:
        """Put a part into the cache, by whichever of the two ways works."""
        problems: list[str] = []
        for allowed, way in (
            (self._options.download, self._download),
            (self._options.build, self._build),
        ):
            try:
                if allowed:
                    await way(part, module, target)
                    return
            except ChecksumError:
                raise
            except AssetsError as problem:
                problems.append(str(problem))
        raise _not_to_be_had(f"{part.name} {module.version}", problems)

    async def _download(self, part: Part, module: GoModule, target: Path) -> None:
        release = release_of(part, module.version, self._here, self._options.mirrors)
        for url in (release.checksum_url, release.url):
            await self._require(host(url))
        stop = threading.Event()
        doing = f"downloading {part.name} {module.version} from {host(release.url)}"
        with self._progress.step(doing, done=f"downloaded {part.name}") as step:
            try:
                await asyncio.to_thread(
                    download, release, target, reached=step.reached, stop=stop
                )
            finally:
                stop.set()

    async def _require(self, wanted: str) -> None:
        """Raise, once a host, if it does not answer; all are asked the first time."""
        if self._reachable is None:
            urls = astuple(self._options.mirrors)
            self._reachable = await asyncio.to_thread(reachable, urls)
            silent = sorted({host(url) for url in urls} - self._reachable)
            if silent:
                self._progress.say(f"no releases: {', '.join(silent)} do not answer")
        if wanted not in self._reachable:
            raise DownloadError(f"{wanted} cannot be reached from here")

    async def _build(self, part: Part, module: GoModule, target: Path) -> None:
        await build(
            part,
            module,
            target,
            environ=self._options.environ,
            progress=self._progress,
        )

    @asynccontextmanager
    async def _lock(self) -> AsyncIterator[None]:
        """Hold the cache's lock. It goes with the process, however that ends."""
        path = self._options.cache / "envtest" / "lock"
        number = await asyncio.to_thread(_open, path)
        try:
            if not _locked(number):
                self._progress.say(f"waiting for another builder, who holds {path} …")
            while not _locked(number):  # noqa: ASYNC110 - the event is in another process
                await asyncio.sleep(LOCK_POLL)
            yield
        finally:
            os.close(number)

    def _link(self, paths: Mapping[str, Path], folder: Path | None) -> Path:
        module = go_module("kubernetes", self._options.kubernetes)
        name = "-".join(("k8s", module.version, *self._here))
        folder = folder or self._options.cache / "envtest" / name
        folder.mkdir(parents=True, exist_ok=True)
        for name, path in paths.items():
            _point(folder / name, path)
        return folder.absolute()


def _point(link: Path, path: Path) -> None:
    """Make a link, or move it over, in one step."""
    if link.absolute() == path:
        return
    fresh = link.with_name(f".{link.name}.{os.getpid()}")
    fresh.symlink_to(path)
    fresh.replace(link)


def _not_to_be_had(what: str, problems: list[str]) -> AssetsError:
    setup = "`python -m controller_runtime.testing.envtest setup`"
    if not problems:
        return AssetsError(
            f"{what} is neither in KUBEBUILDER_ASSETS nor in the cache; run {setup}, "
            "which downloads or builds it"
        )
    return AssetsError(
        f"{what} is neither in KUBEBUILDER_ASSETS nor in the cache, and can be neither "
        f"downloaded nor built ({'; '.join(problems)}): {INSTALL_GO}, or set "
        f"KUBEBUILDER_ASSETS to a folder that holds it, then run {setup}"
    )


def _open(path: Path) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _locked(number: int) -> bool:
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _sweep(folder: Path) -> None:
    """Remove what a killed builder left; only who holds the lock may do this."""
    for left in folder.glob(".*") if folder.exists() else ():
        if left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink(missing_ok=True)
