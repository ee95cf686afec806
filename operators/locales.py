"""Numbers and times as a language writes them, by the Unicode CLDR of the pinned library. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from babel import Locale, UnknownLocaleError
from babel.dates import format_date, format_datetime, format_time
from babel.numbers import format_decimal

from state.model.errors import TemplateError
from state.model.zones import local_time

PLURALS = ("zero", "one", "two", "few", "many", "other")
TIME_FORMS = ("date", "time", "datetime")
_SPOKEN = "en"
_EPOCH = datetime.fromtimestamp(0, UTC)
_LEAP_SECOND = re.compile(":59:60")
"""Shown as the second before, the last that people's clocks have."""


@lru_cache(maxsize=1_000)
def _locale(name: str) -> Locale:
    """The locale, or the nearest wider one that is known, or English."""
    parts = name.replace("_", "-").split("-")
    for end in range(len(parts), 0, -1):
        try:
            return Locale.parse("-".join(parts[:end]), sep="-")
        except (ValueError, UnknownLocaleError):  # the wider one is asked next
            continue
    return Locale.parse(_SPOKEN)


def plural_names(locale: str) -> frozenset[str]:
    """The forms that a language tells apart."""
    return frozenset({*_locale(locale).plural_form.tags, "other"})


def plural_text(locale: str, number: object, forms: Mapping[str, str]) -> str:
    """The form for a number; `#` in it is the number, as the language writes it.

    :raises TemplateError: there is no form `other`.
    :raises ValueError: it is no number.
    """
    if "other" not in forms:
        raise TemplateError("plural: has no form `other`")
    count = int(str(number))
    found = forms.get(_locale(locale).plural_form(count), forms["other"])
    return found.replace("#", format_decimal(count, locale=_locale(locale)))


def time_said(locale: str, at: object, zone: str | None, form: str) -> str:
    """A time, in milliseconds or by ISO 8601, on the clocks of a zone; without one by UTC, and then it says so.

    :raises TemplateError: there is no such form.
    :raises ValueError: it is no time.
    """
    try:
        local, found = local_time(_moment(str(at)), zone or "UTC"), _locale(locale)
    except OverflowError as error:
        raise ValueError("beyond the calendar") from error
    if form == "date":
        return format_date(local, "long", locale=found)
    if form not in TIME_FORMS:
        raise TemplateError(f"time: has no form {form}; use {', '.join(TIME_FORMS)}")
    shown = format_time(local, "short", locale=found) if form == "time" else ""
    return (shown or format_datetime(local, "medium", locale=found)) + ("" if zone else " UTC")


def _moment(text: str) -> datetime:
    if text.isascii() and text.isdigit():
        return _EPOCH + timedelta(seconds=int(text) // 1000)
    moment = datetime.fromisoformat(_LEAP_SECOND.sub(":59:59", text))
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
