"""Simulation records (TOPICS, Records of a simulation) to records of the decision log, under the virtual clock of their
`ts`.

The same acceptance and planning as in the running system: what `sequence` does from topics, this does from one totally
ordered file. Of RULES 1 it applies defaults, class rules, `deliver_at` and repeats.
"""

from collections.abc import Iterator
from typing import Any

import msgspec

from operators.keep import Acceptance, accept, cancel, release
from operators.plan import plan_event, plan_follow, plan_segment
from state.model.errors import MalformedRecordError
from state.model.event import RawEvent, resolve
from state.model.keys import key_group
from state.model.registry import Registry
from state.model.work import EndpointWork, FollowWork, KillWork, PreferenceWork, ReadWork, TickWork, Work
from state.sequence.placement import Placement

Placed = tuple[int, Work]


class Simulation:
    """Turns records into (place, record of the decision log); places rise by one."""

    def __init__(self, registry: Registry) -> None:
        self.acceptance = Acceptance(registry)
        self.placement = Placement()
        self.now = 0
        self._place = 0

    def records(self, line: dict[str, Any]) -> Iterator[Placed]:
        """Releases due by the record's `ts`, then the record.

        :raises MalformedRecordError: naming the field that does not fit.
        """
        timestamp = line.get("ts")
        if not isinstance(timestamp, int) or timestamp < self.now:
            raise MalformedRecordError(f"ts: {timestamp!r} is no time in ms at or after {self.now}")
        while (event := release(self.acceptance, timestamp)) is not None:
            yield from self._place_all(plan_event(self.placement, event, event.ingested_at))
        self.now = timestamp
        yield from self._place_all(self._plan(line, timestamp))

    def end(self) -> Placed:
        """A tick at the last record's time: no timer fires after it."""
        return self._place, TickWork(stamp=self.now)

    def _place_all(self, records: Iterator[Work]) -> Iterator[Placed]:
        place = self._place
        self._place += 1
        for record in records:
            yield place, record

    def _plan(self, line: dict[str, Any], now: int) -> Iterator[Work]:
        kind = line.get("kind")
        try:
            if kind == "event":
                yield from self._plan_event(line, now)
            elif kind == "cancel":
                cancel(self.acceptance, str(line.get("event_id")))
            elif kind == "follow":
                follow = msgspec.convert({**line, "g": key_group(line["follower"]), "stamp": now}, FollowWorkFields)
                yield from plan_follow(self.placement, follow.work())
            elif kind == "segment":
                yield from plan_segment(self.placement, line["segment"], line["users"], now)
            elif kind == "kill":
                yield KillWork(stamp=now, scope=line["scope"], value=line.get("value"), on=line.get("on", True))
            elif kind in ("preference", "endpoint", "read"):
                yield self._user_work(kind, line, now)
            elif kind != "tick":
                raise MalformedRecordError(f"kind: {kind!r} is no kind of simulation record")
        except (KeyError, msgspec.ValidationError) as error:
            raise MalformedRecordError(f"{kind} record: {error}") from error

    def _plan_event(self, line: dict[str, Any], now: int) -> Iterator[Work]:
        fields = {key: value for key, value in line.items() if key not in ("kind", "ts", "ingested_at")}
        event = resolve(msgspec.convert(fields, RawEvent), self.acceptance.registry, ingested_at=now)
        accepted = accept(self.acceptance, event, now)
        if accepted is not None:
            yield from plan_event(self.placement, accepted, now)

    @staticmethod
    def _user_work(kind: str, line: dict[str, Any], now: int) -> Work:
        group = key_group(line["user"])
        if kind == "preference":
            return PreferenceWork(g=group, stamp=now, user=line["user"], doc=line.get("doc") or {})
        if kind == "read":
            return ReadWork(g=group, stamp=now, user=line["user"], up_to=line.get("up_to"))
        return EndpointWork(
            g=group, stamp=now, user=line["user"], channel=line["channel"], id=line["id"],
            platform=line.get("platform"), address=line.get("address"), state=line.get("state") or "active",
            registered_at=now,
        )  # fmt: skip


class FollowWorkFields(msgspec.Struct):
    """A follow record as it is written in the file."""

    g: int
    stamp: int
    follower: str
    followee: str
    on: bool = True

    def work(self) -> FollowWork:
        return FollowWork(g=self.g, stamp=self.stamp, follower=self.follower, followee=self.followee, on=self.on)
