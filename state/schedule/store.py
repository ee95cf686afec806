"""Checkpoint of the kept events in RocksDB.

| key | value |
|---|---|
| `M` | version byte, MessagePack: next offset of `schedule` |
| `K` + number of acceptance u64 big-endian | version byte, the event as in topic `events` |
"""

from pathlib import Path

from rocksdict import WriteBatch

from state.disk.packing import decode_stored_event, encode_stored_event, pack, u64, unpack
from state.disk.rocksdb import open_database, prefixed_rows, stored_row, synced
from state.schedule.kept import KeptEvents

FORMAT = b"carillon schedule 1"


class ScheduleStore:
    """`collect` encodes what changed; `commit` writes it in one batch with one WAL sync."""

    def __init__(self, directory: Path) -> None:
        """:raises StateDamagedError: the directory holds something else or does not open."""
        self._db = open_database(directory, FORMAT)
        self._collected = WriteBatch(raw_mode=True)
        self._keys: dict[str, bytes] = {}
        self._old_keys: list[bytes] = []
        """Rows from before the load; the first `collect` replaces them, in the same write."""

    def load(self) -> KeptEvents:
        """The stored events in the order of acceptance."""
        kept = KeptEvents()
        for _, value in prefixed_rows(self._db, b"K"):
            kept.keep(decode_stored_event(value))
        self._renumber(kept)
        return kept

    def _renumber(self, kept: KeptEvents) -> None:
        """Numbers start again at a load, so the rows are written again too."""
        self._old_keys = [key for key, _ in prefixed_rows(self._db, b"K")]
        kept.changed.update(event.event_id for event in kept.events())

    def next_offset(self) -> int:
        """First offset of `schedule` that the stored state does not include."""
        value = stored_row(self._db, b"M")
        return 0 if value is None else int(unpack(value, "schedule"))

    def collect(self, kept: KeptEvents, next_offset: int) -> None:
        """Encode what changed since the last call."""
        for key in self._old_keys:
            self._collected.delete(key)
        self._old_keys = []
        for event_id in kept.changed:
            before = self._keys.pop(event_id, None)
            if before is not None:
                self._collected.delete(before)
            found = kept.get(event_id)
            if found is not None:
                key = self._keys[event_id] = b"K" + u64(found[0])
                self._collected.put(key, encode_stored_event(found[1]))
        kept.changed.clear()
        self._collected.put(b"M", pack(next_offset))

    def commit(self) -> None:
        """Write what was collected, if anything."""
        if len(self._collected):
            self._db.write(self._collected, write_opt=synced())
            self._collected = WriteBatch(raw_mode=True)

    def close(self) -> None:
        """Close without committing what is collected."""
        self._db.close()
