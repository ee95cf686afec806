"""What the ledger says of one (event, user), in words that a support person understands: "why not?" from records alone.

Each outcome and each reason has its sentence. A sentence shows the values that the decision used, and none where they
are not known any more. No content is shown: the records hold none. Times are shown in the user's own zone.
`Circumstances` are the values that the decision used, looked up by the places and versions that its record names.
"""

from collections.abc import Callable
from typing import NamedTuple

from operators.circumstances import Circumstances, LedgerRow, limit_text, stopped_text, switch_text, when_text
from operators.quiet import is_quiet
from operators.route import PASSED_OVER, ordered_channels
from operators.words import (
    channel_text,
    channels_text,
    clock_text,
    duration_text,
    list_text,
    number_text,
)
from state.inbox.values import InboxRow
from state.model.event import Event
from state.model.load import DORMANT_AFTER_MS, SHED_BELOW_TTL_MS
from state.model.preference import muted_names
from state.model.registry import TypeProfile
from state.model.work import EventWork, ReadWork, SliceWork


class _Explained(NamedTuple):
    record: LedgerRow
    used: Circumstances


_Sentence = str | Callable[[_Explained], str]


def _say(sentence: _Sentence, case: _Explained) -> str:
    return sentence if isinstance(sentence, str) else sentence(case)


def explain_decision(record: LedgerRow, used: Circumstances) -> str:
    """One sentence on what became of the event for this user, and why."""
    sentence = _OUTCOMES.get(record["outcome"])
    said = f"Its outcome is {record['outcome']}." if sentence is None else _say(sentence, _Explained(record, used))
    if not used.ahead:
        return said
    lead = duration_text(used.ahead)
    return (
        f"{said} The machine's clock had been set back: the time of decisions, which these times are, was {lead} ahead."
    )


def explain_emission(record: LedgerRow, used: Circumstances) -> str:
    """One sentence on the notification that was made of it."""
    items = number_text(record["count"], "item")
    where = channels_text(record["channels"])
    sends = number_text(record["deliveries"], "address")
    return f"One notification of {items} was made for {where}, to {sends}, at {when_text(record['decided_at'], used)}."


def explain_row(row: InboxRow | None, *, had_row: bool, used: Circumstances) -> str:
    """One sentence on the inbox."""
    if row is None and had_row:
        return "It was put into the inbox and is no longer there: taken back, retired by age or number, or erased."
    if row is None:
        return "It is not in the inbox."
    state = "read" if row.read else "unread"
    items = number_text(row.count, "item")
    started = f"a row that event {row.first_event_id} started"
    return f"It is in the inbox, in {started}: {items}, {state}, the latest of {when_text(row.at, used)}."


def used_values(record: LedgerRow, used: Circumstances) -> list[tuple[str, str]]:
    """Every value the decision used, with what it means; one that is not known any more says so, or is left out."""
    known, preference = used.document is not None, used.preference
    values = [
        ("type and class", f"{record['type']}, {record['priority']}"),
        ("sender", str(record["sender_id"])),
        ("released" if _is_released(used) else "accepted", when_text(record["ingested_at"], used)),
        ("decided", when_text(record["decided_at"], used)),
        ("group", _GROUPS.get(record["group"], str(record["group"]))),
        ("counted in the hour before", _counted(record["cap_hour"], preference.max_per_hour if known else None)),
        ("counted in the day before", _counted(record["cap_day"], preference.max_per_day if known else None)),
        ("settings", _settings(record, used)),
        ("addresses", _version(record["endpoint_version"], "endpoints", used, "none was on file")),
        ("kill switches", _switches(record, used)),
        ("registry and time zones", f"version {record['registry_version']}, tzdata {record['tzdata_version']}"),
    ]
    if preference.quiet is not None:
        values.append(("quiet hours", _quiet(used)))
    if channels := _channels(used):
        values.append(("channels", channels))
    if _has_slot(used):
        values.append(("dedicated slot", "yes: only campaigns with one are counted, and one a day may go"))
    if used.event is not None and used.event.draft:
        draft = used.event.draft
        values.append(("a test", f"of texts before they are published, in {draft.locale}, by {draft.channel} alone"))
    if used.ahead:
        values.append(("clock", f"{duration_text(used.ahead)} behind these times; quiet hours went by the clock"))
    if used.event is not None:
        values.append(("time to live", duration_text(used.event.ttl_ms)))
    if record["follower_age_ms"] is not None:
        values.append(("age of the follower list", duration_text(record["follower_age_ms"])))
    return values


# ---- decisions


def _emitted(case: _Explained) -> str:
    where, when = channels_text(case.record["channels"]), when_text(case.record["decided_at"], case.used)
    return f"Sent to {where} at {when}{_passed_over(case)}."


