"""What Helm, the API server and the network say, and what we make of it.

The table that reads the words is tested by itself; here the words are the real ones.
"""

from __future__ import annotations

import json
import os
import socket
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from conformance.charts import archive, chart
from conformance.engines import CONFIG_MAP_GVK, Bench, refused, running
from controller_runtime import RestConfig
from controller_runtime.credentials import StaticCredentials
from controllers.release.helm.engine import (
    Cluster,
    EngineError,
    Failure,
    OperationOptions,
)
from controllers.release.scrub import secret_texts

PASSWORD = "correct horse battery"

STRICT = {
    "values.schema.json": json.dumps(
        {"properties": {"password": {"pattern": "^[a-z]+$"}}}
    )
}

BROKEN: Mapping[str, bytes] = {
    "no archive": b"this is no archive",
    "an archive without Chart.yaml": archive({"app/values.yaml": "{}"}),
    "a template that is none": chart(templates={"a.yaml": "{{ .Values.a"}),
    "a template that fails": chart(templates={"a.yaml": '{{ fail "no" }}'}),
    "a template that makes no YAML": chart(templates={"a.yaml": "a: [\n---\nb"}),
    "another Kubernetes": chart(metadata={"kubeVersion": ">=99"}),
    "a dependency that is not there": chart(
        metadata={
            "dependencies": [{"name": "db", "version": "1", "repository": "https://x"}]
        }
    ),
}


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN.keys())
async def test_a_broken_chart_is_invalid_and_leaves_no_object(
    config: RestConfig, bench: Bench, content: bytes
) -> None:
    async with running(config) as pool:
        error = await refused(pool.install(bench.order(content=content)))

    assert error.failure is Failure.INVALID, error


async def test_what_a_schema_refuses_is_invalid_and_not_quoted(
    config: RestConfig, bench: Bench
) -> None:
    """On install and on upgrade, which Helm reports differently; in no log either."""
    order = replace(
        bench.order(content=chart(files=STRICT)),
        values={"password": PASSWORD},
        secrets=secret_texts({"password": PASSWORD}),
    )
    with capture_logs() as logs:
        async with running(config) as pool:
            at_once = await refused(pool.install(order))
            with pytest.raises(EngineError) as rendering:
                await pool.render(order)
            await pool.install(replace(order, values={"password": "fine"}))
            later = await refused(pool.upgrade(order))

    for error in (at_once, rendering.value, later):
        assert error.failure is Failure.INVALID
        assert "password" in str(error)
        assert "…" in str(error)
        assert PASSWORD not in str(error)
    assert PASSWORD not in str(logs)


async def test_a_release_that_is_there_or_is_not_is_noticed(
    config: RestConfig, bench: Bench
) -> None:
    async with running(config) as pool:
        absent = await refused(pool.upgrade(bench.order()))
        lost = await refused(pool.rollback(bench.order(), revision=1))
        await pool.install(bench.order())
        present = await refused(pool.install(bench.order()))
        missing = await refused(pool.rollback(bench.order(), revision=7))

    assert absent.failure is Failure.NOT_DEPLOYED, absent
    assert lost.failure is Failure.NOT_DEPLOYED, lost
    assert missing.failure is Failure.NOT_DEPLOYED, missing
    assert present.failure is Failure.NAME_IN_USE, present


async def test_somebody_elses_object_is_left_alone_unless_it_may_be_taken(
    config: RestConfig, bench: Bench
) -> None:
    """34, the engine's part."""
    await bench.client.create(
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "web", "namespace": bench.namespace},
        }
    )
    async with running(config) as pool:
        error = await refused(pool.install(bench.order()))
        after = await bench.records()
        taking = OperationOptions(take_ownership=True)
        if after:
            await pool.uninstall(bench.order())
        await pool.install(bench.order(options=taking))

    assert error.failure is Failure.OWNERSHIP, error
    assert 'ConfigMap "web"' in str(error)
    assert after == {}
    assert (await bench.config_map())["data"] == {"greeting": "hello"}


async def test_a_service_account_may_do_what_its_role_allows_and_no_more(
    config: RestConfig, bench: Bench
) -> None:
    order = replace(bench.order(), cluster=Cluster.account(bench.namespace, "default"))
    async with running(config) as pool:
        error = await refused(pool.install(order))
        # By a group that the server knows without being told.
        await bench.make_admin("Group", f"system:serviceaccounts:{bench.namespace}")
        await pool.install(order)

    assert error.failure is Failure.FORBIDDEN, error
    assert f"system:serviceaccount:{bench.namespace}:default" in str(error)


async def test_credentials_that_are_refused_are_renewed_for_the_next_operation(
    config: RestConfig, bench: Bench
) -> None:
    class Renewed(StaticCredentials):
        count = 0

        async def refresh(self) -> None:
            self.count += 1

    wrong = Renewed("Bearer wrong")
    bare = replace(config, client_certificate=None, credentials=wrong)
    async with running(bare) as pool:
        error = await refused(pool.install(bench.order()))

    assert error.failure is Failure.AUTH, error
    assert wrong.count == 1


async def test_an_api_server_that_is_away_is_transient(
    config: RestConfig, bench: Bench
) -> None:
    """52, the engine's part."""
    with socket.socket() as taken:  # bound, and nobody listens
        taken.bind(("127.0.0.1", 0))
        away = replace(config, server=f"https://127.0.0.1:{taken.getsockname()[1]}")
        async with running(away) as pool:
            error = await refused(pool.install(bench.order()))

    assert error.failure is Failure.TRANSIENT, error


async def test_an_api_server_that_cannot_be_believed_is_named(
    config: RestConfig, bench: Bench
) -> None:
    stranger = replace(config, server_name="somebody.else.example")
    async with running(stranger) as pool:
        error = await refused(pool.install(bench.order()))

    assert error.failure is Failure.TLS, error


async def test_a_release_that_fits_into_no_secret_is_refused_before_anything_is_made(
    config: RestConfig, bench: Bench
) -> None:
    """53, the engine's part: 1.6 MB that do not compress."""
    content = b64encode(os.urandom(1_600_000)).decode()
    async with running(config) as pool:
        error = await refused(
            pool.install(bench.order(content=chart(files={"large.txt": content})))
        )
        found = await bench.client.list(CONFIG_MAP_GVK, bench.namespace)

    assert error.failure is Failure.TOO_LARGE, error
    assert "app/large.txt 2133 kB" in str(error)
    assert "web" not in [each["metadata"]["name"] for each in found.items]
    assert await bench.records() == {}


async def test_values_that_are_no_yaml_are_counted(config: RestConfig) -> None:
    async with running(config) as pool:
        values = await pool.parse(["", "n: y\nday: 2024-01-01\n", "{}", "b: 0o17"])
        with pytest.raises(EngineError) as caught:
            await pool.parse(["a: 1", "a: ["])

    assert list(values) == [{}, {"false": True, "day": "2024-01-01"}, {}, {"b": 15}]
    assert caught.value.failure is Failure.INVALID
    assert "document 2" in str(caught.value)
