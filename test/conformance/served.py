"""What a server says that it serves, all at once and group by group."""

from __future__ import annotations

import pytest

from conformance.kit import WIDGET, Api
from controller_runtime.discovery import Discovery, read_groups, read_resources
from controller_runtime.errors import DecodeError
from controller_runtime.meta import GroupVersionKind

AGGREGATED = (
    "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,"
    "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList"
)


@pytest.mark.parametrize(
    ("root", "group", "kind"),
    [("/api", "", "ConfigMap"), ("/apis", "apps", "ReplicaSet")],
)
async def test_all_groups_at_once_say_the_same_as_each_of_them(
    api: Api, root: str, group: str, kind: str
) -> None:
    whole = await api.transport.request("GET", root, accept=AGGREGATED)
    gvk = GroupVersionKind(group, "v1", kind)
    own = await api.transport.request("GET", f"{root}/{gvk.api_version}")

    of_whole = [it for it in read_groups(root, whole.body) if it.gvk[:2] == gvk[:2]]

    assert set(of_whole) == set(read_resources(group, "v1", own.body))
    assert gvk in {it.gvk for it in of_whole}


@pytest.mark.parametrize("root", ["/api", "/apis"])
async def test_who_accepts_plain_json_gets_no_kinds_from_the_root(
    api: Api, root: str
) -> None:
    answer = await api.transport.request("GET", root)

    with pytest.raises(DecodeError, match=f"{root} does not say"):
        list(read_groups(root, answer.body))


async def test_a_custom_kind_is_found_like_any_other(api: Api) -> None:
    found = await Discovery(api.transport).resource(WIDGET)

    assert (found.plural, found.namespaced) == ("widgets", True)
    assert found.subresources == {"status"}
