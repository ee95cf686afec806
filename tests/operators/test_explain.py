"""Every outcome and every reason has its sentence, with the values that decided."""

from typing import Any

import orjson
import pytest
from helpers.records import decision, delivery, emission

from operators.explain import (
    Circumstances,
    explain_decision,
    explain_delivery,
    explain_emission,
    explain_row,
    used_values,
)
from state.inbox.values import InboxRow
from state.ledger import TERMINAL_DECISIONS, TERMINAL_DELIVERIES
from state.model.registry import load_registry

NIGHT = 1_763_845_200_000  # 2025-11-22 22:00 in Paris
MORNING = NIGHT + 10 * 3_600_000
DOCUMENT: dict[str, Any] = {
    "quiet_hours": {"enabled": True, "timezone": "Europe/Paris"},
    "frequency_cap": {"max_per_hour": 3, "max_per_day": 7},
    "muted": {"actors": ["bob"], "objects": ["thread9"]},
    "types": {"like": {"enabled": False}},
}
USED = Circumstances(DOCUMENT, {"scope": "type", "value": "like", "on": True}, load_registry().profile("like"))
REASONS = {
    "kill_switch": "Not sent: a kill switch was on (the latest change before it: type like was stopped).",
    "self": "Not sent: it is about what the user did himself or herself.",
    "master_off": "Not sent: the user has switched off all notifications.",
    "type_off": "Not sent: the user has switched off like.",
    "muted": "Not sent: the user has muted bob.",
    "no_channel": "Not sent: no channel was left: none that the user allows for this type has a valid address "
    "(no active device, address or phone number, or unsubscribed).",
    "quiet_hours": "Not sent: the user's quiet hours (22:00-08:00 Europe/Paris) were on, "
    "and this class is not held for later.",
    "cap_day": "Not sent: 7 notifications in the 24 hours before, and the user's limit is 7 a day.",
    "cap_hour": "Not sent: 3 notifications in the hour before, and the user's limit is 3 an hour.",
    "retracted": "Not sent: it was taken back by its sender before it was sent.",
    "retraction": "Not sent: this event takes back an earlier one and is no notification itself.",
}
OUTCOMES: dict[str, tuple[dict[str, Any], str]] = {
    "EMITTED": ({"channels": ["push"]}, "Sent to push at 2025-11-22 22:00:00 Europe/Paris."),
    "MERGED": (
        {"channels": ["push", "sms"]},
        "Sent as part of one notification with other items, to push and SMS, at 2025-11-22 22:00:00 Europe/Paris.",
    ),
    "INBOX": (
        {"group": None},
        "Put into the inbox only: no other channel is set up or switched on for this type.",
    ),
    "EXPIRED": (
        {"ingested_at": NIGHT - 7_200_000},
        "Not sent: its time to live of 1 hour had passed when its turn came, 2 hours after it was accepted.",
    ),
    "SHED": ({}, "Not sent: the system was overloaded and put more urgent notifications first."),
    "HELD": (
        {"until": MORNING},
        (
            "Not sent yet: the user's quiet hours (22:00-08:00 Europe/Paris) are on, "
            "so it is held until 2025-11-23 08:00:00 Europe/Paris."
        ),
    ),
    "AGGREGATING": (
        {"group": "open"},
        "Not sent yet: the user has just heard of this, so it is collected until the window of 1 minute ends.",
    ),
    "SUPPRESSED": ({"reason": "self"}, REASONS["self"]),
}


def decided(outcome: str, **fields: Any) -> dict[str, Any]:
    new = decision("mia", "e1", outcome, ("d", 5, 0), **({"decided_at": NIGHT, "ingested_at": NIGHT} | fields))
    record: dict[str, Any] = orjson.loads(new.value)
    return record


@pytest.mark.parametrize("outcome", [*TERMINAL_DECISIONS, "HELD", "AGGREGATING"])
def test_every_outcome(outcome: str) -> None:
    fields, sentence = OUTCOMES[outcome]
    assert explain_decision(decided(outcome, **fields), USED) == sentence


@pytest.mark.parametrize("reason", REASONS)
def test_every_reason(reason: str) -> None:
    record = decided("SUPPRESSED", reason=reason, cap_hour=3, cap_day=7)
    assert explain_decision(record, USED) == REASONS[reason]


