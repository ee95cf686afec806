"""Simulation records (TOPICS, Records of a simulation) to records of the decision log, under the virtual clock of their
`ts`.

The same acceptance and planning as in the running system: what `sequence` does from topics, this does from one totally
ordered file. Of RULES 1 it applies defaults, class rules, `deliver_at` and repeats.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from operators.campaigns import part_event
from operators.dedup import forget, original_of, remember
from operators.plan import place_follow, plan_event, plan_segment
from operators.schedule import Reaction, on_cancel, on_event, on_released, settle
from state.model.campaign import CampaignAct, CampaignOrder, RolloutVerb, rollout_name
from state.model.errors import MalformedRecordError
from state.model.event import Event, RawEvent, resolve
from state.model.registry import Registry
from state.model.schedule import CANCEL, Released
from state.model.schema import Schema
from state.model.settings import ENDPOINT, FOLLOW, KILL, PREFERENCE, READ, EndpointRecord, Setting
from state.model.type_record import with_published
from state.model.work import FollowWork, TickWork, VersionsWork, Work, work_of
from state.model.zones import tzdata_version
from state.schedule.campaigns import CampaignBook
from state.schedule.kept import KeptEvents
from state.sequence.placement import Placement
from state.sequence.repeats import RepeatIndex

Placed = tuple[int, Work]
_LATEST_MS = 253_370_764_800_000
"""The year 9999: what waits then ends within the calendar. Micro- and nanoseconds of our time are beyond it."""


class Acceptance:
    """What gateway, `schedule` and `sequence` do together with events, by the same rules; times must never fall."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self.marks = RepeatIndex()
        self.kept = KeptEvents()
        self.book = CampaignBook()

    def accept(self, event: Event, now: int) -> Event | None:
        """The event to decide now; None if it is a repeat, is kept for later or goes in parts."""
        self.marks.expire(now)
        if original_of(self.marks, event, now) is not None:
            return None
        remember(self.marks, self.registry, event, now)
        if event.rollout is not msgspec.UNSET:
            self.book.begin(event, now)
            return None
        reaction = on_event(self.kept, event)
        self._settle(reaction)
        return event if reaction.kept is None else None

    def cancel(self, event_id: str) -> None:
        """Cancel an event, if it is kept still, or what has not gone of one in parts."""
        self._settle(on_cancel(self.kept, event_id))
        self.turn(event_id, "cancel")

    def turn(self, event_id: str, verb: RolloutVerb) -> None:
        """What somebody does to an event that goes in parts."""
        name = rollout_name(event_id)
        seen = self.book.campaigns[name].revision if name in self.book.campaigns else 0
        self.book.act(CampaignAct(id="", campaign=name, revision=seen, verb=verb, by="", at=0))

    def release(self, now: int, since: int = 0) -> Event | None:
        """The next kept event or part due at or before `now`, as it is decided; no part went before `since`."""
        due = self.kept.first_due(now)
        end = now if due is None or due.deliver_at is None else due.deliver_at - 1
        parts = [(max(at, since), each) for each in self.book.rollouts() if (at := each.next_at()) is not None]
        at, rollout = min(parts, key=lambda part: part[0], default=(end + 1, None))
        if rollout is not None and at <= end:
            number = len(rollout.ordered)
            rollout.count(CampaignOrder(rollout.name, 0, number, at), 0)
            return part_event(rollout, number, at)
        if due is None:
            return None
        reaction = on_released(self.kept, Released(due.event_id, "released"))
        self._settle(reaction)
        return reaction.events[0]

    def _settle(self, reaction: Reaction) -> None:
        if reaction.retraction is not None:
            for rollout in self.book.retracted_by(reaction.retraction):
                self.turn(rollout.event.event_id, "cancel")
        for answer in reaction.answers:
            cancelled = self.kept.get(answer.event_id)
            if cancelled is not None:
                forget(self.marks, cancelled[1])
        settle(self.kept, reaction)


