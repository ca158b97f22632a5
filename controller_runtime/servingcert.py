"""Certificates for webhooks in clusters without cert-manager.

    Secret ─read─▶ what is due? ─write─▶ Secret ─▶ TLS of the server, files
      ▲  └────── another was faster: read ──┘  └──▶ caBundle of configurations, CRDs
      └── again every minute, and before each injection

An authority of our own and a serving certificate live in one Secret. Whoever comes
first makes them; versions decide between several, and the losers read what the winner
wrote. Every replica does all of this, leader or not, since every one serves. When
things are renewed is decided in `certrotation`.

What the account needs is in `permissions`, which the manager takes up: `get`, `update`
on the one Secret; `create` in its namespace, which cannot be restricted to a name and
may be left out where the Secret is installed empty; and what `BundleTargets` says.

Private keys appear in the Secret, in the serving process, and in `folder` if one is
given; never in a log, an Event or an error.
"""

from __future__ import annotations

import asyncio
import base64
import ipaddress
import random
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Protocol

import structlog

from controller_runtime.backoff import Backoff
from controller_runtime.cabundle import BundleInjector, BundleTargets
from controller_runtime.client import Client
from controller_runtime.clock import Clock, SystemClock
from controller_runtime.errors import (
    AlreadyExistsError,
    ConfigError,
    ConflictError,
    ControllerRuntimeError,
    ForbiddenError,
    NoKindMatchError,
    NotFoundError,
    UnauthorizedError,
)
from controller_runtime.meta import GroupVersionKind, Json, NamespacedName
from controller_runtime.rbac import Permission
from controller_runtime.tls import KeyPair, ServerTls, write_private
from controller_runtime.transport import TRANSPORT_ERRORS

log = structlog.get_logger(__name__)

SECRET = GroupVersionKind("", "v1", "Secret")

_TYPE = "kubernetes.io/tls"
"""So that tools which look for certificates find this one."""

_TROUBLE: tuple[type[Exception], ...] = (ControllerRuntimeError, *TRANSPORT_ERRORS)

_INCURABLE = (ForbiddenError, UnauthorizedError, NoKindMatchError, ConfigError)
"""At the start. Later, somebody may be changing roles, and all is tried again."""

_BACKOFF = Backoff(base=0.5, ceiling=60.0)
"""Seconds between tries to read the Secret."""

_TRIES = 10
"""Times that others may write the Secret before us: each time there is less to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingCertOptions:
    """Which certificate to keep, and where."""

    secret: NamespacedName
    """Keeps authority and certificate: `ca.crt`, `ca.key`, `tls.crt`, `tls.key`."""

    names: Sequence[str]
    """DNS names and IP addresses that the server is called by; see `service_names`."""

    inject: BundleTargets = field(default_factory=BundleTargets)
    """Where the API server reads whom to believe."""

    folder: Path | None = None
    """Where to write `ca.crt`, `tls.crt` and `tls.key`, for those who read files."""

    client_ca: bytes | None = field(default=None, repr=False)
    """PEM of the authorities that clients must be from; `None` serves everybody."""

    authority_name: str = "pilothouse-webhook-ca"
    """What the authority is called in its certificate."""

    labels: Mapping[str, str] = field(default_factory=dict)
    """Of the Secret, if it is created here."""

    interval: timedelta = timedelta(minutes=1)
    """How often to read the Secret, less or more by up to a tenth."""

    certificate_life: timedelta = timedelta(days=365)
    """As in open-policy-agent's cert-controller."""

    renew_before: timedelta = timedelta(days=90)
    """How long before its end a certificate is renewed, likewise."""

    authority_life: timedelta = timedelta(days=3650)
    """Likewise. An authority that has not a whole `certificate_life` left is replaced;
    it stays in the bundle until it has ended."""

    settle: timedelta = timedelta(minutes=15)
    """How long a new authority waits until it signs: until then its place in the
    bundle has reached every API server, and every replica has read the Secret."""


def service_names(name: str, namespace: str) -> tuple[str, ...]:
    """Return what an API server and pods call a Service by."""
    host = f"{name}.{namespace}.svc"
    return (host, f"{host}.cluster.local")


class _Rotated(Protocol):
    @property
    def data(self) -> Mapping[str, bytes]: ...
    @property
    def steps(self) -> Sequence[str]: ...


class _Rotation(Protocol):
    """`certrotation.Rotation`, which takes a library that not everybody has."""

    def advance(self, data: Mapping[str, bytes]) -> _Rotated: ...


