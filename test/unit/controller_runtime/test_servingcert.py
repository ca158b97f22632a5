"""A certificate of our own, kept in a Secret, served and told to the API server."""

from __future__ import annotations

import asyncio
import base64
import random
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from conformance.handshake import HOST, Connection, client_context, shown_by
from controller_runtime.cabundle import CRD, MUTATING, VALIDATING, BundleTargets
from controller_runtime.certificates import CertificateAuthority, read_certificates
from controller_runtime.client import Client
from controller_runtime.errors import ConfigError, ForbiddenError
from controller_runtime.manager import Manager
from controller_runtime.meta import Json, NamespacedName
from controller_runtime.patch import merge_patch
from controller_runtime.runnable import Group
from controller_runtime.scheme import Scheme
from controller_runtime.servingcert import (
    SECRET,
    ServingCertificate,
    ServingCertOptions,
    service_names,
)
from controller_runtime.testing.apiserver import ApiServer, Resource
from controller_runtime.testing.eventually import eventually
from controller_runtime.tls import KeyPair
from controller_runtime.transport import HttpTransport

NAME = NamespacedName("shop", "webhook-cert")
OPTIONS = ServingCertOptions(secret=NAME, names=[HOST])
DAY = timedelta(days=1)

_KEPT = {"secrets", "validatingwebhookconfigurations", "customresourcedefinitions"}


class LoopClock:
    """A wall clock that goes with the loop's, or faster: a year costs nothing.

    An hour of the loop costs a little: connections and watches look after themselves
    every few seconds. A loop that is older than 194 days hangs: its resolution is a
    nanosecond, which is less than a float can tell then.
    """

    def __init__(self, speed: float = 1) -> None:
        self._speed = speed

    def now(self) -> datetime:
        seconds = asyncio.get_running_loop().time() * self._speed
        return datetime(2030, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)


async def inline(call: Callable[..., object], *arguments: object) -> object:
    """Call it here: threads do not know the virtual clock."""
    return call(*arguments)


@pytest.fixture
async def server() -> AsyncIterator[ApiServer]:
    async with ApiServer() as server:
        for gvk, plural in (
            (MUTATING, "mutatingwebhookconfigurations"),
            (VALIDATING, "validatingwebhookconfigurations"),
            (CRD, "customresourcedefinitions"),
        ):
            server.register(Resource(gvk=gvk, plural=plural, namespaced=False))
        yield server


@pytest.fixture
async def client(server: ApiServer) -> AsyncIterator[Client]:
    async with HttpTransport(server.config()) as transport:
        yield Client(transport, scheme=Scheme())


def certificate(
    client: Client,
    options: ServingCertOptions = OPTIONS,
    *,
    seed: int = 1,
    speed: float = 1,
) -> ServingCertificate:
    return ServingCertificate(
        client,
        options,
        clock=LoopClock(speed),
        randomness=random.Random(seed),  # noqa: S311 - jitter
        offload=inline,
    )


@asynccontextmanager
async def running(*certificates: ServingCertificate) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as tasks:
        started = [tasks.create_task(each.run()) for each in certificates]
        for each in certificates:
            await each.ready()
        yield
        for task in started:
            task.cancel()


def stored(server: ApiServer) -> dict[str, bytes]:
    secret = server.read(SECRET, NAME.name, NAME.namespace)
    return {key: base64.b64decode(value) for key, value in secret["data"].items()}


def mutating(name: str = "ours", *, hooks: int = 1, labels: Json | None = None) -> Json:
    config = {"service": {"name": "webhook", "namespace": "shop"}}
    webhook = {"name": "a.example.com", "clientConfig": config, "timeoutSeconds": 7}
    return {
        "apiVersion": MUTATING.api_version,
        "kind": MUTATING.kind,
        "metadata": {"name": name, "labels": labels or {}},
        "webhooks": [{**webhook, "name": f"{n}.example.com"} for n in range(hooks)],
    }


def crd(name: str = "widgets.example.com", *, strategy: str = "Webhook") -> Json:
    config = {"url": "https://example.com/convert"}
    webhook = {"clientConfig": config, "conversionReviewVersions": ["v1"]}
    return {
        "apiVersion": CRD.api_version,
        "kind": CRD.kind,
        "metadata": {"name": name},
        "spec": {"conversion": {"strategy": strategy, "webhook": webhook}},
    }


def bundles(target: Json) -> list[bytes]:
    """Return what a target believes at each of its webhooks."""
    if target["kind"] == CRD.kind:
        configs = [target["spec"]["conversion"]["webhook"]["clientConfig"]]
    else:
        configs = [each["clientConfig"] for each in target["webhooks"]]
    return [base64.b64decode(each.get("caBundle", "")) for each in configs]


