"""Bundles and registries that are away, want a login, or have something else."""

from __future__ import annotations

import json
from base64 import b64decode
from dataclasses import replace
from datetime import timedelta

import pytest

from api.core.v1 import Secret
from conformance.bundles import PATH, QUICK, Yard, condition, secret_text
from controller_runtime.testing.envtest import ALICE, ALICE_LATER, RegistryLogin
from controllers.oci import Content, Credential

ALICE_LOGIN = Credential(username=ALICE.username, password=ALICE.password)

WITH_PASSWORD = pytest.mark.parametrize(
    "registry", [{"login": RegistryLogin.PASSWORD}], indirect=True
)
WITH_TOKEN = pytest.mark.parametrize(
    "registry", [{"login": RegistryLogin.TOKEN}], indirect=True
)
WITH_TLS = pytest.mark.parametrize("registry", [{"tls": True}], indirect=True)
WITH_CLIENT_CERTIFICATES = pytest.mark.parametrize(
    "registry", [{"client_certificates": True}], indirect=True
)

LOGIN = {"secretRef": {"name": "login"}}


async def test_a_registry_that_is_away_is_asked_less_and_less_and_found_again(
    yard: Yard,
) -> None:
    """Scenarios 16, 17 and 27: the fifth failure is Failed, and polling goes on."""
    await yard.publish("v1.0.0")
    await yard.registry.stop_process()
    bundle = await yard.bundle()
    options = replace(QUICK, first_failure=timedelta(milliseconds=10))
    async with yard.manager(options):
        failed = await bundle.phase("Failed")
        assert failed.status.consecutive_failures >= 5
        unreachable = condition(failed, "RegistryReachable")
        assert unreachable.reason == "NetworkError"
        assert f"{yard.registry.host}/{PATH}" in unreachable.message
        assert failed.status.next_poll_time is not None
        await bundle.told("PollFailed")
        assert await bundle.jobs() == []

        await yard.registry.start_process()
        applied = await bundle.applied("v1.0.0")
        assert applied.status.consecutive_failures == 0
        assert condition(applied, "RegistryReachable").status == "True"


async def test_what_runs_is_not_touched_while_the_registry_is_away(yard: Yard) -> None:
    """Scenario 17."""
    await yard.publish("v1.0.0")
    bundle = await yard.bundle()
    async with yard.manager():
        await bundle.applied("v1.0.0")
        await yard.registry.stop_process()
        away = await bundle.poll()
        assert condition(away, "RegistryReachable").status == "False"
        assert (away.status.phase, away.status.last_applied_tag) == ("Synced", "v1.0.0")
        assert condition(away, "Ready").status == "True"

        await yard.registry.start_process()
        back = await bundle.poll()
        assert back.status.consecutive_failures == 0
        assert len(await bundle.jobs()) == 1


async def test_an_empty_repository_is_told(yard: Yard) -> None:
    """Scenario 27."""
    bundle = await yard.bundle()
    async with yard.manager():
        told = await bundle.when(
            lambda it: condition(it, "RegistryReachable").status == "False"
        )
        assert condition(told, "RegistryReachable").reason == "RepositoryNotFound"
        await yard.publish("v1.0.0")
        await bundle.poll()
        await bundle.applied("v1.0.0")


async def test_a_missing_tag_and_a_missing_version_are_told(yard: Yard) -> None:
    """Scenarios 27 and 66."""
    await yard.publish("v1.0.0")
    tagged = await yard.bundle("tagged", registry={"tag": "v9.9.9"})
    newer = await yard.bundle("newer", registry={"versionConstraint": ">=2"})
    async with yard.manager():
        told = await tagged.when(
            lambda it: condition(it, "VersionResolved").status == "False"
        )
        assert condition(told, "VersionResolved").reason == "TagNotFound"
        told = await newer.when(
            lambda it: condition(it, "VersionResolved").status == "False"
        )
        assert condition(told, "VersionResolved").reason == "NoMatchingVersion"

        await yard.publish("v2.0.0")
        await newer.poll()
        await newer.applied("v2.0.0")


@WITH_PASSWORD
async def test_a_wrong_password_is_told_and_the_right_one_is_used_when_it_comes(
    yard: Yard,
) -> None:
    """Scenarios 27, 45, 68 and 70: with a colon in the password."""
    await yard.publish("v1.0.0", credential=ALICE_LOGIN)
    await yard.secret("login", {"username": b"alice", "password": b"wrong-password"})
    bundle = await yard.bundle(held=True, registry=LOGIN)
    async with yard.manager():
        told = await bundle.when(
            lambda it: condition(it, "RegistryReachable").status == "False"
        )
        refused = condition(told, "RegistryReachable")
        assert refused.reason == "AuthenticationFailed"
        assert yard.registry.host in refused.message
        assert "wrong-password" not in told.model_dump_json()
        await bundle.told("AuthenticationFailed")

        await yard.client.delete(Secret.gvk, "login", yard.namespace)
        await bundle.ready_says("SecretNotFound")
        await yard.secret(
            "login", {"username": b"alice", "password": ALICE.password.encode()}
        )
        job = await bundle.job()
        name = f"{job['metadata']['name']}-registry"
        mounted = await yard.client.get(Secret, name, yard.namespace)
        config = json.loads(secret_text(mounted, "config.json"))
        assert list(config["auths"]) == [yard.registry.host]
        auth = config["auths"][yard.registry.host]["auth"]
        assert b64decode(auth).decode() == f"alice:{ALICE.password}"
        await bundle.run(job)
        await bundle.applied("v1.0.0")

        await yard.registry.allow(ALICE_LATER)
        assert condition(await bundle.poll(), "RegistryReachable").status == "False"