class ServingCertificate:
    """Keeps a serving certificate: a runnable of every replica (`Group.HTTP`).

    It is there before its manager, whose options take its `ssl_context`.
    """

    def __init__(
        self,
        client: Client,
        options: ServingCertOptions,
        *,
        clock: Clock | None = None,
        randomness: random.Random | None = None,
        offload: Callable[..., Awaitable[object]] = asyncio.to_thread,
    ) -> None:
        """Make one that knows no certificate yet.

        Args:
            client: The way to the API server; reads go there, not to a cache.
            options: What to keep.
            clock: Tells when things end.
            randomness: Spreads the looks of several replicas. Keys come from
                elsewhere: the operating system.
            offload: Calls what blocks on the disk.

        Raises:
            ConfigError: The options contradict themselves, or a library is missing.
        """
        _check(options)
        self._options = options
        self._clock = clock or SystemClock()
        self._random = randomness or random.Random()  # noqa: S311 - jitter, no secret
        self._offload = offload
        self._client = Client(
            client.transport,
            scheme=client.scheme,
            discovery=client.discovery,
            field_owner=client.field_owner,
        )
        self._rotation = _rotation(options, self._clock)
        self._tls = ServerTls(verify_clients=options.client_ca is not None)
        self._injector = BundleInjector(
            self._client, options.inject, self._newest, randomness=self._random
        )
        self._callbacks: list[Callable[[KeyPair], object]] = []
        self._refreshing = asyncio.Lock()
        self._ready = asyncio.Event()
        self._pair: KeyPair | None = None
        self._bundle = b""
        self._written: tuple[KeyPair, bytes] | None = None

    @property
    def ssl_context(self) -> ssl.SSLContext:
        """What a server is given, once; handshakes fail until `ready`."""
        return self._tls.context

    @property
    def permissions(self) -> Sequence[Permission]:
        """What it asks of the API server; `Manager.add` makes that part of `grants`."""
        namespace, name = self._options.secret
        place = (namespace,)
        return (
            Permission(SECRET, ("get", "update"), names=(name,), namespaces=place),
            Permission(SECRET, ("create",), namespaces=place),
            *self._options.inject.permissions(),
        )

    @property
    def bundle(self) -> bytes:
        """Whom clients have to believe, in PEM; empty until `ready`."""
        return self._bundle

    async def ready(self) -> None:
        """Wait until there is a certificate to serve."""
        await self._ready.wait()

    def check_ready(self) -> None:
        """Fail while there is no certificate to serve: for `Probes.add_ready_check`."""
        if not self._tls.is_ready:
            raise ControllerRuntimeError("there is no serving certificate yet")

    def on_change(self, callback: Callable[[KeyPair], object]) -> None:
        """Call `callback` with every pair that is served from then on."""
        self._callbacks.append(callback)

    async def run(self) -> None:
        """Make or take, serve, inject and renew until cancelled.

        Raises:
            ForbiddenError, UnauthorizedError: The account lacks a right, at the start.
            ConfigError: The Secret holds somebody else's certificate.
        """
        await self._start()
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._injector.run())
                tasks.create_task(self._keep())
        except ExceptionGroup as group:
            raise _first(group) from group

    async def refresh(self) -> None:
        """Read the Secret, do what is due, and serve what it holds.

        Raises:
            ControllerRuntimeError, OSError: The API server refuses or is away. What
                was served is still served.
        """
        async with self._refreshing:
            await self._serve(await self._settled())

    async def _start(self) -> None:
        failures = 0
        while not self._ready.is_set():
            try:
                await self.refresh()
            except _INCURABLE:
                raise
            except _TROUBLE as error:
                self._complain(error)
                delay = _BACKOFF.delay(failures)
                await asyncio.sleep(delay * self._random.uniform(0.5, 1))
                failures += 1

    async def _keep(self) -> None:
        interval = self._options.interval.total_seconds()
        while True:
            await asyncio.sleep(interval * self._random.uniform(0.9, 1.1))
            try:
                await self.refresh()
            except _TROUBLE as error:
                self._complain(error)

    def _complain(self, error: Exception) -> None:
        log.warning(
            "cannot refresh the serving certificate",
            secret=str(self._options.secret),
            error=str(error),
        )

    async def _newest(self) -> bytes:
        await self.refresh()
        return self._bundle

    async def _settled(self) -> Mapping[str, bytes]:
        """Return what the Secret holds when nothing is due any more."""
        for attempt in range(_TRIES):
            secret = await self._read()
            data = _data(secret)
            _check_is_ours(data, self._options.secret)
            rotated = self._rotation.advance(data)
            if not rotated.steps:
                return data
            try:
                await self._write(secret, rotated.data)
            except (AlreadyExistsError, ConflictError):
                await asyncio.sleep(self._random.uniform(0, 0.1 * (attempt + 1)))
                continue
            log.info(
                "serving certificate rotated",
                secret=str(self._options.secret),
                steps=[str(step) for step in rotated.steps],
            )
            return rotated.data
        raise ControllerRuntimeError(
            f"Secret {self._options.secret}: written by others {_TRIES} times in a "
            "row; does something else keep its certificates there?"
        )

    async def _read(self) -> Json | None:
        namespace, name = self._options.secret
        try:
            return await self._client.get(SECRET, name, namespace)
        except NotFoundError:
            return None

    async def _write(self, before: Json | None, data: Mapping[str, bytes]) -> None:
        encoded = {key: base64.b64encode(each).decode() for key, each in data.items()}
        if before is not None:
            secret = {**before, "data": {**(before.get("data") or {}), **encoded}}
            await self._client.update(secret)
            return
        namespace, name = self._options.secret
        metadata: Json = {"namespace": namespace, "name": name}
        if self._options.labels:
            metadata["labels"] = dict(self._options.labels)
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata}
        await self._client.create({**secret, "type": _TYPE, "data": encoded})

    async def _serve(self, data: Mapping[str, bytes]) -> None:
        pair = KeyPair(public=data["tls.crt"], private=data["tls.key"])
        bundle = data["ca.crt"]
        is_new, has_moved = pair != self._pair, bundle != self._bundle
        if is_new:
            replace = self._tls.replace
            await self._offload(
                lambda: replace(pair, client_ca=self._options.client_ca)
            )
        self._pair, self._bundle = pair, bundle
        self._ready.set()
        if has_moved:
            self._injector.look(bundle)
        if is_new:
            log.info("serving certificate loaded", certificate=pair.fingerprint)
            for callback in self._callbacks:
                callback(pair)
        folder = self._options.folder
        if folder is not None and self._written != (pair, bundle):
            await self._offload(_write_files, folder, pair, bundle)
            self._written = (pair, bundle)


