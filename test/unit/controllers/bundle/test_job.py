"""The Job and its Secrets, held to what werf takes and Kubernetes allows."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import replace

import pytest

from api.bundle.status import Observed, Trigger
from api.bundle.v1alpha1 import WerfBundle
from conformance import werf
from controller_runtime import Json
from controllers.bundle.intention import read_intention
from controllers.bundle.job import Apply, arguments, job_for, label, secrets_for
from controllers.bundle.options import BundleOptions
from controllers.bundle.registry import Login
from controllers.bundle.values import Values
from controllers.oci import Access, Credential
from controllers.web import Tls

DIGEST = "sha256:" + "a" * 64

NAME = re.compile("[a-z0-9]([-a-z0-9]*[a-z0-9])?")


def apply_of(
    name: str = "app",
    *,
    tag: str = "v1.0.0",
    registry: Json | None = None,
    converge: Json | None = None,
    access: Access | None = None,
    values: Values | None = None,
    attempt: int = 1,
    salt: str = "",
) -> Apply:
    where = {"url": "registry.example/org/app", **(registry or {})}
    bundle = WerfBundle.model_validate(
        {
            "metadata": {"name": name, "namespace": "shop", "uid": "uid-1"},
            "spec": {"registry": where, "converge": converge or {}},
        }
    )
    return Apply(
        bundle=bundle,
        intention=read_intention(bundle, BundleOptions()),
        candidate=Observed(tag=tag, digest=DIGEST),
        values=values or Values({}),
        login=Login(access=access or Access(), version="1"),
        attempt=attempt,
        trigger=Trigger.NEW_VERSION,
        salt=salt,
    )


def container_of(job: Json) -> Json:
    (container,) = job["spec"]["template"]["spec"]["containers"]
    return dict(container)


FULL = apply_of(
    registry={"insecure": True, "tlsConfig": {"insecureSkipVerify": True}},
    converge={"autoRollback": True, "timeout": "20m", "releaseName": "my-app"},
    access=Access(tls=Tls(skip_verify=True), insecure=True),
    values=Values({"a": 1}),
)


def test_the_arguments_are_those_that_werf_has() -> None:
    """Sections 0.1 to 0.12 and 4.6: `converge` deploys no bundle."""
    assert arguments(apply_of()) == [
        "bundle",
        "apply",
        "--repo=registry.example/org/app",
        f"--tag=v1.0.0@{DIGEST}",
        "--release=app",
        "--namespace=shop",
        "--timeout=1800",
        "--log-color-mode=off",
        "--log-pretty=false",
        "--add-annotation=werf.io/bundle=shop/app",
    ]
    assert set(arguments(FULL)) - set(arguments(apply_of())) == {
        "--release=my-app",
        "--timeout=1200",
        "--auto-rollback",
        "--values=/werf/values/values.yaml",
        "--insecure-registry",
        "--skip-tls-verify-registry",
    }


@pytest.mark.parametrize(
    ("args", "exit_code", "says"),
    [
        (arguments(apply_of()), 0, "Succeeded"),
        (arguments(FULL), 0, "Succeeded"),
        (["converge", "--repo=x"], 1, "git work tree"),
        ([*arguments(apply_of()), "--log-color=false"], 1, "unknown flag"),
        (["bundle", "apply", "--release=x"], 1, "--repo"),
        (["bundle", "apply", "--repo=x"], 1, "--release"),
        (
            ["bundle", "apply", "--repo=x", "--release=x", "--tag=>=1.0.0"],
            1,
            "could not parse reference",
        ),
        (["bundle", "apply", "--repo=x", "--release=x", f"--tag={DIGEST}"], 1, "parse"),
    ],
)
def test_the_stand_in_ends_as_werf_does(
    args: list[str], exit_code: int, says: str
) -> None:
    """Section 0, held against the stand-in that the integration tests run."""
    found = werf.run(args)

    assert found.exit_code == exit_code
    assert says in found.output


def test_no_variable_is_one_that_werf_would_take_for_values() -> None:
    names = {it["name"] for it in container_of(job_for(FULL))["env"]}

    assert "KUBECONFIG" not in names
    assert not [name for name in names if name.startswith("WERF_SET")]
    assert {"HOME", "WERF_DOCKER_CONFIG", "WERF_TELEMETRY"} <= names


@pytest.mark.parametrize(
    ("limits", "cpu", "memory"),
    [
        ({}, "1", "1Gi"),
        ({"cpu": "250m"}, "250m", "1Gi"),
        ({"memory": "2Gi"}, "1", "2Gi"),
    ],
)
def test_requests_equal_limits(limits: Json, cpu: str, memory: str) -> None:
    """Scenario 24."""
    job = job_for(apply_of(converge={"resourceLimits": limits}))
    resources = container_of(job)["resources"]

    assert resources["limits"] == resources["requests"]
    assert (resources["limits"]["cpu"], resources["limits"]["memory"]) == (cpu, memory)


@pytest.mark.parametrize(
    ("converge", "seconds"), [({}, 604_800), ({"logRetentionDays": 3}, 259_200)]
)
def test_an_ended_job_stays_as_long_as_its_log(converge: Json, seconds: int) -> None:
    """Scenario 25."""
    assert job_for(apply_of(converge=converge))["spec"]["ttlSecondsAfterFinished"] == (
        seconds
    )


def test_the_deadline_leaves_time_for_a_rollback() -> None:
    assert job_for(apply_of())["spec"]["activeDeadlineSeconds"] == 2100
    assert job_for(FULL)["spec"]["activeDeadlineSeconds"] == 2 * 1200 + 300


@pytest.mark.parametrize(
    "name", ["a", "app", "a.b.c", "x" * 253, "a" * 39 + ".-b"[0:2] + "b"]
)
def test_names_and_labels_fit_whatever_the_bundle_is_called(name: str) -> None:
    """Scenario 13."""
    apply = apply_of(name, tag="v1.0.0_" + "b" * 100)
    job = job_for(apply)

    assert NAME.fullmatch(apply.name)
    assert len(apply.name) <= 63
    assert NAME.fullmatch(apply.intention.release)
    assert len(apply.intention.release) <= 53
    for value in job["metadata"]["labels"].values():
        assert re.fullmatch("([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]", value), value
        assert len(value) <= 63


def test_names_tell_bundles_tags_attempts_and_times_apart() -> None:
    """Scenario 13."""
    long = "x" * 252
    applies = [
        apply_of(),
        apply_of(tag="v1.0.1"),
        apply_of(attempt=2),
        apply_of(salt="earlier"),
        apply_of(converge={"image": "werf:3"}),
        apply_of(long + "a"),
        apply_of(long + "b"),
    ]

    assert len({it.name for it in applies}) == len(applies)
    assert apply_of().name == apply_of().name
    assert label(long + "a") != label(long + "b")


def test_what_does_not_change_the_outcome_does_not_change_the_fingerprint() -> None:
    same = apply_of(converge={"resourceLimits": {"cpu": "2"}, "logRetentionDays": 1})

    assert same.fingerprint == apply_of().fingerprint
    assert apply_of(converge={"autoRollback": True}).fingerprint != same.fingerprint
    assert apply_of(values=Values({"a": 1})).fingerprint != same.fingerprint


def test_only_a_job_beside_its_bundle_is_owned_by_it() -> None:
    """Scenario 42: the garbage collector would take the other one's owner for gone."""
    own = job_for(apply_of())
    away = {"targetNamespace": "prod", "serviceAccountName": "werf"}
    other = job_for(apply_of(converge=away))

    assert own["metadata"]["ownerReferences"][0]["name"] == "app"
    assert "ownerReferences" not in other["metadata"]
    assert other["metadata"]["namespace"] == "prod"
    assert other["metadata"]["labels"]["werf.io/bundle-uid"] == "uid-1"


