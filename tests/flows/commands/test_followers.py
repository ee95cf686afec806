"""`carillon followers import`: what a file says is in the log, whatever happens in between."""

from __future__ import annotations

import csv
import io
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers.decided import complete
from helpers.flow_bench import PARTITIONS, Bench, calls, decided_in_one_go, steady_clock
from helpers.interrupted_log import InterruptedLog
from helpers.places import ROOT
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from connectors.gateway.records import follow_record, profile_record
from connectors.log import NewRecord
from connectors.log.kafka.log import KafkaLog
from connectors.log.topics import topic_specs
from connectors.tables import TableRows
from flows.cli import app
from flows.commands.followers import FollowersImport
from flows.commands.import_rows import FOLLOWS_ROWS, USERS_ROWS, judged
from flows.commands.output import Output
from flows.config.settings import Settings
from operators.validate import document_errors

DATA = ROOT.parent / "shared" / "data" / "ego_twitter_follows.parquet"
STAR = "zoé"
MANY = 1601


def run(bench: Bench, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["followers", "import", *arguments, "--data", str(bench.directory), "--json"])


def told(result: Result) -> list[dict[str, Any]]:
    assert result.exit_code == 0, (result.output, result.exception)
    lines = [json.loads(line) for line in result.output.splitlines()]
    return [line for line in lines if "file" in line]  # others say how far a slow one is


def written(path: Path, rows: Sequence[dict[str, Any]]) -> str:
    """The rows as a file of the form that its name tells."""
    names = list(rows[0])
    if path.suffix == ".parquet":
        pq.write_table(pa.table({name: [row[name] for row in rows] for name in names}), path, row_group_size=7_000)
    elif path.suffix == ".csv":
        text = io.StringIO()
        writer = csv.DictWriter(text, names)
        writer.writeheader()
        writer.writerows(rows)
        path.write_text(text.getvalue())
    else:
        path.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    return str(path)


def stored(bench: Bench, topic: str = "follows") -> list[NewRecord]:
    return [NewRecord(each.topic, each.partition, each.key, each.value, each.headers) for each in bench.read(topic)]


def follows(bench: Bench, rows: Sequence[dict[str, Any]]) -> list[NewRecord]:
    return [
        follow_record(row["followee"], row["follower"], row.get("on"), bench.log.partitions) for row in rows
    ]  # fmt: skip


@pytest.mark.parametrize("form", ["parquet", "csv", "ndjson"])
def test_rows_are_the_records_of_the_call(bench: Bench, tmp_path: Path, form: str) -> None:
    rows = [{"follower": f"u{number}", "source": 1, "followee": STAR, "on": number % 3 != 0} for number in range(900)]
    (line,) = told(run(bench, written(tmp_path / f"f.{form}", [*rows, *rows[:10]])))
    assert line["rows"] == line["stored"] == 910
    assert (line["twice"], line["refused"], line["topic"]) == (10, 0, "follows")
    assert sorted(stored(bench)) == sorted(follows(bench, [*rows, *rows[:10]]))


@pytest.mark.parametrize("form", ["parquet", "csv", "ndjson"])
def test_users_are_the_records_of_the_call(bench: Bench, tmp_path: Path, form: str) -> None:
    rows: list[dict[str, Any]] = [
        {"user": f"u{number}", "locale": ["de", None][number % 2], "name": "Zoë"} for number in range(900)
    ]
    (line,) = told(run(bench, written(tmp_path / f"f.{form}", rows), "--users"))
    assert (line["stored"], line["topic"]) == (900, "profiles")
    expected = [profile_record(row["user"], row["locale"], row["name"], bench.log.partitions) for row in rows]
    assert sorted(stored(bench, "profiles")) == sorted(expected)


def test_numbers_are_their_digits(bench: Bench, tmp_path: Path) -> None:
    rows = [{"follower": number, "followee": 7, "on": 1} for number in range(5)]
    told(run(bench, written(tmp_path / "f.parquet", rows)))
    assert sorted(stored(bench)) == sorted(follows(bench, [{"follower": str(n), "followee": "7"} for n in range(5)]))


