"""Which of what waits for a provider goes first."""

from __future__ import annotations

from datetime import timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest

from connectors.providers.channel import Failed, Rejected, Result, Sent, Throttled
from flows.steps.sending.queue import PASSED_OVER_AFTER_MS, ProviderBounds, ProviderQueue
from flows.steps.sending.queues import ProviderQueues
from flows.steps.sending.rate import SendRate
from flows.steps.sending.task import SendTask
from operators.attempts import DeliveryHistory
from state.model.addresses import ANY
from state.model.delivery import DeviceAddress
from state.model.errors import ConfigurationError
from state.model.ledger import AttemptMade


def queue(concurrency_max: int, per_s: float = 100.0) -> ProviderQueue:
    channel = SimpleNamespace(name="push")
    return ProviderQueue(ProviderBounds(cast("Any", channel), concurrency_max, SendRate("push", per_s)))


def bounds_of(name: str) -> ProviderBounds:
    return ProviderBounds(cast("Any", SimpleNamespace(name=name)), 10, SendRate(name, 100.0))


def task(name: str, priority: str, *, for_many: bool, valid_until: int = 10**9) -> SendTask:
    emission = SimpleNamespace(priority=priority, valid_until=valid_until)
    siblings = cast("Any", SimpleNamespace(emission=emission, for_many=for_many))
    return SendTask(siblings, DeviceAddress("d"), name, DeliveryHistory(), known=False)


def names(tasks: list[SendTask]) -> list[str]:
    return [each.key for each in tasks]


def test_a_mention_waits_for_one_of_a_post_and_the_post_goes_on() -> None:
    waiting = queue(100)
    for number in range(5):
        waiting.put(task(f"post{number}", "P1", for_many=True), 0)
    assert names(waiting.take(1, 0)) == ["post0"]
    for number in range(3):
        waiting.put(task(f"mention{number}", "P1", for_many=False), 0)
    assert names(waiting.take(6, 0)) == ["mention0", "post1", "mention1", "post2", "mention2", "post3"]
    assert names(waiting.take(6, 0)) == ["post4"]
    assert waiting.take(6, 0) == []


def test_a_post_leaves_room_at_the_provider_for_a_mention() -> None:
    waiting = queue(100, per_s=10_000.0)
    for number in range(60):
        waiting.put(task(f"post{number}", "P1", for_many=True), 0)
    waiting.put(task("campaign", "P2", for_many=False), 0)
    posts = waiting.take(99, 0)
    assert names(posts) == [f"post{number}" for number in range(16)]
    waiting.put(task("mention", "P1", for_many=False), 0)
    assert names(waiting.take(99, 0)) == ["mention"]
    for each in posts:
        each.history.made.append(AttemptMade("push", 0, None))
        waiting.answered(each, Sent("id"), 10)
        waiting.done(each)
    assert len(waiting.take(99, 100)) == 20, "it answers as soon as it did with few in flight"


def test_the_next_go_in_a_group_once_half_of_what_may_be_in_flight_is_free() -> None:
    waiting = queue(100, per_s=10_000.0)
    for number in range(200):
        waiting.put(task(f"mention{number}", "P1", for_many=False), 0)
    mentions = waiting.take(200, 0)
    assert len(mentions) == 100
    assert [_room_after(waiting, each) for each in mentions].index(True) == 49
    post = queue(100, per_s=10_000.0)
    for number in range(200):
        post.put(task(f"post{number}", "P1", for_many=True), 0)
    posts = post.take(200, 0)
    assert [_room_after(post, each) for each in posts].index(True) == 7, "of 16, which is what keeps it busy"


def _room_after(waiting: ProviderQueue, done: SendTask) -> bool:
    waiting.done(done)
    return waiting.has_room