class Simulation:
    """Turns records into (place, record of the decision log); places rise by one."""

    def __init__(self, registry: Registry) -> None:
        self.acceptance = Acceptance(registry)
        self._configured, self._published = registry.tables, dict[str, dict[str, Any] | None]()
        self.placement = Placement()
        self.now = 0
        self._place = 0

    def records(self, line: dict[str, Any]) -> Iterator[Placed]:
        """Releases due by the record's `ts`, then the record, then parts that may go at once.

        :raises MalformedRecordError: naming the field that does not fit.
        """
        timestamp = line.get("ts")
        if not isinstance(timestamp, int) or not self.now <= timestamp <= _LATEST_MS:
            raise MalformedRecordError(f"ts: {timestamp!r} is no time in ms from {self.now} to {_LATEST_MS}")
        yield from self._released(timestamp)
        self.now = timestamp
        yield from self._place_all(self._plan(line, timestamp))
        yield from self._released(timestamp)

    def end(self) -> Placed:
        """A tick at the last record's time: no timer fires after it."""
        return self._place, TickWork(stamp=self.now)

    def _released(self, now: int) -> Iterator[Placed]:
        while (event := self.acceptance.release(now, self.now)) is not None:
            yield from self._place_all(plan_event(self.placement, event, event.ingested_at))

    def _place_all(self, records: Iterable[Work]) -> Iterator[Placed]:
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
                self.acceptance.cancel(CANCEL.of(line).event_id)
            elif kind == "rollout":
                turn = _ROLLOUT_TURN.of(line)
                self.acceptance.turn(turn.event_id, turn.verb)
            elif kind == "segment":
                members = _MEMBERS.of(line)
                yield from plan_segment(self.placement, members.segment, members.users, now)
            elif kind == "type":
                yield self._publish(_TYPE_CHANGE.of(line), now)
            elif kind in _SETTINGS:
                yield from self._plan_setting(_SETTINGS[kind].of(line), now)
            elif kind != "tick":
                raise MalformedRecordError(f"kind: {kind!r} is no kind of simulation record")
        except msgspec.ValidationError as error:
            raise MalformedRecordError(f"{kind} record: {error}") from error

    def _plan_event(self, line: dict[str, Any], now: int) -> Iterator[Work]:
        fields = {key: value for key, value in line.items() if key not in ("kind", "ts", "ingested_at")}
        event = resolve(msgspec.convert(fields, RawEvent), self.acceptance.registry, ingested_at=now)
        accepted = self.acceptance.accept(event, now)
        if accepted is not None:
            yield from plan_event(self.placement, accepted, now)

    def _publish(self, change: "_TypeChange", now: int) -> Work:
        """From here on the registry is another one, for whatever is accepted or decided."""
        self._published[change.type] = change.table
        registry = self.acceptance.registry = with_published(self._configured, self._published)
        types = {name: dict(table) for name, table in registry.tables.items()}
        return VersionsWork(stamp=now, registry=registry.version, tzdata=tzdata_version(), rules=0, types=types)

    def _plan_setting(self, setting: Setting, now: int) -> Iterator[Work]:
        if isinstance(setting, EndpointRecord):
            setting = msgspec.structs.replace(setting, registered_at=now)
        work = work_of(setting, now)
        if isinstance(work, FollowWork):
            place_follow(self.placement, work)
        if work is not None:
            yield work


class _Members(msgspec.Struct):
    """All members of a segment, as the file has them."""

    segment: str
    users: list[str] = []


class _RolloutTurn(msgspec.Struct):
    """What is done to an event that goes in parts."""

    event_id: str
    verb: RolloutVerb


class _TypeChange(msgspec.Struct):
    """What is published of a type, or (without a table) taken back."""

    type: str
    table: dict[str, Any] | None = None


_TYPE_CHANGE = Schema("type", _TypeChange)
_ROLLOUT_TURN = Schema("rollout", _RolloutTurn)
_MEMBERS = Schema("segment", _Members)
_SETTINGS = {schema.name: schema for schema in (PREFERENCE, ENDPOINT, FOLLOW, READ, KILL)}
