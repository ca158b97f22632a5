"""What the cache keeps of a ConfigMap or Secret, and what it never does."""

from __future__ import annotations

import json
from base64 import b64encode
from hashlib import sha1

import pytest

from controller_runtime import (
    Created,
    DecodeError,
    Deleted,
    Generic,
    RawObject,
    Updated,
)
from controller_runtime.meta import read_meta
from controllers.reload.sources import (
    Source,
    SourceKey,
    SourceKind,
    is_news,
    read_source,
    reducer,
    source_key,
    youngest,
)
from controllers.reload.sources.digest import config_map_digest, secret_digest

MATCH = "reloader.stakater.com/match"


def config_map(**fields: object) -> bytes:
    metadata = {
        "name": "app",
        "namespace": "shop",
        "uid": "u-1",
        "resourceVersion": "7",
        "labels": {"team": "a"},
        "annotations": {MATCH: "true", "kubectl.kubernetes.io/last-applied": "secret"},
        "managedFields": [{"manager": "kubectl"}],
    }
    return json.dumps({"metadata": metadata, **fields}).encode()


def reduced(kind: SourceKind, raw: bytes) -> RawObject:
    data = reducer(kind, {MATCH})(raw)
    return RawObject(read_meta(data), data)


def secret(**values: bytes) -> bytes:
    return config_map(data={k: b64encode(v).decode() for k, v in values.items()})


def test_a_config_map_keeps_its_name_labels_and_hashes() -> None:
    entry = reduced(
        SourceKind.CONFIG_MAP,
        config_map(data={"k": "v"}, binaryData={"b": "AP8="}),
    )

    assert entry.meta.key == ("shop", "app")
    assert (entry.meta.uid, entry.meta.resource_version) == ("u-1", "7")
    assert entry.meta.labels == {"team": "a"}
    assert read_source(SourceKind.CONFIG_MAP, entry) == Source(
        key=SourceKey(SourceKind.CONFIG_MAP, "shop", "app"),
        digest=config_map_digest({"k": "v"}, {"b": b"\x00\xff"}),
        annotations={MATCH: "true"},
        version="7",
        labels={"team": "a"},
    )


@pytest.mark.parametrize(
    ("metadata", "data", "expected"),
    [
        ({"ownerReferences": [{"kind": "ExternalSecret"}]}, {}, True),
        ({"ownerReferences": [{"kind": "ExternalSecret"}]}, {"k": ""}, True),
        ({"ownerReferences": [{"kind": "ExternalSecret"}]}, {"k": "YQ=="}, False),
        ({"annotations": {"cert-manager.io/certificate-name": "x"}}, {}, True),
        ({}, {}, False),
    ],
)
def test_an_empty_secret_that_somebody_makes_is_known_as_such(
    metadata: dict[str, object], data: dict[str, str], expected: bool
) -> None:
    named = {"name": "app", "namespace": "shop", **metadata}
    entry = reduced(
        SourceKind.SECRET, json.dumps({"metadata": named, "data": data}).encode()
    )

    assert read_source(SourceKind.SECRET, entry).is_interim is expected
    assert b"owner" not in entry.raw
    assert b"certificate-name" not in entry.raw


def test_of_a_secret_neither_values_nor_keys_stay() -> None:
    entry = reduced(SourceKind.SECRET, secret(password=b"hunter2"))

    assert b"password" not in entry.raw
    assert b64encode(b"hunter2") not in entry.raw
    assert b"last-applied" not in entry.raw


def test_a_secret_need_not_be_text() -> None:
    """Scenario 44: the bytes 0xff 0x00."""
    entry = reduced(SourceKind.SECRET, secret(k=b"\xff\x00"))

    source = read_source(SourceKind.SECRET, entry)

    assert source.digest == secret_digest({"k": b"\xff\x00"})


@pytest.mark.parametrize("kind", [SourceKind.CONFIG_MAP, SourceKind.SECRET])
@pytest.mark.parametrize("fields", [{}, {"data": None, "binaryData": None}])
def test_without_content_there_is_the_hash_of_nothing(
    kind: SourceKind, fields: dict[str, None]
) -> None:
    source = read_source(kind, reduced(kind, config_map(**fields)))

    assert source.digest == secret_digest({})


def test_an_object_without_annotations_has_none() -> None:
    raw = b'{"metadata":{"name":"app","namespace":"shop"},"data":{}}'

    assert reduced(SourceKind.CONFIG_MAP, raw).meta.annotations == {}


def test_an_unreadable_secret_is_an_error_that_does_not_repeat_it() -> None:
    raw = config_map(data={"password": "hunter2 is no base64"})

    with pytest.raises(DecodeError) as caught:
        reducer(SourceKind.SECRET, ())(raw)

    assert "hunter2" not in str(caught.value)


