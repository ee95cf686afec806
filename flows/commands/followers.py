"""`carillon followers import`: who follows whom, or who the users are, from files of any length into the log.

A file is read twice: first checked as the gateway checks, then written in batches; memory does not grow with it. What
is written counts as if it had been posted at that moment, so that a row written twice does no harm.

After each batch `DIR/imports/<digest>.json` says how far the import is; the digest is that of the file's content, of
what it holds, and of where the log is. So the same command goes on after a crash, with at most one batch written twice,
and an import that is done is not done again. Where the log has lost what the note speaks of, the import begins anew.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
import orjson
import xxhash

from connectors.gateway.distinct import DistinctCount
from connectors.log.interface import Log
from connectors.tables import CHUNK_ROWS, UNREADABLE, Form, TableError, TableRows, read_rows
from flows.commands.import_rows import Refused, RowKind, import_records, judged, plain
from flows.commands.output import Output
from flows.commands.pace import SequencePace
from flows.config.settings import Settings
from state.disk.files import replace_file, replacing
from state.model.errors import UNDECODABLE, CarillonError

FORMS: dict[str, Form] = {
    ".parquet": "parquet", ".csv": "csv", ".ndjson": "ndjson", ".jsonl": "ndjson",
}  # fmt: skip
"""By the end of a file's name."""
_NAMED_MAX = 5
_PIECE = 1 << 20
_APPEND = 500
RATE = 3_000.0
"""Rows a second beside a running system: with more, events wait in decide behind the rows (measured on two busy cores:
0.1 s at the median, and 0.6 s with 10 000).
"""
_AHEAD = 2_000
"""Records that a running sequence may have yet to read: events wait for it, less than a second."""


class ImportRefusedError(CarillonError):
    """A file cannot be imported as it is; nothing of it was written."""


class _Note(msgspec.Struct):
    """How far the import of a file is."""

    rows: int
    """In the file."""
    refused: int
    twice: int
    """Rows about somebody or a pair that another row was about."""
    done: int = 0
    """Rows behind which the log has everything."""
    last: tuple[int, int] | None = None
    """Partition and offset of a record of the last batch."""


@dataclass(frozen=True)
class FollowersImport:
    """Imports files into a log."""

    settings: Settings
    log: Log
    kind: RowKind
    output: Output
    skip_bad: bool = False
    from_begin: bool = False
    rate: float = RATE
    """Rows a second while the system runs."""
    batch_rows: int = CHUNK_ROWS

    def run(self, paths: Sequence[Path]) -> None:
        """Import the files, one after the other; each is checked before any is written.

        :raises ImportRefusedError: one of them is not as it should be; nothing was written.
        """
        with closing(SequencePace(self.log, self.kind.topic, per_s=self.rate)) as pace:
            self._run([_Source(path, FORMS[path.suffix.lower()]) for path in paths], pace)

    def _run(self, files: Sequence[_Source], pace: SequencePace) -> None:
        begun = time.monotonic()
        places = [self._note_path(source) for source in files]
        notes = [
            self._known(place) or self._checked(source, place) for source, place in zip(files, places, strict=True)
        ]
        for source, place, note in zip(files, places, notes, strict=True):
            before = note.done
            self._write(source, place, note, pace)
            self._tell(source, note, before, time.monotonic() - begun, pace.unread)
            begun = time.monotonic()

    def _note_path(self, source: _Source) -> Path:
        settings = self.settings
        where = (self.kind.topic, settings.profile, settings.log.prefix, settings.kafka.bootstrap)
        return settings.data_dir / "imports" / f"{source.digest(repr(where))}.json"

    def _known(self, place: Path) -> _Note | None:
        """What an earlier run noted, unless the log has less than that."""
        if self.from_begin:
            return None
        try:
            note = msgspec.json.decode(place.read_bytes(), type=_Note)
        except (FileNotFoundError, *UNDECODABLE):
            return None
        if note.refused and not self.skip_bad:
            return None
        if note.last is not None and self.log.end_offset(self.kind.topic, note.last[0]) <= note.last[1]:
            return None
        return note

    def _checked(self, source: _Source, place: Path) -> _Note:
        """A note of what is in the file. With `skip_bad`, rows that cannot be stored are in a file beside it."""
        place.parent.mkdir(parents=True, exist_ok=True)
        refused: list[Refused] = []
        with DistinctCount(place.parent) as keys, self._rejected(source, refused) as reject:
            rows, bad = self._look(source, keys, reject)
            good = rows - bad
            note = _Note(rows, bad, good - keys.count())
        if self.skip_bad and not bad:
            source.rejected.unlink()  # empty
        if not rows:
            raise ImportRefusedError(f"{source.path}: has no row; nothing was written")
        if bad and not self.skip_bad:
            raise ImportRefusedError(_refusal(source, rows, bad, refused))
        return note

    def _look(self, source: _Source, keys: DistinctCount, reject: Callable[[Refused], None]) -> tuple[int, int]:
        rows = bad = 0
        width = len(self.kind.needed)
        with self.output.progress(f"checking {source.path.name}", lines=True) as told:
            for chunk in source.chunks(self.kind, self.batch_rows):
                fine, refused = judged(self.kind, chunk)
                for each in refused:
                    reject(each)
                keys.add(*map("\0".join, zip(*fine[:width], strict=True)))
                rows, bad = rows + len(chunk.numbers), bad + len(refused)
                told(rows, 0)
        return rows, bad

    @contextmanager
    def _rejected(self, source: _Source, first: list[Refused]) -> Iterator[Callable[[Refused], None]]:
        """Takes refused rows: into a file beside the source or, where they make the import fail, the first few."""
        if not self.skip_bad:
            yield lambda refused: first.append(refused) if len(first) < _NAMED_MAX else None
            return
        with replacing(source.rejected) as file:
            yield lambda refused: _write_refused(file, refused)

    def _write(self, source: _Source, place: Path, note: _Note, pace: SequencePace) -> None:
        partitions = {self.kind.topic: self.log.partitions(self.kind.topic)}.__getitem__
        with self.output.progress(f"importing {source.path.name}", lines=True) as told:
            seen = 0
            for chunk in source.chunks(self.kind, self.batch_rows) if note.done < note.rows else ():
                seen += len(chunk.numbers)
                if seen <= note.done:
                    continue
                records = import_records(self.kind, chunk, partitions)
                for begin in range(0, len(records), _APPEND):
                    pace.keep(_AHEAD)
                    part = records[begin : begin + _APPEND]
                    note.last = part[-1].partition, pace.append(self.log, part)[-1]
                note.done = seen
                replace_file(place, msgspec.json.encode(note))
                told(seen, note.rows)

    def _tell(self, source: _Source, note: _Note, before: int, seconds: float, unread: int) -> None:
        written, what = note.rows - note.refused, self.kind.topic
        record = {
            "file": str(source.path), "topic": what, "rows": note.rows, "stored": written, "twice": note.twice,
            "refused": note.refused, "done_before": before, "seconds": round(seconds, 3), "unread": unread,
        }  # fmt: skip
        if before == note.rows:
            text = "was imported before; nothing was written (--from-begin imports it again)"
        else:
            text = f"{written - note.twice} {what} stored in {seconds:.1f} s from {note.rows} rows"
            text += f", {note.twice} of them about one named before" if note.twice else ""
            text += f"; the first {before} were there from an earlier run" if before else ""
            text += f"; sequence has {unread} still to read" if unread else ""
        if note.refused:
            text += f"; {note.refused} rows refused, see {source.rejected}"
        self.output.show(record, f"{source.path}: {text}")


