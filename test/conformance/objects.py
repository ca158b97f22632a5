"""Reading and writing single objects, on any API server."""

from __future__ import annotations

import re

import pytest

from conformance.kit import (
    JSON_PATCH,
    STRATEGIC,
    WIDGET,
    Api,
    changed,
    config_map,
    deployment,
    version_of,
    widget,
)

NAMES = {"name": "web", "kind": "configmaps"}
MODIFIED = (
    'Operation cannot be fulfilled on configmaps "web": the object has been modified; '
    "please apply your changes to the latest version and try again"
)


async def test_a_new_object_gets_what_is_the_servers_to_give(api: Api) -> None:
    made = await api.create(api.configmaps, config_map("web"))

    metadata = made["metadata"]
    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", metadata["uid"])
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", metadata["creationTimestamp"]
    )
    assert metadata["resourceVersion"].isdecimal()
    assert metadata["namespace"] == api.namespace
    assert "generation" not in metadata
    assert made["data"] == {"colour": "blue"}
    assert await api.get(f"{api.configmaps}/web") == made


async def test_what_is_the_servers_to_give_cannot_be_given(api: Api) -> None:
    forged = {
        "uid": "11111111-1111-1111-1111-111111111111",
        "creationTimestamp": "1999-01-01T00:00:00Z",
        "deletionTimestamp": "1999-01-01T00:00:00Z",
        "generation": 42,
    }

    made = await api.create(api.widgets, widget("web", metadata=forged))

    assert made["metadata"]["uid"] != forged["uid"]
    assert not made["metadata"]["creationTimestamp"].startswith("1999")
    assert "deletionTimestamp" not in made["metadata"]
    assert made["metadata"]["generation"] == 1


async def test_a_name_can_be_generated(api: Api) -> None:
    body = config_map("", metadata={"name": "", "generateName": "web-"})

    one = await api.create(api.configmaps, body)
    two = await api.create(api.configmaps, body)

    assert re.fullmatch(
        r"web-[bcdfghjklmnpqrstvwxz2456789]{5}", one["metadata"]["name"]
    )
    assert one["metadata"]["generateName"] == "web-"
    assert one["metadata"]["name"] != two["metadata"]["name"]


async def test_a_taken_name_is_refused(api: Api) -> None:
    await api.create(api.configmaps, config_map("web"))

    status, said = await api.call("POST", api.configmaps, config_map("web"))

    assert (status, said["reason"]) == (409, "AlreadyExists")
    assert said["message"] == 'configmaps "web" already exists'
    assert said["details"] == NAMES


async def test_an_object_without_a_name_is_refused(api: Api) -> None:
    status, said = await api.call("POST", api.configmaps, config_map(""))

    assert (status, said["reason"]) == (422, "Invalid")
    text = "Required value: name or generateName is required"
    assert said["message"] == f'ConfigMap "" is invalid: metadata.name: {text}'
    assert said["details"]["causes"] == [
        {"reason": "FieldValueRequired", "message": text, "field": "metadata.name"}
    ]
    assert said["details"]["kind"] == "ConfigMap"


@pytest.mark.parametrize("name", ["Upper", "under_score", "-dash", "x" * 254])
async def test_a_name_that_is_no_dns_name_is_refused(api: Api, name: str) -> None:
    status, said = await api.call("POST", api.configmaps, config_map(name))

    assert (status, said["reason"]) == (422, "Invalid")
    assert f'ConfigMap "{name}" is invalid: metadata.name: Invalid' in said["message"]


async def test_a_label_that_is_no_label_is_refused(api: Api) -> None:
    body = config_map("web", metadata={"labels": {"tier": "not a label!"}})

    status, said = await api.call("POST", api.configmaps, body)

    assert (status, said["reason"]) == (422, "Invalid")
    assert 'metadata.labels: Invalid value: "not a label!"' in said["message"]


