"""Build Kubernetes controllers on asyncio.

Objects flow one way: the API server is watched by a reflector, which keeps a store;
handlers turn what changed into keys; a queue hands each key to one worker; the
reconciler reads the store and writes through the client. A manager owns all of it.

The words, guarantees and metric names are those of Go's controller-runtime. What is
here is public; modules are, names with an underscore are not.
"""

from controller_runtime import builder
from controller_runtime.backoff import (
    Backoff,
    BucketLimiter,
    ExponentialLimiter,
    FastSlowLimiter,
    Limiter,
    MaxOfLimiter,
    TokenBucket,
    WithMaxWaitLimiter,
)
from controller_runtime.builder import Owns, Watch
from controller_runtime.cabundle import BundleTargets
from controller_runtime.cache import Cache, CacheOptions, CacheView, StoreReport
from controller_runtime.cachedclient import CachedClient
from controller_runtime.cacheoptions import KindOptions, NamespaceOptions, keep_whole
from controller_runtime.certwatcher import CertWatcher
from controller_runtime.client import Client
from controller_runtime.clock import Clock, SystemClock
from controller_runtime.conditions import (
    READY,
    RECONCILING,
    STALLED,
    Condition,
    clear_progress,
    find_condition,
    is_condition_true,
    mark_reconciling,
    mark_stalled,
    remove_condition,
    set_condition,
    summarize_conditions,
)
from controller_runtime.controller import Controller, ControllerOptions, Watching
from controller_runtime.controllerutil import (
    Ensured,
    MutationError,
    OperationResult,
    create_or_apply,
    create_or_patch,
    create_or_update,
)
from controller_runtime.discovery import ApiResource, Discovery
from controller_runtime.errors import (
    AlreadyExistsError,
    AlreadyStartedError,
    ApiError,
    BadRequestError,
    CacheNotStartedError,
    ConfigError,
    ConflictError,
    ControllerRuntimeError,
    DecodeError,
    ExpiredError,
    ForbiddenError,
    InvalidError,
    LeaderLostError,
    NoKindMatchError,
    NotCachedError,
    NotFoundError,
    NotIndexedError,
    SchemaError,
    ServerError,
    ShutDownError,
    StalledError,
    SyncTimeoutError,
    TerminalError,
    TooManyRequestsError,
    UnauthorizedError,
)
from controller_runtime.event import Created, Deleted, Event, Generic, Updated
from controller_runtime.finalizer import (
    Finalizers,
    FinalizersError,
    Held,
    Unfinished,
    add_finalizer,
    finalizers_of,
    has_finalizer,
    is_deleting,
    remove_finalizer,
)
from controller_runtime.handler import Handler, for_object, for_owner, mapped
from controller_runtime.httpmessage import Query, Reply
from controller_runtime.httpserver import HttpServer, Probes
from controller_runtime.informer import Informer
from controller_runtime.interceptor import Call, Hook, InterceptedTransport, Proceed
from controller_runtime.kstatus import ObjectState, ObjectStatus, compute_status
from controller_runtime.kubeconfig import write_kubeconfig
from controller_runtime.leaderelection import LeaderElectionOptions, LeaderElector
from controller_runtime.log import configure as configure_logging
from controller_runtime.manager import Manager
from controller_runtime.manageroptions import ManagerOptions
from controller_runtime.meta import (
    ApiModel,
    Duration,
    GroupVersionKind,
    Json,
    Kind,
    KubeObject,
    Meta,
    NamespacedName,
    Number,
    ObjectMeta,
    OwnerReference,
    Quantity,
    RawObject,
    kind_of,
)
from controller_runtime.metrics import Metrics, QueueMetrics
from controller_runtime.ownership import (
    AlreadyOwnedError,
    OwnershipError,
    find_controller,
    has_controller_reference,
    has_owner_reference,
    is_controlled_by,
    owner_references,
    remove_controller_reference,
    remove_owner_reference,
    set_controller_reference,
    set_owner_reference,
)
from controller_runtime.part import Part, PartState
from controller_runtime.patch import (
    Patch,
    apply_patch,
    json_patch,
    merge_patch,
    merge_patch_from,
    strategic_merge_patch,
)
from controller_runtime.predicate import (
    Predicate,
    annotation_changed,
    by_object,
    for_event,
    generation_changed,
    label_changed,
    label_selector,
    resource_version_changed,
)
from controller_runtime.rawwatch import WatchEvent
from controller_runtime.rbac import Grant, Permission, Roles
from controller_runtime.reconcile import (
    DONE,
    Reader,
    Reconciler,
    Request,
    Result,
    reconciles,
    reconciles_objects,
)
from controller_runtime.recorder import (
    EventBroadcaster,
    EventRecorder,
    ObjectReference,
    reference,
)
from controller_runtime.reflector import Reflector, ReflectorOptions
from controller_runtime.requestinfo import RequestInfo
from controller_runtime.restconfig import RestConfig
from controller_runtime.restconfig import load as load_restconfig
from controller_runtime.runnable import Group, Runnable, Stoppable
from controller_runtime.scheme import ObjectList, Scheme
from controller_runtime.selectors import FieldSelector, LabelSelector, SelectorError
from controller_runtime.servertraits import ServerTraits
from controller_runtime.servingcert import (
    ServingCertificate,
    ServingCertOptions,
    service_names,
)
from controller_runtime.signals import on_stop_signal
from controller_runtime.source import ChannelSource, KindSource, Source
from controller_runtime.store import Store, index_by_body
from controller_runtime.subresource import SubResource
from controller_runtime.timersource import TimerSource
from controller_runtime.tls import KeyPair, ServerTls
from controller_runtime.tracing import TracedTransport
from controller_runtime.transport import (
    TRANSPORT_ERRORS,
    HttpTransport,
    ListenOptions,
    RequestOptions,
    Response,
    Transport,
)
from controller_runtime.watch import WatchOptions
from controller_runtime.watchdog import WatchdogOptions
from controller_runtime.wire import strip_managed_fields
from controller_runtime.workqueue import LOW_PRIORITY, WorkQueue

