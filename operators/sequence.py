"""From accepted records to the decision log (DESIGN 2.2): one owner, log order, whatever is read twice written once.

A record's source is (topic, partition, offset); its slices are told apart by key group. `SequenceState` is what a
restart needs; what was appended beyond it is taken over from the log itself (`take_over`).
"""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from operators.dedup import original_of, remember
from operators.plan import plan_event, plan_follow, plan_kill, plan_segment
from state.model.errors import UNDECODABLE, MalformedRecordError
from state.model.event import Event, Exact
from state.model.keys import key_group
from state.model.registry import Registry
from state.model.work import (
    AnyWork,
    EndpointWork,
    EventWork,
    FollowWork,
    PreferenceWork,
    ProfileWork,
    ReadWork,
    SliceWork,
    TickWork,
    VersionsWork,
    Work,
    encode_work,
)
from state.model.zones import tzdata_version
from state.sequencing import SequenceState

Place = tuple[str, int, int]
RULES_VERSION = 1


class _Preference(msgspec.Struct):
    user: str
    doc: dict[str, object]


class _Endpoint(msgspec.Struct):
    user: str
    channel: str
    id: str
    platform: str | None = None
    address: str | None = None
    state: str = "active"
    registered_at: Exact = 0
    gone_at: Exact | None = None


class _Profile(msgspec.Struct):
    user: str
    locale: str | None = None
    name: str | None = None


class _Follow(msgspec.Struct):
    followee: str
    follower: str
    on: bool = True


class _Segment(msgspec.Struct):
    segment: str
    version: str | int
    users: list[str] | None = None
    chunk: int | None = None
    chunks: int | None = None


class _Read(msgspec.Struct):
    user: str
    up_to: Exact | None = None


class _Kill(msgspec.Struct):
    scope: str
    value: str | None = None
    on: bool = True
    reason: str | None = None


_DECODERS: dict[str, msgspec.json.Decoder[Any]] = {
    "preferences": msgspec.json.Decoder(_Preference),
    "endpoints": msgspec.json.Decoder(_Endpoint),
    "profiles": msgspec.json.Decoder(_Profile),
    "follows": msgspec.json.Decoder(_Follow),
    "segments": msgspec.json.Decoder(_Segment),
    "reads": msgspec.json.Decoder(_Read),
    "control": msgspec.json.Decoder(_Kill),
}
SETTING_TOPICS = tuple(_DECODERS)


def sequence_event(state: SequenceState, registry: Registry, event: Event, source: Place) -> list[Work]:
    """The event's records, or none if it repeats another one.

    An event taken over from the log is planned again, by the plan that its slices carry, so that slices that a crash
    cut off still come; those that are there already are left out.
    """
    stamp = state.stamp
    if source not in state.taken_over_places:
        state.marks.expire(stamp)
        if original_of(state.marks, event, stamp) is not None:
            return []
        remember(state.marks, registry, event, stamp)
    planned = plan_event(state.placement, event, stamp, state.taken_over_plans.get(source))
    return list(_unwritten(state, planned, source))


def sequence_setting(state: SequenceState, topic: str, value: bytes, source: Place) -> list[Work]:
    """What a record of a topic of settings becomes.

    :raises MalformedRecordError: naming the field that does not fit.
    """
    if not value:  # a tombstone of a compacted topic
        return []
    try:
        body = _DECODERS[topic].decode(value)
    except UNDECODABLE as error:
        raise MalformedRecordError(f"{topic}: {error}") from error
    return list(_unwritten(state, _plan_setting(state, body), source))


def _plan_setting(state: SequenceState, body: msgspec.Struct) -> Iterator[Work]:
    stamp = state.stamp
    match body:
        case _Preference():
            yield PreferenceWork(g=key_group(body.user), stamp=stamp, user=body.user, doc=body.doc)
        case _Endpoint():
            yield EndpointWork(g=key_group(body.user), stamp=stamp, **msgspec.structs.asdict(body))
        case _Profile():
            yield ProfileWork(g=key_group(body.user), stamp=stamp, user=body.user, locale=body.locale, name=body.name)
        case _Follow():
            group = key_group(body.follower)
            follow = FollowWork(g=group, stamp=stamp, follower=body.follower, followee=body.followee, on=body.on)
            yield from plan_follow(state.placement, follow)
        case _Read():
            up_to = stamp if body.up_to is None else body.up_to
            yield ReadWork(g=key_group(body.user), stamp=stamp, user=body.user, up_to=up_to)
        case _Kill():
            yield from plan_kill(body.scope, body.value, stamp, on=body.on)
        case _Segment():
            yield from _plan_segment(state, body)


def _plan_segment(state: SequenceState, body: _Segment) -> Iterator[Work]:
    """Chunks wait for their commit record, which makes the version count."""
    if body.chunks is None:
        state.segment_chunks.add(body.segment, str(body.version), body.chunk or 0, body.users or [])
        return
    users = state.segment_chunks.take(body.segment, str(body.version))
    yield from plan_segment(state.placement, body.segment, users, state.stamp)


def _unwritten(state: SequenceState, records: Iterator[Work], source: Place) -> Iterator[Work]:
    for record in records:
        slice_number = -1 if record.g is None else record.g
        full = (*source, slice_number)
        if record.g is None or full not in state.taken_over:
            yield msgspec.structs.replace(record, src=full)


def unwritten_partitions(state: SequenceState, record: Work, partitions: int) -> list[int]:
    """Where a record for every group is missing: a crash may have cut it off between two partitions."""
    if record.src is None:
        return list(range(partitions))
    source = record.src[:3]
    return [partition for partition in range(partitions) if (*source, -1 - partition) not in state.taken_over]


def tick(state: SequenceState) -> TickWork:
    """Moves the clocks of all groups of a partition."""
    return TickWork(stamp=state.stamp)


def versions_in_force(registry: Registry, tables: Mapping[str, Mapping[str, Any]]) -> VersionsWork:
    """The record that says by which versions is decided from there on; its stamp is left 0."""
    types = {name: dict(table) for name, table in tables.items()}
    return VersionsWork(stamp=0, registry=registry.version, tzdata=tzdata_version(), rules=RULES_VERSION, types=types)


def announce_versions(state: SequenceState, versions: VersionsWork) -> list[Work]:
    """The record, if other versions were in force before."""
    content = encode_work(versions)
    if content == state.versions:
        return []
    state.versions = content
    return [msgspec.structs.replace(versions, stamp=state.stamp)]


def take_over(state: SequenceState, registry: Registry, record: AnyWork, partition: int) -> None:
    """Honour a record that is in a partition of the decision log beyond the checkpoint (DESIGN 2.2)."""
    state.stamp = max(state.stamp, record.stamp)
    if isinstance(record, VersionsWork):
        state.taken_over_versions[partition] = encode_work(msgspec.structs.replace(record, stamp=0))
    if record.src is None:
        return
    state.taken_over.add(record.src if record.g is not None else (*record.src[:3], -1 - partition))
    state.taken_over_places.add(record.src[:3])
    if isinstance(record, SliceWork) and record.plan:
        state.taken_over_plans[record.src[:3]] = int(record.plan, 16)
    if isinstance(record, EventWork | SliceWork):
        remember(state.marks, registry, record.event, record.stamp)


def settle_versions(state: SequenceState, partitions: int) -> None:
    """After everything was taken over: versions are in force where all partitions have them, else they come again."""
    found = state.taken_over_versions
    if found:
        everywhere = len(found) == partitions and len(set(found.values())) == 1
        state.versions = found[0] if everywhere else b""
        state.taken_over_versions = {}
