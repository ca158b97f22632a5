"""Which namespaces are ours: all that are watched, or those with certain labels."""

from __future__ import annotations

from collections.abc import Mapping

from controller_runtime import NamespacedName, RawObject
from controllers.reload.entries import Entries
from controllers.reload.filters import selector
from controllers.reload.options import ReloadOptions, flag_of


class Places:
    """Namespaces, by their labels."""

    def __init__(self, options: ReloadOptions, namespaces: Entries | None) -> None:
        self._namespaces = namespaces
        self._selector = selector(
            options.namespace_selector, flag=flag_of("namespace-selector")
        )

    @property
    def namespaces(self) -> Entries | None:
        """The Namespaces that are read from the start, if they are."""
        return self._namespaces

    def labels_of(self, namespace: str) -> Mapping[str, str] | None:
        """Return the labels of a namespace, if they are known."""
        if self._namespaces is None:
            return None
        entry = self._namespaces.get(NamespacedName("", namespace))
        return None if entry is None else entry.meta.labels

    def is_ours(self, namespace: str) -> bool:
        """Tell whether workloads of a namespace are looked at."""
        if self._namespaces is None or not self._selector.requirements:
            return True
        labels = self.labels_of(namespace)
        return labels is not None and self._selector.matches(labels)

    def is_selected(self, namespace: RawObject) -> bool:
        """Tell whether a Namespace has the labels that are asked for."""
        return self._selector.matches(namespace.meta.labels)
