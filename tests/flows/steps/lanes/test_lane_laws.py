"""What holds for a lane of deliver and for one of transactional alike: each test runs for both.

A kill is an end at which whatever was not handed out is lost; so is what was handed out in the two epochs before it.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest
from helpers.feeding import System, addresses, now_ms, token
from helpers.lanes_in_process import TOPICS, Provider, Station, read, running_lanes
from helpers.waiting import wait_for

from connectors.log.embedded.log import EmbeddedLog
from connectors.log.interface import NewRecord
from connectors.log.topics import topic_specs
from connectors.providers.channel import Delivery, Rejected, Result, Sent
from flows import deliver, transactional
from flows.process.cluster import ClusterPlace
from flows.steps.lanes.in_hand import RENDERING
from flows.steps.lanes.lane import Lane
from flows.steps.lanes.parts import JOURNAL_NAME, LaneParts, lane_path
from operators.attempts import INTERRUPTED
from state.deliver.store import read_start as deliver_start
from state.disk.poison import STARTS_MAX, PoisonJournal
from state.model.envelope import schema_of
from state.model.errors import LogUnavailableError, StateDamagedError, StateLockedError
from state.model.keys import key_group, partition_of_group
from state.transactional.store import read_start as transactional_start

STARTS = {"deliver": deliver_start, "transactional": transactional_start}
USER, BAD_USER = "u1", "u2"
"""Of one lane. The push of the second is refused for good, so his falls back to a text message."""
AGAIN = [("again", b"replay/1")]
"""Handed out once more by an operator."""
LANE = partition_of_group(key_group(USER), 2)


async def never(_delivery: Delivery) -> Result:
    await asyncio.sleep(3_600)
    return Sent("too late")


class OneLane:
    """A lane on one directory: its input, its providers, and what it handed out that came into the log."""

    def __init__(self, system: System, station: Station) -> None:
        self.system, self.station = system, station
        self.topic = TOPICS[station][0]
        self.push, self.sms = Provider(self._answer), Provider(self._answer)
        self.told: list[NewRecord] = []
        self._epochs: list[list[NewRecord]] = [[], []]
        (system.directory / "carillon.toml").write_text('[types.otp]\npolicy = "first"\n')
        for user in (USER, BAD_USER):
            token_of_user = "bad" if user == BAD_USER else token(user)
            system.feed(
                [system.endpoint(user, "push", "d1", token_of_user), system.endpoint(user, "sms", "s", "+1415")]
            )

    async def _answer(self, delivery: Delivery) -> Result:
        await asyncio.sleep(0.002)  # so that kills come between an intent and its answer
        if delivery.address == "bad":
            return Rejected("BadDeviceToken")
        return Sent("taken")

    def feed(self, number: int, *headers: tuple[str, bytes]) -> None:
        """Every third is for the user whose push fails."""
        records = [self.record(BAD_USER if count % 3 == 2 else USER) for count in range(number)]
        self.system.feed([record._replace(headers=(*record.headers, *headers)) for record in records])

    def record(self, user: str) -> NewRecord:
        """One thing to send."""
        if self.station == "transactional":
            return self.system.p0(user)
        rest = [{"channel": "sms", "devices": addresses([("s", "+14155550101")])}]
        device = ("d1", "bad" if user == BAD_USER else token(user))
        return self.system.emission(user, "push", [device], rest=rest)

    @contextmanager
    def started(self, **parts: Any) -> Iterator[Lane]:
        """From a start to a kill."""
        self._epochs = [[], []]
        channels = {"push": self.push, "sms": self.sms}
        with running_lanes(self.system, station=self.station, channels=channels, **parts) as (lanes, _):
            lane = lanes.lane(LANE)
            self._next = STARTS[self.station](self.path, (self.topic, LANE)) or 0
            yield lane

    @property
    def path(self) -> Any:
        return lane_path(self.system.directory / "state" / self.station, LANE)

    def accept(self, lane: Lane, number: int = 1_000) -> None:
        """The next records."""
        records = read(self.system, LANE, self.topic, self._next)[:number]
        if records:
            self._next = records[-1].offset + 1
            self._epochs[-1] += lane.accept(records)

    def collect(self, lane: Lane, *, last: bool = False) -> None:
        self._epochs[-1] += lane.collect(last=last)

    def epoch(self, lane: Lane) -> None:
        """What was handed out before the last call is in the log."""
        lane.epoch()
        self.told += self._epochs.pop(0)
        self._epochs.append([])

    def settle(self, lane: Lane) -> None:
        """Until everything has ended, and is closed."""

        def over() -> bool:
            self.collect(lane)
            return not lane.open

        wait_for(over, what=lambda: f"{lane.open} open", every_s=0.005)
        self.collect(lane, last=True)
        for _ in range(3):
            self.epoch(lane)

    def run(self, **parts: Any) -> None:
        """Start, take everything, and let it end."""
        with self.started(**parts) as lane:
            self.accept(lane)
            self.settle(lane)

    @property
    def sent(self) -> Counter[str]:
        """How often each delivery was given to its provider."""
        return Counter(self.push.keys + self.sms.keys)

    def deliveries(self) -> dict[str, set[tuple[str, str | None]]]:
        """Every outcome and reason that was told of a delivery, by its key."""
        found: dict[str, set[tuple[str, str | None]]] = {}
        for value in self._values("delivery/1+json"):
            key = "/".join(value[name] for name in ("emission_id", "user", "channel", "device"))
            found.setdefault(key, set()).add((value["outcome"], value["reason"]))
        return found

    def counts(self) -> dict[int, dict[str, Any]]:
        """The last ones of each key group."""
        return {value["group"]: value for value in self._values("counts/1+json")}

    def _values(self, schema: str) -> list[dict[str, Any]]:
        return [json.loads(record.value) for record in self.told if schema_of(record.headers) == schema]


@pytest.fixture(params=["deliver", "transactional"])
def lane_of(request: pytest.FixtureRequest, system: System) -> OneLane:
    return OneLane(system, request.param)


def check_counts(lane_of: OneLane) -> None:
    """The second law: handed out, and fallbacks, are the deliveries that ended."""
    counts = lane_of.counts().values()
    name = "accepted" if lane_of.station == "deliver" else "emitted"
    assert not any(each["in_flight"] for each in counts)
    assert sum(each[name] + each["fallbacks"] for each in counts) == len(lane_of.deliveries())


def test_each_delivery_is_sent_once_and_told_once(lane_of: OneLane) -> None:
    lane_of.feed(6)
    lane_of.run()
    outcomes = Counter(outcome for told in lane_of.deliveries().values() for outcome, _ in told)
    assert outcomes == {"DELIVERED": 6, "FELL_BACK": 2}
    assert set(lane_of.sent.values()) == {1}
    assert lane_of.sent.keys() == lane_of.deliveries().keys()
    check_counts(lane_of)


@pytest.mark.parametrize("size", [1, 2, 5])
def test_however_the_records_are_cut_into_batches_the_same_is_told(lane_of: OneLane, size: int) -> None:
    lane_of.feed(6)
    with lane_of.started() as lane:
        for _ in range(6):
            lane_of.accept(lane, size)
            lane_of.collect(lane)
            lane_of.epoch(lane)
        lane_of.settle(lane)
    assert len(lane_of.deliveries()) == 8
    assert set(lane_of.sent.values()) == {1}
    check_counts(lane_of)


def test_what_is_closed_is_neither_sent_nor_told_again(lane_of: OneLane) -> None:
    lane_of.feed(3)
    lane_of.run()
    told = len(lane_of.deliveries())
    lane_of.told.clear()
    with lane_of.started() as lane:
        assert not lane.open
        lane_of.settle(lane)
    assert lane_of.deliveries() == {}
    assert len(lane_of.sent) == told
    assert set(lane_of.sent.values()) == {1}
    check_counts_are_the_same(lane_of, told)


def check_counts_are_the_same(lane_of: OneLane, told: int) -> None:
    """A start tells the counts of every group that the store knows."""
    name = "accepted" if lane_of.station == "deliver" else "emitted"
    assert sum(each[name] + each["fallbacks"] for each in lane_of.counts().values()) == told


@pytest.mark.parametrize("headers", [[], AGAIN])
@pytest.mark.parametrize("epochs", [0, 1])
def test_what_ended_and_is_not_closed_is_told_again_in_the_same_way_and_not_sent(
    lane_of: OneLane, epochs: int, headers: list[tuple[str, bytes]]
) -> None:
    lane_of.feed(3, *headers)
    with lane_of.started() as lane:
        lane_of.accept(lane)
        wait_for(lambda: lane.collect() and not lane.open, every_s=0.005)  # all that is handed out is lost
        for _ in range(epochs):
            lane.epoch()
    sent = lane_of.sent
    lane_of.run()
    assert lane_of.sent == sent
    assert sent.keys() == lane_of.deliveries().keys()
    outcomes = Counter(outcome for told in lane_of.deliveries().values() for outcome, _ in told)
    assert outcomes == {"DELIVERED": 3, "FELL_BACK": 1}
    check_counts(lane_of)


@pytest.mark.parametrize("seed", range(10))
def test_kills_at_any_instant(lane_of: OneLane, seed: int) -> None:
    """P1 and P2 never go twice; P0 goes at least once; each end is told, in one way; the law of the counts holds.

    So it is with what an operator hands out again.
    """
    dice = random.Random(seed)
    lane_of.feed(12, *(AGAIN if seed % 2 else []))
    for _ in range(6):
        with lane_of.started() as lane:
            for _ in range(dice.randrange(12)):
                time.sleep(dice.choice((0, 0.01, 0.03)))
                step = dice.choice(("accept", "collect", "collect", "epoch"))
                if step == "accept":
                    lane_of.accept(lane, dice.randrange(1, 5))
                elif step == "collect":
                    lane_of.collect(lane)
                else:
                    lane_of.epoch(lane)
    lane_of.run()
    told = lane_of.deliveries()
    assert all(len(ends) == 1 for ends in told.values()), "a delivery was told in two ways"
    outcomes = {key: next(iter(ends)) for key, ends in told.items()}
    sent = lane_of.sent
    if lane_of.station == "deliver":
        assert set(sent.values()) <= {1}, "sent twice"
    delivered = {key for key, (outcome, _) in outcomes.items() if outcome == "DELIVERED"}
    unknown = {key for key, end in outcomes.items() if end == ("UNKNOWN", INTERRUPTED)}
    assert delivered <= sent.keys()
    assert sent.keys() <= told.keys(), "sent, and not told"
    assert len(delivered | unknown) == 12
    assert len([key for key in told if "/push/" in key]) == 12, "lost"
    assert lane_of.station == "deliver" or not unknown
    check_counts(lane_of)


def test_nothing_is_sent_that_attempts_knows_the_end_of(lane_of: OneLane) -> None:
    """Also by a lane without a file."""
    lane_of.feed(1)
    lane_of.run()
    sent = lane_of.sent
    lane_of.told.clear()
    for file in lane_of.path.parent.iterdir():
        file.unlink()
    lane_of.run()
    assert lane_of.sent == sent


def test_an_intent_without_an_answer_is_sent_again_if_it_is_p0_and_unknown_if_not(lane_of: OneLane) -> None:
    """The provider-side id is the same, since it depends on the key alone."""
    lane_of.feed(1)
    lane_of.push = Provider(never)
    with lane_of.started() as lane:
        lane_of.accept(lane)
        lane_of.epoch(lane)
        wait_for(lambda: lane_of.push.keys, every_s=0.005)
    (key,) = lane_of.push.keys
    lane_of.push = Provider(lane_of._answer)
    lane_of.run()
    if lane_of.station == "deliver":
        assert lane_of.push.keys == []
        assert lane_of.deliveries() == {key: {("UNKNOWN", INTERRUPTED)}}
    else:
        assert lane_of.push.keys == [key]
        assert lane_of.deliveries() == {key: {("DELIVERED", None)}}


def test_a_record_that_does_not_decode_is_a_dead_letter_before_it_is_passed(lane_of: OneLane) -> None:
    """Whatever the lane hands out is lost in a kill, and the record is not read again."""
    lane_of.feed(1)
    broken = lane_of.record(USER)
    lane_of.system.feed([broken._replace(value=broken.value[:-5])])
    lane_of.feed(1)
    lane_of.run()
    (letter,) = lane_of.system.values("dead_letters")
    assert (letter["kind"], letter["stage"]) == ("malformed", lane_of.station)
    assert letter["source"] == [lane_of.topic, LANE, 1]
    assert len(lane_of.deliveries()) == 2


def note_deaths(lane_of: OneLane, offset: int, group: int) -> None:
    """As so many starts that died with the record in hand."""
    path = lane_of.path.with_name(JOURNAL_NAME)
    for _ in range(STARTS_MAX):
        journal = PoisonJournal.open(path, unit=path.parent.parent)
        journal.begin(lane_of.topic, LANE, offset, group)
        journal.close()


def test_a_record_that_ended_five_starts_is_set_aside(lane_of: OneLane) -> None:
    lane_of.feed(2)
    note_deaths(lane_of, 0, -1)
    lane_of.run()
    (letter,) = lane_of.system.values("dead_letters")
    assert (letter["kind"], letter["source"]) == ("killed", [lane_of.topic, LANE, 0])
    assert len(lane_of.deliveries()) == 1
    check_counts(lane_of)


def test_a_delivery_whose_rendering_ended_five_starts_ends_as_a_dead_letter(lane_of: OneLane) -> None:
    lane_of.feed(2)
    note_deaths(lane_of, 0, RENDERING)
    lane_of.run()
    outcomes = Counter(outcome for told in lane_of.deliveries().values() for outcome, _ in told)
    assert outcomes == {"DELIVERED": 1, "DEAD_LETTER": 1}
    assert len(lane_of.sent) == 1
    (letter,) = [json.loads(record.value) for record in lane_of.told if record.topic == "dead_letters"]
    assert letter["kind"] == "killed"
    check_counts(lane_of)


def test_a_lane_has_room_until_its_bound_is_open(lane_of: OneLane) -> None:
    lane_of.push = Provider(never)
    lane_of.feed(4)
    with lane_of.started() as lane:
        lane_of.epoch(lane)
        for number in range(4):
            assert (lane.open, lane_of.topic in lane.full(4)) == (number, False)
            lane_of.accept(lane, 1)
        assert (lane.open, lane_of.topic in lane.full(4)) == (4, True)


def test_what_a_restart_reads_of_attempts_begins_behind_what_is_closed(lane_of: OneLane) -> None:
    lane_of.feed(3)
    lane_of.run()
    with lane_of.started() as lane:
        recovered = lane._in_hand.recovered[LANE]
        assert recovered.start == recovered.end > 0


def test_state_of_another_log_is_refused_before_the_process_is_ready(lane_of: OneLane, tmp_path: Path) -> None:
    """Later the other log may have grown past it, and what it has up to there would never be read."""
    lane_of.feed(3)
    lane_of.run()
    log = EmbeddedLog(tmp_path / "another", clock=now_ms)
    log.ensure_topics(topic_specs(2, timedelta(days=1)))
    station, nothing = lane_of.station, cast("Any", None)
    directory = lane_of.system.directory / "state" / station
    parts = LaneParts(
        station=station, directory=directory, log=log, dispatcher=nothing, topics=TOPICS[station], lanes=2,
        now_ms=now_ms, run_ms=0,
    )  # fmt: skip
    wire: Any = deliver.wire if station == "deliver" else partial(transactional.wire, rules=nothing)
    with closing(log), pytest.raises(StateDamagedError, match="the log ends at 0: the log was lost, or is another one"):
        wire(lambda: log, parts, drain=lambda: False, place=ClusterPlace(0, 1, 1))


def test_a_directory_has_one_lane(lane_of: OneLane) -> None:
    with lane_of.started(), pytest.raises(StateLockedError), lane_of.started():
        pass


class Unwritable:
    """A log to which nothing can be appended."""

    def __init__(self, system: System) -> None:
        self._log = system.log

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    def append(self, _records: Sequence[NewRecord]) -> list[int]:
        raise LogUnavailableError("no leader")


def test_where_attempts_cannot_be_appended_to_nothing_is_sent_and_the_lane_ends(lane_of: OneLane) -> None:
    lane_of.feed(1)
    with lane_of.started(log=Unwritable(lane_of.system)) as lane:
        lane_of.accept(lane)

        def collected() -> bool:
            lane.collect()
            return False

        with pytest.raises(LogUnavailableError):
            wait_for(collected, every_s=0.005)
    assert not lane_of.sent
