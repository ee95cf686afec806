"""A provider is away for a while: real servers fail, time is the test's, and the simulators' journals say what came.

Pushes to `503-` fail always, to `503x1-` the first time.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from helpers.feeding import PARTITIONS, Device, System, addresses, now_ms, token
from helpers.lanes_in_process import TOPICS, Station, read, running_lanes
from helpers.sandbox_process import Sandbox
from helpers.waiting import wait_for
from prometheus_client import REGISTRY

from connectors.log.interface import NewRecord
from connectors.providers.channel import Channel, Delivery, Result, Sent
from connectors.providers.email.options import SmtpOptions
from connectors.providers.email.ses import SesChannel
from connectors.providers.email.smtp import SmtpChannel
from connectors.providers.push.apns import ApnsChannel
from connectors.providers.push.fcm import FcmChannel
from connectors.providers.sms.smpp import SmppChannel
from connectors.providers.sms.twilio import TwilioChannel
from connectors.providers.web.webhook import WebhookChannel
from flows.steps.lanes.lane import Lane
from flows.steps.sending.outage import PROVIDER_AWAY
from flows.steps.sending.queue import ProviderBounds
from flows.steps.sending.rate import SendRate
from infra.services import free_port
from operators.retry import FEW, FEW_PER_S
from state.model.addresses import ANDROID, ANY, Place
from state.model.envelope import schema_of
from state.model.keys import key_group, partition_of_group

USER = "u1"
LANE = partition_of_group(key_group(USER), PARTITIONS)
RATE, IN_FLIGHT, WAITING_MAX = 1_000.0, 50, 150
MAILBOX = [{"channel": "email", "devices": addresses([("m", "ann@example.org")])}]
STATES = {"closed": 0.0, "reduced": 1.0, "half_open": 2.0, "open": 3.0}


class Outage:
    """One lane, the providers of the sandbox, and a clock that stands still."""

    def __init__(self, system: System, sandbox: Sandbox, station: Station = "deliver") -> None:
        self.system, self.sandbox, self.station = system, sandbox, station
        self.now, self._next = now_ms(), dict[tuple[str, int], int]()
        self._given = self.now  # the simulators remember whom they refused
        self.told: list[dict[str, Any]] = []
        self.first: Sequence[Channel] = ()
        """Providers of mail that are tried before the simulator's."""
        self.next_texts: Sequence[Channel] = ()
        """Providers of text messages on standby."""
        self.texts: Channel = TwilioChannel(sandbox.options.twilio, clock_ms=now_ms)
        (system.directory / "carillon.toml").write_text('[types.otp]\npolicy = "first"\n')

    @contextmanager
    def running(self) -> Iterator[Lane]:
        options = self.sandbox.options
        channels: dict[Place, Channel] = {
            ("push", ANY): ApnsChannel(options.apns),
            ("push", ANDROID): FcmChannel(options.fcm, clock_ms=now_ms),
            ("sms", ANY): self.texts,
            ("email", ANY): SmtpChannel(options.smtp, clock_s=lambda: now_ms() / 1_000),
            ("webhook", ANY): WebhookChannel(options.webhook, options.egress, clock_ms=now_ms),
        }
        parts: dict[str, Any] = {
            "providers": {
                place: [
                    ProviderBounds(each, IN_FLIGHT, SendRate(each.name, RATE), waiting_max=WAITING_MAX)
                    for each in self._with_others(place[0], channel)
                ]
                for place, channel in channels.items()
            },
            "now_ms": lambda: self.now,
        }
        self._next.clear()
        with running_lanes(self.system, station=self.station, channels={}, **parts) as (lanes, _):
            yield lanes.lane(LANE)

    def _with_others(self, kind: str, channel: Channel) -> Sequence[Channel]:
        return {"email": [*self.first, channel], "sms": [channel, *self.next_texts]}.get(kind, [channel])

    def give(self, lane: Lane, records: Sequence[NewRecord] = ()) -> None:
        """Hand them to the lane, with all that it has not read."""
        self.system.feed(records)
        for topic in TOPICS[self.station]:
            for partition in range(LANE, self.system.log.partitions(topic), PARTITIONS):
                place = (topic, partition)
                lane.accept(read(self.system, partition, topic, self._next.get(place, 0)))
                self._next[place] = self.system.log.end_offset(*place)

    def pushes(self, number: int, kind: str, **changes: Any) -> list[NewRecord]:
        """Emissions to so many phones, each behaving as its token says."""
        numbers = range(self._given, self._given + number)
        self._given += number
        values = {"valid_until": self.now + 600_000} | changes
        return [
            self.system.emission(USER, "push", [("d1", kind + f"{n}".zfill(64 - len(kind)))], **values) for n in numbers
        ]

    def mails(self, number: int, **changes: Any) -> list[NewRecord]:
        """Emissions to so many mailboxes that take what comes."""
        values = {"type": "reply", "valid_until": self.now + 600_000} | changes
        return [self.system.emission(USER, "email", [("m", f"ann{n}@example.org")], **values) for n in range(number)]

    def calls(self, provider: str = "apns") -> list[dict[str, object]]:
        return self.sandbox.journal(provider)

    def until_called(self, times: int, provider: str = "apns") -> None:
        wait_for(lambda: len(self.calls(provider)) >= times, what=lambda: f"{provider}: {len(self.calls(provider))}")
        assert len(self.calls(provider)) == times

    def until(self, state: str, provider: str = "apns") -> None:
        wait_for(lambda: REGISTRY.get_sample_value("carillon_breaker_state", {"provider": provider}) == STATES[state])

    def until_waiting(self, number: int) -> None:
        wait_for(lambda: REGISTRY.get_sample_value("carillon_deliveries_waiting", {"provider": "apns"}) == number)

    def settle(self, lane: Lane) -> None:
        """Until everything has ended; time passes now."""

        def over() -> bool:
            self.now += 500
            self.told += [
                json.loads(each.value) for each in lane.collect() if schema_of(each.headers) == "delivery/1+json"
            ]
            return not lane.open

        wait_for(over, what=lambda: f"{lane.open} open")

    def outcomes(self) -> Counter[tuple[str, str]]:
        return Counter((each["channel"], each["outcome"]) for each in self.told)

    def marker(self, lane: Lane) -> None:
        """Something for a provider that works has gone its way: what was to be called before was."""
        before = len(self.calls("twilio"))
        self.give(lane, [self.system.emission(USER, "sms", [("s", "+14155550199")], valid_until=self.now + 600_000)])
        self.until_called(before + 1, "twilio")