def test_classes_come_first_and_the_bound_holds() -> None:
    waiting = queue(3)
    waiting.put(task("campaign", "P2", for_many=False), 0)
    waiting.put(task("post", "P1", for_many=True), 0)
    waiting.put(task("code", "P0", for_many=False), 0)
    waiting.put(task("mention", "P1", for_many=False), 0)
    assert names(waiting.take(9, 0)) == ["code", "mention", "post"]
    assert waiting.take(9, 0) == [], "three are in flight"
    waiting.done(task("code", "P0", for_many=False))
    assert names(waiting.take(9, 0)) == ["campaign"]


@pytest.mark.parametrize(
    ("result", "state"),
    [
        (Failed("ServiceUnavailable"), "open"),
        (Failed("no answer", ambiguous=True), "open"),
        (Failed("Forbidden", retryable=False), "open"),
        (Throttled(reason="20429"), "open"),
        (Throttled(reason="TooManyRequests", of_address=True), "closed"),
        (Failed("rcpt 452 4.2.2", of_address=True), "closed"),
        (Rejected("Unregistered", token_gone=1), "closed"),
        (Sent("id"), "closed"),
    ],
)
def test_what_says_nothing_of_the_provider_opens_no_breaker(result: Result, state: str) -> None:
    calls = queue(100)
    for _ in range(20):
        calls.answered(task("t", "P1", for_many=False), result, 0)
    assert calls.state == state


def test_what_is_drained_waits_and_what_waited_gives_way_to_what_is_new() -> None:
    waiting, drained = queue(100), set[str]()
    waiting.drained = lambda: frozenset(drained)
    drained |= {"P0", "P1"}
    for number in range(80):
        waiting.put(task(f"old{number}", "P1", for_many=False), 0)
    waiting.put(task("late", "P1", for_many=False, valid_until=30_000), 0)
    waiting.put(task("code", "P0", for_many=False), 0)
    waiting.put(task("campaign", "P2", for_many=False), 0)
    assert names(waiting.take(9, 0)) == ["campaign"], "the other classes go on"
    assert waiting.take(9, 40_000) == []
    assert not waiting.is_away(40_000), "nobody goes round a provider because people wait"
    assert waiting.to_be_looked_at, "nobody else would see that it is over"
    drained -= {"P0"}
    waiting.take(0, 60_000)
    waiting.put(task("new code", "P0", for_many=False), 60_000)
    assert names(waiting.take(9, 60_000)) == ["new code", "code"]
    drained.clear()
    waiting.look(60_000)
    waiting.put(task("new", "P1", for_many=False), 60_000)
    first = names(waiting.take(99, 61_000))
    assert first[:2] == ["new", "old0"]
    assert len(first) < 81, "half of the rate is for what waited"
    for now in range(61_100, 65_000, 100):
        first += names(waiting.take(99, now))
    assert first[1:] == [f"old{number}" for number in range(80)] + ["late"]


def test_other_classes_go_on_though_the_backlog_of_a_drained_one_waits() -> None:
    waiting, drained = queue(100), {"P1"}
    waiting.drained = lambda: frozenset(drained)
    for number in range(500):
        waiting.put(task(f"old{number}", "P1", for_many=False), 0)
    waiting.take(9, 0)
    drained.clear()
    went = len(waiting.take(9, 1_000))
    assert 0 < went < 9, "they are a backlog now"
    drained.add("P1")
    waiting.put(task("campaign", "P2", for_many=False), 2_000)
    assert names(waiting.take(9, 2_000)) == ["campaign"]
    assert waiting.size == 500 - went


def test_of_a_provider_with_an_open_breaker_no_probe_is_of_a_drained_class() -> None:
    calls = queue(100)
    for _ in range(20):
        calls.answered(task("t", "P1", for_many=False), Failed("503"), 0)
    calls.drained = lambda: frozenset({"P0"})
    for name, priority in (("code", "P0"), ("mention", "P1")):
        calls.put(task(name, priority, for_many=False), 40_000)
    assert names(calls.take(9, 40_000)) == ["mention"]


