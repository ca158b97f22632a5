"""A registry of container images, charts and bundles, for as long as a `with` lasts.

    options = RegistryOptions(login=RegistryLogin.TOKEN, tls=True)
    async with Registry(options) as registry:
        registry.host, registry.ca_pem, registry.tokens.issued

It is distribution (`registry:3` on Docker Hub), found or built as the control plane's
programs are; Debian's `docker-registry`, an older one, reads the same configuration
and can be put in its place. Everything listens on loopback.

    plain      anybody may read and write
    PASSWORD   the accounts may (htpasswd)
    TOKEN      whoever has a token of `tokens`, which gives them to the accounts for
               everything, and to anybody for reading
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum, auto
from pathlib import Path
from types import TracebackType
from typing import Self

from controller_runtime.clock import Clock, SystemClock
from controller_runtime.testing.envtest.accounts import ALICE, Account
from controller_runtime.testing.envtest.assets import Assets, AssetsOptions
from controller_runtime.testing.envtest.binaries import REGISTRY
from controller_runtime.testing.envtest.certificates import (
    CertificateAuthority,
    KeyPair,
    load_or_create_authority,
    write_private,
)
from controller_runtime.testing.envtest.errors import ControlPlaneError
from controller_runtime.testing.envtest.folder import Folder
from controller_runtime.testing.envtest.ports import (
    ADDRESS,
    are_free,
    free_ports,
    start_on_free_ports,
)
from controller_runtime.testing.envtest.process import Process
from controller_runtime.testing.envtest.programs import Places
from controller_runtime.testing.envtest.progress import Progress, progress_for
from controller_runtime.testing.envtest.tokens import SERVICE, TokenServer


class RegistryLogin(StrEnum):
    """What a registry wants to see."""

    NONE = auto()
    PASSWORD = auto()
    TOKEN = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryOptions:
    """What to start, and where."""

    folder: Path | None = None
    """Where it keeps its content and its port, over restarts; by default a temporary
    folder and a free port."""

    login: RegistryLogin = RegistryLogin.NONE

    accounts: Sequence[Account] = (ALICE,)
    """Who is known; `allow` changes it."""

    tls: bool = False
    """Whether it speaks TLS, with a certificate of its own authority."""

    client_certificates: bool = False
    """Whether it also wants one of its authority from whoever asks. Implies TLS."""

    binary: Path | None = None
    """Another registry that reads distribution's configuration."""

    start_timeout: float = 20
    """Seconds until it must listen, without the time for finding or building it."""

    stop_timeout: float = 10
    """Seconds that it has for stopping before it is killed."""

    start_tries: int = 5
    """How often to start over with another port when someone took one in between."""

    assets: AssetsOptions = field(
        default_factory=lambda: AssetsOptions.from_environ(os.environ)
    )
    """Where the binary comes from."""


