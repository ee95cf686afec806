"""A start is waited for as long as one process after another gets ready."""

from datetime import timedelta

from flows.up.patience import StartPatience


def test_a_start_that_gets_on_is_not_given_up_and_one_that_does_not_is() -> None:
    """On a busy machine all processes were killed after 90 s, the last one a moment before it was ready."""
    patience = StartPatience(timedelta(seconds=90))
    assert not any(patience.is_over(8 - now_s // 60, 1_000.0 + now_s) for now_s in range(420))
    assert not patience.is_over(2, 1_449.9)
    assert not patience.is_over(3, 1_450.0), "one of them died and begins again, which is no step"
    assert patience.is_over(2, 1_450.1)
