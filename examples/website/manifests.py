"""What a cluster has to be told of the operator, from its code.

$ python manifests.py > config/operator.yaml
"""

import sys

import yaml
from hosting import NAME, SYSTEM, production

from controller_runtime import (
    HttpTransport,
    Json,
    Manager,
    NamespacedName,
    RestConfig,
    Roles,
)
from controller_runtime.webhook import ClientConfig, webhook_configurations

ACCOUNT = NamespacedName(SYSTEM, NAME)
"""Whom the roles are for. The Service is called the same."""


def described() -> Manager:
    """Return a manager that is never started: it knows what it would ask for."""
    return production(HttpTransport(RestConfig(server="https://nowhere.invalid")))


def roles() -> Roles:
    """Return what the account may do: what the code does, and no more."""
    return Roles.of(NAME, described().grants)


def webhooks() -> list[Json]:
    """Return what makes the API server call the webhook, at its Service."""
    service = ClientConfig(service=ACCOUNT)
    return webhook_configurations(NAME, described().webhooks.rules, service)


def text() -> str:
    """Return all of it as YAML."""
    return yaml.safe_dump_all([*roles().objects(ACCOUNT), *webhooks()], sort_keys=False)


if __name__ == "__main__":
    sys.stdout.write(text())