async def test_a_new_object_cannot_have_a_version(api: Api) -> None:
    body = config_map("web", metadata={"resourceVersion": "5"})

    status, said = await api.call("POST", api.configmaps, body)

    assert status == 500
    text = "resourceVersion should not be set on objects to be created"
    assert said["message"] == text


async def test_the_namespace_of_object_and_path_must_agree(api: Api) -> None:
    body = config_map("web", metadata={"namespace": "elsewhere"})

    status, said = await api.call("POST", api.configmaps, body)

    assert (status, said["reason"]) == (400, "BadRequest")
    assert "namespace of the provided object does not match" in said["message"]


async def test_a_namespace_must_exist(api: Api) -> None:
    path = api.path("configmaps", namespace="nowhere")

    status, said = await api.call("POST", path, config_map("web"))

    assert (status, said["reason"]) == (404, "NotFound")
    assert said["message"] == 'namespaces "nowhere" not found'
    assert (await api.get(path))["items"] == []


async def test_kind_and_version_of_a_built_in_object_may_be_left_out(api: Api) -> None:
    made = await api.create(api.configmaps, {"metadata": {"name": "web"}})

    assert (made["apiVersion"], made["kind"]) == ("v1", "ConfigMap")


async def test_another_kind_is_refused(api: Api) -> None:
    body = {**config_map("web"), "kind": "Secret"}
    status, said = await api.call("POST", api.configmaps, body)
    assert (status, said["reason"]) == (400, "BadRequest")
    text = 'Secret in version "v1" cannot be handled as a ConfigMap'
    assert said["message"].startswith(text)

    body = {**widget("web"), "kind": "Gadget"}
    status, said = await api.call("POST", api.widgets, body)
    assert (status, said["reason"]) == (422, "Invalid")
    assert 'kind: Invalid value: "Gadget": must be Widget' in said["message"]

    body = {**widget("web"), "apiVersion": f"{WIDGET.group}/v2"}
    status, said = await api.call("POST", api.widgets, body)
    assert (status, said["reason"]) == (400, "BadRequest")
    assert "does not match the expected API version" in said["message"]


@pytest.mark.parametrize("body", [b"{", b"[]", b"1"])
async def test_a_body_that_is_no_object_is_refused(api: Api, body: bytes) -> None:
    status, said = await api.call("POST", api.configmaps, body)

    assert (status, said["reason"]) == (400, "BadRequest")


async def test_text_must_be_text(api: Api) -> None:
    body = config_map("web", data={"replicas": 3})

    status, said = await api.call("POST", api.configmaps, body)

    assert (status, said["reason"]) == (400, "BadRequest")
    text = "cannot unmarshal number into Go struct field ConfigMap.data of type string"
    assert text in said["message"]


async def test_a_body_of_another_type_is_refused(api: Api) -> None:
    status, said = await api.call(
        "POST", api.configmaps, b"web", content_type="text/plain"
    )

    assert (status, said["reason"]) == (415, "UnsupportedMediaType")
    assert "accepted media types include: application/json" in said["message"]


async def test_an_object_that_is_not_there_is_not_found(api: Api) -> None:
    status, said = await api.call("GET", f"{api.configmaps}/web")
    assert (status, said["reason"]) == (404, "NotFound")
    assert said["message"] == 'configmaps "web" not found'
    assert said["details"] == NAMES

    path = api.path("deployments", "apps/v1")
    _, said = await api.call("DELETE", f"{path}/web")
    assert said["message"] == 'deployments.apps "web" not found'
    assert said["details"] == {"name": "web", "group": "apps", "kind": "deployments"}


async def test_a_kind_that_is_not_served_is_not_found(api: Api) -> None:
    status, said = await api.call("GET", "/api/v1/nonsense")
    assert (status, said["reason"]) == (404, "NotFound")
    assert said["message"] == "the server could not find the requested resource"

    status, said = await api.call("GET", "/apis/nonsense.example.com/v1/things")
    assert (status, said["message"]) == (404, "404 page not found")


