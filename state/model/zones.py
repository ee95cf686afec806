"""Time zones from the pinned tzdata wheel, never from the machine, so that every process and replay agrees.

Offsets are cached per zone and UTC day as the instants at which they change; transitions are exact to the second.
"""

from datetime import UTC, datetime
from functools import cache, lru_cache
from importlib import metadata, resources
from zoneinfo import ZoneInfo

from state.model.durations import DAY_MS, HOUR_MS


@cache
def tzdata_version() -> str:
    """Version of the zone data that decisions use, e.g. 2026.6."""
    return metadata.version("tzdata")


@cache
def zone_names() -> frozenset[str]:
    """All IANA names in the pinned data."""
    return frozenset((resources.files("tzdata") / "zones").read_text(encoding="utf-8").split())


@cache
def _zone(name: str) -> ZoneInfo:
    with (resources.files("tzdata") / "zoneinfo").joinpath(*name.split("/")).open("rb") as file:
        return ZoneInfo.from_file(file, key=name)


def zone_name_or_utc(name: object) -> str:
    """`name` if it is an IANA zone, else UTC (RULES 3.D.1)."""
    return name if isinstance(name, str) and name in zone_names() else "UTC"


def _offset_ms(zone: ZoneInfo, instant_ms: int) -> int:
    moment = datetime.fromtimestamp(instant_ms // 1000, UTC).astimezone(zone)
    offset = moment.utcoffset()
    assert offset is not None
    return offset.days * DAY_MS + offset.seconds * 1000


def _change_between(zone: ZoneInfo, before_ms: int, after_ms: int) -> int:
    """The instant in (before, after] from which the offset at `after_ms` holds; at most one change lies between."""
    new = _offset_ms(zone, after_ms)
    while after_ms - before_ms > 1000:
        middle = (before_ms + after_ms) // 2000 * 1000
        if _offset_ms(zone, middle) == new:
            after_ms = middle
        else:
            before_ms = middle
    return after_ms


@lru_cache(maxsize=65_536)
def day_offsets(name: str, day: int) -> tuple[tuple[int, int], ...]:
    """(instant ms, offset ms from then on) for UTC day number `day`; the first instant is the day's beginning."""
    zone, start = _zone(name), day * DAY_MS
    pieces = [(start, _offset_ms(zone, start))]
    for hour in range(1, 25):
        instant = start + hour * HOUR_MS - (1000 if hour == 24 else 0)
        if _offset_ms(zone, instant) != pieces[-1][1]:
            change = _change_between(zone, start + (hour - 1) * HOUR_MS, instant)
            pieces.append((change, _offset_ms(zone, change)))
    return tuple(pieces)


def offset_at(name: str, instant_ms: int) -> int:
    """Offset from UTC in ms that the zone's clocks show at an instant."""
    found = 0
    for start, offset in day_offsets(name, instant_ms // DAY_MS):
        if start > instant_ms:
            break
        found = offset
    return found


def next_change(name: str, instant_ms: int, limit_ms: int) -> int | None:
    """The first instant after `instant_ms`, at most `limit_ms`, at which the offset changes; None if there is none."""
    current = offset_at(name, instant_ms)
    for day in range(instant_ms // DAY_MS, limit_ms // DAY_MS + 1):
        for start, offset in day_offsets(name, day):
            if instant_ms < start <= limit_ms and offset != current:
                return start
    return None


def local_time(moment: datetime, name: str) -> datetime:
    """What clocks of the zone show at a moment; `name` is one of `zone_names`, or UTC's."""
    return moment.astimezone(_zone(zone_name_or_utc(name)))


def is_local_time(text: str) -> bool:
    """Whether it is a date and a time of day that every zone has."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return False
    return moment.tzinfo is None and 1970 < moment.year < 9999


def local_ms(moment: datetime, name: str) -> int:
    """The instant at which clocks of the zone show `moment`: the first one if they show it twice. If they leave it out,
    as long after the gap's begin.
    """
    return int(moment.replace(tzinfo=_zone(zone_name_or_utc(name))).timestamp()) * 1000
