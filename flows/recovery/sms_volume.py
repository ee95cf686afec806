"""`carillon what-if`: the text messages of a stretch, as they went and under other rules for destinations.

All of them are P0's, which is not decided again. The ledger says which were asked for and what they cost; the numbers
are those that are on file now or that the events named. They are counted by one sender whose hours begin with the
stretch, each with the parts that it had; one that did not go counts as one part.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from typing import Any, NamedTuple

from connectors.archive.ledger import LedgerQuery, LedgerReader
from connectors.log.interface import Log
from connectors.log.read_to_ends import stored_records
from flows.process.directories import LEDGER
from flows.recovery.replay import ReplayOrigin, ReplayRange
from operators.late import GIVEN_ADDRESS
from operators.sms_limits import SMS_DESTINATION, SMS_LIMIT, SmsGuard, SmsRules
from state.model.durations import DAY_MS
from state.model.errors import ConfigurationError, MalformedRecordError
from state.model.event import EVENT
from state.model.settings import ENDPOINT
from state.model.topics import ENDPOINTS, EVENTS_P0

Row = dict[str, Any]
_REFUSED = (SMS_DESTINATION, SMS_LIMIT)


class SmsTally(NamedTuple):
    """What a stretch came to."""

    sent: int
    cost: float
    refused: Counter[str]
    """By reason."""


class SmsVolume(NamedTuple):
    """The two side by side."""

    was: SmsTally
    would: SmsTally
    unknown: int
    """Messages whose number nobody knows any more: they go as they went."""


def sms_volume(origin: ReplayOrigin, rules: SmsRules, wanted: ReplayRange) -> SmsVolume:
    """Of the text messages that ended in the range.

    :raises ConfigurationError: there is no log, which has the numbers.
    """
    if origin.log is None or origin.data_dir is None:
        raise ConfigurationError("[sms]: an archive has no numbers; name a data directory or kafka")
    log, from_ms = origin.log, wanted.from_ms
    reader, sms = LedgerReader(origin.data_dir / LEDGER, log), {"channel": "sms"}
    asked = reader.table(LedgerQuery(kinds=("delivery",), columns=sms, from_ms=from_ms, to_ms=wanted.to_ms))
    rows = [row for row in asked.sort_by("time").to_pylist() if row["segments"] or row["reason"] in _REFUSED]
    numbers, senders = _numbers(log, rows), _senders(reader, rows, from_ms)
    guard, would, cost = SmsGuard(rules), SmsTally(0, 0.0, Counter()), 0.0
    unknown = sent = 0
    for row in rows:
        number = numbers.get(_address(row))
        if number is None:
            unknown, sent, cost = unknown + 1, sent + bool(row["segments"]), cost + (row["cost"] or 0)
        elif reason := guard.refusal(number, senders.get(row["first_event_id"], ""), row["type"], row["time"]):
            would.refused[reason] += 1
        else:
            sent, cost = sent + 1, cost + guard.price(number) * (row["segments"] or 1)
    return SmsVolume(_was(rows), would._replace(sent=sent, cost=round(cost, 6)), unknown)


def _was(rows: Collection[Row]) -> SmsTally:
    sent = [row for row in rows if row["segments"]]
    refused = Counter(row["reason"] for row in rows if not row["segments"])
    return SmsTally(len(sent), round(sum(row["cost"] or 0 for row in sent), 6), refused)


def _address(row: Row) -> tuple[str, str]:
    """What leads to the number: the event that names it, or whose it is and what it is called."""
    return (row["first_event_id"], "") if row["device"] == GIVEN_ADDRESS else (row["user"], row["device"])


def _numbers(log: Log, rows: Collection[Row]) -> dict[tuple[str, str], str]:
    wanted, found = set(map(_address, rows)), dict[tuple[str, str], str]()
    for value in _values(log, ENDPOINTS) if wanted else ():
        try:
            endpoint = ENDPOINT.decode(value)
        except MalformedRecordError:
            continue  # it names no number; who reads the topic to send has made a dead letter of it
        if endpoint.channel == "sms" and endpoint.address and (endpoint.user, endpoint.id) in wanted:
            found[endpoint.user, endpoint.id] = endpoint.address
    for value in _values(log, EVENTS_P0) if any(not device for _, device in wanted) else ():
        try:
            event = EVENT.decode(value)
        except MalformedRecordError:
            continue  # as above
        if (event.event_id, "") in wanted and (number := (event.to or {}).get("sms")):
            found[event.event_id, ""] = number
    return found


def _values(log: Log, topic: str) -> Iterator[bytes]:
    places = [(topic, partition) for partition in range(log.partitions(topic))]
    records = stored_records(log, {place: log.begin_offset(*place) for place in places})
    return (record.value for record in records if record.value)


def _senders(reader: LedgerReader, rows: Collection[Row], from_ms: int) -> dict[str, str]:
    """By event."""
    if not rows:
        return {}
    decisions = reader.table(LedgerQuery(kinds=("decision",), columns={"priority": "P0"}, from_ms=from_ms - DAY_MS))
    named = zip(*(decisions[name].to_pylist() for name in ("event_id", "sender_id")), strict=True)
    events = {row["first_event_id"] for row in rows}
    return {event: sender for event, sender in named if event in events}
