"""YAML of strangers, read within bounds: text in, values out, or an error. Pure.

    text ─▶ events   depth, nodes and aliases are counted as they come
         ─▶ values   built only then; what merge keys bring is counted, too

The parser builds nodes by recursion in C, without a limit of its own: sixty thousand
brackets end the process. Merge keys of merge keys multiply, so that a few hundred bytes
stand for millions of keys. Either would stop the manager for everybody.
"""

from __future__ import annotations

import yaml

DEPTH_MAX = 100
"""Levels of a document; charts have about ten."""

NODES_MAX = 100_000
"""Mappings, lists and scalars of a document."""

ANCHORS_MAX = 100
"""Anchors and aliases of a document."""

_MERGED_MAX = 10_000
"""Keys of a mapping into which others are merged."""


class BoundsError(yaml.YAMLError):
    """A document is deeper or larger than any that is meant; the text says in what."""


class BoundedLoader(yaml.CSafeLoader):
    """Builds what was counted before."""

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        own = len(node.value)
        super().flatten_mapping(node)
        if len(node.value) > max(own, _MERGED_MAX):
            raise BoundsError(f"merge keys make over {_MERGED_MAX} keys")


def read(text: str | bytes, loader: type[BoundedLoader] = BoundedLoader) -> object:
    """Read a document.

    Args:
        text: Up to a megabyte, which takes a second: use a thread.
        loader: What builds the values.

    Raises:
        YAMLError: It is none, or `BoundsError`.
        ValueError: A scalar is not what it looks like.
        RecursionError: It contains itself.
    """
    _count(text)
    return yaml.load(text, Loader=loader)  # noqa: S506 - derived from a safe one


def _count(text: str | bytes) -> None:
    depth = nodes = anchors = 0
    for event in yaml.parse(text, Loader=yaml.CSafeLoader):
        if isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        elif isinstance(event, yaml.NodeEvent):
            nodes += 1
            depth += isinstance(event, yaml.CollectionStartEvent)
            anchors += event.anchor is not None
        if depth > DEPTH_MAX:
            raise BoundsError(f"over {DEPTH_MAX} levels")
        if nodes > NODES_MAX:
            raise BoundsError(f"over {NODES_MAX} values")
        if anchors > ANCHORS_MAX:
            raise BoundsError(f"over {ANCHORS_MAX} anchors")
