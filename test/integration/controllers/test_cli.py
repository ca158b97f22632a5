"""What a user sees when something is wrong: one sentence, exit code 1, no traceback."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import NamedTuple

import aiohttp
import pytest

from controller_runtime.testing.envtest import Cluster

ROOT = Path(__file__).parents[3]
FREE_PORTS = (
    "--metrics-bind-address=127.0.0.1:0",
    "--health-probe-bind-address=127.0.0.1:0",
    "--debug-bind-address=127.0.0.1:0",
)


class Ended(NamedTuple):
    code: int
    out: str
    err: str


@asynccontextmanager
async def pilothouse(
    *arguments: str, environ: Mapping[str, str] | None = None
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run `python -m controllers`, and end it."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith("KUBE")}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "controllers",
        *arguments,
        cwd=ROOT,
        env=clean | dict(environ or {}),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def end_of(process: asyncio.subprocess.Process) -> Ended:
    async with asyncio.timeout(60):
        out, err = await process.communicate()
    assert process.returncode is not None
    return Ended(process.returncode, out.decode(), err.decode())


async def ended(*arguments: str, environ: Mapping[str, str] | None = None) -> Ended:
    async with pilothouse(*arguments, environ=environ) as process:
        return await end_of(process)


async def line_with(process: asyncio.subprocess.Process, text: str) -> str:
    """Wait for a line of the log."""
    assert process.stderr is not None
    seen = []
    async with asyncio.timeout(60):
        async for line in process.stderr:
            seen.append(line.decode())
            if text in seen[-1]:
                return seen[-1]
    raise AssertionError(f"the log has no {text!r}: {''.join(seen)}")


def is_a_sentence(answer: Ended, *words: str) -> None:
    """Hold an answer to what a user may expect of a mistake."""
    last = answer.err.strip().splitlines()[-1]
    assert answer.code == 1, answer
    assert "Traceback" not in answer.err, answer.err
    assert last.startswith("pilothouse: "), answer.err
    assert all(word in last for word in words), last


@pytest.fixture
def taken_port() -> Iterator[int]:
    with closing(socket.socket()) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


@pytest.fixture
def closed_port() -> int:
    with closing(socket.socket()) as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def written(path: Path, text: str) -> str:
    path.touch(mode=0o600)
    path.write_text(text, encoding="utf-8")
    return str(path)


async def test_an_api_server_that_is_down_is_named(
    tmp_path: Path, control_plane: Cluster, closed_port: int
) -> None:
    url = f"https://127.0.0.1:{closed_port}"
    text = control_plane.kubeconfig().replace(control_plane.url, url)

    answer = await ended("run", "--kubeconfig", written(tmp_path / "config", text))

    is_a_sentence(answer, "cannot reach", url, str(tmp_path / "config"))


async def test_a_kubeconfig_that_is_absent_is_named(tmp_path: Path) -> None:
    absent = str(tmp_path / "absent")

    is_a_sentence(await ended("run", "--kubeconfig", absent), absent)


async def test_a_kubeconfig_that_is_garbage_is_named(tmp_path: Path) -> None:
    garbage = written(tmp_path / "config", "apiVersion: [")

    is_a_sentence(await ended("run", "--kubeconfig", garbage), garbage)


async def test_without_any_kubeconfig_the_places_are_named(tmp_path: Path) -> None:
    answer = await ended("run", environ={"HOME": str(tmp_path)})

    is_a_sentence(answer, "kubeconfig")


async def test_an_expired_certificate_is_named_with_its_date(
    tmp_path: Path, control_plane: Cluster
) -> None:
    expired = written(tmp_path / "config", control_plane.kubeconfig(expired=True))

    answer = await ended("run", "--kubeconfig", expired)

    is_a_sentence(answer, "certificate", "expired", expired)


async def test_a_taken_port_is_named_with_its_flag(
    kubeconfig: Path, taken_port: int
) -> None:
    answer = await ended(
        "run",
        f"--kubeconfig={kubeconfig}",
        f"--metrics-bind-address=127.0.0.1:{taken_port}",
        "--health-probe-bind-address=127.0.0.1:0",
        "--debug-bind-address=127.0.0.1:0",
    )

    is_a_sentence(answer, str(taken_port), "--metrics-bind-address")


async def test_a_missing_permission_names_kind_verb_and_account(
    tmp_path: Path, control_plane: Cluster
) -> None:
    nobody = written(tmp_path / "config", control_plane.kubeconfig(user="nobody"))

    answer = await ended(
        "run", "--controllers=reload", f"--kubeconfig={nobody}", *FREE_PORTS
    )

    is_a_sentence(answer, 'User "nobody" cannot ', ' resource "', "pilothouse rbac")
    assert re.search("cannot (list|watch) resource", answer.err), answer.err


async def test_a_server_that_is_no_api_server_is_called_that(
    tmp_path: Path, control_plane: Cluster
) -> None:
    text = control_plane.kubeconfig().replace(
        control_plane.url, f"{control_plane.url}/nowhere"
    )

    answer = await ended("run", f"--kubeconfig={written(tmp_path / 'config', text)}")

    is_a_sentence(answer, "is no API server", "/nowhere")


@pytest.mark.parametrize(
    ("flag", "words"),
    [
        ("--log-level=loud", ("--log-level", "'debug'")),
        ("--state=/proc/nope", ("/proc/nope", "--state")),
        ("--state=README.md/x", ("README.md/x", "--state")),
    ],
)
async def test_a_wrong_flag_of_up_is_named(flag: str, words: tuple[str, ...]) -> None:
    is_a_sentence(await ended("up", "--once", flag), *words)


async def test_a_wrong_flag_is_named(kubeconfig: Path) -> None:
    answer = await ended("run", f"--kubeconfig={kubeconfig}", "--reload-workers=0")

    is_a_sentence(answer, "--reload-workers", "greater than or equal to 1")


async def test_without_go_and_network_the_remedy_is_named(
    tmp_path: Path, closed_port: int
) -> None:
    nowhere = f"http://127.0.0.1:{closed_port}"
    answer = await ended(
        "up",
        "--once",
        f"--state={tmp_path / 'state'}",
        environ={
            "PATH": str(tmp_path),
            "PILOTHOUSE_CACHE": str(tmp_path / "cache"),
            "PILOTHOUSE_KUBERNETES_URL": nowhere,
            "PILOTHOUSE_ETCD_URL": nowhere,
            "PILOTHOUSE_KWOK_URL": nowhere,
        },
    )

    is_a_sentence(answer, "Go", "1.26")


async def test_nobody_to_ask_is_a_no(kubeconfig: Path, control_plane: Cluster) -> None:
    answer = await ended("run", "--ask", f"--kubeconfig={kubeconfig}", *FREE_PORTS)

    assert control_plane.url in answer.err
    is_a_sentence(answer, "YES=1")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_stops_the_manager_in_good_order(
    kubeconfig: Path, number: signal.Signals
) -> None:
    arguments = ("run", "--ask", f"--kubeconfig={kubeconfig}", *FREE_PORTS)
    async with pilothouse(*arguments, environ={"YES": "1"}) as process:
        await line_with(process, "manager started")

        process.send_signal(number)
        answer = await end_of(process)

    assert answer.code == 0, answer
    assert "stopped" in answer.err
    assert "Traceback" not in answer.err


async def test_a_wrong_flag_of_the_stand_in_is_named() -> None:
    is_a_sentence(await ended("reloader", "--auto-reload"), "--auto-reload", "--help")


async def test_the_stand_in_serves_all_on_one_port_and_logs_as_logrus(
    kubeconfig: Path,
) -> None:
    """Scenario 31: TestHealthz."""
    flags = ("--metrics-bind-address=127.0.0.1:0", "--log-level", "debug")
    environ = {"KUBECONFIG": str(kubeconfig), "KUBERNETES_NAMESPACE": "kube-public"}
    async with pilothouse("reloader", *flags, environ=environ) as process:
        serving = await line_with(process, "url=http")
        await line_with(process, "synced")
        url = serving.partition("url=")[2].split()[0]
        async with aiohttp.ClientSession(base_url=url) as session:
            statuses = {}
            for path in ("/metrics", "/live", "/healthz"):
                async with session.get(path) as answer:
                    statuses[path] = answer.status
                    text = await answer.text()
                if path == "/metrics":
                    assert "reloader_reload_executed_total" in text

        process.send_signal(signal.SIGTERM)
        end = await end_of(process)

    assert statuses == {"/metrics": 200, "/live": 200, "/healthz": 200}
    assert serving.startswith("time=")
    assert end.code == 0, end


async def test_roles_are_written_without_a_cluster(tmp_path: Path) -> None:
    file = tmp_path / "role.yaml"

    answer = await ended(
        "rbac",
        "--namespaced",
        "--reload-namespaces=shop",
        f"--output={file}",
        environ={"HOME": str(tmp_path)},
    )

    assert answer.code == 0, answer
    assert "not in a Role: create on tokenreviews" in answer.err
    assert "kind: Role\n" in file.read_text(encoding="utf-8")
    assert answer.out == ""


async def test_roles_for_an_election_in_an_unknown_namespace_are_refused() -> None:
    is_a_sentence(await ended("rbac", "--leader-elect"), "--leader-election-namespace")


async def test_the_version_is_that_of_the_checkout() -> None:
    answer = await ended("version")

    assert answer.out == f"pilothouse {(ROOT / 'VERSION').read_text().strip()}\n"