__all__ = [
    "DONE",
    "LOW_PRIORITY",
    "READY",
    "RECONCILING",
    "STALLED",
    "TRANSPORT_ERRORS",
    "AlreadyExistsError",
    "AlreadyOwnedError",
    "AlreadyStartedError",
    "ApiError",
    "ApiModel",
    "ApiResource",
    "Backoff",
    "BadRequestError",
    "BucketLimiter",
    "BundleTargets",
    "Cache",
    "CacheNotStartedError",
    "CacheOptions",
    "CacheView",
    "CachedClient",
    "Call",
    "CertWatcher",
    "ChannelSource",
    "Client",
    "Clock",
    "Condition",
    "ConfigError",
    "ConflictError",
    "Controller",
    "ControllerOptions",
    "ControllerRuntimeError",
    "Created",
    "DecodeError",
    "Deleted",
    "Discovery",
    "Duration",
    "Ensured",
    "Event",
    "EventBroadcaster",
    "EventRecorder",
    "ExpiredError",
    "ExponentialLimiter",
    "FastSlowLimiter",
    "FieldSelector",
    "Finalizers",
    "FinalizersError",
    "ForbiddenError",
    "Generic",
    "Grant",
    "Group",
    "GroupVersionKind",
    "Handler",
    "Held",
    "Hook",
    "HttpServer",
    "HttpTransport",
    "Informer",
    "InterceptedTransport",
    "InvalidError",
    "Json",
    "KeyPair",
    "Kind",
    "KindOptions",
    "KindSource",
    "KubeObject",
    "LabelSelector",
    "LeaderElectionOptions",
    "LeaderElector",
    "LeaderLostError",
    "Limiter",
    "ListenOptions",
    "Manager",
    "ManagerOptions",
    "MaxOfLimiter",
    "Meta",
    "Metrics",
    "MutationError",
    "NamespaceOptions",
    "NamespacedName",
    "NoKindMatchError",
    "NotCachedError",
    "NotFoundError",
    "NotIndexedError",
    "Number",
    "ObjectList",
    "ObjectMeta",
    "ObjectReference",
    "ObjectState",
    "ObjectStatus",
    "OperationResult",
    "OwnerReference",
    "OwnershipError",
    "Owns",
    "Part",
    "PartState",
    "Patch",
    "Permission",
    "Predicate",
    "Probes",
    "Proceed",
    "Quantity",
    "Query",
    "QueueMetrics",
    "RawObject",
    "Reader",
    "Reconciler",
    "Reflector",
    "ReflectorOptions",
    "Reply",
    "Request",
    "RequestInfo",
    "RequestOptions",
    "Response",
    "RestConfig",
    "Result",
    "Roles",
    "Runnable",
    "SchemaError",
    "Scheme",
    "SelectorError",
    "ServerError",
    "ServerTls",
    "ServerTraits",
    "ServingCertOptions",
    "ServingCertificate",
    "ShutDownError",
    "Source",
    "StalledError",
    "Stoppable",
    "Store",
    "StoreReport",
    "SubResource",
    "SyncTimeoutError",
    "SystemClock",
    "TerminalError",
    "TimerSource",
    "TokenBucket",
    "TooManyRequestsError",
    "TracedTransport",
    "Transport",
    "UnauthorizedError",
    "Unfinished",
    "Updated",
    "Watch",
    "WatchEvent",
    "WatchOptions",
    "WatchdogOptions",
    "Watching",
    "WithMaxWaitLimiter",
    "WorkQueue",
    "add_finalizer",
    "annotation_changed",
    "apply_patch",
    "builder",
    "by_object",
    "clear_progress",
    "compute_status",
    "configure_logging",
    "create_or_apply",
    "create_or_patch",
    "create_or_update",
    "finalizers_of",
    "find_condition",
    "find_controller",
    "for_event",
    "for_object",
    "for_owner",
    "generation_changed",
    "has_controller_reference",
    "has_finalizer",
    "has_owner_reference",
    "index_by_body",
    "is_condition_true",
    "is_controlled_by",
    "is_deleting",
    "json_patch",
    "keep_whole",
    "kind_of",
    "label_changed",
    "label_selector",
    "load_restconfig",
    "mapped",
    "mark_reconciling",
    "mark_stalled",
    "merge_patch",
    "merge_patch_from",
    "on_stop_signal",
    "owner_references",
    "reconciles",
    "reconciles_objects",
    "reference",
    "remove_condition",
    "remove_controller_reference",
    "remove_finalizer",
    "remove_owner_reference",
    "resource_version_changed",
    "service_names",
    "set_condition",
    "set_controller_reference",
    "set_owner_reference",
    "strategic_merge_patch",
    "strip_managed_fields",
    "summarize_conditions",
    "write_kubeconfig",
]
