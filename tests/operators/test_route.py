"""Which addresses count, where the decision log says what providers reach (RULES 3.B, 3.E)."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from helpers.subscriptions import stored, subscription

from operators.decide import apply
from operators.transactional import CurrentSetting, decide_p0
from state.decide.checkpoint import GroupStore
from state.decide.group import GroupState
from state.model.addresses import Served
from state.model.event import Event, TextDraft
from state.model.keys import key_group
from state.model.records import Emission, Outputs
from state.model.registry import load_registry
from state.model.work import EndpointWork, EventWork, SliceWork, VersionsWork, Work

REGISTRY = load_registry()
SERVED = {"push": {"ios": "apns", "*": "apns"}, "sms": {"*": "e164"}, "email": {"*": "mail"}}
ANDROID = {**SERVED, "push": {**SERVED["push"], "android": "apns"}}
TOKEN = "ab" * 32
GROUP = key_group("ann")


@dataclasses.dataclass
class Log:
    """One key group's records, applied one after the other."""

    state: GroupState = dataclasses.field(default_factory=lambda: GroupState(REGISTRY))
    place: int = 0

    def add(self, record: Work) -> Outputs:
        self.place += 1
        return apply(self.state, record, self.place)

    def versions(self, served: dict[str, dict[str, str]] | None) -> None:
        self.add(VersionsWork(stamp=self.place, registry=1, tzdata="z", rules=1, served=served))

    def endpoint(self, channel: str, platform: str | None, address: str, name: str = "d") -> None:
        self.add(
            EndpointWork(
                g=GROUP, stamp=self.place, user="ann", channel=channel, id=name, platform=platform, address=address
            )
        )

    def mention(self) -> tuple[str, list[Emission]]:
        event = Event(
            event_id=f"e{self.place}", type="mention", priority="P1", target="ann", actor="bob",
            object=f"o{self.place}", ttl_ms=3_600_000, ingested_at=self.place,
        )  # fmt: skip
        out = self.add(EventWork(g=GROUP, stamp=self.place, event=event, users=["ann"]))
        return out.decisions[-1].outcome, out.emissions


@pytest.mark.parametrize(
    ("channel", "platform", "address"),
    [
        ("push", "toaster", TOKEN), ("push", "android", "fcm:APA91b_-x"), ("push", "ios", "not hex"),
        ("push", None, "x"),
        ("webhook", None, "https://example.org"), ("chat", None, "C1"), ("email", None, "Ann <a@b.c>"),
    ],
)  # fmt: skip
def test_what_was_stored_earlier_and_nobody_serves_does_not_count(channel: str, platform: str, address: str) -> None:
    for served_first in (True, False):
        log = Log()
        if served_first:
            log.versions(SERVED)
        log.endpoint(channel, platform, address)
        if not served_first:
            log.versions(SERVED)
        outcome, emissions = log.mention()
        assert (outcome, emissions) == ("INBOX", [])


@pytest.mark.parametrize("kind", ["mention", "like", "otp"])
@pytest.mark.parametrize("channel", ["push", "email", "sms", "chat"])
def test_a_test_of_texts_goes_by_its_channel_alone_and_at_once(kind: str, channel: str) -> None:
    log, profile = Log(), REGISTRY.profile(kind)
    log.versions(SERVED)
    log.endpoint("push", "ios", TOKEN)
    log.endpoint("email", None, "ann@example.com")
    log.endpoint("sms", None, "+15005550006")
    draft = TextDraft(channel, "fr-CA", {"title": "T", "one": "essai"})
    event = Event(
        event_id="t", type=kind, priority="P0" if profile.pinned else "P2", target="ann", object="t",
        ttl_ms=3_600_000, draft=draft,
    )  # fmt: skip
    out = log.add(EventWork(g=GROUP, stamp=log.place, event=event, users=["ann"]))
    reaches = {"mention": ("push", "email"), "like": ("push",), "otp": ("push", "sms")}[kind]
    assert out.inbox == [], "no row shows it: rows have what is published"
    assert [each.outcome for each in out.decisions] == ["EMITTED" if channel in reaches else "SUPPRESSED"]
    told = [(each.channels, each.rest, each.locale, each.event.draft) for each in out.emissions]
    assert told == [([channel], (), "fr-CA", draft)] * (channel in reaches)


