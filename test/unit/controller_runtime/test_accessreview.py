"""Who is served, how often the API server is asked, and what becomes of a token."""

from __future__ import annotations

import asyncio
import gc
import json
import random
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from itertools import pairwise
from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs

from controller_runtime import ForbiddenError, Response, ServerError
from controller_runtime.accessreview import AccessReviewer, Remembered, bearer_token
from controller_runtime.errors import ApiError
from controller_runtime.transport import JSON

TOKEN = "s3cret-of-prometheus"
BEARER = f"Bearer {TOKEN}"

USER = {
    "username": "system:serviceaccount:monitoring:prometheus",
    "uid": "u1",
    "groups": ["system:authenticated"],
    "extra": {"authentication.kubernetes.io/pod-name": ["p0"]},
}


def now() -> float:
    return asyncio.get_running_loop().time()


class Server:
    """An API server that knows one token, and lets its owner scrape or not."""

    def __init__(self) -> None:
        self.may = True
        self.knows = True
        self.takes = 0.0
        self.failures: list[Exception] = []
        """Raised one after the other, instead of answers."""
        self.asked: list[tuple[float, str, Mapping[str, Any]]] = []
        """When, which review, its spec."""
        self.at_once = self.most_at_once = 0

    async def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: bytes | None = None,
        content_type: str = JSON,
        accept: str = JSON,
        timeout: float | None = 30.0,
    ) -> Response:
        assert method == "POST"
        assert body is not None
        review = json.loads(body)
        self.asked.append((now(), review["kind"], review["spec"]))
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await asyncio.sleep(self.takes)
            if self.failures:
                raise self.failures.pop(0)
        finally:
            self.at_once -= 1
        return Response(
            201, {}, json.dumps({**review, **self._status(review)}).encode()
        )

    def stream(
        self,
        path: str,
        *,
        params: Mapping[str, str],
        idle_timeout: float,
        accept: str = JSON,
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        raise NotImplementedError

    def kinds(self) -> list[str]:
        return [kind for _, kind, _ in self.asked]

    def _status(self, review: Mapping[str, Any]) -> Mapping[str, Any]:
        if review["kind"] == "SubjectAccessReview":
            return {"status": {"allowed": self.may}}
        if self.knows and review["spec"]["token"] == TOKEN:
            return {"status": {"authenticated": True, "user": USER}}
        return {"status": {"error": "invalid bearer token"}}


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def reviewer(server: Server) -> AccessReviewer:
    return AccessReviewer(server, randomness=random.Random(1))  # noqa: S311 - repeatable


async def status_of(
    reviewer: AccessReviewer, authorization: str = BEARER, path: str = "/metrics"
) -> int:
    refusal = await reviewer.check("GET", path, authorization)
    return 200 if refusal is None else refusal.status


async def test_who_may_is_served(server: Server, reviewer: AccessReviewer) -> None:
    assert await status_of(reviewer) == 200

    (_, _, token), (_, _, access) = server.asked
    assert token == {"token": TOKEN}
    assert access == {
        "user": USER["username"],
        "uid": "u1",
        "groups": ["system:authenticated"],
        "extra": USER["extra"],
        "nonResourceAttributes": {"path": "/metrics", "verb": "get"},
    }


async def test_who_may_not_is_told_so(server: Server, reviewer: AccessReviewer) -> None:
    server.may = False

    refusal = await reviewer.check("GET", "/metrics", BEARER)

    assert refusal is not None
    assert refusal.status == 403
    assert refusal.text == f"{USER['username']} may not get /metrics"


async def test_a_token_that_is_nobodys_is_401(
    server: Server, reviewer: AccessReviewer
) -> None:
    assert await status_of(reviewer, "Bearer wrong") == 401
    assert server.kinds() == ["TokenReview"]


@pytest.mark.parametrize(
    "header", ["", "Bearer", "Bearer ", f"Basic {TOKEN}", TOKEN, f"Bearer {TOKEN} x"]
)
async def test_without_a_bearer_token_it_is_401_and_nobody_is_asked(
    server: Server, reviewer: AccessReviewer, header: str
) -> None:
    assert await status_of(reviewer, header) == 401
    assert server.asked == []


async def test_a_token_too_long_to_be_one_is_401_and_nobody_is_asked(
    server: Server, reviewer: AccessReviewer
) -> None:
    assert await status_of(reviewer, f"Bearer {'x' * 20_000}") == 401
    assert server.asked == []


def test_the_scheme_may_be_written_in_any_case() -> None:
    assert bearer_token(f"bearer  {TOKEN}") == TOKEN


async def test_a_user_is_remembered_for_a_minute(
    server: Server, reviewer: AccessReviewer
) -> None:
    await status_of(reviewer)
    await asyncio.sleep(59.9)
    await status_of(reviewer)
    assert server.kinds() == ["TokenReview", "SubjectAccessReview"]

    await asyncio.sleep(0.2)
    await status_of(reviewer)

    assert server.kinds()[2:] == ["TokenReview"]


async def test_a_token_that_was_revoked_is_refused_after_a_minute(
    server: Server, reviewer: AccessReviewer
) -> None:
    await status_of(reviewer)
    server.knows = False
    await asyncio.sleep(60)

    assert await status_of(reviewer) == 401


async def test_a_token_that_is_nobodys_yet_is_asked_about_again_after_ten_seconds(
    server: Server, reviewer: AccessReviewer
) -> None:
    server.knows = False
    await status_of(reviewer)
    server.knows = True
    await asyncio.sleep(9.9)
    assert await status_of(reviewer) == 401

    await asyncio.sleep(0.2)

    assert await status_of(reviewer) == 200


async def test_a_yes_counts_for_five_minutes(
    server: Server, reviewer: AccessReviewer
) -> None:
    await status_of(reviewer)
    server.may = False
    await asyncio.sleep(299)
    assert await status_of(reviewer) == 200

    await asyncio.sleep(2)

    assert await status_of(reviewer) == 403


async def test_a_no_counts_for_half_a_minute(
    server: Server, reviewer: AccessReviewer
) -> None:
    server.may = False
    await status_of(reviewer)
    server.may = True
    await asyncio.sleep(29)
    assert await status_of(reviewer) == 403

    await asyncio.sleep(2)

    assert await status_of(reviewer) == 200


async def test_a_yes_for_one_path_says_nothing_about_another(
    server: Server, reviewer: AccessReviewer
) -> None:
    await status_of(reviewer)
    server.may = False

    assert await status_of(reviewer, path="/metrics/other") == 403


async def test_requests_that_ask_the_same_share_the_reviews(
    server: Server, reviewer: AccessReviewer
) -> None:
    server.takes = 1

    async with asyncio.TaskGroup() as tasks:
        answers = [tasks.create_task(status_of(reviewer)) for _ in range(20)]

    assert {it.result() for it in answers} == {200}
    assert server.kinds() == ["TokenReview", "SubjectAccessReview"]


async def test_a_flood_of_wrong_tokens_reaches_the_server_a_few_at_a_time(
    server: Server, reviewer: AccessReviewer
) -> None:
    server.takes = 0.1

    async with asyncio.TaskGroup() as tasks:
        for number in range(100):
            tasks.create_task(status_of(reviewer, f"Bearer {number}"))

    assert server.most_at_once == 8


async def test_wrong_tokens_push_no_user_out_and_take_bounded_memory(
    server: Server, reviewer: AccessReviewer
) -> None:
    await status_of(reviewer)

    for number in range(3000):
        await status_of(reviewer, f"Bearer {number}")
    server.asked.clear()

    assert await status_of(reviewer) == 200
    assert server.asked == []
    assert len(reviewer._nobodies) == 1024
    gc.collect()
    assert len(reviewer._locks) == 0


def api_error(kind: type[ApiError], status: int) -> ApiError:
    return kind("POST /apis/…: no", status=status)


@pytest.mark.parametrize(
    "failure", [lambda: api_error(ServerError, 500), ConnectionResetError, TimeoutError]
)
async def test_a_review_is_tried_five_times_with_growing_pauses(
    server: Server, reviewer: AccessReviewer, failure: Callable[[], Exception]
) -> None:
    server.failures = [failure() for _ in range(4)]

    assert await status_of(reviewer) == 200

    times = [time for time, kind, _ in server.asked if kind == "TokenReview"]
    assert len(times) == 5
    pauses = [after - before for before, after in pairwise(times)]
    for pause, least in zip(pauses, (0.5, 0.75, 1.125, 1.6875), strict=True):
        assert least <= pause <= least * 1.2 + 0.01


async def test_after_five_failures_it_is_500_and_nothing_is_remembered(
    server: Server, reviewer: AccessReviewer
) -> None:
    server.failures = [api_error(ServerError, 500) for _ in range(5)]

    assert await status_of(reviewer) == 500
    assert await status_of(reviewer) == 200


async def test_a_refused_review_is_500_at_once_and_the_log_names_the_permission(
    server: Server, reviewer: AccessReviewer
) -> None:
    server.failures = [api_error(ForbiddenError, 403)]

    with capture_logs() as logs:
        assert await status_of(reviewer) == 500

    assert server.kinds() == ["TokenReview"]
    assert "create tokenreviews.authentication.k8s.io" in logs[0]["error"]


async def test_a_server_that_hangs_is_given_up_after_ten_seconds(
    server: Server, reviewer: AccessReviewer
) -> None:
    server.takes = 3600
    began = now()

    assert await status_of(reviewer) == 500
    assert now() - began == pytest.approx(10, abs=0.1)


async def test_who_waits_for_the_review_of_another_waits_no_longer_either(
    server: Server, reviewer: AccessReviewer
) -> None:
    server.takes = 3600
    began = now()

    async with asyncio.TaskGroup() as tasks:
        answers = [tasks.create_task(status_of(reviewer)) for _ in range(5)]

    assert {it.result() for it in answers} == {500}
    assert now() - began == pytest.approx(10, abs=0.1)


async def test_a_token_is_neither_kept_nor_logged(
    server: Server, reviewer: AccessReviewer
) -> None:
    structlog.reset_defaults()
    with capture_logs() as logs:
        server.failures = [api_error(ServerError, 500)]
        await status_of(reviewer)
        server.failures = [api_error(ForbiddenError, 403)]
        await status_of(reviewer, f"Bearer {TOKEN}2")
        await status_of(reviewer, f"Bearer {TOKEN}3")
        server.may = False
        await status_of(reviewer, path="/other")

    assert TOKEN not in repr(logs)
    kept = [reviewer._users._answers, reviewer._nobodies._answers]
    assert TOKEN not in repr([*kept, reviewer._decisions._answers])
    assert kept[0]


async def test_what_is_remembered_is_bounded_and_the_oldest_use_goes_first() -> None:
    remembered: Remembered[str, int] = Remembered(2, now)
    remembered.put("a", 1, 10)
    remembered.put("b", 2, 10)
    assert remembered.get("a") == 1

    remembered.put("c", 3, 10)

    assert [remembered.get(key) for key in "abc"] == [1, None, 3]
    await asyncio.sleep(10)
    assert [remembered.get(key) for key in "abc"] == [None, None, None]