@pytest.fixture
def outage(system: System, sandbox: Sandbox) -> Outage:
    return Outage(system, sandbox)


def test_an_open_breaker_lets_probes_through_and_p1_goes_on_by_mail_after_a_minute(outage: Outage) -> None:
    with outage.running() as lane:
        outage.give(lane, outage.pushes(20, "503-", rest=MAILBOX))
        outage.until("open")
        outage.give(
            lane, outage.pushes(30, "503-", rest=MAILBOX) + outage.pushes(1, "503-", rest=MAILBOX, priority="P2")
        )
        outage.marker(lane)
        assert len(outage.calls()) == 20, "nothing is sent to it"
        outage.now += 30_000
        outage.until_called(21)
        outage.marker(lane)
        assert len(outage.calls("smtp")) == 0
        outage.now += 29_999
        outage.marker(lane)
        assert (len(outage.calls()), len(outage.calls("smtp"))) == (21, 0)
        outage.now += 1
        outage.until_called(50, "smtp")
        outage.give(lane, outage.pushes(1, "503-", rest=MAILBOX))
        outage.until_called(51, "smtp")
        assert len(outage.calls()) == 22
        outage.now += 600_000
        outage.settle(lane)
    assert outage.outcomes() == {
        ("push", "FELL_BACK"): 51, ("email", "DELIVERED"): 51, ("sms", "DELIVERED"): 3, ("push", "EXPIRED"): 1,
    }  # fmt: skip
    assert max(Counter(each["id"] for each in outage.calls("smtp")).values()) == 1
    assert {each["reason"] for each in outage.told if each["outcome"] == "FELL_BACK"} == {PROVIDER_AWAY}


