"""Helm itself: what is asked of it, and the processes that do it.

    controller ──Order──▶ Engine ◀── WorkerPool ──one line of JSON──▶ worker ──▶ SDK

`engine` has the questions and the answers, `failures` reads Helm's errors, `protocol`
the lines between manager and worker: all pure. `pool` owns the processes, `process`
is one of them seen from the manager, `worker` is what runs in it and the only module
that knows the SDK.
"""
