"""Admission and conversion webhooks: a review in, an answer out.

    defaulting(Widget, set_size)          a handler of a function, typed or plain
    validating(Widget, WidgetRules())     … or of an object with the methods
    Hub(v2.Widget, Spoke(v1.Widget, …))   versions of a kind, one through another

`builder.webhook` gives them to a manager, which serves them; everything here is without
sockets and can be tested by calling it. Imported by those who have webhooks, and by
nobody else: an idle manager pays nothing for it. Needs the extra `webhook`.
"""

from controller_runtime.webhook.admission import (
    AdmissionHandler,
    AdmissionWebhook,
    Answer,
    Hook,
    multi_mutating,
    multi_validating,
)
from controller_runtime.webhook.configuration import (
    CONVERT_PATH,
    ClientConfig,
    WebhookOptions,
    WebhookRule,
    crd_conversion,
    mutate_path,
    validate_path,
    webhook_configurations,
)
from controller_runtime.webhook.conversion import (
    ConversionError,
    Conversions,
    Hub,
    Spoke,
    UnexpectedConversionError,
)
from controller_runtime.webhook.conversionreview import ConversionWebhook
from controller_runtime.webhook.defaulting import (
    Defaulter,
    DefaultFunction,
    defaulting,
)
from controller_runtime.webhook.response import (
    AdmissionResponse,
    Cause,
    DeniedError,
    allow,
    deny,
    errored,
    invalid,
    patched,
)
from controller_runtime.webhook.review import (
    BODY_MAX,
    AdmissionRequest,
    GroupVersionResource,
    Operation,
    User,
)
from controller_runtime.webhook.validating import (
    ValidateFunction,
    Validator,
    Warnings,
    validating,
)

__all__ = [
    "BODY_MAX",
    "CONVERT_PATH",
    "AdmissionHandler",
    "AdmissionRequest",
    "AdmissionResponse",
    "AdmissionWebhook",
    "Answer",
    "Cause",
    "ClientConfig",
    "ConversionError",
    "ConversionWebhook",
    "Conversions",
    "DefaultFunction",
    "Defaulter",
    "DeniedError",
    "GroupVersionResource",
    "Hook",
    "Hub",
    "Operation",
    "Spoke",
    "UnexpectedConversionError",
    "User",
    "ValidateFunction",
    "Validator",
    "Warnings",
    "WebhookOptions",
    "WebhookRule",
    "allow",
    "crd_conversion",
    "defaulting",
    "deny",
    "errored",
    "invalid",
    "multi_mutating",
    "multi_validating",
    "mutate_path",
    "patched",
    "validate_path",
    "validating",
    "webhook_configurations",
]
