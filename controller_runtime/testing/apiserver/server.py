"""The HTTP side of the API server: sockets, answers, streams, faults.

One handler takes every request through the same steps: note it, let a fault have
it, check who asks, find out what is asked (`requests`, `bodies`), do it (`registry`,
`listing`, `watching`), write the answer. What is refused on the way is a
`StatusError`, and becomes a `Status`.

What happens between reading a body and answering is synchronous, hence atomic.
"""

from __future__ import annotations

import asyncio
import random as random_module
from collections.abc import Iterable, Mapping
from dataclasses import replace
from types import TracebackType
from typing import Self

from aiohttp import web

from controller_runtime.clock import Clock, SystemClock
from controller_runtime.credentials import StaticCredentials
from controller_runtime.meta import GroupVersionKind, Json
from controller_runtime.restconfig import RestConfig
from controller_runtime.testing.apiserver import (
    answers,
    bodies,
    discovery,
    partial,
    patching,
    status,
)
from controller_runtime.testing.apiserver.builtin import BUILT_IN
from controller_runtime.testing.apiserver.faults import (
    Effect,
    Fault,
    Faults,
    Recorded,
    Requests,
)
from controller_runtime.testing.apiserver.listing import (
    ListOptions,
    list_objects,
    revision_of,
)
from controller_runtime.testing.apiserver.registry import Registry, WriteOptions
from controller_runtime.testing.apiserver.requests import Catalogue, Target, verb_of
from controller_runtime.testing.apiserver.resources import Resource
from controller_runtime.testing.apiserver.rules import Place
from controller_runtime.testing.apiserver.status import StatusError
from controller_runtime.testing.apiserver.storage import Storage
from controller_runtime.testing.apiserver.watching import Timing, Watch

_IDLE_SECONDS = 90.0
"""How long an idle connection is kept, as kube-apiserver does."""

_CLOSING_SECONDS = 0.1
"""What `stop` leaves handlers whose connection it has just broken."""

_NAMESPACES = ("default", "kube-system")
"""What is there from the start where namespaces have to exist."""


