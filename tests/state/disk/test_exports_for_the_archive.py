"""Exports that an archive needs are kept, far apart: any time in it can be decided again from one of them."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from itertools import pairwise
from pathlib import Path

from state.disk.exports import ExportedOffset, ExportSource, list_exports, prune_exports, write_export
from state.disk.rocksdb import open_database

HOUR_MS = 3_600_000
LOG_HOURS, ARCHIVE_HOURS = 24 * 7, 24 * 40


def oldest(offset: int, _topic: str, _group: int) -> int:
    return max(0, offset)


def test_one_a_week_is_kept_as_far_back_as_the_archive_goes(tmp_path: Path) -> None:
    database = open_database(tmp_path / "db", b"test 1")
    now = 0

    def offsets(_view: object) -> list[ExportedOffset]:
        return [ExportedOffset("work", 7, now)]

    source = ExportSource("decide/0", "group", database.iter, offsets)
    for hour in range(6, 24 * 60, 6):
        now = hour
        write_export(tmp_path / "exports", source, at=hour * HOUR_MS)
        prune_exports(
            tmp_path / "exports", "decide/0", keep=2, spacing_ms=24 * HOUR_MS,
            begin=partial(oldest, hour - LOG_HOURS),
            archive_spacing_ms=timedelta(days=7) // timedelta(milliseconds=1),
            archive_begin=partial(oldest, hour - ARCHIVE_HOURS),
        )  # fmt: skip
        kept = [each.manifest.created_at // HOUR_MS for each in list_exports(tmp_path / "exports", "decide/0")]
        assert kept[0] == hour
        assert all(young - old <= 24 * 7 for young, old in pairwise(kept))
        assert all(young - old <= 24 for young, old in pairwise(kept) if old > hour - LOG_HOURS)
        assert kept[-1] <= max(hour - ARCHIVE_HOURS, 6), "a time in the archive has no state before it"
        assert len(kept) <= 2 + 2 * 8 + 2 * 6 + 1
    database.close()
