"""The roles that `pilothouse rbac` writes."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from controller_runtime import ConfigError, Roles
from controllers.rbac import RoleOptions, manifest, write_roles
from controllers.reloader.rbac import roles as reloader_roles
from controllers.settings import ReleaseSettings, ReloadSettings, Settings
from hack.gen_rbac import ROLE, USERS, text, users

SECURE = Settings(controllers=("reload",))
PLAIN = SECURE.model_copy(update={"metrics_secure": False})
ELECTING = SECURE.model_copy(
    update={"leader_elect": True, "leader_election_namespace": "ops"}
)
SCOPED = ReloadSettings(namespaces=("blog", "shop"))


def grants(settings: Settings, options: RoleOptions | None = None) -> set[str]:
    written = manifest(settings, options or RoleOptions()).text
    return set(map(str, Roles.read("pilothouse", yaml.safe_load_all(written)).grants))


def test_the_role_that_is_checked_in_is_what_the_code_says() -> None:
    assert ROLE.read_text(encoding="utf-8") == text(), "run `make manifests`"


def test_the_roles_of_users_are_those_that_are_checked_in() -> None:
    assert USERS.read_text(encoding="utf-8") == users(), "run `make manifests`"


def test_who_may_view_may_not_write_and_nobody_writes_a_status() -> None:
    roles = {role["metadata"]["name"]: role for role in yaml.safe_load_all(users())}

    verbs = {
        (name, rule["resources"][0]): set(rule["verbs"])
        for name, role in roles.items()
        for rule in role["rules"]
    }
    assert verbs["reloaderconfigs-viewer", "reloaderconfigs"] == {
        *("get", "list", "watch")
    }
    assert {"create", "patch"} <= verbs["reloaderconfigs-editor", "reloaderconfigs"]
    assert {v for (_, what), it in verbs.items() if "/" in what for v in it} == {"get"}


def test_it_writes_the_same_every_time() -> None:
    assert manifest(ELECTING, RoleOptions()) == manifest(ELECTING, RoleOptions())


SOURCES = {"configmaps", "secrets"}
ALWAYS = {
    "deployments.apps",
    "statefulsets.apps",
    "daemonsets.apps",
    "jobs.batch",
    "cronjobs.batch",
}
ROLLOUTS = {"rollouts.argoproj.io", "deploymentconfigs.apps.openshift.io"}
CLASSES = {
    f"{kind}.secrets-store.csi.x-k8s.io"
    for kind in ("secretproviderclasses", "secretproviderclasspodstatuses")
}


CONFIGS = {"reloaderconfigs.reloader.stakater.com"}


def on(verbs: str, kinds: set[str]) -> set[str]:
    return {f"{verb} {kind}" for verb in verbs.split() for kind in kinds}


def test_reload_watches_sources_and_workloads_and_patches_these() -> None:
    assert grants(PLAIN) == {
        *on("list watch", SOURCES | ALWAYS | ROLLOUTS | CLASSES | CONFIGS),
        *on("patch", ALWAYS | ROLLOUTS | {f"{it}/status" for it in CONFIGS}),
        *on("list watch", {"namespaces"}),
        *on("create delete", {"jobs.batch"}),
        *on("list create delete", {"controllerrevisions.apps"}),
        *on("create patch", {"events.events.k8s.io"}),
        *("list pods", "create pods/eviction"),
    }


@pytest.mark.parametrize(
    ("reload", "without"),
    [
        pytest.param(
            ReloadSettings(optional_kinds=False),
            on("list watch", ROLLOUTS | CLASSES) | on("patch", ROLLOUTS),
            id="kinds that may not be there",
        ),
        pytest.param(
            ReloadSettings(resources_to_ignore=("secrets",)),
            on("list watch", {"secrets"}),
            id="Secrets",
        ),
        pytest.param(
            ReloadSettings(ignored_workload_types=("jobs",)),
            on("watch patch delete", {"jobs.batch"})
            | on("list create delete", {"controllerrevisions.apps"}),
            id="Jobs, which CronJobs still create and look for",
        ),
        pytest.param(
            ReloadSettings(ignored_workload_types=("jobs", "cronjobs")),
            on("list watch patch create delete", {"jobs.batch"})
            | on("list create delete", {"controllerrevisions.apps"})
            | on("list watch patch", {"cronjobs.batch"}),
            id="Jobs and CronJobs",
        ),
    ],
)
def test_what_reload_is_told_to_leave_out_is_not_granted(
    reload: ReloadSettings, without: set[str]
) -> None:
    less = grants(PLAIN.model_copy(update={"reload": reload}))

    assert grants(PLAIN) - less == without
    assert less <= grants(PLAIN)


def test_workloads_from_outside_are_watched_and_patched() -> None:
    text = "serving.knative.dev/v1/Service:.spec.template"
    extra = ReloadSettings(extra_workloads=(text,))
    more = grants(PLAIN.model_copy(update={"reload": extra}))

    kinds = {"services.serving.knative.dev"}
    assert more - grants(PLAIN) == on("list watch patch", kinds)


def test_a_dry_run_evicts_no_pods() -> None:
    dry = ReloadSettings(dry_run=True)

    less = grants(PLAIN.model_copy(update={"reload": dry}))

    assert {"list pods", "create pods/eviction"}.isdisjoint(less)


@pytest.mark.parametrize("selector", ["", "team=shop"])
def test_namespaces_are_watched_unless_reload_is_told_which(selector: str) -> None:
    everywhere = ReloadSettings(namespace_selector=selector)
    named = ReloadSettings(namespace_selector=selector, namespaces=("shop",))
    wanted = on("list watch", {"namespaces"})

    assert wanted <= grants(PLAIN.model_copy(update={"reload": everywhere}))
    less = grants(PLAIN.model_copy(update={"reload": named}))
    assert not any("namespaces" in grant for grant in less)


def test_an_election_adds_its_lease_and_events_beside_it() -> None:
    electing = ELECTING.model_copy(update={"metrics_secure": False})

    assert grants(electing) - grants(PLAIN) == {
        "create leases.coordination.k8s.io in ops",
        "get leases.coordination.k8s.io pilothouse in ops",
        "update leases.coordination.k8s.io pilothouse in ops",
    }


def test_secure_metrics_add_the_two_reviews_and_a_role_for_readers() -> None:
    written = manifest(SECURE, RoleOptions()).text
    reader = Roles.read("pilothouse-metrics-reader", yaml.safe_load_all(written))

    assert grants(SECURE) - grants(PLAIN) == {
        "create tokenreviews.authentication.k8s.io",
        "create subjectaccessreviews.authorization.k8s.io",
    }
    assert list(map(str, reader.grants)) == ["get /metrics"]


def test_without_controllers_nothing_of_theirs_is_granted() -> None:
    assert grants(PLAIN.model_copy(update={"controllers": ()})) == set()


def test_where_reload_is_limited_to_namespaces_so_are_its_roles() -> None:
    scoped = PLAIN.model_copy(update={"reload": SCOPED})
    written = manifest(scoped, RoleOptions(namespaced=True))

    documents = list(yaml.safe_load_all(written.text))

    assert [(it["kind"], it["metadata"]["namespace"]) for it in documents] == [
        ("Role", "blog"),
        ("Role", "shop"),
    ]
    assert documents[0]["rules"] == documents[1]["rules"]
    assert written.remarks == ()


def test_where_release_is_limited_to_a_namespace_it_watches_that_one_alone() -> None:
    limited = {
        "controllers": ("release",),
        "release": ReleaseSettings(namespaces=("shop",)),
    }
    scoped = PLAIN.model_copy(update=limited)
    written = manifest(scoped, RoleOptions(namespaced=True))

    watched = {
        grant
        for grant in map(
            str, Roles.read("pilothouse", yaml.safe_load_all(written.text)).grants
        )
        if grant.startswith(("list", "watch"))
    }

    assert not [it for it in written.remarks if "list" in it or "watch" in it]
    assert "list managedroosts.roost.birb.party in shop" in watched


def test_what_no_role_of_a_namespace_can_give_is_named() -> None:
    scoped = SECURE.model_copy(update={"reload": SCOPED})
    written = manifest(scoped, RoleOptions(namespaced=True))

    assert "ClusterRole" not in written.text
    assert written.remarks == tuple(
        f"not in a Role: create on {review}, for the whole cluster"
        for review in (
            "tokenreviews.authentication.k8s.io",
            "subjectaccessreviews.authorization.k8s.io",
        )
    )
    assert all(f"# {remark}\n" in written.text for remark in written.remarks)


def test_where_everything_is_watched_no_role_of_a_namespace_helps() -> None:
    written = manifest(PLAIN, RoleOptions(namespaced=True))

    assert list(yaml.safe_load_all(written.text)) == []
    assert "not in a Role: list, watch on secrets, for the whole cluster" in (
        written.remarks
    )


def test_the_roles_may_be_bound_to_an_account() -> None:
    options = RoleOptions(service_account="ops/pilothouse")
    documents = list(yaml.safe_load_all(manifest(ELECTING, options).text))

    assert [it["kind"] for it in documents] == [
        "ClusterRole",
        "ClusterRoleBinding",
        "Role",
        "RoleBinding",
        "ClusterRole",
    ]


@pytest.mark.parametrize("account", ["pilothouse", "/pilothouse", "ops/", "a/b/c"])
def test_an_account_without_namespace_or_name_is_refused(account: str) -> None:
    with pytest.raises(ConfigError, match="namespace/name"):
        manifest(PLAIN, RoleOptions(service_account=account))


async def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    absent = tmp_path / "absent" / "role.yaml"

    with pytest.raises(ConfigError, match=str(absent)):
        await write_roles(PLAIN, RoleOptions(), absent)


async def test_roles_are_written_to_a_file_or_to_stdout(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "role.yaml"

    assert await write_roles(PLAIN, RoleOptions(), file) == 0
    assert await write_roles(PLAIN, RoleOptions(), None) == 0

    assert capsys.readouterr().out == file.read_text(encoding="utf-8")


def of_reloader(*arguments: str, namespace: str = "ops") -> Roles:
    written = reloader_roles(arguments, {}, RoleOptions(name="r"), namespace)
    return Roles.read("r", yaml.safe_load_all(written.text))


def test_that_of_the_stand_in_has_its_lease_and_what_it_tells_of_itself() -> None:
    found = set(map(str, of_reloader("--enable-ha").grants))

    assert {
        "create leases.coordination.k8s.io in ops",
        "update leases.coordination.k8s.io stakater-reloader-lock in ops",
        "create configmaps in ops",
        "update configmaps reloader-meta-info in ops",
    } <= found
    assert not any("leases" in grant for grant in map(str, of_reloader().grants))


def test_that_of_the_stand_in_leaves_out_what_its_flags_leave_out() -> None:
    found = set(map(str, of_reloader("--resources-to-ignore=secrets").grants))

    assert "watch configmaps" in found
    assert "watch secrets" not in found


def test_that_of_the_stand_in_is_no_cluster_role_where_namespaces_are_named() -> None:
    found = of_reloader("--namespaces=blog,shop", "--enable-ha")

    assert found.cluster == ()
    assert {grant.namespace for grant in found.grants} == {"blog", "ops", "shop"}
