"""The original's flags, as it spells them, each with what happens without it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

import pytest

from api.batch.v1 import CronJob, Job
from conformance.reloads import (
    AUTO,
    NAMED,
    QUICK,
    SECONDS,
    Shop,
    pod_that_uses,
    record,
    variable,
    variables,
)
from controller_runtime import (
    Client,
    GroupVersionKind,
    Json,
    RestConfig,
    merge_patch,
)
from controller_runtime.testing.envtest.environment import Environment
from controller_runtime.testing.eventually import eventually, eventually_list
from controllers.reload.options import ReloadOptions
from controllers.reloader.settings import read

NAMESPACE = GroupVersionKind("", "v1", "Namespace")
KINDS = ("cm", "secret")


def options(*flags: str, **environ: str) -> ReloadOptions:
    """Read a command line of the original."""
    return replace(read(flags, environ).options, debounce=QUICK)


def here(shop: Shop, *flags: str) -> ReloadOptions:
    """The same, for one namespace."""
    return options(f"--namespaces={shop.namespace}", *flags)


@pytest.fixture
async def other(
    environment: Environment, client: Client, config: RestConfig
) -> AsyncIterator[Shop]:
    """Lend another namespace."""
    async with environment.namespace() as namespace:
        yield Shop(client, config, namespace)


# --- what comes and goes -----------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
async def test_a_source_that_appears_reloads_with_the_flag_alone(
    shop: Shop, kind: str
) -> None:
    """Scenario 28: --reload-on-create."""
    async with shop.running(here(shop)):
        web = await shop.workload("web", {NAMED[kind]: "x"})
        async with shop.nothing_reloads(web):
            await shop.sources(f"{kind}/x")

    async with shop.running(here(shop, "--reload-on-create=true")):
        api = await shop.workload("api", {NAMED[kind]: "y"})
        before = await api.template()
        await _is_looked_at(shop, kind)
        await shop.sources(f"{kind}/y")
        after = await api.reloaded(before)

    assert variables(after) == {"app": {variable(f"{kind}/y")}}


async def _is_looked_at(shop: Shop, kind: str) -> None:
    """Wait until all workloads that are there have been."""
    await shop.sources(f"{kind}/last")
    last = await shop.workload("last", {NAMED[kind]: "last"})
    await last.adopted(f"{kind}/last")


@pytest.mark.parametrize("kind", KINDS)
async def test_a_source_that_goes_reloads_with_the_flag_alone(
    shop: Shop, kind: str
) -> None:
    """Scenario 28: --reload-on-delete."""
    await shop.sources(f"{kind}/x", f"{kind}/y")
    async with shop.running(here(shop)):
        web = await shop.workload("web", AUTO, uses=[f"{kind}/x"])
        await web.adopted(f"{kind}/x")
        async with shop.nothing_reloads(web):
            await shop.remove(f"{kind}/x")

    async with shop.running(here(shop, "--reload-on-delete=true")):
        api = await shop.workload("api", {NAMED[kind]: "y"})
        before = await api.adopted(f"{kind}/y")
        await shop.change(f"{kind}/y")
        marked = await api.reloaded(before)
        await shop.remove(f"{kind}/y")
        after = await api.reloaded(marked)

    assert variables(marked) == {"app": {variable(f"{kind}/y")}}
    assert variables(after) == {"app": set()}


# --- kinds -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "ignored", "others"),
    [("secrets", "secret", "cm"), ("configMaps", "cm", "secret")],
)
async def test_a_kind_of_source_that_is_ignored_reloads_nothing(
    shop: Shop, word: str, ignored: str, others: str
) -> None:
    """Scenario 28: --resources-to-ignore."""
    sources = [f"{ignored}/x", f"{others}/x"]
    await shop.sources(*sources)
    web = await shop.workload("web", AUTO, uses=sources)
    async with shop.running(here(shop, f"--resources-to-ignore={word}")):
        before = await web.adopted(f"{others}/x")
        async with shop.nothing_reloads(web, kinds=[others]):
            await shop.change(f"{ignored}/x")
        await shop.change(f"{others}/x")
        after = await web.reloaded(before)

    assert variables(after) == {"app": {variable(f"{others}/x")}}
    async with shop.running(here(shop)):
        # Without the flag, it is taken as it is, and counts from then on.
        before = await web.adopted(*sources)
        await shop.change(f"{ignored}/x", "newer")
        after = await web.reloaded(before)
    assert variables(after) == {"app": set(map(variable, sources))}


@pytest.mark.parametrize(
    ("flags", "runs"),
    [
        pytest.param([], {"CronJob", "Job"}, id="none"),
        pytest.param(["--ignored-workload-types=cronjobs"], {"Job"}, id="cronjobs"),
        pytest.param(["--ignored-workload-types=jobs"], {"CronJob"}, id="jobs"),
        pytest.param(["--ignored-workload-types=jobs,cronjobs"], set(), id="both"),
    ],
)
async def test_kinds_of_workloads_may_be_left_alone(
    shop: Shop, flags: Sequence[str], runs: set[str]
) -> None:
    """Scenario 28: ignoreCronJobs and both job flags."""
    await shop.sources("cm/c")
    template = {"spec": _idle_pod()}
    job = await shop.create(Job.gvk, "job", AUTO, spec={"template": template})
    spec = {"schedule": "0 0 1 1 *", "jobTemplate": {"spec": {"template": template}}}
    await shop.create(CronJob.gvk, "cron", AUTO, spec=spec)

    def have_run(jobs: list[Json]) -> bool:
        owners = [it["metadata"].get("ownerReferences", []) for it in jobs]
        uids = [it["metadata"]["uid"] for it in jobs if it["metadata"]["name"] == "job"]
        found = {"CronJob"} if any(owners) else set()
        if uids not in ([], [job["metadata"]["uid"]]):
            found.add("Job")
        return found == runs

    async with shop.running(here(shop, *flags)):
        for gvk, name in ((Job.gvk, "job"), (CronJob.gvk, "cron")):
            if gvk.kind in runs:
                await eventually(shop.client, gvk, name, shop.namespace, record)
        async with shop.nothing_reloads():
            await shop.change("cm/c")
        await eventually_list(
            *(shop.client, Job.gvk, shop.namespace, have_run), timeout=SECONDS
        )


def _idle_pod() -> Json:
    """Stay pending, so that a Job of it stays at work."""
    pod = pod_that_uses("cm/c")
    return pod | {"restartPolicy": "Never", "nodeSelector": {"there": "is-none"}}


# --- places ------------------------------------------------------------------------


async def _label(shop: Shop, **labels: str) -> None:
    patch = merge_patch({"metadata": {"labels": labels}})
    await shop.client.patch(NAMESPACE, shop.namespace, patch=patch)


async def _only_the_first_reloads(
    chosen: ReloadOptions, first: Shop, second: Shop
) -> None:
    """Show it, and that nothing but the options is the reason."""
    for shop in (first, second):
        await shop.sources("cm/c")
    web = await first.workload("web", AUTO, uses=["cm/c"])
    elsewhere = await second.workload("web", AUTO, uses=["cm/c"])
    async with first.running(chosen):
        before = await web.adopted("cm/c")
        async with first.nothing_reloads(elsewhere):
            await second.change("cm/c")
        await first.change("cm/c")
        await web.reloaded(before)

    async with second.running(here(second)):
        before = await elsewhere.adopted("cm/c")
        await second.change("cm/c", "newer")
        await elsewhere.reloaded(before)


async def test_namespaces_may_be_ignored(shop: Shop, other: Shop) -> None:
    """Scenario 28: ignoreNamespaces; the selector keeps out what is not ours."""
    for each in (shop, other):
        await _label(each, team=shop.namespace)
    chosen = options(
        f"--namespaces-to-ignore=nowhere,{other.namespace}",
        f"--namespace-selector=team={shop.namespace}",
    )
    await _only_the_first_reloads(chosen, shop, other)


@pytest.mark.parametrize("form", ["team={}", "team:{}", '"team in ({})"'])
async def test_namespaces_may_be_selected(shop: Shop, other: Shop, form: str) -> None:
    """Scenario 28: namespaceSelector, as kubectl has it and as the original also has.

    The chart passes it in quotes.
    """
    await _label(shop, team=shop.namespace)
    await _label(other, team="another")
    chosen = options(f"--namespace-selector={form.format(shop.namespace)}")
    await _only_the_first_reloads(chosen, shop, other)


async def test_one_namespace_may_come_from_the_environment(
    shop: Shop, other: Shop
) -> None:
    """Scenario 28: watchGlobally=false."""
    chosen = options(KUBERNETES_NAMESPACE=shop.namespace)
    await _only_the_first_reloads(chosen, shop, other)


async def test_a_list_of_namespaces_is_all_that_counts(
    environment: Environment, shop: Shop, other: Shop
) -> None:
    """Scenario 28: the scoped list, with the namespace of the release among it."""
    async with environment.namespace() as name:
        third = Shop(shop.client, shop.config, name)
        chosen = options(
            f"--namespaces={third.namespace},{shop.namespace}",
            KUBERNETES_NAMESPACE=other.namespace,
        )
        await third.sources("cm/c")
        web = await third.workload("web", AUTO, uses=["cm/c"])
        await _only_the_first_reloads(chosen, shop, other)
        before = await web.adopted("cm/c")
        await third.change("cm/c")
        async with shop.running(chosen):
            await web.reloaded(before)


async def test_sources_may_be_selected_by_label(shop: Shop) -> None:
    """Scenario 28: resourceLabelSelector."""
    await shop.sources("cm/c", labels={"reload": "yes"})
    await shop.sources("cm/plain")
    web = await shop.workload("web", AUTO, uses=["cm/c", "cm/plain"])
    async with shop.running(here(shop, "--resource-label-selector=reload:*")):
        before = await web.adopted("cm/c")
        # Changes of a kind come in order, and both are of one kind.
        await shop.change("cm/plain")
        await shop.change("cm/c")
        seen = await web.reloaded(before)
        assert variables(seen) == {"app": {"STAKATER_C_CONFIGMAP"}}

    async with shop.running(here(shop)):
        seen = await web.adopted("cm/plain")
        await shop.change("cm/plain", "newer")
        seen = await web.reloaded(seen)
    assert variables(seen) == {
        "app": {"STAKATER_C_CONFIGMAP", "STAKATER_PLAIN_CONFIGMAP"}
    }


async def test_everything_may_reload_that_does_not_decline(shop: Shop) -> None:
    """Scenarios 18 and 28: --auto-reload-all."""
    await shop.sources("cm/c")
    declining = await shop.workload(
        "declining", {"reloader.stakater.com/auto": "false"}, uses=["cm/c"]
    )
    web = await shop.workload("web", uses=["cm/c"])
    async with shop.running(here(shop)), shop.nothing_reloads(web, declining):
        await shop.change("cm/c", "1")

    async with shop.running(here(shop, "--auto-reload-all")):
        before = await web.adopted("cm/c")
        kept = await declining.template()
        await shop.change("cm/c", "2")
        await web.reloaded(before)
        await _is_looked_at(shop, "cm")
        assert await declining.template() == kept
