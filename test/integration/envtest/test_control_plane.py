"""A control plane is whole while it is there, and gone when it is not."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from controller_runtime.errors import (
    ForbiddenError,
    InvalidError,
    NotFoundError,
    UnauthorizedError,
)
from controller_runtime.testing.envtest import (
    Access,
    Api,
    AssetsOptions,
    Cluster,
    ControlPlane,
    ControlPlaneError,
    ControlPlaneOptions,
    ExistingCluster,
    ProcessDiedError,
    QuietProgress,
    cluster,
    install_crds,
    uninstall_crds,
)
from controller_runtime.testing.envtest.existing import ContextApi
from controller_runtime.testing.envtest.kubeconfig import CurrentContext, tls_context

ROOT = Path(__file__).parents[3]

CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"

NOTE = {"metadata": {"name": "note"}, "data": {"a": "b"}}

BARE = ControlPlaneOptions(
    assets=AssetsOptions.from_environ(os.environ, download=False, build=False)
)
"""Binaries that are missing fail these tests: to fetch them would take minutes."""


def plane(options: ControlPlaneOptions = BARE) -> ControlPlane:
    return ControlPlane(options, progress=QuietProgress())


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait for something that nothing tells us of."""
    while not await condition():  # noqa: ASYNC110 - nothing to wait on
        await asyncio.sleep(0.05)


async def acting_as(cluster: Cluster, folder: Path, user: str) -> Api:
    path = await cluster.write_kubeconfig(folder / user, user=user)
    context = await asyncio.to_thread(CurrentContext, path)
    return ContextApi.of(await asyncio.to_thread(context.restconfig))


def programs_on(folder: Path) -> set[str]:
    """Name the programs that run with that folder in their command line."""
    found = set()
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = file.read_bytes().split(b"\0")
        except OSError:
            continue
        if any(os.fsencode(folder) in argument for argument in command[1:]):
            found.add(Path(os.fsdecode(command[0])).name)
    return found & {"etcd", "kube-apiserver", "kube-controller-manager", "kwok"}


def folders_of_this_process() -> list[Path]:
    """Find the temporary folders whose lock has our pid in it."""
    locks = Path(tempfile.gettempdir()).glob("pilothouse-envtest-*/lock")
    return [lock.parent for lock in locks if lock.read_text() == str(os.getpid())]


async def test_a_control_plane_is_ready_when_entered_and_gone_when_left() -> None:
    async with plane() as running:
        folder, url, api = running.folder, running.url, running.api
        await api.post(CONFIG_MAPS, NOTE)
        pod = {"metadata": {"name": "web"}, "spec": {"containers": [{"name": "c"}]}}
        pod["spec"]["containers"][0]["image"] = "nothing"  # type: ignore[index]
        await api.post("/api/v1/namespaces/default/pods", pod)
        memory = await running.memory()

    assert url.startswith("https://127.0.0.1:")
    assert set(memory) == {"etcd", "kube-apiserver"}
    assert not folder.exists()
    assert programs_on(folder) == set()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))


async def test_a_start_that_is_cancelled_leaves_nothing(
    tmp_path: Path,
) -> None:
    options = replace(BARE, folder=tmp_path / "data")

    async with asyncio.TaskGroup() as tasks:
        starting = tasks.create_task(plane(options).start())
        log = tmp_path / "data" / "log" / "kube-apiserver.log"
        await until(lambda: asyncio.to_thread(log.exists))
        starting.cancel()

    assert programs_on(tmp_path) == set()


async def test_a_killed_parent_takes_its_programs_with_it_and_the_next_sweeps_up(
    tmp_path: Path,
) -> None:
    environ = {**os.environ, "TMPDIR": str(tmp_path)}
    up = ["-m", "controller_runtime.testing.envtest", "up", "--no-download"]
    parent = await asyncio.create_subprocess_exec(
        *(sys.executable, *up, "--no-build"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env=environ,
        cwd=ROOT,
    )
    assert parent.stdout is not None
    folder = Path((await parent.stdout.readline()).decode().strip()).parent
    assert programs_on(folder) == {"etcd", "kube-apiserver"}

    parent.kill()
    await parent.wait()

    async def all_gone() -> bool:
        return programs_on(folder) == set()

    async with asyncio.timeout(60):
        await until(all_gone)
    assert folder.exists()
    sweep = (
        "from controller_runtime.testing.envtest.folder import Folder; Folder.make()"
    )
    next_one = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", sweep), env=environ, cwd=ROOT
    )
    assert await next_one.wait() == 0
    assert not folder.exists()


