"""What the gateway appends, as TOPICS.md has it: which topic, partition, key and headers."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import orjson

from connectors.log.interface import Headers, NewRecord
from state.model.event import Event, encode_event
from state.model.keys import key_group, partition_of_group

Partitions = Callable[[str], int]
"""Topic to its number of partitions."""

_EVENT_TOPICS = {"P0": "events.p0", "P1": "events.p1", "P2": "events.p2"}
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
_encoder = msgspec.json.Encoder()
_EVENT_HEADERS: dict[str, Headers] = {
    klass: (("schema", b"event/1+json"), ("lane", klass.lower().encode())) for klass in _EVENT_TOPICS
}


def event_key(event: Event) -> str:
    """What places an event: target if DIRECT, else actor or segment, else (BROADCAST) its own id."""
    placed = {"DIRECT": event.target, "FOLLOWERS": event.actor, "SEGMENT": event.segment}.get(event.fan_out_type)
    return placed or event.event_id


def trace_header(traceparent: str | None) -> Headers:
    """Header `trace` for a well-formed W3C traceparent."""
    if traceparent is None or not _TRACEPARENT.fullmatch(traceparent):
        return ()
    return (("trace", traceparent.encode()),)


def event_records(event: Event, partitions: Partitions, *, kept: bool, trace: Headers = ()) -> list[NewRecord]:
    """The records of one accepted event, for one append.

    A kept event waits in `schedule`. A retraction that is not kept goes there as well as to its lane: it cancels what
    is kept at once, and takes back what was decided.
    """
    value = encode_event(event)
    headers = _EVENT_HEADERS[event.priority] + trace
    records = []
    if not kept:
        topic, key = _EVENT_TOPICS[event.priority], event_key(event)
        records.append(NewRecord(topic, _partition(topic, key, partitions), key.encode(), value, headers))
    if kept or event.retracts:
        records.append(NewRecord("schedule", 0, event.event_id.encode(), value, headers))
    return records


def _partition(topic: str, key: str, partitions: Partitions) -> int:
    return partition_of_group(key_group(key), partitions(topic))


def _record(
    topic: str, partition: int, key: Sequence[str], schema: bytes, body: dict[str, Any], trace: Headers = ()
) -> NewRecord:
    headers: Headers = (("schema", schema), *trace)
    return NewRecord(topic, partition, "\0".join(key).encode(), orjson.dumps(body), headers)


def cancel_record(event_id: str) -> NewRecord:
    """Asks the owner of `schedule` to cancel; it answers with a `released` record."""
    return _record("schedule", 0, [event_id], b"cancel/1+json", {"event_id": event_id})


def preference_record(user: str, document: Any, partitions: Partitions) -> NewRecord:
    """A user's whole preference document."""
    partition = _partition("preferences", user, partitions)
    return _record("preferences", partition, [user], b"preference/1+json", {"user": user, "doc": document})


def profile_record(user: str, profile: dict[str, Any], partitions: Partitions) -> NewRecord:
    """A user's locale and name."""
    body = {"user": user, "locale": profile.get("locale"), "name": profile.get("name")}
    return _record("profiles", _partition("profiles", user, partitions), [user], b"profile/1+json", body)


def endpoint_record(
    user: str, channel: str, endpoint_id: str, endpoint: dict[str, Any], registered_at: int, partitions: Partitions
) -> NewRecord:
    """An address of a user, or with state `invalid` that it is none (any more); the address is then empty."""
    body = {
        "user": user,
        "channel": channel,
        "id": endpoint_id,
        "platform": endpoint.get("platform"),
        "address": endpoint.get("address") or "",
        "state": endpoint.get("state") or "active",
        "registered_at": registered_at,
    }
    partition = _partition("endpoints", user, partitions)
    return _record("endpoints", partition, [user, channel, endpoint_id], b"endpoint/1+json", body)


def follow_record(follow: dict[str, Any], partitions: Partitions) -> NewRecord:
    """That someone follows someone, or no longer."""
    followee, follower = follow["followee"], follow["follower"]
    on = follow.get("on")
    body = {"followee": followee, "follower": follower, "on": True if on is None else on}
    return _record("follows", _partition("follows", followee, partitions), [followee, follower], b"follow/1+json", body)


def read_record(user: str, up_to: int | None, partitions: Partitions) -> NewRecord:
    """That a user read everything up to a time; None: everything."""
    body = {"user": user, "up_to": up_to}
    return _record("reads", _partition("reads", user, partitions), [user], b"read/1+json", body)


def segment_chunk(segment: str, version: int, chunk: int, users: Sequence[str], partitions: Partitions) -> NewRecord:
    """Some members of a segment; they count when the commit record follows."""
    body = {"segment": segment, "version": version, "chunk": chunk, "users": users}
    partition = _partition("segments", segment, partitions)
    return _record("segments", partition, [segment, str(chunk)], b"segment/1+json", body)


def segment_commit(segment: str, version: int, chunks: int, partitions: Partitions) -> NewRecord:
    """Makes a version of a segment count, in place of those before."""
    body = {"segment": segment, "version": version, "chunks": chunks}
    partition = _partition("segments", segment, partitions)
    return _record("segments", partition, [segment, "commit"], b"segment/1+json", body)
