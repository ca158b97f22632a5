"""Who is who in a control plane: one authority and its keys, kept in a folder.

ca.crt, ca.key   signs kube-apiserver's certificate and those of its clients
sa.crt, sa.key   signs and checks service-account tokens
"""

from __future__ import annotations

from pathlib import Path

from controller_runtime.certificates import CertificateAuthority, signing_keys
from controller_runtime.clock import Clock
from controller_runtime.tls import KeyPair, write_private

__all__ = [
    "CertificateAuthority",
    "KeyPair",
    "load_or_create_authority",
    "load_or_create_signing_keys",
    "write_private",
]


def load_or_create_authority(
    folder: Path, *, clock: Clock | None = None
) -> CertificateAuthority:
    """Take the authority of a folder, or make it one. Blocks on the disk."""
    if (folder / "ca.key").exists():
        return CertificateAuthority(_read(folder, "ca"), clock=clock)
    authority = CertificateAuthority.create(clock=clock)
    authority.pair.write(folder, "ca")
    return authority


def load_or_create_signing_keys(folder: Path) -> KeyPair:
    """Take the service-account keys of a folder, or make it some. Blocks."""
    if (folder / "sa.key").exists():
        return _read(folder, "sa")
    keys = signing_keys()
    keys.write(folder, "sa")
    return keys


def _read(folder: Path, name: str) -> KeyPair:
    return KeyPair(
        public=(folder / f"{name}.crt").read_bytes(),
        private=(folder / f"{name}.key").read_bytes(),
    )
