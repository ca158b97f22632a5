"""TLS handshakes in memory: no socket, no loop, and both ends at hand."""

from __future__ import annotations

import hashlib
import ssl

from controller_runtime.certificates import CertificateAuthority
from controller_runtime.tls import KeyPair, load_pair

HOST = "webhook.shop.svc"

NO_CHECK_TIME = 0x200000
"""`X509_V_FLAG_NO_CHECK_TIME`: OpenSSL's clock is the host's, a test's is its own."""


class Connection:
    """A client and a server that have shaken hands."""

    def __init__(self, server: ssl.SSLContext, client: ssl.SSLContext) -> None:
        up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.client = client.wrap_bio(down, up, server_hostname=HOST)
        self.server = server.wrap_bio(up, down, server_side=True)
        waiting = [self.client, self.server]
        while waiting:
            for end in tuple(waiting):
                try:
                    end.do_handshake()
                    waiting.remove(end)
                except ssl.SSLWantReadError:
                    pass

    def says(self, word: bytes) -> bytes:
        """Send a word from the client and return what the server reads."""
        self.client.write(word)
        return self.server.read()

    @property
    def fingerprint(self) -> str:
        """Of the certificate that the client was shown."""
        shown = self.client.getpeercert(binary_form=True)
        assert shown is not None
        pem = ssl.DER_cert_to_PEM_cert(shown).encode()
        return hashlib.sha256(pem).hexdigest()[:16]


def client_context(
    ca: bytes, *, pair: KeyPair | None = None, newest: ssl.TLSVersion | None = None
) -> ssl.SSLContext:
    """Return what a client has that believes `ca`, whatever the time."""
    context = ssl.create_default_context(cadata=ca.decode())
    context.verify_flags |= NO_CHECK_TIME
    if newest is not None:
        context.maximum_version = newest
    if pair is not None:
        load_pair(context, pair)
    return context


def shown_by(server: ssl.SSLContext, ca: bytes) -> str:
    """Return the fingerprint of what a server shows a client that believes `ca`."""
    return Connection(server, client_context(ca)).fingerprint


def serving(authority: CertificateAuthority) -> KeyPair:
    """Issue a certificate for `HOST`."""
    return authority.server([HOST], [])
