"""The client of registries against real ones: distribution 3 and Debian's 2.8."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from controller_runtime import SystemClock
from controller_runtime.testing.envtest import (
    ALICE,
    ALICE_LATER,
    AssetsOptions,
    QuietProgress,
    Registry,
    RegistryLogin,
    RegistryOptions,
)
from controllers.oci import (
    ANONYMOUS,
    HELM_CONFIG,
    OCI_MANIFEST,
    WERF_CHART,
    Access,
    AuthenticationFailedError,
    BlobNotFoundError,
    Content,
    Credential,
    Head,
    NotModified,
    RegistryClient,
    RegistryClientOptions,
    RegistryError,
    RegistryNetworkError,
    RegistryProtocolError,
    RemoteRepository,
    Repository,
    RepositoryNotFoundError,
    TagList,
    TagNotFoundError,
    ThrottleOptions,
    TlsVerificationError,
    WireOptions,
    read_image,
)
from controllers.web import Http, Tls

DEBIAN = shutil.which("docker-registry")

FLAVOURS = [
    pytest.param(None, id="distribution"),
    # Where it is not installed the tests do without; CI installs it.
    *([pytest.param(DEBIAN, id="debian")] if DEBIAN else []),
]

BOTH = pytest.mark.parametrize("binary", FLAVOURS)

CONFIG = Content(HELM_CONFIG, b'{"name":"app","version":"1.0.0","apiVersion":"v2"}')
LAYER = Content(WERF_CHART, b"chart" * 100_000)

HASTY = ThrottleOptions(rate_per_host=1e6, burst_per_host=1000)

PATH = "org/bundle"


@asynccontextmanager
async def running(
    binary: str | None = None,
    *,
    login: RegistryLogin = RegistryLogin.NONE,
    tls: bool = False,
    client_certificates: bool = False,
) -> AsyncIterator[Registry]:
    options = RegistryOptions(
        login=login,
        tls=tls,
        client_certificates=client_certificates,
        binary=Path(binary) if binary else None,
        # What is missing fails the test and is not fetched: that takes minutes.
        assets=AssetsOptions(download=False, build=False),
    )
    async with Registry(options, progress=QuietProgress()) as registry:
        yield registry


@asynccontextmanager
async def client(*, page_size: int | None = None) -> AsyncIterator[RegistryClient]:
    options = RegistryClientOptions(
        wire=WireOptions(throttle=HASTY), page_size=page_size
    )
    async with Http() as http:
        yield RegistryClient(http, clock=SystemClock(), options=options)


@asynccontextmanager
async def repository(
    registry: Registry,
    credential: Credential = ANONYMOUS,
    *,
    tls: Tls | None = None,
    insecure: bool | None = None,
    path: str = PATH,
    page_size: int | None = None,
) -> AsyncIterator[RemoteRepository]:
    is_plain = registry.url.startswith("http:")
    access = Access(
        credential=credential,
        tls=tls or Tls(),
        insecure=is_plain if insecure is None else insecure,
    )
    async with client(page_size=page_size) as registries:
        yield registries.repository(Repository(registry.host, path), access)


async def push(target: RemoteRepository, tag: str = "v1.0.0") -> str:
    return await target.push(tag, config=CONFIG, layers=[LAYER], states_type=False)


async def tags_of(target: RemoteRepository) -> list[str]:
    found = await target.tags(fresh=True)
    assert isinstance(found, TagList)
    return sorted(found.tags)


ALICE_LOGIN = Credential(username=ALICE.username, password=ALICE.password)


@BOTH
async def test_what_is_pushed_comes_back_byte_by_byte(
    binary: str | None, tmp_path: Path
) -> None:
    async with running(binary) as registry, repository(registry) as target:
        digest = await push(target)
        again = await push(target)
        head = await target.head("v1.0.0")
        manifest = await target.manifest(digest)
        image = read_image(manifest)
        blob = await target.blob(image.layers[0])
        await target.download(image.layers[0], tmp_path / "layer")

    assert isinstance(head, Head)
    assert digest == again == head.digest == manifest.digest
    assert manifest.media_type == OCI_MANIFEST
    assert blob == LAYER.data
    assert (tmp_path / "layer").read_bytes() == LAYER.data


@BOTH
async def test_an_etag_spares_the_manifest_until_the_tag_moves(
    binary: str | None,
) -> None:
    """Bundle 14, 30."""
    async with running(binary) as registry, repository(registry) as target:
        await push(target)
        head = await target.head("v1.0.0")
        assert isinstance(head, Head)
        assert head.etag
        assert isinstance(await target.head("v1.0.0", etag=head.etag), NotModified)

        other = Content(HELM_CONFIG, b"{}")
        moved = await target.push("v1.0.0", config=other, layers=[LAYER])
        changed = await target.head("v1.0.0", etag=head.etag, fresh=True)

    assert isinstance(changed, Head)
    assert changed.digest == moved != head.digest


@BOTH
async def test_2500_tags_are_found_on_one_page_and_on_three(
    binary: str | None,
) -> None:
    """Bundle 32."""
    wanted = [f"v1.{number}.0" for number in range(2500)]
    async with running(binary) as registry:
        async with repository(registry) as target:
            digest = await push(target, wanted[0])
        # Pushing them all takes half a minute.
        await asyncio.to_thread(link_tags, registry, wanted[0], wanted[1:])

        async with repository(registry) as target:
            assert await tags_of(target) == sorted(wanted)
        async with repository(registry, page_size=1000) as target:
            assert await tags_of(target) == sorted(wanted)
            last = await target.head(wanted[-1])

    assert isinstance(last, Head)
    assert last.digest == digest


def link_tags(registry: Registry, tag: str, others: list[str]) -> None:
    content = registry.process.log.parents[1] / "content"
    tags = content / f"docker/registry/v2/repositories/{PATH}/_manifests/tags"
    for other in others:
        (tags / other).symlink_to(tag)


@BOTH
async def test_what_is_missing_is_called_by_its_name(binary: str | None) -> None:
    """Bundle 27."""
    async with running(binary) as registry, repository(registry) as target:
        with pytest.raises(RepositoryNotFoundError, match=f"{registry.host}/{PATH}"):
            await target.tags()
        await push(target)
        with pytest.raises(TagNotFoundError, match=r"v9\.9\.9"):
            await target.head("v9.9.9")
        with pytest.raises(BlobNotFoundError):
            await target.blob(Content("x", b"never pushed").descriptor)
        assert await target.referrers(await push(target)) == ()


@BOTH
async def test_a_password_is_wanted_and_taken(binary: str | None) -> None:
    """Bundle 68, 70: with a colon in it; changed, the old one is refused."""
    async with running(binary, login=RegistryLogin.PASSWORD) as registry:
        async with repository(registry) as stranger:
            with pytest.raises(AuthenticationFailedError, match="name a Secret"):
                await stranger.tags()
        async with repository(registry, ALICE_LOGIN) as target:
            await push(target)
            assert await tags_of(target) == ["v1.0.0"]

            await registry.allow(ALICE_LATER)
            with pytest.raises(AuthenticationFailedError) as caught:
                await tags_of(target)
            assert ALICE.password not in str(caught.value)
        later = Credential(username=ALICE.username, password=ALICE_LATER.password)
        async with repository(registry, later) as target:
            assert await tags_of(target) == ["v1.0.0"]


@BOTH
async def test_tokens_are_fetched_once_and_renewed(binary: str | None) -> None:
    """Bundle 31: anonymous to read, with a password to write, then its end."""
    async with running(binary, login=RegistryLogin.TOKEN) as registry:
        async with repository(registry, ALICE_LOGIN) as target:
            await push(target)
            assert registry.tokens.issued == 1
        async with repository(registry) as public:
            before = registry.tokens.issued
            assert await tags_of(public) == ["v1.0.0"]
            await public.head("v1.0.0")
            assert registry.tokens.issued == before + 1
            with pytest.raises(RegistryError):
                await push(public, "v2.0.0")
        registry.tokens.life = 30  # nothing is left of it when it comes
        async with repository(registry) as public:
            before = registry.tokens.issued
            await tags_of(public)
            await tags_of(public)
            assert registry.tokens.issued == before + 2


@BOTH
async def test_a_wrong_password_gets_no_token(binary: str | None) -> None:
    """Bundle 68."""
    wrong = Credential(username=ALICE.username, password="wrong")
    async with (
        running(binary, login=RegistryLogin.TOKEN) as registry,
        repository(registry, wrong) as target,
    ):
        with pytest.raises(AuthenticationFailedError, match="for a token"):
            await target.tags()
        assert registry.tokens.issued == 0


async def test_an_identity_token_is_traded_for_a_token() -> None:
    """Bundle 68."""
    async with running(login=RegistryLogin.TOKEN) as registry:
        token = registry.tokens.refresh_token(ALICE)
        identity = Credential(username="<token>", identity_token=token)
        async with repository(registry, identity) as target:
            await push(target)

        assert registry.tokens.grants == ["refresh_token"]


@BOTH
async def test_a_private_authority_is_believed_when_it_is_named(
    binary: str | None,
) -> None:
    """Bundle 69."""
    async with running(binary, tls=True, login=RegistryLogin.TOKEN) as registry:
        named = Tls(ca=registry.ca_pem)
        async with repository(registry, ALICE_LOGIN, tls=named) as target:
            await push(target)
            assert await tags_of(target) == ["v1.0.0"]
        async with repository(registry, tls=Tls(skip_verify=True)) as target:
            assert await tags_of(target) == ["v1.0.0"]
        async with repository(registry) as target:
            with pytest.raises(TlsVerificationError, match="not believed") as caught:
                await target.tags()
            assert f"{registry.host}/{PATH}" in str(caught.value)


@BOTH
async def test_a_client_certificate_is_shown_to_who_asks_for_it(
    binary: str | None,
) -> None:
    """Bundle 69."""
    async with running(binary, client_certificates=True) as registry:
        pair = registry.client_certificate("pilothouse")
        ours = Tls(ca=registry.ca_pem, certificate=pair.public, key=pair.private)
        async with repository(registry, tls=ours) as target:
            await push(target)
        async with repository(registry, tls=Tls(ca=registry.ca_pem)) as target:
            with pytest.raises(TlsVerificationError, match="handshake"):
                await target.tags()


@BOTH
async def test_plain_http_and_tls_are_not_mistaken_for_each_other(
    binary: str | None,
) -> None:
    """Bundle 27."""
    async with running(binary) as plain, repository(plain, insecure=False) as target:
        with pytest.raises(TlsVerificationError, match="does not speak TLS"):
            await target.tags()
    async with (
        running(binary, tls=True) as secure,
        repository(secure, insecure=True) as target,
    ):
        with pytest.raises(RegistryProtocolError, match="speaks TLS"):
            await target.tags()


async def test_a_registry_that_went_away_is_found_again() -> None:
    async with running() as registry, repository(registry) as target:
        await push(target)
        await registry.stop_process()
        with pytest.raises(RegistryNetworkError):
            await tags_of(target)

        await registry.start_process()
        assert await tags_of(target) == ["v1.0.0"]
