"""The manager as a process, on a real control plane: what does it cost, how fast is it?

    python benchmarks/manager.py [--rounds 20]

Start to ready: from the start of `python -m controllers run` to the first 200 of
`/readyz`. Memory: resident, ten seconds after that, with nothing to do. Reaction: from
just before the Secret is patched to the watch event with the patched template, both
seen from this process, so two trips to the API server are in it.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.request import urlopen

from controller_runtime import (
    Client,
    GroupVersionKind,
    HttpTransport,
    Json,
    Scheme,
    load_restconfig,
    merge_patch,
)
from controller_runtime.testing.envtest import ControlPlane, ControlPlaneOptions
from controller_runtime.testing.eventually import eventually

ROOT = Path(__file__).parent.parent
DEPLOYMENT = GroupVersionKind("apps", "v1", "Deployment")
SECRET = GroupVersionKind("", "v1", "Secret")
RECORD = "reloader.stakater.com/applied-hashes"
PROBES = "127.0.0.1:18081"

SHOP: Json = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {
        "name": "shop",
        "namespace": "default",
        "annotations": {"secret.reloader.stakater.com/reload": "shop"},
    },
    "spec": {
        "replicas": 0,
        "selector": {"matchLabels": {"app": "shop"}},
        "template": {
            "metadata": {"labels": {"app": "shop"}},
            "spec": {"containers": [{"name": "web", "image": "shop"}]},
        },
    },
}


@asynccontextmanager
async def manager(kubeconfig: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "controllers", "run", f"--kubeconfig={kubeconfig}"),
        *("--metrics-bind-address=0", f"--health-probe-bind-address={PROBES}"),
        "--debug-bind-address=0",
        "--log-level=warning",
        cwd=ROOT,
    )
    try:
        yield process
    finally:
        process.terminate()
        await process.wait()


def is_ready() -> bool:
    try:
        with urlopen(f"http://{PROBES}/readyz", timeout=1) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


async def start_to_ready() -> float:
    loop = asyncio.get_running_loop()
    began = loop.time()
    while not await asyncio.to_thread(is_ready):  # noqa: ASYNC110 - it only answers
        await asyncio.sleep(0.005)
    return loop.time() - began


def resident(pid: int) -> float:
    """Return resident memory in MB."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


async def reaction(client: Client, value: int) -> float:
    """Change the Secret; return the seconds until the template is seen to change."""
    before = await client.get(DEPLOYMENT, "shop", "default")
    template = before["spec"]["template"]
    loop = asyncio.get_running_loop()
    async with asyncio.TaskGroup() as tasks:
        seen = tasks.create_task(
            eventually(
                client,
                DEPLOYMENT,
                "shop",
                "default",
                lambda now: now["spec"]["template"] != template,
            )
        )
        await asyncio.sleep(0.1)  # the watch is open
        began = loop.time()
        change = merge_patch({"stringData": {"password": str(value)}})
        await client.patch(SECRET, "shop", "default", patch=change)
        await seen
    return loop.time() - began


async def prepare(client: Client) -> None:
    await client.create(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "shop", "namespace": "default"},
        }
    )
    await client.create(SHOP)


async def measure(rounds: int) -> None:
    async with ControlPlane(ControlPlaneOptions()) as cluster:
        home = Path(tempfile.mkdtemp(dir=cluster.folder))
        kubeconfig = await cluster.write_kubeconfig(home / "kubeconfig")
        config = load_restconfig(kubeconfig=kubeconfig, environ={}, home=home)
        async with HttpTransport(config) as transport:
            client = Client(transport, scheme=Scheme())
            await prepare(client)
            starts = []
            for _ in range(3):
                async with manager(kubeconfig):
                    starts.append(await start_to_ready())
            async with manager(kubeconfig) as process:
                starts.append(await start_to_ready())
                await asyncio.sleep(10)
                memory = resident(process.pid)
                await eventually(
                    client,
                    DEPLOYMENT,
                    "shop",
                    "default",
                    lambda d: RECORD in d["metadata"]["annotations"],
                )
                times = [await reaction(client, n) for n in range(rounds)]
    report("start to ready, s", starts, 2)
    report("resident memory idle, MB", [memory], 1)
    report("Secret change to patched template, ms", [t * 1000 for t in times], 1)


def report(what: str, values: Sequence[float], digits: int) -> None:
    low, middle, high = min(values), statistics.median(values), max(values)
    text = f"{middle:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"
    sys.stdout.write(f"{what:40} {text}  n={len(values)}\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    asyncio.run(measure(parser.parse_args().rounds))
