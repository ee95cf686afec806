"""What gives way under load (RULES 1, "Load"), decided one by one and in columns; by hand."""

from __future__ import annotations

from typing import Any

import pytest
from helpers.deciding import NEVER
from helpers.flow_bench import REGISTRY, user_in_group

from operators.decide import apply
from state.decide.group import GroupState
from state.model.event import RawEvent, resolve
from state.model.load import UNDER_LOAD
from state.model.records import Outputs
from state.model.work import EndpointWork, EventWork, FollowWork, KillWork, PreferenceWork, TickWork, Work

GROUP = 7
NOON = 1_767_268_800_000
DAY_MS = 86_400_000
MINUTE_MS = 60_000
SEEN, DORMANT, AT_LIMIT, MAIL_ONLY, ASLEEP = (user_in_group(GROUP, number) for number in range(5))
USERS = [SEEN, DORMANT, AT_LIMIT, MAIL_ONLY, ASLEEP]


def phone(user: str, registered_at: int, channel: str = "push", name: str = "d") -> Work:
    return EndpointWork(
        g=GROUP, stamp=NOON, user=user, channel=channel, id=name, address="x", registered_at=registered_at
    )


def load(stamp: int, *, on: bool = True) -> Work:
    return KillWork(stamp=stamp, scope=UNDER_LOAD, on=on)


def post(stamp: int, users: list[str], **fields: Any) -> Work:
    raw = RawEvent(**{"event_id": "e", "type": "mention", "actor": "star", "object": "o", "target": "x", **fields})
    return EventWork(g=GROUP, stamp=stamp, event=resolve(raw, REGISTRY, ingested_at=stamp), users=users)


SETTINGS = [
    *(FollowWork(g=GROUP, stamp=NOON, follower=user, followee="star", on=True) for user in USERS),
    phone(SEEN, NOON - 40 * DAY_MS), phone(SEEN, NOON - DAY_MS, name="e"),
    phone(DORMANT, NOON - 40 * DAY_MS), phone(DORMANT, NOON, "email"),
    phone(AT_LIMIT, NOON - 30 * DAY_MS),
    phone(MAIL_ONLY, NOON - 40 * DAY_MS, "email"),
    phone(ASLEEP, NOON - 40 * DAY_MS),
    PreferenceWork(
        g=GROUP, stamp=NOON, user=ASLEEP,
        doc={"quiet_hours": {"enabled": True, "start": "11:00", "end": "13:00"}},
    ),
]  # fmt: skip


def decided(bulk_from: int, *records: Work) -> dict[str, tuple[str, str | None, bool]]:
    """Outcome, reason and whether there is a row, by user: what counts at the end."""
    state = GroupState(REGISTRY)
    state.bulk_from = bulk_from
    found: dict[str, tuple[str, str | None, bool]] = {}
    for place, record in enumerate([*SETTINGS, *records]):
        out: Outputs = apply(state, record, place)
        for each in out.decisions:
            found[each.user] = each.outcome, each.reason, each.inbox
        for part in out.slices:
            for row, number in zip(part.rows.tolist(), part.ending.tolist(), strict=True):
                ending = part.endings[number]
                found[state.users.ids[row]] = ending.outcome, ending.reason, ending.inbox
    return found


@pytest.mark.parametrize("bulk_from", [1, NEVER])
class TestUnderLoad:
    def test_whoever_was_not_seen_for_30_days_has_the_row_and_nothing_else(self, bulk_from: int) -> None:
        assert decided(bulk_from, load(NOON), post(NOON, USERS)) == {
            SEEN: ("EMITTED", None, True),
            DORMANT: ("SHED", None, True),
            AT_LIMIT: ("EMITTED", None, True),
            MAIL_ONLY: ("AGGREGATING", None, True),
            ASLEEP: ("HELD", None, True),
        }

    def test_a_short_ttl_is_shed_for_all_and_leaves_no_row(self, bulk_from: int) -> None:
        shed = decided(bulk_from, load(NOON), post(NOON, USERS, ttl_ms=10 * MINUTE_MS - 1))
        assert shed == dict.fromkeys(USERS, ("SHED", None, False))
        kept = decided(bulk_from, load(NOON), post(NOON, USERS, ttl_ms=10 * MINUTE_MS))
        assert kept[SEEN] == ("EMITTED", None, True)

    def test_a_hold_that_ends_then_is_judged_again(self, bulk_from: int) -> None:
        late = NOON + 2 * 60 * MINUTE_MS
        assert decided(bulk_from, post(NOON, USERS), load(NOON), TickWork(stamp=late))[ASLEEP][0] == "SHED"
        assert decided(bulk_from, load(NOON), post(NOON, USERS), load(NOON, on=False), TickWork(stamp=late))[
            ASLEEP
        ] == ("EMITTED", None, True)

    def test_a_code_is_never_shed(self, bulk_from: int) -> None:
        code = post(NOON, [DORMANT], type="otp", target=DORMANT, payload={"code": "1"}, ttl_ms=MINUTE_MS)
        assert decided(bulk_from, load(NOON), code)[DORMANT][0] == "EMITTED"

    def test_a_switch_and_the_ttl_come_first(self, bulk_from: int) -> None:
        killed = KillWork(stamp=NOON, scope="type", value="mention")
        assert decided(bulk_from, load(NOON), killed, post(NOON, [SEEN], ttl_ms=1))[SEEN][:2] == (
            "SUPPRESSED",
            "kill_switch",
        )
