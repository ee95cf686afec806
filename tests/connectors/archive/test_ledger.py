"""Archive of the ledger: parts, manifest, hours, tail, and the track flow killed in the middle."""

import random
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from helpers.programs import drain, running
from helpers.records import PARTITIONS, counts, decision, delivery, emission, open_embedded, record
from helpers.waiting import wait_for

from connectors.archive.forms import LEDGER
from connectors.archive.ledger import LedgerQuery, LedgerReader
from connectors.archive.manifest import read_manifest
from connectors.archive.parquet import ArchiveOptions, ArchiveWriter
from connectors.log.embedded.log import EmbeddedLog
from connectors.log.interface import NewRecord
from connectors.outcomes import outcome_record
from flows.process.directories import LEDGER as DIRECTORY
from operators.plan import plan_event
from state.ledger import SCHEMA, packed_ledger
from state.model.durations import HOUR_MS
from state.model.errors import StateDamagedError
from state.model.event import RawEvent, resolve
from state.model.keys import key_group, partition_of_group
from state.model.ledger import EventCounts
from state.model.registry import load_registry
from state.model.work import encode_work
from state.sequence.placement import Placement

RUN = """
import sys
from datetime import timedelta
from pathlib import Path
from bytewax.testing import cluster_main
from flows.process.drain import install_drain
from flows.steps.track import ArchivedTopic, PartOptions
from flows.track import TrackFlowOptions, wire
from helpers.records import now_ms, open_embedded
data = Path(sys.argv[1])
parts = PartOptions(interval=timedelta(milliseconds=100), records_max=400)
topics = tuple(ArchivedTopic(name, parts) for name in ("ledger", "work", "dead_letters"))
options = TrackFlowOptions(budget=300, tick=timedelta(milliseconds=100), topics=topics)
flow = wire(lambda: open_embedded(data), data, drain=install_drain(), now_ms=now_ms, options=options)
print("ready", flush=True)
cluster_main(flow, [], 0, worker_count_per_proc=1, epoch_interval=timedelta(milliseconds=50))
"""
HOUR = 500_000 * HOUR_MS


@pytest.fixture
def log(tmp_path: Path) -> Iterator[EmbeddedLog]:
    opened = open_embedded(tmp_path)
    yield opened
    opened.close()


def archive(tmp_path: Path, partition: int, options: ArchiveOptions | None = None) -> ArchiveWriter:
    return ArchiveWriter(tmp_path / DIRECTORY / str(partition), options)


def write(log: EmbeddedLog, tmp_path: Path, *, log_ms: int | None = None) -> None:
    """What the flow does: everything behind the manifests becomes a part of each partition."""
    for partition in range(PARTITIONS):
        writer = archive(tmp_path, partition)
        reader = log.reader({("ledger", partition): writer.offset})
        records = reader.poll(100_000, timedelta())
        reader.close()
        if log_ms is not None:
            records = [each._replace(timestamp_ms=log_ms) for each in records]
        if records:
            writer.write(packed_ledger(records)[0], records[-1].offset + 1)


def outcomes(reader: LedgerReader, query: LedgerQuery) -> list[tuple[str, str]]:
    return [(each.get("event_id") or each["device"], each["outcome"]) for each in reader.records(query)]


def test_what_text_messages_of_an_event_cost_is_summed_over_archive_and_log(log: EmbeddedLog, tmp_path: Path) -> None:
    reader = LedgerReader(tmp_path / DIRECTORY, log)
    log.append([decision("mia", "e1", "EMITTED", ("t", 1, 0), emission_id="em1")])
    log.append([delivery("mia", "em1", "number", "DELIVERED", 9300, channel="sms", segments=3, cost=0.21)])
    write(log, tmp_path)
    log.append([delivery("mia", "em1", "other", "DELIVERED", 9301, channel="sms", segments=1, cost=0.07)])
    log.append([delivery("mia", "em1", "phone", "DELIVERED", 9302)])
    counts = reader.progress("e1")
    assert (counts.segments, counts.cost) == (4, 0.28)


def heard(log: EmbeddedLog, outcome: str, user: str, channel: str, **fields: str) -> None:
    log.append([outcome_record(outcome, user=user, channel=channel, at=9500, partitions=log.partitions, **fields)])


