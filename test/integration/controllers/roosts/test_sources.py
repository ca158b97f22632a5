"""Charts from HTTP repositories and registries, with and without a login."""

from __future__ import annotations

import base64

import pytest

from conformance.charts import chart
from conformance.repositories import push_chart
from conformance.roosts import SECRET, Yard, message, says
from controller_runtime.testing.envtest import Registry, RegistryLogin, RegistryOptions
from controller_runtime.testing.envtest.accounts import ALICE
from controllers.oci import Credential
from controllers.web import Tls


async def push(
    registry: Registry, content: bytes, version: str = "1.0.0", *, login: bool = False
) -> str:
    """Push a chart as `helm push` does; return its digest."""
    return await push_chart(
        f"oci://{registry.host}/charts",
        content,
        version=version,
        credential=Credential(username=ALICE.username, password=ALICE.password)
        if login
        else None,
        tls=Tls(ca=registry.ca_pem),
        insecure=registry.url.startswith("http:"),
    )


async def test_a_chart_comes_from_a_registry_without_saying_that_it_is_one(
    yard: Yard,
) -> None:
    """Scenario 1."""
    async with Registry() as registry, yard.manager():
        digest = await push(registry, chart())

        url = f"oci://{registry.host}/charts"
        await yard.create(chart={"repository": {"url": url, "plainHTTP": True}})
        roost = await yard.ready(1)

        labels = (await yard.records())[0]["metadata"]["labels"]
    assert roost.status.helm_release is not None
    assert roost.status.helm_release.chart_digest == digest
    assert labels["roost.birb.party/uid"] == roost.metadata.uid
    assert (
        roost.status.helm_release.config_digest
        == (labels["roost.birb.party/config-digest"])
    )
    assert says(roost, "SourceReady") == "True/Resolved"


async def test_a_tag_that_is_moved_is_an_upgrade_unless_the_digest_is_pinned(
    yard: Yard,
) -> None:
    """Scenario 16."""
    async with Registry() as registry, yard.manager():
        first = await push(registry, chart())
        repository = {"url": f"oci://{registry.host}/charts", "plainHTTP": True}
        await yard.create(chart={"repository": repository}, interval="1s")
        await yard.create(
            "pinned",
            chart={"repository": repository, "digest": first},
            interval="1s",
        )
        await yard.ready(1)
        await yard.ready(1, "pinned")

        await push(registry, chart(values={"greeting": "moved"}))

        await yard.ready(2)
        assert (await yard.config_map())["data"] == {"greeting": "moved"}
        pinned = await yard.not_ready("DigestMismatch", "pinned")
    assert says(pinned, "Stalled") == "True/DigestMismatch"
    assert await yard.statuses("pinned") == ["deployed"]


async def test_a_range_means_the_newest_stable_version(yard: Yard) -> None:
    """Scenario 2."""
    for version in ("1.0.0", "1.4.2", "1.10.0", "2.0.0-rc.1"):
        yard.publish(chart(version=version), version=version)
    async with yard.manager():
        await yard.create("stable", chart={"version": "^1.0.0"})
        await yard.create("edge", chart={"version": ">=0.0.0-0"})
        stable, edge = await yard.ready(1, "stable"), await yard.ready(1, "edge")

    assert stable.status.helm_release is not None
    assert stable.status.helm_release.chart_version == "1.10.0"
    assert edge.status.helm_release is not None
    assert edge.status.helm_release.chart_version == "2.0.0-rc.1"


async def test_a_new_version_that_fits_is_an_upgrade(yard: Yard) -> None:
    """Issue 6: upgrade on change of the chart."""
    async with Registry() as registry, yard.manager():
        await push(registry, chart())
        repository = {"url": f"oci://{registry.host}/charts", "plainHTTP": True}
        await yard.create(
            chart={"repository": repository, "version": "^1"}, interval="1s"
        )
        await yard.ready(1)

        newer = chart(version="1.1.0", values={"greeting": "newer"})
        await push(registry, newer, "1.1.0")

        roost = await yard.ready(2)
    assert roost.status.helm_release is not None
    assert roost.status.helm_release.chart_version == "1.1.0"


