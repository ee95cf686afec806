"""What a policy would have done to a stored log: who gains, who loses, volume and cost, and nothing is written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from helpers.flow_bench import Bench, calls
from helpers.records import decision
from typer.testing import CliRunner

from connectors.log import NewRecord
from connectors.types import Tables
from flows.cli import app
from flows.config.settings import Settings, load_settings
from flows.process.open import clock_ms
from flows.recovery.replay import ReplayRange, opened_origin
from flows.recovery.what_if import Difference, HeardBy, what_if
from state.model.ledger import DELIVERY, DeliveryRecord

SETTINGS: Settings = load_settings(environment={})
ADDRESSES = {"push": "a" * 64, "email": "u@example.org"}


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """u1 and u2 have phone and mailbox, u3 a mailbox; u1 is mentioned six times, the others once."""
    made = Bench(tmp_path)
    made.clock.now = clock_ms()
    for user, channels in {"u1": ("push", "email"), "u2": ("push", "email"), "u3": ("email",)}.items():
        for channel in channels:
            row = {"user": user, "channel": channel, "id": "d", "platform": "ios" if channel == "push" else ""}
            made.append(made.setting("endpoints", user, **row, address=ADDRESSES[channel], state="active"))
    made.append(*(made.event(f"e{n}", "mention", object=f"o{n}") for n in range(6)))
    made.append(*(made.event(f"m{user}", "mention", target=user, object="o") for user in ("u2", "u3")))
    made.append(made.event("like", "like", object="o"))
    made.sequence(clock=clock_ms)
    made.decide(calls(40))
    return made


def found(bench: Bench, policy: Tables, log: str | None = None, **span: int) -> Difference:
    wanted = ReplayRange(span.get("from_ms", 0), span.get("to_ms", 1 << 50))
    with opened_origin(log or str(bench.directory), SETTINGS) as origin:
        return what_if(origin, wanted, policy, lambda _done, _all: None)


def told(bench: Bench, policy: str, *options: str) -> list[dict[str, Any]]:
    file = bench.directory / "new.toml"
    file.write_text(policy)
    arguments = ["what-if", str(bench.directory), "--policy", str(file), "--json", *options]
    done = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_what_is_the_same_policy_changes_nothing(bench: Bench) -> None:
    same = found(bench, {"mention": {}})
    assert (same.events, same.changes()) == (8, [])
    assert same.named("channels") == [("push", 8, 8)]
    assert same.was == same.would


def test_who_gains_and_who_loses_and_what_each_channel_carries(bench: Bench) -> None:
    ends = [bench.log.end_offset(topic, 0) for topic in ("work", "ledger", "registry")]
    mail = found(bench, {"mention": {"channels": ["email", "in_app"], "digest": False}, "like": {"channels": ["push"]}})
    assert mail.named("channels") == [("email", 0, 8), ("push", 8, 1)]
    assert mail.changes() == [("u1", HeardBy(7, 7), HeardBy(7, 6)), ("u3", HeardBy(0, 1), HeardBy(1, 1))]
    assert ends == [bench.log.end_offset(topic, 0) for topic in ("work", "ledger", "registry")]


def test_a_stretch_and_the_decisions_outside_of_it(bench: Bench) -> None:
    nothing = found(bench, {"mention": {"enabled": False}}, to_ms=bench.clock.now - 86_400_000)
    assert (nothing.was.decisions, nothing.would.decisions, nothing.events) == (0, 0, 0)


def test_the_command_tells_it_and_what_it_costs(bench: Bench) -> None:
    policy = '[types.mention]\nchannels = ["email", "in_app"]\ndigest = false\n'
    lines = told(bench, policy, "--price", "email=0.5", "--price", "push=0.25")
    assert lines[0] == {
        "kind": "summary", "types": ["mention"], "events": 8, "payloads_refused": 0,
        "decisions": {"was": 9, "would": 9}, "gain": 1, "lose": 0,
    }  # fmt: skip
    channels = {each["channel"]: each for each in lines if each["kind"] == "channel"}
    assert channels["email"]["cost"] == {"was": 0, "would": 4.0}
    assert channels["push"]["cost"] == {"was": 2.0, "would": 0.25}
    assert [each["user"] for each in lines if each["kind"] == "user"] == ["u3"]


def test_people_read_it_too(bench: Bench) -> None:
    file = bench.directory / "new.toml"
    file.write_text("[types.mention]\nenabled = false\n")
    arguments = ["what-if", str(bench.directory), "--policy", str(file)]
    done = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert "0 users would hear more, 3 less" in done.stdout
    assert "u1   " in done.stdout
    assert "7 -> 1 notifications" in done.stdout


@pytest.mark.parametrize(
    ("policy", "options", "said"),
    [
        ("", (), "names no type"),
        ('[sms.destinations."49"]\nallowed = false\n', (), "begins no number"),
        ("[types.otp]\nklass = 'P1'\n", (), "pinned"),
        ("[types.like]\nwindow = 3\n", (), "window"),
        ("[types.like]\n", ("--to", "2001-01-01"), "no decision of P1 or P2 lies between"),
    ],
)
def test_what_cannot_be_told_says_why(bench: Bench, policy: str, options: tuple[str, ...], said: str) -> None:
    file = bench.directory / "new.toml"
    file.write_text(policy)
    with pytest.raises(Exception, match=said):
        CliRunner().invoke(
            app, ["what-if", str(bench.directory), "--policy", str(file), *options], catch_exceptions=False
        )


@pytest.fixture
def texted(bench: Bench) -> Bench:
    """Three people got a code each by text message, ann two; dan's was refused; eve's number was in the event."""
    at = bench.clock.now
    numbers = {"ann": "+4915112345678", "ben": "+33612345678", "dan": "+12025550123"}
    for user, address in numbers.items():
        row = {"user": user, "channel": "sms", "id": "n", "address": address, "state": "active"}
        bench.append(bench.setting("endpoints", user, **row))
    bench.append(bench.event("c5", "otp", target="eve", to={"sms": "+33687654321"}, topic="events.p0"))
    sent: dict[str, Any] = {"outcome": "DELIVERED", "segments": 2, "cost": 0.1}
    refused: dict[str, Any] = {"outcome": "SUPPRESSED", "reason": "sms_limit"}
    none: dict[str, Any] = {"reason": None, "segments": None, "cost": None, "fell_back_to": None}
    went = [("ann", "n", sent), ("ben", "n", sent), ("ann", "n", sent), ("dan", "n", refused), ("eve", "to", sent)]
    for number, (user, device, what) in enumerate([*went, ("gone", "n", sent)], start=1):
        delivery = DeliveryRecord(
            emission_id=f"em{number}", user=user, channel="sms", device=device, at=at + number, type="otp",
            first_event_id=f"c{number}", provider="twilio", provider_id=None, attempts=[], **(none | what),
        )  # fmt: skip
        bench.append(NewRecord("ledger", 0, user.encode(), DELIVERY.encode(delivery), DELIVERY.headers))
    bench.clock.now += 1_000
    return bench


SMS = """
[sms]
others_price = 0.1
[sms.destinations."+49"]
allowed = false
[sms.destinations."+33"]
price = 0.25
per_h = 1
"""


def test_text_messages_go_by_the_destinations_of_the_policy(texted: Bench) -> None:
    lines = told(texted, SMS, "--to", str(texted.clock.now))
    (sms,) = (each for each in lines if each.get("channel") == "sms")
    assert sms["notifications"] == {"was": 5, "would": 3}
    assert sms["cost"] == {"was": 0.5, "would": 0.7}, (
        "ben's two parts, dan's one, and the one whose number is not known"
    )
    assert sms["unknown"] == 1
    refused = {each["reason"]: (each["was"], each["would"]) for each in lines if each["kind"] == "sms_refused"}
    assert refused == {"sms_destination": (0, 2), "sms_limit": (1, 1)}
    given = told(texted, SMS, "--to", str(texted.clock.now), "--price", "sms=1")
    assert [each["cost"] for each in given if each.get("channel") == "sms"] == [{"was": 5, "would": 3}]


def test_text_messages_go_by_the_sender_that_the_ledger_names(texted: Bench) -> None:
    for number, (user, sender) in enumerate([("ann", "shop"), ("ben", "app"), ("ann", "shop"), ("dan", "post")], 1):
        asked = {"priority": "P0", "type": "otp", "sender_id": sender, "decided_at": texted.clock.now - 500}
        texted.append(decision(user, f"c{number}", "EMITTED", ("t", number, 0), **asked)._replace(partition=0))
    lines = told(texted, "[sms]\nsender_per_h = 1\n", "--to", str(texted.clock.now))
    assert [each["notifications"] for each in lines if each.get("channel") == "sms"] == [{"was": 5, "would": 5}]
    assert [each["would"] for each in lines if each["kind"] == "sms_refused"] == [1], "the second of the shop's"


def test_a_policy_that_says_nothing_of_text_messages_does_not_count_them(texted: Bench) -> None:
    assert [each for each in told(texted, "[types.like]\n") if each.get("channel") == "sms"] == []