@dataclass(frozen=True)
class _Source:
    """A file."""

    path: Path
    form: Form

    @property
    def rejected(self) -> Path:
        """Where its rows go that cannot be stored."""
        return self.path.with_name(f"{self.path.name}.rejected.ndjson")

    @property
    def unit(self) -> str:
        """What its numbers count."""
        return "row" if self.form == "parquet" else "line"

    def digest(self, where: str) -> str:
        """Names the content and what is done with it."""
        digest = xxhash.xxh3_128(where.encode())
        with self.path.open("rb") as file:
            while piece := file.read(_PIECE):
                digest.update(piece)
        return digest.hexdigest()

    def chunks(self, kind: RowKind, most: int) -> Iterator[TableRows]:
        """Its rows, at most so many at a time, with every value in the form in which the gateway would get it.

        :raises ImportRefusedError: it lacks a column, or is none of its form.
        """
        with self.path.open("rb") as file:
            try:
                for rows in read_rows(file, self.form, kind.needed, kind.optional, most=most):
                    columns = zip(kind.columns, rows.columns, strict=True)
                    yield TableRows(rows.numbers, [plain(kind, name, values) for name, values in columns])
            except TableError as error:
                columns_wanted = ", ".join(kind.needed)
                raise ImportRefusedError(
                    f"{self.path}: {error}; nothing was written. It needs {columns_wanted}, and may have "
                    f"{', '.join(kind.optional)}; its name says what it is: {', '.join(FORMS)}"
                ) from error


def _refusal(source: _Source, rows: int, bad: int, first: Sequence[Refused]) -> str:
    named = "; ".join(
        f"{source.unit} {each.number}: {each.error.path or 'the row'} {each.error.problem} ({each.error.remedy})"
        for each in first
    )
    return (
        f"{source.path}: {bad} of {rows} rows cannot be stored; nothing was written. {named}"
        f"{', ...' if bad > len(first) else ''}. Correct them, or leave them out with --skip-bad"
    )


def _write_refused(file: BinaryIO, refused: Refused) -> None:
    error = {"path": refused.error.path, "problem": refused.error.problem, "remedy": refused.error.remedy}
    row = {name: _shown(value) for name, value in refused.values.items()}
    line = {"number": refused.number, **error, "row": row}
    file.write(orjson.dumps(line, default=repr, option=orjson.OPT_APPEND_NEWLINE))


def _shown(value: Any) -> Any:
    """What a value can be shown as: bytes of a CSV that are no UTF-8 by their codes."""
    if value is UNREADABLE:
        return None
    if isinstance(value, str):
        return value.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return value
