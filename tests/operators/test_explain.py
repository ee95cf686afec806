"""Every outcome and every reason has its sentence, with the values that decided: none of them is a default here."""

import ast
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import orjson
import pytest
from helpers.places import ROOT
from helpers.records import decision, delivery, emission
from msgspec import structs

from operators.circumstances import Circumstances
from operators.explain import explain_decision, explain_emission, explain_row, used_values
from operators.explain_deliveries import explain_delivery, explain_outcome
from state.inbox.values import InboxRow
from state.model.event import Event
from state.model.ledger import TERMINAL_DECISIONS, TERMINAL_DELIVERIES
from state.model.registry import TypeProfile
from state.model.settings import SwitchOn
from state.model.work import EventWork, ReadWork, TickWork

NIGHT = 1_763_845_200_000  # 2025-11-23 02:45 in Kathmandu
MORNING = NIGHT + 5 * 3_600_000
NOW, LATER = "2025-11-23 02:45:00 Asia/Kathmandu", "2025-11-23 07:45:00 Asia/Kathmandu"
DOCUMENT: dict[str, Any] = {
    "quiet_hours": {"enabled": True, "start": "21:15", "end": "07:45", "timezone": "Asia/Kathmandu"},
    "frequency_cap": {"max_per_hour": 3, "max_per_day": 7},
    "muted": {"actors": ["bob"], "objects": ["thread9"]},
    "types": {"like": {"enabled": False, "channels": ["email"]}},
}
LIKE = Event(
    event_id="e1", type="like", priority="P1", sender_id="app", actor="bob", object="photo", target="mia",
    ttl_ms=29_500, ingested_at=NIGHT,
)  # fmt: skip
BACK = EventWork(stamp=NIGHT, event=Event(event_id="r1", type="like", sender_id="shop", retracts=True), users=["mia"])
SWITCHES = (
    SwitchOn("type", "like", NIGHT - 1000, "ada", "a bad campaign"),
    SwitchOn("channel", "sms", NIGHT - 2000, None, None),
)
USED = Circumstances(
    DOCUMENT,
    SWITCHES,
    TypeProfile(name="like", ttl_ms=1, window_ms=90_000, channels=("email", "push", "in_app")),
    LIKE,
    TickWork(stamp=NIGHT),
)
UNKNOWN = Circumstances()
CHANNELS = "the type offers email, push and the inbox, the user allows email"
REASONS: dict[str, tuple[dict[str, Any], str, str]] = {
    "kill_switch": (
        {},
        "a kill switch was on: type like was stopped at 2025-11-23 02:44:59 Asia/Kathmandu by ada (a bad campaign)",
        "a kill switch was on",
    ),
    "self": (
        {},
        "it is about what the user did himself or herself",
        "it is about what the user did himself or herself",
    ),
    "master_off": ({}, "the user has switched off all notifications", "the user has switched off all notifications"),
    "type_off": ({}, "the user has switched off like", "like was not switched on for the user"),
    "muted": ({}, "the user has muted bob", "the user has muted who or what it is about"),
    "no_channel": (
        {},
        (
            "no channel was left: none that the user allows for this type has a valid address "
            f"(no active device, address or phone number that a provider serves, or unsubscribed; {CHANNELS})"
        ),
        (
            "no channel was left: none that the user allows for this type has a valid address "
            "(no active device, address or phone number that a provider serves, or unsubscribed)"
        ),
    ),
    "quiet_hours": (
        {},
        "the user's quiet hours (21:15-07:45 Asia/Kathmandu) were on, and this class is not held for later",
        "the user's quiet hours (as set at that time) were on, and this class is not held for later",
    ),
    "cap_day": (
        {"cap_day": 9},
        "9 notifications in the 24 hours before, and the user's limit is 7 a day",
        "9 notifications in the 24 hours before, which reaches the user's limit a day",
    ),
    "cap_hour": (
        {"cap_hour": 4},
        "4 notifications in the hour before, and the user's limit is 3 an hour",
        "4 notifications in the hour before, which reaches the user's limit an hour",
    ),
    "erased": ({}, "the user was erased while it waited", "the user was erased while it waited"),
    "dead_letter": (
        {},
        "it could not be handled when its time came; it is among the dead letters",
        "it could not be handled when its time came; it is among the dead letters",
    ),
    "retracted": (
        {},
        f"shop took it back at {NOW}, before it was sent (event r1)",
        "it was taken back by its sender before it was sent",
    ),
    "retraction": (
        {},
        "this event takes back an earlier one and is no notification itself",
        "this event takes back an earlier one and is no notification itself",
    ),
}
"""By reason: fields of the record, the sentence, and the sentence where what was used is not known any more."""
OUTCOMES: dict[str, tuple[dict[str, Any], str]] = {
    "EMITTED": ({"channels": ["push"]}, f"Sent to push at {NOW}."),
    "MERGED": (
        {"channels": ["push", "sms"]},
        f"Sent as part of one notification with other items, to push and SMS, at {NOW}.",
    ),
    "INBOX": ({"group": None}, "Put into the inbox only: no other channel is set up or switched on for this type."),
    "EXPIRED": (
        {"ingested_at": NIGHT - 3_661_000},
        (
            "Not sent: its time to live of 29.5 seconds had passed when its turn came, "
            "1 hour 1 minute 1 second after it was accepted."
        ),
    ),
    "SHED": (
        {},
        (
            "Not sent: the system was overloaded and left out what had a time to live under 10 minutes: "
            "this had 29.5 seconds."
        ),
    ),
    "HELD": (
        {"until": MORNING, "cap_hour": 0},
        "Not sent yet: the user's quiet hours (21:15-07:45 Asia/Kathmandu) are on, so it is held until " + LATER + ".",
    ),
    "AGGREGATING": (
        {"group": "open"},
        (
            "Not sent yet: the user has just heard of this, so it is collected until "
            "the window of 1 minute 30 seconds ends."
        ),
    ),
    "SUPPRESSED": ({"reason": "self"}, "Not sent: it is about what the user did himself or herself."),
}
DELIVERY_REASONS = {
    "kill_switch": "a kill switch was on: channel sms was stopped at 2025-11-23 02:44:58 Asia/Kathmandu and "
    "type like was stopped at 2025-11-23 02:44:59 Asia/Kathmandu by ada (a bad campaign)",
    "type_off": "the user had switched off the type",
    "master_off": "the user had switched off all notifications",
    "muted": "the user had muted it",
    "retracted": "it was taken back by its sender",
    "quiet_hours": "the user's quiet hours had begun, and this class is not held for later",
    "no_channel": "the address was no longer the user's, or the user had switched off the channel",
    "sms_destination": "text messages to numbers that begin like this one are switched off",
    "sms_limit": "too many text messages had gone to numbers like this one, or from this sender, in the hour",
    "template": "its template could not be filled in",
    "no provider": "no provider is configured for the channel",
    "no address": "the address was missing",
    "provider away": "the provider was away",
    "interrupted": "the sending process stopped in the middle",
}


