"""A control plane of one's own, for as long as a `with` lasts.

    etcd ──▶ kube-apiserver ──▶ kube-controller-manager   (default accounts)
                            ├─▶ kube-scheduler            (binds pods)
                            └─▶ kwok                      (nodes ready, pods running)

The order is that of the arrows; what has one arrow in common starts together. It is
ready when whoever enters can use it: with a controller manager the `default` service
account exists, with kwok the nodes are Ready. Leaving stops everything in the opposite
order, and nothing stays: no process, no port, no temporary folder.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import astuple, dataclass, field
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Self, cast

from controller_runtime.clock import Clock
from controller_runtime.errors import ApiError
from controller_runtime.testing.envtest import programs
from controller_runtime.testing.envtest.access import (
    ADMIN,
    Access,
    address,
    load_ports,
    save_ports,
)
from controller_runtime.testing.envtest.api import Api
from controller_runtime.testing.envtest.assets import Assets, AssetsOptions
from controller_runtime.testing.envtest.binaries import (
    APISERVER,
    CONTROLLER_MANAGER,
    ETCD,
    KWOK,
    SCHEDULER,
    Part,
)
from controller_runtime.testing.envtest.certificates import (
    CertificateAuthority,
    KeyPair,
    load_or_create_authority,
    load_or_create_signing_keys,
    write_private,
)
from controller_runtime.testing.envtest.errors import ControlPlaneError
from controller_runtime.testing.envtest.folder import Folder
from controller_runtime.testing.envtest.kubeconfig import kubeconfig_for
from controller_runtime.testing.envtest.ports import (
    are_free,
    free_ports,
    start_on_free_ports,
)
from controller_runtime.testing.envtest.process import Process
from controller_runtime.testing.envtest.programs import Places, Ports
from controller_runtime.testing.envtest.progress import Progress, progress_for

_Check = Callable[[], Awaitable[bool]]

_IDENTITIES: Mapping[str, tuple[str, Sequence[str]]] = {
    CONTROLLER_MANAGER.name: ("system:kube-controller-manager", ("system:masters",)),
    SCHEDULER.name: ("system:kube-scheduler", ("system:masters",)),
    KWOK.name: ("system:kwok", ("system:masters",)),
}
"""Who our programs are. Their own roles would do for less, but need each controller
to fetch a token of its own first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlPlaneOptions:
    """What to start, and where."""

    folder: Path | None = None
    """Where it keeps its data, over restarts; by default a temporary folder."""

    controller_manager: bool = False
    """Whether Deployments roll, owners are collected and namespaces go away. As in
    Go's envtest they do not; then ServiceAccount admission is off as well."""

    kwok: bool = False
    """Whether there are nodes, on which pods become Ready without being run. Brings a
    controller manager and a scheduler along."""

    nodes: int = 1
    """How many nodes kwok plays."""

    scheduler: bool = False
    """Whether pods are bound to nodes."""

    apiserver_flags: Mapping[str, str] = field(default_factory=dict)
    """Further flags of kube-apiserver, without dashes; they win over ours."""

    start_timeout: float = 20
    """Seconds until everything must be ready, without the time for finding or building
    binaries. 20 as in Go's envtest."""

    stop_timeout: float = 20
    """Seconds that each program has for stopping before it is killed."""

    start_tries: int = 5
    """How often to start over with other ports when someone took one in between."""

    assets: AssetsOptions = field(
        default_factory=lambda: AssetsOptions.from_environ(os.environ)
    )
    """Where the binaries come from."""

    @property
    def parts(self) -> Sequence[Part]:
        """The programs that this takes."""
        return (
            ETCD,
            APISERVER,
            *((CONTROLLER_MANAGER,) if self.controller_manager or self.kwok else ()),
            *((SCHEDULER,) if self.scheduler or self.kwok else ()),
            *((KWOK,) if self.kwok else ()),
        )


