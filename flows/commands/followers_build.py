"""`carillon followers build`: topic `followers` once more, derived from `follows` as sequence derives it.

Other programs read `followers`: who follows whom, by follower. Nothing here does; where it was lost or deleted, it is
built again for them. The record of a pair that is newest in `follows` is written last, so what was there before does no
harm. After each batch `DIR/imports/followers-build.json` says how far it is, and the same command goes on there.
Sequence must not run meanwhile: an older record of a pair would be written behind its newest.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from connectors.log.interface import Log, NewRecord, Record
from connectors.log.read_to_ends import stored_batches
from flows.commands.output import Output
from flows.config.settings import Settings
from flows.sequence import DIRECTORY
from flows.steps.sequence.source import follower_record
from state.disk.files import replace_file
from state.disk.lock import StateLock
from state.model.envelope import refuse_other_versions
from state.model.errors import UNDECODABLE, MalformedRecordError
from state.model.settings import FOLLOW
from state.model.topics import FOLLOWERS, FOLLOWS
from state.model.work import FollowWork, work_of

_BATCH = 2_000


class _Built(msgspec.Struct):
    """How far the topic is built."""

    where: str
    """Of which log."""
    ends: dict[int, int] = {}
    """By partition of `follows`, the offset behind what was written."""


@dataclass
class FollowersBuild:
    """Derives one topic of a log from the other."""

    settings: Settings
    log: Log
    output: Output
    batch_rows: int = _BATCH
    refused: int = field(default=0, init=False)
    """Records that are none; sequence made dead letters of them."""

    def run(self) -> None:
        """Build it, or go on where a run before was stopped.

        :raises StateLockedError: sequence runs.
        """
        begun = time.monotonic()
        with StateLock.acquire(self.settings.data_dir / DIRECTORY, "carillon followers build"):
            read, written, before = self._build()
        record = {"topic": FOLLOWERS, "read": read, "written": written, "refused": self.refused, "done_before": before,
                  "seconds": round(time.monotonic() - begun, 3)}  # fmt: skip
        text = f"{FOLLOWERS}: {written} records written from {read} of {FOLLOWS} in {record['seconds']:.1f} s"
        text += f"; {before} were there from an earlier run" if before else ""
        text += f"; {self.refused} are no follows, and were left out" if self.refused else ""
        self.output.show(record, text)

    def _build(self) -> tuple[int, int, int]:
        note, places = self._note(), [(FOLLOWS, partition) for partition in range(self.log.partitions(FOLLOWS))]
        ends, begins = self.log.end_offsets(places), {each: self.log.begin_offset(*each) for each in places}
        start = {each: max(begins[each], note.ends.get(each[1], 0)) for each in places}
        if any(start[each] > ends[each] for each in places):  # the log has lost what the note speaks of
            note.ends, start = {}, begins
        before = sum(start[each] - begins[each] for each in places)
        read = written = 0
        self._place.parent.mkdir(parents=True, exist_ok=True)
        with self.output.progress(f"building {FOLLOWERS}", lines=True) as told:
            for batch in stored_batches(self.log, start, ends, most=self.batch_rows):
                made = self._made(batch)
                if made:
                    self.log.append(made)
                read, written = read + len(batch), written + len(made)
                note.ends |= {record.partition: record.offset + 1 for record in batch}
                replace_file(self._place, msgspec.json.encode(note))
                told(before + read, sum(ends[each] - begins[each] for each in places))
        self._place.unlink(missing_ok=True)
        return read, written, before

    @property
    def _place(self) -> Path:
        return self.settings.data_dir / "imports" / "followers-build.json"

    def _note(self) -> _Built:
        settings = self.settings
        where = repr((settings.profile, settings.log.prefix, settings.kafka.bootstrap))
        try:
            note = msgspec.json.decode(self._place.read_bytes(), type=_Built)
        except (FileNotFoundError, *UNDECODABLE):
            return _Built(where)
        return note if note.where == where else _Built(where)

    def _made(self, batch: Sequence[Record]) -> list[NewRecord]:
        partitions, made = self.log.partitions(FOLLOWERS), list[NewRecord]()
        for record in batch:
            if not record.value:  # a tombstone
                continue
            try:
                refuse_other_versions(record.headers)
                work = work_of(FOLLOW.decode(record.value), record.timestamp_ms)
            except MalformedRecordError:
                self.refused += 1
                continue
            assert isinstance(work, FollowWork)
            made.append(follower_record(work, partitions))
        return made
