"""What a bundle's registry has: as whom it is asked, what it answers, is it a bundle.

    spec, Secrets ─▶ login ─▶ Login ──┐
    tag      ────────▶ HEAD           ├─▶ look ─▶ Observed, not yet validated
    digest   ────────▶ nothing        │
    versions ─▶ tags ▶ choose ▶ HEAD ─┘           validate ─▶ Observed, validated

A candidate is fetched and checked once for each digest. What is applied later is that
digest and no other, so whatever happens to the tag meanwhile does not matter. An ETag
spares the registry a little and decides nothing.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from api.bundle.status import BundleStatus, Observed
from api.bundle.v1alpha1 import Reference, RegistrySpec, WerfBundle
from api.core.v1 import Secret
from controller_runtime import Clock
from controllers.bundle.artifact import VALID, Chart, read_chart, read_parts
from controllers.bundle.errors import BlockedError
from controllers.bundle.fingerprint import digest
from controllers.bundle.intention import Intention
from controllers.bundle.options import BundleOptions
from controllers.bundle.sources import Found, SourceName, Sources, places_of
from controllers.bundle.versions import RESOLVED, Choice, choose
from controllers.oci import (
    ANONYMOUS,
    Access,
    BlobNotFoundError,
    BlobTooLargeError,
    Credential,
    DigestMismatchError,
    InvalidCredentialError,
    NotModified,
    RegistryClient,
    RemoteRepository,
    TagNotFoundError,
    credential_from_secret,
)
from controllers.web import Http, HttpOptions, Tls, TlsSettingsError, tls_from_secrets

REACHABLE = "RegistryReachable"

_MANY = 1000
"""Tags from which on a thread chooses among them: 5 ms."""


class Registries:
    """The process's connections to registries, for as long as it runs."""

    name = "registries"

    def __init__(self, clock: Clock) -> None:
        self._http = Http(HttpOptions(user_agent="pilothouse-bundle"))
        self.client = RegistryClient(self._http, clock=clock)

    async def run(self) -> None:
        """Keep the connections until cancelled."""
        async with self._http:
            await asyncio.Event().wait()


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """As whom and how a registry is asked; nothing secret is shown."""

    access: Access
    version: str
    """Changes with what the Secrets hold."""

    @property
    def credential(self) -> Credential:
        """Who we say we are."""
        return self.access.credential

    @property
    def tls(self) -> Tls:
        """Whom we believe."""
        return self.access.tls


class Seen(NamedTuple):
    """What a look at a registry found."""

    observed: Observed
    etag: str = ""
    is_guess: bool = False
    """No tag was a version; see `Choice`."""
    is_unchanged: bool = False
    """The registry says that nothing has changed."""


async def login(
    bundle: WerfBundle, intention: Intention, sources: Sources, options: BundleOptions
) -> Login:
    """Read the Secrets that a bundle names for its registry.

    Raises:
        BlockedError: One is missing, or holds something else.
    """
    registry = intention.registry
    tls = registry.tls_config
    reader = _Secrets(bundle, sources, options)
    secret = await reader.read(registry.secret_ref)
    ca = await reader.read(tls.ca_secret_ref if tls else None)
    client = await reader.read(tls.client_cert_secret_ref if tls else None)
    try:
        access = Access(
            credential=(
                ANONYMOUS
                if secret is None
                else credential_from_secret(secret.data, intention.repository)
            ),
            tls=tls_from_secrets(
                ca=ca.data if ca else None,
                client=client.data if client else None,
                skip_verify=bool(tls and tls.insecure_skip_verify),
            ),
            insecure=registry.insecure,
        )
    except (InvalidCredentialError, TlsSettingsError) as error:
        raise BlockedError(
            f"{error} ({', '.join(str(it) for it in (secret, ca, client) if it)})",
            condition=REACHABLE,
            reason="InvalidSecret",
            retry_after=options.preflight_retry * 4,
        ) from None
    versions = [found.version if found else "" for found in (secret, ca, client)]
    return Login(access=access, version=digest(versions)[:16])


class _Secrets:
    """The Secrets of one bundle."""

    def __init__(
        self, bundle: WerfBundle, sources: Sources, options: BundleOptions
    ) -> None:
        self._places = places_of(bundle)
        self._sources = sources
        self._options = options

    async def read(self, reference: Reference | None) -> Found | None:
        if reference is None:
            return None
        name = SourceName(Secret, reference.name)
        found = await self._sources.find(name, self._places, condition=REACHABLE)
        if found is None:
            raise BlockedError(
                f"{name} not found in {' or '.join(self._places)}: create it, or "
                "remove it from spec.registry",
                condition=REACHABLE,
                reason="SecretNotFound",
                retry_after=self._options.preflight_retry,
            )
        return found


