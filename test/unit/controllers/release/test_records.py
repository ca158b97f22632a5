"""Helm's records, read and rewritten without Helm."""

from __future__ import annotations

import base64
import gzip
import json

import pytest

from controller_runtime import DecodeError, Json
from controllers.release.identity import DIGEST_LABEL, UID_LABEL
from controllers.release.records import (
    HelmStatus,
    read_payload,
    read_revisions,
    unlocked,
)


def packed(content: object) -> str:
    return zipped(json.dumps(content).encode())


def zipped(content: bytes) -> str:
    raw = gzip.compress(content)
    return base64.b64encode(base64.b64encode(raw)).decode()


def record(number: object = 1, status: str = "deployed", **labels: str) -> Json:
    content = {
        "name": "web",
        "info": {"status": status, "description": "Install complete", "notes": "hi"},
        "chart": {"metadata": {"name": "app", "version": "1.2.3", "appVersion": "9"}},
        "manifest": "kind: ConfigMap\n",
        "config": {"password": "hunter2"},
    }
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "helm.sh/release.v1",
        "metadata": {
            "name": f"sh.helm.release.v1.web.v{number}",
            "namespace": "shop",
            "resourceVersion": "7",
            "creationTimestamp": "2026-01-31T12:00:00Z",
            "managedFields": [],
            "labels": {
                "owner": "helm",
                "name": "web",
                "status": status,
                "version": str(number),
                **labels,
            },
        },
        "data": {"release": packed(content)},
    }


def test_records_come_newest_first_with_what_their_labels_say() -> None:
    ours = {UID_LABEL: "u", DIGEST_LABEL: "d"}

    newest, oldest = read_revisions([record(2, **ours), record(10, "pending-upgrade")])

    assert (newest.number, newest.status.is_pending) == (10, True)
    assert (oldest.number, oldest.uid, oldest.digest) == (2, "u", "d")


def test_only_the_newest_record_keeps_its_data() -> None:
    newest, *older = read_revisions([record(1), record(3), record(2)])

    assert "data" in newest.secret
    assert [it.number for it in older if "data" in it.secret] == []


def test_other_secrets_of_the_same_labels_are_passed_over() -> None:
    assert read_revisions([{**record(), "type": "Opaque"}]) == ()


def test_a_state_that_a_later_helm_invents_is_read_as_unknown() -> None:
    (found,) = read_revisions([record(status="paused")])

    assert found.status is HelmStatus.UNKNOWN


def test_helms_own_time_counts_and_else_that_of_the_secret() -> None:
    (labelled,) = read_revisions([record(createdAt="10", modifiedAt="1700000000")])
    (plain,) = read_revisions([record()])

    assert labelled.modified.timestamp() == 1_700_000_000
    assert plain.modified.hour == 12


def test_a_label_that_is_no_time_is_passed_over() -> None:
    (found,) = read_revisions([record(modifiedAt="9" * 30)])

    assert found.modified.hour == 12


def test_a_record_without_a_number_is_named() -> None:
    with pytest.raises(DecodeError, match=r"shop/sh\.helm\.release\.v1\.web\.vx"):
        read_revisions([record("x")])


def test_the_payload_says_what_is_deployed() -> None:
    payload = read_payload(record())

    assert (payload.chart_name, payload.chart_version) == ("app", "1.2.3")
    assert (payload.app_version, payload.notes) == ("9", "hi")
    assert payload.manifest == "kind: ConfigMap\n"


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"release": "?"},
        {"release": "aGk="},
        {"release": None},
        {"release": packed({"info": "text", "chart": [1]})},
        {"release": packed([])},
        {"release": zipped(b"[" * 5000 + b"]" * 5000)},
    ],
    ids=[
        "nothing",
        "no base64",
        "no gzip",
        "null",
        "other JSON",
        "a list",
        "nested too deeply",
    ],
)
def test_a_payload_that_is_none_is_named_and_not_shown(data: Json) -> None:
    with pytest.raises(DecodeError) as caught:
        read_payload({**record(), "data": data})

    assert "shop/sh.helm.release.v1.web.v1" in str(caught.value)
    assert caught.value.__cause__ is None


def test_an_unlocked_record_has_failed_and_is_else_what_it_was() -> None:
    pending = record(3, "pending-upgrade", **{UID_LABEL: "u"})

    freed = unlocked(pending, description="unlocked: it died")

    (revision,) = read_revisions([freed])
    assert (revision.status, revision.uid) == (HelmStatus.FAILED, "u")
    assert freed["metadata"]["resourceVersion"] == "7"
    payload = read_payload(freed)
    assert payload.description == "unlocked: it died"
    assert payload.manifest == read_payload(pending).manifest
    assert pending["metadata"]["labels"]["status"] == "pending-upgrade"