class ControlPlane:
    """A control plane that runs while it is entered."""

    def __init__(
        self,
        options: ControlPlaneOptions | None = None,
        *,
        progress: Progress | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.options = options or ControlPlaneOptions()
        self._progress = progress or progress_for(sys.stderr)
        self._clock = clock
        self._binaries: Mapping[str, Path] = {}
        self._folder: Folder | None = None
        self._ports: Ports | None = None
        self._access: Access | None = None
        self._processes: dict[str, Process] = {}
        self._deadline = 0.0

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Start everything and return when it is ready; after a failure nothing runs.

        Raises:
            AssetsError: A binary is not to be had.
            ProcessDiedError: A program ended; the text has the end of its log.
            ControlPlaneError: It took too long, or the folder is in use.
        """
        assets = Assets(self.options.assets, progress=self._progress)
        self._binaries = await assets.find(self.options.parts)
        loop = asyncio.get_running_loop()
        started = loop.time()
        try:
            self._folder = await asyncio.to_thread(self._open_folder)
            await self._start_on_free_ports()
        except BaseException:
            await self.stop()
            raise
        seconds = loop.time() - started
        self._progress.say(f"control plane ready at {self.url} in {seconds:.1f} s")

    async def stop(self) -> None:
        """Stop everything, last started first, and clean up. May be called again."""
        try:
            await self._stop_programs()
        finally:
            folder, self._folder = self._folder, None
            if folder is not None:
                await asyncio.to_thread(folder.close)

    @property
    def folder(self) -> Path:
        """Where the data is, and the logs in `log/`."""
        return self._places.folder

    @property
    def url(self) -> str:
        return self._granted.url

    @property
    def ca_pem(self) -> bytes:
        return self._granted.ca_pem

    @property
    def api(self) -> Api:
        return self._granted.api

    @property
    def processes(self) -> Mapping[str, Process]:
        """The programs by name, those that a test has stopped or killed included."""
        return MappingProxyType(self._processes)

    async def memory(self) -> Mapping[str, int | None]:
        """Resident bytes by program."""
        return await asyncio.to_thread(
            lambda: {name: each.memory for name, each in self._processes.items()}
        )

    def client_certificate(
        self, user: str, groups: Sequence[str] = (), *, expired: bool = False
    ) -> KeyPair:
        return self._granted.client_certificate(user, groups, expired=expired)

    def kubeconfig(
        self,
        *,
        user: str = ADMIN,
        groups: Sequence[str] | None = None,
        expired: bool = False,
    ) -> str:
        return self._granted.kubeconfig(user=user, groups=groups, expired=expired)

    async def write_kubeconfig(
        self,
        path: Path,
        *,
        user: str = ADMIN,
        groups: Sequence[str] | None = None,
        expired: bool = False,
    ) -> Path:
        return await self._granted.write_kubeconfig(
            path, user=user, groups=groups, expired=expired
        )

    async def stop_apiserver(self) -> None:
        """Stop kube-apiserver in order; its port refuses connections afterwards."""
        await self._processes[APISERVER.name].stop(grace=self.options.stop_timeout)

    async def kill_apiserver(self) -> None:
        """End kube-apiserver as a crash would: connections break without a goodbye."""
        await self._processes[APISERVER.name].stop(grace=0)

    async def start_apiserver(self) -> None:
        """Start it again on the same port, with the same data, and wait until ready."""
        self._deadline = self._now() + self.options.start_timeout
        await self._start_apiserver()

    async def restart_apiserver(self) -> None:
        """Stop it in order and start it again."""
        await self.stop_apiserver()
        await self.start_apiserver()

    @property
    def _places(self) -> Places:
        if self._folder is None:
            raise ControlPlaneError("the control plane is not running")
        return self._folder.places

    @property
    def _granted(self) -> Access:
        if self._access is None:
            raise ControlPlaneError("the control plane has not started yet")
        return self._access

    def _has(self, part: Part) -> bool:
        return part in self.options.parts

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    def _open_folder(self) -> Folder:
        wanted = self.options.folder
        return Folder.make() if wanted is None else Folder.keep(wanted)

    async def _start_on_free_ports(self) -> None:
        await start_on_free_ports(
            *(self._start_programs, self._stop_programs),
            tries=self.options.start_tries,
        )

    async def _start_programs(self) -> None:
        self._deadline = self._now() + self.options.start_timeout
        await asyncio.to_thread(self._prepare)
        await self._start_etcd()
        await self._start_apiserver()
        await self._start_rest()

    def _prepare(self) -> None:
        """Choose ports and write keys, certificates and kubeconfigs."""
        places = self._places
        ports = load_ports(places)
        if ports is None or not are_free(astuple(ports)):
            etcd, etcd_peer, apiserver = free_ports(3)
            ports = Ports(etcd=etcd, etcd_peer=etcd_peer, apiserver=apiserver)
        self._ports = ports
        save_ports(places, ports)
        places.home.mkdir(exist_ok=True)
        authority = load_or_create_authority(places.pki, clock=self._clock)
        load_or_create_signing_keys(places.pki)
        serving = authority.server(programs.SERVER_NAMES, programs.SERVER_ADDRESSES)
        serving.write(places.pki, "apiserver")
        self._access = Access(address(ports), authority)
        write_private(places.kubeconfig, self.kubeconfig().encode())
        for part in self.options.parts:
            if part.name in _IDENTITIES:
                self._introduce(part, authority)

    def _introduce(self, part: Part, authority: CertificateAuthority) -> None:
        user, groups = _IDENTITIES[part.name]
        text = kubeconfig_for(
            self.url, ca=authority.pem, client=authority.client(user, groups), user=user
        )
        write_private(self._places.kubeconfig_of(part.name), text.encode())

    async def _start_etcd(self) -> None:
        ports = self._chosen_ports()
        durable = self.options.folder is not None
        binary = self._binaries[ETCD.name]
        await self._start(
            ETCD, programs.etcd(binary, self._places, ports, durable=durable)
        )
        api = Api(url=f"http://127.0.0.1:{ports.etcd}")
        await self._until(ETCD, lambda: api.answers("/health"))

    async def _start_apiserver(self) -> None:
        command = programs.apiserver(
            self._binaries[APISERVER.name],
            self._places,
            self._chosen_ports(),
            service_accounts=self._has(CONTROLLER_MANAGER),
            extra=self.options.apiserver_flags,
        )
        await self._start(APISERVER, command)
        await self._until(APISERVER, lambda: self.api.answers("/readyz"))

    async def _start_rest(self) -> None:
        if self._has(KWOK):
            # A kept folder has the Leases of a kwok that is gone, and a new one would
            # wait for their end, which takes 40 s, before it plays those nodes.
            await self.api.delete(programs.NODE_LEASES)
        for part, command in (
            (CONTROLLER_MANAGER, programs.controller_manager),
            (SCHEDULER, programs.scheduler),
            (KWOK, programs.kwok),
        ):
            if self._has(part):
                await self._start(
                    part, command(self._binaries[part.name], self._places)
                )
        if self._has(KWOK):
            await self._add_nodes()
            await self._until(KWOK, self._nodes_are_ready)
        if self._has(CONTROLLER_MANAGER):
            account = "/api/v1/namespaces/default/serviceaccounts/default"
            await self._until(CONTROLLER_MANAGER, lambda: self.api.answers(account))
        for process in self._processes.values():
            await process.check()

    async def _add_nodes(self) -> None:
        for number in range(self.options.nodes):
            name = f"node-{number}"
            path, node = f"/api/v1/nodes/{name}", programs.node(name)
            if not await self.api.answers(path):
                await self.api.post("/api/v1/nodes", node)
            else:  # a kept folder may have one of an earlier version, with less room
                await self.api.apply(f"{path}/status", node)

    async def _nodes_are_ready(self) -> bool:
        try:
            nodes = await self.api.get("/api/v1/nodes")
        except (ApiError, OSError):
            return False
        items = cast("list[Mapping[str, object]]", nodes["items"])
        return len(items) >= self.options.nodes and all(map(_is_ready, items))

    async def _start(self, part: Part, command: Sequence[str]) -> None:
        self._processes[part.name] = await Process.start(
            part.name,
            command,
            log=self._places.log(part.name),
            # Nothing of the user's settings: etcd and kwok read ETCD_*, KWOK_*, HOME.
            environ={"HOME": str(self._places.home), "PATH": os.defpath},
        )

    async def _until(self, part: Part, ready: _Check) -> None:
        left = max(0.0, self._deadline - self._now())
        await self._processes[part.name].until(ready, seconds=left)

    def _chosen_ports(self) -> Ports:
        if self._ports is None:
            raise ControlPlaneError("the control plane has not started yet")
        return self._ports

    async def _stop_programs(self) -> None:
        """Stop clients first, then the server, then what it stores things in."""
        try:
            await self._stop_all(set(self._processes) - {APISERVER.name, ETCD.name})
            await self._stop_all({APISERVER.name})
            await self._stop_all({ETCD.name})
        finally:
            for process in self._processes.values():
                process.kill()
            self._processes.clear()

    async def _stop_all(self, names: set[str]) -> None:
        async with asyncio.TaskGroup() as tasks:
            for process in self._processes.values():
                if process.name in names:
                    tasks.create_task(process.stop(grace=self.options.stop_timeout))


def _is_ready(node: Mapping[str, object]) -> bool:
    status = cast("Mapping[str, list[Mapping[str, str]]]", node.get("status", {}))
    return any(
        condition["type"] == "Ready" and condition["status"] == "True"
        for condition in status.get("conditions", [])
    )
