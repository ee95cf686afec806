"""The audit as it is read back: out of the log, out of the archive, or one part here and one there."""

from datetime import timedelta
from pathlib import Path

from connectors.archive.forms import RAW, raw_table
from connectors.archive.manifest import archived_up_to
from connectors.archive.parquet import ArchiveWriter
from connectors.archive.records import TopicRecords
from connectors.audit import ActQuery, audit_record, newest_acts
from connectors.log.embedded.log import EmbeddedLog
from connectors.log.interface import TopicSpec
from connectors.log.read_to_ends import stored_records
from connectors.paging import Listed
from state.model.audit import AuditRecord
from state.model.durations import HOUR_MS
from state.model.topics import AUDIT

DAY_MS = 24 * HOUR_MS


def act(number: int) -> AuditRecord:
    user = "ann" if number % 2 else "bob"
    return AuditRecord(at=number, by=f"person {number % 3}", role="support", act="history", about={"user": user})


def test_acts_that_the_log_dropped_come_from_the_archive(tmp_path: Path) -> None:
    now_ms = DAY_MS
    log = EmbeddedLog(tmp_path, clock=lambda: now_ms)
    log.ensure_topics([TopicSpec(AUDIT, 1, retention_ms=DAY_MS)])
    archive = tmp_path / "archive"
    log.append([audit_record(act(number)) for number in range(5_000)])
    copied = list(stored_records(log, {(AUDIT, 0): 0}))
    ArchiveWriter(archive / AUDIT / "0", None, RAW).write(raw_table(copied), 5_000)
    now_ms = 4 * DAY_MS
    log.append([audit_record(act(number)) for number in range(5_000, 5_010)])
    log.maintain(now_ms, archived_up_to(archive), timedelta())
    assert log.begin_offset(AUDIT, 0) == 5_000
    records = TopicRecords(AUDIT, archive=archive, log=log)
    assert [
        found.record.at for found in newest_acts(records, ActQuery(), 5_010, give_up=timedelta(minutes=1)).found
    ] == list(range(5_009, -1, -1))
    both = newest_acts(records, ActQuery(before=5_002), 4)
    assert [found.offset for found in both.found] == [5_001, 5_000, 4_999, 4_998]
    mine = newest_acts(records, ActQuery(by="person 1", user="ann"), 3, give_up=timedelta(minutes=1))
    assert mine.onward == (4_993,)
    assert [found.record.at for found in mine.found] == [5_005, 4_999, 4_993]
    assert newest_acts(records, ActQuery(user="eve"), 3, give_up=timedelta(minutes=1)) == Listed([], None)
    late = newest_acts(records, ActQuery(user="eve"), 3, give_up=timedelta())
    assert late == Listed([], (3_010,), DAY_MS), "it says how far it looked, and where to go on"
    assert newest_acts(records, ActQuery(user="eve", before=1_000), 3, give_up=timedelta()).onward is None
    log.close()


def test_acts_are_found_by_what_they_did_and_about_what_however_that_is_spelt(tmp_path: Path) -> None:
    log = EmbeddedLog(tmp_path, clock=lambda: DAY_MS)
    log.ensure_topics([TopicSpec(AUDIT, 1, retention_ms=DAY_MS)])
    about = {"type": 'café "noir"', "locale": "pt"}
    published = AuditRecord(at=1, by="ann", role="marketing", act="template", about=about)
    log.append([audit_record(each) for each in (published, act(2), act(3))])
    records = TopicRecords(AUDIT, archive=tmp_path / "archive", log=log)
    wanted = ActQuery(done="template", about=tuple(about.items()))
    assert [each.record for each in newest_acts(records, wanted, 5).found] == [published]
    assert newest_acts(records, wanted._replace(about=(("type", "cafe"),)), 5).found == []
