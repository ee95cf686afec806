"""The few names, times and shapes that generated streams are made of, so that things collide."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from rules.writing import DAY, HOUR, MINUTE, SECOND, utc

# U+FF5E sorts before U+1F600 by code point and after it by UTF-16 unit.
USERS = ["u1", "u2", "u3", "u4", "\uff5eu", "\U0001f600u"]
ACTORS = [*USERS[:3], "a1", "a2", "a3", "a4", "a5"]
OBJECTS = ["o1", "o2", "\u00e9\uff5e"]
SENDERS = ["s1", "s2"]
SEGMENTS = ["g1", "g2"]
KEYS = ["k1", "k2", "k3"]

TYPES = [
    *("otp", "password_reset", "security_alert", "payment_confirmation", "account_lockout"),
    *("like", "follow", "comment", "reply", "mention", "share"),
    *("new_post", "new_video", "new_article"),
    *("announcement", "policy_change", "maintenance", "account_status"),
    *("reminder", "renewal", "appointment"),
    *("newsletter", "promotion", "re_engagement", "campaign_may", "poke", "digest"),
]
"""Every type of the default registry, a campaign, and two that nobody registered."""

BUSY_TYPES = ["like", "like", "comment", "comment", "follow", "mention", "reply", "share", "reminder", "promotion"]
CHANNELS = ["push", "email", "sms", "in_app", "webhook", "chat"]
FAN_OUTS = ["DIRECT", "FOLLOWERS", "SEGMENT", "BROADCAST"]
SCOPES = ["all", "sender", "type", "channel", "campaign"]
CATEGORIES = ["social", "security", "following", "service", "reminders", "marketing", "other"]

PAYLOADS: list[Any] = [{}, {"critical": True}, {"critical": 1}, {"text": "x"}, {"n": 1}, {"n": 1.0}, {"n": True}]
TTLS = [0, 1, 30 * SECOND, MINUTE, HOUR, HOUR - 1, 30 * DAY]
BOUNDARIES = [30 * SECOND, MINUTE, 2 * MINUTE, 10 * MINUTE, HOUR, 2 * HOUR, DAY]
"""Windows, ttls, the hour and the day."""

ZONES = [
    *("UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "Asia/Tokyo"),
    *("America/St_Johns", "Pacific/Chatham", "Africa/Casablanca", "Europe/Athens"),
]
BAD_ZONES: list[Any] = ["Europe/Atlantis", "", "../UTC", "Europe", "posix/Asia/Tokyo", "asia/tokyo", 5, None]
CLOCKS = [
    *("22:00", "08:00", "09:00", "07:00", "00:00", "23:59", "12:00", "13:30", "10:00"),
    *("01:30", "01:45", "02:00", "02:15", "02:30"),
]
BAD_CLOCKS: list[Any] = ["24:00", "7:00", "12:60", "", "noon", "08:00:00", 8, "08:00 "]

STARTS = [
    ("Asia/Tokyo", utc("2024-05-15 12:00")),
    ("UTC", utc("2024-05-15 21:58")),
    ("Asia/Kathmandu", utc("2024-05-16 06:55")),
    ("UTC", utc("2024-05-15 08:59")),
    ("Europe/Berlin", utc("2024-03-30 23:30")),  # spring
    ("Europe/Berlin", utc("2024-10-26 23:00")),  # autumn
    ("America/New_York", utc("2024-03-10 05:30")),  # spring
    ("America/New_York", utc("2024-11-03 04:30")),  # autumn
    ("Australia/Lord_Howe", utc("2024-04-06 13:30")),  # autumn
    ("Australia/Lord_Howe", utc("2024-10-05 14:30")),  # spring
    ("Europe/Athens", utc("1979-03-31 20:00")),  # its gap swallows 09:00
]
"""Where a stream begins, and the zone for which that is a time to look at."""

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def next_clock(now: int, zone: str, clock: str) -> int:
    """The first time from `now` on that this zone's clock is about to show HH:MM; good enough to aim at."""
    tz = ZoneInfo(zone)
    day = (EPOCH + timedelta(milliseconds=now)).astimezone(tz).date()
    hour, minute = int(clock[:2]), int(clock[3:])
    for ahead in range(3):
        local = datetime(day.year, day.month, day.day, hour, minute, tzinfo=tz) + timedelta(days=ahead)
        instant = round(local.timestamp() * 1000)
        if instant >= now:
            return instant
    return now