BAD: list[dict[str, Any]] = [
    {"follower": "a", "followee": STAR}, {"follower": "", "followee": STAR}, {"follower": "b"},
    {"follower": "c", "followee": "x\ny"}, {"follower": "e\u0301", "followee": STAR}, {"follower": "d", "followee": 7},
    {"follower": "x" * 257, "followee": STAR}, {"follower": "f", "followee": "g", "on": "maybe"},
    {"follower": "h", "followee": ["i"]}, {"follower": True, "followee": "i"},
]  # fmt: skip


def test_rows_that_are_no_follows_are_refused_and_named(bench: Bench, tmp_path: Path) -> None:
    path = tmp_path / "bad.ndjson"
    written(path, BAD)
    path.write_bytes(path.read_bytes() + b"{\n")
    other = written(tmp_path / "good.ndjson", BAD[:1])
    refused = run(bench, other, str(path))
    assert "bad.ndjson: 9 of 11 rows cannot be stored; nothing was written" in str(refused.exception)
    assert "line 2: follower has 0 characters (send 1 to 256 characters)" in str(refused.exception)
    assert "line 3: followee is missing" in str(refused.exception)
    assert stored(bench) == []
    (line,) = told(run(bench, str(path), "--skip-bad"))
    assert (line["rows"], line["stored"], line["refused"]) == (11, 2, 9)
    assert sorted(stored(bench)) == sorted(
        follows(bench, [BAD[0], {"follower": "d", "followee": "7"}]),
    )  # fmt: skip
    rejected = [json.loads(each) for each in (tmp_path / "bad.ndjson.rejected.ndjson").read_text().splitlines()]
    assert [each["number"] for each in rejected] == [2, 3, 4, 5, 7, 8, 9, 10, 11]
    assert rejected[5] == {
        "number": 8, "path": "on", "problem": "is neither true nor false", "remedy": "send true or false",
        "row": {"follower": "f", "followee": "g", "on": "maybe"},
    }  # fmt: skip


def test_rows_of_another_encoding_or_with_a_comma_too_many_are_refused_and_shown(bench: Bench, tmp_path: Path) -> None:
    path = tmp_path / "users.csv"
    path.write_bytes(b"user,locale,name\njo,de,Jos\xe9\nada,en,Smith, Ada\nbo,en,,\n")
    refused = run(bench, str(path), "--users")
    said = str(refused.exception)
    assert "line 2: name is not in UTF-8 (save the file in UTF-8); line 3: the row cannot be read (send one" in said
    assert "no more values than columns)" in said
    (line,) = told(run(bench, str(path), "--users", "--skip-bad"))
    assert (line["rows"], line["stored"], line["refused"]) == (3, 1, 2)
    rejected = [json.loads(each) for each in (tmp_path / "users.csv.rejected.ndjson").read_text().splitlines()]
    assert [each["row"] for each in rejected] == [
        {"user": "jo", "locale": "de", "name": "Jos\\xe9"}, dict.fromkeys(("user", "locale", "name")),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("f.csv", b"a,b\n1,2\n", "column `followee`"),
        ("f.csv", b"", "is empty: it has no header line with a column `followee`"),
        ("f.csv", b"follower,followee\n", "no row"),
        ("f.ndjson", b"", "no line"),
        ("f.parquet", b"", "no sound Parquet"),
    ],
)
def test_what_holds_no_follows_is_refused(
    bench: Bench, tmp_path: Path, name: str, content: bytes, problem: str
) -> None:
    (tmp_path / name).write_bytes(content)
    refused = run(bench, str(tmp_path / name))
    assert problem in str(refused.exception)
    assert "nothing was written" in str(refused.exception)
    (tmp_path / "f.txt").touch()
    assert run(bench, str(tmp_path / "f.txt")).exit_code == 2


