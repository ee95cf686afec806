"""What the ledger says of one (event, user), in words that a support person understands: "why not?" from records alone.

Each outcome and each reason has its sentence. No content is shown: the records hold none. Times are shown in the user's
own zone. `Circumstances` are the values that the decision used, looked up by the versions it names.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from operators.quiet import is_quiet
from state.inbox.values import InboxRow
from state.model.preference import Preference, compile_preference, muted_names
from state.model.registry import TypeProfile
from state.model.zones import offset_at

LedgerRow = Mapping[str, Any]
_CHANNELS = {
    "push": "push",
    "sms": "SMS",
    "email": "email",
    "webhook": "webhook",
    "chat": "chat",
    "in_app": "the inbox",
}


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What a decision used beside the event; what is no longer on the log is None."""

    document: Mapping[str, Any] | None = None
    """The preference document; empty where the user had stored none."""
    switch: Mapping[str, Any] | None = None
    """The latest change of a kill switch before it: `scope`, `value`, `on`."""
    profile: TypeProfile | None = None
    """The type's entry in the registry."""

    @property
    def preference(self) -> Preference:
        """The document with its defaults."""
        return compile_preference(self.document or {})


class _Explained(NamedTuple):
    record: LedgerRow
    used: Circumstances


_Sentence = str | Callable[[_Explained], str]


def _say(sentence: _Sentence, case: _Explained) -> str:
    return sentence if isinstance(sentence, str) else sentence(case)


def explain_decision(record: LedgerRow, used: Circumstances) -> str:
    """One sentence on what became of the event for this user, and why."""
    sentence = _OUTCOMES.get(record["outcome"])
    return f"Its outcome is {record['outcome']}." if sentence is None else _say(sentence, _Explained(record, used))


def explain_emission(record: LedgerRow, used: Circumstances) -> str:
    """One sentence on the notification that was made of it."""
    items = _number(record["count"], "item")
    where = _list(record["channels"])
    sends = _number(record["deliveries"], "address")
    return f"One notification of {items} was made for {where}, to {sends}, at {_time(record['decided_at'], used)}."


def explain_delivery(record: LedgerRow, used: Circumstances) -> str:
    """One sentence on one send, with how often it was tried."""
    sentence = _DELIVERIES.get(record["outcome"], "ended as {outcome}{why}")
    text = sentence.format(
        outcome=record["outcome"],
        why=_why(record["reason"]),
        provider=record["provider"] or "the provider",
        other=_CHANNELS.get(record["fell_back_to"] or "", record["fell_back_to"] or "another channel"),
    )
    where = f"{_CHANNELS.get(record['channel'], record['channel'])} to {record['device'] or 'the address given'}"
    return f"{_capital(where)}: {text}, at {_time(record['at'], used)}.{_attempts(record['attempts'], used)}"


def explain_row(row: InboxRow | None, *, had_row: bool, used: Circumstances) -> str:
    """One sentence on the inbox."""
    if row is None and had_row:
        return "It was put into the inbox and is no longer there: taken back, or retired by age or number."
    if row is None:
        return "It is not in the inbox."
    state = "read" if row.read else "unread"
    items = _number(row.count, "item")
    started = f"a row that event {row.first_event_id} started"
    return f"It is in the inbox, in {started}: {items}, {state}, the latest of {_time(row.at, used)}."


def used_values(record: LedgerRow, used: Circumstances) -> list[tuple[str, str]]:
    """Every value the decision used, with what it means."""
    values = [
        ("type and class", f"{record['type']}, {record['priority']}"),
        ("sender", str(record["sender_id"])),
        ("accepted", _time(record["ingested_at"], used)),
        ("decided", _time(record["decided_at"], used)),
        ("group", _GROUPS.get(record["group"], str(record["group"]))),
        ("counted in the hour before", _counted(record["cap_hour"], used.preference.max_per_hour)),
        ("counted in the day before", _counted(record["cap_day"], used.preference.max_per_day)),
        ("settings", _settings(record, used)),
        ("addresses", _version(record["endpoint_version"], "none was on file")),
        ("kill switches", _version(record["control_version"], "never one set")),
        ("registry and time zones", f"version {record['registry_version']}, tzdata {record['tzdata_version']}"),
    ]
    if used.profile is not None:
        values.append(("time to live", _duration(used.profile.ttl_ms)))
    if record["follower_age_ms"] is not None:
        values.append(("age of the follower list", _duration(record["follower_age_ms"])))
    return values


