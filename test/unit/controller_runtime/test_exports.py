"""The public names: a change here is a change that users notice."""

from __future__ import annotations

import controller_runtime
from controller_runtime import __all__ as exported
from controller_runtime import webhook

PUBLIC = """
AlreadyExistsError AlreadyOwnedError AlreadyStartedError ApiError ApiModel ApiResource
Backoff BadRequestError BucketLimiter BundleTargets Cache CacheNotStartedError
CacheOptions CacheView CachedClient Call CertWatcher ChannelSource Client Clock
Condition ConfigError ConflictError Controller ControllerOptions ControllerRuntimeError
Created DONE DecodeError Deleted Discovery Duration Ensured Event EventBroadcaster
EventRecorder ExpiredError ExponentialLimiter FastSlowLimiter FieldSelector Finalizers
FinalizersError ForbiddenError Generic Grant Group GroupVersionKind Handler Held Hook
HttpServer HttpTransport Informer InterceptedTransport InvalidError Json KeyPair Kind
KindOptions KindSource KubeObject LOW_PRIORITY LabelSelector LeaderElectionOptions
LeaderElector LeaderLostError Limiter ListenOptions
Manager ManagerOptions MaxOfLimiter Meta Metrics
MutationError NamespaceOptions NamespacedName NoKindMatchError NotCachedError
NotFoundError NotIndexedError Number ObjectList ObjectMeta ObjectReference ObjectState
ObjectStatus OperationResult OwnerReference OwnershipError Owns Part PartState
Patch Permission
Predicate Probes Proceed Quantity Query QueueMetrics READY RECONCILING RawObject Reader
Reconciler
Reflector ReflectorOptions Reply Request RequestInfo RequestOptions
Response RestConfig Result Roles Runnable
STALLED SchemaError Scheme SelectorError ServerError ServerTls ServerTraits
ServingCertOptions ServingCertificate ShutDownError Source StalledError Stoppable Store
StoreReport SubResource SyncTimeoutError SystemClock TRANSPORT_ERRORS TerminalError
TimerSource TokenBucket TooManyRequestsError TracedTransport Transport UnauthorizedError
Unfinished Updated Watch WatchEvent WatchOptions WatchdogOptions Watching
WithMaxWaitLimiter
WorkQueue add_finalizer annotation_changed apply_patch builder by_object clear_progress
compute_status configure_logging create_or_apply create_or_patch create_or_update
finalizers_of find_condition find_controller for_event for_object for_owner
generation_changed has_controller_reference has_finalizer has_owner_reference
index_by_body is_condition_true is_controlled_by is_deleting json_patch keep_whole
kind_of label_changed label_selector load_restconfig mapped mark_reconciling
mark_stalled merge_patch merge_patch_from on_stop_signal owner_references reconciles
reconciles_objects reference remove_condition remove_controller_reference
remove_finalizer remove_owner_reference resource_version_changed service_names
set_condition set_controller_reference set_owner_reference strategic_merge_patch
strip_managed_fields summarize_conditions write_kubeconfig
"""

WEBHOOK = """
AdmissionHandler AdmissionRequest AdmissionResponse AdmissionWebhook Answer BODY_MAX
CONVERT_PATH Cause ClientConfig ConversionError ConversionWebhook Conversions
DefaultFunction Defaulter DeniedError GroupVersionResource Hook Hub Operation Spoke
UnexpectedConversionError User ValidateFunction Validator Warnings WebhookOptions
WebhookRule allow crd_conversion defaulting deny errored invalid multi_mutating
multi_validating mutate_path patched validate_path validating webhook_configurations
"""
"""Those of `controller_runtime.webhook`, which is imported by itself."""


def test_the_public_names_are_these() -> None:
    assert sorted(exported) == PUBLIC.split()


def test_the_public_names_about_webhooks_are_these() -> None:
    assert sorted(webhook.__all__) == WEBHOOK.split()


def test_every_public_name_is_there_and_says_what_it_is() -> None:
    nameless = [
        name
        for name in exported
        if callable(value := getattr(controller_runtime, name)) and not value.__doc__
    ]

    assert nameless == []
