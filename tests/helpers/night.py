"""A key group in which people often wait: random records of `work`, with holds and whatever ends or undoes them."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from helpers.flow_bench import REGISTRY, user_in_group

from state.model.event import RawEvent, resolve
from state.model.load import UNDER_LOAD
from state.model.work import (
    EndpointWork,
    EventWork,
    FollowWork,
    KillWork,
    PreferenceWork,
    ProfileWork,
    ReadWork,
    SliceWork,
    TickWork,
    VersionsWork,
    Work,
)

GROUP = 7
START = 1_767_225_600_000
HOUR_MS = 3_600_000
USERS = [user_in_group(GROUP, number) for number in range(14)]
STARS = ("star", "sun", USERS[0])
_FAN_OUTS = ("new_post", "new_post", "announcement", "mention", "share", "reminder", "newsletter")


def night(seed: int, length: int = 140) -> list[Work]:
    """Records in order; the same for the same seed."""
    return _Night(random.Random(seed)).records(length)


class _Night:
    def __init__(self, choose: random.Random) -> None:
        self._choose, self._now, self._number = choose, START, 0
        self._posts: list[dict[str, Any]] = []

    def records(self, length: int) -> list[Work]:
        records: list[Work] = []
        for user in USERS:
            records += [self._endpoint(user, active=self._choose.random() < 0.9), self._preference(user)]
            records += [self._work(FollowWork, follower=user, followee=star, on=True) for star in STARS]
        for _ in range(length):
            self._step()
            records.append(self._record())
        return [*records, TickWork(stamp=self._now + 30 * HOUR_MS)]

    def _step(self) -> None:
        """Mostly by little; else to the end of quiet hours or of a cap, or just before."""
        choose = self._choose
        if choose.random() < 0.75:
            self._now += choose.choice([0, 0, 1, 1000, 240_000])
        else:
            ahead = choose.choice([HOUR_MS - self._now % HOUR_MS, HOUR_MS, HOUR_MS // 2])
            self._now += max(ahead - choose.choice([0, 0, 1]), 0)

    def _record(self) -> Work:
        choose = self._choose
        user = choose.choice(USERS)
        makers = {
            self._fan_out: 40, self._retraction: 6, self._direct: 12, self._tick: 10,
            lambda: self._work(ReadWork, user=user, up_to=choose.choice([None, None, self._now - 1000])): 8,
            lambda: self._work(ReadWork, user=user, erase=True): 1,
            lambda: self._preference(user): 12,
            lambda: self._endpoint(user, active=choose.random() < 0.7): 5,
            lambda: self._work(ProfileWork, user=user, locale=choose.choice(["de", "fr"]), name=None): 2,
            self._kill: 5, self._versions: 2,
        }  # fmt: skip
        chosen: Callable[[], Work] = choose.choices(list(makers), list(makers.values()))[0]
        return chosen()

    def _work(self, kind: type[Work], **fields: Any) -> Work:
        return kind(g=GROUP, stamp=self._now, **fields)

    def _endpoint(self, user: str, *, active: bool) -> Work:
        channel = self._choose.choice(["push", "push", "push", "email"])
        state = "active" if active else "invalid"
        seen = self._choose.choice([START - 40 * 24 * HOUR_MS, self._now])
        return self._work(
            EndpointWork, user=user, channel=channel, id="d", address="x", state=state, registered_at=seen
        )

    def _preference(self, user: str) -> Work:
        choose = self._choose
        document: dict[str, Any] = {"frequency_cap": {"max_per_hour": choose.choice([0, 1, 1, 2, 3, 9])}}
        if choose.random() < 0.6:
            start, end = choose.sample(range(8), 2)
            document["quiet_hours"] = {"enabled": True, "start": f"0{start}:00", "end": f"0{end}:00"}
        if choose.random() < 0.15:
            document["muted"] = {"actors": [choose.choice(STARS)]}
        if choose.random() < 0.15:
            document["types"] = {choose.choice(_FAN_OUTS): {"enabled": False}}
        elif choose.random() < 0.5:
            document["types"] = {
                kind: {"channels": choose.sample(["push", "email", "in_app"], 2)} for kind in _FAN_OUTS
            }
        if choose.random() < 0.05:
            document["master"] = False
        return self._work(PreferenceWork, user=user, doc=document)

    def _event(self, **fields: Any) -> Any:
        self._number += 1
        return resolve(RawEvent(event_id=f"e{self._number}", **fields), REGISTRY, ingested_at=self._now)

    def _fan_out(self) -> Work:
        choose = self._choose
        fields = {
            "type": choose.choice(_FAN_OUTS), "actor": choose.choice(STARS), "object": choose.choice(["o1", "o2"]),
            "fan_out_type": choose.choice(["FOLLOWERS", "FOLLOWERS", "BROADCAST"]),
            "payload": {"critical": choose.random() < 0.9},
        }  # fmt: skip
        self._posts.append(fields)
        ttl = {"ttl_ms": choose.choice([HOUR_MS // 10, HOUR_MS // 2, 3 * HOUR_MS])} if choose.random() < 0.2 else {}
        return self._work(SliceWork, event=self._event(**fields, **ttl))

    def _retraction(self) -> Work:
        fields = self._choose.choice(self._posts) if self._posts else {"type": "new_post", "actor": "star"}
        return self._work(SliceWork, event=self._event(**fields, retracts=True))

    def _direct(self) -> Work:
        user = self._choose.choice(USERS)
        kind = self._choose.choice(["like", "mention", "comment"])
        event = self._event(type=kind, actor="a", target=user, object=self._choose.choice(["o1", "o2"]))
        return self._work(EventWork, event=event, users=[user])

    def _tick(self) -> Work:
        return TickWork(stamp=self._now)

    def _kill(self) -> Work:
        scope, value = self._choose.choice(
            [("type", "new_post"), ("channel", "push"), ("channel", "in_app"), ("all", ""), (UNDER_LOAD, "")]
        )
        return KillWork(stamp=self._now, scope=scope, value=value, on=self._choose.random() < 0.4)

    def _versions(self) -> Work:
        changed: list[dict[str, Any]] = [{"ttl_ms": HOUR_MS}, {"channels": ["email"]}, {}]
        types = {"new_post": self._choose.choice(changed)}
        return VersionsWork(stamp=self._now, registry=self._number, tzdata="t", rules=1, types=types)