def _merged(case: _Explained) -> str:
    where, when = channels_text(case.record["channels"]), when_text(case.record["decided_at"], case.used)
    return f"Sent as part of one notification with other items, to {where}, at {when}{_passed_over(case)}."


def _passed_over(case: _Explained) -> str:
    """Which channels were away (RULES 3.E)."""
    word, _, names = (case.record["reason"] or "").partition(" ")
    if word != PASSED_OVER:
        return ""
    return f", and not to {channels_text(names.split(','))}, where no provider could send to this user in time"


def _inbox(case: _Explained) -> str:
    cause = case.used.cause
    if case.record["group"] is None:
        return "Put into the inbox only: no other channel is set up or switched on for this type."
    if isinstance(cause, ReadWork):
        when = when_text(case.record["decided_at"], case.used)
        return f"Put into the inbox only: the user read it there at {when}, before it would have interrupted."
    if cause is not None:
        return "Put into the inbox only: no other channel was left when its turn came."
    return (
        "Put into the inbox only: the user read it there before it would have interrupted, "
        "or no other channel was left when its turn came."
    )


def _expired(case: _Explained) -> str:
    profile = case.used.profile
    since = "released" if _is_released(case.used) else "accepted"
    event = case.used.event
    lead = 0 if event is None else event.in_time_until - event.ttl_ms - event.ingested_at
    age = duration_text(case.record["decided_at"] - case.record["ingested_at"] - lead)
    waits = case.record["group"] in ("held", "single", "digest", "unread") and (
        profile is None or not profile.absolute_ttl
    )
    own = " (waiting for the user's quiet hours or reading, or for the digest, does not count)" if waits else ""
    return f"Not sent: {limit_text(case.used)} had passed when its turn came, {age} after it was {since}{own}."


def _shed(case: _Explained) -> str:
    short, long = duration_text(SHED_BELOW_TTL_MS), duration_text(DORMANT_AFTER_MS)
    if case.used.event is None:
        why = f"what had a time to live under {short}, and people whose phones were all registered over {long} before"
    elif case.used.event.ttl_ms < SHED_BELOW_TTL_MS:
        why = f"what had a time to live under {short}: this had {duration_text(case.used.event.ttl_ms)}"
    else:
        why = f"people whose phones were all registered over {long} before"
    return f"Not sent: the system was overloaded and left out {why}."


def _held(case: _Explained) -> str:
    until = when_text(case.record["until"], case.used)
    if case.record["cap_hour"] is None:
        return f"Not sent yet: it joined others of its kind, which are held until {until}."
    if case.used.document is None:
        return f"Not sent yet: held until {until}, for quiet hours or an hourly limit (settings no longer on the log)."
    if is_quiet(case.used.preference.quiet, case.record["decided_at"] - case.used.ahead):
        return f"Not sent yet: the user's quiet hours ({_quiet(case.used)}) are on, so it is held until {until}."
    return f"Not sent yet: {_cap_hour(case)}, so it is held until {until}."


def _aggregating(case: _Explained) -> str:
    if case.record["group"] == "digest":
        return "Not sent yet: it waits for the user's next daily digest by email."
    if case.record["group"] == "unread":
        wait = "" if case.used.profile is None else f" within {duration_text(case.used.profile.mail_wait_ms)}"
        return f"Not sent yet: its mail goes only if the user does not read it in the inbox{wait}."
    window = "" if case.used.profile is None else f" of {duration_text(case.used.profile.window_ms)}"
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
    "SHED": _shed,
    "HELD": _held,
    "AGGREGATING": _aggregating,
    "SUPPRESSED": _suppressed,
}


# ---- reasons of SUPPRESSED


def _kill_switch(case: _Explained) -> str:
    record, event, switches = case.record, case.used.event, case.used.switches
    if switches is None:
        return "a kill switch was on"
    campaign = event is None or event.fan_out_type in ("SEGMENT", "BROADCAST")
    named = {
        ("all", ""), ("sender", record["sender_id"]), ("type", record["type"]),
        ("campaign", record["object"] if campaign else None),
    }  # fmt: skip
    found = [switch for switch in switches if (switch.scope, switch.value) in named]
    return stopped_text(found or [switch for switch in switches if switch.scope == "channel"], case.used)


def _muted(case: _Explained) -> str:
    document = case.used.document or {}
    if case.record["actor"] in muted_names(document, "actors"):
        return f"the user has muted {case.record['actor']}"
    if case.record["object"] in muted_names(document, "objects"):
        return f"the user has muted {case.record['object']}"
    return "the user has muted who or what it is about"


def _type_off(case: _Explained) -> str:
    type_name = case.record["type"]
    if case.used.document is None:
        return f"{type_name} was not switched on for the user"
    setting = case.used.preference.types.get(type_name)
    if setting is None or setting.enabled is None:
        return f"the user has not switched on {type_name}, which is off unless asked for"
    return f"the user has switched off {type_name}"


