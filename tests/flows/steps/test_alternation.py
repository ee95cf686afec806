"""Work between two looks at the log is done once, and goes on by itself where no look comes."""

from flows.steps.alternation import Alternation


class Clock:
    now = 5.0

    def __call__(self) -> float:
        return self.now


def test_it_is_done_once_between_two_looks() -> None:
    alternation = Alternation(Clock())
    assert alternation.my_turn(), "nothing was done yet"
    alternation.done()
    assert not alternation.my_turn()
    alternation.looked()
    assert alternation.my_turn()


def test_where_no_look_comes_it_goes_on_after_a_while() -> None:
    clock = Clock()
    alternation = Alternation(clock)
    alternation.done()
    clock.now += 0.09
    assert not alternation.my_turn()
    clock.now += 0.02
    assert alternation.my_turn()
    alternation.done()
    assert not alternation.my_turn()
