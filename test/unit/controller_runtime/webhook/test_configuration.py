"""What the API server is told about webhooks, to the letter."""

from __future__ import annotations

import base64
from datetime import timedelta

import pytest

from controller_runtime.errors import ConfigError
from controller_runtime.meta import GroupVersionKind, NamespacedName
from controller_runtime.webhook import (
    ClientConfig,
    Operation,
    WebhookOptions,
    WebhookRule,
    crd_conversion,
    mutate_path,
    validate_path,
    webhook_configurations,
)
from controller_runtime.webhook.configuration import check_path

WIDGET = GroupVersionKind("shop.example.com", "v1", "Widget")
POD = GroupVersionKind("", "v1", "Pod")
SERVICE = ClientConfig(service=NamespacedName("ops", "webhook"), ca_bundle=b"PEM")
URL = ClientConfig(url="https://127.0.0.1:9443/", ca_bundle=b"PEM")


def test_the_default_paths_are_those_of_controller_runtime() -> None:
    assert mutate_path(WIDGET) == "/mutate-shop-example-com-v1-widget"
    assert validate_path(WIDGET) == "/validate-shop-example-com-v1-widget"
    assert mutate_path(POD) == "/mutate--v1-pod"


@pytest.mark.parametrize("path", ["/", "/a", "/a-b_c/D9"])
def test_a_path_of_words_is_good(path: str) -> None:
    assert check_path(path) == path


@pytest.mark.parametrize("path", ["", "a", "/a/", "//", "/a b", "/ä", "/a?b", "/a\n"])
def test_any_other_path_is_refused(path: str) -> None:
    with pytest.raises(ConfigError, match="no path of a webhook"):
        check_path(path)


def test_a_mutating_and_a_validating_webhook_make_a_configuration_each() -> None:
    rules = [
        WebhookRule(kind=WIDGET, path="/m", mutates=True),
        WebhookRule(kind=WIDGET, path="/v", mutates=False),
    ]

    mutating, validating = webhook_configurations("pilot", rules, SERVICE)

    service = {"namespace": "ops", "name": "webhook", "path": "/m", "port": 443}
    bundle = base64.b64encode(b"PEM").decode()
    assert mutating == {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": "pilot"},
        "webhooks": [
            {
                "name": "mwidget-v1.shop.example.com",
                "clientConfig": {"service": service, "caBundle": bundle},
                "rules": [
                    {
                        "apiGroups": ["shop.example.com"],
                        "apiVersions": ["v1"],
                        "resources": ["widgets"],
                        "operations": ["CREATE", "UPDATE"],
                        "scope": "*",
                    }
                ],
                "admissionReviewVersions": ["v1"],
                "sideEffects": "None",
                "failurePolicy": "Fail",
                "matchPolicy": "Equivalent",
                "timeoutSeconds": 10,
                "reinvocationPolicy": "Never",
            }
        ],
    }
    assert validating["kind"] == "ValidatingWebhookConfiguration"
    (webhook,) = validating["webhooks"]
    assert webhook["name"] == "vwidget-v1.shop.example.com"
    assert webhook["rules"][0]["operations"] == ["CREATE", "UPDATE", "DELETE"]
    assert "reinvocationPolicy" not in webhook


def test_without_webhooks_there_is_no_configuration() -> None:
    assert webhook_configurations("pilot", [], URL) == []


def test_options_are_said_in_the_configuration() -> None:
    options = WebhookOptions(
        name="m.example.com",
        operations=[Operation.CREATE],
        resources=["widgets", "widgets/status"],
        scope="Namespaced",
        failure_policy="Ignore",
        timeout=timedelta(seconds=3),
        match_policy="Exact",
        match_conditions={"not-us": "request.userInfo.username != 'us'"},
        namespace_selector={"matchLabels": {"a": "b"}},
        object_selector={"matchLabels": {"c": "d"}},
        reinvocation_policy="IfNeeded",
    )
    rule = WebhookRule(kind=WIDGET, path="/m", mutates=True, options=options)

    (configuration,) = webhook_configurations("pilot", [rule], URL)

    (webhook,) = configuration["webhooks"]
    (told,) = webhook["rules"]
    assert webhook["clientConfig"]["url"] == "https://127.0.0.1:9443/m"
    assert (told["resources"], told["scope"], told["operations"]) == (
        ["widgets", "widgets/status"],
        "Namespaced",
        ["CREATE"],
    )
    assert webhook["matchConditions"] == [
        {"name": "not-us", "expression": "request.userInfo.username != 'us'"}
    ]
    assert webhook["namespaceSelector"] == {"matchLabels": {"a": "b"}}
    assert webhook["objectSelector"] == {"matchLabels": {"c": "d"}}
    assert (webhook["name"], webhook["failurePolicy"], webhook["timeoutSeconds"]) == (
        "m.example.com",
        "Ignore",
        3,
    )
    assert (webhook["matchPolicy"], webhook["reinvocationPolicy"]) == (
        "Exact",
        "IfNeeded",
    )


@pytest.mark.parametrize(
    ("kind", "plural"),
    [
        ("Pod", "pods"),
        ("Ingress", "ingresses"),
        ("NetworkPolicy", "networkpolicies"),
        ("Endpoints", "endpoints"),
    ],
)
def test_the_resource_is_guessed_as_go_does(kind: str, plural: str) -> None:
    rule = WebhookRule(kind=GroupVersionKind("", "v1", kind), path="/v", mutates=False)

    (configuration,) = webhook_configurations("pilot", [rule], URL)

    assert configuration["webhooks"][0]["rules"][0]["resources"] == [plural]


@pytest.mark.parametrize(
    "client", [ClientConfig(), ClientConfig(url="u", service=NamespacedName("a", "b"))]
)
def test_a_webhook_is_at_a_service_or_at_a_url(client: ClientConfig) -> None:
    with pytest.raises(ConfigError, match="give one"):
        client.at("/m")


def test_without_an_authority_there_is_no_bundle() -> None:
    assert ClientConfig(url="https://x").at("/m") == {"url": "https://x/m"}


def test_a_crd_is_told_where_it_is_converted() -> None:
    assert crd_conversion(URL) == {
        "strategy": "Webhook",
        "webhook": {
            "clientConfig": URL.at("/convert"),
            "conversionReviewVersions": ["v1"],
        },
    }
