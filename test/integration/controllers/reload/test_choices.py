"""Which changes a workload reloads for, by what its annotations say.

Each row is a workload, the sources whose changes reload it, one by one, and those whose
changes must not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pytest

from conformance.reloads import (
    AUTO,
    EXCLUDED,
    NAMED,
    Shop,
    Workload,
    variable,
    variables,
)
from controller_runtime import Json

GROUP = "reloader.stakater.com"
CM_AUTO = {f"configmap.{GROUP}/auto": "true"}
SECRET_AUTO = {f"secret.{GROUP}/auto": "true"}
SEARCH = {f"{GROUP}/search": "true"}
MATCH = {f"{GROUP}/match": "true"}
IGNORE = {f"{GROUP}/ignore": "true"}
PAUSE_PERIOD = f"deployment.{GROUP}/pause-period"
PAUSED_AT = f"deployment.{GROUP}/paused-at"

BOTH = ("cm/c", "secret/s")


@dataclass(frozen=True)
class Row:
    """A Deployment, and what it does."""

    said: Mapping[str, str] = field(default_factory=dict)
    """Its annotations."""

    noted: Mapping[str, str] = field(default_factory=dict)
    """Those of its pod template."""

    tags: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Source → annotations of it."""

    uses: Sequence[str] = BOTH
    loud: Sequence[str] = ()
    """Their changes reload it."""

    quiet: Sequence[str] = ()
    """Their changes do not."""


async def check(shop: Shop, row: Row) -> None:
    """Make what a row says, and see that it does so."""
    for source in {*row.uses, *row.loud, *row.quiet}:
        await shop.sources(source, annotations=row.tags.get(source, {}))
    async with shop.manager():
        web = await shop.workload("web", row.said, uses=row.uses, noted=row.noted)
        await web.adopted(*row.loud)
        async with shop.nothing_reloads(web):
            for source in row.quiet:
                await shop.change(source)
        await _each_reloads(shop, web, row.loud)


async def _each_reloads(shop: Shop, web: Workload, sources: Sequence[str]) -> None:
    seen = await web.template()
    expected: set[str] = set()
    for source in sources:
        await shop.change(source)
        seen = await web.reloaded(seen)
        expected.add(variable(source))
        assert variables(seen) == {"app": expected}


@pytest.mark.parametrize(
    "row",
    [
        pytest.param(Row(CM_AUTO, loud=["cm/c"], quiet=["secret/s"]), id="ConfigMaps"),
        pytest.param(Row(SECRET_AUTO, loud=["secret/s"], quiet=["cm/c"]), id="Secrets"),
        pytest.param(Row(AUTO, loud=BOTH), id="all"),
    ],
)
async def test_auto_is_for_one_kind_of_source_or_for_all(shop: Shop, row: Row) -> None:
    """Scenario 19, the part of ConfigMaps and Secrets."""
    await check(shop, row)


NO_C = {EXCLUDED["cm"]: "c"}
NO_S = {EXCLUDED["secret"]: "s"}


@pytest.mark.parametrize(
    "row",
    [
        pytest.param(
            Row(AUTO | NO_C, loud=["secret/s"], quiet=["cm/c"]),
            id="a ConfigMap is excluded",
        ),
        pytest.param(
            Row(AUTO | NO_S, loud=["cm/c"], quiet=["secret/s"]),
            id="a Secret is excluded",
        ),
        pytest.param(
            Row(
                AUTO | {EXCLUDED["cm"]: "a , c"},
                uses=["cm/a", "cm/c", "cm/ac"],
                loud=["cm/ac"],
                quiet=["cm/a", "cm/c"],
            ),
            id="names are listed with blanks",
        ),
        pytest.param(
            Row(AUTO | {EXCLUDED["cm"]: ".*"}, loud=BOTH), id="a pattern is no name"
        ),
        pytest.param(
            Row(
                AUTO,
                tags={"cm/c": IGNORE},
                loud=["secret/s"],
                quiet=["cm/c"],
            ),
            id="a ConfigMap is to be ignored",
        ),
        pytest.param(
            Row(
                {NAMED["secret"]: "s,t"},
                tags={"secret/s": IGNORE},
                loud=["secret/t"],
                quiet=["secret/s"],
            ),
            id="a Secret that is named is to be ignored",
        ),
        pytest.param(
            Row(AUTO, tags={"cm/c": {f"{GROUP}/ignore": "false"}}, loud=["cm/c"]),
            id="a ConfigMap is not to be ignored",
        ),
    ],
)
async def test_what_is_excluded_or_ignored_reloads_nothing_and_others_do(
    shop: Shop, row: Row
) -> None:
    """Scenario 20, the part of ConfigMaps and Secrets."""
    await check(shop, row)


@pytest.mark.parametrize(
    "row",
    [
        pytest.param(
            Row(SEARCH, tags={"cm/c": MATCH}, loud=["cm/c"], quiet=["secret/s"]),
            id="of two sources the one with match",
        ),
        pytest.param(
            Row(SEARCH, tags={"secret/s": MATCH}, loud=["secret/s"], quiet=["cm/c"]),
            id="of two sources the Secret with match",
        ),
        pytest.param(Row(SEARCH, quiet=BOTH), id="search without match"),
        pytest.param(
            Row(tags=dict.fromkeys(BOTH, MATCH), quiet=BOTH), id="match without search"
        ),
        pytest.param(
            Row(SEARCH, tags={"cm/x": MATCH}, quiet=["cm/x"]),
            id="match on what the pods do not use",
        ),
    ],
)
async def test_search_finds_used_sources_with_match(shop: Shop, row: Row) -> None:
    """Scenario 21."""
    await check(shop, row)