def secret_of(apply: Apply, part: str) -> Json:
    job = {**job_for(apply)}
    job["metadata"] = {**job["metadata"], "uid": "job-uid"}
    return next(
        it
        for it in secrets_for(apply, job)
        if it["metadata"]["name"] == f"{apply.name}-{part}"
    )


@pytest.mark.parametrize(
    ("credential", "entry"),
    [
        (Credential(), None),
        (
            Credential(username="a", password="b:c"),
            {"auth": base64.b64encode(b"a:b:c").decode()},
        ),
        (Credential(identity_token="i"), {"identitytoken": "i"}),
        (
            Credential(registry_token="t"),
            {"auth": base64.b64encode(b"token:t").decode()},
        ),
    ],
)
def test_the_job_gets_this_registry_s_login_and_no_other(
    credential: Credential, entry: object
) -> None:
    """Scenario 45; werf ignores `registrytoken`, so a token goes as a password."""
    secret = secret_of(apply_of(access=Access(credential=credential)), "registry")
    config = json.loads(secret["stringData"]["config.json"])

    assert config == {"auths": {"registry.example": entry} if entry else {}}
    assert secret["metadata"]["ownerReferences"][0]["uid"] == "job-uid"


def test_docker_hub_has_the_key_that_werf_looks_for() -> None:
    access = Access(credential=Credential(username="a", password="b"))
    apply = apply_of(registry={"url": "nginx"}, access=access)
    config = json.loads(secret_of(apply, "registry")["stringData"]["config.json"])

    assert list(config["auths"]) == ["https://index.docker.io/v1/"]


