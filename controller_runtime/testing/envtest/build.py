"""Building a part from its Go module.

The module is copied into the cache first, since site-packages may be read-only, and
the program is built beside that copy, so that it can be renamed into place. Go runs
in a process group of its own: cancelling a build kills the compilers as well.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from controller_runtime.testing.envtest.binaries import GoModule, Part
from controller_runtime.testing.envtest.download import install
from controller_runtime.testing.envtest.errors import AssetsError
from controller_runtime.testing.envtest.process import Process
from controller_runtime.testing.envtest.progress import Progress

OLDEST_GO = (1, 26)
"""What the `go` lines of our modules ask for, which is what Kubernetes asks for."""

INSTALL_GO = "install Go {}.{} or newer (https://go.dev/dl)".format(*OLDEST_GO)


async def build(
    part: Part,
    module: GoModule,
    target: Path,
    *,
    environ: Mapping[str, str],
    progress: Progress,
) -> None:
    """Build a part and put it, executable, at `target`.

    Cancelling kills Go and leaves nothing behind but Go's own build cache, from
    which the next attempt goes on.

    Raises:
        AssetsError: There is no Go, it is too old, or the build failed.
    """
    go = await asyncio.to_thread(_go, environ)
    async with _copied(module, target.parent) as folder:
        version = await _go_version(go, folder, environ)
        doing = (
            f"building {part.name} {module.version} with {version} "
            f"({part.build_time} the first time)"
        )
        with progress.step(doing, done=f"built {part.name}"):
            await _go_build(go, part, module, folder, environ)
        await asyncio.to_thread(install, folder / "program", target)


async def _go_build(
    go: str, part: Part, module: GoModule, folder: Path, environ: Mapping[str, str]
) -> None:
    command = [go, "build", "-mod=readonly", "-trimpath", "-buildvcs=false"]
    command += ["-ldflags", module.ldflags, "-o", str(folder / "program"), part.package]
    await _run(command, folder, environ, what=f"building {part.name}")


async def _go_version(go: str, folder: Path, environ: Mapping[str, str]) -> str:
    """Ask for Go's version where the module is, which is where Go may switch it."""
    text = await _run([go, "env", "GOVERSION"], folder, environ, what="asking Go")
    found = re.search(r"go(\d+)\.(\d+)\S*", text)
    if found is None or (int(found[1]), int(found[2])) < OLDEST_GO:
        raise AssetsError(f"{go} is {text.strip() or 'of no version'}; {INSTALL_GO}")
    return found[0]


async def _run(
    command: list[str], folder: Path, environ: Mapping[str, str], *, what: str
) -> str:
    """Run Go in a module's folder and return what it wrote."""
    settings = {"CGO_ENABLED": "0", "GOWORK": "off", "GOFLAGS": ""}
    log = folder / "log"
    await asyncio.to_thread(log.unlink, missing_ok=True)
    process = await Process.start(
        "go", command, log=log, folder=folder, environ={**environ, **settings}
    )
    try:
        code = await process.wait()
    finally:
        # A second look at a process that has ended costs nothing.
        await process.stop(grace=0)
    text = await process.tail()
    if code != 0:
        raise AssetsError(f"{what} failed with code {code}; {INSTALL_GO}:\n{text}")
    return text


def _go(environ: Mapping[str, str]) -> str:
    go = shutil.which("go", path=environ.get("PATH", os.defpath))
    if go is None:
        raise AssetsError("there is no Go")
    return go


@asynccontextmanager
async def _copied(module: GoModule, parent: Path) -> AsyncIterator[Path]:
    folder = await asyncio.to_thread(_copy, module, parent)
    try:
        yield folder
    finally:
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)


def _copy(module: GoModule, parent: Path) -> Path:
    parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=".build.", dir=parent))
    for name, content in module.files.items():
        (folder / name).write_bytes(content)
    return folder
