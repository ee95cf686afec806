"""The Retry-After header (RFC 9110 10.2.3), as far as it is obeyed."""

from __future__ import annotations

import re
from datetime import timedelta

LONGEST = timedelta(hours=1)
_SECONDS = re.compile(r"[0-9]{1,9}")


def parse_retry_after(value: str | None) -> timedelta | None:
    """The number of seconds asked for, at most an hour; None if absent, and for a date, whose clock is not ours.

    >>> parse_retry_after(" 7 ")
    datetime.timedelta(seconds=7)
    >>> parse_retry_after("Wed, 21 Oct 2026 07:28:00 GMT") is None
    True
    """
    if value is None or not _SECONDS.fullmatch(value.strip()):
        return None
    return min(timedelta(seconds=int(value)), LONGEST)
