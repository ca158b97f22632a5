"""Alerts → the body of one POST, in the way that each sink takes it: pure.

    slack           attachments with a text       docs.slack.dev, "attachments"
    slack-fields    … with title, fields, footer
    teams           text, in Markdown             learn.microsoft.com, "connectors"
    teams-card      MessageCard, a section each   "legacy message card reference"
    teams-adaptive  Adaptive Card 1.4             what workflows take
    gchat           text                          developers.google.com/workspace/chat
    gchat-cards     a card each                   "cards v1"
    json            an object of ours
    raw             text/plain, without asterisks

A message carries several alerts, since chats take one message a second. JSON is one
object for that reason too: the first alert, and the others under `also`.

What comes from elsewhere, such as the text of an error, is escaped in the way that the
sink understands: nothing in it becomes a link or a mention.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC
from typing import NamedTuple, TypeAlias

import msgspec

from controller_runtime import Json
from controllers.reload.alerts.alert import Alert, Severity, sentence
from controllers.reload.options import AlertFormat as Format

_NAME = "Reloader Operator"
_ICON = (
    "https://raw.githubusercontent.com/stakater/Reloader/master/assets/web/"
    "reloader-round-100px.png"
)

_SLACK_COLORS: Mapping[Severity, str] = {
    Severity.GOOD: "#36a64f",
    Severity.WARNING: "#ffcc00",
    Severity.BAD: "#ff0000",
}
_SLACK_WORDS: Mapping[Severity, str] = {
    Severity.GOOD: "good",
    Severity.WARNING: "warning",
    Severity.BAD: "danger",
}
_TEAMS_COLORS: Mapping[Severity, str] = {
    Severity.GOOD: "00ff00",
    Severity.WARNING: "ffcc00",
    Severity.BAD: "ff0000",
}
_ADAPTIVE_COLORS: Mapping[Severity, str] = {
    Severity.GOOD: "good",
    Severity.WARNING: "warning",
    Severity.BAD: "attention",
}

_MARKDOWN = re.compile(r"([\\`\[\]<>])")
"""What begins code, a link or HTML. Asterisks are left: bold text does no harm."""


class Body(NamedTuple):
    """What is posted."""

    content_type: str
    content: bytes


def accepts(format: Format, status: int) -> bool:  # noqa: A002 - the word for it
    """Tell whether the status of an answer says that the message was taken.

    As in stakater's Reloader: Google Chat and connectors of Teams say 200 and nothing
    else; workflows of Teams say 202. Of the others, all is well that is no error and
    no redirect, which is not followed: it would take the message to a stranger.
    """
    match format:
        case Format.TEAMS | Format.TEAMS_CARD | Format.TEAMS_ADAPTIVE:
            return status in {200, 202}
        case Format.GCHAT | Format.GCHAT_CARDS:
            return status == 200
        case _:
            return 200 <= status < 300


_Write: TypeAlias = Callable[[Sequence[Alert], str], Json]


def written(format: Format, alerts: Sequence[Alert], info: str = "") -> Body:  # noqa: A002 - the word for it
    """Write alerts, of which there is at least one.

    Args:
        format: How.
        alerts: What is told.
        info: What a user adds to all of them, such as the name of the cluster.
    """
    if format is Format.RAW:
        text = "\n".join(sentence(it, info).replace("*", "") for it in alerts)
        return Body("text/plain; charset=utf-8", text.encode())
    return Body("application/json", msgspec.json.encode(_WRITERS[format](alerts, info)))


def _slack(alerts: Sequence[Alert], info: str) -> Json:
    return {
        "attachments": [
            {
                "text": _for_slack(sentence(it, info)),
                "color": _SLACK_WORDS[it.kind.severity],
                "author_name": "Reloader",
            }
            for it in alerts
        ]
    }


def _slack_fields(alerts: Sequence[Alert], info: str) -> Json:
    return {"attachments": [_attachment(it, info) for it in alerts]}


def _attachment(alert: Alert, info: str) -> Json:
    return {
        "fallback": sentence(alert, info).replace("*", ""),
        "color": _SLACK_COLORS[alert.kind.severity],
        "title": alert.kind.title,
        "text": _for_slack(sentence(alert, info)),
        "fields": [
            {"title": name, "value": _for_slack(value), "short": name != "Error"}
            for name, value in _facts(alert)
        ],
        "footer": _NAME,
        "footer_icon": _ICON,
        "ts": int(alert.time.timestamp()),
    }


def _teams(alerts: Sequence[Alert], info: str) -> Json:
    # An empty line, or Markdown would make one paragraph of it.
    return {"text": "\n\n".join(_for_markdown(sentence(it, info)) for it in alerts)}


def _teams_card(alerts: Sequence[Alert], info: str) -> Json:
    worst = _worst(alerts)
    return {
        "@type": "MessageCard",
        "@context": "https://schema.org/extensions",
        "summary": _title(alerts),
        "themeColor": _TEAMS_COLORS[worst],
        "sections": [
            {
                "activityTitle": it.kind.title,
                "activitySubtitle": _for_markdown(sentence(it, info)),
                "activityImage": _ICON,
                "facts": [
                    {"name": name, "value": _for_markdown(value)}
                    for name, value in [*_facts(it), ("Time", _time(it))]
                ],
                "markdown": True,
            }
            for it in alerts
        ],
    }


def _teams_adaptive(alerts: Sequence[Alert], info: str) -> Json:
    card = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "body": [block for it in alerts for block in _blocks(it, info)],
    }
    attachment = {
        "contentType": "application/vnd.microsoft.card.adaptive",
        "content": card,
    }
    return {"type": "message", "attachments": [attachment]}


def _blocks(alert: Alert, info: str) -> Sequence[Json]:
    text = _for_markdown(sentence(alert, info)).replace("*", "**")
    facts = [*_facts(alert), ("Time", _time(alert))]
    return [
        {
            "type": "TextBlock",
            "text": alert.kind.title,
            "weight": "bolder",
            "size": "medium",
            "color": _ADAPTIVE_COLORS[alert.kind.severity],
            "wrap": True,
        },
        {"type": "TextBlock", "text": text, "wrap": True},
        {
            "type": "FactSet",
            "facts": [
                {"title": name, "value": _for_markdown(value)} for name, value in facts
            ],
        },
    ]


def _gchat(alerts: Sequence[Alert], info: str) -> Json:
    return {"text": "\n".join(_for_slack(sentence(it, info)) for it in alerts)}


def _gchat_cards(alerts: Sequence[Alert], info: str) -> Json:
    return {"cards": [_card(it, info) for it in alerts]}


def _card(alert: Alert, info: str) -> Json:
    # The header belongs to the card; that of a section is a text.
    widgets = [
        {"keyValue": {"topLabel": name, "content": html.escape(value, quote=False)}}
        for name, value in [*_facts(alert), ("Time", _time(alert))]
    ]
    subtitle = sentence(alert, info).replace("*", "")
    return {
        "header": {
            "title": alert.kind.title,
            "subtitle": subtitle,
            "imageUrl": _ICON,
        },
        "sections": [{"widgets": widgets}],
    }


def _json(alerts: Sequence[Alert], info: str) -> Json:
    first, *others = (_object(it, info) for it in alerts)
    return {**first, "also": others}


def _object(alert: Alert, info: str) -> Json:
    kind, namespace, name = alert.workload
    return {
        "event": alert.kind.event,
        "workload": {"kind": kind, "namespace": namespace, "name": name},
        "sources": [
            {
                "kind": it.kind,
                "namespace": it.source.namespace,
                "name": it.source.name,
                "hash": it.hash,
            }
            for it in alert.changes
        ],
        "strategy": alert.strategy,
        "cluster": info,
        "time": _time(alert),
        "error": alert.error,
    }


_WRITERS: Mapping[Format, _Write] = {
    Format.SLACK: _slack,
    Format.SLACK_FIELDS: _slack_fields,
    Format.TEAMS: _teams,
    Format.TEAMS_CARD: _teams_card,
    Format.TEAMS_ADAPTIVE: _teams_adaptive,
    Format.GCHAT: _gchat,
    Format.GCHAT_CARDS: _gchat_cards,
    Format.JSON: _json,
}


def _facts(alert: Alert) -> Sequence[tuple[str, str]]:
    kind, namespace, name = alert.workload
    facts = [
        ("Workload", f"{kind}/{name}"),
        ("Namespace", namespace),
        ("Resource", alert.resources),
        ("Strategy", alert.strategy),
        ("Error", alert.error),
    ]
    return [fact for fact in facts if fact[1]]


def _worst(alerts: Sequence[Alert]) -> Severity:
    order = list(Severity)
    return max((it.kind.severity for it in alerts), key=order.index)


def _title(alerts: Sequence[Alert]) -> str:
    title = alerts[0].kind.title
    return title if len(alerts) == 1 else f"{title}, and {len(alerts) - 1} more"


def _time(alert: Alert) -> str:
    """Write it as RFC 3339, in UTC."""
    return f"{alert.time.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def _for_slack(text: str) -> str:
    """Escape the three characters that mean something; Google Chat has the same."""
    return html.escape(text, quote=False)


def _for_markdown(text: str) -> str:
    return _MARKDOWN.sub(r"\\\1", text)
