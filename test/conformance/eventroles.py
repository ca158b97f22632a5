"""Events of accounts whose roles name either API for them, on any API server.

A test gets a `client` that may do everything, a `namespace` of its own, and `account`:
it opens a client that may create and patch Events of one API group, and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import TypeAlias

import pytest
from structlog.testing import capture_logs

from conformance.events import Recording, events_of, subject
from controller_runtime.client import Client
from controller_runtime.eventwriter import CORE_EVENT, EVENT
from controller_runtime.meta import Json

Account: TypeAlias = Callable[[str], AbstractAsyncContextManager[Client]]

OLD_TIMES = ("firstTimestamp", "lastTimestamp", "count", "source")


async def told_seven_times(
    account: AbstractAsyncContextManager[Client], client: Client, namespace: str
) -> tuple[Json, Json]:
    """Return the Event as either API has it: the newer first."""
    about = await subject(client, namespace)
    async with account as theirs:
        it = Recording(theirs)
        async with it.running():
            it.tell(about)
            await it.written(1)
            it.tell(about)
            await it.written(2)
            for _ in range(5):
                it.tell(about)
    assert not it.has_dropped
    (new,) = await events_of(client, EVENT, about)
    (old,) = await events_of(client, CORE_EVENT, about)
    return new, old


@pytest.mark.behaviour("E1")
@pytest.mark.behaviour("E3")
async def test_under_a_role_for_the_core_group_events_are_what_they_were_of_old(
    client: Client, account: Account, namespace: str
) -> None:
    new, old = await told_seven_times(account(""), client, namespace)

    assert old["message"] == "restarted it"
    assert (old["type"], old["reason"]) == ("Warning", "Changed")
    assert old["source"] == {"component": "reload"}
    assert (old["reportingComponent"], old["reportingInstance"]) == ("reload", "host")
    assert old["involvedObject"]["name"] == "web"
    assert old["count"] == 7
    assert old["firstTimestamp"] == f"{old['eventTime'][:19]}Z"
    assert old["lastTimestamp"] == f"{old['series']['lastObservedTime'][:19]}Z"
    assert new["series"]["count"] == 7
    assert new["note"] == old["message"]


@pytest.mark.behaviour("E1")
async def test_under_a_role_for_the_newer_group_nothing_of_old_is_said(
    client: Client, account: Account, namespace: str
) -> None:
    _, old = await told_seven_times(account("events.k8s.io"), client, namespace)

    assert old["series"]["count"] == 7
    assert not any(old.get(name) for name in OLD_TIMES)


@pytest.mark.behaviour("E4")
async def test_under_neither_role_events_are_dropped_and_the_newer_is_asked_for(
    client: Client, account: Account, namespace: str
) -> None:
    about = await subject(client, namespace)
    async with account("batch") as theirs:
        it = Recording(theirs)
        with capture_logs() as logs:
            async with it.running():
                it.tell(about)

    assert it.has_dropped
    assert await events_of(client, EVENT, about) == []
    (warning,) = [entry for entry in logs if entry["log_level"] == "warning"]
    assert warning["event"] == "events are refused"
    assert "events.k8s.io" in warning["error"]
