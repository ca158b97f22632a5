"""What a manager is doing right now, as JSON under `/debug`.

    controllers, cache, tasks ─▶ functions of this module ─▶ JSON ─▶ httpserver

One thread runs everything, so that an answer is one consistent moment. It names keys,
causes, functions and resource versions. It never has the content of an object, a local
value or a repr of one; of an error it has the class, and the text unless it is a
bug's, which might quote what it could not handle: that is for the log.

The address is the loopback's by default: keys are names of objects, which not
everybody on a network needs to know.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import asdict
from types import CodeType, FrameType
from typing import Any, TypeAlias

import msgspec

from controller_runtime.cache import Cache, StoreReport
from controller_runtime.controller import Controller
from controller_runtime.httpmessage import Query, Reply
from controller_runtime.meta import NamespacedName
from controller_runtime.workqueue import KeyState, Place

Json: TypeAlias = dict[str, Any]
Controllers: TypeAlias = Sequence[Controller[Any]]

_KEYS_SHOWN = 100
"""Keys of one place in one queue, unless `?limit=` says otherwise."""

_KEYS_MOST = 10_000
"""Keys of one place, whatever `?limit=` says: the loop stands still meanwhile."""

_ERROR_SHOWN = 1000
"""Characters of the text of an error."""

_FRAMES_SHOWN = 50
"""Coroutines that wait for each other, outermost first."""


class Inspector:
    """Answers questions about the controllers and the cache of one manager."""

    def __init__(self, controllers: Controllers, cache: Cache) -> None:
        """Look at these from now on; both may still grow."""
        self._controllers = controllers
        self._cache = cache
        self._pages: Mapping[str, Callable[[Query], object]] = {
            "": lambda _: index(self._controllers),
            "controllers": lambda _: [about_controller(c) for c in self._controllers],
            "queues": self._queues,
            "caches": lambda _: [about_store(s) for s in self._cache.report()],
            "tasks": lambda _: about_tasks(asyncio.all_tasks()),
        }

    async def answer(self, path: str, query: Query) -> Reply:
        """Answer `/debug` and what is below it; a route of an `HttpServer`."""
        page = self._pages.get(path)
        if page is not None:
            return _reply(page(query))
        return self._key(path) or _reply({"error": f"/debug/{path} is no page"}, 404)

    def _queues(self, query: Query) -> object:
        asked = (query.get("limit") or [""])[-1]
        limit = min(int(asked[:9]), _KEYS_MOST) if asked.isdecimal() else _KEYS_SHOWN
        return [about_queue(c, limit=limit) for c in self._controllers]

    def _key(self, path: str) -> Reply | None:
        what, _, rest = path.partition("/")
        name, _, key = rest.partition("/")
        if what != "keys" or not key:
            return None
        for controller in self._controllers:
            if controller.name == name:
                found = about_key(controller, key)
                return _reply(found, 200 if found["places"] or found["error"] else 404)
        return _reply({"error": f"there is no controller {name}"}, 404)


def index(controllers: Controllers) -> Json:
    """List the pages, and what they are about."""
    return {
        "/debug/controllers": "how many keys each controller works on, has, and fails",
        "/debug/queues": "the keys themselves, and why they are there; ?limit=100",
        "/debug/caches": "objects, bytes and resource version of each kind",
        "/debug/tasks": "every task, and what it waits in",
    } | {
        f"/debug/keys/{c.name}/KEY": "one key: where it is, why, and its last error"
        for c in controllers
    }


def about_controller(controller: Controller[Any]) -> Json:
    """Sum a controller up."""
    return {
        "name": controller.name,
        "kind": str(controller.kind) if controller.kind is not None else None,
        "workers": controller.options.max_concurrent_reconciles,
        "waits_for": list(controller.unsynced),
        **_counts(controller),
        "failing": len(controller.last_errors),
    }


def about_queue(controller: Controller[Any], *, limit: int = _KEYS_SHOWN) -> Json:
    """List the keys of a controller: at most `limit` in each place, the next first."""
    states = controller.queue.snapshot(limit=limit)
    places = {
        place.value: [about_state(s) for s in states if s.place is place]
        for place in Place
    }
    return {"controller": controller.name, "counts": _counts(controller), **places}


def about_key(controller: Controller[Any], text: str) -> Json:
    """Tell all that is known of one key, which is named as `key_text` does.

    Nothing is known of a key that was reconciled without an error and is not queued.
    """
    states = controller.queue.snapshot(where=lambda key: key_text(key) == text)
    errors, tasks = controller.last_errors, controller.in_flight
    stack = [await_stack(t) for key, t in tasks.items() if key_text(key) == text]
    error = [e[:_ERROR_SHOWN] for key, e in errors.items() if key_text(key) == text]
    return {
        "controller": controller.name,
        "key": text,
        "places": [about_state(s) for s in states],
        "error": error[0] if error else None,
        "stack": stack[0] if stack else None,
    }


def about_state(state: KeyState[Any]) -> Json:
    """Tell where a key is, for how long, and why."""
    seconds = "eta_seconds" if state.place is Place.WAITING else "seconds"
    return {
        "key": key_text(state.key),
        "place": state.place.value,
        seconds: round(state.seconds, 3),
        "priority": state.priority,
        "failures": state.failures,
        "causes": list(state.causes),
    }


def about_store(store: StoreReport) -> Json:
    """Tell how much a store holds of a kind, and up to which version."""
    failure = store.failure and store.failure[:_ERROR_SHOWN]
    return {**asdict(store), "failure": failure}


def about_tasks(tasks: Iterable[asyncio.Task[Any]]) -> list[Json]:
    """List tasks by name, each with the functions that it waits in."""
    found = [{"name": t.get_name(), "stack": await_stack(t)} for t in tasks]
    return sorted(found, key=lambda task: str(task["name"]))


def await_stack(task: asyncio.Task[Any]) -> list[str]:
    """Name what a task waits in: coroutines, the outermost first.

    `Task.get_stack` ends at the first of them, so that the chain is followed here.
    """
    names: list[str] = []
    step: object = task.get_coro()
    while step is not None and len(names) < _FRAMES_SHOWN:
        code, frame, step = _await(step)
        if code is None:
            break
        line = frame.f_lineno if frame is not None else code.co_firstlineno
        names.append(f"{code.co_qualname} ({code.co_filename}:{line})")
    return names


def key_text(key: Hashable) -> str:
    """Write a key as a path does: the parts of a tuple with slashes between them."""
    if isinstance(key, tuple) and not isinstance(key, NamespacedName):
        return "/".join(map(str, key))
    return str(key)


def _await(step: Any) -> tuple[CodeType | None, FrameType | None, object]:
    for prefix, awaited in (
        ("cr", "cr_await"),
        ("gi", "gi_yieldfrom"),
        ("ag", "ag_await"),
    ):
        code = getattr(step, f"{prefix}_code", None)
        if code is not None:
            return code, getattr(step, f"{prefix}_frame"), getattr(step, awaited)
    return None, None, None


def _counts(controller: Controller[Any]) -> Json:
    return {place.value: n for place, n in controller.queue.counts().items()}


def _reply(content: object, status: int = 200) -> Reply:
    body = msgspec.json.format(msgspec.json.encode(content), indent=2)
    return Reply(body + b"\n", status, "application/json")