def test_what_was_imported_is_not_again_unless_the_log_lost_it(bench: Bench, tmp_path: Path) -> None:
    rows = [{"follower": f"u{number}", "followee": STAR} for number in range(10)]
    file = written(tmp_path / "f.csv", rows)
    for options, before, found in (((), 0, 10), (("--skip-bad",), 10, 10), (("--from-begin", "--skip-bad"), 0, 20)):
        (line,) = told(run(bench, file, *options))
        assert (line["done_before"], len(stored(bench))) == (before, found)
    assert not list(tmp_path.glob("*.rejected.*"))
    other = Bench(tmp_path / "other")
    (bench.directory / "imports").rename(other.directory / "imports")
    told(run(other, file))
    assert sorted(stored(other)) == sorted(follows(other, rows))
    other.close()


def many(tmp_path: Path) -> tuple[list[dict[str, Any]], Path]:
    rows = [{"follower": f"u{number}", "followee": f"star{number % 7}"} for number in range(MANY)]
    return rows, Path(written(tmp_path / "many.csv", rows))


def test_an_interrupted_import_goes_on(bench: Bench, tmp_path: Path) -> None:
    rows, file = many(tmp_path)
    log: Any = InterruptedLog(bench.log, 2)
    settings = Settings(data_dir=bench.directory)
    with pytest.raises(KeyboardInterrupt):
        FollowersImport(settings, log, FOLLOWS_ROWS, Output(as_json=True), batch_rows=500).run([file])
    assert len(stored(bench)) == 1000
    (line,) = told(run(bench, str(file)))
    assert (line["done_before"], line["stored"], line["twice"]) == (500, MANY, 0)
    assert set(stored(bench)) == set(follows(bench, rows))


KILLED = """
import os, sys
from pathlib import Path
from connectors.log.embedded.log import EmbeddedLog
from flows.commands.followers import FollowersImport
from flows.commands.import_rows import FOLLOWS_ROWS
from flows.commands.output import Output
from flows.config.settings import Settings
from flows.process.open import clock_ms

class Killed(EmbeddedLog):
    left = 3
    def append(self, records):
        super().append(records)
        self.left -= 1
        if not self.left:
            os.kill(os.getpid(), 9)
        return [0] * len(records)

file, data = map(Path, sys.argv[1:])
log = Killed(data, clock=clock_ms)
FollowersImport(Settings(data_dir=data), log, FOLLOWS_ROWS, Output(True), batch_rows=500).run([file])
"""


def test_a_killed_import_goes_on(bench: Bench, tmp_path: Path) -> None:
    rows, file = many(tmp_path)
    command = [sys.executable, "-c", KILLED, str(file), str(bench.directory)]
    assert subprocess.run(command, cwd=ROOT, check=False, timeout=60).returncode == -signal.SIGKILL
    assert len(stored(bench)) == 1500
    (line,) = told(run(bench, str(file)))
    assert (line["done_before"], line["stored"]) == (1000, MANY)
    assert set(stored(bench)) == set(follows(bench, rows))


def test_a_post_reaches_exactly_the_imported_followers(bench: Bench, tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"follower": f"u{number}", "followee": STAR, "on": number % 10 != 0} for number in range(1500)
    ]
    told(run(bench, written(tmp_path / "f.parquet", rows)))
    bench.sequence(lambda: len(bench.work()) >= len(rows))
    bench.append(bench.event("post", "new_post", actor=STAR, target=None, fan_out_type="FOLLOWERS"))
    bench.sequence(calls(20))
    bench.decide(complete(bench, decided_in_one_go(bench)))
    ledger = CliRunner().invoke(app, ["ledger", "--event", "post", "--data", str(bench.directory), "--json"])
    decided = [json.loads(line)["user"] for line in ledger.output.splitlines()]
    assert sorted(decided) == sorted(row["follower"] for row in rows if row["on"])


TEXTS = st.one_of(
    st.text(max_size=5), st.text("ab ~", min_size=250, max_size=260), st.none(), st.integers(0, 3),
    st.booleans(), st.just(1.0), st.sampled_from(["de", "de-AT", "e\u0301", "\ud800", "\n", "true"]),
)  # fmt: skip


