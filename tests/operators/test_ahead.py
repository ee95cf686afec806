"""While the time of decisions is ahead of the machine's clock, that clock says when quiet hours and a digest begin and
end; in columns and one by one.
"""

import msgspec
import pytest
from helpers.deciding import NEVER
from helpers.flow_bench import REGISTRY, Clock, user_in_group

from flows.steps.decide.outputs import OutputWriter
from flows.steps.sequence.clock import DecisionClock
from operators.ahead import CATCHES_UP_MAX_MS, decision_time
from operators.decide import apply
from state.decide.group import GroupState
from state.model.delivery import ToDeliver, decode_to_deliver
from state.model.event import RawEvent, resolve
from state.model.work import EndpointWork, EventWork, PreferenceWork, TickWork, Work

GROUP = 7
MINUTE = 60_000
HOUR = 60 * MINUTE
MIDNIGHT = 1_767_225_600_000
USERS = [user_in_group(GROUP, number) for number in range(3)]
QUIET = {"quiet_hours": {"enabled": True, "start": "22:00", "end": "08:00"}}


class Machine:
    """A machine's clock, and what is decided by one that is ahead of it."""

    def __init__(self, bulk_from: int, shown: int, lead: int) -> None:
        self.now, self._place = shown, 0
        self._clock = DecisionClock(lambda: self.now, shown + lead)
        self.state = GroupState(REGISTRY)
        self.state.bulk_from = bulk_from
        self.sent: list[tuple[int, ToDeliver]] = []
        for user in USERS:
            stamp = self.state.now
            self.apply(PreferenceWork(g=GROUP, stamp=stamp, user=user, doc=QUIET))
            self.apply(
                EndpointWork(g=GROUP, stamp=stamp, user=user, channel="push", id="d", address="x", registered_at=shown)
            )

    def apply(self, work: Work) -> None:
        self._place += 1
        out = apply(self.state, work, self._place)
        for record in OutputWriter(GROUP, 4).encode(self.state, out, self._place):
            if record.topic == "deliver.push":
                schema = dict(record.headers)["schema"].decode()
                self.sent += [(self.now, each) for each in decode_to_deliver(schema, record.value) or ()]

    def mention(self) -> None:
        stamp = self._clock()
        raw = RawEvent(event_id=f"e{self._place}", type="mention", actor="a", object="o", target="x", ttl_ms=HOUR)
        lead = int(self._clock.lead)
        event = msgspec.structs.replace(resolve(raw, REGISTRY, ingested_at=self.now), ahead_ms=lead)
        self.apply(EventWork(g=GROUP, stamp=stamp, ahead=lead, event=event, users=USERS))

    def passes(self, span: int) -> None:
        for _ in range(span // MINUTE):
            self.now += MINUTE
            stamp = self._clock()
            self.apply(TickWork(stamp=stamp, ahead=int(self._clock.lead)))


@pytest.mark.parametrize("lead", [2 * HOUR, 30 * HOUR], ids=["caught_up", "stays"])
@pytest.mark.parametrize("bulk_from", [1, NEVER], ids=["columns", "alone"])
class TestQuietHours:
    def test_a_mention_before_them_is_sent_at_once(self, bulk_from: int, lead: int) -> None:
        machine = Machine(bulk_from, MIDNIGHT - 3 * HOUR, lead)
        machine.mention()
        assert [(at, each.decided_at) for at, each in machine.sent] == [(machine.now, machine.now)] * 3
        assert {each.valid_until for _, each in machine.sent} == {machine.now + HOUR}

    def test_a_mention_in_them_is_sent_when_they_end(self, bulk_from: int, lead: int) -> None:
        machine = Machine(bulk_from, MIDNIGHT, lead)
        machine.mention()
        machine.passes(10 * HOUR)
        eight = MIDNIGHT + 8 * HOUR
        assert len(machine.sent) == 3
        assert {at for at, _ in machine.sent} <= {eight, eight + MINUTE}
        assert {abs(each.decided_at - eight) <= MINUTE for _, each in machine.sent} == {True}
        assert {each.valid_until > each.decided_at for _, each in machine.sent} == {True}


@pytest.mark.parametrize("lead", [MINUTE, HOUR, 5 * HOUR, CATCHES_UP_MAX_MS, CATCHES_UP_MAX_MS + HOUR])
def test_the_clock_comes_to_an_instant_when_it_is_said_to(lead: int) -> None:
    machine = Clock()
    clock = DecisionClock(machine, machine.now + lead)
    shown = machine.now + 6 * HOUR
    due = decision_time(shown, clock(), lead)
    while machine.now < shown:
        assert clock() <= due
        machine.now += MINUTE
    assert clock() == due