def believes(bundle: bytes) -> Callable[[Json], bool]:
    return lambda target: all(each == bundle for each in bundles(target))


@contextmanager
def no_key_is_logged(server: ApiServer) -> Iterator[None]:
    with capture_logs() as logs:
        yield
    secret = stored(server)
    lines = (secret["ca.key"] + secret["tls.key"]).decode().splitlines()
    assert logs
    assert not any(line in str(logs) for line in lines)


async def test_the_first_start_makes_a_secret_that_serves(
    server: ApiServer, client: Client
) -> None:
    ours = certificate(client, replace(OPTIONS, labels={"app": "web"}))

    with no_key_is_logged(server):
        async with running(ours):
            data = stored(server)
            pair = KeyPair(public=data["tls.crt"], private=data["tls.key"])
            assert shown_by(ours.ssl_context, data["ca.crt"]) == pair.fingerprint
            ours.check_ready()

    secret = server.read(SECRET, NAME.name, NAME.namespace)
    assert secret["type"] == "kubernetes.io/tls"
    assert secret["metadata"]["labels"] == {"app": "web"}
    assert set(data) == {"ca.crt", "ca.key", "tls.crt", "tls.key"}


async def test_the_second_start_takes_what_is_there(
    server: ApiServer, client: Client
) -> None:
    async with running(certificate(client)):
        before = stored(server)

    async with running(certificate(client)):
        assert stored(server) == before

    assert len(server.requests.of("create")) == 1
    assert server.requests.of("update") == []


async def test_of_many_that_start_together_one_makes_the_authority(
    server: ApiServer, client: Client
) -> None:
    replicas = [certificate(client, seed=seed) for seed in range(8)]

    async with running(*replicas):
        data = stored(server)
        shown = {shown_by(each.ssl_context, data["ca.crt"]) for each in replicas}

    assert len(read_certificates(data["ca.crt"])) == 1
    assert len(shown) == 1
    assert len(server.requests.of("create")) > 1  # or it was no race


async def test_a_secret_that_was_installed_empty_is_filled(
    server: ApiServer, client: Client
) -> None:
    empty = {"tls.crt": "", "tls.key": ""}
    metadata = {"name": NAME.name, "namespace": NAME.namespace, "labels": {"a": "b"}}
    secret = {"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls"}
    extra = base64.b64encode(b"kept").decode()
    server.create({**secret, "metadata": metadata, "data": {**empty, "extra": extra}})

    async with running(certificate(client)):
        data = stored(server)

    assert data["ca.key"]
    assert data["extra"] == b"kept"
    assert server.requests.of("create") == []


async def test_a_secret_of_somebody_else_is_an_error_and_left_alone(
    server: ApiServer, client: Client
) -> None:
    pair = CertificateAuthority.create().server(["other"], [])
    data = {"tls.crt": pair.public, "tls.key": pair.private, "ca.crt": pair.public}
    encoded = {key: base64.b64encode(each).decode() for key, each in data.items()}
    metadata = {"name": NAME.name, "namespace": NAME.namespace}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata}
    server.create({**secret, "data": encoded})

    with pytest.raises(ConfigError, match=r"shop/webhook-cert holds a certificate"):
        await certificate(client).run()

    assert stored(server) == data


async def test_over_a_year_the_certificate_is_renewed_and_the_authority_stays(
    server: ApiServer, client: Client
) -> None:
    daily = replace(OPTIONS, interval=timedelta(minutes=1))
    ours = certificate(client, daily, speed=24 * 60)  # a minute is a day
    seen = list[KeyPair]()
    ours.on_change(seen.append)

    with no_key_is_logged(server):
        async with running(ours):
            first = stored(server)
            await asyncio.sleep(400 * 60)
            last = stored(server)
            shown = shown_by(ours.ssl_context, last["ca.crt"])

    assert len(seen) == 2
    assert first["ca.crt"] == last["ca.crt"]
    assert first["tls.crt"] != last["tls.crt"]
    assert shown == seen[-1].fingerprint


async def test_an_authority_is_replaced_without_a_moment_that_nobody_believes(
    server: ApiServer, client: Client
) -> None:
    server.create(mutating())
    options = replace(
        OPTIONS,
        interval=timedelta(seconds=5),  # of the loop; the others are the clock's
        certificate_life=timedelta(hours=3),
        renew_before=timedelta(hours=1),
        authority_life=timedelta(hours=8),
        settle=timedelta(minutes=15),
        inject=BundleTargets(mutating=["ours"]),
    )
    ours = certificate(client, options, speed=60)  # a second is a minute
    seen, sizes = list[KeyPair](), set()
    ours.on_change(seen.append)

    async with running(ours):
        await eventually(client, MUTATING, "ours", "", believes(ours.bundle))
        for _ in range(20 * 6):
            (believed,) = bundles(server.read(MUTATING, "ours"))
            assert shown_by(ours.ssl_context, believed)
            sizes.add(len(read_certificates(believed)))
            await asyncio.sleep(10)

    assert sizes == {1, 2}
    assert len(seen) > 8


