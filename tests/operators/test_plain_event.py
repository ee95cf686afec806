"""Plain events are judged in one go: as they are with every look."""

from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from operators.admit import Rules
from operators.plain_event import PlainEvent, plain_event
from state.model.admission import Admitted, Sender
from state.model.registry import load_registry

_SCHEMA = '{"type":"object","required":["order"],"properties":{"order":{"type":"string","maxLength":5}}}'
RULES = Rules(
    load_registry(
        {
            "alarm": {"klass": "P0"},
            "shipped": {"klass": "P1", "schema": _SCHEMA},
            "theirs": {"klass": "P2", "owners": ["others"]},
            "news": {"klass": "P2", "fan_out": ["SEGMENT"]},
        }
    )
)
SENDERS = [Sender("app"), Sender("app", frozenset(("P0", "P1", "P2"))), Sender("others", types=("l*", "theirs"))]
LIKE = {"type": "like", "actor": "ann", "target": "bob", "object": "photo", "payload": {"title": "liked", "n": 1}}

_texts = st.sampled_from(["a", "photo-1", "x" * 256, "x" * 257, "", "ä", "a\u0308", "a\nb", "\x7f", "a b"])
_card = "4111 1111 1111 1111"
_member = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=9) | _texts
_values = _member | st.sampled_from([_card, 4111111111111111, "x" * 17_000, "12345678", "123-45-6789", 2**64])
_payloads = st.dictionaries(
    st.sampled_from(["title", "text", "order", "actor_name", "object_label", "ä"]),
    _values | st.lists(_values, max_size=2) | st.dictionaries(_texts, _values, max_size=2),
    max_size=3,
)
_types = st.sampled_from(["like", "comment", "otp", "alarm", "shipped", "theirs", "news", "reminder", "unheard-of"])
_fields: dict[str, st.SearchStrategy[Any]] = {
    **dict.fromkeys(("event_id", "idempotency_key", "actor", "target", "object", "segment", "parent_event_id"), _texts),
    "type": _types | _texts,
    "priority": st.sampled_from(["P0", "P1", "P2", "P3"]),
    "fan_out_type": st.sampled_from(["DIRECT", "FOLLOWERS", "SEGMENT", "BROADCAST", "ALL"]),
    "payload": _payloads,
    "ttl_ms": st.sampled_from([0, 1, -1, 2**53, "1", True]),
    "created_at": st.sampled_from([0, 5, -1, 2**53 - 1, 1.5]),
    "deliver_at": st.sampled_from([0, 10**12, 2**52]),
    "to": st.sampled_from([{}, {"sms": "+4915112345678"}, {"pigeon": "x"}]),
    "sender_id": st.sampled_from(["app", "others"]),
    "schema_version": st.sampled_from([0, 1, 2]),
    "retracts": st.booleans(),
    "unknown": _texts,
}


@st.composite
def bodies(draw: st.DrawFn) -> Any:
    """A good event with a few members that are others, not there or null."""
    body: dict[str, Any] = dict(LIKE, type=draw(_types | st.just("like")))
    for name in draw(st.sets(st.sampled_from([*_fields]), max_size=3)):
        body[name] = draw(st.none() | _fields[name])
    for name in draw(st.sets(st.sampled_from([*LIKE]), max_size=1)):
        del body[name]
    return body


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(bodies() | st.none() | st.lists(st.integers(), max_size=1), st.sampled_from(SENDERS))
def test_the_quick_look_says_what_the_close_one_says(body: Any, sender: Sender) -> None:
    quick, close = (
        judge(body, sender, now_ms=10**12, new_event_id=lambda: "new") for judge in (RULES.judge, RULES.judge_closely)
    )
    assert quick == close


@pytest.mark.parametrize(
    "fields", [{}, {"idempotency_key": "k"}, {"event_id": "e"}, {"priority": "P2"}, {"payload": None}, {"ttl_ms": 5}]
)
def test_an_ordinary_event_is_a_plain_one(fields: dict[str, Any]) -> None:
    assert plain_event(LIKE | fields) is not None
    assert isinstance(RULES.judge(LIKE | fields, SENDERS[0], now_ms=9, new_event_id=lambda: "new"), Admitted)


@pytest.mark.parametrize("fields", [{"deliver_at": 1}, {"to": {}}, {"retracts": True}, {"payload": {"a": []}}])
def test_what_asks_for_more_is_no_plain_event(fields: dict[str, Any]) -> None:
    assert plain_event(LIKE | fields) is None


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.just(LIKE) | bodies(), min_size=1, max_size=3), st.sampled_from(SENDERS))
def test_what_is_read_together_is_judged_as_each_alone(events: list[Any], sender: Sender) -> None:
    try:
        body = msgspec.json.encode(events)
    except UnicodeEncodeError:
        return
    read = RULES.read_plain(body)
    decoded = msgspec.json.decode(body)
    together = RULES.judge_all(decoded if read is None else read, sender, now_ms=10**12, new_event_id=lambda: "new")
    alone = [RULES.judge_closely(one, sender, now_ms=10**12, new_event_id=lambda: "new") for one in decoded]
    assert together == alone


def test_a_batch_of_plain_events_is_read_in_one_go() -> None:
    events = [LIKE, LIKE | {"event_id": "e", "payload": {"title": "a:b", "": ""}}, LIKE | {"payload": {"n": 10**9}}]
    read = RULES.read_plain(msgspec.json.encode(events))
    assert read is not None
    assert [isinstance(one, PlainEvent) for one in read] == [True, True, False]
    assert read[2] == events[2]
    assert RULES.read_plain(b"[]") == []


@pytest.mark.parametrize(
    "event",
    [
        b'{"type":"like","type":"otp","target":"bob"}',
        b'{"type":"like","target":"bob","payload":{"a":1,"a":2}}',
        b'{"type":"like","target":"bob","payload":{"a":1,"b":":","a":":"}}',
        b'{"type":"like","target":"bob","actor":null}',
        b'{"type":"like","target":"bob","payload":{"a":"\\n"}}',
        b'{"type":"like","target":"b\x7fb"}',
        '{"type":"like","target":"b\xf6b"}'.encode(),
        b'{"type":"like","target":"bob","payload":{"a":1.0}}',
        b'{"type":"like","target":"bob","payload":{"a":[]}}',
        b'{"type":"like","target":"bob","deliver_at":5}',
        b'{"type":"like","target":"bob"},',
        b"5",
    ],
)
def test_what_may_be_something_else_is_not_read_together(event: bytes) -> None:
    assert RULES.read_plain(b'[{"type":"like","target":"bob"},' + event + b"]") is None