def test_another_provider_of_the_channel_takes_over_from_one_that_is_drained() -> None:
    queues = ProviderQueues({("push", ANY): [bounds_of("first"), bounds_of("second")]})
    first, second = queues
    first.drained = lambda: frozenset({"P0", "P1", "P2"})
    mention = task("mention", "P1", for_many=False)
    mention.siblings.channel = "push"
    assert queues.choose(mention) is second
    second.drained = first.drained
    assert queues.choose(mention) is not None, "it waits"


@pytest.mark.parametrize(
    ("result", "asks_for_ms"),
    [
        (Throttled(timedelta(seconds=10)), 10_000),
        (Throttled(timedelta(minutes=20)), 30_000),
        (Throttled(timedelta(seconds=10), of_address=True), 0),
        (Throttled(), 0),
        (Failed("503", retry_after=timedelta(seconds=10)), 0),
    ],
)
def test_who_has_too_much_is_left_alone_as_long_as_he_asks_but_for_p0(result: Result, asks_for_ms: int) -> None:
    calls = queue(100)
    calls.answered(task("t", "P1", for_many=False), result, 1_000)
    for name, priority in (("campaign", "P2"), ("mention", "P1")):
        calls.put(task(name, priority, for_many=False), 1_000)
    if asks_for_ms:
        calls.put(task("code", "P0", for_many=False), 1_000)
        assert names(calls.take(9, 1_000)) == ["code"]
        assert calls.take(9, 1_000 + asks_for_ms - 1) == []
        assert calls.to_be_looked_at, "nobody else would let them go"
    assert names(calls.take(9, 1_000 + asks_for_ms)) == ["mention", "campaign"]


def test_a_clock_that_steps_back_leaves_nobody_alone() -> None:
    calls = queue(100)
    calls.answered(task("t", "P1", for_many=False), Throttled(timedelta(seconds=10)), 3_600_000)
    calls.put(task("mention", "P1", for_many=False), 0)
    assert names(calls.take(9, 0)) == ["mention"]


def in_trouble(failed: int) -> ProviderQueue:
    """A hundred calls a second, fifty at once; this many of forty failed."""
    calls = queue(50)
    for number in range(40):
        result = Failed("503") if number < failed else Sent("id")
        calls.answered(task("t", "P1", for_many=False), result, 0)
    return calls


def test_a_reduced_provider_gets_a_fifth_of_rate_and_of_requests_and_p0_first() -> None:
    calls = in_trouble(2)
    assert calls.state == "reduced"
    for number in range(30):
        calls.put(task(f"like{number}", "P1", for_many=False), 0)
    assert len(calls.take(99, 0)) == 2, "a tenth of a second's worth"
    calls.put(task("code", "P0", for_many=False), 0)
    taken = [name for now in range(0, 1_000, 50) for name in names(calls.take(99, now))]
    assert (taken[0], len(taken)) == ("code", 8), "ten requests in flight"


def test_a_probe_that_was_not_sent_makes_room_for_another() -> None:
    calls = in_trouble(40)
    for name in ("a", "b"):
        calls.put(task(name, "P1", for_many=False), 0)
    (probe,) = calls.take(9, 30_000)
    assert calls.take(9, 30_001) == []
    calls.done(probe)
    (other,) = calls.take(9, 30_002)
    calls.answered(other, Sent("id"), 30_003)
    calls.done(other)
    assert (probe.key, other.key, calls.state, calls.in_flight) == ("a", "b", "half_open", 0)


def test_who_left_with_the_other_devices_is_no_probe() -> None:
    """Their queue let them go together, before it was this one's turn to look."""
    calls = in_trouble(40)
    gone, other = task("gone", "P0", for_many=False), task("other", "P1", for_many=False)
    for each in (gone, other):
        calls.put(each, 0)
    gone.queue = None
    assert names(calls.take(9, 30_000)) == ["other"]


