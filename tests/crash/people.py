"""Who lives in the system under load: addresses, preferences, who follows whom. Seeded; nothing here sends anything."""

import random
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

PEOPLE = 60
USERS = [f"u{number}" for number in range(PEOPLE)]
STARS = USERS[:3]
POPULAR = USERS[:6]
"""The ones most spoken to: always reachable by push and without caps, so that windows fill."""
SEGMENTS = ("news", "beta")
TYPE_TABLES = {"like": {"window_ms": 7000}, "comment": {"window_ms": 2500}, "follow": {"window_ms": 5000}}
"""Windows short enough to open, fill and end many times in a run."""
_ZONES = ("UTC", "Europe/Paris", "Asia/Kathmandu", "America/New_York", "Australia/Lord_Howe", "Pacific/Kiritimati")
Call = tuple[str, str, Any]
"""Method, path, body."""


def push_token(number: int, device: int, choose: random.Random) -> str:
    """Mostly plain; some take their time, so that a kill finds sends under way; some refuse once, some are gone."""
    kind = choose.choices(("", f"slow{choose.randrange(20, 400)}-", "503x1-", "gone-"), (50, 40, 5, 5))[0]
    return f"{kind}{number:03}x{device}" if kind else f"{number:062x}{device:02x}"


def mail_address(number: int, choose: random.Random) -> str:
    kind = choose.choices(("", f"slow{choose.randrange(20, 300)}-", "450x1-"), (60, 35, 5))[0]
    return f"{kind}person{number}@example.com"


def phone(number: int, choose: random.Random) -> str:
    return f"+19995031{number:03}" if choose.random() < 0.1 else f"+1555200{number:04}"


def endpoints(number: int, choose: random.Random) -> Iterator[Call]:
    """The calls that register a person's addresses."""
    user = USERS[number]
    devices = choose.choice((1, 2) if user in POPULAR else (0, 1, 1, 1, 2, 3))
    for device in range(devices):
        body = {"platform": "ios", "address": push_token(number, device, choose)}
        yield "PUT", f"/v1/users/{user}/endpoints/push/phone{device}", body
    if choose.random() < 0.8:
        yield "PUT", f"/v1/users/{user}/endpoints/email/home", {"address": mail_address(number, choose)}
    if choose.random() < 0.6:
        yield "PUT", f"/v1/users/{user}/endpoints/sms/mobile", {"address": phone(number, choose)}


SOON = (1, 1, 2, 2)
"""Minutes until quiet hours end: where they begin beside the load, or what is not sent yet is held for longer than a
run lasts."""


def preferences(
    user: str, choose: random.Random, now: datetime, ends_in: Sequence[int] = (*SOON, 480)
) -> dict[str, Any]:
    """A document; quiet hours end in one of these numbers of minutes."""
    if user in POPULAR:
        return {"frequency_cap": {"max_per_hour": 5000, "max_per_day": 5000}, "types": _types(choose)}
    document: dict[str, Any] = {"frequency_cap": _caps(choose), "types": _types(choose)}
    if choose.random() < 0.3:
        document["quiet_hours"] = _quiet_hours(choose, now, ends_in)
    if choose.random() < 0.15:
        document["muted"] = {"actors": [choose.choice(USERS)], "objects": [f"photo{choose.randrange(4)}"]}
    if choose.random() < 0.1:
        document["unsubscribed"] = {"email": ["marketing", "social"]}
    if choose.random() < 0.05:
        document["master"] = False
    return document


def _caps(choose: random.Random) -> dict[str, int]:
    hour = choose.choice((0, 1, 3, 5, 20, 500, 500, 500, 500))
    return {"max_per_hour": hour, "max_per_day": choose.choice((hour + 3, 1000, 1000))}


def _types(choose: random.Random) -> dict[str, Any]:
    types: dict[str, Any] = {"newsletter": {"enabled": choose.random() < 0.8}}
    if choose.random() < 0.3:
        types["comment"] = {"channels": ["email"]}
    if choose.random() < 0.3:
        types["mention"] = {"channels": ["email", "in_app"]}
    if choose.random() < 0.2:
        types["like"] = {"channels": ["in_app"]}
    if choose.random() < 0.1:
        types["share"] = {"enabled": False}
    return types


def _quiet_hours(choose: random.Random, now: datetime, ends_in: Sequence[int]) -> dict[str, Any]:
    zone = choose.choice(_ZONES)
    local = now.astimezone(ZoneInfo(zone))
    start, end = local - timedelta(hours=1), local + timedelta(minutes=choose.choice(ends_in))
    return {"enabled": True, "start": f"{start:%H:%M}", "end": f"{end:%H:%M}", "timezone": zone}


def settle_in(choose: random.Random) -> Iterator[tuple[str | None, Call]]:
    """Everybody's settings: (user whose token it takes, or None for the host application, call)."""
    now = datetime.now(UTC)
    for number, user in enumerate(USERS):
        yield from ((None, call) for call in endpoints(number, choose))
        if user in POPULAR or choose.random() < 0.8:
            yield user, ("PUT", "/v1/preferences", preferences(user, choose, now))
    for star in STARS:
        fans = choose.sample(USERS, 35)
        yield None, ("POST", "/v1/follows", [{"followee": star, "follower": fan} for fan in fans])
    for segment in SEGMENTS:
        yield None, ("PUT", f"/v1/segments/{segment}", choose.sample(USERS, 30))
