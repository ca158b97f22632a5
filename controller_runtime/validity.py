"""Until when a certificate is valid, read without a library.

Every start with a kubeconfig asks this once. The library that knows all of X.509 costs
8 MB and 25 ms to load; the answer is in a fixed place (RFC 5280, 4.1):

    Certificate ▶ tbsCertificate ▶ [version] serial signature issuer validity
                                                                      └▶ begin, end
"""

from __future__ import annotations

import re
import ssl
from datetime import UTC, datetime
from typing import NamedTuple

_BLOCK = re.compile(
    rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL
)
_VERSION = 0xA0
_UTC_TIME = 0x17


class _Value(NamedTuple):
    """One value of DER."""

    tag: int
    content: bytes
    rest: bytes
    """What comes behind it."""


def not_after(pem: bytes) -> datetime:
    """Return the end of the first certificate in `pem`.

    Raises:
        ValueError: There is none that could be read.
    """
    block = _BLOCK.search(pem)
    if block is None:
        raise ValueError("no certificate")
    try:
        certificate = _read(ssl.PEM_cert_to_DER_cert(block[0].decode("ascii")))
        value = _read(_read(certificate.content).content)
        if value.tag == _VERSION:
            value = _read(value.rest)
        for _ in ("serial", "signature", "issuer"):
            value = _read(value.rest)
        not_before = _read(value.content)
        return _time(_read(not_before.rest))
    except IndexError:
        raise ValueError("a certificate that is cut off") from None


def _read(der: bytes) -> _Value:
    tag, length, start = der[0], der[1], 2
    if length & 0x80:  # the length of the length
        start += length & 0x7F
        length = int.from_bytes(der[2:start], "big")
    return _Value(tag, der[start : start + length], der[start + length :])


def _time(value: _Value) -> datetime:
    text = value.content.decode("ascii")
    if value.tag == _UTC_TIME:  # two digits of the year: 1950 to 2049
        text = ("19" if text >= "50" else "20") + text
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)