def test_a_secret_takes_a_few_hundred_bytes_whatever_it_holds() -> None:
    entry = reduced(SourceKind.SECRET, secret(blob=b"x" * 100_000))

    assert len(entry.raw) < 400


def test_a_config_map_and_a_secret_of_one_name_are_two_sources() -> None:
    of_map = SourceKey(SourceKind.CONFIG_MAP, "shop", "x")
    of_secret = SourceKey(SourceKind.SECRET, "shop", "x")

    assert of_map != of_secret
    assert of_map.recorded == "cm/x"
    assert of_secret.recorded == "secret/x"


def version(text: str, **annotations: str) -> RawObject:
    metadata = {"name": "app", "namespace": "shop", "annotations": annotations}
    raw = json.dumps({"metadata": metadata, "data": {"k": text}}).encode()
    return reduced(SourceKind.CONFIG_MAP, raw)


def test_new_content_is_news() -> None:
    assert is_news(SourceKind.CONFIG_MAP, Updated(version("old"), version("new")))


def test_our_annotation_is_news() -> None:
    tagged = version("same", **{MATCH: "true"})

    assert is_news(SourceKind.CONFIG_MAP, Updated(version("same"), tagged))


def test_other_metadata_is_no_news() -> None:
    """Scenario 17."""
    annotated = version("same", **{"example.com/touched": "yes"})

    assert not is_news(SourceKind.CONFIG_MAP, Updated(version("same"), annotated))


def test_a_source_that_comes_or_goes_is_news() -> None:
    entry = version("v")

    assert is_news(SourceKind.CONFIG_MAP, Created(entry))
    assert is_news(SourceKind.CONFIG_MAP, Created(entry, is_initial=True))
    assert is_news(SourceKind.CONFIG_MAP, Generic(entry))
    assert is_news(SourceKind.CONFIG_MAP, Deleted(entry))


@pytest.mark.parametrize("kind", SourceKind)
def test_a_key_is_read_back_from_the_record(kind: SourceKind) -> None:
    key = SourceKey(kind, "shop", "a.b")

    assert SourceKey.of_record(key.recorded, "shop") == key
    assert key.recorded_in("shop") == key.recorded


@pytest.mark.parametrize("kind", SourceKind)
def test_a_key_of_another_namespace_is_recorded_with_it(kind: SourceKind) -> None:
    key = SourceKey(kind, "ops", "a.b")

    assert key.recorded_in("shop") == f"{kind.abbreviation}/ops/a.b"
    assert key.recorded_in("ops") == key.recorded
    assert SourceKey.of_record(key.recorded_in("shop"), "shop") == key


@pytest.mark.parametrize(
    "text", ["", "cm", "cm/", "pod/a", "/a", "cm//a", "cm/a/", "cm/a/b/c"]
)
def test_what_is_no_key_of_a_record_is_none(text: str) -> None:
    assert SourceKey.of_record(text, "shop") is None


# --- SecretProviderClasses ---------------------------------------------------------

SPC = SourceKind.SECRET_PROVIDER_CLASS


def pod_status(*, version: str = "9", pod: str = "web-1", **objects: str) -> RawObject:
    body = {
        "metadata": {
            "name": f"{pod}-shop-vault",
            "namespace": "shop",
            "resourceVersion": version,
        },
        "status": {
            "podName": pod,
            "secretProviderClassName": "vault",
            "objects": [{"id": id_, "version": v} for id_, v in objects.items()],
        },
    }
    return reduced(SPC, json.dumps(body).encode())


def test_what_a_pod_has_of_a_class_is_a_source_of_the_class_name() -> None:
    entry = pod_status(password="v1")

    source = read_source(SPC, entry)

    assert source.key == source_key(SPC, entry) == SourceKey(SPC, "shop", "vault")
    text = b"SecretProviderClassName=vault;password=v1"
    assert source.digest.marker == sha1(text, usedforsecurity=False).hexdigest()


def test_pods_that_have_the_same_have_one_hash() -> None:
    one, other = (
        pod_status(pod="web-1", a="1", b="2"),
        pod_status(pod="x", b="2", a="1"),
    )

    assert read_source(SPC, one).digest == read_source(SPC, other).digest


def test_what_was_written_last_counts() -> None:
    old, new = pod_status(version="99", a="1"), pod_status(version="100", a="2")

    assert youngest([new, old]) is youngest([old, new]) is new
    assert youngest([]) is None


def test_a_pod_that_goes_is_no_news_and_one_that_has_something_else_is() -> None:
    old, new = pod_status(a="1"), pod_status(a="2")

    assert is_news(SPC, Updated(old, new))
    assert not is_news(SPC, Updated(old, pod_status(version="10", a="1")))
    assert not is_news(SPC, Deleted(old))
    assert is_news(SPC, Created(new))
