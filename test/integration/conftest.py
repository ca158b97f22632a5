"""One control plane for all integration tests, and a namespace for each.

Both come from `controller_runtime.testing.pytest_plugin`, as they do for its users. A
test that stops, breaks or reconfigures the API server starts a `ControlPlane` of its
own. With `USE_EXISTING_CLUSTER=true` nothing is started.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from blockbuster import BlockBuster, blockbuster_ctx

from controller_runtime.testing.envtest import Cluster

HERE = Path(__file__).parent

PACKAGES = ["api", "controller_runtime", "controllers"]

SECONDS = 120
"""Longest that one test may take, its share of starting the control plane included."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.integration)
            if item.get_closest_marker("timeout") is None:
                item.add_marker(pytest.mark.timeout(SECONDS))


@pytest.fixture(scope="session", autouse=True)
def no_blocking_calls() -> Iterator[BlockBuster]:
    """Fail a test whose code under test blocks the event loop."""
    with blockbuster_ctx(PACKAGES) as blockbuster:
        for function in blockbuster.functions.values():
            # Reads /proc, which is memory.
            function.can_block_in("prometheus_client/process_collector.py", "collect")
            # Read while a manager is set up, before anything runs.
            function.can_block_in("controllers/autopilot/loader.py", "load_catalog")
            # A small file, read once for each zone that somebody names.
            function.can_block_in("controllers/reload/gates/schedules.py", "_zone")
        yield blockbuster


@pytest.fixture(scope="session")
def envtest_flags() -> Sequence[str]:
    """Take controllers and a kwok node along.

    Binaries that are missing fail the test and are not fetched: that takes minutes.
    """
    return ("--kwok", "--no-download", "--no-build")


@pytest.fixture(scope="session")
def kubeconfig(
    control_plane: Cluster, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Return the path of the administrator's kubeconfig."""
    path = tmp_path_factory.mktemp("kubeconfig") / "admin"
    path.touch(mode=0o600)
    path.write_text(control_plane.kubeconfig(), encoding="utf-8")
    return path
