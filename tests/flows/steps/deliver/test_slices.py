"""Slices wait in a lane of deliver: what is for one person goes first; nothing is lost, sent twice or told too soon."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Sequence
from itertools import count, islice
from typing import Any

import msgspec
import pyarrow as pa
from helpers.feeding import System, token
from helpers.lanes_in_process import Provider, read, running_lanes
from helpers.waiting import wait_for

from connectors.log.interface import NewRecord, Record
from connectors.providers.channel import Delivery, Result, Sent
from flows.steps.deliver.slices import WaitingSlice, WaitingSlices
from flows.steps.lanes.lane import Lane
from state.model.arrow import batch_bytes
from state.model.content import WithdrawalContent
from state.model.delivery import EMISSION_SLICE, Endpoint, pack_endpoints
from state.model.envelope import OutputHeader, parse_output_header
from state.model.keys import key_group
from state.model.ledger import CountsRecord

GROUP = key_group("u1")
USERS = list(islice((user for user in map("u{}".format, count(1)) if key_group(user) == GROUP), 300))
PHONE = ("phone", token("phone"))


async def takes(_delivery: Delivery) -> Result:
    return Sent("taken")


def slice_of(system: System, users: Sequence[str], **changes: Any) -> NewRecord:
    """The record that decide would write for these followers of a key group, each with a phone."""
    single = system.emission(users[0], "push", [PHONE], **changes)
    common = json.loads(single.value)
    common["emission_base"] = common.pop("emission_id")
    for own in ("user", "devices", "locale", "name"):
        del common[own]
    device = Endpoint("push", PHONE[0], "ios", PHONE[1], active=True, registered_at=1_000, place=0)
    columns = {
        "user": pa.array(list(users)),
        "endpoints": pa.array([pack_endpoints([device])] * len(users)),
    }
    headers = (("schema", EMISSION_SLICE.encode()), single.headers[1])
    return single._replace(value=batch_bytes(columns, common), headers=headers)


def users_of(provider: Provider) -> list[str]:
    return [key.split("/")[1] for key in provider.keys]


def finish(lane: Lane) -> list[NewRecord]:
    """What the lane tells until nothing is open any more."""
    told: list[NewRecord] = []

    def ended() -> bool:
        told.extend(lane.collect())
        lane.epoch()
        return not lane.open

    wait_for(ended)
    return told


def withheld() -> tuple[Provider, asyncio.Event]:
    """A provider that answers nothing before the event is set."""
    answers = asyncio.Event()

    async def waits(_delivery: Delivery) -> Result:
        await answers.wait()
        return Sent("taken")

    return Provider(waits), answers


def test_what_is_for_one_person_goes_before_slices_that_came_first(system: System) -> None:
    provider = Provider(takes)
    slices = [slice_of(system, USERS, object=f"post{number}") for number in range(3)]
    system.feed([*slices, system.emission("u1", "push", [PHONE], object="mention")])
    with running_lanes(system, channels={"push": provider}, open_max=20_000) as (lanes, _):
        lane = lanes.lane(slices[0].partition)
        lane.accept(read(system, slices[0].partition))
        assert lane.open < 200
        wait_for(lambda: len(provider.keys) == 1)
        finish(lane)
    assert users_of(provider)[0] == "u1"
    assert len(provider.keys) == len(set(provider.keys)) == 901


def test_a_fan_out_too_small_for_slices_leaves_room_at_the_provider_all_the_same(system: System) -> None:
    arrived, answers = list[str](), asyncio.Event()

    async def waits(delivery: Delivery) -> Result:
        arrived.append(delivery.key.split("/")[1])
        await answers.wait()
        return Sent("taken")

    post = [system.emission(user, "push", [PHONE], object="post") for user in USERS[1:31]]
    seq = dict(post[0].headers)["seq"].removesuffix(b"0")
    post = [
        each._replace(headers=(each.headers[0], ("seq", b"%s%d" % (seq, number)))) for number, each in enumerate(post)
    ]
    mention = system.emission("u1", "push", [PHONE], object="mention")
    system.feed([*post, mention])
    with running_lanes(system, channels={"push": Provider(waits)}, open_max=20_000) as (lanes, dispatcher):
        lane = lanes.lane(mention.partition)
        lane.accept(read(system, mention.partition))
        wait_for(lambda: len(arrived) == dispatcher.queues.in_flight == 17)
        assert "u1" in arrived, "sixteen of the post are there, and the mention"
        dispatcher.after(answers.set)
        finish(lane)
    assert len(arrived) == len(set(arrived)) == 31


def test_a_lane_that_has_enough_open_opens_slices_at_one_turn_in_eight(system: System) -> None:
    provider, answers = withheld()
    slices = [slice_of(system, USERS, object=f"post{number}") for number in range(4)]
    system.feed(slices)
    with running_lanes(system, channels={"push": provider}, open_max=20_000) as (lanes, dispatcher):
        lane = lanes.lane(slices[0].partition)
        lane.accept(read(system, slices[0].partition))
        strategy: Any = lane._strategy
        opened = []
        for _ in range(16):
            lane.collect()
            opened.append(strategy._counts.open)
        assert opened == [300] + [600] * 6 + [900] * 8 + [1_200]
        dispatcher.after(answers.set)
        finish(lane)


def test_lanes_are_hungry_while_slices_wait_and_few_deliveries_are_open(system: System) -> None:
    provider, answers = withheld()
    slices = [slice_of(system, USERS[number : number + 100], object=f"post{number}") for number in range(3)]
    system.feed(slices)
    with running_lanes(system, channels={"push": provider}, open_max=20_000) as (lanes, dispatcher):
        lane, hungry = lanes.lane(slices[0].partition), [lanes.hungry()]
        lane.accept(read(system, slices[0].partition))
        for _ in range(3):
            hungry.append(lanes.hungry())
            lane.collect()
        assert hungry == [False, True, True, False], "with 0, 100 and 200 open"
        dispatcher.after(answers.set)
        finish(lane)


def test_what_an_epoch_closed_is_stored_at_once_only_where_nothing_is_open(system: System) -> None:
    provider, answers = withheld()
    mention = system.emission("u1", "push", [PHONE], object="mention")
    system.feed([mention])
    with running_lanes(system, channels={"push": provider}) as (lanes, dispatcher):
        lane = lanes.lane(mention.partition)
        lane.accept(read(system, mention.partition))
        lanes.epoch()
        assert [lane.store(), lane.store()] == [True, False]
        dispatcher.after(answers.set)
        finish(lane)
        lanes.epoch()
        assert not lane.store()


def test_slices_that_waited_when_the_process_was_killed_are_sent_once(system: System) -> None:
    provider = Provider(takes)
    slices = [slice_of(system, USERS, object=f"post{number}") for number in range(4)]
    system.feed(slices)
    partition = slices[0].partition
    told: list[NewRecord] = []
    for turns in (1, 2, None):
        with running_lanes(system, channels={"push": provider}, open_max=20_000) as (lanes, _):
            lane = lanes.lane(partition)
            lane.accept(read(system, partition))
            for _ in range(turns or 0):
                told += lane.collect()
                lane.epoch()
            told += finish(lane) if turns is None else []
    ended = {
        json.loads(each.value)["emission_id"]: json.loads(each.value) for each in told if each.key != b"%d" % GROUP
    }
    assert len(ended) == 1_200
    assert len(provider.keys) == len(set(provider.keys)), "some were sent twice"
    asked = Counter(each["outcome"] for each in ended.values())
    assert asked["DELIVERED"] + asked["UNKNOWN"] == 1_200
    assert asked["UNKNOWN"] <= 100, "only what was under way"


def test_a_withdrawal_waits_for_the_slice_that_shows_what_it_takes_back(system: System) -> None:
    sent: list[Delivery] = []

    async def notes(delivery: Delivery) -> Result:
        sent.append(delivery)
        return Sent("taken")

    shown = slice_of(system, USERS[:40], type="new_post", actors=["star"], items=[["e1", "star"]])
    system.feed([shown, system.withdrawal("u1", [PHONE], type="new_post", actor="star")])
    with running_lanes(system, channels={"push": Provider(notes)}, open_max=20_000) as (lanes, _):
        lane = lanes.lane(shown.partition)
        lane.accept(read(system, shown.partition))
        finish(lane)
    assert [isinstance(each.content, WithdrawalContent) for each in sent] == [False] * 40 + [True]


def test_counts_say_nothing_of_what_is_behind_a_slice_that_waits(system: System) -> None:
    first, waits = system.emission("u1", "push", [PHONE]), slice_of(system, USERS)
    last = system.emission(USERS[1], "push", [PHONE])
    system.feed([first, waits, last])
    offsets = [parse_output_header(dict(record.headers)["seq"]).offset for record in (first, waits, last)]
    with running_lanes(system, channels={"push": Provider(takes)}, open_max=20_000) as (lanes, _):
        lane = lanes.lane(first.partition)
        lane.accept(read(system, first.partition))
        strategy: Any = lane._strategy
        strategy._counts.sample()
        (counts,) = strategy._counts.settle(strategy._slices.first_of)
        assert (counts.offset, counts.accepted, counts.in_flight) == (offsets[1] - 1, 1, 1)
        written = [each.value for each in finish(lane) if each.key == b"%d" % GROUP]
        told = [msgspec.json.decode(each, type=CountsRecord) for each in written]
        strategy._counts.sample()
        told += strategy._counts.settle(strategy._slices.first_of)  # nothing, if a slow lane told them by itself
        assert (told[-1].offset, told[-1].accepted, told[-1].in_flight) == (offsets[2], 302, 0)


def slices_of(*given: tuple[str, bool]) -> WaitingSlices:
    """Topic, and whether it is of P2, by offset."""
    slices = WaitingSlices()
    for number, (topic, in_p2) in enumerate(given):
        record = Record(topic, 0, number, 0, b"", b"x" * 2_500, ())
        slices.put(WaitingSlice(record, OutputHeader("d", 7, 100 - number, 0)), in_p2=in_p2)
    return slices


def test_p2_leaves_half_of_the_room_to_p1() -> None:
    slices = slices_of(("deliver.push", True), ("deliver.push", False), ("deliver.push", False))
    assert (slices.sizes["push"], slices.first_of(7), slices.first_of(8)) == (6, 98, None)
    assert slices.take(lambda _channel: 10_000) is None
    taken = [slices.take({"push": opened}.__getitem__) for opened in (9_999, 9_999, 9_999, 4_999)]
    assert [each and each.record.offset for each in taken] == [1, 2, None, 0]
    assert (slices.sizes.total(), slices.first_of(7), slices.offsets(("deliver.push", 0))) == (0, None, set())


def test_channels_take_turns_and_one_that_is_full_keeps_no_other_waiting() -> None:
    mail, push = ("deliver.email", True), ("deliver.push", True)
    slices = slices_of(mail, mail, mail, push, push)
    opened = {"email": 1_249, "push": 0}
    taken = [slices.take(opened.__getitem__) for _ in range(3)]
    opened["email"] = 1_250
    taken += [slices.take(opened.__getitem__) for _ in range(2)]
    assert [each and each.record.offset for each in taken] == [0, 3, 1, 4, None]
