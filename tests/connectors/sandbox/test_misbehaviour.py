"""Which misbehaviour meets whom: by the recipient's own word, or by a share of everybody's messages."""

from __future__ import annotations

import pytest

from connectors.sandbox.misbehaviour import (
    EVERY,
    OF_HTTP2,
    TAKE,
    Behaviour,
    Misbehaviours,
    Steered,
    SteeringError,
    named_behaviour,
)

PEOPLE = [f"person{number}" for number in range(1_000)]


def steered(name: str, share: float = 1.0, seed: int = 0) -> Misbehaviours:
    found = Misbehaviours(OF_HTTP2)
    found.steer(Steered("apns", name, share, seed))
    return found


def met(misbehaviours: Misbehaviours) -> list[bool]:
    return [misbehaviours.of("", person) != TAKE for person in PEOPLE]


def test_a_word_means_the_same_before_a_dash_and_when_it_is_steered() -> None:
    for word in "hang slow20 503 stall trickle garbled endless flood encoded goaway gone bad credential rst".split():
        assert Misbehaviours(OF_HTTP2).of(f"{word}-x") == named_behaviour(word) == steered(word).of("plain") != TAKE


def test_the_recipients_own_word_goes_first() -> None:
    assert steered("503").of("slow20-x") == Behaviour("take", delay_ms=20)


def test_the_share_is_met_and_the_seed_says_by_whom() -> None:
    first, again, other = (met(steered("503", 0.3, seed)) for seed in (1, 1, 2))
    assert first == again != other
    assert 250 < sum(first) < 350


def test_who_is_gone_stays_gone_and_what_fails_by_chance_may_work_the_next_time() -> None:
    gone, failing = steered("gone", 0.5), steered("503", 0.5)
    assert met(gone) == met(gone)
    assert met(failing) != met(failing)


def test_refusals_that_are_counted_end_for_each_recipient() -> None:
    twice = steered("503x2")
    assert [twice.of("", "a").kind for _ in range(3)] == ["refuse", "refuse", "take"]
    assert twice.of("", "b").kind == "refuse"
    own = Misbehaviours()
    assert [own.of("503x1-a").kind for _ in range(2)] == ["refuse", "take"]


def test_of_one_word_the_last_wish_counts_and_lifting_forgets_it() -> None:
    found = steered("429", 0.5)
    found.steer(Steered("apns", "429", 1.0, 7, retry_after_s=9))
    assert found.steered() == [Steered("apns", "429", 1.0, 7, 9)]
    assert found.of("", "a").wait_s(1) == "9"
    assert (found.lift("429"), found.lift()) == (1, 0)
    assert met(found) == [False] * len(PEOPLE)


def test_connections_meet_what_messages_do_not() -> None:
    found = steered("certificate", 0.5)
    assert not any(met(found))
    assert 400 < sum(found.meets("certificate", str(number)) for number in range(1_000)) < 600
    assert Misbehaviours(OF_HTTP2).of("away-x") == TAKE


@pytest.mark.parametrize(
    ("wish", "place"),
    [
        (Steered("smtp", "goaway"), "name"),
        (Steered("smtp", "nonsense"), "name"),
        (Steered("smtp", "away", 0.5), "share"),
        (Steered("smtp", "hang", retry_after_s=3), "retry_after_s"),
    ],
)
def test_what_cannot_be_is_refused_with_the_field(wish: Steered, place: str) -> None:
    found = Misbehaviours(EVERY)
    with pytest.raises(SteeringError, match=f"^{place}: ") as raised:
        found.steer(wish)
    assert raised.value.field == place
    assert found.steered() == []
