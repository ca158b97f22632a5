"""The samples of `config/samples/`: applied as `kubectl apply --server-side` would."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

import yaml

from controller_runtime import Client, GroupVersionKind, Json

SAMPLES = Path(__file__).parent.parent.parent / "config" / "samples"
FIELD_OWNER = "pilothouse-samples"

NAMESPACE = GroupVersionKind("", "v1", "Namespace")
_LABEL = "pilothouse-samples"


async def end_earlier(client: Client) -> None:
    """Let the namespaces of earlier runs go, without waiting until they are gone."""
    earlier = await client.list(NAMESPACE, label_selector=_LABEL)
    for namespace in earlier.items:
        if namespace["status"]["phase"] != "Terminating":
            await client.delete(NAMESPACE, namespace["metadata"]["name"])


async def fresh_namespace(client: Client, name: str) -> str:
    """Make a namespace for samples, and return its name."""
    await client.create(
        {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": name, "labels": {_LABEL: "true"}},
        }
    )
    return name


async def apply_samples(
    client: Client,
    file: str,
    namespace: str,
    *,
    edit: Callable[[Json], None] = lambda _: None,
) -> Sequence[Json]:
    """Apply the objects of a sample file, in its order, and return them.

    Args:
        client: Where they go.
        file: Its name, below `config/samples`.
        namespace: Stands instead of theirs.
        edit: Puts right what is another on this stage, such as the registry.
    """
    text = await asyncio.to_thread((SAMPLES / file).read_text)
    applied = []
    for document in yaml.safe_load_all(text):
        document["metadata"]["namespace"] = namespace
        edit(document)
        applied.append(
            await client.apply(document, field_owner=FIELD_OWNER, force=True)
        )
    return applied
