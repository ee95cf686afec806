"""Decide's checkpoint in RocksDB: dirty rows of every key group of an epoch in one write batch, one WAL sync
(DECISIONS, State one epoch behind).

`collect` encodes what changed in a group, with the offset of `work` up to which the group is decided; `commit` writes
it. An epoch is committed when its outputs are known to be in the log, which is one epoch later. So state is never ahead
of outputs. After a crash the records beyond the stored offset are decided again, to the same outputs.

That a record is skipped as poison is stored at once, before anything is decided after it, so that deciding it again
skips it again (DECISIONS, One ordered log). Layout of keys and values: `state.decide.codec`. One process opens a
directory at a time (`state.disk.lock`).
"""

import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from rocksdict import Rdict, WriteBatch

from state.decide import codec
from state.decide.audience import Audience
from state.decide.audience_rows import AudienceRows
from state.decide.emitted import EmissionLog
from state.decide.group import GroupState
from state.decide.held_rows import HeldRows
from state.decide.packed_texts import PackedTexts
from state.decide.pending import GivenUp
from state.decide.preferences import PreferenceTable
from state.decide.user_rows import UserRows
from state.disk.packing import VERSION, decode_stored_event, encode_stored_event, u32, u64, unversioned
from state.disk.rocksdb import open_database, prefixed_rows, stored_row, synced
from state.model.channels import ADDED
from state.model.event import Event
from state.model.registry import Registry, load_registry
from state.model.work import BULK_FROM_BEFORE

FORMAT = b"carillon decide 1"