def test_it_counts_again_when_a_provider_serves_it() -> None:
    log = Log()
    log.versions(SERVED)
    log.endpoint("push", "android", TOKEN)
    assert log.mention()[0] == "INBOX"
    log.versions(ANDROID)
    outcome, (emission,) = log.mention()
    assert (outcome, emission.channels, emission.deliveries) == ("EMITTED", ["push"], 1)
    log.versions(SERVED)
    assert log.mention()[0] == "INBOX"


def test_an_address_is_sent_to_in_its_one_form() -> None:
    log = Log()
    log.endpoint("push", "iOS", TOKEN.upper())
    log.endpoint("push", "toaster", "x", "other")
    before = log.mention()[1][0]
    assert sorted(str(each.address) for each in before.devices[0].devices) == [TOKEN.upper(), "x"]
    log.versions(SERVED)
    after = log.mention()[1][0]
    assert [each.address for each in after.devices[0].devices] == [TOKEN]


def test_a_browser_counts_while_its_push_service_is_allowed() -> None:
    """Beside a phone, and in the form that goes into the record of the emission."""
    log = Log()
    log.endpoint("push", "ios", TOKEN, "phone")
    log.endpoint("push", "web", json.dumps(subscription()), "laptop")
    for hosts, reached in (("fcm.googleapis.com", [TOKEN, stored()]), ("push.example.com", [TOKEN])):
        log.versions({**SERVED, "push": {**SERVED["push"], "web": f"webpush {hosts}"}})
        outcome, (emission,) = log.mention()
        assert outcome == "EMITTED"
        assert sorted(str(each.address) for each in emission.devices[0].devices) == sorted(reached)


def test_recipients_decided_at_once_are_decided_alike() -> None:
    log = Log()
    log.state.bulk_from = 1
    log.endpoint("push", "toaster", TOKEN)
    log.versions(SERVED)
    event = Event(
        event_id="b", type="maintenance", priority="P1", fan_out_type="BROADCAST", ttl_ms=3_600_000,
        ingested_at=log.place, payload={"critical": True},
    )  # fmt: skip
    out = log.add(SliceWork(g=GROUP, stamp=log.place, event=event))
    (decided,) = out.slices
    endings = [decided.endings[number] for number in decided.ending.tolist()]
    assert [(ending.outcome, ending.route) for ending in endings] == [("INBOX", None)]


def test_what_providers_reach_survives_a_restart(tmp_path: Path) -> None:
    store = GroupStore(tmp_path / "state")
    log = Log(store.load(GROUP, REGISTRY))
    log.endpoint("push", "android", TOKEN)
    log.versions(SERVED)
    store.collect(GROUP, log.state)
    store.commit()
    again = Log(store.load(GROUP, REGISTRY), log.place)
    assert again.state.users.served == SERVED
    assert again.mention()[0] == "INBOX"
    again.versions(ANDROID)
    assert again.mention()[0] == "EMITTED"


@pytest.mark.parametrize(
    ("to", "addresses"),
    [
        ({"sms": "+49015112345678"}, ["+4915112345678"]),
        ({"sms": "0049151", "push": TOKEN.upper()}, [TOKEN]),
        ({"sms": "0049151"}, []),
        (None, [TOKEN, "+15005550006"]),
    ],
)
def test_p0_goes_by_the_same(to: dict[str, str | None] | None, addresses: list[str]) -> None:
    works = [
        EndpointWork(g=0, stamp=1, user="ann", channel="push", id="old", platform="toaster", address="x"),
        EndpointWork(g=0, stamp=1, user="ann", channel="push", id="d", platform="ios", address=TOKEN.upper()),
        EndpointWork(g=0, stamp=1, user="ann", channel="sms", id="m", address="+15005550006"),
    ]
    event = Event(event_id="c", type="otp", priority="P0", target="ann", to=to, ttl_ms=1_000, ingested_at=2)
    served: Served = SERVED
    out = decide_p0(
        event, "ann", [CurrentSetting(work, 1) for work in works], {}, registry=REGISTRY, served=served, now=2, place=3
    )
    found = [device.address for emission in out.emissions for each in emission.devices for device in each.devices]
    assert found == addresses
    assert [decision.reason for decision in out.decisions] == ([None] if addresses else ["no_channel"])