async def test_a_wrong_password_is_told_and_mended_within_seconds(yard: Yard) -> None:
    """Scenarios 3 and 5, over HTTP."""
    yard.lock("alice", "right-password")
    await yard.apply(
        SECRET, "login", stringData={"username": "alice", "password": "wrong-password"}
    )
    auth = {"secretRef": {"name": "login"}}
    repository = {"url": yard.repository.url, "auth": auth}
    async with yard.manager():
        await yard.create(chart={"repository": repository}, interval="1h")
        roost = await yard.not_ready("AuthFailed")
        assert says(roost, "SourceReady") == "False/AuthFailed"
        assert "wrong-password" not in message(roost)

        await yard.apply(
            SECRET,
            "login",
            stringData={"username": "alice", "password": "right-password"},
        )

        await yard.ready(1, timeout=10)


async def test_a_secret_that_is_missing_is_never_passed_over(yard: Yard) -> None:
    """Scenario 3: no fall-back to what is inline."""
    yard.lock("alice", "right-password")
    auth = {
        "username": "alice",
        "password": "right-password",
        "secretRef": {"name": "nowhere"},
    }
    async with yard.manager():
        repository = {"url": yard.repository.url, "auth": auth}
        await yard.create(chart={"repository": repository})

        roost = await yard.not_ready("AuthFailed")

    assert "nowhere does not exist" in message(roost)
    assert await yard.told("InlineCredentials")


@pytest.mark.parametrize("type_", ["basic", "token", "docker-config"])
async def test_a_locked_registry_opens_for_every_kind_of_login(
    yard: Yard, type_: str
) -> None:
    """Scenarios 3 and 4, over TLS with an authority of its own."""
    options = RegistryOptions(login=RegistryLogin.PASSWORD, tls=True)
    async with Registry(options) as registry, yard.manager():
        await push(registry, chart(), login=True)
        auth = _auth(registry.host, type_)
        if secret := auth.pop("_secret", None):
            await yard.apply(SECRET, "login", stringData=secret)
        ca = base64.b64encode(registry.ca_pem).decode()
        repository = {
            "url": f"oci://{registry.host}/charts",
            "auth": auth,
            "tls": {"caBundle": ca},
        }

        await yard.create(chart={"repository": repository})

        await yard.ready(1)


def _auth(host: str, type_: str) -> dict[str, object]:
    reference = {"secretRef": {"name": "login"}}
    match type_:
        case "basic":
            login = {"username": ALICE.username, "password": ALICE.password}
            return {"type": type_, **reference, "_secret": login}
        case "token":
            return {
                "type": type_,
                "username": ALICE.username,
                "token": ALICE.password,
            }
        case _:
            proof = base64.b64encode(f"{ALICE.username}:{ALICE.password}".encode())
            config = f'{{"auths": {{"{host}": {{"auth": "{proof.decode()}"}}}}}}'
            return {
                "type": type_,
                **reference,
                "_secret": {".dockerconfigjson": config},
            }


async def test_a_repository_that_is_not_there_is_told_and_asked_again(
    yard: Yard,
) -> None:
    """Issue 6: an unreachable registry."""
    async with yard.manager():
        await yard.create(chart={"repository": {"url": "http://127.0.0.1:1"}})
        roost = await yard.not_ready("FetchFailed")
        assert "127.0.0.1:1" in message(roost)
        assert says(roost, "Stalled") == ""

        await yard.change(chart={"repository": {"url": yard.repository.url}})

        await yard.ready(1)


async def test_a_type_that_contradicts_the_scheme_is_ignored_with_a_warning(
    yard: Yard,
) -> None:
    """Row chart.repository.type."""
    async with yard.manager():
        url = yard.repository.url
        await yard.create(chart={"repository": {"url": url, "type": "oci"}})

        await yard.ready(1)

        event = await yard.told("RepositoryTypeIgnored")
    assert "http://" in event["note"]
