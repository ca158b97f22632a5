"""What can go wrong before a control plane is ready.

ControllerRuntimeError
├── AssetsError           a binary is nowhere to be had; the text says what to install
│   └── DownloadError     a release could not be fetched
│       └── ChecksumError what arrived is not what was published
└── ControlPlaneError     the binaries are there and the control plane is not
    └── ProcessDiedError  one of its programs ended; the text ends with its log
"""

from __future__ import annotations

from controller_runtime.errors import ControllerRuntimeError


class AssetsError(ControllerRuntimeError):
    """A binary is neither on this machine nor to be fetched or built on it."""


class DownloadError(AssetsError):
    """A release could not be fetched; another place may still have the binary."""


class ChecksumError(DownloadError):
    """The bytes differ from those that were published; nothing of them was kept."""

    def __init__(self, url: str, *, expected: str, got: str) -> None:
        super().__init__(
            f"{url} has the wrong checksum: expected sha256 {expected}, got {got}; "
            "the download was deleted"
        )
        self.url = url
        self.expected = expected
        self.got = got


class ControlPlaneError(ControllerRuntimeError):
    """The control plane cannot start, or not in time."""


class ProcessDiedError(ControlPlaneError):
    """A program of the control plane ended by itself."""

    def __init__(self, name: str, *, code: int, tail: str) -> None:
        super().__init__(f"{name} ended with code {code}; its log ends with:\n{tail}")
        self.name = name
        self.code = code
        self.tail = tail
