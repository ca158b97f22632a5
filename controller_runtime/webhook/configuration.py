"""What the API server is told about webhooks: paths, rules and where to call.

    WebhookRule(kind, path, options) ─┐
    ClientConfig (service or URL) ────┴─▶ MutatingWebhookConfiguration,
                                          ValidatingWebhookConfiguration

Pure: the same rules make the objects of a chart, of a test, and of a manager that
installs its own.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Literal

from controller_runtime.errors import ConfigError
from controller_runtime.meta import GroupVersionKind, Json, NamespacedName
from controller_runtime.webhook.review import Operation

CONVERT_PATH = "/convert"

_API_VERSION = "admissionregistration.k8s.io/v1"
_PATH = re.compile(r"((/[a-zA-Z0-9_-]+)+|/)")
"""What controller-runtime's builder takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookOptions:
    """Which requests a webhook gets, and what happens when it does not answer."""

    name: str = ""
    """Fully qualified, one of a kind in its configuration; by default
    `mwidget-v1.example.com`, with a v in front if it validates."""

    operations: Sequence[Operation] = ()
    """By default CREATE and UPDATE, and for validators also DELETE."""

    resources: Sequence[str] = ()
    """Such as `("widgets", "widgets/status")`; by default the plural of the kind as
    Go guesses it: widgets, ingresses, policies."""

    scope: Literal["*", "Namespaced", "Cluster"] = "*"

    failure_policy: Literal["Fail", "Ignore"] = "Fail"
    """What happens to a request while nobody answers."""

    timeout: timedelta = timedelta(seconds=10)
    """1 to 30 s, in whole seconds; the webhook has as long to decide."""

    match_policy: Literal["Equivalent", "Exact"] = "Equivalent"
    """Equivalent: objects of other versions come too, converted to that of the kind."""

    match_conditions: Mapping[str, str] = field(default_factory=dict)
    """Name → CEL expression; all must be true."""

    namespace_selector: Mapping[str, Any] = field(default_factory=dict)
    """`metav1.LabelSelector` of the namespaces; empty is all of them."""

    object_selector: Mapping[str, Any] = field(default_factory=dict)
    """`metav1.LabelSelector` of the objects. Whoever may set labels can evade it."""

    reinvocation_policy: Literal["Never", "IfNeeded"] = "Never"
    """Whether a mutating webhook runs again after others changed the object."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookRule:
    """A webhook that is served."""

    kind: GroupVersionKind
    path: str
    mutates: bool
    options: WebhookOptions = WebhookOptions()


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientConfig:
    """Where the API server calls webhooks, and whom it believes there."""

    service: NamespacedName | None = None
    """A Service in the cluster; its port is 443 unless `port` says otherwise."""

    port: int = 443

    url: str = ""
    """`https://host:port`, for a webhook outside the cluster. Not with `service`."""

    ca_bundle: bytes = b""
    """PEM. Empty: the API server's own trust, or cert-manager fills it in."""

    def at(self, path: str) -> Json:
        """Return the `clientConfig` of the webhook at a path."""
        if (self.service is None) == (not self.url):
            raise ConfigError("webhooks are called at a service or at a URL: give one")
        config: Json = {}
        if self.service is None:
            config["url"] = f"{self.url.rstrip('/')}{path}"
        else:
            namespace, name = self.service
            config["service"] = {
                "namespace": namespace,
                "name": name,
                "path": path,
                "port": self.port,
            }
        if self.ca_bundle:
            config["caBundle"] = base64.b64encode(self.ca_bundle).decode()
        return config


def mutate_path(gvk: GroupVersionKind) -> str:
    """Return where a kind is defaulted: `/mutate-example-com-v1-widget`."""
    return f"/mutate-{_slug(gvk)}"


def validate_path(gvk: GroupVersionKind) -> str:
    """Return where a kind is validated: `/validate-example-com-v1-widget`."""
    return f"/validate-{_slug(gvk)}"


def check_path(path: str) -> str:
    """Return a path if a webhook may be there.

    Raises:
        ConfigError: It may not.
    """
    if not _PATH.fullmatch(path):
        raise ConfigError(
            f"{path!r} is no path of a webhook: parts of letters, digits, - and _, "
            "each after a slash"
        )
    return path


def webhook_configurations(
    name: str, rules: Iterable[WebhookRule], client: ClientConfig
) -> list[Json]:
    """Return the objects that make the API server call webhooks.

    Args:
        name: Of each of the objects.
        rules: What is served; `WebhookServer.rules` are those of a manager.
        client: Where.

    Returns:
        A MutatingWebhookConfiguration, a ValidatingWebhookConfiguration, or both.

    Raises:
        ConfigError: `client` says neither or both of service and URL.
    """
    rules = list(rules)
    made = []
    for kind, mutates in (("Mutating", True), ("Validating", False)):
        webhooks = [_webhook(r, client) for r in rules if r.mutates is mutates]
        if webhooks:
            made.append(
                {
                    "apiVersion": _API_VERSION,
                    "kind": f"{kind}WebhookConfiguration",
                    "metadata": {"name": name},
                    "webhooks": webhooks,
                }
            )
    return made


def crd_conversion(client: ClientConfig, *, path: str = CONVERT_PATH) -> Json:
    """Return the `spec.conversion` of a CRD whose versions are converted here."""
    return {
        "strategy": "Webhook",
        "webhook": {
            "clientConfig": client.at(path),
            "conversionReviewVersions": ["v1"],
        },
    }


def _webhook(rule: WebhookRule, client: ClientConfig) -> Json:
    options = rule.options
    webhook: Json = {
        "name": options.name or _name(rule),
        "clientConfig": client.at(rule.path),
        "rules": [_rule(rule)],
        "admissionReviewVersions": ["v1"],
        "sideEffects": "None",
        "failurePolicy": options.failure_policy,
        "matchPolicy": options.match_policy,
        "timeoutSeconds": int(options.timeout.total_seconds()),
    }
    if options.match_conditions:
        webhook["matchConditions"] = [
            {"name": name, "expression": expression}
            for name, expression in options.match_conditions.items()
        ]
    if options.namespace_selector:
        webhook["namespaceSelector"] = dict(options.namespace_selector)
    if options.object_selector:
        webhook["objectSelector"] = dict(options.object_selector)
    if rule.mutates:
        webhook["reinvocationPolicy"] = options.reinvocation_policy
    return webhook


def _rule(rule: WebhookRule) -> Json:
    usual = [Operation.CREATE, Operation.UPDATE]
    if not rule.mutates:
        usual.append(Operation.DELETE)
    return {
        "apiGroups": [rule.kind.group],
        "apiVersions": [rule.kind.version],
        "resources": list(rule.options.resources or [_plural(rule.kind.kind)]),
        "operations": [str(each) for each in rule.options.operations or usual],
        "scope": rule.options.scope,
    }


def _name(rule: WebhookRule) -> str:
    group, version, kind = rule.kind
    letter = "m" if rule.mutates else "v"
    return f"{letter}{kind.lower()}-{version}.{group or 'core.k8s.io'}"


def _slug(gvk: GroupVersionKind) -> str:
    return f"{gvk.group.replace('.', '-')}-{gvk.version}-{gvk.kind.lower()}"


def _plural(kind: str) -> str:
    """Guess as `meta.UnsafeGuessKindToResource` of apimachinery does."""
    name = kind.lower()
    if name.endswith("endpoints"):
        return name
    if name.endswith("s"):
        return f"{name}es"
    return f"{name[:-1]}ies" if name.endswith("y") else f"{name}s"
