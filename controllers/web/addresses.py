"""How far away an address is, and how far a request may go.

    PUBLIC     anybody's: the open network
    PRIVATE    ours: RFC 1918, unique local, carrier-grade NAT
    LOCAL      this machine's, or this pod's: loopback
    FORBIDDEN  nobody's business: link-local, cloud metadata, unspecified, multicast

A URL that a stranger wrote must not make the manager ask what the stranger cannot: the
metadata services of clouds hand out credentials to whoever asks from the right place.
The check is made on the addresses that a connection goes to, after names have been
looked up, so a name that changes its mind gains nothing.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from enum import IntEnum
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Protocol

_Address = IPv4Address | IPv6Address

_METADATA = frozenset(
    map(
        ip_address,
        (
            "fd00:ec2::254",  # AWS over IPv6; the others use link-local
            "fd20:ce::254",  # Google over IPv6
            "100.100.100.200",  # Alibaba
            "192.0.0.192",  # Oracle
            "168.63.129.16",  # Azure's wire server
        ),
    )
)

_NAT64 = IPv6Network("64:ff9b::/96")
"""An IPv4 address in its last four bytes (RFC 6052)."""


class Reach(IntEnum):
    """How far away something is; greater needs more trust."""

    PUBLIC = 0
    PRIVATE = 1
    LOCAL = 2
    FORBIDDEN = 3


class Resolver(Protocol):
    """Looks names up."""

    async def __call__(self, host: str, port: int, /) -> Sequence[str]:
        """Return the IP addresses of a host.

        Raises:
            OSError: There is no such name.
        """
        ...


async def system_resolver(host: str, port: int) -> Sequence[str]:
    """Ask the operating system, in a thread of the loop."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


def reach_of(address: str) -> Reach:
    """Say how far away an IP address is.

    Raises:
        ValueError: It is none.
    """
    ip = _unwrapped(ip_address(address.partition("%")[0]))
    if ip.is_link_local or ip.is_unspecified or ip.is_multicast or ip in _METADATA:
        return Reach.FORBIDDEN
    if ip.is_loopback:
        return Reach.LOCAL
    return Reach.PUBLIC if ip.is_global else Reach.PRIVATE


def literal_reach(host: str) -> Reach | None:
    """Say how far away a host is that is written as an IP address, else `None`."""
    try:
        return reach_of(host.strip("[]"))
    except ValueError:
        return None


async def host_reach(host: str, resolver: Resolver) -> Reach:
    """Say how far away a host is; of several addresses the furthest in counts.

    Raises:
        OSError: There is no such name.
    """
    literal = literal_reach(host)
    if literal is not None:
        return literal
    addresses = await resolver(host, 0)
    return max(map(reach_of, addresses), default=Reach.FORBIDDEN)


def _unwrapped(ip: _Address) -> _Address:
    """Find the IPv4 address that an IPv6 one may stand for."""
    if isinstance(ip, IPv6Address):
        if ip in _NAT64:
            return IPv4Address(ip.packed[-4:])
        return ip.ipv4_mapped or ip.sixtofour or ip
    return ip