async def test_of_two_deployments_the_one_that_searches_reloads(shop: Shop) -> None:
    """Scenario 21."""
    await shop.sources("cm/c", annotations=MATCH)
    async with shop.manager():
        other = await shop.workload("other", uses=["cm/c"])
        web = await shop.workload("web", SEARCH, uses=["cm/c"])
        before = await web.adopted("cm/c")
        async with shop.nothing_reloads(other):
            await shop.change("cm/c")
            await web.reloaded(before)


@pytest.mark.parametrize(
    "row",
    [
        pytest.param(Row(noted=AUTO, loud=BOTH), id="auto"),
        pytest.param(
            Row(noted={NAMED["cm"]: "x"}, uses=[], loud=["cm/x"]), id="a name"
        ),
        pytest.param(Row(AUTO, AUTO, loud=BOTH), id="both levels"),
        pytest.param(
            Row(noted=CM_AUTO, loud=["cm/c"], quiet=["secret/s"]),
            id="auto for another kind",
        ),
        pytest.param(
            Row(AUTO, NO_C, loud=["secret/s"], quiet=["cm/c"]),
            id="exclude on the template, auto above",
        ),
        pytest.param(
            Row(noted=AUTO | NO_S, loud=["cm/c"], quiet=["secret/s"]),
            id="exclude and auto on the template",
        ),
        pytest.param(
            Row(NO_C, AUTO | NO_S, uses=[*BOTH, "cm/d"], loud=["cm/d"], quiet=BOTH),
            id="exclude on both levels",
        ),
        pytest.param(
            Row(noted=SEARCH, tags={"cm/c": MATCH}, loud=["cm/c"], quiet=["secret/s"]),
            id="search",
        ),
    ],
)
async def test_a_pod_template_may_say_it_instead(shop: Shop, row: Row) -> None:
    """Scenario 23."""
    await check(shop, row)


async def test_a_pod_template_may_ask_for_a_pause(shop: Shop) -> None:
    """Scenario 23."""
    await shop.sources("cm/c")
    async with shop.manager():
        said = AUTO | {PAUSE_PERIOD: "2s"}
        web = await shop.workload("web", noted=said, uses=["cm/c"])
        before = await web.adopted("cm/c")

        await shop.change("cm/c")
        await web.reloaded(before)
        await web.when(_is_paused)
        await web.when(lambda it: not _is_paused(it))


def _is_paused(obj: Json) -> bool:
    paused, noted = obj["spec"].get("paused", False), obj["metadata"]["annotations"]
    assert paused == (PAUSED_AT in noted)
    return bool(paused)


TWO_MAPS, TWO_SECRETS = ("cm/a", "cm/b"), ("secret/a", "secret/b")


@pytest.mark.parametrize(
    "row",
    [
        pytest.param(
            Row(AUTO | {NAMED["cm"]: "b"}, uses=["cm/a"], loud=["cm/a"]),
            id="auto finds one, another is named",
        ),
        pytest.param(
            Row(AUTO | {NAMED["cm"]: "b"}, uses=["cm/a"], loud=["cm/b"]),
            id="a ConfigMap is named, besides auto",
        ),
        pytest.param(
            Row(AUTO | {NAMED["secret"]: "b"}, uses=["secret/a"], loud=["secret/b"]),
            id="a Secret is named, besides auto",
        ),
        pytest.param(
            Row(AUTO | {EXCLUDED["cm"]: "b"}, uses=TWO_MAPS, quiet=["cm/b"]),
            id="a ConfigMap is excluded from auto",
        ),
        pytest.param(
            Row(AUTO | {EXCLUDED["cm"]: "b"}, uses=TWO_MAPS, loud=["cm/a"]),
            id="auto finds what is not excluded",
        ),
        pytest.param(
            Row(AUTO | {EXCLUDED["secret"]: "b"}, uses=TWO_SECRETS, quiet=["secret/b"]),
            id="a Secret is excluded from auto",
        ),
        pytest.param(
            Row({NAMED["cm"]: "a,b"}, uses=[], loud=TWO_MAPS),
            id="any of several ConfigMaps",
        ),
        pytest.param(
            Row({NAMED["secret"]: "a,b"}, uses=[], loud=TWO_SECRETS),
            id="any of several Secrets",
        ),
        pytest.param(
            Row({NAMED["cm"]: "c", NAMED["secret"]: "s"}, uses=[], loud=BOTH),
            id="names of both kinds",
        ),
    ],
)
async def test_annotations_combine(shop: Shop, row: Row) -> None:
    """Scenario 24: the nine cases of the original's combination_test."""
    await check(shop, row)


@pytest.mark.parametrize("source", BOTH)
@pytest.mark.parametrize("said", [AUTO, {NAMED["cm"]: "c", NAMED["secret"]: "s"}])
async def test_each_of_several_updates_reloads_in_its_turn(
    shop: Shop, source: str, said: dict[str, str]
) -> None:
    """Scenario 24."""
    await shop.sources(*BOTH)
    async with shop.manager():
        web = await shop.workload("web", said, uses=BOTH)
        seen = [await web.adopted(*BOTH)]
        for value in ("1", "2", "3", "1"):
            await shop.change(source, value)
            seen.append(await web.reloaded(seen[-1]))

    assert seen[2] != seen[4] == seen[1]
