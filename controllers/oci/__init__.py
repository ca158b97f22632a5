"""A client of OCI registries: tags, manifests, blobs, and how one gets to them.

    registries = RegistryClient(http, clock=clock)
    bundle = registries.repository(parse_repository(url), Access(credential=…))
    async with bundle.within(30):
        head = await bundle.head("v1.2.3")

`reference` reads addresses, `credentials` Secrets, `challenge` what a registry asks
for, `pages` how a list goes on, `manifest` what it says, `answers` what refusals mean:
all pure. `logins` turns the first two into headers, `throttle` and `memo` keep us
from asking too often, `wire` puts one question, `client` and `upload` know the paths.
HTTP itself, TLS, redirects and what may be reached are `controllers.web`.
"""

from controllers.oci.client import (
    RegistryClient,
    RegistryClientOptions,
    RemoteRepository,
    TagList,
)
from controllers.oci.credentials import (
    ANONYMOUS,
    Credential,
    credential_from_docker_config,
    credential_from_secret,
)
from controllers.oci.errors import (
    AccessForbiddenError,
    AuthenticationFailedError,
    BlobNotFoundError,
    BlobTooLargeError,
    DigestMismatchError,
    InvalidCredentialError,
    InvalidReferenceError,
    RateLimitedError,
    Reason,
    RegistryError,
    RegistryNetworkError,
    RegistryProtocolError,
    RegistryServerError,
    RegistryTimeoutError,
    RepositoryNotFoundError,
    TagNotFoundError,
    TlsVerificationError,
)
from controllers.oci.logins import LoginOptions
from controllers.oci.manifest import (
    HELM_CHART,
    HELM_CONFIG,
    HELM_PROVENANCE,
    OCI_INDEX,
    OCI_MANIFEST,
    WERF_CHART,
    Content,
    Descriptor,
    Head,
    Image,
    Manifest,
    ManifestError,
    digest_of,
    read_image,
    read_index,
    write_image,
)
from controllers.oci.reference import (
    Reference,
    Repository,
    is_digest,
    is_tag,
    parse_reference,
    parse_repository,
)
from controllers.oci.target import Access
from controllers.oci.throttle import ThrottleOptions
from controllers.oci.wire import WireOptions
from controllers.web import NotModified

__all__ = [
    "ANONYMOUS",
    "HELM_CHART",
    "HELM_CONFIG",
    "HELM_PROVENANCE",
    "OCI_INDEX",
    "OCI_MANIFEST",
    "WERF_CHART",
    "Access",
    "AccessForbiddenError",
    "AuthenticationFailedError",
    "BlobNotFoundError",
    "BlobTooLargeError",
    "Content",
    "Credential",
    "Descriptor",
    "DigestMismatchError",
    "Head",
    "Image",
    "InvalidCredentialError",
    "InvalidReferenceError",
    "LoginOptions",
    "Manifest",
    "ManifestError",
    "NotModified",
    "RateLimitedError",
    "Reason",
    "Reference",
    "RegistryClient",
    "RegistryClientOptions",
    "RegistryError",
    "RegistryNetworkError",
    "RegistryProtocolError",
    "RegistryServerError",
    "RegistryTimeoutError",
    "RemoteRepository",
    "Repository",
    "RepositoryNotFoundError",
    "TagList",
    "TagNotFoundError",
    "ThrottleOptions",
    "TlsVerificationError",
    "WireOptions",
    "credential_from_docker_config",
    "credential_from_secret",
    "digest_of",
    "is_digest",
    "is_tag",
    "parse_reference",
    "parse_repository",
    "read_image",
    "read_index",
    "write_image",
]