async def test_a_terminated_up_stops_in_order_and_cleans_its_folder(
    tmp_path: Path,
) -> None:
    up = ["-m", "controller_runtime.testing.envtest", "up", "--no-download"]
    parent = await asyncio.create_subprocess_exec(
        *(sys.executable, *up, "--no-build"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        cwd=ROOT,
    )
    assert parent.stdout is not None
    folder = Path((await parent.stdout.readline()).decode().strip()).parent

    parent.terminate()
    code = await parent.wait()

    assert code == 0
    assert not folder.exists()
    assert programs_on(folder) == set()


async def test_a_program_that_refuses_its_flags_is_shown_with_what_it_said() -> None:
    options = replace(BARE, apiserver_flags={"no-such-flag": "x"})

    with pytest.raises(
        ProcessDiedError, match="unknown flag: --no-such-flag"
    ) as raised:
        await plane(options).start()

    assert raised.value.name == "kube-apiserver"


async def test_a_port_that_is_taken_in_between_is_given_up_after_some_tries() -> None:
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    taken = server.sockets[0].getsockname()[1]
    options = replace(BARE, apiserver_flags={"secure-port": str(taken)}, start_tries=2)

    async with server:
        with pytest.raises(ProcessDiedError, match="address already in use"):
            await plane(options).start()


async def test_a_folder_that_is_kept_keeps_data_identity_and_address(
    tmp_path: Path,
) -> None:
    options = replace(BARE, folder=tmp_path / "data")
    async with plane(options) as first:
        await first.api.post(CONFIG_MAPS, NOTE)
        with pytest.raises(ControlPlaneError, match=f"process {os.getpid()}"):
            await plane(options).start()
        before = first.url, first.ca_pem
        old = await asyncio.to_thread(Access.load, first.folder)

    async with plane(options) as second:
        note = await old.api.get(f"{CONFIG_MAPS}/note")
        after = second.url, second.ca_pem

    assert before == after
    assert note["data"] == NOTE["data"]
    assert programs_on(tmp_path) == set()


async def test_an_api_server_that_was_stopped_or_killed_comes_back_as_it_was() -> None:
    async with plane() as running:
        api = running.api
        await api.post(CONFIG_MAPS, NOTE)

        await running.stop_apiserver()
        with pytest.raises(OSError, match="refused"):
            await api.get(CONFIG_MAPS)
        await running.start_apiserver()
        note = await api.get(f"{CONFIG_MAPS}/note")

        await running.kill_apiserver()
        with pytest.raises(OSError, match="refused"):
            await api.get(CONFIG_MAPS)
        await running.start_apiserver()
        again = await api.get(f"{CONFIG_MAPS}/note")

    assert note == again


async def test_a_user_without_a_role_is_forbidden(
    control_plane: Cluster, namespace: str, tmp_path: Path
) -> None:
    eve = await acting_as(control_plane, tmp_path, "eve")

    with pytest.raises(ForbiddenError, match='User "eve" cannot list'):
        await eve.get(f"/api/v1/namespaces/{namespace}/configmaps")


async def test_a_user_may_do_what_a_role_of_a_group_allows(
    control_plane: Cluster, namespace: str, tmp_path: Path
) -> None:
    path = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}/rolebindings"
    binding = {
        "metadata": {"name": "viewers"},
        "roleRef": {
            "apiGroup": "rbac.authorization.k8s.io",
            "kind": "ClusterRole",
            "name": "view",
        },
        "subjects": [
            {
                "apiGroup": "rbac.authorization.k8s.io",
                "kind": "Group",
                "name": "viewers",
            }
        ],
    }
    await control_plane.api.post(path, binding)
    file = await control_plane.write_kubeconfig(
        tmp_path / "config", user="ann", groups=["viewers"]
    )
    context = await asyncio.to_thread(CurrentContext, file)
    ann = ContextApi.of(await asyncio.to_thread(context.restconfig))

    # The authoriser hears of the binding through a watch of its own.
    async with asyncio.timeout(60):
        await until(lambda: ann.answers(f"/api/v1/namespaces/{namespace}/configmaps"))

    with pytest.raises(ForbiddenError):
        await ann.post(f"/api/v1/namespaces/{namespace}/configmaps", NOTE)


