"""Which hashes workloads get to see, and that a switch restarts none of them."""

from __future__ import annotations

import hmac
import json
from hashlib import sha256
from itertools import product
from pathlib import Path

import pytest

from api.core.v1 import PodTemplateSpec
from controller_runtime import ConfigError, Json, Meta
from controllers.reload.annotations import read_policy
from controllers.reload.options import ReloadOptions
from controllers.reload.plan import Marker, Plan
from controllers.reload.record import RECORD
from controllers.reload.rollout import decide
from controllers.reload.sources import Source, SourceKey, SourceKind
from controllers.reload.sources.digest import Digest, secret_digest
from controllers.reload.sources.hashing import Hashing, MarkerHash, read_keys
from controllers.reload.sources.keys import ALL_KEYS, KeyScope
from controllers.reload.workloads import Workload, WorkloadKey

AUTO = {"reloader.stakater.com/auto": "true"}
NEW_KEY, OLD_KEY = b"0123456789abcdef", b"fedcba9876543210"
CONTENT = {"user": b"app", "password": b"hunter2"}
CHANGED = CONTENT | {"password": b"hunter3"}

PLAIN = Hashing()
STRONG = Hashing(marker=MarkerHash.SHA256)
KEYED = Hashing(keys=(OLD_KEY,))
ROTATED = Hashing(keys=(NEW_KEY, OLD_KEY))

ALL = [
    pytest.param(PLAIN, id="sha1"),
    pytest.param(STRONG, id="sha256"),
    pytest.param(KEYED, id="keyed"),
    pytest.param(ROTATED, id="another key"),
]
SCOPES = [
    pytest.param(ALL_KEYS, id="all keys"),
    pytest.param(KeyScope(frozenset({"password"})), id="one key"),
]


def shown(
    hashing: Hashing, content: dict[str, bytes], scope: KeyScope = ALL_KEYS
) -> Source:
    key = SourceKey(SourceKind.SECRET, "shop", "s")
    return Source(key, hashing.shown(secret_digest(content), scope), {})


def plan(now: Source, *, record: str = "", marker: str = "") -> Plan | None:
    """Decide for a workload that carries a record of the source, or a marker."""
    annotations = dict(AUTO)
    if record:
        annotations[RECORD] = json.dumps({"secret/s": record})
    env = [{"name": "STAKATER_S_SECRET", "value": marker}] if marker else []
    uses: list[Json] = [{"secretRef": {"name": "s"}}]
    container = {"name": "app", "env": env, "envFrom": uses}
    template = PodTemplateSpec.model_validate({"spec": {"containers": [container]}})
    workload = Workload(
        WorkloadKey("Deployment", "shop", "web"),
        Meta(annotations=annotations),
        template,
    )
    policy = read_policy(annotations, {}, ReloadOptions())
    return decide(workload, policy, [now])


def markers(made: Plan | None) -> tuple[Marker, ...]:
    return () if made is None else made.markers


# --- what is shown -----------------------------------------------------------------


def test_without_a_setting_hashes_are_what_they_were() -> None:
    plain = secret_digest(CONTENT)

    assert PLAIN.shown(plain) is plain


def test_a_sha256_marker_is_the_hash_of_the_record_in_full() -> None:
    """C7, #594."""
    plain = secret_digest(CONTENT)

    digest = STRONG.shown(plain)

    assert digest.marker == plain.canonical
    assert len(digest.marker) == 64
    assert digest.recorded == plain.recorded


@pytest.mark.parametrize("scope", SCOPES)
def test_keyed_hashes_take_the_key_to_make(scope: KeyScope) -> None:
    """A18."""
    plain = secret_digest(CONTENT).within(scope)
    text = f"content {plain.canonical}".encode()
    expected = hmac.digest(NEW_KEY, text, "sha256").hex()

    digest = ROTATED.shown(secret_digest(CONTENT), scope)

    assert digest.marker == digest.canonical == expected
    assert digest.recorded.endswith(f":{expected[:20]}")


