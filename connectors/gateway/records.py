"""What the gateway appends, as TOPICS.md has it: which topic, partition, key and headers."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from msgspec import UNSET, UnsetType

from connectors.campaigns import act_record
from connectors.log.interface import Headers, NewRecord
from state.model.campaign import begin_act
from state.model.event import EVENT, Event, event_key
from state.model.keys import key_group, partition_of_group
from state.model.schedule import CANCEL, Cancel
from state.model.schema import Schema
from state.model.settings import (
    ENDPOINT,
    FOLLOW,
    GONE,
    PREFERENCE,
    PROFILE,
    READ,
    SEGMENT,
    EndpointRecord,
    FollowRecord,
    GoneRecord,
    PreferenceRecord,
    ProfileRecord,
    ReadRecord,
    SegmentRecord,
)
from state.model.topics import ENDPOINTS, EVENTS, FOLLOWS, PREFERENCES, PROFILES, READS, SCHEDULE, SEGMENTS

PartitionCount = Callable[[str], int]
"""Topic to its number of partitions."""

_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
_EVENT_HEADERS: dict[str, Headers] = {klass: (*EVENT.headers, ("lane", klass.lower().encode())) for klass in EVENTS}


def trace_header(traceparent: str | None) -> Headers:
    """Header `trace` for a well-formed W3C traceparent."""
    if traceparent is None or not _TRACEPARENT.fullmatch(traceparent):
        return ()
    return (("trace", traceparent.encode()),)


def event_records(event: Event, partitions: PartitionCount, *, kept: bool, trace: Headers = ()) -> list[NewRecord]:
    """The records of one accepted event, for one append.

    A kept event waits in `schedule`, one that goes in parts in `campaigns`. A retraction that is not kept goes to
    `schedule` as well as to its lane: it cancels what is kept at once, and takes back what was decided.
    """
    if event.rollout is not UNSET:
        return [act_record(begin_act(event, event.ingested_at, secrets.token_hex(8)))]
    value = EVENT.encode(event)
    headers = _EVENT_HEADERS[event.priority] + trace
    records = []
    if not kept:
        topic, key = EVENTS[event.priority], event_key(event)
        partition = partition_of_group(key_group(key), partitions(topic))  # most keys are others: a cache costs more
        records.append(NewRecord(topic, partition, key.encode(), value, headers))
    if kept or event.retracts:
        records.append(NewRecord(SCHEDULE, 0, event.event_id.encode(), value, headers))
    return records


@lru_cache(4096)
def _partition_of_key(key: str, partitions: int) -> int:
    """Kept for a while: a list of follows names the same followee many times."""
    return partition_of_group(key_group(key), partitions)


def _record(topic: str, key: Sequence[str], schema: Schema[Any], body: Any, partitions: PartitionCount) -> NewRecord:
    """A record in the partition of the first part of its key."""
    partition = _partition_of_key(key[0], partitions(topic))
    return NewRecord(topic, partition, "\0".join(key).encode(), schema.encode(body), schema.headers)


def cancel_record(event_id: str) -> NewRecord:
    """Asks the owner of `schedule` to cancel; it answers with a `released` record."""
    return NewRecord(SCHEDULE, 0, event_id.encode(), CANCEL.encode(Cancel(event_id)), CANCEL.headers)


def preference_record(
    user: str, document: dict[str, Any], by_link: Mapping[str, Sequence[str]], partitions: PartitionCount
) -> NewRecord:
    """A user's whole preference document, and what in it a link in a mail switched off."""
    links = {channel: list(names) for channel, names in by_link.items()} or UNSET
    return _record(PREFERENCES, [user], PREFERENCE, PreferenceRecord(user, document, links), partitions)


def profile_record(user: str, locale: str | None, name: str | None, partitions: PartitionCount) -> NewRecord:
    """A user's locale and name."""
    return _record(PROFILES, [user], PROFILE, ProfileRecord(user, locale, name), partitions)


def endpoint_record(
    user: str,
    channel: str,
    endpoint_id: str,
    endpoint: dict[str, Any],
    registered_at: int,
    partitions: PartitionCount,
    first_at: int | None = None,
) -> NewRecord:
    """An address of a user, or with state `invalid` that it is none (any more); the address is then empty."""
    body = EndpointRecord(
        user=user,
        channel=channel,
        id=endpoint_id,
        platform=endpoint.get("platform"),
        address=endpoint.get("address") or "",
        state=endpoint.get("state") or "active",
        registered_at=registered_at,
        first_at=UNSET if first_at is None else first_at,
    )
    return _record(ENDPOINTS, [user, channel, endpoint_id], ENDPOINT, body, partitions)


def gone_record(
    user: str,
    channel: str,
    endpoint_id: str,
    gone_at: int,
    partitions: PartitionCount,
    cause: str | UnsetType = UNSET,
) -> NewRecord:
    """That an address is dead, unless it was registered after `gone_at`; a key of its own, as a lane writes it."""
    body = GoneRecord(user=user, channel=channel, id=endpoint_id, gone_at=gone_at, cause=cause)
    return _record(ENDPOINTS, [user, channel, endpoint_id, "gone"], GONE, body, partitions)


def follow_record(followee: str, follower: str, on: bool | None, partitions: PartitionCount) -> NewRecord:
    """That someone follows someone (also with None), or no longer."""
    body = FollowRecord(followee, follower, on is not False)
    return _record(FOLLOWS, [followee, follower], FOLLOW, body, partitions)


def read_record(read: ReadRecord, partitions: PartitionCount) -> NewRecord:
    """What a user says of his rows."""
    return _record(READS, [read.user], READ, read, partitions)


def erase_record(user: str, partitions: PartitionCount) -> NewRecord:
    """That a user's rows and all that waits for him are to go."""
    return _record(READS, [user], READ, ReadRecord(user, erase=True), partitions)


def segment_chunk(segment: str, version: int, chunk: int, users: list[str], partitions: PartitionCount) -> NewRecord:
    """Some members of a segment; they count when the commit record follows."""
    body = SegmentRecord(segment, version, chunk, users)
    return _record(SEGMENTS, [segment, str(chunk)], SEGMENT, body, partitions)


def segment_commit(segment: str, version: int, chunks: int, partitions: PartitionCount) -> NewRecord:
    """Makes a version of a segment count, in place of those before."""
    return _record(SEGMENTS, [segment, "commit"], SEGMENT, SegmentRecord(segment, version, chunks=chunks), partitions)