class GroupStore:
    """The checkpoint of the key groups that this process decides."""

    def __init__(self, directory: Path) -> None:
        """Open or create.

        :raises StateDamagedError: the directory holds something else or does not open.
        """
        self._db = open_database(directory, FORMAT)
        self._shared: dict[int, tuple[PreferenceTable, PackedTexts]] = {}
        self._committing = threading.Lock()
        self._collected = WriteBatch(raw_mode=True)
        self._collected_rows = 0
        self._user_rows: dict[int, UserRows] = {}
        self._audience_rows: dict[tuple[int, bytes], AudienceRows] = {}
        self._held_rows: dict[int, HeldRows] = {}
        self._event_uses: dict[int, dict[int, int]] = {}
        self._group_places: dict[tuple[int, bytes], list[int]] = {}
        self._stored_emissions: dict[tuple[bytes, int], int] = {}
        self._oldest_bucket: dict[tuple[bytes, int], int] = {}
        self._skipped: dict[int, dict[int, bytes]] = {}
        self._given_up: dict[int, dict[int, dict[int, GivenUp]]] = {}

    @property
    def database(self) -> Rdict:
        """The database of the committed rows, for exports and for moving groups."""
        return self._db

    def next_offset(self, group: int) -> int:
        """The first offset of `work` that the stored state of the group does not include; 0 for a new one."""
        value = stored_row(self._db, codec.checkpoint_key(b"M", group))
        return 0 if value is None else int(codec.decode_meta(value)[0])

    def registry_tables(self, group: int) -> Mapping[str, Mapping[str, Any]]:
        """The tables of types by which the group was decided last."""
        value = stored_row(self._db, codec.checkpoint_key(b"M", group))
        return {} if value is None else codec.decode_meta(value)[8] or {}

    def load(self, group: int, registry: Registry) -> GroupState:
        """The stored state, or a new one."""
        state = GroupState(registry, *self._of_worker())
        meta = stored_row(self._db, codec.checkpoint_key(b"M", group))
        if meta is not None:
            self._load_meta(state, codec.decode_meta(meta))
            self._users_of(group).load(state.users, self._rows(b"U", group), self._rows(b"D", group))
            self._load_pending(state, group)
            for rows, audience in self._audiences(group, state):
                rows.load(audience, lambda kind: self._rows(kind, group))
            self._fold_audiences(group, state, meta)
        state.emissions = self._load_emissions(b"E", group)
        state.emissions.reserve_rows(len(state.users))
        in_slots = self._load_emissions(b"C", group)
        state.slot_emissions = in_slots if in_slots.next_entry else None
        state.users.changed.clear()
        state.pending.changed.clear()
        if meta is not None and _other_bits(codec.decode_meta(meta)):
            state.users.judge_all()
        return state

    def reload(self, group: int, state: GroupState, registry: Registry) -> GroupState:
        """The state as of the group's last `collect`, in place of one that a failed record may have left half changed.

        Commits what is collected. So it may be called only while a record is applied: what is collected belongs to
        earlier epochs then, and these are complete.
        """
        self.commit()
        for document in state.users.preference[: len(state.users)].tolist():
            state.users.preferences.release(document)
        for stored in [key for key in list(self._group_places) if key[0] == group]:
            del self._group_places[stored]
        return self.load(group, registry)

    def skip(self, group: int, offset: int, letter: bytes) -> None:
        """Keep, durably and at once, that the group skips a record, with the dead letter that says so."""
        self._db.put(codec.checkpoint_key(b"X", group, u64(offset)), VERSION + letter, write_opt=synced())
        self.skipped(group)[offset] = letter

    def skipped(self, group: int) -> dict[int, bytes]:
        """Dead letters of the records that the group skips, by offset in `work`."""
        found = self._skipped.get(group)
        if found is None:
            rows = self._rows(b"X", group)
            found = {int.from_bytes(key[2:], "big"): unversioned(value, "skipped record") for key, value in rows}
            self._skipped[group] = found
        return found

    def give_up(self, group: int, offset: int, number: int, given_up: GivenUp) -> None:
        """Keep, durably and at once, that a group's waiting items end unsent with the record at the offset."""
        key = codec.checkpoint_key(b"Y", group, u64(offset) + u32(number))
        self._db.put(key, codec.encode_given_up(given_up), write_opt=synced())
        self.given_up(group).setdefault(offset, {})[number] = given_up

    def given_up(self, group: int) -> dict[int, dict[int, GivenUp]]:
        """What the group gives up, by offset in `work` and number."""
        found = self._given_up.get(group)
        if found is None:
            found = self._given_up[group] = {}
            for key, value in self._rows(b"Y", group):
                offset, number = int.from_bytes(key[2:10], "big"), int.from_bytes(key[10:], "big")
                found.setdefault(offset, {})[number] = codec.decode_given_up(value)
        return found

    def forget_skips(self) -> None:
        """Read again what is skipped and given up: somebody else wrote rows."""
        self._skipped.clear()
        self._given_up.clear()

    def _of_worker(self) -> tuple[PreferenceTable, PackedTexts]:
        """What the groups of a worker, that is of a thread, share: columns are brought to one group's time, then read.
        By the thread's number, since one that is not Python's own has no lasting `threading.local`.
        """
        return self._shared.setdefault(threading.get_ident(), (PreferenceTable(), PackedTexts()))

    def _rows(self, kind: bytes, group: int) -> Iterator[tuple[bytes, bytes]]:
        return prefixed_rows(self._db, codec.checkpoint_key(kind, group))

    def _load_meta(self, state: GroupState, meta: list) -> None:  # type: ignore[type-arg]  # MessagePack array
        next_offset, state.now, state.pending.next_timer, version, totals, counted, control, switches, tables = meta[:9]
        state.users.served = meta[9] if len(meta) > 9 else None
        state.bulk_from = meta[11] if len(meta) > 11 else BULK_FROM_BEFORE
        state.place = next_offset - 1
        state.totals.resolved, state.totals.emitted, state.totals.inbox_items = totals
        state.counted = tuple(counted)
        state.kills.version = control
        state.kills.active = {(scope, value) for scope, value in switches}
        if tables is not None:
            state.registry, state.registry_tables = load_registry(tables, version=version), tables

    def _users_of(self, group: int) -> UserRows:
        return self._user_rows.setdefault(group, UserRows(group))

    def _held_of(self, group: int) -> HeldRows:
        return self._held_rows.setdefault(group, HeldRows(group))

    def _audiences(self, group: int, state: GroupState) -> list[tuple[AudienceRows, Audience]]:
        return [
            (self._audience_rows.setdefault((group, kind), AudienceRows(kind, group)), audience)
            for kind, audience in ((b"F", state.followers), (b"S", state.segments))
        ]

    def _fold_audiences(self, group: int, state: GroupState, meta: bytes) -> None:
        """At once, what a release without blocks left: else each start would take as long as its did."""
        batch = WriteBatch(raw_mode=True)
        for rows, audience in self._audiences(group, state):
            rows.collect(audience, batch.put, batch.delete)
        if not batch.is_empty():
            batch.put(codec.checkpoint_key(b"M", group), codec.META_BLOCKS_VERSION + meta[1:])
            self._db.write(batch, write_opt=synced())

    def _load_pending(self, state: GroupState, group: int) -> None:
        events: dict[int, Event] = {
            int.from_bytes(key[2:], "big"): decode_stored_event(value) for key, value in self._rows(b"V", group)
        }
        uses = self._event_uses[group] = {}
        for key, value in self._rows(b"G", group):
            loaded = codec.decode_group(value, events)
            state.pending.put(loaded)
            state.pending.schedule(loaded, state.users.ids[loaded.row])
            places = self._group_places[group, key] = [item.place for item in loaded.items]
            for place in places:
                uses[place] = uses.get(place, 0) + 1
        for batch in self._held_of(group).load(self._rows(b"H", group), self._rows(b"h", group), events):
            state.pending.keep(batch)
            uses[batch.wait.place] = uses.get(batch.wait.place, 0) + 1

    def _load_emissions(self, kind: bytes, group: int) -> EmissionLog:
        log = EmissionLog()
        parts = [codec.decode_emissions(value) for _, value in self._rows(kind, group)]
        if parts:
            first = parts[0][0]
            self._oldest_bucket[kind, group] = first // codec.BUCKET_ENTRIES
            log.restore(first, np.concatenate([p[1] for p in parts]), np.concatenate([p[2] for p in parts]))
        self._stored_emissions[kind, group] = log.next_entry
        return log

    def collect(self, group: int, state: GroupState) -> None:
        """Encode what changed since the last call, with the offset it includes."""
        self._users_of(group).collect(state.users, self._put, self._delete)
        self._collect_pending(group, state)
        state.forget_old_emissions()
        self._collect_emissions(b"E", group, state.emissions)
        self._collect_emissions(b"C", group, state.slot_emissions)
        audiences = self._audiences(group, state)
        for rows, audience in audiences:
            rows.collect(audience, self._put, self._delete)
        totals = state.totals
        self._put(
            codec.checkpoint_key(b"M", group),
            codec.encode_meta([
                state.place + 1, state.now, state.pending.next_timer, state.registry.version,
                [totals.resolved, totals.emitted, totals.inbox_items], state.counted, state.kills.version,
                sorted(state.kills.active, key=str), state.registry_tables, *_named_last(state),
            ], batches=bool(state.pending.batches), slots=state.slot_emissions is not None,
                blocks=any(rows.has_blocks for rows, _ in audiences)),
        )  # fmt: skip

    def _put(self, key: bytes, value: bytes) -> None:
        self._collected.put(key, value)
        self._collected_rows += 1

    def _delete(self, key: bytes) -> None:
        self._collected.delete(key)
        self._collected_rows += 1

    def _collect_pending(self, group: int, state: GroupState) -> None:
        uses = self._event_uses.setdefault(group, {})
        touched: dict[int, Event | None] = {}
        for row, key in state.pending.changed:
            stored_key = codec.checkpoint_key(b"G", group, u32(row) + codec.group_digest(key))
            found = state.pending.get(row, key)
            for place in self._group_places.pop((group, stored_key), ()):
                uses[place] -= 1
                touched.setdefault(place, None)
            if found is None:
                self._delete(stored_key)
                continue
            self._put(stored_key, codec.encode_group(found))
            self._group_places[group, stored_key] = [item.place for item in found.items]
            for item in found.items:
                uses[item.place] = uses.get(item.place, 0) + 1
                touched[item.place] = item.event
        state.pending.changed.clear()

        def use(place: int, event: Event | None) -> None:
            uses[place] = uses.get(place, 0) + (-1 if event is None else 1)
            if touched.get(place) is None:
                touched[place] = event

        self._held_of(group).collect(state.pending, self._put, self._delete, use)
        self._collect_events(group, uses, touched)

    def _collect_events(self, group: int, uses: dict[int, int], touched: dict[int, Event | None]) -> None:
        for place, event in touched.items():
            key = codec.checkpoint_key(b"V", group, u64(place))
            if uses.get(place, 0) <= 0:
                uses.pop(place, None)
                self._delete(key)
            elif event is not None:
                self._put(key, encode_stored_event(event))

    def _collect_emissions(self, kind: bytes, group: int, log: EmissionLog | None) -> None:
        """Those of a pool; None: it is gone, and the next one begins at nothing."""
        stored = self._stored_emissions.pop((kind, group), 0)
        size = codec.BUCKET_ENTRIES
        oldest = self._oldest_bucket.pop((kind, group), 0)
        if log is None:
            for bucket in range(oldest, -(-stored // size)):
                self._delete(codec.checkpoint_key(kind, group, u64(bucket)))
            return
        if log.next_entry > stored:
            buckets = range(max(stored, log.first_entry) // size, (log.next_entry - 1) // size + 1)
            begin = max(buckets.start * size, log.first_entry)
            times, rows = log.since(begin)
            for bucket in buckets:
                first = max(bucket * size, begin)
                part = slice(first - begin, (bucket + 1) * size - begin)
                value = codec.encode_emissions(first, times[part], rows[part])
                self._put(codec.checkpoint_key(kind, group, u64(bucket)), value)
        for bucket in range(oldest, log.first_entry // size):
            self._delete(codec.checkpoint_key(kind, group, u64(bucket)))
        self._oldest_bucket[kind, group] = log.first_entry // size
        self._stored_emissions[kind, group] = log.next_entry

    def commit(self) -> None:
        """Write everything collected in one batch with one WAL sync; workers that come together write it once."""
        with self._committing:
            if self._collected_rows:
                batch, self._collected, self._collected_rows = self._collected, WriteBatch(raw_mode=True), 0
                self._db.write(batch, write_opt=synced())

    def close(self) -> None:
        """Close without committing what is collected."""
        self._db.close()


def _named_last(state: GroupState) -> list[Any]:
    """What providers reach, added channels, and from where on columns decide; nothing of what is as ever."""
    served = state.users.served
    if state.bulk_from != BULK_FROM_BEFORE:
        return [served, ADDED, state.bulk_from]
    return [served, ADDED] if ADDED else [] if served is None else [served]


def _other_bits(meta: list[Any]) -> bool:
    """Whether a bit of which channels reach a user meant another channel when the group was stored."""
    return (*(meta[10] if len(meta) > 10 else ()),) != ADDED