@pytest.mark.parametrize(
    ("method", "suffix"), [("POST", "/web"), ("PUT", ""), ("PATCH", "")]
)
async def test_a_method_that_makes_no_sense_is_refused(
    api: Api, method: str, suffix: str
) -> None:
    status, said = await api.call(method, api.configmaps + suffix, config_map("web"))

    assert (status, said["reason"]) == (405, "MethodNotAllowed")


async def test_an_update_replaces_all_and_makes_a_new_version(api: Api) -> None:
    made = await api.create(api.configmaps, config_map("web"))

    updated = await api.update(
        f"{api.configmaps}/web", {**made, "data": {"size": "large"}}
    )

    assert updated["data"] == {"size": "large"}
    assert version_of(updated) > version_of(made)
    for name in ("uid", "creationTimestamp"):
        assert updated["metadata"][name] == made["metadata"][name]


async def test_what_changes_nothing_makes_no_version(api: Api) -> None:
    path = f"{api.configmaps}/web"
    made = await api.create(api.configmaps, config_map("web"))

    updated = await api.update(path, made)
    patched = await api.patch(path, {"data": {"colour": "blue"}})

    assert version_of(updated) == version_of(patched) == version_of(made)


@pytest.mark.behaviour("K11")
async def test_an_update_of_a_stale_version_is_a_conflict(api: Api) -> None:
    path = f"{api.configmaps}/web"
    made = await api.create(api.configmaps, config_map("web"))
    await api.patch(path, {"data": {"colour": "red"}})

    for answer in (
        await api.call("PUT", path, made),
        await api.call(
            "PATCH",
            path,
            {"metadata": {"resourceVersion": made["metadata"]["resourceVersion"]}},
            content_type="application/merge-patch+json",
        ),
    ):
        assert (answer.status, answer.body["reason"]) == (409, "Conflict")
        assert answer.body["message"] == MODIFIED
        assert answer.body["details"] == NAMES


async def test_an_update_without_a_version_overwrites_some_kinds_only(api: Api) -> None:
    await api.create(api.configmaps, config_map("web"))
    await api.create(api.widgets, widget("web"))

    overwritten = await api.update(f"{api.configmaps}/web", config_map("web", data={}))
    status, said = await api.call("PUT", f"{api.widgets}/web", widget("web"))

    assert "data" not in overwritten
    assert (status, said["reason"]) == (422, "Invalid")
    assert said["message"] == (
        f'widgets.{WIDGET.group} "web" is invalid: metadata.resourceVersion: Invalid '
        "value: 0: must be specified for an update"
    )


async def test_an_update_is_of_the_object_that_the_path_names(api: Api) -> None:
    path = f"{api.configmaps}/web"
    await api.create(api.configmaps, config_map("web"))

    status, said = await api.call("PUT", path, config_map("other"))
    assert (status, said["reason"]) == (400, "BadRequest")
    text = "the name of the object (other) does not match the name on the URL (web)"
    assert said["message"] == text

    body = config_map("web", metadata={"uid": "another"})
    status, said = await api.call("PUT", path, body)
    assert (status, said["reason"]) == (409, "Conflict")
    assert "Precondition failed: UID in precondition: another" in said["message"]

    status, said = await api.call("PUT", f"{api.configmaps}/x", config_map("x"))
    assert (status, said["reason"]) == (404, "NotFound")


async def test_a_lease_is_made_by_an_update(api: Api) -> None:
    version = "coordination.k8s.io/v1"
    path = f"{api.path('leases', version)}/leader"
    metadata = {"name": "leader"}
    lease = {"apiVersion": version, "kind": "Lease", "metadata": metadata}
    lease["spec"] = {"holderIdentity": "one", "leaseDurationSeconds": 15}

    status, made = await api.call("PUT", path, lease)

    assert status == 201
    assert made["spec"]["holderIdentity"] == "one"
    status, _ = await api.call("PUT", path, lease)
    assert status == 422


