"""A blob as it comes, checked: bytes of the wrong size or digest never end well."""

from __future__ import annotations

import hashlib
from typing import Self

from controllers.oci.errors import DigestMismatchError
from controllers.oci.manifest import Descriptor
from controllers.oci.target import Target
from controllers.web import Answer, TooLargeError


class CheckedChunks:
    """A blob as it comes; the end comes only if size and digest are right."""

    def __init__(self, target: Target, descriptor: Descriptor, answer: Answer) -> None:
        self._target = target
        self._descriptor = descriptor
        self._chunks = answer.chunks(descriptor.size)
        self._hash = hashlib.sha256()
        self._size = 0

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        try:
            chunk = await anext(self._chunks)
        except StopAsyncIteration:
            self._check()
            raise
        except TooLargeError:
            raise self._mismatch(f"more than {self._descriptor.size} bytes") from None
        self._hash.update(chunk)
        self._size += len(chunk)
        return chunk

    def _check(self) -> None:
        if self._size != self._descriptor.size:
            raise self._mismatch(f"{self._size} bytes of {self._descriptor.size}")
        digest = f"sha256:{self._hash.hexdigest()}"
        if digest != self._descriptor.digest:
            raise self._mismatch(digest)

    def _mismatch(self, got: str) -> DigestMismatchError:
        return DigestMismatchError(
            f"{self._target.repository}: {self._target.host} answers {got} "
            f"for the blob {self._descriptor.digest}"
        )
