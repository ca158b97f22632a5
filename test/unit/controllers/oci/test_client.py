"""The client over real sockets, against a registry that also does wrong things.

The registry lives on the test's own loop, whose clock is virtual: an hour passes at
once, and how long something took is an assertion.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
from aiohttp import web

from conformance.fakeregistry import (
    PASSWORD,
    REFRESH,
    USER,
    FakeRegistry,
    Paging,
    complaint,
    only,
    serving,
)
from controller_runtime.testing.clock import FakeClock
from controllers.oci import (
    ANONYMOUS,
    Access,
    AuthenticationFailedError,
    BlobNotFoundError,
    BlobTooLargeError,
    Content,
    Credential,
    Descriptor,
    DigestMismatchError,
    Head,
    InvalidReferenceError,
    LoginOptions,
    NotModified,
    RateLimitedError,
    Reason,
    RegistryClient,
    RegistryClientOptions,
    RegistryError,
    RegistryProtocolError,
    RegistryTimeoutError,
    RemoteRepository,
    Repository,
    TagNotFoundError,
    ThrottleOptions,
    WireOptions,
    credential_from_secret,
    digest_of,
    read_image,
)
from controllers.web import Http, HttpOptions

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)

BASIC = Credential(username=USER, password=PASSWORD)

PATH = "org/bundle"

HASTY = ThrottleOptions(rate_per_host=1e6, burst_per_host=1000)
"""For tests of something else."""


@asynccontextmanager
async def connected(
    registry: FakeRegistry,
    credential: Credential = ANONYMOUS,
    *,
    throttle: ThrottleOptions = HASTY,
    options: RegistryClientOptions | None = None,
    private_realms: bool = False,
    observe: Callable[[str, str, str], None] = lambda *_: None,
) -> AsyncIterator[RemoteRepository]:
    wire = WireOptions(
        throttle=throttle,
        login=LoginOptions(private_realms=private_realms),
        observe=observe,
    )
    async with serving(registry), Http() as http:
        client = RegistryClient(
            http,
            clock=FakeClock(NOW),
            options=options or RegistryClientOptions(wire=wire),
        )
        yield client.repository(
            Repository(registry.host, PATH),
            Access(credential=credential, insecure=True),
        )


def with_tags(*tags: str, **settings: object) -> FakeRegistry:
    registry = FakeRegistry(**settings)  # type: ignore[arg-type]  # of its own fields
    registry.tag(PATH, *tags)
    return registry


async def tags_of(repository: RemoteRepository, *, fresh: bool = False) -> int:
    found = await repository.tags(fresh=fresh)
    assert not isinstance(found, NotModified)
    return len(found.tags)


async def head_of(repository: RemoteRepository, tag: str, **how: object) -> Head:
    found = await repository.head(tag, **how)  # type: ignore[arg-type]  # its own
    assert isinstance(found, Head)
    return found


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


@pytest.mark.parametrize("paging", ["none", "relative", "absolute", "silent"])
async def test_all_tags_are_found_however_the_list_goes_on(paging: Paging) -> None:
    """Bundle 32."""
    registry = with_tags(*(f"v{number}" for number in range(2500)), paging=paging)

    async with connected(registry) as repository:
        assert await tags_of(repository) == 2500

    assert len(registry.asked) == (1 if paging == "none" else 3)


@pytest.mark.parametrize(
    ("paging", "says"), [("looping", "circle"), ("abroad", "serv")]
)
async def test_a_list_that_does_not_go_on_as_it_should_is_an_error(
    paging: Paging, says: str
) -> None:
    """Bundle 32."""
    registry = with_tags("a", "b", "c", paging=paging, page_size=1)

    async with connected(registry) as repository:
        with pytest.raises(RegistryProtocolError, match=says):
            await repository.tags()

    assert len(registry.asked) <= 2


async def test_a_tag_leads_to_a_digest_without_fetching_the_manifest() -> None:
    registry = with_tags("v1")

    async with connected(registry) as repository:
        head = await head_of(repository, "v1")

    assert head.digest == registry.contents[PATH].tags["v1"]
    assert head.size == 2
    assert registry.questions() == ["HEAD /v2/org/bundle/manifests/v1"]


async def test_an_etag_is_sent_back_and_304_means_the_same() -> None:
    """Bundle 14."""
    registry = with_tags("v1")

    async with connected(registry) as repository:
        head = await head_of(repository, "v1")
        again = await repository.head("v1", etag=head.etag)
        registry.tag(PATH, "v1", content=b'{"changed":1}')
        changed = await repository.head("v1", etag=head.etag, fresh=True)

    assert isinstance(again, NotModified)
    assert isinstance(changed, Head)
    assert changed.digest != head.digest
    assert registry.asked[1].headers["If-None-Match"] == head.etag


async def test_without_an_etag_the_digest_tells() -> None:
    """Bundle 15."""
    registry = with_tags("v1", etags=False)

    async with connected(registry) as repository:
        head = await head_of(repository, "v1")
        again = await head_of(repository, "v1", fresh=True)

    assert head == again
    assert head.etag == ""


@pytest.mark.parametrize("status", [404, 405, 501])
async def test_a_refused_head_is_not_believed_before_get_says_so(status: int) -> None:
    async def no_head(request: web.BaseRequest) -> web.Response | None:
        return web.Response(status=status) if request.method == "HEAD" else None

    registry = with_tags("v1", faults=[no_head])

    async with connected(registry) as repository:
        head = await head_of(repository, "v1")
        with pytest.raises(TagNotFoundError):
            await repository.head("v2")

    assert head.digest == registry.contents[PATH].tags["v1"]


async def test_without_a_digest_header_the_bytes_are_hashed() -> None:
    content = b'{"schemaVersion":2}'
    registry = FakeRegistry(
        faults=[only("/manifests/", lambda: web.Response(body=content))]
    )

    async with connected(registry) as repository:
        head = await head_of(repository, "v1")

    assert (head.digest, head.size) == (digest_of(content), len(content))


async def test_what_is_pushed_can_be_pulled(tmp_path: Path) -> None:
    config, layer = Content("c", b"{}"), Content("l", b"x" * 300_000)
    registry = FakeRegistry()

    async with connected(registry) as repository:
        digest = await repository.push("v1", config=config, layers=[layer])
        manifest = await repository.manifest("v1")
        image = read_image(manifest)
        fetched = await repository.blob(image.layers[0])
        await repository.push("v1", config=config, layers=[layer])

    assert manifest.digest == digest
    assert fetched == layer.data
    assert len(registry.questions("POST")) == 2


@pytest.mark.parametrize("reference", ["v1", "by digest"])
async def test_a_manifest_whose_digest_is_a_lie_is_refused(reference: str) -> None:
    """Bundle 76."""
    registry = with_tags("v1")
    digest = registry.contents[PATH].tags["v1"]
    lie = {"Docker-Content-Digest": digest}
    registry.faults = [
        only("/manifests/", lambda: web.Response(body=b"other", headers=lie))
    ]
    asked = digest if reference == "by digest" else reference

    async with connected(registry) as repository:
        with pytest.raises(DigestMismatchError, match=f"{PATH}.*{digest}"):
            await repository.manifest(asked)


async def test_a_head_that_answers_for_another_digest_is_refused() -> None:
    registry = with_tags("v1")
    lie = {"Docker-Content-Digest": digest_of(b"x")}
    registry.faults = [only("/manifests/", lambda: web.Response(headers=lie))]

    async with connected(registry) as repository:
        with pytest.raises(DigestMismatchError):
            await repository.head(registry.contents[PATH].tags["v1"])


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"X" * 10, id="other bytes"),
        pytest.param(b"x" * 11, id="more"),
        pytest.param(b"x" * 9, id="fewer"),
        pytest.param(b"x" * 5_000_000, id="very many more"),
    ],
)
async def test_a_blob_that_is_not_what_was_named_is_refused(
    body: bytes, tmp_path: Path
) -> None:
    """Bundle 76."""
    descriptor = Content("l", b"x" * 10).descriptor
    registry = FakeRegistry(faults=[only("/blobs/", lambda: web.Response(body=body))])
    target = tmp_path / "chart.tgz"

    async with connected(registry) as repository:
        with pytest.raises(DigestMismatchError, match=PATH):
            await repository.blob(descriptor)
        with pytest.raises(DigestMismatchError):
            await repository.download(descriptor, target)

    assert names(tmp_path) == []


async def test_a_blob_is_fetched_into_a_file(tmp_path: Path) -> None:
    data = bytes(range(256)) * 4000
    registry = FakeRegistry(faults=[only("/blobs/", lambda: web.Response(body=data))])

    async with connected(registry) as repository:
        path = tmp_path / "chart.tgz"
        await repository.download(Content("l", data).descriptor, path)

    assert path.read_bytes() == data
    assert names(tmp_path) == ["chart.tgz"]


async def test_a_blob_that_is_too_large_or_cannot_be_checked_is_not_asked_for() -> None:
    registry = FakeRegistry()

    async with connected(registry) as repository:
        with pytest.raises(BlobTooLargeError, match="at most 10"):
            await repository.blob(Descriptor("l", digest_of(b""), 11), limit=10)
        with pytest.raises(RegistryProtocolError, match="cannot be checked"):
            await repository.blob(Descriptor("l", "md5:abc", 1))

    assert registry.asked == []


async def test_a_blob_may_be_elsewhere_which_is_not_told_who_we_are() -> None:
    """Release 58; bundle 3.4."""
    elsewhere = FakeRegistry()
    data = b"the blob"
    elsewhere.faults = [only("/", lambda: web.Response(body=data))]
    registry = FakeRegistry(login="basic")
    url = ""

    async def redirect(request: web.BaseRequest) -> web.Response | None:
        if "/blobs/" not in request.path or "Authorization" not in request.headers:
            return None
        return web.Response(status=307, headers={"Location": url})

    registry.faults = [redirect]

    async with serving(elsewhere), connected(registry, BASIC) as repository:
        url = f"http://{elsewhere.host}/store?signature=s"
        blob = await repository.blob(Content("l", data).descriptor)

    assert blob == data
    assert "Authorization" not in elsewhere.asked[0].headers


async def test_a_public_repository_that_wants_a_token_gets_an_anonymous_one() -> None:
    """Bundle 31."""
    registry = with_tags("v1", login="token")

    async with connected(registry) as repository:
        assert await tags_of(repository) == 1

    assert registry.questions() == [
        "GET /v2/org/bundle/tags/list",
        "GET /token",
        "GET /v2/org/bundle/tags/list",
    ]
    assert registry.asked[1].query["scope"] == "repository:org/bundle:pull"
    assert registry.asked[1].query["service"] == "fake"
    assert "Authorization" not in registry.asked[1].headers


async def test_a_token_serves_until_shortly_before_its_end() -> None:
    """Bundle 31."""
    registry = with_tags("v1", login="token", token_life=300)

    async with connected(registry, BASIC) as repository:
        await tags_of(repository)
        await asyncio.sleep(269)
        await tags_of(repository, fresh=True)
        assert registry.issued == 1

        await asyncio.sleep(2)
        await tags_of(repository, fresh=True)

    assert registry.issued == 2
    assert len(registry.questions("tags")) == 4  # only the first was refused


@pytest.mark.parametrize(("life", "seconds"), [(None, 29), (20, 0)])
async def test_a_token_without_much_of_a_life_is_not_kept_long(
    life: int | None, seconds: float
) -> None:
    registry = with_tags("v1", login="token", token_life=life)

    async with connected(registry) as repository:
        await tags_of(repository)
        await asyncio.sleep(seconds)
        await head_of(repository, "v1")
        expected = 1 if life is None else 2
        assert registry.issued == expected
        await asyncio.sleep(2)
        await head_of(repository, "v1", fresh=True)

    assert registry.issued == expected + 1


async def test_a_token_that_is_refused_early_is_renewed_once() -> None:
    """Bundle 31."""
    registry = with_tags("v1", login="token")

    async with connected(registry) as repository:
        await tags_of(repository)
        registry.tokens.clear()
        await tags_of(repository, fresh=True)

    assert registry.issued == 2


async def test_many_who_need_a_token_ask_for_one() -> None:
    """Bundle 31."""
    registry = with_tags(*map(str, range(8)), login="token")

    async with connected(registry) as repository, asyncio.TaskGroup() as tasks:
        for number in range(8):
            tasks.create_task(head_of(repository, str(number)))

    assert registry.issued == 1


async def test_a_token_that_never_helps_is_asked_for_once() -> None:
    refusal = {"WWW-Authenticate": 'Bearer realm="REALM"'}

    def refused() -> web.Response:
        header = refusal["WWW-Authenticate"].replace(
            "REALM", f"http://{registry.host}/token"
        )
        return complaint(401, "DENIED", headers={"WWW-Authenticate": header})

    registry = FakeRegistry(faults=[only("/v2/", refused)])

    async with connected(registry) as repository:
        with pytest.raises(AuthenticationFailedError, match="not accepted"):
            await repository.tags()

    assert registry.issued == 1
    assert len(registry.questions("tags")) == 2


@pytest.mark.parametrize("login", ["basic", "token"])
async def test_a_password_with_a_colon_logs_in(login: str) -> None:
    """Bundle 68."""
    registry = with_tags("v1", login=login)

    async with connected(registry, BASIC) as repository:
        assert await tags_of(repository) == 1
        await head_of(repository, "v1")

    assert registry.asked[-1].headers["Authorization"]
    assert len(registry.questions("/v2/")) == 3  # refused once, known afterwards


@pytest.mark.parametrize("login", ["basic", "token"])
async def test_a_wrong_password_is_tried_once_and_never_shown(login: str) -> None:
    """Bundle 27, 68."""
    registry = with_tags("v1", login=login)
    wrong = Credential(username=USER, password="geheim")

    async with connected(registry, wrong) as repository:
        with pytest.raises(AuthenticationFailedError) as caught:
            await repository.tags()

    assert f"{registry.host}/{PATH}" in str(caught.value)
    assert "geheim" not in str(caught.value)
    assert len(registry.questions("tags")) <= 2


@pytest.mark.parametrize("login", ["basic", "token"])
async def test_without_a_secret_the_error_says_to_name_one(login: str) -> None:
    registry = with_tags("v1", login=login, token_get=False)

    async with connected(registry) as repository:
        with pytest.raises(RegistryError) as caught:
            await repository.tags()

    if login == "basic":
        assert "name a Secret" in str(caught.value)


async def test_a_token_server_without_get_is_asked_with_post() -> None:
    registry = with_tags("v1", login="token", token_get=False)

    async with connected(registry, BASIC) as repository:
        await tags_of(repository)

    form = registry.forms[0]
    assert form["grant_type"] == "password"
    assert form["username"] == USER
    assert form["scope"] == "repository:org/bundle:pull"


async def test_an_identity_token_is_traded_in() -> None:
    """Bundle 68."""
    registry = with_tags("v1", login="token")
    identity = Credential(username="<token>", identity_token=REFRESH)

    async with connected(registry, identity) as repository:
        await tags_of(repository)

    assert [form["grant_type"] for form in registry.forms] == ["refresh_token"]
    assert registry.questions("token") == ["POST /token"]


async def test_a_registry_token_is_sent_without_being_asked_for() -> None:
    """Bundle 68."""
    registry = with_tags("v1", login="token", tokens={"given"})

    async with connected(registry, Credential(registry_token="given")) as repository:
        await tags_of(repository)

    assert registry.questions() == ["GET /v2/org/bundle/tags/list"]


async def test_a_token_that_the_registry_does_not_take_is_used_as_password() -> None:
    """Bundle 3.2."""
    registry = with_tags("v1", login="token")
    data = {"token": PASSWORD.encode(), "username": USER.encode()}
    credential = credential_from_secret(data, Repository("x", "y"))

    async with connected(registry, credential) as repository:
        await tags_of(repository)

    assert registry.asked[0].headers["Authorization"] == f"Bearer {PASSWORD}"
    assert registry.issued == 1


@pytest.mark.parametrize(
    ("realm", "says"),
    [
        ("http://169.254.169.254/latest/meta-data", "link-local"),
        ("http://[fd00:ec2::254]/token", "metadata"),
        ("file:///etc/passwd", "cannot be asked"),
        ("gopher://x/", "cannot be asked"),
        ("http://me:geheim@127.0.0.1/token", "user name or password"),
    ],
)
async def test_a_realm_that_may_not_be_asked_is_not(realm: str, says: str) -> None:
    """Bundle 3.3, A16."""
    registry = with_tags("v1", login="token", realm=realm)

    async with connected(registry, BASIC) as repository:
        with pytest.raises(RegistryProtocolError, match=says) as caught:
            await repository.tags()

    assert "geheim" not in str(caught.value)
    assert registry.questions("token") == []


@pytest.mark.parametrize("private_realms", [False, True])
async def test_a_public_registry_may_not_send_us_to_a_private_realm(
    private_realms: bool,
) -> None:
    """Bundle 3.3: the names resolve as they would in a cluster."""
    server = FakeRegistry()
    asked: list[str] = []

    async def resolver(host: str, port: int) -> list[str]:
        asked.append(host)
        if host == "auth.private.example":
            return ["127.0.0.1"]
        # The registry itself is reached by its port alone; say that it is public.
        return ["127.0.0.1"] if port else ["93.184.216.34"]

    async with serving(server), Http(resolver=resolver) as http:
        port = server.host.partition(":")[2]
        server.login, server.realm = (
            "token",
            f"http://auth.private.example:{port}/token",
        )
        server.tag(PATH, "v1")
        login = LoginOptions(private_realms=private_realms)
        client = RegistryClient(
            http,
            clock=FakeClock(NOW),
            options=RegistryClientOptions(wire=WireOptions(login=login)),
        )
        repository = client.repository(
            Repository(f"registry.public.example:{port}", PATH),
            Access(credential=BASIC, insecure=True),
        )
        if private_realms:
            assert await tags_of(repository) == 1
        else:
            with pytest.raises(RegistryProtocolError, match="loopback address"):
                await repository.tags()
            assert server.questions("token") == []


@pytest.mark.parametrize(
    ("status", "code", "reason"),
    [
        (401, "", Reason.AUTHENTICATION_FAILED),
        (403, "DENIED", Reason.FORBIDDEN),
        (404, "NAME_UNKNOWN", Reason.REPOSITORY_NOT_FOUND),
        (404, "", Reason.REPOSITORY_NOT_FOUND),
        (408, "", Reason.TIMEOUT),
        (418, "", Reason.PROTOCOL_ERROR),
        (429, "TOOMANYREQUESTS", Reason.RATE_LIMITED),
        (500, "UNKNOWN", Reason.SERVER_ERROR),
        (502, "", Reason.SERVER_ERROR),
    ],
)
async def test_a_refusal_has_a_reason_host_and_repository(
    status: int, code: str, reason: Reason
) -> None:
    """Bundle 27."""
    registry = FakeRegistry(
        faults=[only("/v2/", lambda: complaint(status, code, f"says {PASSWORD}"))]
    )

    async with connected(registry, BASIC) as repository:
        with pytest.raises(RegistryError) as caught:
            await repository.tags()

    error = caught.value
    assert (error.reason, error.status) == (reason, status)
    assert f"{registry.host}/{PATH}" in str(error)
    assert PASSWORD not in str(error)
    assert error.is_transient is (status in {408, 500, 502})
    if status not in {401, 404}:
        assert error.code == code


async def test_missing_tags_blobs_and_repositories_are_told_apart() -> None:
    """Bundle 27."""
    registry = with_tags("v1")

    async with connected(registry) as repository:
        with pytest.raises(TagNotFoundError):
            await repository.head("v2")
        with pytest.raises(TagNotFoundError):
            await repository.manifest("v2")
        with pytest.raises(BlobNotFoundError):
            await repository.blob(Content("l", b"x").descriptor)
        registry.faults = [only("/manifests/", lambda: complaint(404, "NAME_UNKNOWN"))]
        with pytest.raises(RegistryError) as caught:
            await repository.head("v3")

    assert caught.value.reason is Reason.REPOSITORY_NOT_FOUND


@pytest.mark.parametrize("reference", ["../../x", "a/b", "", "a?b", "sha256:beef"])
async def test_what_is_no_reference_is_never_put_into_a_path(reference: str) -> None:
    registry = FakeRegistry()

    async with connected(registry) as repository:
        with pytest.raises(InvalidReferenceError):
            await repository.head(reference)

    assert registry.asked == []


async def test_nobody_there_is_a_network_error() -> None:
    """Bundle 27."""
    registry = FakeRegistry()
    async with connected(registry) as repository:
        pass

    async with Http() as http:
        gone = RegistryClient(http, clock=FakeClock(NOW)).repository(
            repository.target.repository, repository.target.access
        )
        with pytest.raises(RegistryError, match="cannot connect") as caught:
            await gone.tags()

    assert caught.value.reason is Reason.NETWORK_ERROR


async def test_an_unknown_name_is_a_network_error() -> None:
    """Bundle 27."""

    async def nobody(host: str, port: int) -> list[str]:
        raise OSError("no such name")

    async with Http(resolver=nobody) as http:
        repository = RegistryClient(http, clock=FakeClock(NOW)).repository(
            Repository("registry.nowhere", PATH), Access(insecure=True)
        )
        with pytest.raises(RegistryError, match="no address") as caught:
            await repository.tags()

    assert caught.value.reason is Reason.NETWORK_ERROR


async def test_a_silent_registry_is_given_up() -> None:
    """Bundle 27."""

    async def silence(request: web.BaseRequest) -> None:
        await asyncio.sleep(3600)

    registry = FakeRegistry(faults=[silence])
    loop = asyncio.get_running_loop()

    async with connected(registry) as repository:
        began = loop.time()
        with pytest.raises(RegistryTimeoutError):
            await repository.tags()
        assert loop.time() - began == pytest.approx(HttpOptions().silence_timeout)

        with pytest.raises(RegistryTimeoutError, match="not done after 2 s"):
            async with repository.within(2):
                await repository.tags()


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7),
        ("0", 1),
        ("999999", 6 * 3600),
        (format_datetime(NOW + timedelta(seconds=90), usegmt=True), 90),
        ("soon", 60),
        (None, 60),
    ],
)
async def test_a_host_that_wants_to_be_left_alone_is_by_everybody(
    header: str | None, seconds: float
) -> None:
    """Bundle 2.2.6."""
    headers = {"Retry-After": header} if header else {}
    registry = with_tags("v1")
    registry.faults = [only("/v2/", lambda: complaint(429, "X", headers=headers))]

    async with connected(registry) as repository:
        with pytest.raises(RateLimitedError) as caught:
            await repository.tags()
        assert caught.value.retry_after == timedelta(seconds=seconds)
        registry.faults = []

        await asyncio.sleep(seconds - 0.5)
        with pytest.raises(RateLimitedError, match="left alone") as early:
            await repository.head("v1")
        assert early.value.retry_after is not None
        assert early.value.retry_after.total_seconds() == pytest.approx(0.5)
        assert len(registry.asked) == 1

        await asyncio.sleep(0.6)
        await head_of(repository, "v1")


async def test_without_a_word_on_how_long_the_pause_doubles_up_to_half_an_hour() -> (
    None
):
    """Bundle 2.12."""
    registry = with_tags("v1")
    registry.faults = [only("/v2/", lambda: complaint(429, "X"))]
    pauses = []

    async with connected(registry) as repository:
        for _ in range(7):
            with pytest.raises(RateLimitedError) as caught:
                await repository.tags()
            assert caught.value.retry_after is not None
            pauses.append(caught.value.retry_after.total_seconds())
            await asyncio.sleep(pauses[-1] + 1)
        registry.faults = []
        await tags_of(repository)
        registry.faults = [only("/v2/", lambda: complaint(429, "X"))]
        with pytest.raises(RateLimitedError) as caught:
            await repository.tags(fresh=True)

    assert pauses == [60, 120, 240, 480, 960, 1800, 1800]
    assert caught.value.retry_after == timedelta(seconds=60)


async def test_a_host_is_asked_so_often_a_second_and_so_much_at_a_time() -> None:
    """Bundle 2.2.4."""
    running: list[int] = []
    most = 0

    async def slow(request: web.BaseRequest) -> None:
        nonlocal most
        running.append(1)
        most = max(most, len(running))
        await asyncio.sleep(0.01)
        running.pop()

    registry = with_tags(*map(str, range(30)), faults=[slow])
    loop = asyncio.get_running_loop()
    began = loop.time()

    async with (
        connected(registry, throttle=ThrottleOptions()) as repository,
        asyncio.TaskGroup() as tasks,
    ):
        for number in range(30):
            tasks.create_task(head_of(repository, str(number)))

    assert most == 4
    assert loop.time() - began == pytest.approx(20 / 5, abs=0.2)


async def test_a_registry_that_counts_down_is_asked_more_slowly_near_the_end() -> None:
    """Bundle 2.2.6."""
    headers = {"RateLimit-Limit": "100;w=60", "RateLimit-Remaining": "5;w=60"}
    answer = only("/tags/", lambda: web.json_response({"tags": []}, headers=headers))
    registry = with_tags("v1", faults=[answer])
    loop = asyncio.get_running_loop()

    async with connected(registry) as repository:
        await tags_of(repository)
        began = loop.time()
        await head_of(repository, "v1")

    assert loop.time() - began == pytest.approx(10, abs=0.1)


async def test_the_same_question_is_asked_once_in_ten_seconds() -> None:
    """Bundle 2.2.4."""
    registry = with_tags("v1")

    async with connected(registry) as repository:
        async with asyncio.TaskGroup() as tasks:
            for _ in range(5):
                tasks.create_task(tags_of(repository))
        assert len(registry.asked) == 1

        await asyncio.sleep(9)
        await tags_of(repository)
        assert len(registry.asked) == 1

        await asyncio.sleep(2)
        await tags_of(repository)
        await tags_of(repository, fresh=True)
        assert len(registry.asked) == 3


async def test_who_has_other_credentials_gets_an_answer_of_their_own() -> None:
    """Bundle 2.15: credentials of one tenant say nothing to another."""
    registry = with_tags("v1", login="basic")

    async with serving(registry), Http() as http:
        client = RegistryClient(http, clock=FakeClock(NOW))
        where = Repository(registry.host, PATH)
        known = client.repository(where, Access(credential=BASIC, insecure=True))
        stranger = client.repository(where, Access(insecure=True))

        assert await tags_of(known) == 1
        with pytest.raises(AuthenticationFailedError):
            await stranger.tags()


async def test_if_who_asks_is_cancelled_somebody_who_waits_asks() -> None:
    async def slow(request: web.BaseRequest) -> None:
        await asyncio.sleep(5)

    registry = with_tags("v1", faults=[slow])

    async with connected(registry) as repository, asyncio.TaskGroup() as tasks:
        first = tasks.create_task(tags_of(repository))
        await asyncio.sleep(1)
        second = tasks.create_task(tags_of(repository))
        await asyncio.sleep(1)
        first.cancel()
        assert await second == 1

    assert len(registry.asked) == 2


async def test_every_answer_is_observed() -> None:
    seen: list[tuple[str, str, str]] = []
    registry = with_tags("v1", login="token")

    async with connected(registry, observe=lambda *it: seen.append(it)) as repository:
        await tags_of(repository)

    assert [(method, code) for _, method, code in seen] == [
        ("GET", "401"),
        ("GET", "200"),
        ("GET", "200"),
    ]
    assert {host for host, *_ in seen} == {registry.host}


@pytest.mark.parametrize(
    ("body", "says"),
    [(b"<html>", "no JSON"), (b'{"tags":7}', "no list"), (b"[]", "no JSON object")],
)
async def test_an_answer_that_makes_no_sense_is_a_protocol_error(
    body: bytes, says: str
) -> None:
    registry = FakeRegistry(faults=[only("/tags/", lambda: web.Response(body=body))])

    async with connected(registry) as repository:
        with pytest.raises(RegistryProtocolError, match=says):
            await repository.tags()


async def test_what_refers_to_a_manifest_is_listed_with_and_without_the_api() -> None:
    registry = with_tags("v1")
    digest = registry.contents[PATH].tags["v1"]
    entry = {"mediaType": "m", "digest": digest, "size": 2, "artifactType": "sig"}
    index = json.dumps({"manifests": [entry]}).encode()

    async with connected(registry) as repository:
        assert await repository.referrers(digest) == ()
        registry.tag(PATH, digest.replace(":", "-"), content=index)
        by_tag = await repository.referrers(digest)
        registry.faults = [only("/referrers/", lambda: web.Response(body=index))]
        by_api = await repository.referrers(digest)

    assert [each.artifact_type for each in by_tag] == ["sig"]
    assert by_api == by_tag