def test_values_are_in_a_file_and_nowhere_in_the_job() -> None:
    """Scenario 34."""
    values = Values({"password": "hunter22"}, ("hunter22",))
    apply = apply_of(values=values)
    secret = secret_of(apply, "values")

    assert json.loads(secret["stringData"]["values.yaml"]) == values.document
    assert "hunter22" not in json.dumps(job_for(apply))
    (volume,) = [
        it
        for it in job_for(apply)["spec"]["template"]["spec"]["volumes"]
        if it["name"] == "values"
    ]
    assert [it["key"] for it in volume["secret"]["items"]] == ["values.yaml"]


def test_an_authority_is_added_to_those_of_the_image() -> None:
    """Scenario 69."""
    apply = apply_of(access=Access(tls=Tls(ca=b"-----BEGIN")))
    env = {it["name"]: it["value"] for it in container_of(job_for(apply))["env"]}

    assert env["SSL_CERT_DIR"] == "/etc/ssl/certs:/werf/ca"
    assert secret_of(apply, "ca")["stringData"] == {"ca.crt": "-----BEGIN"}


def test_the_pod_fits_the_restricted_standard_and_what_users_add() -> None:
    apply = apply_of(
        converge={
            "podLabels": {"team": "a", "werf.io/bundle": "forged"},
            "nodeSelector": {"disk": "ssd"},
            "tolerations": [{"key": "k", "operator": "Exists"}],
            "imagePullSecrets": [{"name": "pull"}],
            "priorityClassName": "high",
        }
    )
    template = job_for(apply)["spec"]["template"]
    pod = template["spec"]

    assert template["metadata"]["labels"]["team"] == "a"
    assert template["metadata"]["labels"]["werf.io/bundle"] == "app"
    assert pod["nodeSelector"] == {"disk": "ssd"}
    assert pod["tolerations"] == [{"key": "k", "operator": "Exists"}]
    assert pod["imagePullSecrets"] == [{"name": "pull"}]
    assert pod["priorityClassName"] == "high"
    assert pod["securityContext"]["runAsNonRoot"] is True
    security = container_of(job_for(apply))["securityContext"]
    assert security["capabilities"] == {"drop": ["ALL"]}
    assert security["readOnlyRootFilesystem"] is True


def test_a_job_is_made_suspended_and_replaces_evicted_pods_alone() -> None:
    """Scenario 33."""
    spec = job_for(replace(apply_of(), attempt=3))["spec"]

    assert spec["suspend"] is True
    assert spec["backoffLimit"] == 0
    assert [it["action"] for it in spec["podFailurePolicy"]["rules"]] == [
        "Ignore",
        "FailJob",
    ]