def _rotation(options: ServingCertOptions, clock: Clock) -> _Rotation:
    # Here, because it loads a large library that others do without.
    from controller_runtime.certificates import ServingNames  # noqa: PLC0415
    from controller_runtime.certrotation import Rotation, Rules  # noqa: PLC0415

    rules = Rules(
        authority_life=options.authority_life,
        certificate_life=options.certificate_life,
        renew_before=options.renew_before,
        settle=options.settle,
    )
    addresses = {each for name in options.names if (each := _address(name))}
    dns = {name.lower() for name in options.names if not _address(name)}
    names = ServingNames(frozenset(dns), frozenset(addresses))
    return Rotation(names, rules, name=options.authority_name, clock=clock)


def _address(name: str) -> str:
    """Return an IP address in its usual form, and nothing for a DNS name."""
    try:
        return str(ipaddress.ip_address(name))
    except ValueError:
        return ""


def _check(options: ServingCertOptions) -> None:
    if isinstance(options.names, str) or not options.names:
        raise ConfigError(
            "a serving certificate needs `names`, a list: what is the server called? "
            "For a Service, `service_names(name, namespace)`"
        )
    if not all(options.secret):
        raise ConfigError(f"`secret` needs namespace and name: {options.secret!r}")
    if options.renew_before >= options.certificate_life:
        raise ConfigError(
            f"`renew_before` ({options.renew_before}) must be shorter than "
            f"`certificate_life` ({options.certificate_life})"
        )
    if options.authority_life < 2 * options.certificate_life:
        raise ConfigError(
            f"`authority_life` ({options.authority_life}) must be at least twice "
            f"`certificate_life` ({options.certificate_life})"
        )


def _check_is_ours(data: Mapping[str, bytes], secret: NamespacedName) -> None:
    if data.get("tls.key") and not data.get("ca.key"):
        raise ConfigError(
            f"Secret {secret} holds a certificate that is not ours, as it has no "
            "ca.key: delete it, or keep our certificates under another name"
        )


def _data(secret: Json | None) -> Mapping[str, bytes]:
    encoded = (secret or {}).get("data") or {}
    return {key: base64.b64decode(value) for key, value in encoded.items()}


def _write_files(folder: Path, pair: KeyPair, bundle: bytes) -> None:
    write_private(folder / "ca.crt", bundle)
    pair.write(folder, "tls")


def _first(group: BaseExceptionGroup[Exception]) -> Exception:
    """Return the first error of a group: the others came with it."""
    error = group.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error
