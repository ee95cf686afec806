"""How much feedback is taken."""

from connectors.providers.email.feedback_loop import FeedbackLoop, FeedbackOptions


def test_any_hour_has_room_for_so_many() -> None:
    now_s = [0.0]
    loop = FeedbackLoop(FeedbackOptions("fbl@ours.example", 2), lambda: now_s[0])
    for at, room in ((0.0, True), (1_800.0, True), (3_599.9, False), (3_600.0, True), (3_600.1, False)):
        now_s[0] = at
        assert loop.has_room == room, at
        if room:
            loop.took()


def test_without_an_address_nothing_is_feedback() -> None:
    loop = FeedbackLoop(FeedbackOptions(), lambda: 0.0)
    assert not any(map(loop.is_it, ("", "fbl@ours.example")))