class Registry:
    """A registry that runs while it is entered."""

    def __init__(
        self,
        options: RegistryOptions | None = None,
        *,
        progress: Progress | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.options = options or RegistryOptions()
        self._progress = progress or progress_for(sys.stderr)
        self._clock = clock or SystemClock()
        self._binary = self.options.binary
        self._folder: Folder | None = None
        self._authority: CertificateAuthority | None = None
        self._tokens: TokenServer | None = None
        self._process: Process | None = None
        self._port = 0

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
        """Start it and return when it listens; after a failure nothing runs.

        Raises:
            AssetsError: The binary is not to be had.
            ProcessDiedError: It ended; the text has the end of its log.
            ControlPlaneError: It took too long, or the folder is in use.
        """
        if self._binary is None:
            assets = Assets(self.options.assets, progress=self._progress)
            self._binary = (await assets.find([REGISTRY]))[REGISTRY.name]
        try:
            self._folder = await asyncio.to_thread(self._open_folder)
            await asyncio.to_thread(self._prepare)
            if self.options.login is RegistryLogin.TOKEN:
                self._tokens = await self._start_tokens()
            await self._start_on_free_port()
        except BaseException:
            await self.stop()
            raise
        self._progress.say(f"registry ready at {self.host}")

    async def stop(self) -> None:
        """Stop it and clean up. May be called again."""
        try:
            await self.stop_process()
        finally:
            tokens, self._tokens = self._tokens, None
            folder, self._folder = self._folder, None
            if tokens is not None:
                await tokens.stop()
            if folder is not None:
                await asyncio.to_thread(folder.close)

    async def stop_process(self) -> None:
        """Stop answering; `start_process` brings it back with all it had."""
        if self._process is not None:
            await self._process.stop(grace=self.options.stop_timeout)

    async def start_process(self) -> None:
        """Answer again, on the same port."""
        await self._start_process()

    async def allow(self, *accounts: Account) -> None:
        """Know these accounts from now on, and no others."""
        if self._tokens is not None:
            self._tokens.accounts = accounts
        await asyncio.to_thread(self._write_accounts, accounts)

    @property
    def host(self) -> str:
        """Host and port, as in the address of a repository."""
        return f"{ADDRESS}:{self._port}"

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"{'https' if self._has_tls else 'http'}://{self.host}"

    @property
    def ca_pem(self) -> bytes:
        """The authority that its certificate is from."""
        return self._started_authority.pem

    @property
    def tokens(self) -> TokenServer:
        """What gives out tokens."""
        if self._tokens is None:
            raise ControlPlaneError("this registry wants no tokens")
        return self._tokens

    @property
    def process(self) -> Process:
        """The program."""
        if self._process is None:
            raise ControlPlaneError("the registry is not running")
        return self._process

    def client_certificate(self, user: str) -> KeyPair:
        """Issue a certificate that it takes from whoever asks."""
        return self._started_authority.client(user)

    @property
    def _has_tls(self) -> bool:
        return self.options.tls or self.options.client_certificates

    @property
    def _places(self) -> Places:
        if self._folder is None:
            raise ControlPlaneError("the registry is not running")
        return self._folder.places

    @property
    def _started_authority(self) -> CertificateAuthority:
        if self._authority is None:
            raise ControlPlaneError("the registry has not started yet")
        return self._authority

    def _open_folder(self) -> Folder:
        wanted = self.options.folder
        return Folder.make() if wanted is None else Folder.keep(wanted, "registry")

    def _prepare(self) -> None:
        places = self._places
        places.home.mkdir(exist_ok=True)
        self._authority = load_or_create_authority(places.pki, clock=self._clock)
        serving = self._authority.server(["localhost"], [ADDRESS, "::1"])
        serving.write(places.pki, "registry")
        self._write_accounts(self.options.accounts)
        self._port = _kept_port(places) or free_ports(1)[0]

    def _write_accounts(self, accounts: Sequence[Account]) -> None:
        lines = "".join(f"{each.username}:{each.hash}\n" for each in accounts)
        write_private(self._places.folder / "htpasswd", lines.encode())

    async def _start_tokens(self) -> TokenServer:
        authority = self._started_authority
        tokens = TokenServer(authority, self.options.accounts, clock=self._clock)
        await tokens.start(tls=self._has_tls)
        return tokens

    async def _start_on_free_port(self) -> None:
        await start_on_free_ports(
            *(self._start_process, self._choose_port), tries=self.options.start_tries
        )
        await asyncio.to_thread(_keep_port, self._places, self._port)

    async def _choose_port(self) -> None:
        (self._port,) = free_ports(1)

    async def _start_process(self) -> None:
        places = self._places
        config = places.folder / "config.json"
        text = json.dumps(self._config(places), indent=1)
        await asyncio.to_thread(write_private, config, text.encode())
        self._process = await Process.start(
            REGISTRY.name,
            [str(self._binary), "serve", str(config)],
            log=places.log(REGISTRY.name),
            # Nothing of the user's settings: REGISTRY_* would change ours.
            environ={
                "HOME": str(places.home),
                "PATH": os.defpath,
                "OTEL_TRACES_EXPORTER": "none",
            },
        )
        await self._process.until(self._listens, seconds=self.options.start_timeout)
        await self._process.check()

    async def _listens(self) -> bool:
        try:
            _, writer = await asyncio.open_connection(ADDRESS, self._port)
        except OSError:
            return False
        writer.close()
        await writer.wait_closed()
        return True

    def _config(self, places: Places) -> Mapping[str, object]:
        """Describe it; YAML reads JSON."""
        listen: dict[str, object] = {
            "addr": self.host,
            "secret": secrets.token_hex(),
        }
        if self._has_tls:
            listen["tls"] = self._tls(places)
        config: dict[str, object] = {
            "version": "0.1",
            "log": {"level": "warn", "accesslog": {"disabled": True}},
            "storage": {
                "filesystem": {"rootdirectory": str(places.folder / "content")},
                "delete": {"enabled": True},
                "maintenance": {"uploadpurging": {"enabled": False}},
            },
            "http": listen,
        }
        match self.options.login:
            case RegistryLogin.PASSWORD:
                path = str(places.folder / "htpasswd")
                config["auth"] = {"htpasswd": {"realm": "pilothouse", "path": path}}
            case RegistryLogin.TOKEN:
                config["auth"] = {"token": self._token(places)}
            case RegistryLogin.NONE:
                pass
        return config

    def _tls(self, places: Places) -> Mapping[str, object]:
        tls: dict[str, object] = {
            "certificate": str(places.pki / "registry.crt"),
            "key": str(places.pki / "registry.key"),
        }
        if self.options.client_certificates:
            tls["clientcas"] = [str(places.pki / "ca.crt")]
        return tls

    def _token(self, places: Places) -> Mapping[str, object]:
        return {
            "realm": self.tokens.url,
            "service": SERVICE,
            "issuer": SERVICE,
            "rootcertbundle": str(places.pki / "ca.crt"),
        }


def _kept_port(places: Places) -> int | None:
    """Return the port of the last run, if it is free."""
    try:
        port = int(places.ports.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return port if are_free([port]) else None


def _keep_port(places: Places, port: int) -> None:
    write_private(places.ports, str(port).encode())
