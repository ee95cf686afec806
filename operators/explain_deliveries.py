"""What the ledger says of one send, in words: each end of a delivery and each reason has its sentence."""

from collections.abc import Sequence

from operators.circumstances import Circumstances, LedgerRow, limit_text, stopped_text, when_text
from operators.words import capital, channel_text, number_text


def explain_delivery(record: LedgerRow, used: Circumstances, *, items: int = 1) -> str:
    """One sentence on one send, with how often it was tried; `items` are those of its notification.

    The switches of `used` are those that were on when it ended.
    """
    sentence = _DELIVERIES.get(record["outcome"], "ended as {outcome}{why}")
    text = sentence.format(
        outcome=record["outcome"],
        why=_why(record, used),
        tried=", every try failed" if record["attempts"] else "",
        limit=limit_text(used) if items == 1 else "the time to live of its items",
        provider=record["provider"] or "the provider",
        other=channel_text(record["fell_back_to"] or "another channel"),
    )
    where = f"{channel_text(record['channel'])} to {record['device'] or 'the address given'}"
    when = when_text(record["at"], used)
    more = f"{_charge(record)}{_variant(record)}{_attempts(record['attempts'], used)}"
    return f"{capital(where)}: {text}, at {when}.{more}"


def explain_outcome(record: LedgerRow, used: Circumstances) -> str:
    """One sentence on what a provider or the user said afterwards."""
    sentence = _OUTCOMES.get(record["outcome"], str(record["outcome"]))
    who = record["provider"] or "the user"
    why = f" ({record['reason']})" if record["reason"] else ""
    where = channel_text(str(record["channel"]))
    return f"{capital(where)}: {sentence.format(who=who)}{why}, at {when_text(record['at'], used)}."


def _why(record: LedgerRow, used: Circumstances) -> str:
    reason = record["reason"]
    if reason == "kill_switch":
        named = {("all", ""), ("type", record["type"]), ("channel", record["channel"])}
        if used.event is not None:
            named |= {("sender", used.event.sender_id), ("campaign", used.event.object or "")}
        found = [switch for switch in used.switches or () if (switch.scope, switch.value) in named]
        return f" ({stopped_text(found, used) if used.switches is not None else 'a kill switch was on'})"
    return "" if reason is None else f" ({_DELIVERY_REASONS.get(reason, reason)})"


def _charge(record: LedgerRow) -> str:
    """Of a text message that was taken; records of before say nothing of it."""
    segments, cost = record.get("segments"), record.get("cost")
    paid = f", cost {cost:g}" if cost else ""
    return f" {capital(number_text(segments, 'part'))}{paid}." if segments else ""


def _variant(record: LedgerRow) -> str:
    """Of a text that has several."""
    return f" Variant {record['variant']} of its text." if record.get("variant") else ""


def _attempts(attempts: Sequence[LedgerRow], used: Circumstances) -> str:
    if not attempts:
        return " It was never handed to a provider."
    tries = [
        f"{made['provider']} at {when_text(made['at'], used)}: {made['answer'] or 'no answer'}" for made in attempts
    ]
    return f" {capital(number_text(len(tries), 'try', 'tries'))}: {'; '.join(tries)}."


_DELIVERIES = {
    "DELIVERED": "{provider} took it",
    "DEAD_LETTER": "not delivered{tried}{why}",
    "EXPIRED": "not sent, {limit} had passed{why}",
    "SUPPRESSED": "not sent{why}",
    "SHED": "not sent, the system was overloaded",
    "FELL_BACK": "not delivered this way{why}, sent by {other} instead",
    "UNKNOWN": "unknown whether {provider} took it{why}; it was not sent again, to avoid a second one",
}
_OUTCOMES = {
    "delivered": "{who} says that it arrived",
    "undelivered": "{who} says that it did not arrive",
    "failed": "{who} says that it could not be sent on",
    "bounced": "{who} says that it came back, since the address takes no mail",
    "soft_bounced": "{who} says that it came back, for a cause that may pass",
    "complained": "{who} says that the user calls it unwanted",
    "opened": "{who} opened it",
    "clicked": "{who} followed its link",
    "dismissed": "{who} put it away",
    "withdrawn": "its sender took it back, and {who} took the message that removes it from the screen",
}
_DELIVERY_REASONS = {
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