@given(st.lists(st.tuples(TEXTS, TEXTS, TEXTS), min_size=1, max_size=6), st.sampled_from([FOLLOWS_ROWS, USERS_ROWS]))
def test_chunks_are_judged_as_rows_are(rows: list[tuple[Any, ...]], content: Any) -> None:
    chunk = TableRows(range(len(rows)), [list(column) for column in zip(*rows, strict=True)])
    fine, refused = judged(content, chunk)
    bad = [
        number for number, row in enumerate(rows)
        if document_errors(dict(zip(content.columns, row, strict=True)), content.document)
    ]  # fmt: skip
    assert [each.number for each in refused] == bad
    assert list(zip(*fine, strict=True)) == [row for number, row in enumerate(rows) if number not in bad]


@pytest.mark.skipif(not DATA.exists(), reason="left out: ../shared/data is absent")
def test_a_real_graph(bench: Bench, tmp_path: Path) -> None:
    table = pq.read_table(DATA).slice(0, 5000)
    pq.write_table(table, tmp_path / "graph.parquet")
    (line,) = told(run(bench, str(tmp_path / "graph.parquet")))
    assert line["stored"] == 5000
    rows = ({name: str(value) for name, value in row.items()} for row in table.to_pylist())
    assert set(stored(bench)) == set(follows(bench, list(rows)))


def test_on_kafka(kafka_bootstrap: str, tmp_path: Path) -> None:
    rows = [{"follower": f"u{number}", "followee": STAR} for number in range(900)]
    prefix = f"imported{time.time_ns()}."
    told_where = {
        "CARILLON_PROFILE": "kafka",
        "CARILLON_KAFKA__BOOTSTRAP": kafka_bootstrap,
        "CARILLON_LOG__PREFIX": prefix,
    }
    log = KafkaLog(kafka_bootstrap, prefix=prefix)
    log.ensure_topics(topic_specs(PARTITIONS, timedelta(days=7)))
    command = ["followers", "import", written(tmp_path / "f.parquet", rows), "--data", str(tmp_path), "--json"]
    for before in (0, len(rows)):
        (line,) = told(CliRunner(env=told_where).invoke(app, command))
        assert (line["stored"], line["done_before"]) == (len(rows), before)
    assert sum(log.end_offset("follows", partition) for partition in range(PARTITIONS)) == len(rows)
    log.close()


class Watched:
    """A log that notes how far the follows are ahead of `sequence` at each append."""

    def __init__(self, bench: Bench) -> None:
        self._log, self.ahead = bench.open_log(), [0]

    def append(self, records: Sequence[NewRecord]) -> list[int]:
        read, written = (
            sum(self._log.end_offset(topic, partition) for partition in range(PARTITIONS))
            for topic in ("followers", "follows")
        )
        self.ahead.append(written - read)
        return self._log.append(records)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)


def test_beside_a_running_sequence_it_stays_a_little_ahead(bench: Bench, tmp_path: Path) -> None:
    """Events wait for sequence to read what is there: a mountain of follows would delay each by minutes."""
    rows = [{"follower": f"u{number}", "followee": f"star{number % 50}"} for number in range(6000)]
    file, log = Path(written(tmp_path / "f.parquet", rows)), Watched(bench)
    opened: Any = log
    work = FollowersImport(Settings(data_dir=bench.directory), opened, FOLLOWS_ROWS, Output(as_json=True), rate=30_000)
    thread = threading.Thread(target=work.run, args=([file],))
    bench.sequence(lambda: begun_and_over(thread), clock=steady_clock())
    thread.join()
    log.close()
    assert max(log.ahead) <= 2000
    assert len(log.ahead) > 12
    assert len(bench.read("followers")) >= 4000


def begun_and_over(thread: threading.Thread) -> bool:
    """A drain: the import begins when the flow runs, and the flow ends when the import has."""
    if thread.ident is None:
        thread.start()
    return not thread.is_alive()
