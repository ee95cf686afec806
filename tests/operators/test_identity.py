"""Identity of content: RFC 8785 as the reference library gives it, and what RULES 1 says is equal."""

from hashlib import sha256
from typing import Any

import msgspec
import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from operators.identity import body_identity, canonical_json, content_identity, is_compared_by_content, repeat_kind
from state.model.event import Event

_texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
_numbers = st.integers(-(2**53) + 1, 2**53 - 1) | st.floats(allow_nan=False, allow_infinity=False)
_values = st.recursive(
    st.none() | st.booleans() | _numbers | _texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_texts, inner, max_size=4),
    max_leaves=12,
)


def event(**fields: Any) -> Event:
    return Event(**{"event_id": "e", "type": "like", "priority": "P1", "target": "u", "ttl_ms": 1, **fields})


@given(_values)
def test_canonical_form_is_that_of_the_reference(value: Any) -> None:
    assert canonical_json(value) == rfc8785.dumps(value)


@given(st.dictionaries(_texts, _values, max_size=4), _texts, st.dictionaries(st.sampled_from(["sms"]), _texts))
def test_the_identity_of_a_body_is_that_of_its_canonical_form(
    payload: dict[str, Any], text: str, to: dict[str, str]
) -> None:
    """Whichever way it is encoded; what a gateway of an earlier version stored stays equal."""
    found = event(payload=payload, object=text, to=to or None, created_at=2**53 - 1)
    names = [
        "type", "priority", "fan_out_type", "actor", "target", "object", "segment", "payload", "ttl_ms", "created_at",
        "deliver_at", "to", "schema_version", "retracts", "parent_event_id",
    ]  # fmt: skip
    content = {name: getattr(found, name) for name in names}
    assert body_identity(found) == sha256(rfc8785.dumps(content)).digest()


def test_vectors_of_the_standard() -> None:
    assert canonical_json({"\u20ac": 1, "\r": 2, "1": 3, "\U0001f600": 4, "\ufb33": 5, "\u0080": 6, "\u00f6": 7}) == (
        '{"\\r":2,"1":3,"\u0080":6,"ö":7,"€":1,"😀":4,"\ufb33":5}'.encode()
    )
    assert canonical_json([333333333.33333329, 1e30, 4.50, 2e-3, 1e-27]) == (
        b"[333333333.3333333,1e+30,4.5,0.002,1e-27]"
    )


def test_integers_beyond_doubles_stay_different() -> None:
    assert canonical_json({"id": 2**53 + 1}) != canonical_json({"id": 2**53})


@pytest.mark.parametrize(
    "fields",
    [
        {"retracts": True}, {"parent_event_id": "p"}, {"deliver_at": 5}, {"ttl_ms": 2}, {"priority": "P2"},
        {"payload": {}}, {"payload": {"a": 1}},
    ],
    ids=lambda fields: next(iter(fields)),
)  # fmt: skip
def test_each_part_of_the_content_counts(fields: dict[str, Any]) -> None:
    assert content_identity(event(**fields)) != content_identity(event())


@pytest.mark.parametrize("fields", [{"created_at": 9}, {"ingested_at": 9}, {"event_id": "f"}, {"schema_version": 2}])
def test_nothing_else_counts_as_content(fields: dict[str, Any]) -> None:
    assert content_identity(event(**fields)) == content_identity(event())


def test_number_spelling_and_key_order_do_not_matter() -> None:
    one = msgspec.json.decode(b'{"a":1.0,"b":[2]}')
    two = msgspec.json.decode(b'{"b":[2],"a":1}')
    assert content_identity(event(payload=one)) == content_identity(event(payload=two))


def test_kind_holds_what_must_be_shared() -> None:
    assert repeat_kind(event(sender_id="s", actor="a", object="o", segment="g")) == (
        "s", "like", "a", "u", "o", "g", "DIRECT",
    )  # fmt: skip


def test_only_keyless_events_below_p0_are_compared() -> None:
    assert is_compared_by_content(event())
    assert not is_compared_by_content(event(idempotency_key="k"))
    assert not is_compared_by_content(event(priority="P0"))


def test_body_identity_leaves_out_what_the_gateway_gives() -> None:
    assert body_identity(event(event_id="x", ingested_at=7)) == body_identity(event())
    assert body_identity(event(created_at=1)) != body_identity(event())
    assert body_identity(event(target="v")) != body_identity(event())