def test_the_backlog_goes_at_its_rate_once_the_provider_is_back_and_new_ones_overtake_it(outage: Outage) -> None:
    with outage.running() as lane:
        outage.give(lane, outage.pushes(20, "503x1-"))
        outage.until("open")
        outage.until_waiting(20)  # their retries, which come in real time
        outage.give(lane, outage.pushes(120, ""))
        outage.now += 30_000
        outage.until("half_open")
        outage.until_called(20 + 1 + 10)
        outage.marker(lane)
        assert len(outage.calls()) == 31, "a tenth of the rate, a tenth of a second's worth at once"
        outage.now += 10_000
        outage.until_called(31 + 50)
        outage.give(lane, outage.pushes(1, "feed"))
        outage.until_called(31 + 51)
        assert str(outage.calls()[-1]["to"]).startswith("feed"), "it does not wait behind the backlog"
        outage.now += 40
        outage.until_called(31 + 51 + 20)
        outage.now += 10_000
        outage.settle(lane)
    outage.until("closed")
    assert outage.outcomes() == {("push", "DELIVERED"): 141, ("sms", "DELIVERED"): 1}
    taken = Counter(each["id"] for each in outage.calls() if each["status"] == 200)
    assert (len(taken), max(taken.values())) == (141, 1)


def test_the_time_of_an_outage_uses_up_no_retry(outage: Outage) -> None:
    """Its provider is away for longer than the two minutes in which a P1 may be tried again."""
    with outage.running() as lane:
        outage.give(lane, outage.pushes(19, "503x1-") + outage.pushes(1, "503x2-"))
        outage.until_waiting(20)
        outage.now += 180_000
        outage.settle(lane)
    assert outage.outcomes() == {("push", "DELIVERED"): 20}


def test_what_waits_at_a_kill_is_sent_by_the_next_start(outage: Outage) -> None:
    with outage.running() as lane:
        outage.give(lane, outage.pushes(20, "503x1-"))
        outage.until("open")
        outage.give(lane, outage.pushes(30, ""))
        outage.marker(lane)
    with outage.running() as lane:
        outage.give(lane)
        outage.settle(lane)
    ends = outage.outcomes()
    ends.pop(("sms", "UNKNOWN" if ("sms", "UNKNOWN") in ends else "DELIVERED"))  # the kill may fall on its answer
    assert ends == {("push", "DELIVERED"): 50}
    taken = Counter(each["id"] for each in outage.calls() if each["status"] == 200)
    assert (len(taken), max(taken.values())) == (50, 1)


def test_both_phones_wait_and_leave_together_and_one_that_was_reached_needs_no_other_channel(outage: Outage) -> None:
    def to_two(*tokens: str) -> NewRecord:
        devices = [(f"d{n}", each) for n, each in enumerate(tokens)]
        return outage.system.emission(USER, "push", devices, rest=MAILBOX, valid_until=outage.now + 600_000)

    reached = to_two(token("c"), "503-" + "0" * 60)
    with outage.running() as lane:
        outage.give(lane, [reached, *outage.pushes(45, "503-", valid_until=outage.now + 70_000)])
        outage.until("open")
        outage.until_waiting(46)
        two = to_two("503-" + "1" * 60, "503-" + "2" * 60)
        outage.give(lane, [two])
        outage.until_waiting(48)
        outage.now += 60_000
        outage.until_called(1, "smtp")
        outage.now += 600_000
        outage.settle(lane)
    told = {(each["emission_id"], each["device"]): each["outcome"] for each in outage.told if each["channel"] == "push"}
    ids = [json.loads(each.value)["emission_id"] for each in (two, reached)]
    assert sorted(told[ids[0], device] for device in ("d0", "d1")) == ["DEAD_LETTER", "FELL_BACK"]
    assert [told[ids[1], device] for device in ("d0", "d1")] == ["DELIVERED", "EXPIRED"]