async def test_a_merge_patch_merges_objects_and_replaces_lists(api: Api) -> None:
    spec = {"keep": 1, "drop": 2, "nested": {"a": 1, "b": 2}, "list": [1, 2]}
    await api.create(api.widgets, widget("web", spec=spec))

    patch = {"drop": None, "nested": {"b": 3}, "list": [3]}
    patched = await api.patch(f"{api.widgets}/web", {"spec": patch})

    assert patched["spec"] == {"keep": 1, "nested": {"a": 1, "b": 3}, "list": [3]}


async def test_a_json_patch_is_done_as_a_whole_or_not_at_all(api: Api) -> None:
    path = f"{api.configmaps}/web"
    await api.create(api.configmaps, config_map("web"))
    add = {"op": "add", "path": "/data/size", "value": "large"}
    remove = {"op": "remove", "path": "/data/colour"}
    test = {"op": "test", "path": "/data/colour", "value": "red"}

    refused = await api.call("PATCH", path, [add, test], content_type=JSON_PATCH)
    assert (refused.status, refused.body["reason"]) == (422, "Invalid")
    assert (await api.get(path))["data"] == {"colour": "blue"}

    patched = await api.patch(path, [add, remove], JSON_PATCH)
    assert patched["data"] == {"size": "large"}


async def test_a_strategic_patch_merges_containers_by_name(api: Api) -> None:
    path = f"{api.path('deployments', 'apps/v1')}/web"
    await api.create(api.path("deployments", "apps/v1"), deployment("web"))
    one = {"name": "main", "env": [{"name": "B", "value": "3"}, {"name": "C"}]}
    other = {"name": "side", "image": "registry.example/side:1"}

    patched = await api.patch(
        path, {"spec": {"template": {"spec": {"containers": [one, other]}}}}, STRATEGIC
    )

    main, side = patched["spec"]["template"]["spec"]["containers"]
    if main["name"] == "side":
        main, side = side, main
    values = {each["name"]: each.get("value") for each in main["env"]}
    assert values == {"A": "1", "B": "3", "C": None}
    assert main["image"] == "registry.example/main:1"
    assert side["image"] == "registry.example/side:1"

    gone = {"$patch": "delete", "name": "side"}
    patched = await api.patch(
        path, {"spec": {"template": {"spec": {"containers": [gone]}}}}, STRATEGIC
    )
    (only,) = patched["spec"]["template"]["spec"]["containers"]
    assert only["name"] == "main"


@pytest.mark.parametrize("content_type", ["application/json", "text/plain"])
async def test_a_patch_of_no_kind_is_refused(api: Api, content_type: str) -> None:
    await api.create(api.configmaps, config_map("web"))

    status, said = await api.call(
        "PATCH", f"{api.configmaps}/web", {}, content_type=content_type
    )

    assert (status, said["reason"]) == (415, "UnsupportedMediaType")


async def test_a_custom_kind_takes_no_strategic_patch(api: Api) -> None:
    await api.create(api.widgets, widget("web"))

    status, said = await api.call(
        "PATCH", f"{api.widgets}/web", {}, content_type=STRATEGIC
    )

    assert (status, said["reason"]) == (415, "UnsupportedMediaType")
    assert STRATEGIC not in said["message"]


@pytest.mark.parametrize("body", [b"{", b"[1]"])
async def test_a_patch_that_does_not_parse_is_refused(api: Api, body: bytes) -> None:
    await api.create(api.configmaps, config_map("web"))

    status, said = await api.call(
        "PATCH",
        f"{api.configmaps}/web",
        body,
        content_type="application/merge-patch+json",
    )

    assert (status, said["reason"]) == (400, "BadRequest")
    assert said["message"].startswith("error decoding patch")


async def test_the_uid_cannot_be_patched(api: Api) -> None:
    await api.create(api.configmaps, config_map("web"))

    status, said = await api.call(
        "PATCH",
        f"{api.configmaps}/web",
        {"metadata": {"uid": "another"}},
        content_type="application/merge-patch+json",
    )

    assert (status, said["reason"]) == (422, "Invalid")
    text = 'metadata.uid: Invalid value: "another": field is immutable'
    assert said["message"] == f'ConfigMap "web" is invalid: {text}'