def test_a_campaign_is_counted_by_the_variants_of_its_text(log: EmbeddedLog, tmp_path: Path) -> None:
    """A notification counts once: with two devices, opened twice. What was heard names an event or a notification."""
    reader, of_campaign = LedgerReader(tmp_path / DIRECTORY, log), {"object": "may", "sender_id": "campaigns"}
    said = {"mia": "a", "leo": "a", "eve": "b", "max": None}
    for number, (user, variant) in enumerate(said.items()):
        more = {} if variant is None else {"variant": variant}
        log.append([decision(user, "c1", "EMITTED", ("d", 1, number), emission_id=f"em_{user}", **of_campaign)])
        log.append([delivery(user, f"em_{user}", device, "DELIVERED", 9300, **more) for device in ("phone", "pad")])
    log.append([delivery("leo", "em_leo", "old", "DEAD_LETTER", 9400, variant="a")])
    write(log, tmp_path)
    told = [("mia", "push", "opened"), ("mia", "in_app", "opened"), ("mia", "push", "clicked")]
    for user, channel, outcome in (*told, ("eve", "push", "opened"), ("max", "push", "opened")):
        heard(log, outcome, user, channel, event_id="c1")
        heard(log, outcome, user, channel, event_id="another")
    for device in ("phone", "pad"):
        heard(log, "delivered", "leo", "push", emission_id="em_leo", device=device)
    counts = reader.campaign("may", "campaigns")
    assert counts.variants == {
        "a": {"sent": 2, "delivered": 1, "opened": 1, "clicked": 1},
        "b": {"sent": 1, "opened": 1},
    }
    assert counts.heard == {"opened": 4, "clicked": 1, "delivered": 2}
    assert reader.campaign("june", "campaigns").variants == {}
    log.append([decision("eve", "t1", "EMITTED", ("d", 2, 0), emission_id="em_t", sender_id="tests")])
    log.append([delivery("eve", "em_t", "phone", "DELIVERED", 9300, variant="b")])
    assert reader.variants("like", 9300, "tests") == counts.variants, "of a type it is the same, tests left out"
    assert reader.variants("like", 9401, "tests") == reader.variants("mention", 0, "tests") == {}


def test_a_query_reads_parts_and_tail_and_the_last_state_holds(log: EmbeddedLog, tmp_path: Path) -> None:
    reader = LedgerReader(tmp_path / DIRECTORY, log)
    assert reader.records(LedgerQuery()) == []
    log.append([decision("mia", "e1", "HELD", ("d", 1, 0), until=5), decision("leo", "e1", "INBOX", ("d", 1, 1))])
    assert outcomes(reader, LedgerQuery(user="mia")) == [("e1", "HELD")]
    write(log, tmp_path)
    assert outcomes(reader, LedgerQuery(user="mia")) == [("e1", "HELD")]
    log.append([decision("mia", "e1", "EMITTED", ("d", 9, 0), emission_id="em1")])
    log.append([emission("mia", "em1", "e1", 1, ("d", 9, 1)), delivery("mia", "em1", "phone", "DELIVERED", 9100)])
    log.append([delivery("mia", "other", "phone", "UNKNOWN", 9200)])
    assert outcomes(reader, LedgerQuery(event="e1")) == [("e1", "INBOX"), ("e1", "EMITTED"), ("phone", "DELIVERED")]
    told = EventCounts(
        {"EMITTED": 1, "INBOX": 1}, 1, {"DELIVERED": 1}, groups=2,
        why={("EMITTED", None): 1, ("INBOX", None): 1}, why_ended={("DELIVERED", None): 1},
    )  # fmt: skip
    assert reader.progress("e1") == told
    assert reader.progress("e2") == EventCounts()
    write(log, tmp_path)
    assert outcomes(reader, LedgerQuery(event="e1", user="mia")) == [("e1", "EMITTED"), ("phone", "DELIVERED")]
    decisions = [each for each in reader.history("e1", "mia") if each.record["kind"] == "decision"]
    assert [each.record["outcome"] for each in decisions] == ["HELD", "EMITTED"]
    assert [each[1:] for each in decisions] == [("d", 1, 1), ("d", 9, 9)]


@pytest.mark.parametrize("merged", [1, 2_000], ids=["few", "many"])
def test_progress_counts_what_an_event_led_to(log: EmbeddedLog, tmp_path: Path, merged: int) -> None:
    """Also where another event began the emission; beyond a bound only what the event itself began is looked for."""
    reader = LedgerReader(tmp_path / DIRECTORY, log)
    log.append([decision(f"u{n}", "e2", "MERGED", ("d", 1, n), emission_id=f"em{n}") for n in range(merged)])
    log.append([emission("u0", "em0", "e1", 2, ("d", 1, 0))])
    log.append([decision("mia", "e2", "EMITTED", ("d", 1, 0), emission_id="own")])
    log.append([emission("mia", "own", "e2", 3, ("d", 1, 1)), delivery("mia", "own", "phone", "FELL_BACK", 9000)])
    log.append([delivery("u0", "em0", "phone", "DELIVERED", 9100), delivery("u0", "other", "x", "DELIVERED", 9100)])
    counts = reader.progress("e2")
    assert counts.outcomes == {"MERGED": merged, "EMITTED": 1}
    if merged == 1:
        assert (counts.handed_out, counts.deliveries) == (5, {"DELIVERED": 1, "FELL_BACK": 1})
    else:
        assert counts.handed_out == 3


