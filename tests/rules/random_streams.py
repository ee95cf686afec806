"""Seeded streams of every kind of record, made with the standard library only: many and fast."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

from rules import vocabulary as words
from rules.writing import DAY, HOUR, MINUTE, Line, cancel, endpoint, follow, kill, prefer, read, segment, tick


def random_stream(seed: int, length: int | None = None, *, statuses: bool = True) -> list[Line]:
    """About 40 to 300 records; the same for the same seed. `statuses`: rows are read, unread and archived by name."""
    return _Writer(random.Random(seed), statuses=statuses, rolling=seed).write(length)


@dataclass(slots=True)
class _Writer:
    rng: random.Random
    now: int = 0
    records: list[Line] = field(default_factory=list)
    events: list[Line] = field(default_factory=list)
    types: list[str] = field(default_factory=list)
    users: list[str] = field(default_factory=list)
    pace: float = 0.5
    zone: str = "UTC"
    statuses: bool = True
    rolling: int = 1
    """The seed; a third of all have events in stages."""
    scheduling: float = 0.05
    slots: float = 0.0
    stages: random.Random | None = None
    """Draws what goes in stages, apart from all else."""

    def write(self, length: int | None) -> list[Line]:
        rng = self.rng
        self.zone, self.now = rng.choice(words.STARTS)
        self.scheduling = rng.choice([0.02, 0.05, 0.3])
        self.slots = rng.choice([0.0, 0.05, 0.5])
        self.stages = random.Random(self.now + self.rolling) if self.rolling % 3 == 0 else None
        self.types = rng.sample(words.TYPES, 3) + rng.sample(words.BUSY_TYPES, 2) * rng.choice([1, 3])
        self.users = rng.sample(words.USERS, rng.randint(1, len(words.USERS)))
        self.pace = rng.choice([0.4, 0.7, 0.85, 0.9])
        self._set_the_scene()
        for _ in range(length or rng.choice([40, 80, 80, 160, 300])):
            self._step()
            self._record()
            self._turn()
        if rng.random() < 0.5:
            self.now += rng.choice([HOUR, DAY, 3 * DAY])
            self.records.append(tick(self.now))
        return self.records

    def _set_the_scene(self) -> None:
        for user in self.users:
            for channel in ("push", "email", "sms"):
                if self.rng.random() < 0.75:
                    self.records.append(endpoint(channel, user, ts=self.now))
            if self.rng.random() < 0.6:
                self._preference(user)
        for name in words.SEGMENTS:
            self._segment(name)
        for follower in self.users:
            self._follow(follower)

    # Time -------------------------------------------------------------------------

    def _step(self) -> None:
        """Mostly stay or creep; else aim at a boundary, a millisecond before, at, or after it."""
        rng = self.rng
        dice = rng.random()
        if dice < self.pace:
            self.now += rng.choice([0, 0, 1, rng.randint(1, 5_000), rng.randint(1, 25_000)])
        elif dice < 0.9:
            self.now = max(self.now, self._aim() + rng.choice([-1, 0, 0, 1]))

    def _aim(self) -> int:
        rng = self.rng
        if rng.random() < 0.25:
            return words.next_clock(
                self.now, rng.choice([self.zone, rng.choice(words.ZONES)]), rng.choice(words.CLOCKS)
            )
        since = rng.choice(self.events[-12:])["ts"] if self.events else self.now
        return since + rng.choice(words.BOUNDARIES[:-1] if rng.random() < 0.9 else words.BOUNDARIES)

    # Records ----------------------------------------------------------------------

    def _record(self) -> None:
        writers = [
            *[(self._event, 66), (self._retraction, 9), (self._repeat, 4), (self._cancel, 1 + 10 * self.scheduling)],
            *[(self._preference, 6), (self._endpoint, 4), (self._read, 3)],
            *[(self._follow, 2), (self._segment, 1), (self._kill, 2), (self._tick, 2)],
        ]
        chosen = self.rng.choices([writer for writer, _ in writers], [weight for _, weight in writers])[0]
        chosen()

    def _maybe(self, chance: float, values: list[Any]) -> Any:
        return self.rng.choice(values) if self.rng.random() < chance else None

    def _event(self) -> None:
        rng = self.rng
        kind = rng.choice(self.types)
        p0 = kind in words.TYPES[:5]
        fields = {
            "event_id": f"e{rng.randint(0, 999):03}-{len(self.events)}",
            "type": kind,
            "actor": self._maybe(0.9, words.ACTORS),
            "target": self._maybe(0.97, [*self.users, *self.users[:1] * len(self.users)]),
            "object": self._maybe(0.85, [*words.OBJECTS, "o1", "o1"]),
            "sender_id": self._maybe(0.95, words.SENDERS),
            "fan_out_type": self._maybe(0.2, words.FAN_OUTS),
            "segment": self._maybe(0.3, words.SEGMENTS),
            "priority": self._maybe(0.15, ["P0", "P1", "P2"]),
            "ttl_ms": self._maybe(0.2, words.TTLS),
            "payload": self._maybe(0.7, [*words.PAYLOADS, *[{"n": rng.random()}] * 6]),
            "deliver_at": self._deliver_at() if rng.random() < self.scheduling else None,
            "idempotency_key": self._maybe(0.1, words.KEYS),
            "to": self._to() if rng.random() < (0.4 if p0 else 0.05) else None,
            "parent_event_id": self._some_id() if rng.random() < 0.03 else None,
            "slot": True if rng.random() < self.slots else None,
        }
        self._add(fields)

    def _add(self, fields: dict[str, Any]) -> None:
        """A field that is null is mostly left out."""
        explicit = self.rng.random() < 0.1
        given = {name: value for name, value in fields.items() if explicit or value is not None}
        record = {"kind": "event", "ts": self.now} | given
        if self.stages is not None and fields.get("fan_out_type") and self.stages.random() < 0.6:
            record["rollout"] = self._rollout(self.stages)
        self.records.append(record)
        self.events.append(record)

    def _rollout(self, rng: random.Random) -> Line:
        plan: Line = {"stages": rng.choice([[100], [50, 100], [1, 10, 100], [20, 40, 60, 80, 100]])}
        if rng.random() < 0.6:
            plan["hold_ms"] = rng.choice([1_000, MINUTE, HOUR])
        return plan | ({"spread_ms": rng.choice([MINUTE, 5 * MINUTE, DAY])} if rng.random() < 0.3 else {})

    def _turn(self) -> None:
        """Somebody does something to what goes in stages, or to what does not."""
        if self.stages is not None and self.events and self.stages.random() < 0.3:
            staged = [event for event in self.events if "rollout" in event] or self.events
            verb = self.stages.choice(["advance", "advance", "advance", "pause", "resume", "resume", "cancel"])
            named = {"event_id": self.stages.choice(staged[-4:])["event_id"], "verb": verb}
            self.records.append({"kind": "rollout", "ts": self.now} | named)

    def _retraction(self) -> None:
        """Of a recent event, mostly of the same everything."""
        if not self.events:
            return
        of = self.rng.choice(self.events[-25:])
        same = ("type", "actor", "target", "object", "segment", "fan_out_type", "sender_id")
        fields = {name: of.get(name) for name in same} | {"retracts": True, "event_id": f"r{len(self.events)}"}
        fields["parent_event_id"] = self._maybe(0.3, [of["event_id"], of["event_id"], "nobody"])
        fields["idempotency_key"] = self._maybe(0.5, [f"r{len(self.events)}"])
        fields["deliver_at"] = self._deliver_at() if self.rng.random() < self.scheduling else None
        if self.rng.random() < 0.1:
            fields["sender_id"] = self.rng.choice(words.SENDERS)
        self._add(fields)

    def _repeat(self) -> None:
        """The same again: by content, by key, or by event_id (within a day of its first use only)."""
        young = [event for event in self.events[-25:] if self.now - event["ts"] < DAY - HOUR]
        if not young:
            return
        of = self.rng.choice(young)
        fields = {name: value for name, value in of.items() if name not in ("kind", "ts")}
        if self.rng.random() < 0.6:
            fields["event_id"] = f"d{len(self.events)}"
        else:
            first = next(event for event in self.events if event["event_id"] == of["event_id"])
            if self.now - first["ts"] >= DAY:
                return
        if self.rng.random() < 0.2:
            fields["sender_id"] = self.rng.choice(words.SENDERS)
        if self.rng.random() < 0.2:
            fields["payload"] = self.rng.choice(words.PAYLOADS)
        self._add(fields)

    def _deliver_at(self) -> int:
        rng = self.rng
        ahead = self.now + rng.choice([-1, 0, 1, *words.BOUNDARIES])
        return max(self._aim(), self.now) if rng.random() < 0.3 else ahead

    def _to(self) -> dict[str, str | None]:
        chosen = self.rng.sample(words.CHANNELS[: self.rng.choice([3, 4, 6])], self.rng.randint(0, 3))
        return {channel: self.rng.choice([f"to-{channel}", None]) for channel in chosen}

    def _some_id(self) -> str:
        return str(self.rng.choice(self.events[-25:])["event_id"]) if self.events else "nobody"

    def _cancel(self) -> None:
        kept = [event["event_id"] for event in self.events if (event.get("deliver_at") or 0) >= self.now]
        self.records.append(cancel(self.now, self.rng.choice(kept) if kept else self._some_id()))

    def _endpoint(self) -> None:
        rng = self.rng
        channel = rng.choice(["push", "push", "email", "sms", "webhook", "chat"])
        state = "active" if rng.random() < 0.7 else "invalid"
        name = rng.choice(["1", "1", "2"])
        self.records.append(endpoint(channel, rng.choice(self.users), ts=self.now, name=name, state=state))

    def _follow(self, follower: str | None = None) -> None:
        chosen = follower or self.rng.choice(self.users)
        self.records.append(follow(self.now, chosen, self.rng.choice(words.USERS), self.rng.random() < 0.8))

    def _segment(self, name: str | None = None) -> None:
        members = self.rng.choices(words.USERS, k=self.rng.randint(0, 5))
        self.records.append(segment(self.now, name or self.rng.choice(words.SEGMENTS), members))

    def _kill(self) -> None:
        rng = self.rng
        on = [record for record in self.records if record["kind"] == "kill" and record["on"]]
        if on and rng.random() < 0.75:
            last = rng.choice(on[-3:])
            self.records.append(kill(self.now, last["scope"], last["value"], on=False))
            return
        scope = rng.choices(words.SCOPES, [1, 2, 4, 8, 3])[0]
        values = {"sender": words.SENDERS, "type": self.types, "channel": words.CHANNELS, "campaign": words.OBJECTS}
        self.records.append(kill(self.now, scope, rng.choice(values[scope]) if scope in values else None))

    def _read(self) -> None:
        rng = self.rng
        user = rng.choice(self.users)
        recent = [event["ts"] for event in self.events[-10:]] or [self.now]
        moment = rng.choice([None, None, self.now, self.now - 1, self.now + 5, *recent])
        if self.statuses and self.events and rng.random() < 0.4:
            self._mark()
        else:
            self.records.append(read(self.now, moment, user))

    def _mark(self) -> None:
        """Rows of late events are marked: of those that began one, and of others."""
        rng = self.rng
        event = rng.choice(self.events[-20:])
        row = {"type": event["type"], "event_id": event["event_id"], "at": rng.choice([event["ts"], self.now])}
        if event.get("object") is not None:
            row["object"] = event["object"]
        said = {"up_to": 0, "status": rng.choice(["read", "read", "unread", "archived"]), "rows": [row]}
        self.records.append(read(self.now, None, event.get("target") or rng.choice(self.users)) | said)

    def _tick(self) -> None:
        self.records.append(tick(self.now))

    # Preferences --------------------------------------------------------------------

    def _preference(self, user: str | None = None) -> None:
        rng = self.rng
        document: dict[str, Any] = {}
        if rng.random() < 0.15:
            document["master"] = rng.random() < 0.4
        if rng.random() < 0.6:
            document["quiet_hours"] = self._quiet_hours()
        if rng.random() < 0.7:
            document["frequency_cap"] = self._caps()
        if rng.random() < 0.7:
            document["types"] = {kind: self._type_setting() for kind in rng.sample(self.types, 2)}
        if rng.random() < 0.2:
            document["unsubscribed"] = {rng.choice(words.CHANNELS): rng.sample(words.CATEGORIES, 2)}
        if rng.random() < 0.2:
            document["muted"] = {"actors": rng.sample(words.USERS, 1), "objects": rng.sample(words.OBJECTS, 1)}
            del document["muted"][rng.choice(["actors", "objects"])]
        self.records.append(prefer(self.now, user or rng.choice(self.users), **document))

    def _quiet_hours(self) -> dict[str, Any]:
        rng = self.rng
        hours: dict[str, Any] = {
            "enabled": rng.random() < 0.8,
            "start": rng.choice(words.CLOCKS if rng.random() < 0.9 else words.BAD_CLOCKS),
            "end": rng.choice(words.CLOCKS if rng.random() < 0.95 else words.BAD_CLOCKS),
            "timezone": rng.choice([self.zone, rng.choice(words.ZONES), rng.choice(words.ZONES + words.BAD_ZONES)]),
        }
        for name in list(hours):
            if rng.random() < 0.08:
                del hours[name]
        return hours

    def _caps(self) -> dict[str, int]:
        caps = {
            "max_per_hour": self.rng.choice([0, 1, 1, 2, 2, 3, 8]),
            "max_per_day": self.rng.choice([0, 2, 5, 9, 9, 40]),
        }
        if self.rng.random() < 0.4:
            del caps[self.rng.choice(["max_per_hour", "max_per_day"])]
        return caps

    def _type_setting(self) -> dict[str, Any]:
        setting: dict[str, Any] = {}
        if self.rng.random() < 0.5:
            setting["enabled"] = self.rng.random() < 0.8
        if self.rng.random() < 0.7:
            setting["channels"] = self.rng.choices(words.CHANNELS, k=self.rng.choice([0, 1, 2, 2, 3, 5]))
        return setting