def decided(outcome: str, **fields: Any) -> dict[str, Any]:
    new = decision("mia", "e1", outcome, ("d", 5, 0), **({"decided_at": NIGHT, "ingested_at": NIGHT} | fields))
    record: dict[str, Any] = orjson.loads(new.value)
    return record


def suppressions(*folders: str) -> Iterator[str]:
    """The reasons that the code gives: texts behind SUPPRESSED in `FinalOutcome(...)` and `Planned(...)`."""
    for path in (path for folder in folders for path in (ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or [ast.unparse(each) for each in node.args[:-1]] != ["'SUPPRESSED'"]:
                continue
            constants = (each.value for each in ast.walk(node.args[1]) if isinstance(each, ast.Constant))
            yield from (text for text in constants if isinstance(text, str))


def test_no_outcome_and_no_reason_is_without_its_sentence() -> None:
    rules = (ROOT / "RULES.md").read_text()
    named = set(re.findall(r"SUPPRESSED\s+`(\w+)`", rules)) | set(re.findall(r'"reason":"(\w+)"', rules))
    assert named == set(REASONS)
    assert set(suppressions("operators")) == set(REASONS)
    assert set(suppressions("flows/steps", "operators")) <= set(REASONS)
    assert set(OUTCOMES) == {*TERMINAL_DECISIONS, "HELD", "AGGREGATING"}


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_every_outcome(outcome: str) -> None:
    fields, sentence = OUTCOMES[outcome]
    assert explain_decision(decided(outcome, **fields), USED) == sentence


@pytest.mark.parametrize("reason", REASONS)
def test_every_reason(reason: str) -> None:
    fields, sentence, unknown = REASONS[reason]
    record = decided("SUPPRESSED", reason=reason, **fields)
    used = replace(USED, cause=BACK) if reason == "retracted" else USED
    assert explain_decision(record, used) == f"Not sent: {sentence}."
    assert explain_decision(record, UNKNOWN) == f"Not sent: {unknown}."


def test_a_kill_switch_is_named_by_what_it_stopped() -> None:
    record = decided("SUPPRESSED", reason="kill_switch", type="share")
    assert "on: channel sms was stopped at" in explain_decision(record, USED)
    assert "on, which was changed since" in explain_decision(record, replace(USED, switches=()))
    everything = replace(USED, switches=(SwitchOn("all", "", NIGHT, None, None),))
    assert f"on: everything was stopped at {NOW}." in explain_decision(record, everything)
    campaign = replace(USED, switches=(SwitchOn("campaign", "photo", NIGHT, None, None),))
    assert "changed since" in explain_decision(record, campaign)
    assert "campaign photo" in explain_decision(record, replace(campaign, event=None))


def test_the_other_side_of_what_decided() -> None:
    bare = Circumstances({})
    assert "muted thread9" in explain_decision(decided("SUPPRESSED", reason="muted", actor="x", object="thread9"), USED)
    assert "off unless asked for" in explain_decision(decided("SUPPRESSED", reason="type_off"), bare)
    by_cap = explain_decision(decided("HELD", until=MORNING, decided_at=MORNING, cap_hour=4), USED)
    assert by_cap == f"Not sent yet: {REASONS['cap_hour'][1]}, so it is held until {LATER}."
    joined = explain_decision(decided("HELD", until=MORNING), USED)
    assert joined == f"Not sent yet: it joined others of its kind, which are held until {LATER}."
    assert "settings no longer on the log" in explain_decision(decided("HELD", until=MORNING, cap_hour=1), UNKNOWN)
    assert "next daily digest" in explain_decision(decided("AGGREGATING", group="digest"), USED)
    assert "only if the user does not read it" in explain_decision(decided("AGGREGATING", group="unread"), USED)
    assert explain_decision(decided("DREAMT"), USED) == "Its outcome is DREAMT."
    assert explain_decision(decided("SUPPRESSED", reason="odd"), USED) == "Not sent: odd."


def test_what_was_passed_over_is_named_where_it_was_sent() -> None:
    passed = {"reason": "passed_over push,chat", "channels": ["email"]}
    why = "and not to push and chat, where no provider could send to this user in time."
    assert explain_decision(decided("EMITTED", **passed), USED) == f"Sent to email at {NOW}, {why}"
    assert explain_decision(decided("MERGED", **passed), UNKNOWN).endswith(why)


def test_why_the_system_let_go_of_it_under_load() -> None:
    assert USED.event is not None
    lasting = replace(USED, event=structs.replace(USED.event, ttl_ms=600_000))
    dormant = "people whose phones were all registered over 30 days before"
    assert explain_decision(decided("SHED"), lasting) == f"Not sent: the system was overloaded and left out {dormant}."
    assert explain_decision(decided("SHED"), UNKNOWN) == (
        f"Not sent: the system was overloaded and left out what had a time to live under 10 minutes, and {dormant}."
    )


def test_why_it_stayed_in_the_inbox() -> None:
    record = decided("INBOX", group="open")
    read = replace(USED, cause=ReadWork(stamp=NIGHT, user="mia"))
    assert explain_decision(record, read).endswith(
        f"the user read it there at {NOW}, before it would have interrupted."
    )
    assert explain_decision(record, USED).endswith("no other channel was left when its turn came.")
    assert "read it there before" in explain_decision(record, UNKNOWN)


def test_what_waited_for_the_user_or_was_kept_for_later_says_so() -> None:
    fields = {"ingested_at": NIGHT - 60_000, "group": "single"}
    assert explain_decision(decided("EXPIRED", **fields), UNKNOWN) == (
        "Not sent: its time to live had passed when its turn came, 1 minute after it was accepted "
        "(waiting for the user's quiet hours or reading, or for the digest, does not count)."
    )
    kept = Event(event_id="e1", type="reminder", ttl_ms=30_000, ingested_at=NIGHT - 60_000, deliver_at=NIGHT - 60_000)
    of_type = TypeProfile(name="reminder", absolute_ttl=True)
    assert explain_decision(decided("EXPIRED", **fields), replace(USED, event=kept, profile=of_type)).endswith(
        "its time to live of 30 seconds had passed when its turn came, 1 minute after it was released."
    )


def delivered(outcome: str, **fields: Any) -> dict[str, Any]:
    record: dict[str, Any] = orjson.loads(delivery("mia", "em1", "phone", outcome, NIGHT, **fields).value)
    return record


@pytest.mark.parametrize(
    ("outcome", "fields", "sentence"),
    [
        ("DELIVERED", {}, "Push to phone: apns took it, at"),
        ("DEAD_LETTER", {"reason": "no address"}, "Push to phone: not delivered, every try failed (the address was"),
        ("EXPIRED", {}, "Push to phone: not sent, its time to live of 29.5 seconds had passed, at"),
        ("SUPPRESSED", {"reason": "muted"}, "Push to phone: not sent (the user had muted it), at"),
        ("SHED", {}, "Push to phone: not sent, the system was overloaded"),
        ("FELL_BACK", {"fell_back_to": "sms"}, "Push to phone: not delivered this way, sent by SMS instead"),
        ("UNKNOWN", {"reason": "interrupted"}, "Push to phone: unknown whether apns took it (the sending process"),
    ],
)  # fmt: skip
def test_every_end_of_a_delivery(outcome: str, fields: dict[str, Any], sentence: str) -> None:
    assert outcome in TERMINAL_DELIVERIES
    text = explain_delivery(delivered(outcome, **fields), USED)
    assert text.startswith(sentence)
    assert text.endswith(f"1 try: apns at {NOW}: 200.")


def test_what_was_heard_later() -> None:
    heard = {"outcome": "undelivered", "channel": "sms", "provider": "twilio", "reason": "30005", "at": NIGHT}
    assert explain_outcome(heard, USED) == f"SMS: twilio says that it did not arrive (30005), at {NOW}."
    done = {"outcome": "opened", "channel": "in_app", "provider": None, "reason": None, "at": NIGHT}
    assert explain_outcome(done, USED).endswith(f": the user opened it, at {NOW}.")
    gone = {"outcome": "withdrawn", "channel": "push", "provider": "apns", "reason": None, "at": NIGHT}
    assert explain_outcome(gone, USED) == (
        f"Push: its sender took it back, and apns took the message that removes it from the screen, at {NOW}."
    )


@pytest.mark.parametrize("reason", DELIVERY_REASONS)
def test_every_reason_of_a_delivery(reason: str) -> None:
    used = replace(USED, switches=tuple(reversed(SWITCHES)))
    text = explain_delivery(delivered("SUPPRESSED", reason=reason, channel="sms"), used)
    assert text.startswith(f"SMS to phone: not sent ({DELIVERY_REASONS[reason]}), at")


def test_tries_are_listed_each_with_its_answer() -> None:
    tries = [{"provider": "apns", "at": NIGHT, "answer": "503"}, {"provider": "apns", "at": MORNING, "answer": None}]
    text = explain_delivery(delivered("UNKNOWN", attempts=tries), USED)
    assert f"2 tries: apns at {NOW}: 503; apns at {LATER}: no answer." in text
    assert "2 parts, cost 0.15. " in explain_delivery(delivered("DELIVERED", segments=2, cost=0.15), USED)
    assert " 1 part. " in explain_delivery(delivered("DELIVERED", segments=1, cost=0.0), USED)
    assert ". Variant b of its text. 1 try" in explain_delivery(delivered("DELIVERED", variant="b"), USED)
    never = explain_delivery(delivered("DEAD_LETTER", reason="no provider", attempts=[]), USED)
    assert never.startswith("Push to phone: not delivered (no provider is configured for the channel), at")
    assert never.endswith("It was never handed to a provider.")
    several = explain_delivery(delivered("EXPIRED"), USED, items=2)
    assert "not sent, the time to live of its items had passed" in several


def test_emission_and_row() -> None:
    record = orjson.loads(emission("mia", "em1", "e1", 2, ("d", 1_763_845_200, 0)).value)
    sentence = f"One notification of 1 item was made for push, to 2 addresses, at {NOW}."
    assert explain_emission(record, USED) == sentence
    row = InboxRow("like", "photo", "e0", 3, ("bob",), NIGHT, False)
    assert "a row that event e0 started: 3 items, unread" in explain_row(row, had_row=True, used=USED)
    assert "no longer there" in explain_row(None, had_row=True, used=USED)
    assert explain_row(None, had_row=False, used=USED) == "It is not in the inbox."


def test_a_dedicated_slot_is_told_from_the_user_s_own_limit() -> None:
    slotted = replace(USED, event=structs.replace(LIKE, slot=True))
    said = explain_decision(decided("SUPPRESSED", reason="cap_day", cap_hour=0, cap_day=1), slotted)
    assert "of these each user gets one a day" in said
    assert dict(used_values(decided("EMITTED"), slotted))["dedicated slot"].startswith("yes")
    assert "dedicated slot" not in dict(used_values(decided("EMITTED"), USED))


def test_a_decision_of_a_clock_that_ran_ahead_says_so() -> None:
    """Two hours: it is quiet by the machine's clock alone, and an age is what passed on one clock."""
    lead = 7_200_000
    held = decided("HELD", until=MORNING + lead, cap_hour=1, decided_at=MORNING + lead - 1)
    used = replace(USED, cause=TickWork(stamp=NIGHT, ahead=lead), event=structs.replace(LIKE, ahead_ms=lead))
    told = "The machine's clock had been set back: the time of decisions, which these times are, was 2 hours ahead."
    assert explain_decision(held, used).startswith("Not sent yet: the user's quiet hours (21:15-07:45 Asia/Kathmandu)")
    assert explain_decision(held, used).endswith(told)
    assert told not in explain_decision(held, USED)
    expired = decided("EXPIRED", decided_at=NIGHT + lead + 30_000, group=None)
    assert "30 seconds after it was accepted" in explain_decision(expired, used)
    assert dict(used_values(held, used))["clock"] == "2 hours behind these times; quiet hours went by the clock"
    assert "clock" not in dict(used_values(held, USED))


def test_all_values_are_named() -> None:
    record = decided("HELD", until=MORNING, cap_hour=1, cap_day=None, preference_version=7, follower_age_ms=90_000)
    values = dict(used_values(record, USED))
    assert values["settings"] == "as of record 7 of the decision log"
    assert values["counted in the hour before"] == "1, limit 3"
    assert values["counted in the day before"] == "not looked at"
    assert values["age of the follower list"] == "1 minute 30 seconds"
    assert values["time to live"] == "29.5 seconds"
    assert values["quiet hours"] == "21:15-07:45 Asia/Kathmandu"
    assert values["channels"] == CHANNELS
    assert "time to live" not in dict(used_values(record, UNKNOWN))
    assert dict(used_values(record, UNKNOWN))["counted in the hour before"] == "1, limit no longer known"
    urgent = dict(used_values(decided("HELD", preference_version=4), replace(USED, urgent=True)))
    assert urgent["settings"] == "as of record 4 of topic preferences"
    assert dict(used_values(decided("HELD"), USED))["settings"] == "none stored, the defaults hold"