def _no_channel(case: _Explained) -> str:
    said = _channels(case.used)
    return (
        "no channel was left: none that the user allows for this type has a valid address "
        "(no active device, address or phone number that a provider serves, or unsubscribed"
        f"{'; ' if said else ''}{said})"
    )


def _quiet_hours(case: _Explained) -> str:
    return f"the user's quiet hours ({_quiet(case.used)}) were on, and this class is not held for later"


def _has_slot(used: Circumstances) -> bool:
    return used.event is not None and used.event.slot is True


def _cap_day(case: _Explained) -> str:
    if case.record["cap_day"] and _has_slot(case.used):
        return "a campaign with a dedicated slot was sent in the 24 hours before, and of these each user gets one a day"
    counted = number_text(case.record["cap_day"], "notification")
    if case.used.document is None:
        return f"{counted} in the 24 hours before, which reaches the user's limit a day"
    return f"{counted} in the 24 hours before, and the user's limit is {case.used.preference.max_per_day} a day"


def _cap_hour(case: _Explained) -> str:
    counted = number_text(case.record["cap_hour"], "notification")
    if case.used.document is None:
        return f"{counted} in the hour before, which reaches the user's limit an hour"
    return f"{counted} in the hour before, and the user's limit is {case.used.preference.max_per_hour} an hour"


def _retracted(case: _Explained) -> str:
    cause = case.used.cause
    if not isinstance(cause, EventWork | SliceWork) or not cause.event.retracts:
        return "it was taken back by its sender before it was sent"
    by, when = cause.event, when_text(case.record["decided_at"], case.used)
    return f"{by.sender_id} took it back at {when}, before it was sent (event {by.event_id})"


_REASONS: dict[str, _Sentence] = {
    "kill_switch": _kill_switch,
    "self": "it is about what the user did himself or herself",
    "master_off": "the user has switched off all notifications",
    "type_off": _type_off,
    "muted": _muted,
    "no_channel": _no_channel,
    "quiet_hours": _quiet_hours,
    "cap_day": _cap_day,
    "cap_hour": _cap_hour,
    "dead_letter": "it could not be handled when its time came; it is among the dead letters",
    "erased": "the user was erased while it waited",
    "retracted": _retracted,
    "retraction": "this event takes back an earlier one and is no notification itself",
}
_GROUPS = {
    None: "none",
    "single": "sent by itself, its type collects nothing",
    "closed": "the first of its kind",
    "open": "joined others while the window was open",
    "held": "joined others that were held",
    "digest": "the daily digest",
    "unread": "a mail that waited for its row to be read",
}


# ---- words


def _is_released(used: Circumstances) -> bool:
    """Whether it was kept for later: its life began at its release."""
    return used.event is not None and used.event.deliver_at == used.event.ingested_at


def _quiet(used: Circumstances) -> str:
    quiet = used.preference.quiet
    if quiet is None:
        return "as set at that time"
    return f"{clock_text(quiet.start_ms)}-{clock_text(quiet.end_ms)} {quiet.zone}"


def _channels(used: Circumstances) -> str:
    """Which channels there were to choose from, before anybody looked for addresses."""
    event, profile = used.event, used.profile
    if event is not None and event.to is not None:
        return f"the event names {channels_text(list(event.to))}"
    if profile is None or used.document is None:
        return ""
    offered = [_conditional(channel, profile, event) for channel in profile.channels if channel not in profile.to_only]
    allowed = channels_text(ordered_channels(used.preference, profile))
    return f"the type offers {list_text(offered) or 'no channel'}, the user allows {allowed}"


def _conditional(channel: str, profile: TypeProfile, event: Event | None) -> str:
    name = channel_text(channel)
    if channel == "sms" and event is not None and event.priority != "P0":
        return f"{name} (for class P0 only)"
    if channel == "push" and profile.critical_push:
        return f"{name} (if payload.critical is true)"
    return name


def _switches(record: LedgerRow, used: Circumstances) -> str:
    text = _version(record["control_version"], "control", used, "never one set")
    return "; ".join([text, *(switch_text(switch, used) for switch in used.switches or ())])


def _settings(record: LedgerRow, used: Circumstances) -> str:
    if record["preference_version"] == -1:
        return "none stored, the defaults hold"
    text = _version(record["preference_version"], "preferences", used, "")
    return text if used.document is not None else f"{text} (no longer on the log)"


def _version(offset: int, topic: str, used: Circumstances, none: str) -> str:
    where = f"topic {topic}" if used.urgent else "the decision log"
    return none if offset == -1 else f"as of record {offset} of {where}"


def _counted(number: int | None, limit: int | None) -> str:
    return "not looked at" if number is None else f"{number}, limit {'no longer known' if limit is None else limit}"
