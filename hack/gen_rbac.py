"""Write `config/rbac/role.yaml`.

It is what `pilothouse rbac` writes for all controllers, two replicas and secure
metrics in the namespace `pilothouse-system`.
"""

from __future__ import annotations

from pathlib import Path

from controllers.rbac import RoleOptions, manifest
from controllers.settings import CONTROLLERS, Settings

ROLE = Path(__file__).parents[1] / "config" / "rbac" / "role.yaml"

NAMESPACE = "pilothouse-system"


def text() -> str:
    """Return what the file should have."""
    settings = Settings(
        controllers=CONTROLLERS,
        leader_elect=True,
        leader_election_namespace=NAMESPACE,
    )
    return manifest(settings, RoleOptions()).text


if __name__ == "__main__":
    ROLE.parent.mkdir(parents=True, exist_ok=True)
    ROLE.write_text(text(), encoding="utf-8")
