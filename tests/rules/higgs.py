"""A stream of 100 000 events out of the Higgs data set, with preferences, switches, follows and the rest made up.

Real: who did what to whom and when, half of it the burst of 4 July 2012, half spread over the week, and who follows
whom. Made up, from a seed: which tweet of the target's a retweet was of, every setting and address, and the events that
Twitter has no verb for. A smaller `events` scales everything.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from helpers.places import ROOT
from rules.higgs_sample import BURST, WEEK
from rules.writing import HOUR, MINUTE, Line, cancel, endpoint, follow, kill, prefer, read, segment, tick

DATA = ROOT.parent / "shared" / "data"
REAL = pytest.mark.skipif(not DATA.is_dir(), reason="the Higgs data is not there: ../shared/data is absent")
START = WEEK[0] * 1000
ZONES = [
    *("Europe/Rome", "Europe/London", "America/New_York", "America/Los_Angeles", "America/Sao_Paulo"),
    *("Asia/Kolkata", "Asia/Tokyo", "Australia/Lord_Howe", "Pacific/Apia"),
]
VERBS = {"retweet": ["like", "like", "share"], "mention": ["mention"], "reply": ["reply", "comment", "comment"]}
P0 = ["otp", "password_reset", "security_alert", "payment_confirmation", "account_lockout"]
SENDERS = ["app", "web", "jobs"]


def higgs_stream(data: Path, events: int, seed: int = 2012) -> list[Line]:
    """The records, in order of time; the same for the same arguments. `data` holds the tables."""
    return _Builder(random.Random(seed), data, events).build()


@dataclass(slots=True)
class _Builder:
    rng: random.Random
    data: Path
    wanted: int
    scene: list[Line] = field(default_factory=list)
    records: list[Line] = field(default_factory=list)
    events: list[Line] = field(default_factory=list)
    actors: list[str] = field(default_factory=list)
    targets: list[str] = field(default_factory=list)
    posters: list[str] = field(default_factory=list)

    def build(self) -> list[Line]:
        base = self._interactions()
        self.actors = [event["actor"] for event in base]
        self._settings_of(base)
        self._graph()
        for name in ("everyone", "few", "testers"):
            self._segment(START, name)
        for make, share in self._others():
            for _ in range(max(1, round(share * self.wanted))):
                make(self._moment())
        while len(self.events) < self.wanted:
            self._retraction(self._moment())
        self.records.sort(key=lambda record: record["ts"])
        return [*self.scene, *self.records, tick(self.records[-1]["ts"] + HOUR)]

    def _others(self) -> list[tuple[Callable[[int], None], float]]:
        """What is made up, and how much of it for each event."""
        events = [
            (self._retraction, 0.03),
            (self._scheduled, 0.008),
            (self._repeat, 0.006),
            (self._urgent, 0.01),
            (self._marketing, 0.005),
            (self._post, 0.003),
            (self._to_segment, 0.0004),
            (self._broadcast, 0.00004),
        ]
        settings = [
            (self._preference, 0.02),
            (self._endpoint, 0.015),
            (self._read, 0.02),
            (self._follow, 0.01),
            (self._kill, 0.0004),
            (lambda ts: self._segment(ts, "few"), 0.0002),
            (lambda ts: self.records.append(tick(ts)), 0.001),
        ]
        return events + settings

    # What is real -------------------------------------------------------------------

    def _interactions(self) -> list[Line]:
        """93 of 100 events."""
        table = pq.read_table(self.data / "higgs_interactions.parquet").to_pydict()
        rows = list(zip(*(table[name] for name in ("ts", "actor", "target", "verb", "object")), strict=True))
        count = round(self.wanted * 0.93)
        burst = [row for row in rows if row[0] in BURST]
        burst = burst[: count // 2]
        others = self.rng.sample([row for row in rows if row[0] not in BURST], count - len(burst))
        for ts, actor, target, verb, tweet in sorted(burst + others, key=lambda row: row[0]):
            self._interaction(ts * 1000, f"u{actor}", f"u{target}", verb, f"t{tweet}")
        return list(self.events)

    def _interaction(self, ts: int, actor: str, target: str, verb: str, tweet: str) -> None:
        """A retweet or comment is of the one thing that the target posted in those hours."""
        kind = self.rng.choice(VERBS[verb])
        thing = tweet if kind in ("mention", "reply") else f"{target}.{ts // (6 * HOUR)}"
        payload = {"text": tweet} if kind in ("comment", "reply") or self.rng.random() < 0.5 else None
        self._event(ts, kind, actor=actor, target=target, object=thing, payload=payload)

    def _graph(self) -> None:
        """The followers of the busiest and of some others, as the data has them."""
        table = pq.read_table(self.data / "higgs_follows.parquet").to_pydict()
        followers = defaultdict(list)
        for followee, follower in zip(table["followee"], table["follower"], strict=True):
            followers[followee].append(follower)
        busiest = sorted(followers, key=lambda name: -len(followers[name]))
        chosen = self.rng.sample(busiest[20:400], 40) + self.rng.sample(busiest[400:4000], 60)
        for followee in [busiest[0], *chosen]:
            self.posters.append(f"u{followee}")
            self.scene += [follow(START, f"u{follower}", f"u{followee}") for follower in followers[followee]]

    # Settings ----------------------------------------------------------------------

    def _settings_of(self, base: list[Line]) -> None:
        """Nearly all who are often a target, and some of the others, have addresses and preferences."""
        often = Counter(event["target"] for event in base)
        self.records = []
        for number, (user, times) in enumerate(often.most_common()):
            known = number < 300 or self.rng.random() < 0.3
            if known and self.rng.random() < 0.9:
                self._preference(START, user)
            if known or self.rng.random() < 0.2:
                self._endpoints(user)
            self.targets += [user] * min(times, 40)
        self.scene, self.records = self.records, base

    def _endpoints(self, user: str) -> None:
        for channel, chance in (("push", 0.8), ("email", 0.6), ("sms", 0.4)):
            if self.rng.random() < chance:
                self.records.append(endpoint(channel, user, ts=START))

    def _preference(self, ts: int, user: str | None = None) -> None:
        rng = self.rng
        document: dict[str, Any] = {}
        if rng.random() < 0.02:
            document["master"] = False
        if rng.random() < 0.8:
            start, end = rng.choice([("22:00", "08:00"), ("23:30", "07:00"), ("00:00", "09:30"), ("13:00", "15:00")])
            zone = rng.choice(ZONES)
            document["quiet_hours"] = {"enabled": rng.random() < 0.9, "start": start, "end": end, "timezone": zone}
        if rng.random() < 0.6:
            caps = {"max_per_hour": rng.choice([0, 1, 2, 5, 10, 30]), "max_per_day": rng.choice([3, 20, 50, 200])}
            document["frequency_cap"] = caps
        if rng.random() < 0.6:
            document["types"] = self._types()
        if rng.random() < 0.1:
            document["unsubscribed"] = {rng.choice(["email", "push", "in_app"]): [rng.choice(["social", "marketing"])]}
        if rng.random() < 0.1:
            annoying = rng.choice(self.events[: len(self.actors)])
            user = user or annoying["target"]
            document["muted"] = {
                "actors": [annoying["actor"], self._actor()],
                "objects": [f"{user}.{ts // (6 * HOUR)}"],
            }
        self.records.append(prefer(ts, user or self._target(), **document))

    def _types(self) -> dict[str, Any]:
        rng = self.rng
        lists = [["email"], ["email", "in_app"], ["push", "in_app"], ["in_app", "email", "push"], ["in_app"], []]
        kinds = rng.sample(["like", "comment", "mention", "reply", "share", "new_post"], 2)
        return {kind: {"enabled": rng.random() < 0.9, "channels": rng.choice(lists)} for kind in kinds} | {
            "promotion": {"enabled": True}
        }

    def _endpoint(self, ts: int) -> None:
        channel, state = self.rng.choice(["push", "push", "email", "sms"]), self.rng.choice(["active", "invalid"])
        self.records.append(endpoint(channel, self._target(), ts=ts, name=self.rng.choice("112"), state=state))

    def _follow(self, ts: int) -> None:
        self.records.append(follow(ts, self._actor(), self.rng.choice(self.posters), self.rng.random() < 0.6))

    def _segment(self, ts: int, name: str) -> None:
        size = {"everyone": 3000, "few": 200, "testers": 20}[name]
        members = self.rng.choices(self.targets, k=max(5, round(size * self.wanted / 100_000)))
        (self.scene if ts == START else self.records).append(segment(ts, name, members))

    def _kill(self, ts: int) -> None:
        """On, and off again after seconds or minutes."""
        rng = self.rng
        scope = rng.choice(["all", "sender", "type", "type", "channel", "channel", "campaign"])
        values = {
            "sender": SENDERS,
            "type": ["like", "comment", "mention", "otp", "new_post"],
            "channel": ["push", "email", "in_app", "sms"],
            "campaign": ["c0", "c1"],
        }
        value = rng.choice(values[scope]) if scope in values else None
        lasts = rng.choice([5_000, 20_000] if scope == "all" else [20_000, 2 * MINUTE, 10 * MINUTE])
        self.records += [kill(ts, scope, value), kill(ts + lasts, scope, value, on=False)]

    def _read(self, ts: int) -> None:
        self.records.append(read(ts, self.rng.choice([None, None, ts - MINUTE, ts - HOUR]), self._target()))

    # Other events --------------------------------------------------------------------

    def _moment(self) -> int:
        """As busy as the interactions are."""
        return int(self.rng.choice(self.events)["ts"]) + self.rng.choice([0, 1, self.rng.randint(0, 999)])

    def _target(self) -> str:
        return self.rng.choice(self.targets)

    def _actor(self) -> str:
        return self.rng.choice(self.actors)

    def _event(self, ts: int, kind: str, **fields: Any) -> None:
        given = {"event_id": f"h{len(self.events)}", "type": kind, "sender_id": self.rng.choice(SENDERS)} | fields
        record = {"kind": "event", "ts": ts} | {name: value for name, value in given.items() if value is not None}
        self.events.append(record)
        self.records.append(record)

    def _retraction(self, _: int) -> None:
        of = self.rng.choice(self.events)
        later = of["ts"] + self.rng.choice([0, 1, 5_000, 40_000, 20 * MINUTE, 10 * HOUR])
        same = ("type", "actor", "target", "object", "segment", "fan_out_type", "sender_id")
        fields = {name: of[name] for name in same if name in of}
        fields["parent_event_id"] = of["event_id"] if self.rng.random() < 0.3 else None
        fields["idempotency_key"] = f"k{len(self.events)}" if self.rng.random() < 0.3 else None
        self._event(later, fields.pop("type"), retracts=True, **fields)

    def _scheduled(self, ts: int) -> None:
        rng = self.rng
        kind, user = rng.choice(["reminder", "renewal", "appointment", "like", "comment"]), self._target()
        ahead = rng.choice([1, MINUTE, HOUR, 9 * HOUR, 30 * HOUR])
        actor = user if kind in ("reminder", "appointment") else self._actor()
        self._event(ts, kind, actor=actor, target=user, object=f"{user}.{ts // (6 * HOUR)}", deliver_at=ts + ahead)
        if rng.random() < 0.3:
            self.records.append(cancel(ts + rng.randint(0, 2 * ahead), self.events[-1]["event_id"]))

    def _repeat(self, _: int) -> None:
        """By content or key, or by event_id within a day."""
        of = self.rng.choice(self.events)
        fields = {name: value for name, value in of.items() if name not in ("kind", "ts", "type")}
        if self.rng.random() < 0.6:
            fields["event_id"] = f"h{len(self.events)}"
        later = of["ts"] + self.rng.choice([0, 1, MINUTE, HOUR - 1, HOUR, 5 * HOUR])
        self._event(later, of["type"], **fields)

    def _urgent(self, ts: int) -> None:
        user = self._target()
        to = self.rng.choice([None, None, {"sms": "+390600000000"}, {"email": "new@example.org", "push": None}])
        self._event(ts, self.rng.choice(P0), actor=None, target=user, to=to)

    def _marketing(self, ts: int) -> None:
        kind = self.rng.choice(["promotion", "campaign_july", "poke"])
        self._event(ts, kind, target=self._target(), object=f"c{self.rng.randint(0, 9)}", priority="P2")

    def _post(self, ts: int) -> None:
        """The busiest account posts once in a hundred."""
        actor = self.posters[0] if self.rng.random() < 0.01 else self.rng.choice(self.posters[1:])
        kind = self.rng.choice(["new_post", "new_video", "new_article"])
        self._event(ts, kind, actor=actor, object=f"{actor}.{ts}", fan_out_type="FOLLOWERS")

    def _to_segment(self, ts: int) -> None:
        self._campaign(ts, "SEGMENT", self.rng.choice(["everyone", "few", "few", "testers"]))

    def _broadcast(self, ts: int) -> None:
        self._campaign(ts, "BROADCAST", None)

    def _campaign(self, ts: int, fan_out: str, name: str | None) -> None:
        payload = {"critical": self.rng.random() < 0.5}
        kind = self.rng.choice(
            ["announcement", "maintenance", "promotion"] if name else ["announcement", "maintenance"]
        )
        self._event(ts, kind, object=f"c{self.rng.randint(0, 9)}", fan_out_type=fan_out, segment=name, payload=payload)