async def test_an_expired_certificate_is_nobodys(control_plane: Cluster) -> None:
    if not isinstance(control_plane, Access):
        pytest.skip("only an authority of ours signs what has expired")
    expired = control_plane.client_certificate("admin", expired=True)
    ca = control_plane.ca_pem
    tls = await asyncio.to_thread(lambda: tls_context(ca=ca, client=expired))
    api = Api(url=control_plane.url, tls=tls)

    with pytest.raises(UnauthorizedError):
        await api.get(CONFIG_MAPS)


async def test_a_deployment_rolls_out_on_a_node_that_runs_nothing(
    control_plane: Cluster, namespace: str
) -> None:
    api = control_plane.api
    path = f"/apis/apps/v1/namespaces/{namespace}/deployments"
    labels = {"app": "web"}
    container = {"name": "web", "image": "example.org/web:1"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
    spec = {"replicas": 2, "selector": {"matchLabels": labels}, "template": template}
    await api.post(path, {"metadata": {"name": "web"}, "spec": spec})

    async def rolled_out() -> bool:
        deployment: Mapping[str, Any] = await api.get(f"{path}/web")
        return bool(deployment["status"].get("readyReplicas") == 2)

    async with asyncio.timeout(90):
        await until(rolled_out)


async def test_a_namespace_that_is_deleted_goes_away(
    control_plane: Cluster, namespace: str
) -> None:
    api = control_plane.api
    other = {"metadata": {"name": f"{namespace}-other"}}
    await api.post("/api/v1/namespaces", other)
    await api.delete(f"/api/v1/namespaces/{namespace}-other")

    async def gone() -> bool:
        return not await api.answers(f"/api/v1/namespaces/{namespace}-other")

    async with asyncio.timeout(90):
        await until(gone)


async def test_the_server_says_which_version_it_is(control_plane: Cluster) -> None:
    version = await control_plane.api.get("/version")

    assert str(version["gitVersion"]).startswith("v1.")
    assert version["major"] == "1"


def crd(group: str) -> dict[str, Any]:
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {"name": "v1", "served": True, "storage": True}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"things.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"plural": "things", "kind": "Thing"},
            "versions": [{**version, "schema": {"openAPIV3Schema": schema}}],
        },
    }


async def test_crds_of_a_folder_are_served_when_their_installation_returns(
    control_plane: Cluster, namespace: str, tmp_path: Path
) -> None:
    api, group = control_plane.api, f"{namespace}.example.org"
    (tmp_path / "things.yaml").write_text(
        f"{json.dumps(crd(group))}\n---\nkind: ConfigMap\n---\n"
    )
    things = f"/apis/{group}/v1/namespaces/{namespace}/things"
    thing = {"apiVersion": f"{group}/v1", "kind": "Thing", "metadata": {"name": "a"}}

    names = await install_crds(api, tmp_path)
    await api.post(things, thing)
    again = await install_crds(api, crd(group))
    await uninstall_crds(api, names)

    assert names == again == [f"things.{group}"]


async def test_a_crd_that_the_server_refuses_is_refused_in_its_words(
    control_plane: Cluster, namespace: str
) -> None:
    broken = crd(f"{namespace}.example.org")
    broken["spec"]["scope"] = "Galaxy"

    with pytest.raises(InvalidError, match="Galaxy"):
        await install_crds(control_plane.api, broken)


async def test_an_existing_cluster_is_used_and_left_as_it_is(
    control_plane: Cluster, kubeconfig: Path, namespace: str, tmp_path: Path
) -> None:
    environ = {
        "USE_EXISTING_CLUSTER": "true",
        "KUBECONFIG": str(kubeconfig),
        "PATH": str(tmp_path),
    }

    async with cluster(environ=environ, progress=QuietProgress()) as existing:
        assert isinstance(existing, ExistingCluster)
        assert existing.url == control_plane.url
        assert existing.ca_pem == control_plane.ca_pem
        path = f"/api/v1/namespaces/{namespace}/configmaps"
        await existing.api.post(path, NOTE)

    note = await control_plane.api.get(f"{path}/note")
    assert note["data"] == NOTE["data"]
    with pytest.raises(NotFoundError):
        await control_plane.api.get(f"{path}/other")


async def test_without_the_variable_a_control_plane_is_started() -> None:
    async with cluster(BARE, environ={}, progress=QuietProgress()) as ours:
        assert isinstance(ours, ControlPlane)
        assert await ours.api.answers("/readyz")


async def test_no_temporary_folder_is_left_by_a_start_that_failed() -> None:
    options = replace(BARE, apiserver_flags={"no-such-flag": "x"})
    failing = plane(options)

    with pytest.raises(ProcessDiedError):
        await failing.start()

    assert await asyncio.to_thread(folders_of_this_process) == []