def test_the_other_side_of_what_decided() -> None:
    bare = Circumstances({}, None, None)
    assert "muted thread9" in explain_decision(decided("SUPPRESSED", reason="muted", actor="x", object="thread9"), USED)
    assert "off unless asked for" in explain_decision(decided("SUPPRESSED", reason="type_off"), bare)
    assert explain_decision(decided("SUPPRESSED", reason="kill_switch"), bare) == "Not sent: a kill switch was on."
    by_cap = explain_decision(decided("HELD", until=MORNING, decided_at=MORNING), USED)
    assert by_cap.startswith(
        "Not sent yet: the user's limit of 3 notifications an hour is reached, so it is held until"
    )
    gone = explain_decision(decided("HELD", until=MORNING), Circumstances(None, None, None))
    assert "settings no longer on the log" in gone
    assert "next daily digest" in explain_decision(decided("AGGREGATING", group="digest"), USED)
    assert "read it there before" in explain_decision(decided("INBOX", group="open"), USED)
    assert explain_decision(decided("DREAMT"), USED) == "Its outcome is DREAMT."
    assert explain_decision(decided("SUPPRESSED", reason="odd"), USED) == "Not sent: odd."


def delivered(outcome: str, **fields: Any) -> dict[str, Any]:
    record: dict[str, Any] = orjson.loads(delivery("mia", "em1", "phone", outcome, NIGHT, **fields).value)
    return record


@pytest.mark.parametrize(
    ("outcome", "fields", "sentence"),
    [
        ("DELIVERED", {}, "Push to phone: apns took it, at"),
        ("DEAD_LETTER", {"reason": "no address"}, "Push to phone: not delivered, every try failed (the address was"),
        ("EXPIRED", {}, "Push to phone: not sent, its time had passed"),
        ("SUPPRESSED", {"reason": "kill_switch"}, "Push to phone: not sent (a kill switch was on)"),
        ("SHED", {}, "Push to phone: not sent, the system was overloaded"),
        ("FELL_BACK", {"fell_back_to": "sms"}, "Push to phone: not delivered this way, sent by SMS instead"),
        ("UNKNOWN", {"reason": "interrupted"}, "Push to phone: unknown whether apns took it (the sending process"),
    ],
)  # fmt: skip
def test_every_end_of_a_delivery(outcome: str, fields: dict[str, Any], sentence: str) -> None:
    assert outcome in TERMINAL_DELIVERIES
    text = explain_delivery(delivered(outcome, **fields), USED)
    assert text.startswith(sentence)
    assert text.endswith("1 try: apns at 2025-11-22 22:00:00 Europe/Paris: 200.")


def test_tries_are_listed_each_with_its_answer() -> None:
    tries = [{"provider": "apns", "at": NIGHT, "answer": "503"}, {"provider": "apns", "at": MORNING, "answer": None}]
    text = explain_delivery(delivered("UNKNOWN", attempts=tries), USED)
    assert "2 tries: apns at 2025-11-22 22:00:00 Europe/Paris: 503; apns at" in text
    assert text.endswith("no answer.")
    assert explain_delivery(delivered("EXPIRED", attempts=[]), USED).endswith("It was never handed to a provider.")


def test_emission_and_row() -> None:
    record = orjson.loads(emission("mia", "em1", "e1", 2, ("d", 1_763_845_200, 0)).value)
    sentence = "One notification of 1 item was made for push, to 2 addresses, at 2025-11-22 22:00:00 Europe/Paris."
    assert explain_emission(record, USED) == sentence
    row = InboxRow("like", "photo", "e0", 3, ("bob",), NIGHT, False)
    assert "a row that event e0 started: 3 items, unread" in explain_row(row, had_row=True, used=USED)
    assert "no longer there" in explain_row(None, had_row=True, used=USED)
    assert explain_row(None, had_row=False, used=USED) == "It is not in the inbox."


def test_all_values_are_named() -> None:
    record = decided("HELD", until=MORNING, cap_hour=1, cap_day=None, preference_version=7, follower_age_ms=90_000)
    values = dict(used_values(record, USED))
    assert values["settings"] == "as of record 7 of the decision log"
    assert values["counted in the hour before"] == "1, limit 3"
    assert values["counted in the day before"] == "not looked at"
    assert values["age of the follower list"] == "90 seconds"
    assert values["time to live"] == "1 hour"
    assert dict(used_values(decided("HELD"), USED))["settings"] == "none stored, the defaults hold"
