"""Headers that several callers read: values in, values out."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime

SHORTEST = timedelta(seconds=1)
LONGEST = timedelta(hours=6)
"""A pause that a server asks for is kept within these."""


def retry_after(text: str | None, now: datetime) -> timedelta | None:
    """Read a `Retry-After` header: seconds, or a date (RFC 9110, 10.2.3).

    Args:
        text: The header, if there is one.
        now: Wall-clock time, with a timezone.

    Returns:
        The pause, within 1 s and 6 h; `None` if there is no header or no sense in it.
    """
    if text is None:
        return None
    text = text.strip()
    if re.fullmatch(r"[0-9]{1,9}", text):
        pause = timedelta(seconds=int(text))
    else:
        try:
            date = parsedate_to_datetime(text)
        except ValueError:
            return None
        if date.tzinfo is None:
            return None
        pause = date - now
    return min(max(pause, SHORTEST), LONGEST)
