"""One process that runs Helm: a line of JSON in, a line of JSON out.

    manager ──{"id", "call", …}──▶ stdin   ─▶ reader thread ─▶ main thread ─▶ SDK
            ◀──{"id", "ok"|"error"}── reply descriptor ◀──────────┘
            ◀──log, panics────────── stderr

    cancel   the reader tells the SDK to stop; whatever it says then is the reply, and
             the process ends. It must: the SDK goes on creating objects in the
             background after it has returned (helm/helm#13126)
    end of stdin, or of the manager   the process ends at once

This is a script, not a module that anything imports: it is started by its path, so
that a worker loads Helm and the standard library and nothing of the manager. It takes
what it is told and decides nothing; `protocol` writes the lines and reads the answers.

The SDK's Python signatures lack options that its library has, so actions go to the
library directly, with options as JSON; it refuses names that it does not know.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import logging
import os
import queue
import resource
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import helm_python as helm
from helm_python import _native

_PR_SET_PDEATHSIG = 1

_NO_HANDLE = 0

CANCELLABLE = frozenset({"install", "upgrade"})
"""Calls that the SDK can stop in good order; the others end with the process."""


@dataclass
class Request:
    """A line from the manager."""

    id: int
    call: str
    arguments: Mapping[str, Any]


@dataclass
class Current:
    """What runs now; written by the main thread, read by the one that reads stdin."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    request: Request | None = None
    context: helm.HelmContext | None = None
    is_cancelled: bool = False


class Worker:
    """Takes requests one at a time until stdin ends."""

    def __init__(self, replies: int) -> None:
        self._replies = replies
        self._requests: queue.SimpleQueue[Request] = queue.SimpleQueue()
        self._current = Current()
        self._calls: Mapping[str, Callable[[Mapping[str, Any]], object]] = {
            "install": self._install,
            "upgrade": self._upgrade,
            "rollback": _rollback,
            "uninstall": _uninstall,
            "test": _test,
            "parse": _parse,
            "render": _render,
        }

    def run(self) -> NoReturn:
        """Say hello and work."""
        self._reply({"hello": helm.helm_sdk_version(), "pid": os.getpid()})
        threading.Thread(target=self._read, daemon=True).start()
        while True:
            self._answer(self._requests.get())

    def _answer(self, request: Request) -> None:
        with self._current.lock:
            if self._current.is_cancelled:
                self._leave(request, "cancelled before it began")
            self._current.request = request
            if request.call in CANCELLABLE:
                self._current.context = helm.HelmContext()
        try:
            answer: dict[str, object] = {
                "ok": self._calls[request.call](request.arguments)
            }
        except helm.HelmError as error:
            answer = {"error": _described(error)}
        with self._current.lock:
            context, self._current.context = self._current.context, None
            self._current.request = None
            answer.update(id=request.id, cancelled=self._current.is_cancelled)
            if context is not None:
                context.close()
            self._reply(
                {**answer, "rss": _resident(), "handles": helm.open_handles_count()}
            )
            if self._current.is_cancelled:
                os._exit(0)

    def _read(self) -> NoReturn:
        for line in sys.stdin.buffer:
            message = json.loads(line)
            if message["call"] == "cancel":
                self._cancel()
            else:
                self._requests.put(
                    Request(message["id"], message["call"], message["arguments"])
                )
        os._exit(0)

    def _cancel(self) -> None:
        with self._current.lock:
            self._current.is_cancelled = True
            request, context = self._current.request, self._current.context
            if context is not None:
                context.cancel()
            elif request is not None:
                self._leave(request, "it was in the middle of it")

    def _leave(self, request: Request, why: str) -> NoReturn:
        error = {"code": int(helm.ErrorCode.CANCELLED), "message": why}
        self._reply({"id": request.id, "error": error, "cancelled": True})
        os._exit(0)

    def _reply(self, message: Mapping[str, object]) -> None:
        line = memoryview(json.dumps(message).encode() + b"\n")
        while line:
            line = line[os.write(self._replies, line) :]

    def _install(self, arguments: Mapping[str, Any]) -> None:
        self._deploy("helm_install", arguments)

    def _upgrade(self, arguments: Mapping[str, Any]) -> None:
        self._deploy("helm_upgrade", arguments)

    def _deploy(self, function: str, arguments: Mapping[str, Any]) -> None:
        context = self._current.context
        if context is None:
            raise RuntimeError(f"{function} has no context")
        with (
            helm.Config(**arguments["config"]) as config,
            helm.Chart.load(arguments["chart"]) as chart,
        ):
            _native.call_string(
                function,
                config._raw(),  # noqa: SLF001 - the SDK's signatures lack options
                context._raw(),  # noqa: SLF001
                chart._raw(),  # noqa: SLF001
                None,
                arguments["name"],
                json.dumps(arguments["values"]),
                json.dumps(_settled(config, arguments)),
            )


