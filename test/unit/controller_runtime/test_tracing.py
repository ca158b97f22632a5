"""What spans of API calls say, and what they keep to themselves."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from controller_runtime import builder
from controller_runtime.client import Client
from controller_runtime.errors import NotFoundError
from controller_runtime.manager import Manager
from controller_runtime.manageroptions import ManagerOptions
from controller_runtime.meta import GroupVersionKind
from controller_runtime.reconcile import Request
from controller_runtime.scheme import Scheme
from controller_runtime.testing.apiserver import ApiServer
from controller_runtime.tracing import TracedTransport
from controller_runtime.transport import HttpTransport

CONFIG_MAP = GroupVersionKind("", "v1", "ConfigMap")
COLLECTION = "/api/v1/namespaces/{namespace}/configmaps"


class Traces:
    """A provider whose spans can be looked at."""

    def __init__(self) -> None:
        self.provider = TracerProvider(shutdown_on_exit=False)
        self._exporter = InMemorySpanExporter()
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))

    @property
    def spans(self) -> list[ReadableSpan]:
        return list(self._exporter.get_finished_spans())


@pytest.fixture
def traces() -> Traces:
    return Traces()


@pytest.fixture
async def transport(traces: Traces) -> AsyncIterator[TracedTransport]:
    tracer = traces.provider.get_tracer("test")
    async with ApiServer() as server, HttpTransport(server.config()) as inner:
        yield TracedTransport(inner, tracer)


async def test_a_call_is_a_span_with_method_template_and_status(
    transport: TracedTransport, traces: Traces
) -> None:
    client = Client(transport, scheme=Scheme())

    await client.create(
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "web", "namespace": "shop"},
        }
    )

    span = traces.spans[-1]
    assert span.name == f"POST {COLLECTION}"
    assert span.kind is SpanKind.CLIENT
    assert span.attributes == {
        "http.request.method": "POST",
        "url.template": COLLECTION,
        "http.response.status_code": 201,
    }


async def test_a_refusal_shows_its_class_and_status_and_not_its_text(
    transport: TracedTransport, traces: Traces
) -> None:
    client = Client(transport, scheme=Scheme())

    with pytest.raises(NotFoundError):
        await client.get(CONFIG_MAP, "password-of-anna", "shop")

    span = traces.spans[-1]
    assert span.attributes is not None
    assert span.attributes["http.response.status_code"] == 404
    assert span.attributes["error.type"] == "NotFoundError"
    assert span.status.status_code is StatusCode.ERROR
    assert "anna" not in span.to_json()


async def test_the_span_of_a_watch_ends_when_the_stream_is_there(
    transport: TracedTransport, traces: Traces
) -> None:
    params = {"watch": "true", "timeoutSeconds": "300", "resourceVersion": "0"}
    path = "/api/v1/configmaps"

    async with transport.stream(path, params=params, idle_timeout=300):
        (span,) = traces.spans

    assert span.name == "GET /api/v1/configmaps"
    assert span.attributes is not None
    assert span.attributes["http.response.status_code"] == 200


async def test_a_stream_that_is_refused_is_an_error(
    transport: TracedTransport, traces: Traces
) -> None:
    with pytest.raises(NotFoundError):
        async with transport.stream("/api/v1/nothing", params={}, idle_timeout=1):
            pass

    (span,) = traces.spans
    assert span.status.status_code is StatusCode.ERROR


async def test_a_call_is_part_of_the_reconcile_that_makes_it(traces: Traces) -> None:
    off = ManagerOptions(
        metrics_bind_address="0", health_probe_bind_address="0", watchdog=None
    )
    async with ApiServer() as server, HttpTransport(server.config()) as inner:
        manager = Manager(inner, options=off, tracer_provider=traces.provider)

        async def reconcile(request: Request) -> None:
            await manager.api_reader.list(CONFIG_MAP, request.namespace)
            manager.stop()

        builder.controller(manager, CONFIG_MAP, reconcile)
        head = {"apiVersion": "v1", "kind": "ConfigMap"}
        server.create({**head, "metadata": {"name": "web", "namespace": "shop"}})
        await manager.start()

    spans = {span.name: span for span in traces.spans}
    outer, call = spans["reconcile"], spans[f"GET {COLLECTION}"]
    assert outer.attributes is not None
    assert outer.attributes["controller"] == "configmap"
    assert outer.attributes["causes"] == ("ConfigMap listed",)
    assert call.parent == outer.get_span_context()


async def test_a_manager_without_a_provider_traces_nothing() -> None:
    async with ApiServer() as server, HttpTransport(server.config()) as transport:
        manager = Manager(transport, options=ManagerOptions(watchdog=None))

    assert manager.tracer is None
    assert manager.transport is transport