def test_android_phones_are_reached_while_the_provider_of_iphones_is_away(outage: Outage) -> None:
    """Also by what moves away from another channel; what would move to an iPhone waits."""

    def mail(number: int, *devices: Device) -> NewRecord:
        rest = [{"channel": "push", "devices": addresses(devices)}] if devices else []
        to = [("m", f"451-{outage.now}-{number}@example.org")]
        return outage.system.emission(USER, "email", to, type="reply", rest=rest, valid_until=outage.now + 600_000)

    android: list[Device] = [("d2", "f:" + "A" * 60, "android"), ("d3", "f:" + "B" * 60, "Android")]
    with outage.running() as lane:
        outage.give(lane, outage.pushes(20, "503-"))
        outage.until("open")
        outage.give(lane, [outage.system.emission(USER, "push", android[:1], valid_until=outage.now + 600_000)])
        outage.until_called(1, "fcm")
        outage.give(lane, [mail(number) for number in range(20)])
        outage.until("open", "smtp")
        outage.give(lane, [mail(20, ("d1", token("waits"))), mail(21, *android[1:])])
        outage.marker(lane)
        outage.now += 60_000
        outage.until_called(2, "fcm")
        outage.now += 600_000
        outage.settle(lane)
    assert [each["to"] for each in outage.calls("fcm")] == [address for _, address, *_ in android]
    assert not outage.sandbox.to("apns", token("waits"))
    assert outage.outcomes()["email", "FELL_BACK"] == 1


def test_more_than_may_wait_for_it_ends_as_after_its_last_retry(outage: Outage) -> None:
    """So the lane goes on to serve other providers."""
    with outage.running() as lane:
        outage.give(lane, outage.pushes(20, "503x1-"))
        outage.until_waiting(20)
        outage.give(lane, outage.pushes(WAITING_MAX, "") + outage.pushes(10, "", rest=MAILBOX))
        outage.until_waiting(WAITING_MAX)
        outage.until_called(10, "smtp")
        outage.now += 30_000
        outage.settle(lane)
    assert outage.outcomes() == {
        ("push", "DELIVERED"): WAITING_MAX, ("push", "DEAD_LETTER"): 20, ("push", "FELL_BACK"): 10,
        ("email", "DELIVERED"): 10,
    }  # fmt: skip


def test_receivers_that_all_fail_see_no_storm_of_retries(outage: Outage) -> None:
    """They open no breaker, and each message has two retries; nothing is lost."""
    number, seconds = 80, 12
    origin = f"https://127.0.0.1:{outage.sandbox.options.egress.ports[0]}"
    hooks = [
        outage.system.emission(
            USER, "webhook", [("h", f"{origin}/503-{n}")], valid_until=outage.now + 1_000 * seconds
        )
        for n in range(number)
    ]  # fmt: skip
    with outage.running() as lane:
        outage.give(lane, hooks)

        def over() -> bool:
            outage.now = max(outage.now, now_ms())
            outage.told += [json.loads(each.value) for each in lane.collect() if each.topic == "ledger"]
            return not lane.open

        wait_for(over)
    ends = Counter(each["outcome"] for each in outage.told if "outcome" in each)
    assert sum(ends.values()) == number
    assert set(ends) <= {"EXPIRED", "DEAD_LETTER"}
    tries = len(outage.calls("webhook"))
    assert number + number // 2 <= tries <= number + number // 2 + FEW + FEW_PER_S * seconds


@pytest.mark.parametrize("has_phone_number", [True, False])
def test_p0_goes_on_by_text_message_at_once_or_ends_after_its_minute(
    system: System, sandbox: Sandbox, has_phone_number: bool
) -> None:
    outage = Outage(system, sandbox, "transactional")
    system.feed([system.endpoint(USER, "push", "d1", "503-" + "0" * 60)])
    if has_phone_number:
        system.feed([system.endpoint(USER, "sms", "s", "+14155550101")])
    with outage.running() as lane:
        outage.give(lane, [system.p0(USER) for _ in range(20)])
        outage.until("open")
        before = len(outage.calls())
        outage.give(lane, [system.p0(USER) for _ in range(10)])
        if has_phone_number:
            outage.until_called(30, "twilio")
            assert len(outage.calls()) == before
        else:
            outage.now += 60_000
        outage.settle(lane)
    expected = {("push", "FELL_BACK"): 30, ("sms", "DELIVERED"): 30}
    assert outage.outcomes() == (expected if has_phone_number else {("push", "DEAD_LETTER"): 30})


