"""From accepted records to the decision log (DECISIONS, Sequence writes the log): one owner, log order; what is read
twice is written once.

A record's source is (topic, partition, offset); its slices differ in their key group. `SequenceState` is what a restart
needs. What was appended after that state was stored is read from the log itself (`recover_record`).
"""

from collections.abc import Callable, Iterable
from functools import partial
from typing import NamedTuple

import msgspec

from operators.dedup import entries_of, entries_of_latest, keys_of, original_of, remember, retry_entry
from operators.plan import members_by_group, place_follow, place_segment, plan_event, plan_for_nobody, segment_records
from state.model.addresses import Served, forms_version
from state.model.envelope import LogPosition
from state.model.event import Event
from state.model.keys import KEY_GROUPS
from state.model.load import AWAY, UNDER_LOAD
from state.model.registry import Registry, load_registry
from state.model.settings import SETTINGS, SegmentRecord, Setting
from state.model.work import (
    BULK_FROM,
    AnyWork,
    EventWork,
    FollowWork,
    KillWork,
    SliceWork,
    TickWork,
    VersionsWork,
    Work,
    decode_work,
    encode_work,
    work_of,
)
from state.model.zones import tzdata_version
from state.sequence.store import SequenceState

RULES_VERSION = 1


class Sequenced(NamedTuple):
    """The records that an accepted record becomes, and what the state then includes of it.

    The state is as before until `settle`, which does not fail: a record that cannot be sequenced or encoded leaves
    no trace.
    """

    works: list[Work]
    settle: Callable[[], None]


def _nothing() -> None:
    """The state includes the record as it is."""


def sequence_event(
    state: SequenceState, registry: Registry, event: Event, source: LogPosition, accepted_ms: int | None = None
) -> Sequenced:
    """The event's records, at least one, or none if it repeats another one; accepted at that time (None: now).

    An event recovered from the log is planned again, by the plan that its slices carry. Slices that a crash kept from
    the log are written then; those that are in the log are left out.
    """
    stamp, keys = state.stamp, keys_of(event)
    judged_at = _judged_at(state, source, accepted_ms) if state.reread_until else stamp
    if source in state.recovered_sources:
        entries = entries_of_latest(state.repeats, state.recovered_registries.get(source, registry), event, judged_at)
    else:
        if state.repeats.expired_until < stamp:
            _expire_marks(state)
        if original_of(state.repeats, event, judged_at, keys) is not None:
            return Sequenced([], _nothing)
        entries = entries_of(registry, event, stamp, keys)
    planned = list(plan_event(state.placement, event, stamp, state.recovered_plans.get(source)))
    planned = planned or [plan_for_nobody(event, stamp)]
    return Sequenced(_unwritten(state, planned, source), partial(state.repeats.put_all, entries))


def _expire_marks(state: SequenceState) -> None:
    """Not while records are read that may have been judged before: they may need marks of their own time."""
    if not state.reread_until:
        state.repeats.expire(state.stamp)


def _judged_at(state: SequenceState, source: LogPosition, accepted_ms: int | None) -> int:
    """What may be read a second time is a repeat if it was one when it was accepted."""
    reread = source[2] < state.reread_until.get(source[:2], 0)
    return min(state.stamp, accepted_ms) if reread and accepted_ms is not None else state.stamp


def sequence_setting(
    state: SequenceState, topic: str, value: bytes, source: LogPosition, accepted_ms: int | None = None
) -> Sequenced:
    """What a record of a topic of settings becomes, accepted at that time (None: now).

    A setting accepted before `work_since` is only placed: it was written then, and a newer one may have followed, which
    must stay the last.

    :raises MalformedRecordError: naming the field that does not fit.
    """
    if not value:  # a tombstone of a compacted topic
        return Sequenced([], _nothing)
    works, settle = _plan_setting(state, SETTINGS[topic].decode(value))
    if accepted_ms is not None and accepted_ms < state.work_since:
        return Sequenced([], settle)
    return Sequenced(_unwritten(state, works, source), settle)


def sequence_retry(
    state: SequenceState, value: bytes, group: int, source: LogPosition, *, again: str, attempt: str
) -> Sequenced:
    """A record of the decision log that decide had set aside for a group, with a place of its own from here on.

    `again` names the dead letter; the same attempt at it counts once, however often it is asked for.

    :raises MalformedRecordError: naming the field that does not fit.
    """
    work = msgspec.structs.replace(decode_work(value), g=group, stamp=state.stamp, src=None)
    key, entry = retry_entry(again, attempt, state.stamp)
    if source not in state.recovered_sources:
        _expire_marks(state)
        if state.repeats.get(key, state.stamp) is not None:
            return Sequenced([], _nothing)
    return Sequenced(_unwritten(state, [work], source), partial(state.repeats.put, key, entry))


def _plan_setting(state: SequenceState, setting: Setting | SegmentRecord) -> Sequenced:
    if isinstance(setting, SegmentRecord):
        return _plan_segment(state, setting)
    work = work_of(setting, state.stamp)
    settle = partial(place_follow, state.placement, work) if isinstance(work, FollowWork) else _nothing
    return Sequenced([] if work is None else [work], settle)


def _plan_segment(state: SequenceState, body: SegmentRecord) -> Sequenced:
    """Chunks wait for their commit record, which makes the version count.

    Where chunks are missing it does not count: the next upload replaced some (a rebuild reads what compaction left).
    The members that decide has stay, and may be in any group.
    """
    chunks, version = state.segment_chunks, str(body.version)
    if body.chunks is None:
        return Sequenced([], partial(chunks.add, body.segment, version, body.chunk or 0, body.users or []))
    if chunks.count(body.segment, version) < body.chunks:
        return Sequenced([], partial(_place_incomplete, state, body.segment, version))
    members = members_by_group(chunks.users(body.segment, version))
    records = segment_records(state.placement, body.segment, members, state.stamp)

    def settle() -> None:
        chunks.forget(body.segment, version)
        place_segment(state.placement, body.segment, members)

    return Sequenced([*records], settle)