def scope_of(intention: Intention, login: Login) -> str:
    """Return what an ETag, and the time of the next poll, hold for."""
    return digest([intention.selection, login.version, _asked(intention.registry)])[:16]


def _asked(registry: RegistrySpec) -> list[object]:
    return [registry.insecure, bool(registry.tls_config)]


class Poller:
    """Looks at registries for bundles."""

    def __init__(self, registries: RegistryClient, options: BundleOptions) -> None:
        self._registries = registries
        self._options = options

    def forget(self, intention: Intention, login: Login) -> None:
        """Drop tokens: the registry did not take them."""
        self._repository(intention, login).forget()

    async def look(
        self, intention: Intention, login: Login, status: BundleStatus, *, fresh: bool
    ) -> Seen:
        """Find the candidate. What was known of its digest is kept.

        Args:
            intention: Where, and which.
            login: As whom.
            status: What was seen last; its ETag is used if the scope is the same.
            fresh: Whether to ask even if somebody else just did.

        Raises:
            BlockedError: Nothing is there that is wanted.
            RegistryError: The registry does not say.
        """
        registry = intention.registry
        if registry.digest is not None:
            return Seen(_pinned(intention, status))
        repository = self._repository(intention, login)
        async with repository.within(registry.timeout.total_seconds()):
            choice = await self._choose(intention, repository, status, fresh=fresh)
            etag = ""
            if status.observed is not None and status.observed.tag == choice.tag:
                is_same = status.etag_scope == scope_of(intention, login)
                etag = status.last_e_tag if is_same else ""
            try:
                head = await repository.head(choice.tag, etag=etag, fresh=fresh)
            except TagNotFoundError as error:
                raise BlockedError(
                    str(error), condition=RESOLVED, reason="TagNotFound"
                ) from None
        if isinstance(head, NotModified):
            known = status.observed.digest if status.observed else ""
            observed = _observed(intention, choice, known, status)
            return Seen(observed, etag, choice.is_guess, is_unchanged=True)
        observed = _observed(intention, choice, head.digest, status)
        return Seen(observed, head.etag, choice.is_guess)

    async def validate(
        self, intention: Intention, login: Login, observed: Observed
    ) -> Chart:
        """Fetch a candidate and check that it is a bundle.

        Raises:
            BlockedError: It is none.
            RegistryError: It cannot be fetched now.
        """
        repository = self._repository(intention, login)
        async with repository.within(intention.registry.timeout.total_seconds()):
            try:
                manifest = await repository.manifest(observed.digest)
                parts = read_parts(manifest, limit=self._options.bundle_max_size)
                config = await repository.blob(parts.config)
                layer = await repository.blob(
                    parts.layer, limit=self._options.bundle_max_size
                )
            except (DigestMismatchError, BlobTooLargeError) as error:
                raise BlockedError(
                    str(error), condition=VALID, reason=error.reason
                ) from None
            except (BlobNotFoundError, TagNotFoundError) as error:
                raise BlockedError(
                    str(error), condition=VALID, reason="InvalidManifest"
                ) from None
        return await asyncio.to_thread(read_chart, parts, config, layer)

    async def _choose(
        self,
        intention: Intention,
        repository: RemoteRepository,
        status: BundleStatus,
        *,
        fresh: bool,
    ) -> Choice:
        registry = intention.registry
        if registry.tag is not None:
            return Choice(registry.tag, False, "", 0, 0)
        found = await repository.tags(fresh=fresh)
        assert not isinstance(found, NotModified)  # noqa: S101 - no ETag was sent
        chosen = partial(
            choose,
            found.tags,
            registry=registry,
            constraint=intention.constraint,
            keeps=intention.keeps,
            status=status,
        )
        if len(found.tags) <= _MANY:
            return chosen()
        return await asyncio.to_thread(chosen)

    def _repository(self, intention: Intention, login: Login) -> RemoteRepository:
        return self._registries.repository(intention.repository, login.access)


def _pinned(intention: Intention, status: BundleStatus) -> Observed:
    """Name a digest: werf wants a tag beside it, and looks at the digest alone."""
    wanted = intention.registry.digest or ""
    tag = wanted.replace(":", "-")[: len("sha256-") + 12]
    return _observed(intention, Choice(tag, False, "", 0, 0), wanted, status)


def _observed(
    intention: Intention, choice: Choice, found: str, status: BundleStatus
) -> Observed:
    known = status.observed
    is_known = known is not None and known.digest == found
    return Observed(
        tag=choice.tag,
        digest=found,
        chart_version=known.chart_version if known and is_known else "",
        validated_at=known.validated_at if known and is_known else None,
        tags_hash=choice.tags_hash,
        tag_count=choice.tag_count,
        skipped_tags=choice.skipped,
        selection=intention.selection,
    )
