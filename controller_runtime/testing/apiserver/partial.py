"""Objects as their metadata alone, for clients that ask for no more.

    Accept: application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1

Source: `pkg/endpoints/handlers/response.go` of k8s.io/apiserver.
"""

from __future__ import annotations

from controller_runtime.meta import Json

_HEAD = {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1"}


def is_wanted(accept: str) -> bool:
    """Tell whether the first media type that a client accepts is metadata."""
    first, *_ = accept.split(",")
    return "as=PartialObjectMetadata" in first.replace(" ", "")


def of_answer(answer: Json) -> Json:
    """Reduce an object, or each object of a list."""
    if "items" not in answer:
        return _of_object(answer)
    head = {**_HEAD, "kind": f"{_HEAD['kind']}List", "metadata": answer["metadata"]}
    return {**head, "items": [_of_object(item) for item in answer["items"]]}


def of_event(event: Json) -> Json:
    """Reduce the object of a watch event; errors stay as they are."""
    if event["type"] == "ERROR":
        return event
    return {**event, "object": _of_object(event["object"])}


def _of_object(obj: Json) -> Json:
    return {**_HEAD, "metadata": obj["metadata"]}
