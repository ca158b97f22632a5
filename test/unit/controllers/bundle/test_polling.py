"""What a look at a registry leaves in the status, whatever part of it went wrong."""

from __future__ import annotations

from datetime import timedelta
from random import Random

import pytest

from api.bundle.status import BundleStatus, Observed
from api.bundle.v1alpha1 import WerfBundle
from controller_runtime.testing.clock import FakeClock
from controllers.bundle import status
from controllers.bundle.artifact import Chart
from controllers.bundle.errors import BlockedError
from controllers.bundle.intention import Intention, read_intention
from controllers.bundle.options import BundleOptions
from controllers.bundle.polling import Polling
from controllers.bundle.registry import Login, Poller, Registries, Seen
from controllers.bundle.sources import Sources
from controllers.bundle.status import Draft
from controllers.oci import Access, RegistryError, RegistryTimeoutError

NOW = FakeClock().now()
OPTIONS = BundleOptions()
LOGIN = Login(access=Access(), version="1")


class Registry(Poller):
    """A registry whose answers are given."""

    def __init__(self) -> None:
        super().__init__(Registries(FakeClock()).client, OPTIONS)
        self.missing: BlockedError | None = None
        self.broken: RegistryError | None = None

    async def look(
        self, intention: Intention, login: Login, status: BundleStatus, *, fresh: bool
    ) -> Seen:
        if self.missing is not None:
            raise self.missing
        known = status.observed
        return Seen(
            Observed(
                tag="v1",
                digest="sha256:1",
                selection=intention.selection,
                validated_at=known.validated_at if known else None,
            )
        )

    async def validate(
        self, intention: Intention, login: Login, observed: Observed
    ) -> Chart:
        if self.broken is not None:
            raise self.broken
        return Chart("app", "1")


@pytest.fixture
def registry() -> Registry:
    return Registry()


@pytest.fixture
def polling(registry: Registry) -> Polling:
    nothing = Sources.__new__(Sources)  # no Secret is named
    return Polling(registry, nothing, Random(1), OPTIONS)  # noqa: S311 - jitter


def bundle() -> WerfBundle:
    return WerfBundle.model_validate(
        {
            "metadata": {"name": "app", "namespace": "shop", "uid": "u"},
            "spec": {"registry": {"url": "registry.example/app"}},
        }
    )


async def test_a_bundle_that_is_seen_and_cannot_be_fetched_is_asked_for_ever_less_often(
    registry: Registry, polling: Polling
) -> None:
    """Section 2.2.5: a blob store that does not answer, behind a registry that does."""
    registry.broken = RegistryTimeoutError("registry.example/app: nothing came")
    draft = Draft(bundle(), NOW)
    intention = read_intention(draft.bundle, OPTIONS)
    waits = []
    for _ in range(5):
        await polling.poll(draft, intention, LOGIN, fresh=True)
        assert draft.status.next_poll_time is not None
        waits.append((draft.status.next_poll_time - NOW) / timedelta(seconds=30))

    assert [round(wait) for wait in waits] == pytest.approx([1, 2, 4, 8, 16], rel=0.2)
    assert draft.status.phase == "Failed"
    assert [told.reason for told in draft.told].count("PollFailed") == 2

    registry.broken = None
    await polling.poll(draft, intention, LOGIN, fresh=True)
    assert draft.status.consecutive_failures == 0
    assert draft.is_true("RegistryReachable")
    assert polling.has_candidate(draft, intention)


async def test_a_version_that_is_gone_is_gone_until_the_registry_is_asked_again(
    registry: Registry, polling: Polling
) -> None:
    """Section 1.3: a change of values in between does not make the bundle ready."""
    draft = Draft(bundle(), NOW)
    intention = read_intention(draft.bundle, OPTIONS)
    await polling.poll(draft, intention, LOGIN, fresh=True)
    registry.missing = BlockedError(
        "no such tag", condition="VersionResolved", reason="TagNotFound"
    )
    with pytest.raises(BlockedError) as first:
        await polling.poll(draft, intention, LOGIN, fresh=True)
    status.blocked(draft, first.value)

    with pytest.raises(BlockedError, match="no such tag") as again:
        polling.has_candidate(draft, intention)
    assert again.value.reason == "TagNotFound"

    registry.missing = None
    await polling.poll(draft, intention, LOGIN, fresh=True)
    assert polling.has_candidate(draft, intention)
