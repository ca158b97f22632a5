"""How each program of the control plane is called.

Pure: settings in, command lines out. Everything listens on loopback, and what need
not listen does not. `specs/control-plane.md` section 2 has the reasons.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

SERVICE_RANGE = "10.0.0.0/24"
"""Where Services get their addresses from, as in Go's envtest."""

FIRST_SERVICE = "10.0.0.1"
"""The address of the `kubernetes` Service: the first of the range."""

SERVER_NAMES = (
    "localhost",
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
)

SERVER_ADDRESSES = ("127.0.0.1", "::1", FIRST_SERVICE)

ISSUER = "https://kubernetes.default.svc.cluster.local"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """What listens on 127.0.0.1."""

    etcd: int
    etcd_peer: int
    apiserver: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Where a control plane keeps its things."""

    folder: Path

    @property
    def lock(self) -> Path:
        """Held by whoever runs a control plane on the folder; has its pid."""
        return self.folder / "lock"

    @property
    def ports(self) -> Path:
        """Ports of the last run."""
        return self.folder / "ports.json"

    @property
    def pki(self) -> Path:
        """Keys and certificates."""
        return self.folder / "pki"

    @property
    def etcd(self) -> Path:
        """What etcd remembers."""
        return self.folder / "etcd"

    @property
    def home(self) -> Path:
        """`HOME` of the programs, so that no settings of the user's reach them."""
        return self.folder / "home"

    @property
    def kubeconfig(self) -> Path:
        """The administrator's."""
        return self.folder / "kubeconfig"

    def kubeconfig_of(self, program: str) -> Path:
        """The kubeconfig of one of our own programs."""
        return self.pki / f"{program}.kubeconfig"

    def log(self, program: str) -> Path:
        """The output of a program."""
        return self.folder / "log" / f"{program}.log"


def etcd(binary: Path, places: Places, ports: Ports, *, durable: bool) -> list[str]:
    """Call etcd; without `durable` it never waits for the disk."""
    client = f"http://127.0.0.1:{ports.etcd}"
    peer = f"http://127.0.0.1:{ports.etcd_peer}"
    return [
        str(binary),
        *_flags(
            {
                "name": "default",
                "data-dir": places.etcd,
                "listen-client-urls": client,
                "advertise-client-urls": client,
                "listen-peer-urls": peer,
                "initial-advertise-peer-urls": peer,
                "initial-cluster": f"default={peer}",
                # One member waits a whole election timeout before it elects itself.
                "heartbeat-interval": "50",
                "election-timeout": "500",
            }
        ),
        *(() if durable else ("--unsafe-no-fsync=true",)),
    ]


def apiserver(
    binary: Path,
    places: Places,
    ports: Ports,
    *,
    service_accounts: bool,
    extra: Mapping[str, str],
) -> list[str]:
    """Call kube-apiserver.

    Args:
        binary: The program.
        places: Where keys and certificates are.
        ports: Where it listens and where etcd does.
        service_accounts: Whether a controller manager makes `default` accounts; if
            none does, the admission plug-in would refuse every pod.
        extra: Further flags, without dashes; they win.
    """
    pki = places.pki
    flags: dict[str, object] = {
        "advertise-address": "127.0.0.1",
        "bind-address": "127.0.0.1",
        "secure-port": ports.apiserver,
        "etcd-servers": f"http://127.0.0.1:{ports.etcd}",
        "tls-cert-file": pki / "apiserver.crt",
        "tls-private-key-file": pki / "apiserver.key",
        "client-ca-file": pki / "ca.crt",
        "service-account-issuer": ISSUER,
        "service-account-key-file": pki / "sa.crt",
        "service-account-signing-key-file": pki / "sa.key",
        "service-cluster-ip-range": SERVICE_RANGE,
        "authorization-mode": "RBAC",
        "allow-privileged": "true",
        # Loopback is no valid endpoint: the reconciler would complain for ever.
        "endpoint-reconciler-type": "none",
        # Without it a stop waits a minute for watches that nobody told to end.
        "shutdown-watch-termination-grace-period": "1s",
    }
    if not service_accounts:
        flags["disable-admission-plugins"] = "ServiceAccount"
    return [str(binary), *_flags({**flags, **extra})]


def controller_manager(binary: Path, places: Places) -> list[str]:
    """Call kube-controller-manager, alone and in a hurry."""
    pki = places.pki
    flags = {
        "kubeconfig": places.kubeconfig_of("kube-controller-manager"),
        "leader-elect": "false",
        "secure-port": "0",
        "root-ca-file": pki / "ca.crt",
        "service-account-private-key-file": pki / "sa.key",
        "cluster-signing-cert-file": pki / "ca.crt",
        "cluster-signing-key-file": pki / "ca.key",
        "service-cluster-ip-range": SERVICE_RANGE,
        "controller-start-interval": "0s",
        # The defaults (20 and 30) spread a rollout over seconds.
        "kube-api-qps": "200",
        "kube-api-burst": "400",
    }
    return [str(binary), *_flags(flags)]


def scheduler(binary: Path, places: Places) -> list[str]:
    """Call kube-scheduler, alone and in a hurry."""
    flags = {
        "kubeconfig": places.kubeconfig_of("kube-scheduler"),
        "leader-elect": "false",
        "secure-port": "0",
        "kube-api-qps": "200",
        "kube-api-burst": "400",
    }
    return [str(binary), *_flags(flags)]


NODE_LEASES = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
"""Who plays which node."""


def kwok(binary: Path, places: Places) -> list[str]:
    """Call kwok, which plays the kubelet of every node there is."""
    flags = {
        "kubeconfig": places.kubeconfig_of("kwok"),
        "manage-all-nodes": "true",
        "node-lease-duration-seconds": "40",
    }
    return [str(binary), *_flags(flags)]


def node(name: str) -> Mapping[str, object]:
    """Describe a node that kwok will call ready."""
    room = {
        "cpu": "32",
        "memory": "256Gi",
        "ephemeral-storage": "256Gi",
        "pods": "1000",
    }
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "annotations": {"kwok.x-k8s.io/node": "fake"},
            "labels": {
                "kubernetes.io/hostname": name,
                "kubernetes.io/os": "linux",
                "type": "kwok",
            },
        },
        "status": {"allocatable": room, "capacity": room},
    }


def _flags(values: Mapping[str, object]) -> list[str]:
    return [f"--{name}={value}" for name, value in values.items()]