async def test_the_generation_counts_changes_of_the_spec_alone(api: Api) -> None:
    path = f"{api.widgets}/web"
    made = await api.create(api.widgets, widget("web"))
    assert made["metadata"]["generation"] == 1

    labelled = await api.patch(path, {"metadata": {"labels": {"a": "b"}}})
    assert labelled["metadata"]["generation"] == 1
    status = await api.patch(f"{path}/status", {"status": {"ready": True}})
    assert status["metadata"]["generation"] == 1
    respecified = await api.patch(path, {"spec": {"size": 2}})
    assert respecified["metadata"]["generation"] == 2
    forged = await api.patch(path, {"metadata": {"generation": 42}})
    assert forged["metadata"]["generation"] == 2


async def test_the_generation_of_a_deployment_counts_annotations_too(api: Api) -> None:
    path = api.path("deployments", "apps/v1")
    await api.create(path, deployment("web"))
    before = (await api.get(f"{path}/web"))["metadata"]["generation"]

    patched = await api.patch(f"{path}/web", {"metadata": {"annotations": {"a": "b"}}})

    assert patched["metadata"]["generation"] > before


async def test_status_and_the_rest_are_written_apart(api: Api) -> None:
    path = f"{api.widgets}/web"
    ready, unready = {"ready": True}, {"ready": False}

    made = await api.create(api.widgets, widget("web", status=ready))
    assert "status" not in made

    written = await api.patch(
        f"{path}/status",
        {"status": ready, "spec": {"size": 9}, "metadata": {"labels": {"a": "b"}}},
    )
    assert written["status"] == ready
    assert written["spec"] == {"size": 1}
    assert "labels" not in written["metadata"]

    patched = await api.patch(path, {"spec": {"size": 2}, "status": unready})
    assert patched["status"] == ready
    assert patched["spec"] == {"size": 2}

    replaced = await api.update(f"{path}/status", {**patched, "status": unready})
    assert replaced["status"] == unready
    assert await api.get(f"{path}/status") == await api.get(path)


async def test_a_kind_without_a_status_has_no_such_path(api: Api) -> None:
    await api.create(api.configmaps, config_map("web"))

    status, said = await api.call("GET", f"{api.configmaps}/web/status")

    assert (status, said["reason"]) == (404, "NotFound")


async def test_a_deletion_is_answered_with_a_status(api: Api) -> None:
    made = await api.create(api.configmaps, config_map("web"))

    said = await api.delete(f"{api.configmaps}/web")

    assert (said["kind"], said["status"]) == ("Status", "Success")
    assert said["details"] == {**NAMES, "uid": made["metadata"]["uid"]}
    status, _ = await api.call("GET", f"{api.configmaps}/web")
    assert status == 404


async def test_a_finalizer_holds_up_a_deletion(api: Api) -> None:
    path = f"{api.widgets}/web"
    finalizers = {"finalizers": ["example.com/clean"]}
    made = await api.create(api.widgets, widget("web", metadata=finalizers))

    marked = await api.delete(path)
    assert marked["metadata"]["deletionTimestamp"]
    assert marked["metadata"]["deletionGracePeriodSeconds"] == 0
    assert marked["metadata"]["generation"] == 2
    assert version_of(marked) > version_of(made)

    again = await api.delete(path)
    assert version_of(again) == version_of(marked)

    released = await api.patch(path, {"metadata": {"finalizers": None}})
    assert released["metadata"]["uid"] == made["metadata"]["uid"]
    status, _ = await api.call("GET", path)
    assert status == 404


