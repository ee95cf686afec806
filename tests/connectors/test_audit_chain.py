"""The chain of the audit: whatever is done to what was noted is found, with several writers, restarts and kill -9."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest
from helpers.feeding import now_ms
from helpers.waiting import wait_for

from connectors.audit import audit_record
from connectors.audit_chain import HEADER, AuditChain, CheckedAudit, Link, chain_link, checked_audit
from connectors.log.embedded.log import EmbeddedLog
from connectors.log.interface import Record, TopicSpec
from connectors.log.read_to_ends import stored_records
from state.model.audit import AuditRecord
from state.model.errors import AuditFaultError
from state.model.topics import AUDIT


def act(number: int) -> AuditRecord:
    return AuditRecord(at=number, by=f"person {number % 3}", role="ops", act="history", about={"user": f"u{number}"})


def opened(directory: Path) -> EmbeddedLog:
    log = EmbeddedLog(directory, clock=now_ms)
    log.ensure_topics([TopicSpec(AUDIT, 1)])
    return log


def noted(log: EmbeddedLog) -> list[Record]:
    return list(stored_records(log, {(AUDIT, 0): 0}))


def note(log: EmbeddedLog, chain: AuditChain, acts: range) -> None:
    for number in acts:
        log.append([chain.record(act(number))])


@pytest.fixture
def written(tmp_path: Path) -> list[Record]:
    """Three older records, then acts of three writers, of which two append at once and one starts again and again."""
    log = opened(tmp_path)
    log.append([audit_record(act(number)) for number in range(3)])
    with ThreadPoolExecutor(2) as threads:
        list(threads.map(lambda acts: note(log, AuditChain(log), acts), (range(10), range(10, 20))))
    for number in range(20, 25):
        log.append([AuditChain(log).record(act(number))])
    records = noted(log)
    log.close()
    return records


def test_what_nobody_changed_is_fine(written: list[Record]) -> None:
    found = checked_audit(written)
    assert found == CheckedAudit(28, 3, Link(27, found.last.digest), 26)
    assert chain_link(found.last.text) == found.last
    assert checked_audit(written, found.last) == found
    assert checked_audit([]).acts == 0


def edited(record: Record) -> Record:
    return record._replace(value=record.value.replace(b"user", b"usee"))


def without_link(record: Record) -> Record:
    return record._replace(headers=tuple(each for each in record.headers if each[0] != HEADER))


def faulty(records: Sequence[Record], known: Link | None = None) -> bool:
    try:
        checked_audit(records, known)
    except AuditFaultError:
        return True
    return False


def test_every_change_to_every_place_is_found(written: list[Record]) -> None:
    """Of the newest by who noted the end of the chain."""
    end = checked_audit(written).last
    for place, record in enumerate(written):
        last = place == len(written) - 1
        before, behind = written[:place], written[place + 1 :]
        changed = {
            "edited": [*before, edited(record), *behind],
            "removed": [*before, *behind],
            "key": [*before, record._replace(key=b"eve"), *behind],
            "added": [*before, record._replace(offset=record.offset, value=b"{}"), record, *behind],
        }
        if record.offset >= 3:
            changed["without its link"] = [*before, without_link(record), *behind]
        if not last:
            other = behind[0]._replace(offset=record.offset), record._replace(offset=record.offset + 1)
            changed["moved"] = [*before, *other, *behind[1:]]
        for how, records in changed.items():
            assert faulty(records, end), (how, place)
            assert faulty(records) or place >= len(written) - 2, (how, place)


def test_what_was_cut_off_at_the_end_is_found_by_the_end_that_was_noted(written: list[Record]) -> None:
    end = checked_audit(written).last
    assert not faulty(written[:-5])
    assert faulty(written[:-5], end)
    assert not faulty(written, checked_audit(written[:-5]).last), "what was added since is fine"


@pytest.mark.parametrize("text", ["", "x", "1:", "1:zz", "-1:" + "0" * 63, "01:" + "0" * 64, "27:" + "A" * 64])
def test_what_is_no_link(text: str, written: list[Record]) -> None:
    assert chain_link(text) is None
    wrong = written[10]._replace(headers=(("schema", b"audit/1+json"), (HEADER, text.encode())))
    with pytest.raises(AuditFaultError, match="the act at 10 names no record before it"):
        checked_audit([*written[:10], wrong])


def test_random_edits_of_bytes_are_found(written: list[Record]) -> None:
    end, rng = checked_audit(written).last, random.Random(7)
    for _ in range(500):
        place = rng.randrange(len(written))
        value = bytearray(written[place].value)
        value[rng.randrange(len(value))] ^= 1 << rng.randrange(8)
        assert faulty([*written[:place], written[place]._replace(value=bytes(value)), *written[place + 1 :]], end)


WRITER = """
import sys
from pathlib import Path
import msgspec
sys.path[:0] = sys.argv[3:]
from connectors.audit_chain import AuditChain
from test_audit_chain import act, opened
log = opened(Path(sys.argv[1]))
chain, number = AuditChain(log), 0
while True:
    log.append([chain.record(msgspec.structs.replace(act(number), by=sys.argv[2]))])
    number += 1
"""


def both_wrote(log: EmbeddedLog, begun: int) -> bool:
    written = noted(log)[begun:]
    return len(written) > 40 and {msgspec.json.decode(record.value)["by"] for record in written} == {"ann", "bob"}


def test_processes_that_are_killed_leave_a_chain_that_holds(tmp_path: Path) -> None:
    log = opened(tmp_path)
    here = Path(__file__)
    paths = [str(here.parents[2]), str(here.parents[1]), str(here.parent)]
    for _ in range(3):
        command = [sys.executable, "-c", WRITER, str(tmp_path)]
        writers = [subprocess.Popen([*command, name, *paths]) for name in ("ann", "bob")]
        begun = log.end_offset(AUDIT, 0)
        wait_for(lambda begun=begun: both_wrote(log, begun), what="acts of both")
        for writer in writers:
            writer.send_signal(signal.SIGKILL)
            writer.wait()
    log.append([AuditChain(log).record(act(1))])
    records = noted(log)
    found = checked_audit(records)
    assert found.acts == len(records) > 120
    assert found.sure_to == records[-2].offset
    place = len(records) // 2
    assert faulty([*records[:place], *records[place + 1 :]])
    log.close()
