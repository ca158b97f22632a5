"""What a request asks, as kube-apiserver's authorizer reads it.

The cases are those of `requestinfo_test.go` of k8s.io/apiserver, and ours.
"""

from __future__ import annotations

import pytest

from controller_runtime.requestinfo import RequestInfo, path_template, request_info

PODS = "/api/v1/namespaces/shop/pods"

CASES = [
    ("GET", "/api/v1/namespaces", "list namespaces"),
    ("GET", "/api/v1/namespaces/shop", "get namespaces shop in shop"),
    ("PUT", "/api/v1/namespaces/shop/status", "update namespaces/status shop in shop"),
    ("PUT", "/api/v1/namespaces/shop/finalize", "update namespaces/finalize shop in"),
    ("GET", PODS, "list pods in shop"),
    ("POST", PODS, "create pods in shop"),
    ("DELETE", PODS, "deletecollection pods in shop"),
    ("GET", f"{PODS}/web", "get pods web in shop"),
    ("HEAD", f"{PODS}/web", "get pods web in shop"),
    ("PUT", f"{PODS}/web", "update pods web in shop"),
    ("PATCH", f"{PODS}/web", "patch pods web in shop"),
    ("DELETE", f"{PODS}/web", "delete pods web in shop"),
    ("GET", f"{PODS}/web/log", "get pods/log web in shop"),
    ("POST", f"{PODS}/web/eviction", "create pods/eviction web in shop"),
    ("GET", f"{PODS}/web/proxy/a/b", "get pods/proxy web in shop"),
    ("GET", "/api/v1/pods", "list pods"),
    ("GET", "/api/v1/nodes/n1", "get nodes n1"),
    ("GET", "/api/v1/watch/pods", "watch pods"),
    ("GET", "/api/v1/watch/namespaces/shop/pods", "watch pods in shop"),
    ("GET", "/api/v1/proxy/namespaces/shop/pods/web", "proxy pods web in shop"),
    ("GET", "/apis/apps/v1/deployments", "list deployments.apps"),
    (
        "PATCH",
        "/apis/apps/v1/namespaces/shop/deployments/web/scale",
        "patch deployments.apps/scale web in shop",
    ),
    ("POST", "/apis/authentication.k8s.io/v1/tokenreviews", "create tokenreviews.auth"),
    ("GET", "/", "get /"),
    ("GET", "/version", "get /version"),
    ("GET", "/metrics", "get /metrics"),
    ("POST", "/logs", "post /logs"),
    ("GET", "/api", "get /api"),
    ("GET", "/api/v1", "get /api/v1"),
    ("GET", "/apis", "get /apis"),
    ("GET", "/apis/apps", "get /apis/apps"),
    ("GET", "/apis/apps/v1", "get /apis/apps/v1"),
    ("GET", "/api/v1/watch", "get /api/v1/watch"),
]


@pytest.mark.parametrize(("method", "path", "expected"), CASES)
def test_a_request_is_what_the_server_takes_it_for(
    method: str, path: str, expected: str
) -> None:
    assert str(request_info(method, path)).startswith(expected)


@pytest.mark.parametrize("value", ["1", "true", "", "yes"])
def test_a_list_with_watch_set_is_a_watch(value: str) -> None:
    assert request_info("GET", PODS, {"watch": value}).verb == "watch"


@pytest.mark.parametrize("value", ["0", "false", "False"])
def test_a_watch_that_is_denied_is_a_list(value: str) -> None:
    assert request_info("GET", PODS, {"watch": value}).verb == "list"


def test_watch_says_nothing_about_one_object() -> None:
    assert request_info("GET", f"{PODS}/web", {"watch": "1"}).verb == "get"


@pytest.mark.parametrize(
    "selector", ["metadata.name=web", "metadata.name==web", "a=b,metadata.name=web"]
)
def test_a_list_of_one_name_is_about_that_name(selector: str) -> None:
    asked = request_info("GET", PODS, {"fieldSelector": selector})

    assert asked == RequestInfo("list", "", "pods", "", "shop", "web")


@pytest.mark.parametrize("selector", ["metadata.name!=web", "spec.nodeName=web", ""])
def test_a_list_by_other_fields_is_about_all_names(selector: str) -> None:
    assert request_info("GET", PODS, {"fieldSelector": selector}).name == ""


def test_a_request_with_a_subresource_names_it_as_a_role_does() -> None:
    assert request_info("GET", f"{PODS}/web/log").full_resource == "pods/log"


@pytest.mark.parametrize(
    ("path", "template"),
    [
        ("/version", "/version"),
        ("/api/v1/pods", "/api/v1/pods"),
        ("/api/v1/nodes/n1", "/api/v1/nodes/{name}"),
        ("/api/v1/namespaces", "/api/v1/namespaces"),
        ("/api/v1/namespaces/shop", "/api/v1/namespaces/{name}"),
        ("/api/v1/namespaces/shop/status", "/api/v1/namespaces/{name}/status"),
        ("/api/v1/namespaces/shop/pods", "/api/v1/namespaces/{namespace}/pods"),
        (
            "/apis/apps/v1/namespaces/shop/deployments/web/scale",
            "/apis/apps/v1/namespaces/{namespace}/deployments/{name}/scale",
        ),
        ("/apis/example.com/v1/globals/g", "/apis/example.com/v1/globals/{name}"),
        ("/apis/apps/v1", "/apis/apps/v1"),
        ("/apis", "/apis"),
        ("/", "/"),
        ("/api/v1", "/api/v1"),
    ],
)
def test_a_template_has_no_names_of_objects(path: str, template: str) -> None:
    assert path_template(path) == template
