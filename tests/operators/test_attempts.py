"""What attempts fold to, and what a restart does with them: pure."""

from __future__ import annotations

import msgspec
import pytest
from helpers.histories import fold

from operators.attempts import DeliveryHistory, resume
from state.model.delivery import Attempt


def intent(number: int, at: int = 10) -> Attempt:
    return Attempt(state="intent", key="k", attempt=number, provider="apns", provider_id="p", at=at)


def answer(number: int, result: str, at: int = 20, retry: int | None = None) -> Attempt:
    return Attempt(state="answer", key="k", attempt=number, result=result, at=at, detail="why", retry_at=retry)


CLOSED = Attempt(state="closed", key="k", at=30, outcome="EXPIRED")


def history(*records: Attempt) -> DeliveryHistory:
    return fold(records)["k"]


@pytest.mark.parametrize(
    ("records", "p0", "p1"),
    [
        ([intent(1)], "send", "unknown"),
        ([intent(1), answer(1, "sent")], "over", "over"),
        ([intent(1), answer(1, "failed", retry=99)], "wait", "wait"),
        ([intent(1), answer(1, "failed", retry=99), intent(2)], "send", "unknown"),
        ([intent(1), answer(1, "failed", retry=99), CLOSED], "over", "over"),
        ([CLOSED], "over", "over"),
        ([intent(1), CLOSED, answer(1, "sent")], "over", "over"),
    ],
)
def test_what_a_restart_does(records: list[Attempt], p0: str, p1: str) -> None:
    assert resume(history(*records), "P0") == p0
    assert resume(history(*records), "P1") == p1
    assert resume(history(*records), "P2") == p1


@pytest.mark.parametrize(("tries", "then"), [(3, "send"), (4, "spent")])
def test_a_code_without_an_answer_has_three_retries_whatever_ended_its_tries(tries: int, then: str) -> None:
    assert resume(history(*(intent(number) for number in range(1, tries + 1))), "P0") == then


def test_the_next_provider_goes_on_with_a_budget_of_its_own() -> None:
    moved = msgspec.structs.replace(answer(2, "failed", retry=99), moved_to="fcm")
    found = history(intent(1), answer(1, "failed", retry=15), intent(2), moved)
    assert (found.provider, found.tries, found.attempts, resume(found, "P1")) == ("fcm", 0, 2, "wait")
    assert found.provider_id is None, "the id is that of the one before"
    found.apply(intent(3, at=120))
    assert (found.tries, found.attempts, found.first_at) == (1, 3, 120)


def test_that_an_address_was_called_dead_stays_known() -> None:
    dead = msgspec.structs.replace(answer(1, "rejected"), gone_at=15)
    assert history(intent(1), dead).gone_at == 15
    assert history(intent(1), dead, intent(2), answer(2, "failed")).gone_at == 15


def test_untouched_is_sent() -> None:
    assert resume(None, "P1") == "send"


def test_the_fold_keeps_every_attempt_with_its_answer() -> None:
    found = history(intent(1, 10), answer(1, "failed", 20, 99), intent(2, 99), answer(2, "sent", 120))
    assert [(made.at, made.answer) for made in found.made] == [(10, "failed: why"), (99, "sent: why")]
    assert (found.attempts, found.first_at, found.outcome, found.ended_at) == (2, 10, "DELIVERED", 120)


def test_what_was_closed_first_stays() -> None:
    assert history(CLOSED, Attempt(state="closed", key="k", at=31, outcome="DEAD_LETTER")).outcome == "EXPIRED"
    assert history(intent(1), CLOSED, answer(1, "sent")).outcome == "EXPIRED"


def test_keys_do_not_mix() -> None:
    other = Attempt(state="intent", key="l", attempt=1, at=1)
    assert set(fold([intent(1), other])) == {"k", "l"}
    assert not [key for key, found in fold([intent(1), answer(1, "sent"), other]).items() if found.open != (key == "l")]


def test_the_variant_is_the_one_of_the_last_try() -> None:
    first, again = (msgspec.structs.replace(intent(number), variant=said) for number, said in ((1, "a"), (2, None)))
    assert history(first).variant == "a"
    assert history(first, answer(1, "sent")).variant == "a"
    assert history(first, answer(1, "failed", retry=15), again).variant is None