@pytest.mark.parametrize("at", [35_000, 40_000])
def test_what_is_too_late_takes_nothing_of_the_rate(at: int) -> None:
    """In half-open, and of the backlog: what can still be sent would become too late behind it."""
    calls = in_trouble(40)
    calls.put(task("probe", "P0", for_many=False), 0)
    (probe,) = calls.take(9, 30_000)
    calls.answered(probe, Sent("id"), 30_000)
    calls.done(probe)
    for number in range(30):
        calls.put(task(f"late{number}", "P1", for_many=False, valid_until=at - 1), 30_000)
    calls.put(task("in time", "P1", for_many=False, valid_until=at), 30_000)
    taken: list[str] = []
    while batch := calls.take(9, at):
        taken += names(batch)
        for each in batch:
            calls.done(each)
    assert (len(taken), taken[-1]) == (31, "in time")


def test_a_clock_that_steps_back_hides_nobody_who_leaves() -> None:
    calls = in_trouble(40)
    calls.put(task("waits", "P2", for_many=False), 7_200_000)
    calls.keep(calls.judge(7_200_000))
    assert calls.judge(7_200_100) == []
    assert names(calls.judge(3_600_000)) == ["waits"]


def test_what_came_meanwhile_is_kept_when_the_breaker_closes() -> None:
    calls = in_trouble(40)
    for priority in ("P2", "P1", "P0"):
        calls.put(task(priority, priority, for_many=False), 0)
    (probe,) = calls.take(9, 30_000)
    calls.answered(probe, Sent("id"), 30_000)
    calls.done(probe)
    assert calls.size == 2
    calls.look(40_000)
    calls.put(task("new P2", "P2", for_many=False), 40_000)
    calls.put(task("new P1", "P1", for_many=False), 40_000)
    assert (probe.key, calls.trouble_since) == ("P0", 0)
    assert names(calls.take(9, 40_000)) == ["new P1", "P1", "P2", "new P2"]
    calls.look(40_000)
    assert calls.trouble_since is None


def open_with_probe(queue: ProviderQueue) -> None:
    """Its breaker is open, and something waits that can be its probe."""
    queue.state = "open"
    queue.put(task("waits", "P1", for_many=False), 0)


def test_a_delivery_goes_on_with_the_provider_that_it_has_come_to() -> None:
    """And with a later one where that is away; never back to one that is spent."""
    bounds = [bounds_of(name) for name in "abc"]
    queues = ProviderQueues({("email", ANY): bounds})
    first, second, third = queues
    mail = task("mail", "P1", for_many=False)
    mail.siblings.channel = "email"
    assert queues.choose(mail) is first
    assert queues.after(mail) is second
    open_with_probe(second)
    assert queues.after(mail) is third
    mail.history.provider = mail.history.moved_to = "b"
    assert queues.choose(mail) is third
    open_with_probe(third)
    assert queues.choose(mail) is second, "it waits where it is"
    assert queues.after(mail) is None


def test_who_asked_whether_one_is_back_goes_by_the_one_before_it_where_that_is_back_first() -> None:
    """That one did not give it up: it was away."""
    bounds = [bounds_of(name) for name in "ab"]
    queues = ProviderQueues({("email", ANY): bounds})
    first, second = queues
    mail = task("mail", "P2", for_many=False)
    mail.siblings.channel = "email"
    mail.history.provider = "b"
    assert queues.choose(mail) is second
    open_with_probe(second)
    assert queues.choose(mail) is first


def test_two_providers_of_one_channel_have_two_names() -> None:
    """One that is made of another's class inherits its name: it would be handed its own failures again and again."""
    bounds = [bounds_of("smtp") for _ in range(2)]
    with pytest.raises(ConfigurationError, match="smtp"):
        ProviderQueues({("email", ANY): bounds})


def test_a_provider_for_which_nothing_waits_is_probed_while_another_is_away_too() -> None:
    bounds = [bounds_of(name) for name in "ab"]
    queues = ProviderQueues({("email", ANY): bounds})
    first, second = queues
    first.state = second.state = "open"
    mails = [task(f"mail{number}", "P1", for_many=False) for number in range(3)]
    for mail in mails:
        mail.siblings.channel = "email"
        chosen = queues.choose(mail)
        assert chosen is not None
        chosen.put(mail, 0)
    assert [mail.queue for mail in mails] == [first, second, first]