def test_progress_says_in_how_many_of_the_planned_groups_a_fan_out_is_decided(log: EmbeddedLog, tmp_path: Path) -> None:
    reader = LedgerReader(tmp_path / DIRECTORY, log)
    users = [next(name for name in map("u{}".format, range(9_000)) if key_group(name) == group) for group in (7, 9)]
    raw = RawEvent(event_id="e1", type="new_post", actor="a", fan_out_type="FOLLOWERS")
    event = resolve(raw, load_registry(), ingested_at=5)
    works = [*plan_event(placed([7, 9, 11]), event, 5)]
    partition = partition_of_group(7, PARTITIONS)
    log.append([NewRecord("work", partition, b"7", encode_work(work)) for work in works])
    assert (reader.progress("e1").groups, reader.progress("e1").planned) == (0, None)
    for done, user in enumerate(users, start=1):
        log.append([decision(user, "e1", "INBOX", ("d", done - 1, 0))])
        assert (reader.progress("e1").groups, reader.progress("e1").planned) == (done, 3)
    log.append([decision(users[0], "e2", "INBOX", ("d", 2, 0)), decision(users[1], "e3", "INBOX", ("d", 99, 0))])
    assert reader.progress("e2").planned is None, "that is another event's slice"
    assert reader.progress("e3").planned is None, "the record is not there"


def placed(groups: list[int]) -> Placement:
    placement = Placement()
    for group in groups:
        placement.followees.add("a", group)
    return placement


def test_times_look_at_the_last_state_only(log: EmbeddedLog, tmp_path: Path) -> None:
    reader = LedgerReader(tmp_path / DIRECTORY, log)
    log.append([decision("mia", "e1", "HELD", ("d", 1, 0)), decision("mia", "e2", "INBOX", ("d", 3, 0))])
    write(log, tmp_path)
    log.append([decision("mia", "e1", "INBOX", ("d", 8, 0))])
    assert outcomes(reader, LedgerQuery(to_ms=4000)) == [("e2", "INBOX")]
    assert outcomes(reader, LedgerQuery(from_ms=3001)) == [("e1", "INBOX")]
    assert outcomes(reader, LedgerQuery(from_ms=3000, to_ms=8000)) == [("e2", "INBOX")]
    assert outcomes(reader, LedgerQuery(from_ms=8000, to_ms=8001)) == [("e1", "INBOX")]


def test_an_ended_hour_is_merged_once_and_slow_readers_keep_their_files(log: EmbeddedLog, tmp_path: Path) -> None:
    partition = partition_of_group(key_group("mia"), PARTITIONS)
    for number in range(5):
        log.append(
            [decision("mia", "e1", "HELD", ("d", number, 0)), decision("mia", f"x{number}", "INBOX", ("d", number, 1))]
        )
        write(log, tmp_path, log_ms=HOUR + number)
    options = ArchiveOptions(settle=timedelta(minutes=1), readers=timedelta(minutes=5))
    writer, reader = archive(tmp_path, partition, options), LedgerReader(tmp_path / DIRECTORY, log)
    before = reader.records(LedgerQuery())
    files = {part.file for part in writer.manifest.parts}
    assert len(files) == 5
    assert writer.merge_hours(HOUR + HOUR_MS + 59_999) == 0
    assert writer.merge_hours(HOUR + HOUR_MS + 60_000) == 1
    [merged] = writer.manifest.parts
    assert (merged.rows, merged.compacted) == (6, True)
    assert writer.merge_hours(HOUR + HOUR_MS + 60_001) == 0
    directory = tmp_path / DIRECTORY / str(partition)
    assert all((directory / name).exists() for name in files)
    assert writer.remove_retired(HOUR + HOUR_MS + 60_000 + 299_999) == 0
    assert writer.remove_retired(HOUR + HOUR_MS + 60_000 + 300_000) == 5
    assert {path.name for path in directory.glob("*.parquet")} == {merged.file}
    assert reader.records(LedgerQuery()) == before
    merged_state = reader.everything(["inbox"]).filter(pc.field("event_id") == "e1").to_pylist()[0]
    assert (merged_state["first_offset"], merged_state["seq_offset"]) == (0, 4)


