"""Parts of a release, made up: for tests of what is decided about it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import cast

from api.release.v1alpha1 import ManagedRoost
from controller_runtime import Json
from controllers.release.records import HelmStatus, Revision

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


def managed_roost(
    *,
    name: str = "web",
    status: Json | None = None,
    annotations: dict[str, str] | None = None,
    chart: Json | None = None,
    **spec: object,
) -> ManagedRoost:
    """Return a ManagedRoost with uid `ours` and generation 1."""
    usual = {"repository": {"url": "https://charts.example"}, "name": "app"}
    return ManagedRoost.model_validate(
        {
            "metadata": {
                "name": name,
                "namespace": "shop",
                "uid": "ours",
                "generation": 1,
                "annotations": annotations or {},
            },
            "spec": {"chart": {**usual, "version": "1.0.0", **(chart or {})}, **spec},
            "status": status or {},
        }
    )


def revision(
    number: int = 1,
    status: HelmStatus = HelmStatus.DEPLOYED,
    *,
    uid: str = "ours",
    digest: str = "d" * 40,
) -> Revision:
    """Return a record as its labels tell of it."""
    return Revision(
        number=number,
        status=status,
        uid=uid,
        digest=digest,
        modified=NOON,
        secret=cast(Json, {}),
    )
