"""What a repository has: tags, manifests, blobs (OCI distribution specification 1.1).

    RegistryClient                      one a process: turns, tokens, answers of the
      └── .repository(ref, access) ──▶ last 10 s, shared by all who may share them
            RemoteRepository
              tags()        every tag, over all pages
              head(ref)     what a tag points to now; free on Docker Hub
              manifest(ref) its bytes, checked
              blob(…)       bytes, checked; download(…) into a file
              referrers(…)  signatures and the like

An ETag is an opportunity and no more: distribution sends none for tags, and others send
none at all. What has changed is told by digests.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, NoReturn

from controller_runtime import Clock
from controllers.oci.answers import Asked
from controllers.oci.blobs import CheckedChunks
from controllers.oci.errors import (
    BlobTooLargeError,
    DigestMismatchError,
    InvalidReferenceError,
    RegistryProtocolError,
    RegistryTimeoutError,
    TagNotFoundError,
)
from controllers.oci.manifest import (
    ACCEPT,
    MANIFEST_MAX,
    OCI_MANIFEST,
    Content,
    Descriptor,
    Head,
    Manifest,
    ManifestError,
    digest_of,
    read_index,
    write_image,
)
from controllers.oci.memo import Kept, Memo
from controllers.oci.pages import PAGE_BYTES_MAX, PageError, Pages
from controllers.oci.reference import Repository, is_digest, is_tag
from controllers.oci.target import Access, Target
from controllers.oci.upload import push_blob, push_manifest
from controllers.oci.wire import Wire, WireOptions
from controllers.web import (
    Answer,
    Http,
    NotModified,
    Request,
    save,
)

BLOB_MAX = 20 << 20
"""Largest blob in bytes that is fetched if the caller says nothing."""

_REFERRERS_MAX = 4 << 20

_LONG = 1 << 20
"""Bytes of JSON above which a thread reads it: 10 ms."""

_ANSWERS = 1000
"""Answers kept of each sort; a list of 2500 tags takes 250 KB."""

_ASK_WITH_GET = frozenset({200, 404, 405, 501})
"""Answers to HEAD that are not believed before GET says so, too: some registries know
no HEAD, or answer it without a digest, or with 404 where they dislike `Accept`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryClientOptions:
    """How registries are asked."""

    wire: WireOptions = field(default_factory=WireOptions)

    memory: float = 10.0
    """Seconds that a list of tags or a digest holds for others who ask the same."""

    page_size: int | None = None
    """Tags a page; by default the registry decides, which takes fewest requests."""


class TagList(NamedTuple):
    """All tags of a repository, in the registry's order, which means nothing."""

    tags: tuple[str, ...]

    etag: str = ""
    """To ask again with; empty if there is none, or there were several pages."""


class Answers:
    """What was answered a moment ago, to whoever may know."""

    def __init__(self) -> None:
        self.tags: Memo[tuple[Target, str], TagList | NotModified] = Memo(_ANSWERS)
        self.heads: Memo[tuple[Target, str, str], Head | NotModified] = Memo(_ANSWERS)


class RegistryClient:
    """Registries, for everyone in the process."""

    def __init__(
        self, http: Http, *, clock: Clock, options: RegistryClientOptions | None = None
    ) -> None:
        """Ask over `http`, which the caller has entered and closes.

        Args:
            http: The pool of connections.
            clock: For registries that name a date at which to come back.
            options: How they are asked.
        """
        self._options = options or RegistryClientOptions()
        self._wire = Wire(http, clock=clock, options=self._options.wire)
        self._answers = Answers()

    def repository(
        self, repository: Repository, access: Access | None = None
    ) -> RemoteRepository:
        """Return a repository to ask; nothing is sent yet."""
        target = Target(repository, access or Access())
        return RemoteRepository(target, self._wire, self._answers, self._options)