@WITH_TOKEN
async def test_a_public_repository_with_tokens_needs_no_secret(yard: Yard) -> None:
    """Scenario 31."""
    await yard.publish("v1.0.0", credential=ALICE_LOGIN)
    before = yard.registry.tokens.issued
    bundle = await yard.bundle()
    async with yard.manager():
        await bundle.applied("v1.0.0")
        await bundle.poll()
        assert yard.registry.tokens.issued == before + 1


@WITH_TLS
async def test_a_private_authority_is_believed_by_the_poll_and_by_the_job(
    yard: Yard,
) -> None:
    """Scenario 69."""
    await yard.publish("v1.0.0")
    bundle = await yard.bundle(held=True, registry={"insecure": False})
    async with yard.manager():
        told = await bundle.when(
            lambda it: condition(it, "RegistryReachable").status == "False"
        )
        assert condition(told, "RegistryReachable").reason == "TLSVerificationFailed"

        await yard.secret("authority", {"ca.crt": yard.registry.ca_pem})
        registry = {"tlsConfig": {"caSecretRef": {"name": "authority"}}}
        await bundle.patch(registry=registry)
        job = await bundle.job()
        mounted = await yard.client.get(
            Secret, f"{job['metadata']['name']}-ca", yard.namespace
        )
        assert secret_text(mounted, "ca.crt").encode() == yard.registry.ca_pem
        await bundle.run(job)
        await bundle.applied("v1.0.0")

        careless = await yard.bundle(
            "careless",
            registry={"insecure": False, "tlsConfig": {"insecureSkipVerify": True}},
            held=True,
        )
        await careless.run(await careless.job())
        await careless.told("InsecureTLS")


@WITH_CLIENT_CERTIFICATES
async def test_a_registry_that_wants_a_certificate_is_polled_and_not_deployed_from(
    yard: Yard,
) -> None:
    """Scenario 69: werf has no client certificates."""
    pair = yard.registry.client_certificate("pilothouse")
    await yard.secret("authority", {"ca.crt": yard.registry.ca_pem})
    await yard.secret("client", {"tls.crt": pair.public, "tls.key": pair.private})
    await yard.publish_as("v1.0.0", pair)
    tls = {
        "caSecretRef": {"name": "authority"},
        "clientCertSecretRef": {"name": "client"},
    }
    bundle = await yard.bundle(registry={"insecure": False, "tlsConfig": tls})
    async with yard.manager():
        stalled = await bundle.phase("Failed")
        assert condition(stalled, "RegistryReachable").status == "True"
        assert "Job cannot use client certificates" in (
            condition(stalled, "Stalled").message
        )
        assert await bundle.jobs() == []


async def test_what_is_no_bundle_gets_no_job_and_what_runs_stays(yard: Yard) -> None:
    """Scenario 76."""
    await yard.publish("v1.0.0")
    bundle = await yard.bundle()
    async with yard.manager():
        await bundle.applied("v1.0.0")
        async with yard.repository() as repository:
            await repository.push(
                "v2.0.0",
                config=Content("application/x", b"{}"),
                layers=[Content("application/x", b"not a chart")],
            )
        await bundle.poll()
        broken = await bundle.phase("Failed")
        assert condition(broken, "ArtifactValid").reason == "UnsupportedArtifact"
        assert broken.status.last_applied_tag == "v1.0.0"
        assert broken.status.observed is not None
        assert broken.status.observed.tag == "v2.0.0"
        await bundle.told("InvalidArtifact")
        assert len(await bundle.jobs()) == 1

        await yard.publish("v2.0.1")
        await bundle.poll()
        await bundle.applied("v2.0.1")


async def test_a_wrong_key_in_a_secret_is_told_by_its_name(yard: Yard) -> None:
    await yard.secret("login", {"username": b"alice"})
    bundle = await yard.bundle(registry=LOGIN)
    async with yard.manager():
        told = await bundle.ready_says("InvalidSecret")
        message = condition(told, "Ready").message
        assert "'password'" in message
        assert f"Secret {yard.namespace}/login" in message


async def test_a_request_is_answered_once(yard: Yard) -> None:
    """Section 1.5: the annotation stays, and is acted upon when its value changes."""
    await yard.publish("v1.0.0")
    bundle = await yard.bundle()
    async with yard.manager():
        await bundle.applied("v1.0.0")
        polled = (await bundle.poll()).status
    async with yard.manager():
        await bundle.patch(converge={"logRetentionDays": 3})
        after = await bundle.when(
            lambda it: it.status.observed_generation == it.metadata.generation
        )
        assert after.status.last_poll_time == polled.last_poll_time
