"""A decided slice as Arrow batches of its topics (TOPICS.md): one record per topic and slice, not one per recipient.

What all recipients share is said once, in the schema's metadata. Their addresses are copied as they are stored.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import repeat
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow

from operators.bulk import Slice
from operators.bulk_rules import Ending, RowNumbers
from operators.route import ChannelRoute
from operators.templates import row_language
from state.decide.group import GroupState
from state.decide.users import UserTable
from state.model.arrow import TEXT, Column, batch_bytes, coded, distinct_of_parts, shared_column
from state.model.arrow_stream import PlainColumn, plain_texts
from state.model.delivery import EMISSION_SLICE
from state.model.inbox import INBOX_SLICE, InboxOperation
from state.model.keys import emission_base
from state.model.preference import QuietRange
from state.model.topics import DELIVER
from state.slices import SCHEMA, Recipients, SliceEnding, SliceFacts, encode_slices

pa: Any = pyarrow  # its stubs refuse NumPy buffers and boolean masks
PART_ROWS = 10_000
"""The most recipients in a record: a reader has to hold them all at once."""
PART_MAX_BYTES = 4 << 20
"""Of a record; the log takes twice that (`connectors.log.interface.RECORD_MAX_BYTES`)."""
_encode = msgspec.json.Encoder().encode


class SliceRecord(NamedTuple):
    """One record: its topic, schema and bytes."""

    topic: str
    schema: str
    value: bytes


def slice_records(state: GroupState, decided: Slice) -> list[SliceRecord | None]:
    """Everything that a slice leaves behind: in parts, so that each record is one that the log takes.

    None stands for a batch that earlier releases wrote: its number stays free. So what a crash makes us write again has
    the number that it had, also if a new release does it.
    """
    rows = len(decided.rows)
    parts = [_part(decided, slice(first, first + PART_ROWS)) for first in range(0, rows, PART_ROWS)]
    return [record for part in parts for record in _fitting(state, part)]


def records_together(slices: Sequence[tuple[GroupState, Slice]], ahead: int) -> list[list[SliceRecord | None] | None]:
    """The same of slices of one event of several groups, before their turns; `ahead`: of their record. None: by itself,
    in its turn.
    """
    some = [(state, each) for state, each in slices if len(each.rows)]
    encoded = iter(_records([state for state, _ in some], [each for _, each in some], ahead) if some else ())
    found = [next(encoded) if len(each.rows) else [] for _, each in slices]
    return [records if _fit(records) else None for records in found]


def _part(decided: Slice, of: slice) -> Slice:
    return decided._replace(
        rows=decided.rows[of], ending=decided.ending[of], hour=decided.hour[of], day=decided.day[of],
        until=decided.until[of],
    )  # fmt: skip


def _fitting(state: GroupState, decided: Slice) -> list[SliceRecord | None]:
    """The records of a part; in halves where one of them is too large, as with many devices each."""
    (records,), rows = _records([state], [decided], state.ahead), len(decided.rows)
    if rows == 1 or _fit(records):
        return records
    halves = _part(decided, slice(rows // 2)), _part(decided, slice(rows // 2, rows))
    return [record for half in halves for record in _fitting(state, half)]


def _fit(records: Sequence[SliceRecord | None]) -> bool:
    return all(record is None or len(record.value) <= PART_MAX_BYTES for record in records)


def _records(states: Sequence[GroupState], slices: Sequence[Slice], ahead: int) -> list[list[SliceRecord | None]]:
    users = [shared_column(state.users.ids.column(each.rows)) for state, each in zip(states, slices, strict=True)]
    alike = list(zip(states, slices, users, strict=True))
    facts = [_facts(state, each) for state, each, _ in alike]
    ledger = encode_slices(facts, [_recipients(*each) for each in alike])
    found: list[list[SliceRecord | None]] = [[SliceRecord("ledger", SCHEMA.decode(), value)] for value in ledger]
    for records, (state, decided, names) in zip(found, alike, strict=True):
        in_row = np.array([ending.inbox for ending in decided.endings])[decided.ending]
        if decided.is_new and np.count_nonzero(in_row):
            rows = decided.rows.compress(in_row)
            own = names if len(rows) == len(decided.rows) else state.users.ids.column(rows)
            records.append(SliceRecord("inbox", INBOX_SLICE, _inbox(state, decided, rows, own)))
    sent = [each for part, one in enumerate(alike) for each in _sent(part, *one)]
    if not sent:
        return found
    urgent, commons = slices[0].event.priority == "P0", dict[ChannelRoute, list[tuple[str, msgspec.Raw]]]()
    for each, hours in zip(sent, repeat({}) if urgent else _quiet_hours(states, sent), strict=not urgent):
        if each.route not in commons:
            commons[each.route] = _common_deliveries(states[0], slices[0], each.route, ahead)
        columns = {**each.columns, **hours, "endpoints": states[each.part].users.reached_of(each.rows)}
        channels = [
            SliceRecord(DELIVER[channel], EMISSION_SLICE, batch_bytes(columns, common))
            for channel, common in commons[each.route]
        ]
        found[each.part] += [None, *channels]
    return found


class _Sent(NamedTuple):
    """Those of a slice who get emissions by one route, and the columns that they alone decide."""

    part: int
    route: ChannelRoute
    rows: RowNumbers
    columns: dict[str, Column]


def _sent(part: int, state: GroupState, decided: Slice, users: Column) -> Iterator[_Sent]:
    for number, ending in enumerate(decided.endings):
        if ending.route is None:
            continue
        rows = decided.rows.compress(decided.ending == number)
        if len(rows):
            names = users if len(rows) == len(decided.rows) else state.users.ids.column(rows)
            yield _Sent(part, ending.route, rows, _own_delivery(state, rows, names))


def _facts(state: GroupState, decided: Slice) -> SliceFacts:
    event = decided.event
    return SliceFacts(
        event_id=event.event_id, type=event.type, priority=event.priority, sender_id=event.sender_id, actor=event.actor,
        object=event.object, ingested_at=event.ingested_at, decided_at=decided.now, place=decided.place,
        control_version=decided.control_version, registry_version=state.registry.version,
        tzdata_version=state.tzdata_version, follower_age_ms=decided.follower_age_ms,
        endings=tuple(_ending(each) for each in decided.endings),
    )  # fmt: skip


def _recipients(state: GroupState, decided: Slice, names: Column) -> Recipients:
    rows, users = decided.rows, state.users
    return Recipients(
        names, users.tag[rows], decided.ending, decided.hour, decided.day,
        users.preference_version[rows], users.endpoint_version[rows], _addresses(users, decided), decided.until,
    )  # fmt: skip


def _ending(ending: Ending) -> SliceEnding:
    channels = () if ending.route is None else ending.route.chosen
    return SliceEnding(
        ending.outcome, ending.reason, ending.inbox, ending.group, channels, ending.route is not None, ending.gated
    )


def _addresses(users: UserTable, decided: Slice) -> npt.NDArray[np.int64]:
    """How many each emission goes to."""
    counts = np.zeros(len(decided.rows), np.int64)
    for number, ending in enumerate(decided.endings):
        if ending.route is not None:
            part = (decided.ending == number).nonzero()[0]
            counts[part] = users.deliveries(decided.rows[part], ending.route.chosen)
    return counts


def _inbox(state: GroupState, decided: Slice, rows: RowNumbers, users: Column) -> bytes:
    event, languages = decided.event, _languages(state, rows)
    alike = len(set(languages)) == 1
    operation = InboxOperation(
        op="add", user="", type=event.type, object=event.object, actor=event.actor, event_id=event.event_id,
        windowed=state.registry.profile(event.type).window_ms > 0, at=decided.now, place=decided.place,
        priority=event.priority, payload=event.payload, language=languages[0] if alike else None,
    )  # fmt: skip
    columns = {"user": users}
    return batch_bytes(columns if alike else columns | {"language": _language_column(languages)}, operation)


def _languages(state: GroupState, rows: RowNumbers) -> list[str | None]:
    """Of each recipient, or of all if they have the same."""
    profiles = state.users.profiles
    if not profiles:
        return [None]
    return [row_language(profiles[row][0]) if row in profiles else None for row in rows.tolist()]


def _language_column(languages: list[str | None]) -> Column:
    codes = {language: code for code, language in enumerate(dict.fromkeys(languages))}
    return coded(np.fromiter(map(codes.__getitem__, languages), np.int32), [*codes])


def _common_deliveries(
    state: GroupState, decided: Slice, route: ChannelRoute, ahead: int
) -> list[tuple[str, msgspec.Raw]]:
    """Channels of a route, and what all its deliveries share there."""
    common = {**_common_delivery(state, decided, ahead), "rest": route.rest}
    return [(channel, msgspec.Raw(_encode({**common, "channel": channel}))) for channel in route.chosen]


def _common_delivery(state: GroupState, decided: Slice, ahead: int) -> Mapping[str, object]:
    """Of what `flows.steps.decide.outputs.to_deliver` gives, all that is the same for every recipient."""
    event, profile = decided.event, state.registry.profile(decided.event.type)
    waited_ms = 0 if profile.absolute_ttl else decided.waited_ms
    return {
        "emission_base": emission_base(event.type, event.object, event.event_id),
        "type": event.type,
        "object": event.object,
        "count": 1,
        "actors": [] if event.actor is None else [event.actor],
        "actor_count": 0 if event.actor is None else 1,
        "first": True,
        "first_event_id": event.event_id,
        "priority": event.priority,
        "sender_id": event.sender_id,
        "campaign": event.object if event.fan_out_type in ("SEGMENT", "BROADCAST") else None,
        "category": profile.category,
        "policy": profile.policy,
        "payload": event.payload,
        "decided_at": decided.now - ahead,
        "ingested_at": event.ingested_at,
        "valid_until": event.in_time_until + waited_ms - ahead,
    }


def _own_delivery(state: GroupState, rows: RowNumbers, users: Column) -> dict[str, Column]:
    columns = {"user": users}
    profiles = state.users.profiles
    if profiles:
        found = [profiles.get(row, (None, None)) for row in rows.tolist()]
        columns |= {"locale": pa.array([each[0] for each in found], TEXT)}
        columns |= {"name": pa.array([each[1] for each in found], TEXT)}
    return columns


def _quiet_hours(states: Sequence[GroupState], sent: Sequence[_Sent]) -> Iterator[dict[str, Column]]:
    """Where somebody has them: few documents differ in them, so each is written once."""
    documents = [states[each.part].users.preference[each.rows] for each in sent]
    compiled = states[0].users.preferences.compiled
    numbers = documents[0] if len(documents) == 1 else np.concatenate(documents)
    for distinct, places in distinct_of_parts(numbers, list(map(len, documents))):
        texts = [_quiet_json(compiled[number].quiet) for number in distinct.tolist()]
        if any(texts):
            codes = places.astype(np.int32).tobytes()
            yield {"quiet": PlainColumn("dictionary", len(places), 0, (b"", codes), plain_texts(texts))}
        else:
            yield {}


@lru_cache(maxsize=4_096)
def _quiet_json(quiet: QuietRange | None) -> bytes | None:
    """Each slice of an event has most of them."""
    return None if quiet is None else _encode(quiet)
