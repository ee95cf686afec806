"""Replaying yesterday's decision log gives yesterday's ledger, bit for bit, from wherever the log is."""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from helpers.flow_bench import PARTITIONS
from helpers.history import History, as_outputs, middle, of_span, outputs, read_all, work_records, works
from helpers.logs import captured_logs
from helpers.up import carillon
from typer.testing import CliRunner

from connectors.log import NewRecord
from connectors.log.kafka.log import KafkaLog
from connectors.log.topics import topic_specs
from flows.cli import app
from flows.config.settings import Settings, load_settings
from flows.process.open import clock_ms
from flows.recovery.replay import ReplayRange, opened_origin, replayed
from state.decide.exports import group_source
from state.disk.exports import write_export
from state.model.dead_letter import DeadLetter, encode_letter
from state.model.errors import ConfigurationError, OffsetOutOfRangeError
from state.model.keys import partition_of_group
from state.model.work import EventWork, decode_work

SETTINGS = load_settings(environment={})


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[History]:
    """Three days, decided in three runs and exported after the first, with two poisonous records; archived."""
    history = History(tmp_path_factory.mktemp("history"))
    records = work_records(works(11))
    stamps = [decode_work(record.value).stamp for record in records]
    noon = next(at for at, stamp in enumerate(stamps) if stamp > (stamps[0] + stamps[-1]) // 2)
    records.insert(noon, NewRecord("work", 1, b"70", b'{"k":"event","g":70,"stamp":%d}' % stamps[noon]))
    history.log.append(records[: noon // 2])
    history.decide()
    store = history.store()
    write_export(history.directory / "exports", group_source(0, store.database), at=clock_ms())
    store.close()
    history.log.append(records[noon // 2 : noon + 30])
    _convict(history)
    history.decide()
    history.log.append(records[noon + 30 :])
    history.decide()
    history.track()
    yield history
    history.log.close()


def _convict(history: History) -> None:
    """One event of the stretch ended decide five times, or so it seems: its group skips it."""
    place = [r for r in read_all(history.log, "work", 1)[:-40] if isinstance(decode_work(r.value), EventWork)][-1]
    group = int(place.key)
    letter = DeadLetter(
        id=f"decide/work/1/{place.offset}/{group}", source=("work", 1, place.offset), group=group, kind="killed",
        stage="decide", at=1,
    )  # fmt: skip
    store = history.store()
    store.skip(group, place.offset, encode_letter(letter))
    store.close()


def wanted(history: History, directory: Path | None = None) -> tuple[ReplayRange, dict[tuple[str, str], bytes]]:
    span = middle(history.log)
    expected = of_span(outputs(history.log), span)
    kinds = {topic for topic, _ in expected}
    assert {"ledger", "inbox", "deliver.push", "dead_letters"} <= kinds, "the stretch has too little in it"
    return ReplayRange(span.from_ms, span.to_ms), expected


def replay_of(log: str, settings: Settings, stretch: ReplayRange) -> tuple[dict[tuple[str, str], bytes], int]:
    """What it leads to, and how many records were decided for it."""
    told: list[int] = [0]
    with opened_origin(log, settings) as origin:
        found = as_outputs(replayed(origin, stretch, lambda done, _all: told.append(done)))
    return found, told[-1]


def test_the_bytes_are_the_same_from_log_archive_and_what_retention_left(whole: History, tmp_path: Path) -> None:
    stretch, expected = wanted(whole)
    directory = tmp_path / "data"
    shutil.copytree(whole.directory, directory)
    found, decided = replay_of(str(directory), SETTINGS, stretch)
    assert found == expected
    read = sum(whole.log.end_offset("work", partition) for partition in range(PARTITIONS))
    shutil.rmtree(directory / "exports")
    with captured_logs() as logged:
        found, decided_from_begin = replay_of(str(directory), SETTINGS, stretch)
    assert found == expected
    assert {line["tzdata"] for line in logged if line["event"] == "decided_by_other_versions"} == {"of before"}
    assert decided < decided_from_begin <= read, "the export saved nothing"

    found, _ = replay_of(str(directory / "archive"), SETTINGS, stretch)
    assert found == expected
    trimmed = History(directory)
    trimmed.trim()
    trimmed.log.close()
    found, _ = replay_of(str(directory), SETTINGS, stretch)
    assert found == expected
    shutil.rmtree(directory / "log")
    assert replay_of(str(directory), SETTINGS, stretch)[0] == expected

    only = replace(stretch, partition=2)
    found, _ = replay_of(str(directory), SETTINGS, only)
    assert found == {key: value for key, value in expected.items() if _partition(key[1]) == 2}


def _partition(sequence: str) -> int:
    return partition_of_group(int(sequence.split(":")[1]), PARTITIONS)


def test_the_bytes_are_the_same_from_kafka(whole: History, kafka_bootstrap: str, tmp_path: Path) -> None:
    stretch, expected = wanted(whole)
    prefix = f"r{uuid.uuid4().hex[:8]}."
    log = KafkaLog(kafka_bootstrap, prefix=prefix)
    log.ensure_topics(
        [spec for spec in topic_specs(PARTITIONS, timedelta(days=7)) if spec.name in ("work", "dead_letters")]
    )
    for topic in ("work", "dead_letters"):
        for partition in range(PARTITIONS):
            records = read_all(whole.log, topic, partition)
            log.append([NewRecord(topic, partition, each.key, each.value, each.headers) for each in records])
    log.close()
    environment = {"CARILLON_KAFKA__BOOTSTRAP": kafka_bootstrap, "CARILLON_LOG__PREFIX": prefix}
    found, _ = replay_of("kafka", load_settings(data_dir=tmp_path, environment=environment), stretch)
    assert found == expected


def test_a_range_that_is_not_whole_is_refused(whole: History, tmp_path: Path) -> None:
    stretch, _ = wanted(whole)
    directory = tmp_path / "data"
    shutil.copytree(whole.directory / "log", directory / "log")
    trimmed = History(directory)
    trimmed.trim()
    trimmed.log.close()
    with pytest.raises(OffsetOutOfRangeError, match="what stood there is neither in the log nor in the archive"):
        replay_of(str(directory), SETTINGS, replace(stretch, to_ms=1 << 50))
    shutil.copytree(whole.directory / "archive", tmp_path / "archive")
    manifest = tmp_path / "archive" / "work" / "3" / "manifest.json"
    content = json.loads(manifest.read_text())
    inside = middle(whole.log).offsets[3][5]
    holed = next(part for part in content["parts"] if part["first"] <= inside < part["end"])
    holed["first"] = inside + 1
    manifest.write_text(json.dumps(content))
    with pytest.raises(OffsetOutOfRangeError, match=r"work/3: .* neither in the log nor in the archive"):
        replay_of(str(tmp_path / "archive"), SETTINGS, stretch)
    with pytest.raises(ConfigurationError, match="neither a data directory, nor an archive"):
        replay_of(str(tmp_path / "nothing"), SETTINGS, stretch)
    with pytest.raises(ConfigurationError, match="has the partitions 0 to 3"):
        replay_of(str(whole.directory), SETTINGS, replace(stretch, partition=4))


def test_the_command_prints_the_ledger_of_the_stretch(whole: History, tmp_path: Path) -> None:
    stretch, _ = wanted(whole)
    bounds = ("--from", str(stretch.from_ms), "--to", str(stretch.to_ms))
    done = carillon("replay", str(whole.directory), *bounds, "--json")
    assert done.returncode == 0, done.stderr
    decided = [json.loads(line) for line in done.stdout.splitlines()]
    # All of it: what was due before the stretch is decided in it, at the time when it was due.
    ledger = carillon("ledger", "--json", "--data", str(whole.directory))
    known = {(each["event_id"], each["user"]): each for each in map(json.loads, ledger.stdout.splitlines())}
    final = [each for each in decided if each["outcome"] not in ("HELD", "AGGREGATING")]
    assert len(final) > 100
    assert [known[each["event_id"], each["user"]] for each in final] == final
    assert decided == sorted(decided, key=lambda each: (each["decided_at"], each["user"]))

    out = tmp_path / "out.ndjson"
    done = carillon("replay", str(whole.directory / "archive"), *bounds, "--out", str(out))
    assert done.returncode == 0, done.stderr
    assert [json.loads(line) for line in out.read_text().splitlines()] == decided
    assert f"{len(decided)} records in" in done.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        [], ["--from", "0"], ["--from", "yesterday", "--to", "1"], ["--rebuild-state", "--from", "0"],
        ["--rebuild-state", "--redeliver"], ["--force", "--from", "0", "--to", "1"],
        ["--redeliver", "--from", "0", "--to", "1", "--out", "x"],
    ],
)  # fmt: skip
def test_wrong_usage(arguments: list[str], tmp_path: Path) -> None:
    assert CliRunner().invoke(app, ["replay", str(tmp_path), *arguments]).exit_code == 2


def test_the_history_is_a_rich_one(whole: History) -> None:
    """What the tests above compare has every kind of thing in it."""
    schemas = {dict(r.headers)["schema"] for topic in ("ledger", "inbox", "deliver.push") for p in range(PARTITIONS)
               for r in read_all(whole.log, topic, p)}  # fmt: skip
    assert {b"decision/1+json", b"slice/1+arrow", b"emission/1+json", b"emission/4+arrow", b"counts/1+json",
            b"inbox/1+json", b"inbox/2+arrow"} <= schemas  # fmt: skip
    letters = [json.loads(r.value) for p in range(PARTITIONS) for r in read_all(whole.log, "dead_letters", p)]
    assert {letter["kind"] for letter in letters} == {"malformed", "killed"}