async def test_a_replica_takes_up_what_another_has_renewed(
    server: ApiServer, client: Client
) -> None:
    first, second = certificate(client, seed=1), certificate(client, seed=2)

    async with running(first, second):
        data = server.read(SECRET, NAME.name, NAME.namespace)["data"]
        broken = merge_patch({"data": {**data, "tls.crt": ""}})
        await client.patch(SECRET, NAME.name, NAME.namespace, patch=broken)
        await asyncio.sleep(140)
        ca = stored(server)["ca.crt"]
        shown = [shown_by(each.ssl_context, ca) for each in (first, second)]

    renewed = KeyPair(public=stored(server)["tls.crt"], private=b"")
    assert shown == [renewed.fingerprint] * 2


async def test_a_secret_that_is_deleted_is_made_again_and_believed(
    server: ApiServer, client: Client
) -> None:
    server.create(mutating())
    options = replace(OPTIONS, inject=BundleTargets(mutating=["ours"]))
    ours = certificate(client, options)

    async with running(ours):
        before = ours.bundle
        await client.delete(SECRET, NAME.name, NAME.namespace)
        await asyncio.sleep(70)
        assert ours.bundle != before
        await eventually(client, MUTATING, "ours", "", believes(ours.bundle))
        shown_by(ours.ssl_context, ours.bundle)


async def test_what_is_named_or_labelled_gets_the_bundle_and_nothing_else_does(
    server: ApiServer, client: Client
) -> None:
    for target in (
        mutating("ours", hooks=2),
        mutating("labelled", labels={"webhook": "ours"}),
        mutating("theirs"),
        crd("widgets.example.com"),
        crd("gadgets.example.com", strategy="None"),
        crd("others.example.com"),
    ):
        server.create(target)
    server.create({**mutating("ours"), "kind": VALIDATING.kind})
    inject = BundleTargets(
        mutating=["ours"],
        validating=["ours", "absent"],
        crds=["widgets.example.com", "gadgets.example.com"],
        label_selector="webhook=ours",
    )
    ours = certificate(client, replace(OPTIONS, inject=inject))

    async with running(ours):
        bundle = ours.bundle
        await eventually(client, MUTATING, "ours", "", believes(bundle))
        await eventually(client, MUTATING, "labelled", "", believes(bundle))
        await eventually(client, VALIDATING, "ours", "", believes(bundle))
        crds = await eventually(
            client, CRD, "widgets.example.com", "", believes(bundle)
        )
        await asyncio.sleep(1)

    nothing = [b""]
    assert bundles(server.read(MUTATING, "theirs")) == nothing
    assert bundles(server.read(CRD, "gadgets.example.com")) == nothing
    assert bundles(server.read(CRD, "others.example.com")) == nothing
    assert crds["spec"]["conversion"]["webhook"]["conversionReviewVersions"] == ["v1"]
    assert server.read(MUTATING, "ours")["webhooks"][1]["timeoutSeconds"] == 7


async def test_a_bundle_that_is_reset_is_put_back(
    server: ApiServer, client: Client
) -> None:
    server.create(mutating(hooks=2))
    options = replace(OPTIONS, inject=BundleTargets(mutating=["ours"]))
    ours = certificate(client, options)

    async with running(ours):
        await eventually(client, MUTATING, "ours", "", believes(ours.bundle))
        reset = merge_patch({"webhooks": mutating(hooks=3)["webhooks"]})
        await client.patch(MUTATING, "ours", patch=reset)
        target = await eventually(
            client, MUTATING, "ours", "", believes(ours.bundle), timeout=2
        )

    assert len(bundles(target)) == 3


async def test_a_configuration_that_comes_late_gets_the_bundle(
    server: ApiServer, client: Client
) -> None:
    options = replace(OPTIONS, inject=BundleTargets(mutating=["ours"]))
    ours = certificate(client, options)

    async with running(ours):
        await asyncio.sleep(1000)
        server.create(mutating())
        await eventually(client, MUTATING, "ours", "", believes(ours.bundle), timeout=2)


async def test_replicas_do_not_fight_over_a_bundle(
    server: ApiServer, client: Client
) -> None:
    server.create(mutating())
    options = replace(OPTIONS, inject=BundleTargets(mutating=["ours"]))
    replicas = [certificate(client, options, seed=seed) for seed in range(3)]

    async with running(*replicas):
        await asyncio.sleep(120)
        await client.delete(SECRET, NAME.name, NAME.namespace)
        await asyncio.sleep(600)
        patches = server.requests.of("patch")
        await asyncio.sleep(3600)

    assert bundles(server.read(MUTATING, "ours")) == [stored(server)["ca.crt"]]
    assert server.requests.of("patch") == patches


