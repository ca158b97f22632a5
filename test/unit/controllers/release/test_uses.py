"""What a ManagedRoost is found by when something else changes."""

from __future__ import annotations

from api.core.v1 import ConfigMap, Secret
from api.release.v1alpha1 import ManagedRoost
from conformance.releases import managed_roost
from controller_runtime import Json, Meta, RawObject
from controllers.release.uses import recorded, used, uses


def body(roost: ManagedRoost) -> Json:
    found: Json = roost.model_dump(by_alias=True, exclude_unset=True, mode="json")
    return found


def entry(name: str, release: str = "") -> RawObject:
    meta = Meta(namespace="shop", name=name, labels={"name": release})
    return RawObject(meta, b"{}")


def test_everything_that_is_named_leads_to_the_object() -> None:
    repository = {
        "url": "https://charts.example",
        "auth": {"secretRef": {"name": "login"}},
        "tls": {"secretRef": {"name": "ca", "namespace": "trust"}},
    }
    values = {"configMapRefs": [{"name": "c"}], "secretRefs": [{"name": "s"}]}
    roost = managed_roost(chart={"repository": repository, "values": values})

    found = set(uses(body(roost)))

    assert found == {
        "release/shop/web",
        "Secret/shop/login",
        "Secret/trust/ca",
        used(ConfigMap, entry("c")),
        used(Secret, entry("s")),
    }
    assert recorded(entry("sh.helm.release.v1.web.v1", "web")) in found


def test_an_object_that_cannot_be_read_leads_nowhere() -> None:
    assert tuple(uses({"metadata": {"name": "x"}, "spec": {"chart": 1}})) == ()
