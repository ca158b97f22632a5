"""`up`: a control plane of one's own, the manager on it, and what it does, shown.

    binaries ─▶ control plane, registry ─▶ CRDs ─▶ manager ─┬▶ showcases, ─▶ stay
                                                            └▶ side by side

A showcase (`stage`) applies a sample, waits for what should come of it, makes a change
and shows a table of what its controller did. Everything is real but the node: kwok
plays it, so pods become Ready, and Jobs complete, without being run. The state of
cluster and registry survives in a folder; their processes end with this one. Whatever
KUBECONFIG says is not looked at.
"""

from __future__ import annotations

import asyncio
import secrets
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from rich.console import Console

from controller_runtime import (
    ConfigError,
    HttpTransport,
    Manager,
    Metrics,
    SystemClock,
    configure_logging,
    load_restconfig,
    on_stop_signal,
)
from controller_runtime.testing.envtest import (
    ControlPlane,
    ControlPlaneOptions,
    Registry,
    RegistryOptions,
    install_crds,
)
from controllers.manager import build
from controllers.oci import (
    Access,
    RegistryClient,
    RegistryClientOptions,
    RemoteRepository,
    Repository,
    ThrottleOptions,
    WireOptions,
)
from controllers.settings import Settings, Values, load, version
from controllers.up.programme import crds, showcases
from controllers.up.samples import end_earlier, fresh_namespace
from controllers.up.stage import Stage, perform
from controllers.web import Http

_SETTINGS: Values = {
    "log_format": "console",
    # Free ports: the usual ones may belong to something else on a laptop.
    "metrics_bind_address": "127.0.0.1:0",
    "metrics_secure": False,  # on the loopback, and gone with this process
    "health_probe_bind_address": "127.0.0.1:0",
    "debug_bind_address": "127.0.0.1:0",
}

KUBECONFIG = "kubeconfig"
INTERRUPTED = 130
"""Exit code when Ctrl-C came before everything was shown, as a shell would give."""


async def show(*, once: bool, state: Path, log_level: str) -> int:
    """Start all of it; return 0 when every sample reached its expected state.

    Without `once` it then stays up, and goes on reacting, until Ctrl-C.

    Raises:
        ControllerRuntimeError: With a sentence for the user.
    """
    settings = load({**_SETTINGS, "log_level": log_level}, {}, None)
    configure_logging(settings.log_format, settings.log_level)
    with _cancelled_by_signal():
        return await _show(settings, once=once, state=state)
    return INTERRUPTED


async def _show(settings: Settings, *, once: bool, state: Path) -> int:
    out = Console(highlight=False, soft_wrap=not sys.stdout.isatty())
    folder = await asyncio.to_thread(_writable, state)
    out.print(f"Pilothouse {version()}: a local control plane with the manager on it")
    async with (
        ControlPlane(
            ControlPlaneOptions(kwok=True, folder=folder / "cluster")
        ) as cluster,
        Registry(RegistryOptions(folder=folder / "registry")) as registry,
        _repositories(registry) as repository,
    ):
        await install_crds(cluster.api, *await asyncio.to_thread(crds))
        kubeconfig = await cluster.write_kubeconfig(folder / KUBECONFIG)
        config = load_restconfig(kubeconfig=kubeconfig, environ={}, home=folder)
        metrics = Metrics()
        async with (
            HttpTransport(config, metrics=metrics) as transport,
            asyncio.TaskGroup() as tasks,
        ):
            manager = build(settings, transport, metrics, config=config)
            running = tasks.create_task(manager.start(), name="manager")
            client = manager.api_reader
            await end_earlier(client)
            suffix = secrets.token_hex(2)
            names = settings.controllers
            namespaces = {
                name: await fresh_namespace(client, f"{name}-{suffix}")
                for name in names
            }

            def stage(name: str) -> Stage:
                return Stage(
                    client=client,
                    namespace=namespaces[name],
                    registry=registry.host,
                    repository=repository,
                    say=lambda line: out.print(f"  {name}: {line}", markup=False),
                )

            shown = await perform(showcases(names), stage, out)
            if not once:
                _say_what_next(out, kubeconfig, manager, shown.hints)
                with _until_cancelled():
                    await asyncio.wait([running])
            manager.stop()
    return 0 if shown.is_as_expected else 1


@asynccontextmanager
async def _repositories(
    registry: Registry,
) -> AsyncIterator[Callable[[str], RemoteRepository]]:
    """Give access to the repositories of a registry of one's own, in no way limited."""
    wire = WireOptions(throttle=ThrottleOptions(rate_per_host=1e6, burst_per_host=1000))
    async with Http() as http:
        options = RegistryClientOptions(wire=wire)
        registries = RegistryClient(http, clock=SystemClock(), options=options)

        def repository(path: str) -> RemoteRepository:
            where = Repository(registry.host, path)
            return registries.repository(where, Access(insecure=True))

        yield repository


def _writable(state: Path) -> Path:
    """Make the state folder, and return where it is."""
    try:
        state.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"cannot keep the cluster's state in {state} ({error.strerror}); "
            "name another folder with --state"
        ) from error
    return state.resolve()


@contextmanager
def _cancelled_by_signal() -> Iterator[None]:
    """Let the first SIGINT or SIGTERM cancel what is inside, and end there."""
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 - a coroutine runs in a task
    with on_stop_signal(task.cancel), _until_cancelled():
        yield


@contextmanager
def _until_cancelled() -> Iterator[None]:
    """Take a cancellation as the end of what is inside, and go on after it."""
    try:
        yield
    except asyncio.CancelledError:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine runs in a task
        task.uncancel()


def _say_what_next(
    out: Console, kubeconfig: Path, manager: Manager, hints: Sequence[str]
) -> None:
    lines = [
        f"export KUBECONFIG={kubeconfig}",
        *hints,
        f"curl {manager.metrics_url}   # plain, for this machine alone",
        f"curl {manager.debug_url}",
    ]
    out.print(
        "\nThe manager goes on reacting; Ctrl-C stops everything. In another terminal:"
    )
    out.print("\n".join(f"  {line}" for line in lines), markup=False)
    out.print()
