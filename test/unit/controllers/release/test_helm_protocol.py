"""The lines between the manager and its workers."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from controllers.release.helm.engine import Apply, Cluster, OperationOptions, Order
from controllers.release.helm.process import cause_of_death, environment
from controllers.release.helm.protocol import (
    OPTIONS,
    Call,
    ProtocolError,
    action,
    options,
    read_hello,
    read_reply,
    rendering,
    request,
)

ORDER = Order(
    operation="op",
    release="web",
    namespace="shop",
    chart=Path("/charts/app.tgz"),
    values={"password": "hunter22"},
    cluster=Cluster.account("team-a", "deployer"),
)


def test_an_order_is_one_line_with_all_that_the_worker_needs() -> None:
    arguments = action(Call.INSTALL, ORDER, kubeconfig="{}")
    line = request(7, Call.INSTALL, arguments)

    assert line.count(b"\n") == 1
    assert json.loads(line) == {
        "id": 7,
        "call": "install",
        "arguments": {
            "config": {
                "kubeconfig_content": "{}",
                "namespace": "shop",
                "qps": 50,
                "burst_limit": 100,
                "kube_as_user": "system:serviceaccount:team-a:deployer",
            },
            "name": "web",
            "chart": "/charts/app.tgz",
            "values": {"password": "hunter22"},
            "options": {
                "timeout_seconds": 300,
                "wait": "watcher",
                "wait_for_jobs": False,
                "server_side_apply": True,
                "force_conflicts": True,
                "force_replace": False,
                "take_ownership": False,
                "disable_hooks": False,
                "skip_crds": False,
                "create_namespace": False,
            },
        },
    }


def test_nothing_of_an_order_that_is_secret_is_in_its_repr() -> None:
    secretive = replace(
        ORDER,
        cluster=Cluster(kubeconfig="token: s3cret"),
        secrets=frozenset({"hunter22"}),
    )

    assert "hunter22" not in repr(secretive)
    assert "s3cret" not in repr(secretive)


@pytest.mark.parametrize("call", OPTIONS)
def test_an_action_gets_no_option_that_it_does_not_know(call: Call) -> None:
    full = OperationOptions(description="d", labels={"a": "b"}, tests=("t",))

    assert options(call, full, revision=1).keys() == set(OPTIONS[call])


@pytest.mark.parametrize(
    ("call", "given", "server_side", "conflicts"),
    [
        (Call.INSTALL, OperationOptions(), True, True),
        (Call.UPGRADE, OperationOptions(), "auto", True),
        (Call.UPGRADE, OperationOptions(apply=Apply.SERVER_SIDE), "true", True),
        (Call.INSTALL, OperationOptions(apply=Apply.CLIENT_SIDE), False, False),
        (Call.ROLLBACK, OperationOptions(apply=Apply.CLIENT_SIDE), "false", False),
        (Call.UPGRADE, OperationOptions(force_replace=True), "false", False),
        (Call.INSTALL, OperationOptions(force_replace=True), False, False),
    ],
)
def test_conflicts_are_forced_only_where_there_are_any(
    call: Call, given: OperationOptions, server_side: object, conflicts: bool
) -> None:
    written = options(call, given)

    assert written["server_side_apply"] == server_side
    assert written["force_conflicts"] is conflicts


def test_a_timeout_below_a_second_is_not_for_ever() -> None:
    hasty = OperationOptions(timeout=timedelta(milliseconds=10))

    assert options(Call.TEST, hasty)["timeout_seconds"] == 1


def test_patience_is_for_objects_and_a_hook_unless_it_is_given() -> None:
    assert ORDER.patience == timedelta(minutes=10, seconds=30)
    assert replace(ORDER, deadline=timedelta(1)).patience == timedelta(1)


def test_an_order_without_its_chart_is_refused() -> None:
    with pytest.raises(ValueError, match="shop/web has no chart"):
        action(Call.UPGRADE, replace(ORDER, chart=None), kubeconfig="{}")
    with pytest.raises(ValueError, match="no chart"):
        rendering(replace(ORDER, chart=None))


def test_a_reply_is_read() -> None:
    ok = read_reply(b'{"id":1,"ok":[1],"cancelled":false,"rss":5,"handles":0}')
    failed = read_reply(
        b'{"id":2,"error":{"code":-62,"message":"no"},"cancelled":true}'
    )

    assert (ok.id, ok.ok, ok.message, ok.rss) == (1, [1], None, 5)
    assert (failed.code, failed.message, failed.cancelled) == (-62, "no", True)
    assert "no" not in repr(failed).replace("None", "")


@pytest.mark.parametrize("line", [b"", b"hunter22", b"[]", b"{}", b'{"id":"x"}', b"1"])
def test_what_is_no_reply_is_not_quoted(line: bytes) -> None:
    with pytest.raises(ProtocolError) as caught:
        read_reply(line)
    with pytest.raises(ProtocolError):
        read_hello(line)
    assert "hunter22" not in str(caught.value)


def test_the_line_that_says_why_is_found_among_stacks() -> None:
    go = ["goroutine 1", "fatal error: out of memory", "main.main()", "\t/a.go:1"]
    python = ["Traceback", "  File", "MemoryError"]

    assert cause_of_death(go) == "fatal error: out of memory"
    assert cause_of_death(python) == "MemoryError"
    assert cause_of_death([]) == ""


def test_a_worker_is_told_nothing_of_clusters() -> None:
    names = environment(Path("/home")).keys()

    assert not [name for name in names if "KUBE" in name or "PROXY" in name]
