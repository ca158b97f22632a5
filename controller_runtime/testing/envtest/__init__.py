"""A real control plane for tests and for `make run`: Go's envtest, and a little more.

    async with ControlPlane(ControlPlaneOptions(kwok=True)) as cluster:
        await cluster.write_kubeconfig(path)

`etcd` and `kube-apiserver` always run; the controller manager, the scheduler and kwok
run on request, and so does a `Registry` beside them. The binaries are found or built by
`assets`, each program is tied to our life by `process`, and
`python -m controller_runtime.testing.envtest setup` fetches everything beforehand.
`USE_EXISTING_CLUSTER` and `KUBEBUILDER_ASSETS` mean what they mean in Go.
"""

from __future__ import annotations

from controller_runtime.testing.envtest.access import Access, Cluster
from controller_runtime.testing.envtest.accounts import ALICE, ALICE_LATER, Account
from controller_runtime.testing.envtest.api import Api
from controller_runtime.testing.envtest.assets import Assets, AssetsOptions
from controller_runtime.testing.envtest.binaries import PARTS, Mirrors, Part
from controller_runtime.testing.envtest.certificates import (
    CertificateAuthority,
    KeyPair,
)
from controller_runtime.testing.envtest.controlplane import (
    ControlPlane,
    ControlPlaneOptions,
)
from controller_runtime.testing.envtest.crds import (
    CrdSource,
    install_crds,
    uninstall_crds,
)
from controller_runtime.testing.envtest.environment import Environment
from controller_runtime.testing.envtest.errors import (
    AssetsError,
    ChecksumError,
    ControlPlaneError,
    DownloadError,
    ProcessDiedError,
)
from controller_runtime.testing.envtest.existing import (
    ExistingCluster,
    cluster,
    uses_existing_cluster,
)
from controller_runtime.testing.envtest.process import Process
from controller_runtime.testing.envtest.progress import (
    PlainProgress,
    Progress,
    QuietProgress,
    TerminalProgress,
    progress_for,
)
from controller_runtime.testing.envtest.registry import (
    Registry,
    RegistryLogin,
    RegistryOptions,
)
from controller_runtime.testing.envtest.shared import shared_control_plane
from controller_runtime.testing.envtest.tokens import TokenServer
from controller_runtime.testing.envtest.users import Rule, add_user
from controller_runtime.testing.envtest.webhooks import (
    WebhookHost,
    install_webhooks,
    uninstall_webhooks,
    webhook_host,
)

__all__ = [
    "ALICE",
    "ALICE_LATER",
    "PARTS",
    "Access",
    "Account",
    "Api",
    "Assets",
    "AssetsError",
    "AssetsOptions",
    "CertificateAuthority",
    "ChecksumError",
    "Cluster",
    "ControlPlane",
    "ControlPlaneError",
    "ControlPlaneOptions",
    "CrdSource",
    "DownloadError",
    "Environment",
    "ExistingCluster",
    "KeyPair",
    "Mirrors",
    "Part",
    "PlainProgress",
    "Process",
    "ProcessDiedError",
    "Progress",
    "QuietProgress",
    "Registry",
    "RegistryLogin",
    "RegistryOptions",
    "Rule",
    "TerminalProgress",
    "TokenServer",
    "WebhookHost",
    "add_user",
    "cluster",
    "install_crds",
    "install_webhooks",
    "progress_for",
    "shared_control_plane",
    "uninstall_crds",
    "uninstall_webhooks",
    "uses_existing_cluster",
    "webhook_host",
]