class ApiServer:
    """A kube-apiserver to test against.

    Args:
        resources: What it serves at first; `register` adds to it.
        clock: Where creation and deletion times come from.
        random: Where uids and generated names come from; one fixed seed by default.
        require_namespaces: Refuse new objects in namespaces that do not exist.
        watch_list: Take `sendInitialEvents`, as servers do by default since 1.34.
        timing: When watches speak and end.
        tokens: Bearer tokens that are let in; empty lets in anyone. The set may be
            changed while the server runs.
    """

    def __init__(
        self,
        *,
        resources: Iterable[Resource] = BUILT_IN,
        clock: Clock | None = None,
        random: random_module.Random | None = None,
        require_namespaces: bool = False,
        watch_list: bool = True,
        timing: Timing | None = None,
        tokens: Iterable[str] = (),
    ) -> None:
        self.storage = Storage()
        self.faults = Faults()
        self.requests = Requests()
        self.tokens = set(tokens)
        self.port = 0
        """Where it listens; the same from the first start on."""
        self._catalogue = Catalogue(resources)
        self._registry = Registry(
            self.storage,
            clock=clock or SystemClock(),
            random=random or random_module.Random(0),  # noqa: S311 - names, not secrets
            require_namespaces=require_namespaces,
        )
        self._watch_list = watch_list
        self._timing = timing or Timing()
        self._watches: set[Watch] = set()
        self._runner: web.ServerRunner | None = None
        for name in _NAMESPACES if require_namespaces else ():
            metadata = {"name": name}
            namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}
            self.create(namespace)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen; again on the same port after `stop`, with all objects still there."""
        server = web.Server(
            self._handle,
            handler_cancellation=True,
            keepalive_timeout=_IDLE_SECONDS,
            access_log=None,
        )
        runner = web.ServerRunner(server, shutdown_timeout=_CLOSING_SECONDS)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", self.port, reuse_address=True).start()
        self.port = runner.addresses[0][1]
        self._runner = runner

    async def stop(self) -> None:
        """Go away as in an outage: connections break, new ones are refused."""
        self.disconnect()
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    def disconnect(self) -> None:
        """Break every connection of a client, without a goodbye."""
        if self._runner is None or self._runner.server is None:
            return
        for connection in self._runner.server.connections:
            if connection.transport is not None:
                connection.transport.abort()

    def config(self, *, token: str = "") -> RestConfig:
        """Return how a client reaches it, with a token if there is one to send."""
        return RestConfig(
            server=f"http://127.0.0.1:{self.port}",
            credentials=StaticCredentials.bearer(token) if token else None,
            source="the in-process API server",
        )

    def register(self, *resources: Resource) -> None:
        """Serve more kinds, as a CRD does once it is established."""
        for resource in resources:
            self._catalogue.add(resource)

    def unregister(self, resource: Resource) -> None:
        """Stop serving a kind, as deleting its CRD does: its objects go with it."""
        for key, _ in self.storage.items(resource.collection):
            self.storage.delete(key)
        self._catalogue.remove(resource)

    def create(self, object_: Mapping[str, object]) -> Json:
        """Make an object without HTTP, to start a test with; its status is kept.

        Raises:
            StatusError: The server would refuse it.
        """
        body = dict(object_)
        gvk = GroupVersionKind.parse(str(body["apiVersion"]), str(body["kind"]))
        resource = self._catalogue.of_kind(gvk)
        metadata = body.get("metadata")
        namespace = metadata.get("namespace", "") if isinstance(metadata, dict) else ""
        place = Place(resource, namespace or ("default" if resource.namespaced else ""))
        made = self._registry.create(place, body, WriteOptions(manager="test"))
        if not (resource.has_status and body.get("status")):
            return made
        place = place._replace(name=made["metadata"]["name"], subresource="status")
        with_status = {**made, "status": body["status"]}
        options = WriteOptions(manager="test")
        return self._registry.update(place, lambda _: with_status, options)

    def read(self, gvk: GroupVersionKind, name: str, namespace: str = "") -> Json:
        """Return an object without HTTP; it is shared and must not be changed.

        Raises:
            StatusError: 404, it is not there.
        """
        return self._registry.get(Place(self._catalogue.of_kind(gvk), namespace, name))

    def compact(self, revision: int | None = None) -> None:
        """Forget history up to `revision`, all by default: older watches get 410."""
        self.storage.compact(revision)

    def disconnect_watches(self) -> None:
        """End every watch now, cleanly, as a server does that shuts down."""
        for watch in list(self._watches):
            watch.stop()

    @property
    def watch_count(self) -> int:
        """How many watches are open."""
        return len(self._watches)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        try:
            return await self._serve(request)
        except StatusError as error:
            return answers.refusal(error)

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        target, verb, problem = self._understand(request)
        record = _record(request, target, verb)
        self.requests.append(record)
        fault = await self._suffer(record, request)
        self._authenticate(request)
        if problem is not None:
            raise problem
        if target is None or target.resource is None:
            return self._discover(request)
        place = Place(
            target.resource, target.namespace, target.name, target.subresource
        )
        if verb == "watch":
            return await self._watch(request, record, place, fault)
        body = await answers.read_body(request)
        code, answer = self._do(request, verb, place, body)
        if verb in {"get", "list"} and partial.is_wanted(_accept(request)):
            answer = partial.of_answer(answer)
        response = answers.json_answer(code, answer)
        for text in self.faults.warnings(record):
            response.headers.add("Warning", f'299 - "{text}"')
        if fault is None:
            return response
        fault.served += 1
        return answers.spoilt(request, fault)

    def _understand(
        self, request: web.BaseRequest
    ) -> tuple[Target | None, str, StatusError | None]:
        """Find out what is asked; a refusal waits until it is known who asks."""
        target = None
        try:
            target = self._catalogue.target(request.path)
            if target is None:
                return None, "", None
            verb = verb_of(request.method, target, request.query)
        except StatusError as error:
            return target, "", error
        return target, verb if target.resource is not None else "", None

    async def _suffer(self, record: Recorded, request: web.BaseRequest) -> Fault | None:
        """Let the faults strike; return one that only spoils the answer."""
        if seconds := self.faults.seconds(Effect.DELAY, record):
            await asyncio.sleep(seconds)
        fault = self.faults.strike(record)
        if fault is None:
            return None
        stalls = fault.effect is Effect.STALL and record.verb != "watch"
        if fault.effect is Effect.HANG or stalls:
            await asyncio.Event().wait()
        if fault.effect is Effect.ANSWER:
            raise status.generic(
                fault.status,
                fault.message,
                reason=fault.reason,
                retry_after=fault.retry_after,
            )
        if fault.effect is Effect.CUT and not fault.handled and record.verb != "watch":
            answers.cut(request)
            raise asyncio.CancelledError
        return fault

    def _authenticate(self, request: web.BaseRequest) -> None:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if self.tokens and (scheme != "Bearer" or token not in self.tokens):
            raise status.unauthorized()

    def _discover(self, request: web.BaseRequest) -> web.StreamResponse:
        path = request.path.rstrip("/")
        if path in {"/healthz", "/livez", "/readyz"}:
            return web.Response(text="ok")
        answer = discovery.aggregated(self._catalogue, path, _accept(request))
        if answer is None:
            answer = discovery.answer(self._catalogue, path)
        if answer is None:
            return web.Response(status=404, text="404 page not found\n")
        return answers.json_answer(200, answer)

    def _do(
        self, request: web.BaseRequest, verb: str, place: Place, body: bytes
    ) -> tuple[int, Json]:
        """Carry out what is neither a watch nor discovery; return code and answer."""
        query, content_type = request.query, request.headers.get("Content-Type", "")
        match verb:
            case "get":
                self._check_fresh(query)
                return 200, self._registry.get(place)
            case "list":
                return 200, self._list(place, query)
            case "create":
                object_ = bodies.read_object(place.resource, content_type, body)
                options = _options("CreateOptions", request)
                return 201, self._registry.create(place, object_, options)
            case "update":
                object_ = bodies.read_object(place.resource, content_type, body)
                return self._update(place, object_, _options("UpdateOptions", request))
            case "patch":
                return self._patch(request, place, body)
            case "delete":
                options_ = bodies.read_delete_options(content_type, body, query)
                return 200, self._registry.delete(place, options_)
            case _:
                options_ = bodies.read_delete_options(content_type, body, query)
                found = self._list(place, query)
                for item in found["items"]:
                    namespace = item["metadata"].get("namespace", "")
                    name = item["metadata"]["name"]
                    one = Place(place.resource, namespace, name)
                    self._registry.delete(one, options_)
                return 200, found

    def _list(self, place: Place, query: Mapping[str, str]) -> Json:
        options = ListOptions.read(query)
        return list_objects(self.storage, place.resource, place.namespace, options)

    def _update(
        self, place: Place, object_: Json, options: WriteOptions
    ) -> tuple[int, Json]:
        if place.resource.create_on_update and not self._registry.exists(place):
            return 201, self._registry.create(place, object_, options)
        return 200, self._registry.replace(place, object_, options)

    def _patch(
        self, request: web.BaseRequest, place: Place, body: bytes
    ) -> tuple[int, Json]:
        content_type = request.headers.get("Content-Type", "")
        patch = bodies.read_patch(place.resource, content_type, body)
        kind = bodies.media_type(content_type)
        options = _options("PatchOptions", request, patch_type=kind)
        if kind != patching.APPLY_PATCH:
            return 200, self._registry.update(
                place,
                lambda old: patching.patch_object(place.resource, old, kind, patch),
                options,
            )
        if not isinstance(patch, dict):
            raise status.bad_request("error decoding YAML: not an object")
        code = 200 if self._registry.exists(place) else 201
        return code, self._registry.apply(place, patch, options)

    def _check_fresh(self, query: Mapping[str, str]) -> None:
        wanted = revision_of(query.get("resourceVersion", ""))
        if wanted > self.storage.revision:
            raise status.too_large(wanted, self.storage.revision)

    async def _watch(
        self,
        request: web.BaseRequest,
        record: Recorded,
        place: Place,
        fault: Fault | None,
    ) -> web.StreamResponse:
        options = ListOptions.read(request.query, watch_list=self._watch_list)
        lag = self.faults.seconds(Effect.LAG, record)
        timing = replace(self._timing, lag_seconds=lag + self._timing.lag_seconds)
        watch = Watch(self.storage, place.resource, place.namespace, options, timing)
        self._watches.add(watch)
        try:
            return await answers.stream(request, watch, fault)
        finally:
            self._watches.discard(watch)
            watch.stop()


def _accept(request: web.BaseRequest) -> str:
    return request.headers.get("Accept", "")


def _options(
    kind: str, request: web.BaseRequest, *, patch_type: str = ""
) -> WriteOptions:
    agent = request.headers.get("User-Agent", "")
    return bodies.read_write_options(
        kind, request.query, user_agent=agent, patch_type=patch_type
    )


def _record(request: web.BaseRequest, target: Target | None, verb: str) -> Recorded:
    resource = target.resource if target is not None else None
    return Recorded(
        method=request.method,
        path=request.path,
        params=dict(request.query),
        verb=verb,
        resource=resource.plural if resource is not None else "",
        namespace=target.namespace if target is not None else "",
        name=target.name if target is not None else "",
        subresource=target.subresource if target is not None else "",
        content_type=request.headers.get("Content-Type", ""),
        user_agent=request.headers.get("User-Agent", ""),
        time=asyncio.get_running_loop().time(),
    )
