"""The people of the demo: who they are, where they live, what they want. Made up, the same at every start."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo

_NAMES = (
    "Ada Grace Linus Alan Edsger Barbara Donald Margaret Dennis Ken Frances Radia Tim Hedy Claude Karen Leslie Shafi "
    "Vint Joan Niklaus Jean John Katherine Guido Mary Bjarne Anita James Annie Yukihiro Lynn Rob Evelyn Brian Sophie "
    "Tony Adele Peter Susan Ivan Elena Kurt Rosa Emil Stephanie Butler Sylvia Robin Deborah Silvio"
).split()
_ZONES = (
    *("Europe/Rome", "Europe/London", "America/New_York", "America/Los_Angeles", "America/Sao_Paulo"),
    *("Asia/Kolkata", "Asia/Tokyo", "Australia/Lord_Howe", "Pacific/Apia"),
)
_LOCALES = ("en", "en", "en", "de", "fr")


@dataclass(frozen=True, slots=True)
class Person:
    """One person; `rank` 0 is the most popular."""

    rank: int
    name: str
    zone: str
    locale: str

    @property
    def user(self) -> str:
        """The user id."""
        return self.name.lower()

    @property
    def has_browser(self) -> bool:
        """Every third person also reads in a web browser."""
        return self.rank % 3 == 1

    def endpoints(self) -> Iterator[tuple[str, str, dict[str, Any]]]:
        """(channel, id, document) of what reaches the person; every seventh has no device, second ones are Androids."""
        if self.rank % 7 != 6:
            for device in range(1 + (self.rank % 5 == 0)):
                token = f"{self.user.encode().hex():0<40}{device:024x}"
                platform, address = ("android", f"demo:{token}") if device else ("ios", token)
                yield "push", f"phone{device + 1}", {"platform": platform, "address": address}
        yield "sms", "mobile", {"address": f"+1555{2_000_000 + self.rank:07}"}
        yield "email", "mailbox", {"address": f"{self.user}@example.com"}

    def preferences(self, now: datetime) -> dict[str, Any]:
        """What the person wants; some are in their quiet hours right now, wherever they live."""
        return {
            "quiet_hours": self._quiet_hours(now),
            "frequency_cap": self._cap(),
            "types": self._types(),
            "muted": {"actors": ["linus"] if self.rank % 6 == 3 else [], "objects": []},
            "unsubscribed": {"email": ["marketing"]} if self.rank % 8 == 5 else {},
            **({"master": False} if self.rank % 13 == 12 else {}),
        }

    def _types(self) -> dict[str, Any]:
        wanted: dict[str, Any] = {"newsletter": {"enabled": self.rank % 2 == 0}}
        if self.rank % 10 == 8:
            wanted["like"] = {"enabled": False}
        return wanted

    def _cap(self) -> dict[str, int]:
        """Most want everything (the popular would reach the default within a minute of the demo), some very little."""
        few = {4: 3, 7: 10}.get(self.rank % 9)
        return {"max_per_hour": few or 10_000, "max_per_day": 5 * (few or 10_000)}

    def _quiet_hours(self, now: datetime) -> dict[str, Any]:
        if self.rank % 5 != 2:
            return {"enabled": False}
        local = now.astimezone(ZoneInfo(self.zone))
        begin, end = local - timedelta(hours=2), local + timedelta(hours=3)
        return {"enabled": True, "start": f"{begin:%H:%M}", "end": f"{end:%H:%M}", "timezone": self.zone}


@cache
def people() -> tuple[Person, ...]:
    """Everybody, the most popular first."""
    return tuple(
        Person(rank, name, _ZONES[rank % len(_ZONES)], _LOCALES[rank % len(_LOCALES)])
        for rank, name in enumerate(_NAMES)
    )


def star() -> Person:
    """Whose phone is watched: she wants to hear of everything."""
    return people()[1]


def pick(everybody: Sequence[Person], rng: random.Random) -> Person:
    """Somebody, by Zipf's law: the second is met half as often as the first."""
    return rng.choices(everybody, weights=[1 / (person.rank + 1) for person in everybody])[0]


def follows(everybody: Sequence[Person], rng: random.Random) -> list[dict[str, Any]]:
    """Who follows whom: the popular have nearly everybody."""
    return [
        {"follower": follower.user, "followee": followee.user, "on": True}
        for followee in everybody
        for follower in everybody
        if follower is not followee and rng.random() < 0.9 / (1 + followee.rank / 3)
    ]