# ---- decisions


def _emitted(case: _Explained) -> str:
    return f"Sent to {_list(case.record['channels'])} at {_time(case.record['decided_at'], case.used)}."


def _merged(case: _Explained) -> str:
    where, when = _list(case.record["channels"]), _time(case.record["decided_at"], case.used)
    return f"Sent as part of one notification with other items, to {where}, at {when}."


def _inbox(case: _Explained) -> str:
    if case.record["group"] is None:
        return "Put into the inbox only: no other channel is set up or switched on for this type."
    return (
        "Put into the inbox only: the user read it there before it would have interrupted, "
        "or no other channel was left when its turn came."
    )


def _expired(case: _Explained) -> str:
    limit = (
        "its time to live"
        if case.used.profile is None
        else f"its time to live of {_duration(case.used.profile.ttl_ms)}"
    )
    age = _duration(case.record["decided_at"] - case.record["ingested_at"])
    return f"Not sent: {limit} had passed when its turn came, {age} after it was accepted."


def _held(case: _Explained) -> str:
    until = _time(case.record["until"], case.used)
    if case.used.document is None:
        return f"Not sent yet: held until {until}, for quiet hours or an hourly limit (settings no longer on the log)."
    if is_quiet(case.used.preference.quiet, case.record["decided_at"]):
        return f"Not sent yet: the user's quiet hours ({_quiet(case.used)}) are on, so it is held until {until}."
    limit = case.used.preference.max_per_hour
    return f"Not sent yet: the user's limit of {limit} notifications an hour is reached, so it is held until {until}."


def _aggregating(case: _Explained) -> str:
    if case.record["group"] == "digest":
        return "Not sent yet: it waits for the user's next daily digest by email."
    window = "" if case.used.profile is None else f" of {_duration(case.used.profile.window_ms)}"
    return f"Not sent yet: the user has just heard of this, so it is collected until the window{window} ends."


def _suppressed(case: _Explained) -> str:
    reason = case.record["reason"]
    sentence = _REASONS.get(reason)
    return f"Not sent: {_say(sentence, case) if sentence else reason}."


_OUTCOMES: dict[str, _Sentence] = {
    "EMITTED": _emitted,
    "MERGED": _merged,
    "INBOX": _inbox,
    "EXPIRED": _expired,
    "SHED": "Not sent: the system was overloaded and put more urgent notifications first.",
    "HELD": _held,
    "AGGREGATING": _aggregating,
    "SUPPRESSED": _suppressed,
}


# ---- reasons of SUPPRESSED


def _kill_switch(case: _Explained) -> str:
    if case.used.switch is None or not case.used.switch.get("on"):
        return "a kill switch was on"
    scope, value = case.used.switch["scope"], case.used.switch.get("value")
    what = "everything" if scope == "all" else f"{scope} {value}"
    return f"a kill switch was on (the latest change before it: {what} was stopped)"


def _muted(case: _Explained) -> str:
    document = case.used.document or {}
    if case.record["actor"] in muted_names(document, "actors"):
        return f"the user has muted {case.record['actor']}"
    if case.record["object"] in muted_names(document, "objects"):
        return f"the user has muted {case.record['object']}"
    return "the user has muted who or what it is about"


def _type_off(case: _Explained) -> str:
    if case.used.document is not None and case.used.preference.types.get(case.record["type"]) is None:
        return f"the user has not switched on {case.record['type']}, which is off unless asked for"
    return f"the user has switched off {case.record['type']}"


def _quiet_hours(case: _Explained) -> str:
    return f"the user's quiet hours ({_quiet(case.used)}) were on, and this class is not held for later"


def _cap_day(case: _Explained) -> str:
    limit = case.used.preference.max_per_day
    return f"{case.record['cap_day']} notifications in the 24 hours before, and the user's limit is {limit} a day"


def _cap_hour(case: _Explained) -> str:
    limit = case.used.preference.max_per_hour
    return f"{case.record['cap_hour']} notifications in the hour before, and the user's limit is {limit} an hour"


