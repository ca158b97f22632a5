"""What a manager imports and has no use for, left out: a tenth of its start, and 6 MB.

    rich       structlog draws tracebacks with it where it is installed; ours are plain
    CA files   aiohttp reads those of the system, twice, for connections that bring no
               TLS context; each of ours brings its own

Whoever asks for either later gets it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_AUTHORITIES = ("SSL_CERT_FILE", "SSL_CERT_DIR")
"""Where OpenSSL is told to look for the authorities of the system."""


def import_lean() -> None:
    """Import structlog and aiohttp, before anybody else does."""
    with _hidden("rich"):
        import structlog  # noqa: F401, PLC0415
    with _without_authorities():
        import aiohttp  # noqa: F401, PLC0415


@contextmanager
def _hidden(module: str) -> Iterator[None]:
    """Let a module that is not loaded yet seem not to be installed."""
    if module in sys.modules:
        yield
        return
    sys.modules[module] = None  # type: ignore[assignment]  # how Python spells it
    try:
        yield
    finally:
        del sys.modules[module]


@contextmanager
def _without_authorities() -> Iterator[None]:
    before = {name: os.environ.get(name) for name in _AUTHORITIES}
    os.environ |= dict.fromkeys(_AUTHORITIES, os.devnull)
    try:
        yield
    finally:
        for name, value in before.items():
            del os.environ[name]
            if value is not None:
                os.environ[name] = value