@pytest.mark.parametrize("scope", SCOPES)
def test_what_a_keyed_plan_writes_is_nowhere_a_plain_hash(scope: KeyScope) -> None:
    before, now = shown(KEYED, CONTENT, scope), shown(KEYED, CHANGED, scope)
    made = plan(now, record=before.digest.recorded, marker=before.digest.marker)

    assert made is not None
    written = repr(made)

    for part, data in product((ALL_KEYS, scope), (CONTENT, CHANGED)):
        plain = secret_digest(data).within(part)
        for text in (plain.marker, plain.canonical[:20]):
            assert text not in written


def test_keys_are_in_no_repr() -> None:
    assert "0123456789abcdef" not in repr(ReloadOptions(hashing=ROTATED))


# --- switching ---------------------------------------------------------------------


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("after", ALL)
@pytest.mark.parametrize("before", ALL)
def test_a_switch_restarts_nothing(
    before: Hashing, after: Hashing, scope: KeyScope
) -> None:
    old, now = shown(before, CONTENT, scope), shown(after, CONTENT, scope)

    by_both = plan(now, record=old.digest.recorded, marker=old.digest.marker)
    by_record = plan(now, record=old.digest.recorded)

    assert markers(by_both) == markers(by_record) == ()
    if by_record is not None:
        assert by_record.record == {"secret/s": now.digest.recorded}


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param(PLAIN, STRONG, id="sha1 to sha256"),
        pytest.param(STRONG, PLAIN, id="sha256 to sha1"),
        pytest.param(PLAIN, KEYED, id="to a key"),
        pytest.param(KEYED, ROTATED, id="to another key"),
    ],
)
def test_a_change_is_not_lost_in_a_switch_nor_a_marker_mistrusted(
    before: Hashing, after: Hashing, scope: KeyScope
) -> None:
    old = shown(before, CONTENT, scope).digest

    assert markers(plan(shown(after, CHANGED, scope), record=old.recorded))
    assert markers(plan(shown(after, CHANGED, scope), marker=old.marker))
    assert not markers(plan(shown(after, CONTENT, scope), marker=old.marker))


@pytest.mark.parametrize("after", [PLAIN, STRONG, Hashing(keys=(NEW_KEY,))])
def test_what_a_lost_key_made_is_taken_for_good(after: Hashing) -> None:
    made = plan(shown(after, CHANGED), record=shown(KEYED, CONTENT).digest.recorded)

    assert made is not None
    assert made.markers == ()
    assert made.record == {"secret/s": shown(after, CHANGED).digest.recorded}


@pytest.mark.parametrize("hashing", ALL)
def test_a_marker_that_stands_there_already_gives_way_to_another(
    hashing: Hashing,
) -> None:
    """Somebody has put the template of before back, and the content too."""
    now = shown(hashing, CONTENT)

    (marker,) = markers(
        plan(
            now,
            record=shown(hashing, CHANGED).digest.recorded,
            marker=now.digest.marker,
        )
    )

    assert marker.value not in {None, now.digest.marker}
    assert now.digest.is_marked({str(marker.value)})


def test_a_digest_knows_its_other_forms_and_no_form_twice() -> None:
    digest = ROTATED.shown(secret_digest(CONTENT), KeyScope(frozenset({"user"})))

    def all_of(one: Digest) -> list[str]:
        return [one.canonical, *(other.canonical for other in one.others)]

    assert len(set(all_of(digest))) == len(all_of(digest)) == 6


# --- the file ----------------------------------------------------------------------


def test_keys_stand_one_in_a_line(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_bytes(NEW_KEY + b"\n\n" + OLD_KEY + b"\r\n")

    assert read_keys(file, flag="--hash-key-file") == (NEW_KEY, OLD_KEY)


@pytest.mark.parametrize("text", [b"", b"\n", b"short", NEW_KEY + b"\nshort"])
def test_a_file_without_a_key_is_refused_and_not_quoted(
    tmp_path: Path, text: bytes
) -> None:
    file = tmp_path / "keys"
    file.write_bytes(text)

    with pytest.raises(ConfigError, match=r"--hash-key-file=.* 16 bytes") as caught:
        read_keys(file, flag="--hash-key-file")

    assert "short" not in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nothing cannot be read: No such file"):
        read_keys(tmp_path / "nothing", flag="--hash-key-file")


def test_the_name_of_a_key_does_not_tell_the_key() -> None:
    form = KEYED.shown(secret_digest(CONTENT)).form

    assert form != f"k{sha256(OLD_KEY).hexdigest()[:6]}"
    assert len(form) == 7
