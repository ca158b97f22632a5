"""Which option decides what is kept of a kind in a namespace, and what comes of it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import fields

import pytest

from controller_runtime.cache import Cache
from controller_runtime.cachedclient import CachedClient
from controller_runtime.cacheoptions import (
    CacheOptions,
    KindOptions,
    NamespaceOptions,
    keep_whole,
)
from controller_runtime.discovery import Discovery
from controller_runtime.errors import (
    BadRequestError,
    ConfigError,
    NotCachedError,
    NotFoundError,
)
from controller_runtime.informer import Informer
from controller_runtime.meta import GroupVersionKind, Json, NamespacedName
from controller_runtime.reflector import ReflectorOptions
from controller_runtime.scheme import Scheme
from controller_runtime.testing.apiserver import ApiServer
from controller_runtime.transport import HttpTransport
from controller_runtime.watch import WatchOptions
from controller_runtime.wire import strip_managed_fields

CONFIG_MAP = GroupVersionKind("", "v1", "ConfigMap")
NAMESPACE = GroupVersionKind("", "v1", "Namespace")

KIND_NS, KIND, DEFAULT_NS, DEFAULT = "kind-ns", "kind", "default-ns", "default"


def options(
    *,
    kind_ns: str | None = None,
    kind: str | None = None,
    default_ns: str | None = None,
    default: str = "",
    namespaces: Mapping[str, NamespaceOptions] | None = None,
) -> CacheOptions:
    """Return options that select by labels in each of these places."""
    if kind_ns is not None:
        namespaces = {"n": NamespaceOptions(label_selector=kind_ns)}
    own = KindOptions(label_selector=kind, namespaces=namespaces)
    usual = None
    if default_ns is not None:
        usual = {"n": NamespaceOptions(label_selector=default_ns)}
    return CacheOptions(
        by_object={CONFIG_MAP: own},
        default_namespaces=usual,
        default=ReflectorOptions(label_selector=default),
    )


INHERITS: Mapping[str, NamespaceOptions] = {"n": NamespaceOptions()}


@pytest.mark.behaviour("K7")
@pytest.mark.parametrize(
    ("given", "selected"),
    [
        # all four say something: one after the other falls silent
        (options(kind_ns=KIND_NS, kind=KIND, default_ns=DEFAULT_NS), {"n": KIND_NS}),
        (
            options(kind=KIND, default_ns=DEFAULT_NS, namespaces=INHERITS),
            {"n": KIND},
        ),
        (options(default_ns=DEFAULT_NS, namespaces=INHERITS), {"n": DEFAULT_NS}),
        (options(default=DEFAULT, namespaces=INHERITS), {"n": DEFAULT}),
        # the namespaces themselves are inherited
        (options(default_ns=DEFAULT_NS), {"n": DEFAULT_NS}),
        (options(kind=KIND, default_ns=DEFAULT_NS), {"n": KIND}),
        (options(default_ns=DEFAULT_NS, default=DEFAULT), {"n": DEFAULT_NS}),
        # or they are all, because that was said
        (options(default_ns=DEFAULT_NS, namespaces={}), {"": ""}),
        (options(default_ns=DEFAULT_NS, namespaces={}, default=DEFAULT), {"": DEFAULT}),
        (options(kind=KIND, default_ns=DEFAULT_NS, namespaces={}), {"": KIND}),
        # no namespaces anywhere
        (options(default=DEFAULT), {"": DEFAULT}),
        (options(kind=KIND, default=DEFAULT), {"": KIND}),
        (options(), {"": ""}),
        # empty is not None: all objects, whatever the rest says
        (options(kind="", default=DEFAULT), {"": ""}),
        (options(kind_ns="", kind=KIND, default_ns=DEFAULT_NS), {"n": ""}),
        (options(kind="", default_ns=DEFAULT_NS, namespaces=INHERITS), {"n": ""}),
        (options(default_ns="", default=DEFAULT), {"n": ""}),
        (options(default_ns="", default=DEFAULT, namespaces=INHERITS), {"n": ""}),
        # another namespace than the default ones inherits from the kind and the rest
        (
            options(
                default_ns=DEFAULT_NS,
                default=DEFAULT,
                namespaces={"other": NamespaceOptions()},
            ),
            {"other": DEFAULT},
        ),
    ],
)
def test_the_nearest_option_that_says_something_decides(
    given: CacheOptions, selected: Mapping[str, str]
) -> None:
    parts = given.of(CONFIG_MAP).parts

    assert {ns: part.label_selector for ns, part in parts.items()} == selected


def test_a_kind_of_which_nothing_is_said_has_the_default_namespaces() -> None:
    given = CacheOptions(
        default_namespaces={
            "a": NamespaceOptions(field_selector="x=y"),
            "b": NamespaceOptions(),
        },
        default=ReflectorOptions(label_selector="app", sync_period=60),
    )

    chosen = given.of(CONFIG_MAP)

    assert chosen.parts == {
        "a": ReflectorOptions(
            namespace="a", label_selector="app", field_selector="x=y", sync_period=60
        ),
        "b": ReflectorOptions(namespace="b", label_selector="app", sync_period=60),
    }
    assert chosen.everywhere == given.default


def test_every_setting_is_inherited() -> None:
    said = NamespaceOptions(
        label_selector="a",
        field_selector="b=c",
        transform=strip_managed_fields,
        is_partial=True,
        sync_period=7,
        watch=WatchOptions(backoff=9),
    )
    assert None not in [getattr(said, field.name) for field in fields(said)]

    given = CacheOptions(
        by_object={CONFIG_MAP: KindOptions(namespaces={"n": NamespaceOptions()})},
        default_namespaces={"n": said},
    )

    (part,) = given.of(CONFIG_MAP).parts.values()
    assert {f.name: getattr(part, f.name) for f in fields(said)} == {
        f.name: getattr(said, f.name) for f in fields(said)
    }


def test_an_inherited_transform_can_be_undone() -> None:
    given = CacheOptions(
        by_object={CONFIG_MAP: KindOptions(transform=keep_whole)},
        default=ReflectorOptions(transform=lambda raw: raw[:0], is_partial=True),
    )

    assert keep_whole(b"x") == b"x"
    assert given.of(CONFIG_MAP).transform is None
    assert not given.of(CONFIG_MAP).keeps_less
    assert given.of(NAMESPACE).keeps_less


def test_the_options_of_a_kind_may_stand_in_whole() -> None:
    whole = ReflectorOptions(label_selector="x")
    given = CacheOptions(
        by_object={CONFIG_MAP: whole}, default_namespaces={"n": NamespaceOptions()}
    )

    assert given.of(CONFIG_MAP) is whole


def test_metadata_only_is_said_of_a_kind() -> None:
    given = CacheOptions(
        by_object={CONFIG_MAP: KindOptions(metadata_only=True, namespaces=INHERITS)}
    )

    assert [part.metadata_only for part in given.of(CONFIG_MAP).parts.values()] == [
        True
    ]
    with pytest.raises(ConfigError, match="metadata only"):
        ReflectorOptions(
            namespaces=("a", ReflectorOptions(namespace="b", metadata_only=True))
        )


def test_namespaces_are_said_in_one_place() -> None:
    with pytest.raises(ConfigError, match="default_namespaces"):
        CacheOptions(
            default_namespaces={"a": NamespaceOptions()},
            default=ReflectorOptions(namespaces=("b",)),
        )
    with pytest.raises(ConfigError, match="twice"):
        ReflectorOptions(namespaces=("a", ReflectorOptions(namespace="a")))


def test_all_namespaces_beside_some_are_all_others() -> None:
    given = CacheOptions(
        by_object={
            CONFIG_MAP: KindOptions(
                field_selector="metadata.name=x",
                namespaces={
                    "b": NamespaceOptions(field_selector=""),
                    "": NamespaceOptions(),
                    "a": NamespaceOptions(),
                },
            )
        },
        default_namespaces={"": NamespaceOptions(), "c": NamespaceOptions()},
    )

    kind, rest = given.of(CONFIG_MAP).parts, given.of(NAMESPACE).parts

    assert {place: part.field_selector for place, part in kind.items()} == {
        "": "metadata.namespace!=a,metadata.namespace!=b,metadata.name=x",
        "a": "metadata.name=x",
        "b": "",
    }
    assert rest[""].field_selector == "metadata.namespace!=c"


class World:
    """A server, and a cache of it with options."""

    def __init__(
        self, server: ApiServer, transport: HttpTransport, given: CacheOptions
    ) -> None:
        self.server = server
        discovery = Discovery(transport)
        self.cache = Cache(
            transport,
            discovery,
            options=given,
            randomness=random.Random(1),  # noqa: S311 - jitter
        )
        self.client = CachedClient(
            self.cache, transport, scheme=Scheme(), discovery=discovery
        )

    def put(self, name: str, namespace: str, **labels: str) -> Json:
        metadata = {"name": name, "namespace": namespace, "labels": labels}
        object_ = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}
        return self.server.create({**object_, "data": {"a": "b"}})

    @asynccontextmanager
    async def keeping(self, gvk: GroupVersionKind) -> AsyncIterator[Informer]:
        informer = self.cache.declare(gvk)
        async with asyncio.TaskGroup() as tasks:
            task = tasks.create_task(self.cache.run())
            try:
                await asyncio.sleep(0)
                yield informer
            finally:
                task.cancel()


@asynccontextmanager
async def serving(given: CacheOptions) -> AsyncIterator[World]:
    async with ApiServer() as server, HttpTransport(server.config()) as transport:
        yield World(server, transport, given)


def names(informer: Informer, namespace: str = "") -> list[str]:
    return sorted(str(entry.key) for entry in informer.list(namespace))


@pytest.mark.behaviour("K7")
async def test_each_namespace_is_kept_as_its_options_say_and_none_twice() -> None:
    of_n = {
        "n": NamespaceOptions(label_selector="team=red"),
        "": NamespaceOptions(label_selector="team=blue"),
    }
    given = CacheOptions(by_object={CONFIG_MAP: KindOptions(namespaces=of_n)})
    async with serving(given) as world:
        for namespace in ("n", "m"):
            for team in ("red", "blue"):
                world.put(team, namespace, team=team)

        async with world.keeping(CONFIG_MAP) as informer:
            await informer.synced()
            world.put("blue2", "n", team="blue")
            world.put("blue2", "m", team="blue")
            await asyncio.sleep(1)

            assert names(informer) == ["m/blue", "m/blue2", "n/red"]
            assert names(informer, "n") == ["n/red"]
            assert informer.get(NamespacedName("m", "blue")) is not None
            assert informer.get(NamespacedName("n", "blue")) is None
            with pytest.raises(NotFoundError):
                await world.client.get(CONFIG_MAP, "blue", "n")
            listed = await world.client.list(CONFIG_MAP)

    assert len(listed.items) == 3


@pytest.mark.behaviour("K8")
async def test_only_what_a_namespace_keeps_in_part_cannot_be_written_whole() -> None:
    less = NamespaceOptions(transform=lambda raw: raw.replace(b'"data"', b'"kept"'))
    given = CacheOptions(default_namespaces={"n": less, "m": NamespaceOptions()})
    async with serving(given) as world:
        world.put("a", "n")
        world.put("a", "m")
        async with world.keeping(CONFIG_MAP):
            await world.cache.synced()
            whole = await world.client.get(CONFIG_MAP, "a", "m")
            part = await world.client.get(CONFIG_MAP, "a", "n")

            await world.client.update(whole)
            with pytest.raises(BadRequestError, match="patch or apply"):
                await world.client.update(part)


@pytest.mark.behaviour("K7")
async def test_a_kind_without_namespaces_is_kept_as_if_none_were_named() -> None:
    given = CacheOptions(
        default_namespaces={
            "a": NamespaceOptions(label_selector="none=such"),
            "": NamespaceOptions(label_selector="none=such"),
        },
        default=ReflectorOptions(label_selector="team"),
    )
    async with serving(given) as world:
        for name, labels in (("x", {"team": "red"}), ("y", {})):
            metadata = {"name": name, "labels": labels}
            world.server.create(
                {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}
            )
        async with world.keeping(NAMESPACE) as informer:
            await informer.synced()
            assert names(informer) == ["x"]
            assert names(informer, "b") == ["x"]
            await asyncio.sleep(1)
            assert world.server.watch_count == 1


@pytest.mark.behaviour("K7")
async def test_namespaces_of_a_kind_that_has_none_are_a_mistake() -> None:
    for namespaces in ({"a": NamespaceOptions()}, {}):
        own = KindOptions(namespaces=namespaces)
        async with (
            serving(CacheOptions(by_object={NAMESPACE: own})) as world,
            world.keeping(NAMESPACE) as informer,
        ):
            with pytest.raises(ConfigError, match=r"Namespace .* is in no namespace"):
                await informer.synced()
            with pytest.raises(ConfigError, match="is in no namespace"):
                await world.client.list(NAMESPACE)
            assert isinstance(informer.failure, ConfigError)
            assert not world.server.requests.of(resource="namespaces")


@pytest.mark.behaviour("K7")
async def test_a_server_that_is_away_says_later_whether_a_kind_has_namespaces() -> None:
    given = CacheOptions(default_namespaces={"n": NamespaceOptions()})
    async with serving(given) as world:
        await world.server.stop()
        async with world.keeping(CONFIG_MAP) as informer:
            await asyncio.sleep(60)
            assert not informer.is_synced
            await world.server.start()
            world.put("a", "n")
            await informer.synced()
            assert names(informer) == ["n/a"]
            with pytest.raises(NotCachedError, match="watches n"):
                informer.list("m")


async def test_each_namespace_resyncs_in_its_own_time() -> None:
    given = CacheOptions(
        default_namespaces={
            "often": NamespaceOptions(sync_period=10),
            "never": NamespaceOptions(sync_period=float("inf")),
        }
    )
    told: list[str] = []
    async with serving(given) as world:
        world.put("a", "often")
        world.put("a", "never")
        async with world.keeping(CONFIG_MAP) as informer:
            await informer.synced()
            informer.subscribe(
                lambda events: told.extend(str(e.object.key) for e in events)
            )
            await asyncio.sleep(1)
            told.clear()
            await asyncio.sleep(30)

    assert set(told) == {"often/a"}
    assert len(told) >= 2