class RemoteRepository:
    """A repository, as somebody with certain credentials sees it."""

    def __init__(
        self,
        target: Target,
        wire: Wire,
        answers: Answers,
        options: RegistryClientOptions,
    ) -> None:
        self.target = target
        self._wire = wire
        self._answers = answers
        self._options = options

    def __str__(self) -> str:
        return str(self.target.repository)

    @asynccontextmanager
    async def within(self, seconds: float) -> AsyncIterator[None]:
        """Give what is inside so many seconds altogether.

        Raises:
            RegistryTimeoutError: They were not enough.
        """
        try:
            async with asyncio.timeout(seconds):
                yield
        except TimeoutError:
            raise RegistryTimeoutError(
                f"{self}: {self.target.host} was not done after {seconds:g} s"
            ) from None

    async def tags(
        self, *, etag: str = "", fresh: bool = False
    ) -> TagList | NotModified:
        """List all tags.

        Args:
            etag: Of the last list: if it is still that, `NotModified` is returned.
            fresh: Do not take an answer that somebody got a moment ago.

        Raises:
            RegistryError: The class and `reason` say why.
        """

        async def ask() -> Kept[TagList | NotModified]:
            return Kept(await self._list(etag), self._options.memory)

        question = (self.target, etag)
        if fresh:
            self._answers.tags.drop(question)
        return await self._answers.tags.get(question, ask)

    async def head(
        self, reference: str, *, etag: str = "", fresh: bool = False
    ) -> Head | NotModified:
        """Find out what a tag points to, or whether a digest is there.

        Args:
            reference: A tag or a digest.
            etag: Of the last time: if it is still that, `NotModified` is returned.
            fresh: Do not take an answer that somebody got a moment ago.

        Raises:
            RegistryError: The class and `reason` say why.
        """

        async def ask() -> Kept[Head | NotModified]:
            return Kept(await self._head(reference, etag), self._options.memory)

        question = (self.target, reference, etag)
        if fresh:
            self._answers.heads.drop(question)
        return await self._answers.heads.get(question, ask)

    async def manifest(self, reference: str) -> Manifest:
        """Fetch a manifest by tag or digest, and check its bytes.

        Raises:
            DigestMismatchError: They are not what they are said to be.
            RegistryError: The class and `reason` say why.
        """
        found = await self._manifest(reference, "")
        if isinstance(found, NotModified):
            self._strange("answers 304 without having been asked")
        return found

    async def blob(self, descriptor: Descriptor, *, limit: int = BLOB_MAX) -> bytes:
        """Fetch a blob and check its size and digest.

        Raises:
            DigestMismatchError: It is not what the descriptor says.
            RegistryError: The class and `reason` say why.
        """
        async with self._blob(descriptor, limit) as chunks:
            return b"".join([chunk async for chunk in chunks])

    async def download(
        self, descriptor: Descriptor, path: Path, *, limit: int = BLOB_MAX
    ) -> None:
        """Fetch a blob into a file, which appears whole and checked or not at all.

        Raises:
            DigestMismatchError: It is not what the descriptor says.
            RegistryError: The class and `reason` say why.
        """
        async with self._blob(descriptor, limit) as chunks:
            await save(chunks, path)

    async def referrers(self, digest: str) -> Sequence[Descriptor]:
        """List what refers to a manifest: signatures, attestations.

        Registries without that API keep the list under a tag made of the digest.

        Raises:
            RegistryError: The class and `reason` say why.
        """
        what = f"what refers to {digest}"
        _require_reference(digest)
        request = Request(url=f"{self.target.url}/referrers/{digest}")
        async with self._wire.open(self.target, request) as answer:
            if answer.status == 200:
                return self._index(await answer.read(_REFERRERS_MAX))
            if answer.status != 404:
                await self._refuse(answer, Asked.MANIFEST, what)
        try:
            tag = await self.manifest(digest.replace(":", "-", 1))
        except TagNotFoundError:
            return ()
        return self._index(tag.content)

    def forget(self) -> None:
        """Drop the tokens of this access: the Secret has changed, or was refused."""
        self._wire.forget(self.target)

    async def push(
        self,
        tag: str,
        *,
        config: Content,
        layers: Sequence[Content],
        annotations: Mapping[str, str] | None = None,
        states_type: bool = True,
    ) -> str:
        """Push an artifact under a tag, which is moved if it is there, and its blobs.

        Returns:
            The manifest's digest.

        Raises:
            RegistryError: The class and `reason` say why.
        """
        for content in (config, *layers):
            await push_blob(self._wire, self.target, content.data)
        manifest = write_image(
            config.descriptor,
            [layer.descriptor for layer in layers],
            annotations=annotations,
            states_type=states_type,
        )
        return await self.push_manifest(tag, Content(OCI_MANIFEST, manifest))

    async def push_manifest(self, reference: str, manifest: Content) -> str:
        """Push a manifest, whose blobs are there, under a tag or its digest."""
        _require_reference(reference)
        return await push_manifest(self._wire, self.target, reference, manifest)

    async def _list(self, etag: str) -> TagList | NotModified:
        pages = Pages(f"{self.target.url}/tags/list", size=self._options.page_size)
        conditions = {"If-None-Match": etag} if etag else {}
        found = ""
        while pages.next is not None:
            request = Request(url=pages.next, headers=conditions)
            async with self._wire.open(self.target, request) as answer:
                if answer.status == 304 and conditions:
                    return NotModified()
                if answer.status != 200:
                    await self._refuse(answer, Asked.TAGS, "listing tags")
                found = answer.headers.get("ETag", "")
                await self._take(pages, answer)
            conditions = {}
        return TagList(pages.tags, found if pages.count == 1 else "")

    async def _take(self, pages: Pages, answer: Answer) -> None:
        body, links = await answer.read(PAGE_BYTES_MAX), answer.all("Link")
        try:
            if len(body) < _LONG:
                pages.take(body, links)
            else:
                await asyncio.to_thread(pages.take, body, links)
        except PageError as error:
            self._strange(str(error))

    async def _head(self, reference: str, etag: str) -> Head | NotModified:
        async with self._manifests(reference, etag, "HEAD") as answer:
            if answer.status == 304 and etag:
                return NotModified()
            digest = answer.headers.get("Docker-Content-Digest", "")
            if answer.status == 200 and is_digest(digest):
                self._compare(reference, digest)
                return Head(
                    digest=digest,
                    media_type=_media_type(answer),
                    size=_length(answer),
                    etag=answer.headers.get("ETag", ""),
                )
            if answer.status not in _ASK_WITH_GET:
                await self._refuse(answer, Asked.MANIFEST, f"looking at {reference}")
        found = await self._manifest(reference, etag)
        if isinstance(found, NotModified):
            return found
        return Head(
            digest=found.digest,
            media_type=found.media_type,
            size=len(found.content),
            etag=found.etag,
        )

    async def _manifest(self, reference: str, etag: str) -> Manifest | NotModified:
        async with self._manifests(reference, etag, "GET") as answer:
            if answer.status == 304 and etag:
                return NotModified()
            if answer.status != 200:
                await self._refuse(answer, Asked.MANIFEST, f"fetching {reference}")
            content = await answer.read(MANIFEST_MAX)
            digest = digest_of(content)
            self._compare(reference, digest)
            stated = answer.headers.get("Docker-Content-Digest", "")
            if is_digest(stated):
                self._compare(stated, digest)
            return Manifest(
                content=content,
                digest=digest,
                media_type=_media_type(answer),
                etag=answer.headers.get("ETag", ""),
            )

    def _manifests(
        self, reference: str, etag: str, method: str
    ) -> AbstractAsyncContextManager[Answer]:
        _require_reference(reference)
        headers = {"Accept": ACCEPT, **({"If-None-Match": etag} if etag else {})}
        url = f"{self.target.url}/manifests/{reference}"
        request = Request(url=url, method=method, headers=headers)
        return self._wire.open(self.target, request)

    @asynccontextmanager
    async def _blob(
        self, descriptor: Descriptor, limit: int
    ) -> AsyncIterator[CheckedChunks]:
        if not is_digest(descriptor.digest):
            self._strange(f"names {descriptor.digest!r}, which cannot be checked")
        if descriptor.size > limit:
            raise BlobTooLargeError(
                f"{self}: {descriptor.digest} has {descriptor.size} bytes; "
                f"at most {limit} are wanted"
            )
        request = Request(url=f"{self.target.url}/blobs/{descriptor.digest}")
        async with self._wire.open(self.target, request) as answer:
            if answer.status != 200:
                what = f"fetching {descriptor.digest}"
                await self._refuse(answer, Asked.BLOB, what)
            yield CheckedChunks(self.target, descriptor, answer)

    def _index(self, content: bytes) -> Sequence[Descriptor]:
        try:
            return read_index(content)
        except ManifestError as error:
            self._strange(str(error))

    def _compare(self, expected: str, digest: str) -> None:
        """Refuse bytes that are not those that were asked for; tags promise nothing."""
        if is_digest(expected) and expected != digest:
            raise DigestMismatchError(
                f"{self}: {self.target.host} answers {digest} for {expected}"
            )

    async def _refuse(self, answer: Answer, asked: Asked, what: str) -> NoReturn:
        await self._wire.refuse(self.target, asked, answer, what=what)

    def _strange(self, why: str) -> NoReturn:
        raise RegistryProtocolError(f"{self}: {self.target.host}: {why}")


def _require_reference(text: str) -> None:
    if not is_tag(text) and not is_digest(text):
        raise InvalidReferenceError(f"{text!r} is neither a tag nor a digest")


def _media_type(answer: Answer) -> str:
    return answer.headers.get("Content-Type", "").partition(";")[0].strip().lower()


def _length(answer: Answer) -> int | None:
    text = answer.headers.get("Content-Length", "")
    return int(text) if re.fullmatch("[0-9]{1,18}", text) else None
