"""What decide gives up ends unsent, for its own reason; what is not there any more is nothing."""

from __future__ import annotations

from helpers import work_log
from helpers.flow_bench import REGISTRY, START

from operators.decide import apply
from state.decide.group import GroupState
from state.decide.pending import GivenUp, PendingGroup, PendingKey
from state.model.keys import key_group
from state.model.work import EndpointWork, EventWork, PreferenceWork, TickWork

NIGHT_MS = 8 * 3_600_000
WAITING = GivenUp("u1", PendingKey("window", "like", "o"), "KeyError in operators.emit:1")


def _waiting() -> GroupState:
    state, group = GroupState(REGISTRY), key_group("u1")
    quiet = {"quiet_hours": {"enabled": True, "start": "00:00", "end": "08:00", "timezone": "UTC"}}
    apply(state, EndpointWork(g=group, stamp=START, user="u1", channel="push", id="d", address="x"), 0)
    apply(state, PreferenceWork(g=group, stamp=START, user="u1", doc=quiet), 1)
    for place in (2, 3):
        event = work_log.event(f"e{place}", "like", START, target="u1", object="o", actor=f"a{place}")
        out = apply(state, EventWork(g=group, stamp=START, event=event, users=["u1"]), place)
        assert [each.outcome for each in out.decisions] == ["HELD"]
    return state


def test_it_ends_before_its_time_comes() -> None:
    state = _waiting()
    out = apply(state, TickWork(stamp=START + NIGHT_MS), 4, [WAITING])
    ends = [(each.event_id, each.outcome, each.reason, each.decided_at) for each in out.decisions]
    assert ends == [(name, "SUPPRESSED", "dead_letter", START + NIGHT_MS) for name in ("e2", "e3")]
    assert out.emissions == []
    assert state.count_terms() == (2, 0, 0, 0, 2)


def test_what_is_gone_is_nothing() -> None:
    state = _waiting()
    assert [each.outcome for each in apply(state, TickWork(stamp=START + NIGHT_MS), 4).decisions] == [
        "EMITTED",
        "MERGED",
    ]
    other = WAITING._replace(user="u2")
    assert apply(state, TickWork(stamp=START + NIGHT_MS + 1), 5, [other]).decisions == []


def test_whose_time_comes_is_known_only_while_it_is_handled() -> None:
    state, told = _waiting(), list[int | None]()
    state.pending.watch = lambda group: told.append(group.place if isinstance(group, PendingGroup) else None)
    for place, hours in ((4, 7), (5, 8), (6, 9)):
        apply(state, TickWork(stamp=START + hours * 3_600_000), place)
    assert told[:2] == [2, None]
    assert told.count(None) == len(told) / 2
    assert state.pending.firing is None