async def test_a_deletion_that_has_begun_cannot_be_taken_back(api: Api) -> None:
    path = f"{api.configmaps}/web"
    finalizers = {"finalizers": ["example.com/clean"]}
    await api.create(api.configmaps, config_map("web", metadata=finalizers))
    marked = await api.delete(path)

    patched = await api.patch(path, {"metadata": {"deletionTimestamp": None}})
    assert patched == marked

    more = ["example.com/clean", "example.com/more"]
    status, said = await api.call(
        "PATCH",
        path,
        {"metadata": {"finalizers": more}},
        content_type="application/merge-patch+json",
    )
    assert (status, said["reason"]) == (422, "Invalid")
    assert "no new finalizers can be added" in said["message"]
    assert '[]string{"example.com/more"}' in said["message"]

    updated = await api.patch(path, {"data": {"colour": "red"}})
    assert updated["data"] == {"colour": "red"}
    await api.patch(path, {"metadata": {"finalizers": None}})


@pytest.mark.behaviour("K12")
async def test_a_deletion_can_be_of_one_object_or_version_only(api: Api) -> None:
    path = f"{api.configmaps}/web"
    made = await api.create(api.configmaps, config_map("web"))

    for condition in ({"uid": "another"}, {"resourceVersion": "1"}):
        status, said = await api.call("DELETE", path, {"preconditions": condition})
        assert (status, said["reason"]) == (409, "Conflict")
        assert "in the precondition" in said["message"]

    metadata = made["metadata"]
    names = ("uid", "resourceVersion")
    await api.delete(path, {"preconditions": {name: metadata[name] for name in names}})


async def test_a_propagation_policy_may_leave_a_finalizer(api: Api) -> None:
    path = f"{api.configmaps}/web"
    finalizers = {"finalizers": ["example.com/clean"]}
    await api.create(api.configmaps, config_map("web", metadata=finalizers))

    marked = await api.delete(path, propagationPolicy="Foreground")

    assert marked["metadata"]["finalizers"] == [
        "example.com/clean",
        "foregroundDeletion",
    ]
    status, said = await api.call("DELETE", path, propagationPolicy="Nonsense")
    assert (status, said["reason"]) == (422, "Invalid")
    await api.patch(path, {"metadata": {"finalizers": None}})


async def test_a_deletion_that_has_a_body_takes_no_options_from_its_query(
    api: Api,
) -> None:
    path = f"{api.configmaps}/web"
    await api.create(api.configmaps, config_map("web"))
    body = {"apiVersion": "v1", "kind": "DeleteOptions"}

    await api.delete(path, body, dryRun="All", propagationPolicy="Nonsense")

    status, _ = await api.call("GET", path)
    assert status == 404


async def test_a_collection_is_deleted_by_selector(api: Api) -> None:
    for name, tier in (("a", "front"), ("b", "back"), ("c", "front")):
        labels = {"tier": tier}
        await api.create(api.configmaps, config_map(name, metadata={"labels": labels}))

    gone = await api.delete(api.configmaps, labelSelector="tier=front")

    assert [item["metadata"]["name"] for item in gone["items"]] == ["a", "c"]
    left = await api.get(api.configmaps, labelSelector="tier")
    assert [item["metadata"]["name"] for item in left["items"]] == ["b"]


async def test_a_pod_that_is_on_no_node_goes_at_once(api: Api) -> None:
    path = api.path("pods")
    containers = [{"name": "main", "image": "registry.example/main:1"}]
    # A scheduler that is not there, so that nobody binds it.
    spec = {"containers": containers, "schedulerName": "nobody"}
    body = {"metadata": {"name": "web"}, "spec": spec}

    made = await api.create(path, body)
    assert made["status"]["phase"] == "Pending"
    gone = await api.delete(f"{path}/web")

    assert gone["kind"] == "Pod"
    assert gone["metadata"]["deletionGracePeriodSeconds"] == 0
    status, _ = await api.call("GET", f"{path}/web")
    assert status == 404