def _rollback(arguments: Mapping[str, Any]) -> None:
    with helm.Config(**arguments["config"]) as config:
        options = _settled(config, arguments)
        _native.call_status(
            "helm_rollback",
            config._raw(),  # noqa: SLF001
            arguments["name"],
            json.dumps(options),
        )


def _settled(config: helm.Config, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
    """Force conflicts only where there are any: `auto` means the way of the release.

    Helm refuses to force conflicts of what the client applies, and says so when the
    new revision is on record already. In a rollback it is the way of the revision that
    comes back.
    """
    options: dict[str, Any] = dict(arguments["options"])
    if options.get("server_side_apply") != "auto" or not options["force_conflicts"]:
        return options
    name = arguments["name"]
    newest = config.get_metadata(name)
    if "version" in options:
        revision = options["version"] or newest["revision"] - 1
        newest = config.get_metadata(name, revision=revision)
    options["force_conflicts"] = newest["applyMethod"] == "ssa"
    return options


def _uninstall(arguments: Mapping[str, Any]) -> None:
    _act("helm_uninstall", arguments)


def _test(arguments: Mapping[str, Any]) -> None:
    _act("helm_test_run", arguments)


def _act(function: str, arguments: Mapping[str, Any]) -> None:
    with helm.Config(**arguments["config"]) as config:
        _native.call_string(
            function,
            config._raw(),  # noqa: SLF001
            arguments["name"],
            json.dumps(arguments["options"]),
        )


def _parse(arguments: Mapping[str, Any]) -> object:
    parsed = []
    for number, document in enumerate(arguments["documents"], 1):
        try:
            parsed.append(helm.values_from_yaml(document))
        except helm.HelmError as error:
            raise helm.HelmValuesError(f"document {number}: {error}") from None
    return parsed


def _render(arguments: Mapping[str, Any]) -> object:
    with helm.Chart.load(arguments["chart"]) as chart:
        chart.validate_schema(arguments["values"])
        return chart.render(
            arguments["values"],
            name=arguments["name"],
            namespace=arguments["namespace"],
        )


def _described(error: helm.HelmError) -> Mapping[str, object]:
    code = error.code
    return {"code": None if code is None else int(code), "message": str(error)}


def _resident() -> int:
    """Return the bytes of memory that this process has, as the kernel counts them."""
    pages = int(Path("/proc/self/statm").read_bytes().split()[1])
    return pages * resource.getpagesize()


class _Lines(logging.Handler):
    """Writes what the SDK logs to stderr, a line of JSON each."""

    def emit(self, record: logging.LogRecord) -> None:
        line = {"level": record.levelname.lower(), "text": record.getMessage()}
        os.write(2, json.dumps(line).encode() + b"\n")


def _die_with(parent: int) -> None:
    """Be killed when the manager ends, however it ends (Linux).

    The kernel means the thread that started this process, which is the manager's main
    thread: an event loop in another thread must outlive its workers.
    """
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before we asked
        os._exit(0)


def _log_to_stderr(level: int) -> None:
    logger = logging.getLogger("helm")
    logger.addHandler(_Lines())
    logger.setLevel(level)
    logger.propagate = False
    helm.enable_logging(level, logger)


def main() -> NoReturn:
    """Set the process up and work."""
    parser = argparse.ArgumentParser(description="Run Helm for the manager.")
    parser.add_argument("--parent", type=int, required=True)
    parser.add_argument("--data-limit", type=int, required=True, help="bytes")
    parser.add_argument("--log-level", default="INFO")
    options = parser.parse_args()
    if sys.platform == "linux":
        _die_with(options.parent)
    resource.setrlimit(resource.RLIMIT_DATA, (options.data_limit, options.data_limit))
    # The manager stops us through stdin; what a terminal sends is for the manager.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    replies = os.dup(1)
    os.dup2(2, 1)  # what Helm or a plug-in prints is no reply
    _log_to_stderr(logging.getLevelNamesMapping()[options.log_level])
    Worker(replies).run()


if __name__ == "__main__":
    main()
