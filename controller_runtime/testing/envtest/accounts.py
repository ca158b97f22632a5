"""Who a test registry knows.

The hashes are bcrypt, the only sort that distribution reads; they are written down
because Python makes none without a package for it. The passwords open nothing else.
"""

from __future__ import annotations

from typing import NamedTuple


class Account(NamedTuple):
    """A user of a test registry."""

    username: str
    password: str
    hash: str
    """Of the password, as `htpasswd -Bn` writes it."""


ALICE = Account(
    "alice",
    "pa:ss",  # a colon, which basic authentication allows here and nowhere else
    "$2a$05$P6n92rh1r5UqQAabEUAmU.gU./IB/6.GyRRt.6OGTnjUyFoSNqYx.",
)

ALICE_LATER = ALICE._replace(
    password="second",  # noqa: S106 - see above
    hash="$2a$05$HZZHb2BzW7zhnYxsvflYUe6kcUIIRRyoJC4pMRsC1F6fOkfij9hFm",
)
"""The same user after her password was changed."""