def test_parts_of_a_release_with_fewer_columns_are_merged_with_younger_ones(log: EmbeddedLog, tmp_path: Path) -> None:
    partition = partition_of_group(key_group("mia"), PARTITIONS)
    log.append([decision("mia", "e1", "HELD", ("d", 1, 0))])
    write(log, tmp_path, log_ms=HOUR)
    [old] = (tmp_path / DIRECTORY / str(partition)).glob("*.parquet")
    older = old.with_name("0000000000.parquet")  # without a digest of its end, too
    pq.write_table(pq.read_table(old).drop_columns(["question", "variant"]), older)
    manifest = old.with_name("manifest.json")
    content, _, _ = manifest.read_text().replace(old.name, older.name).partition(',"digest"')
    manifest.write_text(content + "}")
    log.append([decision("mia", "e1", "INBOX", ("d", 2, 0))])
    write(log, tmp_path, log_ms=HOUR)
    assert archive(tmp_path, partition).merge_hours(HOUR + 2 * HOUR_MS) == 1
    [row] = LedgerReader(tmp_path / DIRECTORY, log).records(LedgerQuery())
    assert (row["event_id"], row["outcome"]) == ("e1", "INBOX")


def test_a_big_hour_is_merged_piece_by_piece(log: EmbeddedLog, tmp_path: Path) -> None:
    users = [f"u{n}" for n in range(300)]
    for outcome, offset in (("HELD", 1), ("INBOX", 2)):
        log.append([decision(user, "e1", outcome, ("d", offset, 0)) for user in users])
        write(log, tmp_path, log_ms=HOUR + offset)
    reader = LedgerReader(tmp_path / DIRECTORY, log)
    before = reader.records(LedgerQuery())
    writer = archive(tmp_path, 0, ArchiveOptions(merge_rows_max=40))
    assert writer.merge_hours(HOUR + 2 * HOUR_MS) == 1
    parts = writer.manifest.parts
    assert len(parts) > 2
    assert all(part.compacted and part.rows <= 40 for part in parts)
    assert reader.records(LedgerQuery()) == before
    assert len(before) == 300
    assert writer.merge_hours(HOUR + 2 * HOUR_MS) == 0


def batch(outcomes: list[tuple[str, str]], place: int) -> NewRecord:
    """Decisions of an event as decide writes a fan-out to key group 0, texts as dictionaries."""
    rows = [orjson.loads(decision(user, "e1", outcome, ("d", place, 0)).value) for user, outcome in outcomes]
    table = pa.Table.from_pylist(rows)
    texts = [name for name in table.column_names if table[name].type == pa.string() and name != "user"]
    for name in texts:
        table = table.set_column(table.column_names.index(name), name, table[name].dictionary_encode())
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    headers = (("schema", b"decision/1+arrow"), ("seq", b"d:0:%d:1048576" % place))
    return NewRecord("ledger", 0, b"0", sink.getvalue().to_pybytes(), headers)


@pytest.mark.parametrize("as_before", [True, False], ids=["parts of an older release", "parts of this one"])
def test_a_merge_drops_batches_that_a_crash_repeated(log: EmbeddedLog, tmp_path: Path, *, as_before: bool) -> None:
    """Many users, so that their texts are no dictionary in Parquet; single records before and after the batches."""
    users = [f"u{n}" for n in range(600)]
    first = batch([(user, "HELD" if n % 3 else "INBOX") for n, user in enumerate(users)], 5)
    log.append([first, first, batch([(user, "EXPIRED") for user in users[::2]], 7), first])
    old = replace(LEDGER, written={}, unfolded=lambda table: table.cast(SCHEMA).sort_by([("user", "ascending")]))
    writer = ArchiveWriter(tmp_path / DIRECTORY / "0", form=old if as_before else LEDGER)
    records = log.reader({("ledger", 0): 0}).poll(10, timedelta())
    for each in records:
        writer.write(packed_ledger([each._replace(timestamp_ms=HOUR)])[0], each.offset + 1)
    reader = LedgerReader(tmp_path / DIRECTORY, log)
    before = reader.records(LedgerQuery())
    assert [each["outcome"] for each in sorted(before, key=lambda row: int(row["user"][1:]))] == [
        "EXPIRED" if n % 2 == 0 else "HELD" if n % 3 else "INBOX" for n in range(600)
    ]
    assert archive(tmp_path, 0).merge_hours(HOUR + 2 * HOUR_MS) == 1
    [merged] = read_manifest(tmp_path / DIRECTORY / "0").parts
    assert merged.rows == 600
    assert reader.records(LedgerQuery()) == before
    states = reader.everything([]).sort_by([("user", "ascending")])
    assert set(states["first_offset"].to_pylist()) == {5}
    assert set(states["first_log_offset"].to_pylist()) == {0}


