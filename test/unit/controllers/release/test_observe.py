"""What is deployed, compared with what is wanted."""

from __future__ import annotations

import pytest

from api.release.status import LastAttempted
from conformance.releases import revision
from controllers.release.locks import Lock
from controllers.release.observe import Wanted, classify
from controllers.release.plan import ReleaseState
from controllers.release.records import HelmStatus, Revision

SAME = "d" * 64
HELD = LastAttempted(action="rollback-to", config_digest=SAME, generation=1)


def state(
    *revisions: Revision,
    adopt: str = "IfUnowned",
    lock: Lock | None = None,
    living: str = "",
    known: int | None = None,
    last: LastAttempted | None = None,
) -> ReleaseState:
    wanted = Wanted(
        digest=SAME,
        uid="ours",
        generation=1,
        adopt=adopt,
        known_revision=known,
        last=last,
    )
    return classify(
        revisions, wanted, lock=lock, is_owner_alive=lambda uid: uid == living
    )


PENDING = revision(status=HelmStatus.PENDING_UPGRADE)
OTHERS = revision(uid="other")
NOBODYS = revision(uid="", digest="")


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        pytest.param(state(), ReleaseState.ABSENT, id="no record"),
        pytest.param(state(revision()), ReleaseState.IN_SYNC, id="the same"),
        pytest.param(
            state(revision(digest="e" * 40)), ReleaseState.OUT_OF_SYNC, id="another"
        ),
        pytest.param(
            state(revision(4), known=3),
            ReleaseState.OUT_OF_SYNC,
            id="a revision that we did not make, with our labels inherited",
        ),
        pytest.param(
            state(revision(status=HelmStatus.FAILED)), ReleaseState.FAILED, id="failed"
        ),
        pytest.param(
            state(revision(status=HelmStatus.UNINSTALLING)),
            ReleaseState.GOING,
            id="half gone",
        ),
        pytest.param(
            state(PENDING, lock=Lock(is_abandoned=False, reason="")),
            ReleaseState.LOCKED,
            id="somebody is at it",
        ),
        pytest.param(
            state(PENDING, lock=Lock(is_abandoned=True, reason="")),
            ReleaseState.ABANDONED,
            id="nobody is at it",
        ),
        pytest.param(
            state(OTHERS, living="other"), ReleaseState.FOREIGN, id="another's"
        ),
        pytest.param(
            state(OTHERS), ReleaseState.UNCLAIMED, id="of an object that is gone"
        ),
        pytest.param(
            state(OTHERS, living="other", adopt="Always"),
            ReleaseState.UNCLAIMED,
            id="another's, to be taken",
        ),
        pytest.param(state(NOBODYS), ReleaseState.OUT_OF_SYNC, id="of the CLI"),
        pytest.param(
            state(NOBODYS, adopt="Never"), ReleaseState.FOREIGN, id="not to be adopted"
        ),
        pytest.param(
            state(revision(digest="e" * 40), last=HELD),
            ReleaseState.HELD,
            id="held back",
        ),
        pytest.param(
            state(
                revision(digest="e" * 40),
                last=HELD.model_copy(update={"generation": 0}),
            ),
            ReleaseState.OUT_OF_SYNC,
            id="held back, before the spec changed",
        ),
    ],
)
def test_records_and_digest_tell_the_state(
    found: ReleaseState, expected: ReleaseState
) -> None:
    assert found is expected
