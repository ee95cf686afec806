"""A user's preference document (TOPICS, The preference document), compiled once per distinct document.

Documents reach the log in other ways than through the gateway's validation, so compiling is total: what is missing or
malformed counts as absent, and its default holds (RULES 1: a missing key is that key's default; RULES 3.D.1 for times
and zones).
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from state.model.durations import MINUTE_MS
from state.model.zones import zone_name_or_utc

DEFAULT_QUIET_START = "22:00"
DEFAULT_QUIET_END = "08:00"
DEFAULT_MAX_PER_HOUR = 10
DEFAULT_MAX_PER_DAY = 50


class QuietRange(NamedTuple):
    """Local wall clock range [start, end) in ms of the day, in an IANA zone; may cross midnight."""

    start_ms: int
    end_ms: int
    zone: str


class CompiledTypeSetting(NamedTuple):
    """What the user stored for one type; None: nothing stored."""

    enabled: bool | None
    channels: tuple[str, ...] | None


class Preference(NamedTuple):
    """A compiled document without its mutes, which are kept per user."""

    master: bool
    quiet: QuietRange | None
    """None: no quiet hours."""
    zone: str
    """Zone of quiet hours and digest; UTC where missing or invalid."""
    max_per_hour: int
    max_per_day: int
    types: Mapping[str, CompiledTypeSetting]
    unsubscribed: Mapping[str, frozenset[str]]


def mapping(value: object) -> Mapping[str, Any]:
    """A part of a document that came any way."""
    return value if isinstance(value, Mapping) else {}


def _strings(value: object) -> frozenset[str]:
    return frozenset(v for v in value if isinstance(v, str)) if isinstance(value, list) else frozenset()


def time_of_day_ms(text: object) -> int | None:
    """HH:MM from 00:00 to 23:59 as ms of the day, else None."""
    if not isinstance(text, str) or len(text) != 5 or text[2] != ":":
        return None
    hours, minutes = text[:2], text[3:]
    if not (hours.isascii() and hours.isdigit() and minutes.isascii() and minutes.isdigit()):
        return None
    if int(hours) > 23 or int(minutes) > 59:
        return None
    return (int(hours) * 60 + int(minutes)) * MINUTE_MS


def _or_default(document: Mapping[str, Any], key: str, default: Any) -> Any:
    value = document.get(key)
    return default if value is None else value


def _quiet_hours(document: Mapping[str, Any]) -> QuietRange | None:
    if document.get("enabled") is not True:
        return None
    start = time_of_day_ms(_or_default(document, "start", DEFAULT_QUIET_START))
    end = time_of_day_ms(_or_default(document, "end", DEFAULT_QUIET_END))
    if start is None or end is None or start == end:
        return None
    return QuietRange(start, end, zone_name_or_utc(document.get("timezone")))


def _cap(document: Mapping[str, Any], key: str, default: int) -> int:
    value = document.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) else default


def _type_setting(value: object) -> CompiledTypeSetting:
    table = mapping(value)
    enabled, channels = table.get("enabled"), table.get("channels")
    return CompiledTypeSetting(
        enabled if isinstance(enabled, bool) else None,
        tuple(dict.fromkeys(c for c in channels if isinstance(c, str))) if isinstance(channels, list) else None,
    )


def compile_preference(document: Mapping[str, Any]) -> Preference:
    """The document with all defaults; never raises."""
    quiet, caps = mapping(document.get("quiet_hours")), mapping(document.get("frequency_cap"))
    return Preference(
        master=document.get("master") is not False,
        quiet=_quiet_hours(quiet),
        zone=zone_name_or_utc(quiet.get("timezone")),
        max_per_hour=_cap(caps, "max_per_hour", DEFAULT_MAX_PER_HOUR),
        max_per_day=_cap(caps, "max_per_day", DEFAULT_MAX_PER_DAY),
        types={name: _type_setting(value) for name, value in mapping(document.get("types")).items()},
        unsubscribed={c: _strings(v) for c, v in mapping(document.get("unsubscribed")).items()},
    )


def muted_names(document: Mapping[str, Any], key: str) -> frozenset[str]:
    """The names under `muted.actors` or `muted.objects`."""
    return _strings(mapping(document.get("muted")).get(key))