_REASONS: dict[str, _Sentence] = {
    "kill_switch": _kill_switch,
    "self": "it is about what the user did himself or herself",
    "master_off": "the user has switched off all notifications",
    "type_off": _type_off,
    "muted": _muted,
    "no_channel": (
        "no channel was left: none that the user allows for this type has a valid address "
        "(no active device, address or phone number, or unsubscribed)"
    ),
    "quiet_hours": _quiet_hours,
    "cap_day": _cap_day,
    "cap_hour": _cap_hour,
    "dead_letter": "it could not be handled when its time came; it is among the dead letters",
    "retracted": "it was taken back by its sender before it was sent",
    "retraction": "this event takes back an earlier one and is no notification itself",
}
_DELIVERIES = {
    "DELIVERED": "{provider} took it",
    "DEAD_LETTER": "not delivered, every try failed{why}",
    "EXPIRED": "not sent, its time had passed{why}",
    "SUPPRESSED": "not sent{why}",
    "SHED": "not sent, the system was overloaded",
    "FELL_BACK": "not delivered this way{why}, sent by {other} instead",
    "UNKNOWN": "unknown whether {provider} took it{why}; it was not sent again, to avoid a second one",
}
_DELIVERY_REASONS = {
    "kill_switch": "a kill switch was on",
    "type_off": "the user had switched off the type",
    "master_off": "the user had switched off all notifications",
    "muted": "the user had muted it",
    "retracted": "it was taken back by its sender",
    "template": "its template could not be filled in",
    "no provider": "no provider is configured for the channel",
    "no address": "the address was missing",
    "interrupted": "the sending process stopped in the middle",
}
_GROUPS = {
    None: "none",
    "single": "sent by itself, its type collects nothing",
    "closed": "the first of its kind",
    "open": "joined others while the window was open",
    "held": "joined others that were held",
    "digest": "the daily digest",
}


# ---- words


def _why(reason: str | None) -> str:
    return "" if reason is None else f" ({_DELIVERY_REASONS.get(reason, reason)})"


def _attempts(attempts: Sequence[LedgerRow], used: Circumstances) -> str:
    if not attempts:
        return " It was never handed to a provider."
    tries = [f"{made['provider']} at {_time(made['at'], used)}: {made['answer'] or 'no answer'}" for made in attempts]
    return f" {_capital(_number(len(tries), 'try', 'tries'))}: {'; '.join(tries)}."


def _quiet(used: Circumstances) -> str:
    quiet = used.preference.quiet
    if quiet is None:
        return "as set at that time"
    return f"{_clock(quiet.start_ms)}-{_clock(quiet.end_ms)} {quiet.zone}"


def _settings(record: LedgerRow, used: Circumstances) -> str:
    if record["preference_version"] == -1:
        return "none stored, the defaults hold"
    text = _version(record["preference_version"], "")
    return text if used.document is not None else f"{text} (no longer on the log)"


def _version(offset: int, none: str) -> str:
    return none if offset == -1 else f"as of record {offset} of the decision log"


def _counted(number: int | None, limit: int) -> str:
    return "not looked at" if number is None else f"{number}, limit {limit}"


def _clock(time_of_day_ms: int) -> str:
    minutes = time_of_day_ms // 60_000
    return f"{minutes // 60:02}:{minutes % 60:02}"


def _time(instant_ms: int | None, used: Circumstances) -> str:
    if instant_ms is None:
        return "an unknown time"
    zone = used.preference.zone
    shown = datetime.fromtimestamp((instant_ms + offset_at(zone, instant_ms)) // 1000, UTC)
    return f"{shown:%Y-%m-%d %H:%M:%S} {zone}"


def _duration(duration_ms: int) -> str:
    duration = timedelta(milliseconds=duration_ms)
    for unit, name in ((timedelta(days=1), "day"), (timedelta(hours=1), "hour"), (timedelta(minutes=1), "minute")):
        if duration >= unit and not duration % unit:
            return _number(duration // unit, name)
    if duration >= timedelta(minutes=2):
        return _number(duration // timedelta(minutes=1), "minute")
    return _number(duration // timedelta(seconds=1), "second")


def _number(count: int, name: str, plural: str | None = None) -> str:
    return f"{count} {name if count == 1 else plural or name + ('es' if name.endswith('s') else 's')}"


def _list(channels: Sequence[str]) -> str:
    names = [_CHANNELS.get(channel, channel) for channel in channels]
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names) or "no channel"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
