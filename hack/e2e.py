"""The first scenarios of reload, on a cluster that is there already.

    current context ─▶ shown, asked for ─▶ CRD, if it lacks ─▶ pytest -m e2e ─▶ CRD away

The tests are those of test/integration that carry the mark `e2e`. The manager runs
here, and each test has a namespace of its own, which is deleted when the test is over.
A CRD that is there is left as it is. `make test-e2e` alone runs the same on a control
plane of ours, and does not come here.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from controller_runtime import (
    ControllerRuntimeError,
    HttpTransport,
    NotFoundError,
    RestConfig,
)
from controller_runtime.testing.envtest.api import Api
from controller_runtime.testing.envtest.crds import install_crds
from controller_runtime.testing.envtest.existing import ContextApi
from controller_runtime.testing.envtest.kubeconfig import CurrentContext
from controllers.crds import CRDS
from controllers.run import confirmed, server_version

ROOT = Path(__file__).parents[1]

NAME = "reloaderconfigs.reloader.stakater.com"
CRD = ROOT / CRDS / "reloader.stakater.com_reloaderconfigs.yaml"
PATH = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{NAME}"

NOTHING_RAN = 1


def run(arguments: list[str]) -> int:
    """Ask, and run the tests; return the exit code.

    Raises:
        ControllerRuntimeError: With a sentence for the user.
    """
    config = CurrentContext.of(os.environ, Path.home()).restconfig()
    api = ContextApi.of(config)
    version, is_there = asyncio.run(_look(api, config))
    remark = "" if is_there else f"{NAME}; it is installed while the tests run"
    if not confirmed(config, version, remark, what="the tests"):
        return NOTHING_RAN
    os.environ["USE_EXISTING_CLUSTER"] = "true"  # what the fixtures go by
    with _crd(api, lent=not is_there):
        return pytest.main(["-m", "e2e", str(ROOT / "test/integration"), *arguments])


async def _look(api: Api, config: RestConfig) -> tuple[str, bool]:
    """Ask for the version of a server, and whether it has the CRD."""
    async with HttpTransport(config) as transport:
        version = await server_version(transport, config)
    try:
        await api.get(PATH)
    except NotFoundError:
        return version, False
    return version, True


@contextmanager
def _crd(api: Api, *, lent: bool) -> Iterator[None]:
    """Have the CRD on the cluster, and take it away if we brought it."""
    try:
        if lent:
            asyncio.run(install_crds(api, CRD))
        yield
    finally:
        if lent:
            asyncio.run(api.delete(PATH))


def main(arguments: list[str]) -> int:
    """Run it, and say what is wrong in a sentence."""
    try:
        return run(arguments)
    except ControllerRuntimeError as error:
        sys.stderr.write(f"test-e2e: {error}\n")
        return NOTHING_RAN


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
