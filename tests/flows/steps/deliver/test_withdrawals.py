"""What was sent leaves the screen again, by RULES 3.F: a lane of deliver and its dispatcher by themselves."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import pytest
from helpers.feeding import Device, System, now_ms, token
from helpers.lanes_in_process import Provider, read, running_lanes
from helpers.waiting import wait_for

from connectors.log.interface import NewRecord
from connectors.providers.channel import Delivery, Failed, Rejected, Result, Sent
from flows.steps.lanes.lane import Lane
from state.model.content import PushContent, WithdrawalContent

PHONE: Device = ("phone", token("phone"))
TABLET: Device = ("tablet", token("tablet"))


@dataclass
class Screens:
    """A provider that takes every message, but for those that `answers` has another word for, by event or device."""

    answers: dict[str, Result] = field(default_factory=dict)
    shown: list[Delivery] = field(default_factory=list)
    withdrawn: list[Delivery] = field(default_factory=list)
    replaced: list[Delivery] = field(default_factory=list)
    calls: list[Delivery] = field(default_factory=list)
    """All of them, in the order in which they came."""

    def provider(self) -> Provider:
        return Provider(self._answer)

    async def _answer(self, delivery: Delivery) -> Result:
        self.calls.append(delivery)
        if isinstance(delivery.content, WithdrawalContent):
            self.withdrawn.append(delivery)
            return self.answers.get("withdrawal", Sent("taken"))
        assert isinstance(delivery.content, PushContent)
        if delivery.content.replaces:
            self.replaced.append(delivery)
            return self.answers.get("replacement", Sent("taken"))
        self.shown.append(delivery)
        return self.answers.get(delivery.first_event_id) or self.answers.get(delivery.device, Sent("taken"))


@dataclass
class Feeding:
    """A lane that takes records one after another, each when all before it has ended."""

    system: System
    partition: int
    lane: Lane
    told: list[NewRecord] = field(default_factory=list)
    begun: int = 0

    def __call__(self, *records: NewRecord) -> None:
        self.system.feed(records)
        self.take()
        wait_for(self.is_still)

    def take(self) -> None:
        """Read on."""
        found = read(self.system, self.partition, start=self.begun)
        self.begun += len(found)
        self.lane.accept(found)

    def is_still(self) -> bool:
        self.told += self.lane.collect()
        self.lane.epoch()
        return not self.lane.open

    def topic(self, name: str) -> list[dict[str, Any]]:
        """What was told there, without counts."""
        values = [json.loads(record.value) for record in self.told if record.topic == name]
        return [value for value in values if value.get("kind") != "counts"]


USER = "u1"


def feeding(system: System, lanes: Any, begun: int = 0) -> Feeding:
    partition = system.emission(USER, "push", [PHONE]).partition
    return Feeding(system, partition, lanes.lane(partition), begun=begun)


def shows(system: System, *devices: Device, **changes: Any) -> NewRecord:
    return system.emission(USER, "push", devices or [PHONE], **changes)


def takes_back(system: System, *devices: Device, **changes: Any) -> NewRecord:
    return system.withdrawal(USER, devices or [PHONE], **changes)


def test_what_its_sender_takes_back_leaves_each_screen_that_it_is_on(system: System) -> None:
    screens = Screens({"tablet": Rejected("BadDeviceToken", token_gone=1)})
    with running_lanes(system, channels={"push": screens.provider()}) as (lanes, _):
        feed = feeding(system, lanes)
        feed(shows(system, PHONE, TABLET))
        feed(takes_back(system, PHONE, TABLET))
    (shown,) = [each for each in screens.shown if each.device == "phone"]
    (withdrawn,) = screens.withdrawn
    assert withdrawn.device == "phone"
    assert (withdrawn.collapse, withdrawn.expires_at, withdrawn.address) == (
        shown.collapse, shown.expires_at, shown.address
    )  # fmt: skip
    assert withdrawn.provider_id != shown.provider_id


def test_the_ledger_knows_nothing_of_a_withdrawal_and_the_outcomes_do(system: System) -> None:
    screens = Screens()
    with running_lanes(system, channels={"push": screens.provider()}) as (lanes, _):
        feed = feeding(system, lanes)
        feed(shows(system))
        assert counts(feed) == [(1, 0, 0)]
        ledger = feed.topic("ledger")
        feed(takes_back(system))
        assert (feed.topic("ledger"), counts(feed)) == (ledger, [])
        feed(shows(system, object="another"))
        assert counts(feed) == [(2, 0, 0)]
    (outcome,) = feed.topic("outcomes")
    assert (outcome["outcome"], outcome["user"], outcome["device"]) == ("withdrawn", USER, "phone")
    assert outcome["emission_id"] == screens.shown[0].key.partition("/")[0]
    assert outcome["first_event_id"] == screens.shown[0].first_event_id


def counts(feed: Feeding) -> list[tuple[int, int, int]]:
    """accepted, fallbacks and in_flight as they are told at the end of the flow."""
    told = [json.loads(record.value) for record in feed.lane.collect(last=True)]
    return [(each["accepted"], each["fallbacks"], each["in_flight"]) for each in told if each["kind"] == "counts"]


def shows_several(system: System, *actors: str, **changes: Any) -> NewRecord:
    items, names = [[name[0], name] for name in actors], [name.title() for name in actors]
    payload = {"actor_name": names[0], "object_label": "photo", "text": f"of {names[0]}"}
    values = {"actors": actors[:3], "actor_count": len(actors), "count": len(actors), "payload": payload}
    return shows(system, **(values | {"items": items, "names": names} | changes))


def said(delivery: Delivery) -> str:
    assert isinstance(delivery.content, PushContent)
    return delivery.content.body


def test_while_one_of_its_events_is_left_it_is_replaced_by_the_rest_without_a_sound(system: System) -> None:
    screens = Screens()
    with running_lanes(system, channels={"push": screens.provider()}) as (lanes, _):
        feed = feeding(system, lanes)
        feed(shows_several(system, "ann", "bob", "cid"))
        ledger = feed.topic("ledger")
        feed(takes_back(system, actor="bob"))
        feed(takes_back(system, actor="bob"))  # who takes back a second time changes nothing
        feed(takes_back(system, actor="ann", object="another"))
        feed(takes_back(system, actor="ann"))
        assert not screens.withdrawn
        assert feed.topic("ledger") == ledger
        assert feed.topic("outcomes") == []
        feed(takes_back(system, actor="cid"))
    assert [said(each) for each in screens.replaced] == ["Ann and 1 other liked your photo", "Cid liked your photo"]
    (shown,) = screens.shown
    for each in screens.replaced:
        assert (each.collapse, each.address, each.expires_at) == (shown.collapse, shown.address, shown.expires_at)
    assert len({each.provider_id for each in [shown, *screens.replaced]}) == 3
    assert len(screens.withdrawn) == 1


def test_what_many_take_back_while_one_message_is_under_way_comes_to_one_more(system: System) -> None:
    screens = Screens({"replacement": Failed("away")})
    with running_lanes(system, channels={"push": screens.provider()}) as (lanes, _):
        feed = feeding(system, lanes)
        feed(shows_several(system, "ann", "bob", "cid", "dan", "eve"))
        system.feed([takes_back(system, actor="ann")])
        feed.take()
        wait_for(lambda: not feed.is_still() and screens.replaced)
        system.feed([takes_back(system, actor=name) for name in ("bob", "cid", "nobody")])
        feed.take()
        screens.answers.clear()
        wait_for(feed.is_still)
    assert said(screens.replaced[0]).startswith("Bob and 3 others")
    assert {said(each) for each in screens.replaced[1:]} == {
        said(screens.replaced[0]),
        "Dan and 1 other liked your photo",
    }
    assert said(screens.replaced[-1]).startswith("Dan")
    assert not screens.withdrawn


def test_what_replaces_spares_what_is_newer_and_needs_its_device(system: System) -> None:
    screens = Screens({"replacement": Failed("away")})
    with running_lanes(system, channels={"push": screens.provider()}) as (lanes, _):
        feed = feeding(system, lanes)
        feed(shows_several(system, "ann", "bob"))
        system.feed([takes_back(system, actor="ann")])
        feed.take()
        wait_for(lambda: not feed.is_still() and screens.replaced)
        feed(shows(system, actors=["cid"]))
        in_vain = len(screens.replaced)  # more than once where the machine was slow
        feed(takes_back(system, actor="bob"))
        assert not screens.withdrawn
        feed(shows_several(system, "dan", "eve"))
        feed(takes_back(system, actor="dan", devices=[]))
        assert len(screens.replaced) == in_vain
        feed(takes_back(system, actor="eve"))
    assert len(screens.withdrawn) == 1


@pytest.mark.parametrize("stored", [True, False])
def test_a_lane_that_is_killed_while_it_replaces_does_so_once(system: System, stored: bool) -> None:
    screens = Screens()
    with running_lanes(system, channels={"push": screens.provider()}) as (lanes, _):
        feed = feeding(system, lanes)
        feed(shows_several(system, "ann", "bob", "cid"))
        ending(feed, 3)
    with running_lanes(system, channels={"push": screens.provider()}) as (lanes, _):
        feed = feeding(system, lanes, begun=1)
        feed(takes_back(system, actor="ann"))
        if stored:
            ending(feed, 3)
    with running_lanes(system, channels={"push": screens.provider()}) as (lanes, _):
        feed = feeding(system, lanes)
        feed.take()
        wait_for(feed.is_still)
        assert [said(each) for each in screens.replaced] == ["Bob and 1 other liked your photo"]
        feed(takes_back(system, actor="bob"))
        feed(takes_back(system, actor="cid"))
    assert [said(each) for each in screens.replaced[1:]] == ["Cid liked your photo"]
    assert len(screens.withdrawn) == 1


def test_what_one_owes_a_screen_is_not_lost_with_the_process_where_another_comes_with_it(system: System) -> None:
    screens = Screens({"replacement": Failed("away")})
    with running_lanes(system, channels={"push": screens.provider()}) as (lanes, _):
        feed = feeding(system, lanes)
        feed(shows_several(system, "ann", "bob", "cid", type="follow", object=None))
        system.feed([takes_back(system, actor=name, type="follow", object=None) for name in ("ann", "nobody")])
        feed.take()
        wait_for(lambda: not feed.is_still() and screens.replaced)
        ending(feed, 3)
    in_vain = len(screens.replaced)
    screens.answers.clear()
    with running_lanes(system, channels={"push": screens.provider()}) as (lanes, _):
        feed = feeding(system, lanes, begun=1)
        feed.take()
        wait_for(feed.is_still)
        feed(takes_back(system, actor="nobody", type="follow", object=None))
    assert len(screens.replaced) == in_vain + 1
    assert not screens.withdrawn


def test_the_end_of_an_older_withdrawal_leaves_what_is_being_replaced_alone(system: System) -> None:
    screens = Screens({"withdrawal": Failed("away"), "replacement": Failed("away")})
    with running_lanes(system, channels={"push": screens.provider()}) as (lanes, _):
        feed = feeding(system, lanes)
        feed(shows(system))
        system.feed([takes_back(system)])
        feed.take()
        wait_for(lambda: not feed.is_still() and screens.withdrawn)
        system.feed([shows_several(system, "ann", "bob")])
        feed.take()
        wait_for(lambda: not feed.is_still() and len(screens.shown) == 2)
        in_vain = len(screens.withdrawn)
        system.feed([takes_back(system)])
        feed.take()
        wait_for(lambda: not feed.is_still() and len(screens.replaced) >= 1 and feed.lane.open == 1)
        screens.answers.clear()
        wait_for(feed.is_still)
        assert len(screens.withdrawn) == in_vain
        feed(takes_back(system, actor="bob"))
    assert len(screens.withdrawn) == in_vain + 1


def test_what_a_newer_one_has_replaced_takes_nothing_away(system: System) -> None:
    screens = Screens()
    with running_lanes(system, channels={"push": screens.provider()}) as (lanes, _):
        feed = feeding(system, lanes)
        feed(shows(system))
        feed(shows(system, actors=["bob"], first=False))
        feed(takes_back(system))
        assert not screens.withdrawn
        feed(takes_back(system, actor="bob"))
    assert len(screens.withdrawn) == 1


def test_what_is_of_no_object_stands_side_by_side(system: System) -> None:
    screens = Screens()
    with running_lanes(system, channels={"push": screens.provider()}) as (lanes, _):
        feed = feeding(system, lanes)
        feed(shows(system, type="follow", object=None))
        feed(shows(system, type="follow", object=None, actors=["bob"]))
        feed(takes_back(system, type="follow", object=None))
    (withdrawn,) = screens.withdrawn
    assert withdrawn.collapse == screens.shown[0].collapse != screens.shown[1].collapse


@pytest.mark.parametrize(
    ("shown", "asked"),
    [
        pytest.param({"count": 9, "actors": ["ann"], "actor_count": 1}, {}, id="not all of its events are known"),
        pytest.param({"valid_until": 1}, {}, id="its life is over, so it was never sent"),
        pytest.param({}, {"devices": [{"id": "new", "address": "b"}]}, id="the device is no longer his"),
        pytest.param({}, {"parent_event_id": "another"}, id="another event is taken back"),
        pytest.param({}, {"actor": None}, id="by somebody else"),
    ],
)
def test_it_stays_where(system: System, shown: dict[str, Any], asked: dict[str, Any]) -> None:
    screens = Screens()
    with running_lanes(system, channels={"push": screens.provider()}) as (lanes, _):
        feed = feeding(system, lanes)
        feed(shows(system, **shown))
        feed(takes_back(system, **asked))
    assert not screens.withdrawn


def test_what_has_outlived_its_time_is_left_alone(system: System) -> None:
    screens, until = Screens(), now_ms() + 1_500
    with running_lanes(system, channels={"push": screens.provider()}) as (lanes, _):
        feed = feeding(system, lanes)
        feed(shows(system, valid_until=until))
        assert len(screens.shown) == 1
        wait_for(lambda: now_ms() > until)
        feed(takes_back(system))
    assert not screens.withdrawn


def test_a_withdrawal_that_fails_alerts_nobody(system: System) -> None:
    screens = Screens({"withdrawal": Rejected("PayloadTooLarge")})
    with running_lanes(system, channels={"push": screens.provider()}) as (lanes, _):
        feed = feeding(system, lanes)
        feed(shows(system))
        feed(takes_back(system))
        feed(takes_back(system))
    assert len(screens.withdrawn) == 1
    assert (feed.topic("dead_letters"), feed.topic("outcomes")) == ([], [])


def test_a_withdrawal_that_was_perhaps_taken_is_not_sent_again(system: System) -> None:
    screens = Screens({"withdrawal": Failed("no answer within the deadline", ambiguous=True)})
    with running_lanes(system, channels={"push": screens.provider()}) as (lanes, _):
        feed = feeding(system, lanes)
        feed(shows(system))
        feed(takes_back(system))
    assert len(screens.withdrawn) == 1


def test_it_waits_for_what_was_decided_before_and_spares_what_was_decided_later(system: System) -> None:
    first, taken_back, again = shows(system), takes_back(system), shows(system)
    name = json.loads(first.value)["first_event_id"]
    screens = Screens({name: Failed("away")})
    with running_lanes(system, channels={"push": screens.provider()}) as (lanes, _):
        feed = feeding(system, lanes)
        system.feed([first, taken_back, again])
        feed.take()
        wait_for(lambda: not feed.is_still() and len(screens.shown) >= 2)
        screens.answers[name] = Rejected("BadDeviceToken")
        wait_for(feed.is_still)
        assert len(screens.shown) >= 3
        assert not screens.withdrawn
        feed(takes_back(system))
    assert [each.first_event_id for each in screens.withdrawn] == [json.loads(again.value)["first_event_id"]]


def test_it_does_not_wait_for_what_was_decided_later(system: System) -> None:
    first, taken_back, again = shows(system), takes_back(system), shows(system)
    name = json.loads(again.value)["first_event_id"]
    screens = Screens({name: Failed("away")})
    with running_lanes(system, channels={"push": screens.provider()}) as (lanes, _):
        feed = feeding(system, lanes)
        feed(first)
        system.feed([taken_back, again])
        feed.take()
        wait_for(lambda: bool(feed.is_still() or screens.withdrawn))
        assert len(screens.withdrawn) == 1
        assert feed.lane.open
        screens.answers[name] = Rejected("BadDeviceToken")
        wait_for(feed.is_still)


def test_a_withdrawal_that_comes_late_spares_what_is_shown_in_its_place(system: System) -> None:
    screens = Screens({"withdrawal": Failed("away")})
    with running_lanes(system, channels={"push": screens.provider()}) as (lanes, _):
        feed = feeding(system, lanes)
        feed(shows(system))
        system.feed([takes_back(system)])
        feed.take()
        wait_for(lambda: not feed.is_still() and screens.withdrawn)
        newer = shows(system)
        feed(newer)
        assert screens.calls[-1] is screens.shown[-1], "what was shown before is withdrawn behind it"
        in_vain = len(screens.withdrawn)  # more than once where the machine was slow
        assert {each["outcome"] for each in feed.topic("ledger")} == {"DELIVERED"}
        screens.answers.clear()
        feed(takes_back(system))
    assert screens.withdrawn[in_vain].first_event_id == json.loads(newer.value)["first_event_id"]


def test_a_lane_that_starts_again_knows_what_is_shown_and_withdraws_it_once(system: System) -> None:
    screens = Screens()
    record = shows(system)
    with running_lanes(system, channels={"push": screens.provider()}) as (lanes, _):
        feed = feeding(system, lanes)
        feed(record)
        ending(feed, 3)
    with running_lanes(system, channels={"push": screens.provider()}) as (lanes, _):
        feed = feeding(system, lanes, begun=1)
        feed(takes_back(system))  # and is killed before it commits
    assert len(screens.withdrawn) == 1
    with running_lanes(system, channels={"push": screens.provider()}) as (lanes, _):
        feed = feeding(system, lanes)
        feed.take()
        wait_for(feed.is_still)
        ending(feed, 3)
        assert [each["outcome"] for each in feed.topic("outcomes")] == ["withdrawn"]
        feed(takes_back(system))
    assert (len(screens.shown), len(screens.withdrawn)) == (1, 1)


def ending(feed: Feeding, epochs: int) -> None:
    """Let what has ended be committed."""
    for _ in range(epochs):
        feed.lane.epoch()
