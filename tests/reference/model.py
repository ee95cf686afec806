"""The independent reference model: RULES.md sections 1 to 3, 5, 6 and 7 over simulation records.

Slow and plain on purpose. It was written from the rules alone and shares nothing with the product, so that agreement
between the two means something. Sections of the rules and where they are:

    1  events.py (defaults, class, `to`), acceptance.py (repeats, kept events), rollouts.py
    2  world.py `recipients`
    3  pipeline.py (A to F), world.py (what the settings say), clock.py (quiet hours, 09:00), inbox.py (G)
    5  items.py `record`
    6  this file (order), pipeline.py `_set` (order of timers)
    7  registry.py

# Readings
Where the text leaves a choice, the one taken here:

1. A null in a preference document is a missing key (`start`: null is 22:00, `channels`: null is no list stored).
2. RULES 1: a `to` value of "" names its channel; only null (or a missing key) does not.
3. RULES 1: "only that one" for a retraction with `parent_event_id`: of the kept events like it, the one of that id.
4. RULES 3.E: the digest's timer counts as set before that of the group that opens after it, where both fall together
   (08:59:30 plus 30 s): "sent it to the digest, [then] the group is open".
5. RULES 3.E: an item of the digest without `inbox` whose email is allowed but killed ends as `kill_switch`, one whose
   email is not allowed as `no_channel`, whatever other channels it has.
6. RULES 3.E: the 09:00 that a calendar day skipped by a change of the date line would have had counts as one in a gap.
   An hour that occurs twice has two 09:00.
7. RULES 3.G: "pending items that entered a row not later" compares the time at which the item entered, whether or not
   that row becomes read.
8. RULES 3.A.2: a hold counts in full as quiet-hours time when the gate set it for quiet hours, although the settings
   may have changed since; a digest's own holds are in the time since joining it, and are not counted twice.
9. RULES 3.G: the row keeps exact membership beyond 1,000 items; only `actors` looks at the last 1,000 that joined.
10. RULES 3.D.1: an IANA zone is a name that the time zone database lists; paths like posix/... and right/... are not.
11. RULES 1: an event_id used again after its day makes records of its own beside the old ones (the sender's mistake).
12. RULES 1: the repeat of an event_id applies to keyless P0 events too; only content is not compared for them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from reference.acceptance import Acceptance
from reference.events import Event, parse_event
from reference.pipeline import Pipeline
from reference.registry import Types
from reference.world import World, recipients

Record = dict[str, Any]


def simulate(records: Iterable[Record], *, inbox: bool = False) -> list[Record]:
    """Decide a totally ordered list of simulation records; the output lines in the order of a simulation."""
    simulation = _Simulation()
    for record in records:
        simulation.take(record)
    return simulation.output(inbox=inbox)


class _Simulation:
    def __init__(self) -> None:
        self._world = World()
        self._acceptance = Acceptance()
        self._pipeline = Pipeline(self._world)
        self._types = Types()
        self._place = 0
        self._now = 0

    def take(self, record: Record) -> None:
        """One record: first everything due by its time, then the record itself (RULES 6), then parts that may go."""
        self._advance(record["ts"])
        self._now = record["ts"]
        handler = getattr(self, "_on_" + record["kind"])
        handler(record)
        part = self._acceptance.rollouts.next_part(self._now)
        if part is not None and part[0] <= self._now:
            self._advance(self._now)

    def _advance(self, ts: int) -> None:
        """Timers and releases due by ts in order of time; a release is behind all timers due by then (RULES 1)."""
        while True:
            timer, release = self._pipeline.next_timer(), self._acceptance.next_release()
            part = self._acceptance.rollouts.next_part(self._now)
            due = [at for at in (release, part and part[0]) if at is not None]
            if timer is not None and timer <= ts and timer <= min(due, default=timer):
                self._pipeline.fire()
            elif release is not None and release == min(due) <= ts:
                self._decide(self._acceptance.release(), release)
            elif part is not None and part[0] <= ts:
                self._decide(part[1].release(part[0]), part[0])
            else:
                return

    def _decide(self, event: Event, now: int) -> None:
        """The event takes its place in the log and goes to its recipients."""
        self._place += 1
        event.place, event.ingested_at = self._place, now
        if event.retracts:
            self._acceptance.cancel_retracted(event)
        for user in recipients(self._world, event):
            self._pipeline.arrive(event, user, now)

    def _on_event(self, record: Record) -> None:
        event = parse_event(record, self._types)
        if not self._acceptance.accept(event):
            return
        if event.rollout is not None:
            self._acceptance.rollouts.begin(event, event.rollout)
        elif self._acceptance.is_kept(event):
            self._acceptance.keep(event)
        else:
            self._decide(event, record["ts"])

    def _on_cancel(self, record: Record) -> None:
        self._acceptance.cancel(record["event_id"])

    def _on_rollout(self, record: Record) -> None:
        self._acceptance.turn(record["event_id"], record["verb"])

    def _on_preference(self, record: Record) -> None:
        self._world.set_preference(record)

    def _on_endpoint(self, record: Record) -> None:
        self._world.set_endpoint(record)

    def _on_follow(self, record: Record) -> None:
        self._world.set_follow(record)

    def _on_segment(self, record: Record) -> None:
        self._world.set_segment(record)

    def _on_kill(self, record: Record) -> None:
        self._world.set_kill(record)

    def _on_type(self, record: Record) -> None:
        self._types.publish(record["type"], record.get("table"))

    def _on_read(self, record: Record) -> None:
        if record.get("erase"):
            self._pipeline.erase(record["user"], record["ts"])
        elif record.get("status"):
            until = record["ts"] if record.get("until") is None else record["until"]
            self._pipeline.mark(record["user"], record["status"], record.get("rows"), until, record["ts"])
        else:
            self._pipeline.read(record["user"], record.get("up_to"), record["ts"])

    def _on_tick(self, record: Record) -> None:
        """Only moves time."""

    def output(self, *, inbox: bool) -> list[Record]:
        lines = [item.record() for item in self._pipeline.items] + self._pipeline.emissions
        if inbox:
            lines += [row.record() for user in self._pipeline.users.values() for row in user.rows]
        return sorted(lines, key=_sort_key)


def _sort_key(line: Record) -> tuple[int, str, str, str]:
    at = line["at"] if line["kind"] == "inbox" else line["decided_at"]
    event_id = line["event_id"] if line["kind"] == "decision" else line["first_event_id"]
    return at, line["user"], event_id, line["kind"]