async def test_a_dry_run_changes_nothing(api: Api) -> None:
    path = f"{api.configmaps}/web"

    made = await api.create(api.configmaps, config_map("web"), dryRun="All")
    assert made["metadata"]["uid"]
    assert "resourceVersion" not in made["metadata"]
    status, _ = await api.call("GET", path)
    assert status == 404

    before = await api.create(api.configmaps, config_map("web"))
    patched = await api.patch(path, {"data": {"colour": "red"}}, dryRun="All")
    assert patched["data"] == {"colour": "red"}
    await api.delete(path, dryRun="All")
    assert await api.get(path) == before

    status, said = await api.call("DELETE", path, dryRun="Some")
    assert (status, said["reason"]) == (422, "Invalid")


async def test_the_text_of_a_secret_becomes_its_data(api: Api) -> None:
    body = {"metadata": {"name": "login"}, "stringData": {"user": "me"}}

    made = await api.create(api.path("secrets"), body)

    assert made["data"] == {"user": "bWU="}
    assert made["type"] == "Opaque"
    assert "stringData" not in made


async def test_a_deployment_gets_its_defaults(api: Api) -> None:
    body = deployment("web")
    sent = body["spec"]["template"]["spec"]["containers"][0]

    made = await api.create(api.path("deployments", "apps/v1"), body)

    assert made["spec"]["strategy"]["type"] == "RollingUpdate"
    pod = made["spec"]["template"]["spec"]
    assert (pod["restartPolicy"], pod["dnsPolicy"]) == ("Always", "ClusterFirst")
    (container,) = pod["containers"]
    assert container == {
        **sent,
        "imagePullPolicy": "IfNotPresent",
        "resources": {},
        "terminationMessagePath": "/dev/termination-log",
        "terminationMessagePolicy": "File",
    }


@pytest.mark.behaviour("E1")
async def test_an_event_has_two_kinds(api: Api) -> None:
    new, old = api.path("events", "events.k8s.io/v1"), api.path("events")
    about = {"kind": "ConfigMap", "name": "web", "namespace": api.namespace}
    event = {
        "metadata": {"name": "web.1"},
        "regarding": about,
        "reason": "Changed",
        "action": "Restart",
        "type": "Normal",
        "note": "it changed",
        "reportingController": "example.com/tests",
        "reportingInstance": "here",
        "eventTime": "2030-01-01T00:00:00.000000Z",
    }

    made = await api.create(new, event)
    assert made["note"] == "it changed"
    read = await api.get(f"{old}/web.1")
    assert (read["message"], read["involvedObject"]) == ("it changed", about)
    assert read["reportingComponent"] == "example.com/tests"
    found = await api.get(new, fieldSelector="regarding.name=web,reason=Changed")
    assert [item["metadata"]["name"] for item in found["items"]] == ["web.1"]

    bad = {**event, "metadata": {"name": "web.2"}, "action": "", "note": "x" * 1025}
    status, said = await api.call("POST", new, bad)
    assert (status, said["reason"]) == (422, "Invalid")
    assert "action: Required value" in said["message"]
    assert "can have at most 1024 characters" in said["message"]


async def test_what_is_served_is_told(api: Api) -> None:
    assert (await api.get("/api"))["versions"] == ["v1"]
    groups = {group["name"] for group in (await api.get("/apis"))["groups"]}
    assert {"apps", "batch", "coordination.k8s.io", WIDGET.group} <= groups
    group = await api.get(f"/apis/{WIDGET.group}")
    assert group["preferredVersion"]["groupVersion"] == f"{WIDGET.group}/v1"
    resources = (await api.get(f"/apis/{WIDGET.group}/v1"))["resources"]
    kinds = {each["name"]: each for each in resources}
    assert kinds.keys() == {"widgets", "widgets/status"}
    assert kinds["widgets"]["namespaced"] is True
    assert {"get", "list", "watch", "patch"} <= set(kinds["widgets"]["verbs"])
    assert (await api.get("/version"))["major"] == "1"


async def test_only_what_has_changed_since_is_in_conflict(api: Api) -> None:
    await api.create(api.widgets, widget("web"))

    answer = await changed(
        api, f"{api.widgets}/web", lambda old: {**old, "spec": {"size": 2}}
    )

    assert answer.status == 200
    assert answer.body["spec"] == {"size": 2}
