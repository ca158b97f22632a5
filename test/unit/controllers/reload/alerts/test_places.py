"""Places for messages that are on their way."""

from __future__ import annotations

import asyncio

from controllers.reload.alerts.places import PlaceOptions, Places

FEW = PlaceOptions(server=1, namespace=2, in_trouble=3, all=4)


class Room:
    """Places, and who has one."""

    def __init__(self) -> None:
        self.places = Places(FEW)
        self.inside: set[str] = set()

    async def stay(
        self, who: str, server: str, namespace: str, in_trouble: bool
    ) -> None:
        async with self.places.place(server, namespace, in_trouble=in_trouble):
            self.inside.add(who)
            await asyncio.sleep(10)
        self.inside.discard(who)


async def found(*guests: tuple[str, str, bool]) -> list[str]:
    """Return who of some guests has a place: server, namespace, in trouble."""
    room = Room()
    async with asyncio.TaskGroup() as tasks:
        for number, (server, namespace, in_trouble) in enumerate(guests):
            tasks.create_task(room.stay(str(number), server, namespace, in_trouble))
        await asyncio.sleep(1)
        inside = sorted(room.inside)
    assert not room.inside
    assert len(room.places) == 0
    return inside


async def test_a_server_has_its_own() -> None:
    assert await found(("a", "x", False), ("a", "y", False), ("b", "z", False)) == [
        *("0", "2")
    ]


async def test_a_namespace_has_its_own() -> None:
    guests = [(server, "x", False) for server in "abc"]

    assert await found(*guests, ("d", "y", False)) == ["0", "1", "3"]


async def test_sinks_in_trouble_have_a_part() -> None:
    guests = [(server, server, True) for server in "abcd"]

    assert await found(*guests, ("e", "e", False)) == ["0", "1", "2", "4"]


async def test_all_have_so_many() -> None:
    guests = [(server, server, False) for server in "abcde"]

    assert await found(*guests) == ["0", "1", "2", "3"]


async def test_who_is_cancelled_while_waiting_leaves_nothing_behind() -> None:
    room = Room()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(room.stay("0", "a", "x", False))
        waiting = tasks.create_task(room.stay("1", "a", "x", False))
        await asyncio.sleep(1)
        waiting.cancel()

    assert len(room.places) == 0
