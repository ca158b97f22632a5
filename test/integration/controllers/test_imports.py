"""What the manager imports: seconds and memory of every start."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]

LEAN = "from controllers.lean import import_lean; import_lean()\n"


def python(program: str, environ: Mapping[str, str] | None = None) -> str:
    """Run a program from its beginning; return what it prints."""
    ended = subprocess.run(  # noqa: S603 - ours
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={**os.environ, **(environ or {})},
        check=True,
        capture_output=True,
        text=True,
    )
    return ended.stdout.strip()


def test_running_reload_imports_nothing_that_it_does_not_need() -> None:
    unneeded = {
        "aiohttp.web",
        "controller_runtime.schema.crd",
        "cryptography",
        "helm_python",
        "jinja2",
        "pygments",
        "re2",
        "rich",
        "yaml",
    }
    program = (
        "import controllers.__main__, controllers.run, controllers.manager\n"
        "import controllers.reload, controllers.reload.choices, sys\n"
        "print(*sys.modules)"
    )

    assert not unneeded & set(python(LEAN + program).split())


def test_who_asks_for_rich_after_a_lean_start_gets_it() -> None:
    program = "from rich.console import Console\nConsole().print('here')"

    assert python(LEAN + program) == "here"


@pytest.mark.parametrize("file", [None, "/somewhere/ca.crt"])
def test_a_lean_start_leaves_the_environment_as_it_was(file: str | None) -> None:
    environ = {} if file is None else {"SSL_CERT_FILE": file}
    program = "import os\nbefore = dict(os.environ)\n" + LEAN
    program += "print(dict(os.environ) == before)"

    assert python(program, environ) == "True"


def test_our_own_connections_trust_whom_the_system_trusts_after_a_lean_start() -> None:
    program = (
        "from controllers.web.tls import Tls, tls_context\n"
        "import ssl\n"
        "theirs = ssl.create_default_context().get_ca_certs()\n"
        "print(tls_context(Tls()).get_ca_certs() == theirs)"
    )

    assert python(LEAN + program) == "True"


def test_who_says_nothing_of_tls_trusts_nobody_after_a_lean_start() -> None:
    """Rather than somebody else than the rest of the manager."""
    program = (
        "from aiohttp import connector\n"
        "print(connector._SSL_CONTEXT_VERIFIED.cert_store_stats()['x509'])\n"
        "print(connector._SSL_CONTEXT_VERIFIED.verify_mode.name)"
    )

    assert python(LEAN + program).split() == ["0", "CERT_REQUIRED"]
