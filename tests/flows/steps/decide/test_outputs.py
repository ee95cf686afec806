"""A digest of any size is a record that the log takes."""

import msgspec
import pytest

from connectors.log.interface import RECORD_MAX_BYTES
from flows.steps.decide.outputs import DIGEST_ITEMS_MAX, to_deliver
from state.model.delivery import ChannelAddresses
from state.model.event import Event
from state.model.records import Emission

BODY_MAX_BYTES = 256 << 10


def digest(events: list[Event]) -> Emission:
    mail = ChannelAddresses(channel="email")
    return Emission(
        emission_id="em_1", first_event_id="e0", user="u1", type="digest", object=None, count=len(events), actors=[],
        actor_count=0, first=True, channels=["email"], devices=(mail,), rest=(), policy="first", decided_at=1,
        valid_until=2, event=events[0], items=events, category="marketing", locale=None, name=None, quiet=None,
    )  # fmt: skip


def likes(count: int) -> Emission:
    actors = [None, *(f"a{number}" for number in range(1, count))]
    events = [
        Event(event_id=f"e{number}", type="like", target="u1", object="photo", actor=actor)
        for number, actor in enumerate(actors)
    ]
    return msgspec.structs.replace(digest(events), type="like", object="photo")


def test_deliver_is_told_each_event_of_a_notification_as_far_as_rows_are_exact() -> None:
    told = {count: to_deliver(likes(count), ChannelAddresses("push"), "P1").items for count in (1, 3, 1_000, 1_001)}
    assert (told[1], told[1_001]) == (msgspec.UNSET, msgspec.UNSET)
    assert told[3] == (("e0", None), ("e1", "a1"), ("e2", "a2"))
    assert len(told[1_000] or ()) == 1_000
    assert b'"items"' not in msgspec.json.encode(to_deliver(likes(1), ChannelAddresses("push"), "P1"))


def test_deliver_is_told_what_payloads_call_their_actors_where_any_does() -> None:
    several = likes(3)
    assert to_deliver(several, ChannelAddresses("push"), "P1").names is msgspec.UNSET
    payloads = [{"actor_name": "Ada"}, {"actor_name": 7}, None]
    events = [
        msgspec.structs.replace(event, payload=payload) for event, payload in zip(several.items, payloads, strict=True)
    ]
    named = to_deliver(msgspec.structs.replace(several, items=events), ChannelAddresses("push"), "P1")
    assert named.names == ("Ada", None, None)
    assert msgspec.json.decode(msgspec.json.encode(named), type=type(named)) == named


def newsletter(number: int, text: str | None, name: str = "") -> Event:
    payload = None if text is None else {"text": text}
    return Event(event_id=f"e{number}{name}", type="newsletter", target="u1", priority="P2", payload=payload)


@pytest.mark.parametrize("count", [1, 15, 40, 400])
def test_large_payloads_are_left_out_from_the_end(count: int) -> None:
    events = [newsletter(number, "x" * (BODY_MAX_BYTES - 200)) for number in range(count)]
    record = to_deliver(digest(events), ChannelAddresses(channel="email"), "P1")
    assert len(msgspec.json.encode(record)) < RECORD_MAX_BYTES
    assert record.digest_items is not None
    assert [item.event_id for item in record.digest_items] == [event.event_id for event in events]
    kept = [item.payload is not None for item in record.digest_items]
    assert kept == sorted(kept, reverse=True)
    assert sum(kept) == min(count, 12)


def test_very_many_items_are_counted_and_not_all_told() -> None:
    events = [newsletter(number, None, "n" * 200) for number in range(50_000)]
    record = to_deliver(digest(events), ChannelAddresses(channel="email"), "P1")
    assert len(msgspec.json.encode(record)) < RECORD_MAX_BYTES
    assert record.count == 50_000
    assert len(record.digest_items or ()) == DIGEST_ITEMS_MAX