def _place_incomplete(state: SequenceState, segment: str, version: str) -> None:
    state.segment_chunks.forget(segment, version)
    state.placement.segments.replace(segment, range(KEY_GROUPS))


def _unwritten(state: SequenceState, records: Iterable[Work], source: LogPosition) -> list[Work]:
    found: list[Work] = []
    for record in records:
        slice_number = -1 if record.g is None else record.g
        full = (*source, slice_number)
        if record.g is None or full not in state.recovered:
            found.append(msgspec.structs.replace(record, src=full))
    return found


def unwritten_partitions(state: SequenceState, record: Work, partitions: int) -> list[int]:
    """Where a record for every group is missing: a crash may have cut it off between two partitions."""
    if record.src is None:
        return list(range(partitions))
    source = record.src[:3]
    return [partition for partition in range(partitions) if (*source, -1 - partition) not in state.recovered]


def tick(state: SequenceState) -> TickWork:
    """Moves the clocks of all groups of a partition."""
    return TickWork(stamp=state.stamp)


def versions_in_force(registry: Registry, served: Served | None = None) -> VersionsWork:
    """The record that says by which versions is decided from there on; its stamp is left 0."""
    types = {name: dict(table) for name, table in registry.tables.items()}
    versions = VersionsWork(
        stamp=0,
        registry=registry.version,
        tzdata=tzdata_version(),
        rules=RULES_VERSION,
        types=types,
        bulk_from=BULK_FROM,
    )
    if served is None:
        return versions
    reached = {channel: dict(platforms) for channel, platforms in served.items()}
    return msgspec.structs.replace(versions, served=reached, forms=forms_version())


def announce_versions(state: SequenceState, versions: VersionsWork) -> list[Work]:
    """The record, if other versions were in force before."""
    content = encode_work(versions)
    if content == state.versions:
        return []
    state.versions = content
    return [msgspec.structs.replace(versions, stamp=state.stamp)]


def announce_load(state: SequenceState, *, under_load: bool, away: frozenset[str]) -> list[Work]:
    """Where the log says otherwise: the records from which on what is least missed gives way, or does so no more; and
    from which on channels are passed over, or no more.
    """
    changed: list[Work] = []
    if under_load != state.under_load:
        state.under_load = under_load
        changed.append(KillWork(stamp=state.stamp, scope=UNDER_LOAD, on=under_load))
    changed += [
        KillWork(stamp=state.stamp, scope=AWAY, value=place, on=place in away)
        for place in sorted(away | state.away.keys())
        if state.away.get(place, False) is not (place in away)
    ]
    state.away = dict.fromkeys(away, True)
    return changed


def recover_record(
    state: SequenceState, registry: Registry, record: AnyWork, partition: int, again: tuple[str, str] | None = None
) -> None:
    """Honour a record that is in a partition of the decision log beyond the checkpoint (DECISIONS, Sequence writes the
    log).

    `registry` is that in force now; how long an event's marks hold was settled by that in force then. `again` is the
    dead letter and the attempt at it, of a record that was given back.

    :raises ConfigurationError: of versions whose tables this program does not know.
    """
    if isinstance(record, VersionsWork):
        state.registries[partition] = _registry_then(registry, record)
        state.recovered_versions[partition] = encode_work(msgspec.structs.replace(record, stamp=0, ahead=0))
    if isinstance(record, KillWork) and record.scope == UNDER_LOAD:
        state.under_load = None  # the end of the process may have kept it from other partitions
    if isinstance(record, KillWork) and record.scope == AWAY and record.value is not None:
        state.away[record.value] = None  # likewise
    state.stamp = max(state.stamp, record.stamp)
    if record.src is None:
        return
    state.recovered.add(record.src if record.g is not None else (*record.src[:3], -1 - partition))
    state.recovered_sources.add(record.src[:3])
    if again is not None:
        state.repeats.put(*retry_entry(*again, record.stamp))
    elif isinstance(record, EventWork | SliceWork):
        if isinstance(record, SliceWork) and record.plan:
            state.recovered_plans[record.src[:3]] = int(record.plan, 16)
        then = _registry_at(state, registry, partition)
        if then is not registry:
            state.recovered_registries[record.src[:3]] = then
        remember(state.repeats, then, record.event, record.stamp)


def _registry_at(state: SequenceState, registry: Registry, partition: int) -> Registry:
    """In force in a partition where it is read to; before its first versions, that of the checkpoint."""
    if partition not in state.registries:
        before = decode_work(state.versions) if state.versions else None
        state.registries[partition] = _registry_then(registry, before) if isinstance(before, VersionsWork) else registry
    return state.registries[partition]


def _registry_then(registry: Registry, versions: VersionsWork) -> Registry:
    """What the versions say; `registry` itself where repeats count for as long."""
    then = load_registry(versions.types, version=versions.registry, reader=True)  # of repeats alone
    names = {*then.names(), *registry.names()}
    same = all(then.profile(name).repeat_window_ms == registry.profile(name).repeat_window_ms for name in names)
    return registry if same else then


def settle_versions(state: SequenceState, partitions: int) -> None:
    """After everything was recovered: versions are in force where all partitions have them, else they come again."""
    found = state.recovered_versions
    if found:
        everywhere = len(found) == partitions and len(set(found.values())) == 1
        state.versions = found[0] if everywhere else b""
        state.recovered_versions = {}
