"""Finalizers: which run, what comes of it, and what a registry takes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from controller_runtime.client import Client
from controller_runtime.controller import is_panic, is_terminal
from controller_runtime.errors import (
    ConfigError,
    ControllerRuntimeError,
    TerminalError,
)
from controller_runtime.finalizer import (
    Finalizers,
    FinalizersError,
    Unfinished,
    add_finalizer,
    finalizers_of,
    has_finalizer,
    is_deleting,
    remove_finalizer,
)
from controller_runtime.meta import Json, ObjectMeta, PartialJson, RawObject, read_meta
from controller_runtime.scheme import Scheme
from controller_runtime.testing.apiserver import ApiServer
from controller_runtime.transport import HttpTransport

pytest.register_assert_rewrite(
    "conformance.ensuring", "conformance.finalizing", "conformance.kit"
)

from conformance.ensuring import ConfigMap  # noqa: E402 - after the registration
from conformance.finalizing import *  # noqa: E402, F403 - the tests
from conformance.finalizing import KEY, OTHER, Undo  # noqa: E402 - likewise


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with ApiServer() as server, HttpTransport(server.config()) as transport:
        yield Client(transport, scheme=Scheme())


@pytest.fixture
def namespace() -> str:
    return "shop"


def leaving(*keys: str) -> ConfigMap:
    metadata = ObjectMeta(
        name="web", deletion_timestamp="2030-01-01T00:00:00Z", finalizers=keys
    )
    return ConfigMap(metadata=metadata)


def plain(*keys: str) -> Json:
    return {"kind": "ConfigMap", "metadata": {"name": "web", "finalizers": list(keys)}}


def test_a_finalizer_is_added_and_removed_once() -> None:
    for it in (ConfigMap(metadata=ObjectMeta(name="web")), plain("a/x")):
        added = add_finalizer(it, KEY)
        removed = remove_finalizer(added, KEY)

        assert has_finalizer(added, KEY)
        assert not has_finalizer(it, KEY)
        assert add_finalizer(added, KEY) is added
        assert remove_finalizer(removed, KEY) is removed
        assert finalizers_of(removed) == finalizers_of(it)


def test_what_is_known_as_a_part_stays_known_as_one() -> None:
    assert isinstance(add_finalizer(PartialJson(plain()), KEY), PartialJson)
    part = ConfigMap(metadata=ObjectMeta(name="web")).mark_partial()
    assert add_finalizer(part, KEY).is_partial


def test_every_form_of_an_object_tells_its_finalizers_and_its_end() -> None:
    raw = b'{"metadata":{"name":"web","finalizers":["a/x"],"deletionTimestamp":"t"}}'

    assert finalizers_of(RawObject(read_meta(raw), raw)) == ("a/x",)
    assert is_deleting(RawObject(read_meta(raw), raw))
    assert finalizers_of({"metadata": {}}) == ()
    assert not is_deleting(plain("a/x"))
    assert is_deleting(leaving())


def test_a_key_is_registered_once() -> None:
    registry = Finalizers({KEY: Undo()})

    with pytest.raises(ConfigError, match="is registered already"):
        registry.register(KEY, Undo())


@pytest.mark.parametrize(
    "key", ["", "volume", "example.com/", "/volume", "Example.com/x", "a/b/c", "a/" * 9]
)
def test_a_key_has_a_domain_and_a_name(key: str) -> None:
    with pytest.raises(ConfigError, match="a domain, a slash and a name"):
        Finalizers({key: Undo()})


async def test_all_that_apply_run_in_order_and_errors_come_together() -> None:
    bad, worse, good = Undo(OSError("bad")), Undo(KeyError("worse")), Undo()
    registry = Finalizers({KEY: bad, "a/worse": worse, OTHER: good, "a/none": Undo()})

    outcome = await registry.finalize(leaving(KEY, "a/worse", OTHER, "x/foreign"))

    assert [type(error) for error in outcome.errors] == [OSError, KeyError]
    assert outcome.errors[0].__notes__ == ["raised by finalizer 'example.com/volume'"]
    assert finalizers_of(outcome.obj) == (KEY, "a/worse", "x/foreign")
    assert (outcome.updated, outcome.status_updated) == (True, False)
    assert good.seen == ["web"]


async def test_what_was_told_of_the_unfinished_is_kept() -> None:
    async def busy(obj: Json) -> Unfinished[Json]:
        return Unfinished(obj=obj | {"status": "busy"}, after=timedelta(seconds=9))

    async def slow(obj: Json) -> Unfinished[Json]:
        assert obj["status"] == "busy"
        return Unfinished(after=timedelta(seconds=5))

    it = plain(KEY, OTHER)
    it["metadata"]["deletionTimestamp"] = "2030-01-01T00:00:00Z"

    outcome = await Finalizers({KEY: busy, OTHER: slow}).finalize(it)

    assert outcome.obj["status"] == "busy"
    assert (outcome.updated, outcome.status_updated) == (False, True)
    assert outcome.after == timedelta(seconds=5)
    assert finalizers_of(outcome.obj) == (KEY, OTHER)


async def test_an_object_on_its_way_out_gets_no_finalizer() -> None:
    outcome = await Finalizers({KEY: Undo()}).finalize(leaving("x/foreign"))

    assert finalizers_of(outcome.obj) == ("x/foreign",)
    assert not outcome.updated


async def test_the_error_is_what_its_parts_are(client: Client) -> None:
    def failing(*errors: Exception) -> Finalizers[ConfigMap]:
        return Finalizers({f"a/x{n}": Undo(e) for n, e in enumerate(errors)})

    async def error_of(*errors: Exception) -> FinalizersError:
        it = leaving(*(f"a/x{n}" for n in range(len(errors))))
        with pytest.raises(FinalizersError, match="finalizers of ConfigMap web") as got:
            await failing(*errors).apply(client, it)
        return got.value

    assert isinstance(await error_of(OSError()), ControllerRuntimeError)
    assert not is_panic(await error_of(OSError(), TerminalError()))
    assert is_panic(await error_of(OSError(), KeyError()))
    assert is_terminal(await error_of(TerminalError(), TerminalError()))
    assert not is_terminal(await error_of(OSError(), TerminalError()))
