"""Where a `ReloaderConfig` tells of reloads."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from controller_runtime import schema
from controller_runtime.meta import ApiModel


class UrlSecret(ApiModel):
    """The key of a Secret that holds a URL."""

    name: Annotated[str, Field(min_length=1, max_length=253)]

    key: Annotated[str, Field(min_length=1, max_length=253)] = "url"

    namespace: Annotated[str, Field(max_length=63)] = ""
    """By default that of the config. Another one needs
    `--reload-allow-cross-namespace`."""


@schema.marked(schema.exactly_one_of("url", "secretRef"))
class AlertSink(ApiModel):
    """A webhook; its URL is a secret more often than not."""

    url: Annotated[str, Field(min_length=1, max_length=2048)] | None = None
    """Readable by whoever may read the config: better put it into a Secret."""

    secret_ref: UrlSecret | None = None


class TeamsFormat(StrEnum):
    """How Teams is told."""

    MESSAGE_CARD = "messageCard"
    """For connectors, which Microsoft is retiring."""
    ADAPTIVE = "adaptive"
    """For workflows."""


class TeamsSink(AlertSink):
    """A webhook of Microsoft Teams."""

    format: TeamsFormat = TeamsFormat.MESSAGE_CARD


class WebhookFormat(StrEnum):
    """What is posted."""

    SLACK = "slack"
    """As to Slack."""
    JSON = "json"
    """What happened, field by field."""


class WebhookSink(AlertSink):
    """Any other receiver."""

    format: WebhookFormat = WebhookFormat.SLACK


class Alerts(ApiModel):
    """Who is told of reloads, and of those that failed."""

    slack: AlertSink | None = None
    teams: TeamsSink | None = None
    google_chat: AlertSink | None = None
    custom_webhook: WebhookSink | None = None
