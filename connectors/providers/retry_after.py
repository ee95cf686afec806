"""The Retry-After header (RFC 9110 10.2.3), as far as it is obeyed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime

LONGEST = timedelta(hours=1)
_SECONDS = re.compile(r"[0-9]{1,9}")
_DATE_MAX = 64


def parse_retry_after(headers: Mapping[str, str]) -> timedelta | None:
    """How long an answer asks to wait, at most an hour; None if it does not say.

    A date is compared with the answer's own Date, since its clock is not ours.

    >>> parse_retry_after({"retry-after": " 7 "})
    datetime.timedelta(seconds=7)
    >>> until = "Wed, 21 Oct 2026 07:28:00 GMT"
    >>> parse_retry_after({"retry-after": until, "date": "Wed, 21 Oct 2026 07:27:00 GMT"})
    datetime.timedelta(seconds=60)
    >>> parse_retry_after({"retry-after": until}) is None
    True
    """
    value = headers.get("retry-after", "").strip()
    if _SECONDS.fullmatch(value):
        return min(timedelta(seconds=int(value)), LONGEST)
    until, now = _date(value), _date(headers.get("date", ""))
    return None if until is None or now is None else min(max(until - now, timedelta()), LONGEST)


def _date(text: str) -> datetime | None:
    try:
        found = parsedate_to_datetime(text[:_DATE_MAX])
    except (ValueError, OverflowError):
        return None
    return found if found.tzinfo is not None else None  # HTTP's dates are GMT, and say so