def test_p0_that_waits_for_its_retry_goes_on_too_when_the_breaker_opens(system: System, sandbox: Sandbox) -> None:
    outage = Outage(system, sandbox, "transactional")
    system.feed([system.endpoint(USER, "push", "d1", "0" * 64), system.endpoint(USER, "sms", "s", "+14155550101")])
    sandbox.steering().put("apns", "503", retry_after_s=50)
    try:
        with outage.running() as lane:
            outage.give(lane, [system.p0(USER) for _ in range(20)])
            outage.until("open")
            wait_for(lambda: len(outage.calls("twilio")) == 20, 45, "twenty text messages, long before their retries")
            outage.settle(lane)
    finally:
        sandbox.steering().lift()
    assert len(outage.calls()) == 20
    assert outage.outcomes() == {("push", "FELL_BACK"): 20, ("sms", "DELIVERED"): 20}


class _Closed(SmtpChannel):
    """A relay at which nobody listens."""

    name = "closed"

    def __init__(self) -> None:
        options = SmtpOptions(host="127.0.0.1", port=free_port(), security="none", sender="news@example.org")
        super().__init__(options, clock_s=lambda: now_ms() / 1_000)
        self.is_back = False

    async def send(self, delivery: Delivery) -> Result:
        return Sent("x") if self.is_back else await super().send(delivery)


def test_the_next_provider_goes_on_when_one_has_used_up_its_tries(outage: Outage) -> None:
    outage.first = [_Closed()]
    with outage.running() as lane:
        outage.give(lane, outage.mails(1))
        outage.until_called(1, "smtp")
        outage.settle(lane)
    [told] = outage.told
    assert [each["provider"] for each in told["attempts"]] == ["closed", "closed", "closed", "smtp"]
    assert (told["outcome"], told["provider"]) == ("DELIVERED", "smtp")


@pytest.mark.parametrize(
    ("name", "by_ses", "by_smtp", "outcome"),
    [
        ("ann", 1, 0, "DELIVERED"),
        ("quota", 1, 1, "DELIVERED"),
        ("paused", 3, 1, "DELIVERED"),
        ("hang", 1, 0, "UNKNOWN"),
    ],
)
def test_a_relay_goes_on_for_ses_but_not_where_ses_may_have_taken_the_mail(
    outage: Outage, name: str, by_ses: int, by_smtp: int, outcome: str
) -> None:
    """SES knows no idempotency key: of class P1 what had no answer is sent once. A day's quota needs no more tries."""
    options = replace(outage.sandbox.options.ses, timeout=timedelta(seconds=2))
    outage.first = [SesChannel(options, clock_s=time.time)]
    mailbox = [("m", f"{name}-a@example.org" if name != "ann" else "ann@example.org")]
    with outage.running() as lane:
        outage.give(lane, [outage.system.emission(USER, "email", mailbox, type="reply")])
        wait_for(lambda: len(outage.calls("ses")) == by_ses and len(outage.calls("smtp")) == by_smtp)
        outage.settle(lane)
    assert (len(outage.calls("ses")), len(outage.calls("smtp"))) == (by_ses, by_smtp)
    assert outage.outcomes() == {("email", outcome): 1}


def test_what_waits_for_a_provider_that_is_away_goes_to_the_next_at_once(outage: Outage) -> None:
    """Also a like of class P2, which never waits a minute for another channel."""
    outage.first = [_Closed()]
    with outage.running() as lane:
        outage.give(lane, outage.mails(20))
        outage.until("open", "closed")
        outage.until_called(20, "smtp")
        outage.give(lane, outage.mails(5, priority="P2"))
        outage.until_called(25, "smtp")
        outage.settle(lane)
    assert outage.outcomes() == {("email", "DELIVERED"): 25}
    assert {len(each["attempts"]) for each in outage.told[-5:]} == {1}


def test_a_provider_that_is_back_gets_its_messages_again_though_the_next_one_works(outage: Outage) -> None:
    outage.first = [closed := _Closed()]
    with outage.running() as lane:
        outage.give(lane, outage.mails(20))
        outage.until("open", "closed")
        outage.until_called(20, "smtp")
        closed.is_back = True
        outage.now += 31_000

        def is_asked() -> bool:
            outage.give(lane, outage.mails(1))
            return REGISTRY.get_sample_value("carillon_breaker_state", {"provider": "closed"}) == STATES["half_open"]

        wait_for(is_asked, every_s=0.5)
        outage.give(lane, outage.mails(1))
        outage.settle(lane)
    assert {each["outcome"] for each in outage.told} == {"DELIVERED"}
    assert Counter(each["provider"] for each in outage.told)["closed"] >= 2


