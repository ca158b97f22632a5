"""What each sink gets, held to what its documentation lists.

The names below are copied from the references of Slack ("secondary attachments"), of
Microsoft ("legacy message card reference", "Adaptive Cards schema 1.4") and of Google
Chat ("cards v1"): a field that the receiver does not know is dropped or refused there.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone

import pytest

from controller_runtime import Json
from controllers.reload.alerts.alert import FAILED, RELOADED, Alert, Change, sentence
from controllers.reload.alerts.formats import accepts, written
from controllers.reload.options import AlertFormat
from controllers.reload.sources import SourceKey, SourceKind
from controllers.reload.workloads import WorkloadKey

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)

GOOD = Alert(
    kind=RELOADED,
    workload=WorkloadKey("Deployment", "shop", "web"),
    changes=(Change(SourceKey(SourceKind.SECRET, "vault", "db"), "abc"),),
    strategy="env-vars",
    time=NOON,
    text="reloads",
)
BAD = GOOD._replace(
    kind=FAILED, text="cannot be reloaded: <no> [way]", error="<no> [way]"
)

SLACK = {
    *("fallback", "color", "pretext", "author_name", "author_link", "author_icon"),
    *("title", "title_link", "text", "fields", "image_url", "thumb_url"),
    *("footer", "footer_icon", "ts"),
}
MESSAGE_CARD = {
    *("@type", "@context", "correlationId", "expectedActors", "originator"),
    *("summary", "themeColor", "hideOriginalBody", "title", "text", "sections"),
    "potentialAction",
}
SECTION = {
    *("title", "startGroup", "activityImage", "activityTitle", "activitySubtitle"),
    *("activityText", "heroImage", "text", "facts", "images", "potentialAction"),
    "markdown",
}
CHAT_HEADER = {"title", "subtitle", "imageStyle", "imageUrl"}
KEY_VALUE = {
    *("topLabel", "content", "contentMultiline", "bottomLabel", "onClick", "icon"),
    *("iconUrl", "button"),
}


def body(format: AlertFormat, *alerts: Alert, info: str = "") -> Json:  # noqa: A002
    sent = written(format, alerts, info)
    assert sent.content_type == "application/json"
    found: Json = json.loads(sent.content)
    return found


def test_a_sentence_names_source_and_workload_in_the_order_of_the_original() -> None:
    assert sentence(GOOD, "eu-1") == (
        "eu-1 : *db* of type *SECRET* in namespace *vault* changed: "
        "*web* of type *Deployment* in namespace *shop* reloads"
    )


def test_a_rollout_whose_sources_are_not_known_is_told_without_them() -> None:
    unknown = GOOD._replace(changes=(), text="runs with what is new")

    assert sentence(unknown) == (
        "*web* of type *Deployment* in namespace *shop* runs with what is new"
    )
    (attachment,) = body(AlertFormat.SLACK_FIELDS, unknown)["attachments"]
    assert "Resource" not in {it["title"] for it in attachment["fields"]}


def test_slack_gets_an_attachment_for_each_alert() -> None:
    first, second = body(AlertFormat.SLACK, GOOD, BAD)["attachments"]

    assert first == {
        "text": sentence(GOOD),
        "color": "good",
        "author_name": "Reloader",
    }
    assert second["color"] == "danger"
    assert "&lt;no&gt;" in second["text"]


def test_slack_gets_title_and_fields_where_a_config_names_it() -> None:
    good, bad = body(AlertFormat.SLACK_FIELDS, GOOD, BAD)["attachments"]

    assert good.keys() <= SLACK
    assert good["color"] == "#36a64f"
    assert good["ts"] == NOON.timestamp()
    assert good["footer"] == "Reloader Operator"
    assert {it["title"]: it["value"] for it in good["fields"]} == {
        "Workload": "Deployment/web",
        "Namespace": "shop",
        "Resource": "Secret/db",
        "Strategy": "env-vars",
    }
    assert bad["color"] == "#ff0000"
    assert bad["fields"][-1] == {
        "title": "Error",
        "value": "&lt;no&gt; [way]",
        "short": False,
    }


@pytest.mark.parametrize(
    ("format_", "between"), [(AlertFormat.TEAMS, "\n\n"), (AlertFormat.GCHAT, "\n")]
)
def test_a_text_has_a_line_for_each_alert(format_: AlertFormat, between: str) -> None:
    assert body(format_, GOOD, GOOD) == {"text": between.join([sentence(GOOD)] * 2)}


def test_a_message_card_has_a_section_for_each_alert_and_the_worst_colour() -> None:
    card = body(AlertFormat.TEAMS_CARD, GOOD, BAD)

    assert card.keys() <= MESSAGE_CARD
    assert (card["@type"], card["themeColor"]) == ("MessageCard", "ff0000")
    assert card["summary"] == "Workload reloaded, and 1 more"
    assert all(section.keys() <= SECTION for section in card["sections"])
    facts = {it["name"]: it["value"] for it in card["sections"][0]["facts"]}
    assert facts["Workload"] == "Deployment/web"
    assert facts["Time"] == "2026-11-21T12:00:00Z"
    failed = {it["name"]: it["value"] for it in card["sections"][1]["facts"]}
    assert failed["Error"] == r"\<no\> \[way\]"


def test_an_adaptive_card_is_what_a_workflow_of_teams_takes() -> None:
    message = body(AlertFormat.TEAMS_ADAPTIVE, BAD)

    assert message["type"] == "message"
    (attachment,) = message["attachments"]
    assert attachment["contentType"] == "application/vnd.microsoft.card.adaptive"
    card = attachment["content"]
    assert (card["type"], card["version"]) == ("AdaptiveCard", "1.4")
    title, text, facts = card["body"]
    assert (title["text"], title["color"]) == ("Reload failed", "attention")
    assert text["text"].startswith("**db** of type **SECRET**")
    assert [it["title"] for it in facts["facts"]][-2:] == ["Error", "Time"]


def test_google_chat_gets_a_card_whose_header_is_the_cards() -> None:
    (card,) = body(AlertFormat.GCHAT_CARDS, BAD)["cards"]

    assert card.keys() == {"header", "sections"}
    assert card["header"].keys() <= CHAT_HEADER
    (section,) = card["sections"]
    values = [widget["keyValue"] for widget in section["widgets"]]
    assert all(value.keys() <= KEY_VALUE for value in values)
    assert {it["topLabel"]: it["content"] for it in values}["Error"] == (
        "&lt;no&gt; [way]"
    )


def test_json_is_one_object_whose_shape_does_not_depend_on_how_many_there_are() -> None:
    one = body(AlertFormat.JSON, GOOD, info="eu-1")
    two = body(AlertFormat.JSON, GOOD, BAD, info="eu-1")

    assert one == {
        "event": "reloaded",
        "workload": {"kind": "Deployment", "namespace": "shop", "name": "web"},
        "sources": [
            {"kind": "Secret", "namespace": "vault", "name": "db", "hash": "abc"}
        ],
        "strategy": "env-vars",
        "cluster": "eu-1",
        "time": "2026-11-21T12:00:00Z",
        "error": "",
        "also": [],
    }
    (other,) = two.pop("also")
    assert two == {name: value for name, value in one.items() if name != "also"}
    assert (other["event"], other["error"]) == ("failed", "<no> [way]")


def test_raw_is_text_without_asterisks() -> None:
    sent = written(AlertFormat.RAW, [GOOD, GOOD], "eu-1")

    assert sent.content_type.startswith("text/plain")
    first, second = sent.content.decode().splitlines()
    assert first == second == sentence(GOOD, "eu-1").replace("*", "")


def test_of_many_sources_a_few_are_named_and_the_rest_counted() -> None:
    many = GOOD._replace(changes=GOOD.changes * 9)

    assert "4 more changed" in sentence(many)
    assert many.resources.count("Secret/db") == 5


def test_time_is_told_in_utc() -> None:
    east = GOOD._replace(time=NOON.astimezone(timezone(timedelta(hours=2))))

    assert body(AlertFormat.JSON, east)["time"] == "2026-11-21T12:00:00Z"


@pytest.mark.parametrize(
    ("format_", "taken", "refused"),
    [
        (AlertFormat.SLACK, (200, 204), (301, 400, 500)),
        (AlertFormat.TEAMS, (200, 202), (204, 400)),
        (AlertFormat.TEAMS_ADAPTIVE, (200, 202), (204, 400)),
        (AlertFormat.GCHAT, (200,), (202, 400)),
        (AlertFormat.RAW, (200, 202, 204), (302, 404)),
    ],
)
def test_a_sink_says_by_its_status_that_it_took_a_message(
    format_: AlertFormat, taken: tuple[int, ...], refused: tuple[int, ...]
) -> None:
    assert all(accepts(format_, status) for status in taken)
    assert not any(accepts(format_, status) for status in refused)
