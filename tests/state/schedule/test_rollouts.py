"""Rollouts by the order of their records, before and after compaction of these."""

from msgspec.structs import replace

from state.model.campaign import CAMPAIGN_ACT, CAMPAIGN_ORDER, CampaignAct, CampaignOrder, begin_act, campaign_key
from state.model.event import Event, RawEvent, RolloutPlan, resolve
from state.model.registry import load_registry
from state.schedule.campaigns import CampaignBook
from state.schedule.rollouts import Rollout

NAME = "event:news"
RAW = RawEvent(
    event_id="news", type="announcement", fan_out_type="BROADCAST", sender_id="s", rollout=RolloutPlan([1, 10, 100])
)
NEWS: Event = resolve(RAW, load_registry(), ingested_at=1)


class Topic:
    """The records, as the log keeps them."""

    def __init__(self) -> None:
        self.records: list[tuple[bytes, bytes, bytes]] = []

    def act(self, act: CampaignAct) -> None:
        key = campaign_key(act.campaign, "act", act.id)
        self.records.append((CAMPAIGN_ACT.json, key, CAMPAIGN_ACT.encode(act)))

    def begin(self, act_id: str) -> None:
        self.act(begin_act(NEWS, 1, act_id))

    def turn(self, verb: str, act_id: str, revision: int = 1) -> None:
        begun = begin_act(NEWS, 2, act_id)
        self.act(replace(begun, verb=verb, revision=revision, event=None))

    def order(self, number: int) -> None:
        order = CampaignOrder(NAME, 0, number, 2)
        self.records.append((CAMPAIGN_ORDER.json, campaign_key(NAME, "order", 0, number), CAMPAIGN_ORDER.encode(order)))

    def empty(self, key: bytes) -> None:
        self.records.append((b"", key, b""))

    def compact(self) -> None:
        """The newest record of each key is left, in its place."""
        newest = {key: place for place, (_, key, _) in enumerate(self.records)}
        self.records = [each for place, each in enumerate(self.records) if newest[each[1]] == place]

    def read(self) -> CampaignBook:
        book = CampaignBook()
        for offset, record in enumerate(self.records):
            book.take(*record, offset)
        return book

    def rollout(self) -> Rollout:
        found = self.read().campaigns[NAME]
        assert isinstance(found, Rollout)
        return found


def begun_twice() -> Topic:
    topic = Topic()
    topic.begin("b1")
    topic.order(0)
    topic.turn("cancel", "c1")
    topic.order(1)
    topic.begin("b2")
    topic.turn("pause", "p1", revision=2)
    return topic


def test_the_first_begin_counts_before_and_after_compaction() -> None:
    topic = begun_twice()
    for _ in range(2):
        rollout = topic.rollout()
        assert (rollout.state, rollout.ordered) == ("cancelled", {0: 2})
        topic.compact()


def test_its_keys_are_those_of_all_its_records_and_the_begin_that_counted_goes_last_of_the_begins() -> None:
    topic = begun_twice()
    keys = list(topic.rollout().record_keys())
    assert keys[:2] == [campaign_key(NAME, "act", each) for each in ("b2", "b1")]
    assert {key for _, key, _ in topic.records} <= set(keys)


def test_it_never_begins_again_while_its_records_go_one_by_one() -> None:
    topic = begun_twice()
    for key in topic.rollout().record_keys():
        topic.empty(key)
        topic.compact()
        found = topic.read().campaigns.get(NAME)
        assert found is None or found.state == "cancelled"
    book = topic.read()
    assert (book.campaigns, book.refusals) == ({}, {})


def test_it_is_there_until_none_of_its_begins_is() -> None:
    topic, book = begun_twice(), CampaignBook()
    for offset, record in enumerate(topic.records):
        book.take(*record, offset)
    book.take(b"", campaign_key(NAME, "act", "b1"), b"", 10)
    assert book.campaigns[NAME].state == "cancelled", "else the other would count after compaction, and not before"
    (rollout,) = book.rollouts()
    assert next(rollout.record_keys()) == campaign_key(NAME, "act", "b2")
    book.take(b"", campaign_key(NAME, "act", "b2"), b"", 11)
    assert book.campaigns == {}