def test_a_provider_is_asked_whether_it_is_back_while_the_one_before_it_is_away(outage: Outage) -> None:
    """Both were away; what comes then waits for the first, which stays away."""
    outage.first = [_Closed()]
    with outage.running() as lane:
        outage.give(lane, outage.mails(20))
        outage.until("open", "closed")
        outage.until_called(20, "smtp")
        refused = {"type": "reply", "valid_until": outage.now + 20_000, "priority": "P2"}
        to = [[("m", f"451-{outage.now}-{number}@example.org")] for number in range(20)]
        outage.give(lane, [outage.system.emission(USER, "email", each, **refused) for each in to])
        outage.until("open", "smtp")
        outage.now += 29_000
        outage.give(lane, outage.mails(5, priority="P2"))
        outage.settle(lane)
    assert outage.outcomes() == {("email", "DELIVERED"): 25, ("email", "EXPIRED"): 20}


def test_where_every_provider_is_away_it_is_as_with_one(outage: Outage) -> None:
    outage.first = [_Closed()]
    with outage.running() as lane:
        refused = [("m", f"451-{outage.now}@example.org")]
        rest = [{"channel": "sms", "devices": addresses([("s", "+14155550199")])}]
        values = {"type": "reply", "valid_until": outage.now + 600_000, "rest": rest}
        outage.give(lane, [outage.system.emission(USER, "email", refused, **values)])
        outage.until_called(1, "twilio")
        outage.settle(lane)
    assert outage.outcomes() == {("email", "FELL_BACK"): 1, ("sms", "DELIVERED"): 1}


@pytest.mark.parametrize(
    ("number", "by_twilio", "attempts"),
    [("+19995000007", 4, ["failed"] * 4), ("+19990010007", 4, ["failed"] * 4), ("+14155550107", 1, [])],
)
def test_an_smsc_on_standby_goes_on_for_a_code_that_twilio_fails(
    system: System, sandbox: Sandbox, number: str, by_twilio: int, attempts: list[str]
) -> None:
    """Also where it is not known whether Twilio took it: two codes beat none."""
    outage = Outage(system, sandbox, "transactional")
    outage.next_texts = [_TakesAll(sandbox.options.smpp, clock_ms=now_ms)]
    system.feed([system.endpoint(USER, "sms", "s", number)])
    with outage.running() as lane:
        outage.give(lane, [system.p0(USER)])
        outage.settle(lane)
    [told] = outage.told
    assert [each["provider"] for each in told["attempts"]] == ["twilio"] * by_twilio + ["smpp"] * bool(attempts)
    assert (told["outcome"], told["provider"]) == ("DELIVERED", "smpp" if attempts else "twilio")
    assert [each["answer"].split(":")[0] for each in told["attempts"]][: len(attempts)] == attempts


class _TakesAll(SmppChannel):
    """The simulated SMSC, to which all goes as to a number that asks for nothing."""

    async def send(self, delivery: Delivery) -> Result:
        return await super().send(replace(delivery, address="+14155550188"))


def test_twilio_on_standby_takes_over_from_an_smsc_that_is_away(system: System, sandbox: Sandbox) -> None:
    outage = Outage(system, sandbox, "transactional")
    away = replace(sandbox.options.smpp, port=free_port())
    outage.next_texts = [TwilioChannel(sandbox.options.twilio, clock_ms=now_ms)]
    outage.texts = SmppChannel(away, clock_ms=now_ms)
    system.feed([system.endpoint(USER, "sms", "s", "+14155550109")])
    with outage.running() as lane:
        outage.give(lane, [system.p0(USER) for _ in range(20)])
        outage.until("open", "smpp")
        outage.settle(lane)
    assert outage.outcomes() == {("sms", "DELIVERED"): 20}
    assert {each["provider"] for each in outage.told} == {"twilio"}