def test_any_reader_of_parquet_finds_plain_columns(log: EmbeddedLog, tmp_path: Path) -> None:
    writer = ArchiveWriter(tmp_path / DIRECTORY / "0")
    log.append([batch([(f"u{n}", "INBOX") for n in range(600)], 5)])
    writer.write(packed_ledger(log.reader({("ledger", 0): 0}).poll(10, timedelta()))[0], 1)
    [part] = (tmp_path / DIRECTORY / "0").glob("*.parquet")
    assert pq.read_schema(part).equals(SCHEMA)


def test_files_a_crash_left_unnamed_are_removed(log: EmbeddedLog, tmp_path: Path) -> None:
    log.append([decision("mia", "e1", "INBOX", ("d", 1, 0))])
    write(log, tmp_path)
    directory = tmp_path / DIRECTORY / str(partition_of_group(key_group("mia"), PARTITIONS))
    [named] = directory.glob("*.parquet")
    (directory / "0000000001.parquet").write_bytes(b"PAR1 torn")
    (directory / "manifest.json.new").write_bytes(b"{")
    write(log, tmp_path)
    ArchiveWriter(directory)
    assert list(directory.glob("*.parquet")) == [named]
    assert len(LedgerReader(tmp_path / DIRECTORY, log).records(LedgerQuery())) == 1


def test_a_damaged_manifest_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    directory = tmp_path / "0"
    directory.mkdir()
    (directory / "manifest.json").write_bytes(b'{"version":1,"offs')
    with pytest.raises(StateDamagedError, match="put a copy in its place, or move"):
        ArchiveWriter(directory)


def test_the_ledger_is_exact_after_kill_9_in_the_middle_of_a_feed(log: EmbeddedLog, tmp_path: Path) -> None:
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")
    dice = random.Random(seed)
    reader = LedgerReader(tmp_path / DIRECTORY, log)

    def archived() -> int:
        return sum(read_manifest(tmp_path / DIRECTORY / str(partition)).offset for partition in range(PARTITIONS))

    expected: dict[tuple[str, str], str] = {}
    fed = 0
    for turn in range(4):
        batch: list[NewRecord] = []
        for number in range(2000):
            user, event = f"u{number % 70}", f"e{turn}-{number // 2}"
            outcome = "HELD" if number % 2 == 0 else "MERGED"
            expected[event, user] = outcome
            batch.append(decision(user, event, outcome, ("d", fed + number, 0)))
        with running(RUN, str(tmp_path)):
            for first in range(0, len(batch), 250):
                log.append(batch[first : first + 250])
            enough = fed + dice.randrange(len(batch))
            fed += len(batch)
            wait_for(lambda enough=enough: archived() >= enough)
        held = {(each["event_id"], each["user"]): each["outcome"] for each in reader.records(LedgerQuery())}
        assert held == expected
    poison = record("ledger", "decision/1+json", {"kind": "decision"}, group=3, seq=("d", 1, 0))
    log.append([poison])
    with running(RUN, str(tmp_path)) as process:
        wait_for(lambda: archived() == fed + 1)
        drain(process)
    parts = [part for n in range(PARTITIONS) for part in read_manifest(tmp_path / DIRECTORY / str(n)).parts]
    assert sum(part.rows for part in parts) == fed  # nothing was archived twice
    letters = log.reader({("dead_letters", 0): 0})
    assert [orjson.loads(each.value)["stage"] for each in letters.poll(10, timedelta())] == ["track"]
    letters.close()


def test_an_hour_in_which_owners_counted_is_merged_too(log: EmbeddedLog, tmp_path: Path) -> None:
    group = key_group("mia")
    for offset in (5, 9):
        log.append(
            [counts("decide", group, offset, resolved=1), decision("mia", f"e{offset}", "INBOX", ("d", offset, 0))]
        )
        write(log, tmp_path, log_ms=HOUR)
    place = partition_of_group(group, PARTITIONS)
    assert archive(tmp_path, place).merge_hours(HOUR + 2 * HOUR_MS) == 1
    reader = LedgerReader(tmp_path / DIRECTORY, log)
    assert outcomes(reader, LedgerQuery(user="mia")) == [("e5", "INBOX"), ("e9", "INBOX")]
