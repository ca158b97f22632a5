"""A review in, a review out: what the API server reads whatever was posted."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any, ClassVar

import pytest
from structlog.testing import capture_logs

from controller_runtime.errors import (
    ForbiddenError,
    InvalidError,
    NoKindMatchError,
)
from controller_runtime.meta import GroupVersionKind, Json, KubeObject
from controller_runtime.webhook import (
    BODY_MAX,
    AdmissionRequest,
    AdmissionResponse,
    AdmissionWebhook,
    Cause,
    DeniedError,
    allow,
    defaulting,
    deny,
    errored,
    invalid,
    multi_mutating,
    multi_validating,
    patched,
)

WIDGET = GroupVersionKind("example.com", "v1", "Widget")
V1 = "admission.k8s.io/v1"
JSON = "application/json"


class Widget(KubeObject):
    gvk: ClassVar[GroupVersionKind] = WIDGET


class Panics:
    def __init__(self) -> None:
        self.count = 0

    def __call__(self, error: BaseException) -> None:
        self.count += 1


def request(**fields: Any) -> Json:
    return {
        "uid": "u-1",
        "operation": "CREATE",
        "kind": {"group": "example.com", "version": "v1", "kind": "Widget"},
        "resource": {"group": "example.com", "version": "v1", "resource": "widgets"},
        "name": "w",
        "namespace": "shop",
        "userInfo": {"username": "ann", "groups": ["staff"], "extra": {"a": ["b"]}},
        "object": {"apiVersion": "example.com/v1", "kind": "Widget", "spec": {"n": 1}},
        "oldObject": None,
        "dryRun": True,
        "options": {"kind": "CreateOptions"},
        **fields,
    }


def review(api_version: str = V1, **fields: Any) -> bytes:
    return json.dumps(
        {
            "apiVersion": api_version,
            "kind": "AdmissionReview",
            "request": request(**fields),
        }
    ).encode()


async def say_yes(_: AdmissionRequest) -> AdmissionResponse:
    return allow()


async def answer(
    body: bytes | None, handler: Any = say_yes, content_type: str = JSON
) -> Json:
    found: Json = json.loads(
        (await AdmissionWebhook("/x", handler).answer(content_type, body)).body
    )
    assert found["kind"] == "AdmissionReview"
    return found


async def response(handler: Any, **fields: Any) -> Json:
    answered = await answer(review(**fields), handler)
    found: Json = answered["response"]
    assert found["uid"] == "u-1"
    return found


@pytest.mark.behaviour("W1")
@pytest.mark.parametrize(
    ("content_type", "body", "code", "uid"),
    [
        pytest.param("text/plain", review(), 400, "", id="not JSON by its type"),
        pytest.param("", review(), 400, "", id="no type"),
        pytest.param(JSON, b"", 400, "", id="empty"),
        pytest.param(JSON, b"{", 400, "", id="no JSON"),
        pytest.param(JSON, b"{}", 400, "", id="no request"),
        pytest.param(JSON, b"[]", 400, "", id="no object"),
        pytest.param(JSON, review(object=1), 400, "u-1", id="undecodable but its uid"),
        pytest.param(JSON, review("v2"), 400, "u-1", id="of a version to come"),
        pytest.param(JSON, None, 413, "", id="too long"),
    ],
)
async def test_what_is_no_review_is_refused_in_a_review(
    content_type: str, body: bytes | None, code: int, uid: str
) -> None:
    answered = await answer(body, content_type=content_type)

    assert answered["apiVersion"] == V1
    assert answered["response"]["uid"] == uid
    assert answered["response"]["allowed"] is False
    assert answered["response"]["status"]["code"] == code
    assert answered["response"]["status"]["message"]


async def test_a_review_of_another_kind_is_refused() -> None:
    body = review().replace(b"AdmissionReview", b"ConversionReview")

    answered = await answer(body)

    assert "its kind is ConversionReview" in answered["response"]["status"]["message"]


async def test_the_type_of_the_content_may_name_a_character_set() -> None:
    answered = await answer(review(), content_type="Application/JSON; charset=utf-8")

    assert answered["response"]["allowed"] is True


@pytest.mark.behaviour("W1")
def test_the_limit_of_a_body_is_seven_mebibytes() -> None:
    assert BODY_MAX == 7 * 1024 * 1024


@pytest.mark.behaviour("W2")
@pytest.mark.parametrize(
    ("sent", "answered"),
    [(V1, V1), ("admission.k8s.io/v1beta1",) * 2, ("", V1)],
)
async def test_the_answer_has_the_version_of_the_question(
    sent: str, answered: str
) -> None:
    assert (await answer(review(sent)))["apiVersion"] == answered


@pytest.mark.behaviour("W2")
async def test_a_yes_has_the_code_200_and_no_patch() -> None:
    assert await response(say_yes) == {
        "uid": "u-1",
        "allowed": True,
        "status": {"code": 200},
    }


@pytest.mark.behaviour("W2")
async def test_a_no_is_forbidden_and_warnings_are_passed_on() -> None:
    async def handle(_: AdmissionRequest) -> AdmissionResponse:
        return deny("not today").warned(["it is Sunday"])

    assert await response(handle) == {
        "uid": "u-1",
        "allowed": False,
        "status": {
            "status": "Failure",
            "code": 403,
            "reason": "Forbidden",
            "message": "not today",
        },
        "warnings": ["it is Sunday"],
    }


async def test_a_handler_sees_the_request_as_it_was_sent() -> None:
    seen = []

    async def handle(asked: AdmissionRequest) -> AdmissionResponse:
        seen.append(asked)
        return allow()

    await response(handle, subResource="status", oldObject={"spec": {}})

    (asked,) = seen
    assert (asked.uid, asked.operation, asked.name) == ("u-1", "CREATE", "w")
    assert (asked.kind, asked.namespace, asked.subresource) == (
        WIDGET,
        "shop",
        "status",
    )
    assert asked.resource == ("example.com", "v1", "widgets")
    assert asked.user.name == "ann"
    assert (asked.user.groups, asked.user.extra) == (("staff",), {"a": ["b"]})
    assert asked.object == request()["object"]
    assert (asked.old_object, asked.dry_run) == ({"spec": {}}, True)
    assert asked.options == {"kind": "CreateOptions"}


async def test_a_request_without_anything_can_be_decided_too() -> None:
    answered = await answer(b'{"request": {}}')

    assert answered["response"] == {
        "uid": "",
        "allowed": True,
        "status": {"code": 200},
    }


@pytest.mark.behaviour("W4")
@pytest.mark.parametrize(
    ("error", "status"),
    [
        (
            DeniedError("no", code=409, reason="Conflict", causes=[Cause("a", "b")]),
            {
                "status": "Failure",
                "code": 409,
                "reason": "Conflict",
                "message": "no",
                "details": {
                    "causes": [
                        {"reason": "FieldValueInvalid", "message": "b", "field": "a"}
                    ]
                },
            },
        ),
        (
            ForbiddenError("read it first", status=403, reason="Forbidden"),
            {
                "status": "Failure",
                "code": 403,
                "reason": "Forbidden",
                "message": "read it first",
            },
        ),
        (
            invalid(WIDGET, "w", Cause("spec.n", "must be odd")),
            {
                "status": "Failure",
                "code": 422,
                "reason": "Invalid",
                "message": 'Widget.example.com "w" is invalid: spec.n: must be odd',
                "details": {
                    "name": "w",
                    "group": "example.com",
                    "kind": "Widget",
                    "causes": [
                        {
                            "reason": "FieldValueInvalid",
                            "message": "must be odd",
                            "field": "spec.n",
                        }
                    ],
                },
            },
        ),
    ],
)
async def test_an_error_of_the_api_keeps_its_code_reason_and_causes(
    error: Exception, status: Json
) -> None:
    async def refuse(_: AdmissionRequest) -> AdmissionResponse:
        raise error

    refused = await response(refuse)

    assert refused["allowed"] is False
    assert refused["status"] == status


def test_an_error_about_several_fields_lists_them_all() -> None:
    error = invalid(
        GroupVersionKind("", "v1", "Pod"), "p", Cause("a", "x"), Cause("b", "y")
    )

    assert isinstance(error, InvalidError)
    assert str(error) == 'Pod "p" is invalid: [a: x, b: y]'


@pytest.mark.behaviour("W1", "W5")
async def test_a_bug_is_a_500_with_the_uid_counts_and_does_not_tell_secrets() -> None:
    async def fail(_: AdmissionRequest) -> AdmissionResponse:
        raise KeyError("the password is hunter2")

    panics = Panics()
    answered = await AdmissionWebhook("/x", fail, on_panic=panics).answer(
        JSON, review()
    )

    found = json.loads(answered.body)["response"]
    assert (found["uid"], found["allowed"], found["status"]["code"]) == (
        "u-1",
        False,
        500,
    )
    assert "KeyError" in found["status"]["message"]
    assert "hunter2" not in found["status"]["message"]
    assert (answered.code, panics.count) == (500, 1)


@pytest.mark.behaviour("W5")
@pytest.mark.parametrize(
    ("error", "text"),
    [
        (NoKindMatchError("no Widget here"), "no Widget here"),
        (ConnectionRefusedError("refused"), "refused"),
        (TimeoutError(), "TimeoutError"),
    ],
)
async def test_trouble_of_the_framework_and_the_network_is_no_panic(
    error: Exception, text: str
) -> None:
    async def fail(_: AdmissionRequest) -> AdmissionResponse:
        raise error

    panics = Panics()
    answered = await AdmissionWebhook("/x", fail, on_panic=panics).answer(
        JSON, review()
    )

    status = json.loads(answered.body)["response"]["status"]
    assert (answered.code, status["code"], panics.count) == (500, 500, 0)
    assert text in status["message"]


async def test_an_answer_that_is_no_json_is_a_bug_too() -> None:
    async def handle(_: AdmissionRequest) -> AdmissionResponse:
        return AdmissionResponse(allowed=True, patch=[{"op": "add", "value": object()}])

    assert (await response(handle))["status"]["code"] == 500


async def test_who_takes_longer_than_the_api_server_waits_is_cut_off() -> None:
    async def dawdle(_: AdmissionRequest) -> AdmissionResponse:
        await asyncio.sleep(100)
        return allow()

    panics, loop = Panics(), asyncio.get_running_loop()
    webhook = AdmissionWebhook("/x", dawdle, on_panic=panics)
    began = loop.time()
    answered = await webhook.answer(JSON, review(), seconds=10)

    assert loop.time() - began == pytest.approx(10)
    assert json.loads(answered.body)["response"]["status"]["code"] == 504
    assert (answered.code, panics.count) == (504, 0)


async def test_cancellation_is_not_swallowed() -> None:
    async def dawdle(_: AdmissionRequest) -> AdmissionResponse:
        await asyncio.sleep(100)
        return allow()

    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(AdmissionWebhook("/x", dawdle).answer(JSON, review()))
        await asyncio.sleep(1)
        task.cancel()

    assert task.cancelled()


@pytest.mark.parametrize(
    ("decision", "code"),
    [(allow(), 200), (deny("no"), 200), (errored("?", code=503), 503)],
)
async def test_a_decision_counts_as_200_also_when_it_is_a_no(
    decision: AdmissionResponse, code: int
) -> None:
    async def decide(_: AdmissionRequest) -> AdmissionResponse:
        return decision

    assert (await AdmissionWebhook("/x", decide).answer(JSON, review())).code == code


def setting(key: str, value: int, *warnings: str) -> Any:
    async def mutate(asked: AdmissionRequest) -> AdmissionResponse:
        sent = asked.object or {}
        return patched(sent, {**sent, key: value, "seen": sorted(sent)}, *warnings)

    return mutate


async def test_mutations_build_on_each_other_and_are_sent_as_one_patch() -> None:
    both = multi_mutating(setting("a", 1, "one"), say_yes, setting("b", 2, "two"))

    found = await response(both, object={"z": 0})

    assert found["warnings"] == ["one", "two"]
    assert found["patchType"] == "JSONPatch"
    operations = json.loads(base64.b64decode(found["patch"]))
    assert {(each["op"], each["path"]) for each in operations} >= {
        ("add", "/a"),
        ("add", "/b"),
    }
    assert {"op": "add", "path": "/seen", "value": ["z"]} in operations


async def test_the_first_no_ends_mutations_and_sends_no_patch() -> None:
    async def refuse(_: AdmissionRequest) -> AdmissionResponse:
        raise DeniedError("no")

    found = await response(
        multi_mutating(setting("a", 1, "one"), refuse, setting("b", 2))
    )

    assert (found["allowed"], found["status"]["message"]) == (False, "no")
    assert found["warnings"] == ["one"]
    assert "patch" not in found


async def test_the_first_no_ends_validations_with_the_warnings_so_far() -> None:
    asked = []

    async def warn(_: AdmissionRequest) -> AdmissionResponse:
        asked.append("first")
        return allow("careful")

    async def refuse(_: AdmissionRequest) -> AdmissionResponse:
        asked.append("second")
        return deny("no").warned(["really"])

    async def never(_: AdmissionRequest) -> AdmissionResponse:
        asked.append("third")
        return allow()

    found = await response(multi_validating(warn, refuse, never))

    assert asked == ["first", "second"]
    assert (found["allowed"], found["warnings"]) == (False, ["careful", "really"])


async def test_validations_that_all_pass_keep_warnings_and_annotations() -> None:
    async def annotate(_: AdmissionRequest) -> AdmissionResponse:
        return AdmissionResponse(
            allowed=True, warnings=["w"], audit_annotations={"why": "because"}
        )

    found = await response(multi_validating(say_yes, annotate, say_yes))

    assert (found["allowed"], found["warnings"]) == (True, ["w"])
    assert found["auditAnnotations"] == {"why": "because"}


async def test_a_bug_in_one_of_several_is_a_bug_of_all() -> None:
    async def fail(_: AdmissionRequest) -> AdmissionResponse:
        raise ZeroDivisionError

    assert (await response(multi_validating(say_yes, fail)))["status"]["code"] == 500
    assert (await response(multi_mutating(say_yes, fail)))["status"]["code"] == 500


def deep_review(levels: int) -> bytes:
    sent = b'{"apiVersion":"example.com/v1","kind":"Widget","spec":%s}'
    spec = b'{"a":' * levels + b"1" + b"}" * levels
    return review(object="here").replace(b'"here"', sent % spec)


@pytest.mark.parametrize("levels", [1000, 5000, 9900])
async def test_a_review_that_is_nested_too_deeply_is_refused_under_its_uid(
    levels: int,
) -> None:
    panics = Panics()
    webhook = AdmissionWebhook("/x", say_yes, on_panic=panics)

    answered = await webhook.answer(JSON, deep_review(levels))

    refused = json.loads(answered.body)["response"]
    assert (answered.code, panics.count) == (400, 0)
    assert (refused["uid"], refused["allowed"]) == ("u-1", False)
    assert refused["status"]["code"] == 400
    assert "nested too deeply" in refused["status"]["message"]
    assert "make it flatter" in refused["status"]["message"]


@pytest.mark.parametrize("kind", [WIDGET, Widget])
@pytest.mark.parametrize("levels", [300, 600, 900])
async def test_what_a_handler_cannot_walk_to_its_depths_is_refused_and_no_panic(
    levels: int, kind: Any
) -> None:
    async def deepen(obj: Any, _: AdmissionRequest) -> Any:
        return obj

    panics = Panics()
    webhook = AdmissionWebhook("/x", defaulting(kind, deepen), on_panic=panics)

    answered = await webhook.answer(JSON, deep_review(levels))

    decision = json.loads(answered.body)["response"]
    assert panics.count == 0
    if not decision["allowed"]:
        assert decision["status"]["code"] == 400
        assert "nested too deeply" in decision["status"]["message"]


async def test_a_recursion_without_end_is_a_panic_when_what_was_sent_is_flat() -> None:
    async def loop(_: AdmissionRequest) -> AdmissionResponse:
        def again() -> None:
            again()

        again()
        return allow()

    panics = Panics()
    with capture_logs():  # drawn, such a traceback takes seconds
        answered = await AdmissionWebhook("/x", loop, on_panic=panics).answer(
            JSON, review()
        )

    assert (answered.code, panics.count) == (500, 1)