def test_the_time_of_an_outage_uses_up_no_retry_of_what_goes_on_with_another_provider() -> None:
    away, other = in_trouble(40), queue(10)
    mail = task("mail", "P1", for_many=False)
    mail.history.tries = 1
    away.put(mail, 1_000)
    other.put(mail, 181_000)
    assert names(other.take(9, 182_000)) == ["mail"]
    assert mail.waited_ms == 180_000


def test_a_queue_is_away_while_its_breaker_is_open_or_mentions_wait_for_long() -> None:
    waiting = queue(1)
    waiting.put(task("post", "P1", for_many=True), 0)
    assert not waiting.is_away(PASSED_OVER_AFTER_MS), "what is for many may wait"
    waiting.put(task("mention", "P1", for_many=False), 0)
    waiting.put(task("later", "P1", for_many=False), 20_000)
    assert not waiting.is_away(PASSED_OVER_AFTER_MS - 1)
    assert waiting.is_away(PASSED_OVER_AFTER_MS)
    waiting.take(1, PASSED_OVER_AFTER_MS)
    assert not waiting.is_away(PASSED_OVER_AFTER_MS)
    assert waiting.is_away(20_000 + PASSED_OVER_AFTER_MS), "the next has waited for as long"
    assert waiting.is_away(20_000 + PASSED_OVER_AFTER_MS // 2), "it stays so until they wait for half as long"
    assert not waiting.is_away(19_999 + PASSED_OVER_AFTER_MS // 2)
    for _ in range(20):
        waiting.answered(task("t", "P1", for_many=False), Failed("503"), 40_000)
    assert waiting.is_away(40_000)


def test_an_open_breaker_is_not_away_when_it_lacks_a_probe() -> None:
    away = queue(9)
    for _ in range(20):
        away.answered(task("t", "P1", for_many=False), Failed("503"), 0)
    away.look(29_999)
    assert away.is_away(29_999)
    away.look(30_000)
    assert not away.is_away(30_000), "somebody has to come and ask"
    away.put(task("asks", "P1", for_many=False), 30_000)
    assert away.is_away(30_000)
    (probe,) = away.take(9, 30_000)
    assert away.is_away(30_000)
    away.answered(probe, Sent("1"), 30_001)
    away.done(probe)
    assert (away.state, away.is_away(30_001)) == ("half_open", False)


def test_a_platform_is_away_when_all_its_providers_are() -> None:
    queues = ProviderQueues(
        {("push", "ios"): [bounds_of("apns"), bounds_of("spare")], ("email", ANY): [bounds_of("smtp")]}
    )

    def fails(channel: str, number: int) -> None:
        device = DeviceAddress("d", "ios" if channel == "push" else None, "a")
        for _ in range(20):
            queues.of(channel, device)[number].answered(task("t", "P1", for_many=False), Failed("503"), 0)

    fails("push", 0)
    assert queues.away(0) == ()
    fails("push", 1)
    assert queues.away(0) == ("push/ios",)
    fails("email", 0)
    assert queues.away(0) == ("email/*", "push/ios")


def test_a_channel_that_takes_more_at_present_gets_more() -> None:
    ahead = 2
    bounds = ProviderBounds(cast("Any", SimpleNamespace(name="smtp")), 2, SendRate("smtp", 100.0), ahead=lambda: ahead)
    waiting = ProviderQueue(bounds)
    for number in range(9):
        waiting.put(task(f"m{number}", "P1", for_many=False), 0)
    assert len(waiting.take(9, 0)) == 4
    ahead = 0
    for _ in range(3):
        waiting.done(task("m", "P1", for_many=False))
    assert len(waiting.take(9, 1)) == 1
