"""Putting things into a repository: a blob in one go, then what points to it.

    HEAD blob ──▶ there: done
              ──▶ POST uploads/ ──▶ Location ──▶ PUT …?digest=…

For tests, samples and releases; the controllers themselves only read.
"""

from __future__ import annotations

from urllib.parse import parse_qsl, urlencode, urljoin, urlsplit, urlunsplit

from controllers.oci.answers import Asked
from controllers.oci.errors import DigestMismatchError, RegistryProtocolError
from controllers.oci.logins import PUSH
from controllers.oci.manifest import Content, digest_of
from controllers.oci.target import Target
from controllers.oci.wire import Wire
from controllers.web import Request


async def push_blob(wire: Wire, target: Target, data: bytes) -> str:
    """Push bytes, unless they are there, and return their digest.

    Raises:
        RegistryError: The class and `reason` say why.
    """
    digest = digest_of(data)
    look = Request(url=f"{target.url}/blobs/{digest}", method="HEAD")
    async with wire.open(target, look, actions=PUSH) as answer:
        if answer.status == 200:
            return digest
    start = Request(url=f"{target.url}/blobs/uploads/", method="POST", body=b"")
    async with wire.open(target, start, actions=PUSH) as answer:
        if answer.status != 202:
            await wire.refuse(target, Asked.UPLOAD, answer, what="beginning an upload")
        location = answer.headers.get("Location")
    if not location:
        raise RegistryProtocolError(
            f"{target.repository}: {target.host} does not say where to upload to"
        )
    put = Request(
        url=_with_digest(urljoin(start.url, location), digest),
        method="PUT",
        headers={"Content-Type": "application/octet-stream"},
        body=data,
    )
    async with wire.open(target, put, actions=PUSH) as answer:
        if answer.status != 201:
            await wire.refuse(target, Asked.UPLOAD, answer, what=f"pushing {digest}")
    return digest


async def push_manifest(
    wire: Wire, target: Target, reference: str, manifest: Content
) -> str:
    """Push a manifest under a tag or its digest, and return its digest.

    Raises:
        RegistryError: The class and `reason` say why.
    """
    put = Request(
        url=f"{target.url}/manifests/{reference}",
        method="PUT",
        headers={"Content-Type": manifest.media_type},
        body=manifest.data,
    )
    digest = manifest.descriptor.digest
    async with wire.open(target, put, actions=PUSH) as answer:
        if answer.status != 201:
            await wire.refuse(target, Asked.UPLOAD, answer, what=f"pushing {reference}")
        stored = answer.headers.get("Docker-Content-Digest", digest)
    if stored != digest:
        raise DigestMismatchError(
            f"{target.repository}: {target.host} stored {stored} instead of {digest}"
        )
    return digest


def _with_digest(url: str, digest: str) -> str:
    parts = urlsplit(url)
    query = [*parse_qsl(parts.query, keep_blank_values=True), ("digest", digest)]
    return urlunsplit(parts._replace(query=urlencode(query)))