async def test_an_api_server_that_is_away_is_waited_for_and_then_only_complained_of(
    server: ApiServer, client: Client
) -> None:
    ours = certificate(client)
    fault = server.faults.on(resource="secrets", times=None).answer(500)

    with capture_logs() as logs:
        async with asyncio.TaskGroup() as tasks:
            task = tasks.create_task(ours.run())
            await asyncio.sleep(30)
            assert "cannot refresh the serving certificate" in str(logs)
            fault.remove()
            await ours.ready()
            again = server.faults.on(resource="secrets", times=None).answer(403)
            await asyncio.sleep(300)
            shown_by(ours.ssl_context, ours.bundle)
            again.remove()
            task.cancel()


async def test_a_right_that_is_missing_ends_the_start_with_the_servers_words(
    server: ApiServer, client: Client
) -> None:
    server.faults.on(resource="secrets", times=None).answer(403)

    with pytest.raises(ForbiddenError):
        await certificate(client).run()

    server.faults.clear()
    server.faults.on(resource="mutatingwebhookconfigurations", times=None).answer(403)
    options = replace(OPTIONS, inject=BundleTargets(mutating=["ours"]))
    with pytest.raises(ForbiddenError):
        await certificate(client, options).run()


async def test_files_are_written_for_those_who_read_files(
    client: Client, tmp_path: Path
) -> None:
    folder = tmp_path / "certs"

    async with running(certificate(client, replace(OPTIONS, folder=folder))) as _:
        await asyncio.sleep(0)

    assert sorted(each.name for each in folder.iterdir()) == [
        "ca.crt",
        "tls.crt",
        "tls.key",
    ]
    assert b"PRIVATE" not in (folder / "ca.crt").read_bytes()


async def test_clients_can_be_asked_for_their_certificate(client: Client) -> None:
    clients = CertificateAuthority.create()
    options = replace(OPTIONS, client_ca=clients.pem)

    async with running(ours := certificate(client, options)):
        known = client_context(ours.bundle, pair=clients.client("kube-apiserver"))
        assert Connection(ours.ssl_context, known).says(b"hello") == b"hello"


def test_a_service_is_called_by_its_full_names() -> None:
    assert service_names("webhook", "shop") == (
        "webhook.shop.svc",
        "webhook.shop.svc.cluster.local",
    )


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (replace(OPTIONS, names=[]), "`names`"),
        (replace(OPTIONS, names="webhook.shop.svc"), "`names`"),
        (replace(OPTIONS, secret=NamespacedName("", "x")), "`secret`"),
        (replace(OPTIONS, renew_before=365 * DAY), "`renew_before`"),
        (replace(OPTIONS, authority_life=400 * DAY), "`authority_life`"),
    ],
)
def test_options_that_cannot_work_are_refused(
    options: ServingCertOptions, complaint: str
) -> None:
    nowhere = Client(Nowhere(), scheme=Scheme())  # type: ignore[arg-type] # not called

    with pytest.raises(ConfigError, match=complaint):
        ServingCertificate(nowhere, options)


class Nowhere:
    """No transport: whoever uses it finds out."""


def test_nothing_private_is_shown_of_the_options() -> None:
    options: Sequence[object] = [replace(OPTIONS, client_ca=b"PEM")]

    assert "PEM" not in repr(options)


async def test_a_manager_that_runs_it_asks_for_the_secret_and_the_targets_by_name(
    client: Client,
) -> None:
    targets = BundleTargets(validating=["shop"], crds=["widgets.example.com"])
    manager = Manager(client.transport)

    manager.add(
        ServingCertificate(client, replace(OPTIONS, inject=targets)), group=Group.HTTP
    )

    asked = {str(it) for it in manager.grants if it.resource.split("/")[0] in _KEPT}
    assert asked == {
        "create secrets in shop",
        "get secrets webhook-cert in shop",
        "update secrets webhook-cert in shop",
        *(
            f"{verb} {resource}"
            for verb in ("list", "watch", "patch")
            for resource in (
                "validatingwebhookconfigurations.admissionregistration.k8s.io shop",
                "customresourcedefinitions.apiextensions.k8s.io widgets.example.com",
            )
        ),
    }


async def test_targets_by_label_take_the_rights_to_all_of_their_kinds(
    client: Client,
) -> None:
    targets = BundleTargets(validating=["shop"], label_selector="app=shop")
    certificate = ServingCertificate(client, replace(OPTIONS, inject=targets))

    found = {it.kind: it.names for it in certificate.permissions if it.kind != SECRET}

    assert found == {MUTATING: (), VALIDATING: (), CRD: ()}
