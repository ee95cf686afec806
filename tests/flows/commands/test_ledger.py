"""`ledger`, `ledger --check` and `explain` over a data directory: whole, and with one record of each kind deleted."""

import re
import shutil
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
from helpers.healthy_ledger import LEO, MIA, G, H, healthy
from helpers.inbox_flow import RUN, last_counts, read_all
from helpers.inbox_stores import loaded
from helpers.programs import drain, running
from helpers.records import PARTITIONS, counts, decision, now_ms, open_embedded, record
from helpers.waiting import wait_for

from connectors.archive.ledger import LedgerQuery
from connectors.control import kill_record
from connectors.inbox.rocksdb import RocksInboxStore, shard_path
from connectors.log.interface import NewRecord
from flows.commands.explain import explain
from flows.commands.ledger import ProofOptions, check_ledger, show_ledger
from flows.commands.output import Output
from flows.process.directories import INBOX as DIRECTORY
from state.inbox.values import ShardCommit, UserChanges
from state.model.event import EVENT, Event
from state.model.keys import key_group, partition_of_group
from state.model.registry import load_registry
from state.model.schedule import CANCEL, RELEASED, Cancel, Released
from state.model.settings import PREFERENCE, Kill, PreferenceRecord
from state.model.work import EventWork, KillWork, PreferenceWork, encode_work

AT_ONCE = ProofOptions(settled=timedelta(), patience=timedelta())
JSON = Output(as_json=True)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory with the records of a whole ledger, and the rows and counts that the inbox flow made of them."""
    data = tmp_path_factory.mktemp("whole")
    log = open_embedded(data)
    log.append(healthy())
    with running(RUN, str(data), "1") as process:
        wait_for(lambda: len(last_counts(log)) == 2)
        drain(process)
    log.close()
    return data


@pytest.fixture
def copied(whole: Path, tmp_path: Path) -> Path:
    """The stores of the whole one; the log is for the test to fill."""
    shutil.copytree(whole / "state", tmp_path / "state")
    return tmp_path


def records(whole: Path) -> list[NewRecord]:
    log = open_embedded(whole)
    found = [
        NewRecord(each.topic, each.partition, each.key, each.value, each.headers) for each in read_all(log, "ledger")
    ]
    log.close()
    return found


def lawful(data: Path) -> bool:
    log = open_embedded(data)
    try:
        return check_ledger(data, log, JSON, AT_ONCE)
    finally:
        log.close()


def test_a_whole_system_is_lawful(whole: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert lawful(whole)
    laws = [orjson.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [law.get("law") for law in laws] == ["1", "1 pending", "2", "2 emissions", "3", None]
    assert laws[-1] == {"holds": True}


@pytest.mark.parametrize(
    ("kind", "owner"),
    [
        ("decision", ""),
        ("emission", ""),
        ("delivery", ""),
        *(("counts", owner) for owner in ("decide", "deliver", "transactional", "inbox")),
    ],
)
def test_one_record_less_of_any_kind_and_the_check_fails(whole: Path, copied: Path, kind: str, owner: str) -> None:
    kept = records(whole)
    values: list[dict[str, Any]] = [orjson.loads(each.value) for each in kept]
    gone = max(n for n, value in enumerate(values) if value["kind"] == kind and owner in ("", value.get("owner")))
    log = open_embedded(copied)
    log.append(kept)
    log.close()
    assert lawful(copied)
    shutil.rmtree(copied / "log")
    log = open_embedded(copied)
    log.append(kept[:gone] + kept[gone + 1 :])
    log.close()
    assert not lawful(copied)


def test_one_inbox_row_less_and_the_check_fails(whole: Path, copied: Path) -> None:
    log = open_embedded(copied)
    log.append(records(whole))
    log.close()
    store = RocksInboxStore(shard_path(copied / DIRECTORY, partition_of_group(H, PARTITIONS)))
    head, rows = loaded(store, LEO)
    store.commit(ShardCommit({LEO: UserChanges(head, [], rows)}, {}, {}, store.offset()))
    store.close()
    assert not lawful(copied)


def test_the_flow_finds_a_row_that_vanished_by_itself(whole: Path, copied: Path) -> None:
    shutil.copytree(whole / "log", copied / "log")
    log = open_embedded(copied)
    store = RocksInboxStore(shard_path(copied / DIRECTORY, partition_of_group(H, PARTITIONS)))
    head, rows = loaded(store, LEO)
    store.commit(ShardCommit({LEO: UserChanges(head, [], rows)}, {}, {}, store.offset()))
    store.close()
    with running(RUN, str(copied), "1"):
        wait_for(lambda: last_counts(log).get(H, {}).get("items") == 0)
    log.close()


def test_a_check_waits_for_owners_that_are_still_counting(whole: Path, copied: Path) -> None:
    log = open_embedded(copied)
    log.append(records(whole))
    log.append([decision(MIA, "late", "SUPPRESSED", ("d", 50, 0), reason="muted")])
    assert not check_ledger(copied, log, JSON, AT_ONCE)
    late = counts("decide", G, 51, seq=("d", 51, 0), resolved=4, held=0, aggregating=1, emitted=2, inbox_items=2)
    counting = threading.Timer(1.0, lambda: log.append([late]))
    counting.start()
    assert check_ledger(copied, log, JSON, ProofOptions(settled=timedelta(), patience=timedelta(seconds=20)))
    counting.join()
    log.close()


def test_queries_print_decisions_and_deliveries(whole: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = open_embedded(whole)
    assert show_ledger(whole, log, LedgerQuery(user=MIA, event="e2"), JSON) == 3
    printed = [orjson.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(each["kind"], each["outcome"]) for each in printed] == [
        ("decision", "EMITTED"),
        ("delivery", "FELL_BACK"),
        ("delivery", "DELIVERED"),
    ]
    show_ledger(whole, log, LedgerQuery(user=MIA, event="e3"), Output(as_json=False))
    assert capsys.readouterr().out == "1970-01-01T00:00:03.000Z decision SUPPRESSED muted like e3 -> mia\n"
    log.close()


def test_explain_shows_what_the_decision_used_and_no_content(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = open_embedded(tmp_path)
    group, night = key_group(LEO), 1_767_225_600_000
    document = {"quiet_hours": {"enabled": True, "start": "00:00", "end": "23:59", "timezone": "Europe/Paris"}}
    event = Event(event_id="e7", type="like", sender_id="app", ttl_ms=29_500, ingested_at=night)
    log.append([kill_record(Kill("type", "share", reason="a loop")), kill_record(Kill("type", "like"))])
    work = [
        PreferenceWork(stamp=1, user=LEO, doc=document),
        KillWork(stamp=2, scope="type", value="share", src=("control", 0, 0, group)),
        EventWork(stamp=3, event=event, users=[LEO]),
    ]
    partition = partition_of_group(group, PARTITIONS)
    log.append([NewRecord("work", partition, b"1", encode_work(each), (("schema", b"work/1+json"),)) for each in work])
    used = {"preference_version": 0, "control_version": 1, "ingested_at": night, "registry_version": 1, "cap_hour": 0}
    held = decision(LEO, "e7", "HELD", ("d", 2, 0), until=night + 36_000_000, decided_at=night, **used)
    late = decision(LEO, "e7", "EXPIRED", ("d", 8, 0), decided_at=night + 30_000, **used)
    killed = decision(LEO, "e7", "SUPPRESSED", ("d", 9, 0), reason="kill_switch", decided_at=night + 36_000_000, **used)
    log.append([held, late, killed, record("ledger", "decision/1+json", {"kind": "decision"}, group=group)])
    assert explain(tmp_path, log, load_registry(), event="e7", user=LEO, output=Output(as_json=False))
    page = capsys.readouterr().out
    assert "quiet hours (00:00-23:59 Europe/Paris) are on, so it is held until" in page
    assert "its time to live of 29.5 seconds had passed when its turn came, 30 seconds after it was accepted" in page
    assert "settings: as of record 0 of the decision log" in page
    assert re.search(
        "kill switches: as of record 1 of the decision log; type share was stopped at .* \\(a loop\\)\n", page
    )
    assert "a kill switch was on, which was changed since." in page, "that of likes came behind what it obeyed"
    assert "It is not in the inbox." in page
    assert explain(tmp_path, log, load_registry(), event="e7", user=LEO, output=JSON)
    lines = [orjson.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["kind"] for line in lines] == ["decision", "decision", "decision", "inbox"]
    assert not explain(tmp_path, log, load_registry(), event="e8", user=LEO, output=JSON)
    log.close()


def test_explain_looks_up_what_p0_used_where_p0_read_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = open_embedded(tmp_path)
    partition, now = partition_of_group(key_group(LEO), PARTITIONS), now_ms()
    stored = PreferenceRecord(LEO, {"types": {"login": {"enabled": False}}})
    event = Event(event_id="e9", type="login", priority="P0", sender_id="app", ttl_ms=77_000, ingested_at=now)
    log.append([
        NewRecord("preferences", partition, LEO.encode(), PREFERENCE.encode(stored), PREFERENCE.headers),
        NewRecord("events.p0", partition, LEO.encode(), EVENT.encode(event), EVENT.headers),
        kill_record(Kill("all")),
    ])  # fmt: skip
    used = {"type": "login", "preference_version": 0, "ingested_at": now, "decided_at": now}
    log.append([decision(LEO, "e9", "SUPPRESSED", ("t", 0, 0), reason="type_off", **used)])
    assert explain(tmp_path, log, load_registry(), event="e9", user=LEO, output=Output(as_json=False))
    page = capsys.readouterr().out
    assert "Not sent: the user has switched off login." in page
    assert "settings: as of record 0 of topic preferences" in page
    assert "time to live: 1 minute 17 seconds" in page
    assert "kill switches: never one set\n" in page
    log.close()


def test_explain_says_who_cancelled_a_kept_event_and_when(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = open_embedded(tmp_path)

    def said() -> str:
        found = explain(tmp_path, log, load_registry(), event="e5", user=LEO, output=Output(as_json=False))
        page = capsys.readouterr().out
        assert found == ("nothing" not in page)
        return page

    assert "knows nothing of event e5" in said()
    for at_ms, text in (
        (1_763_845_200_000, "was kept until 2025-11-22 21:00:00 UTC, and waits to be decided"),
        (3_972_834_000_000, "is kept for later; it is released at 2095-11-22 21:00:00 UTC"),
    ):
        kept = Event(event_id="e5", type="reminder", sender_id="shop", target=LEO, deliver_at=at_ms)
        log.append([NewRecord("schedule", 0, b"e5", EVENT.encode(kept), EVENT.headers)])
        assert f"Event e5 {text}" in said()
    log.append([NewRecord("schedule", 0, b"e5", CANCEL.encode(Cancel("e5")), CANCEL.headers)])
    for answer in (Released("e5", "cancelled", "shop"), Released("e5", "released"), Released("e6", "cancelled", "app")):
        log.append([NewRecord("schedule", 0, answer.event_id.encode(), RELEASED.encode(answer), RELEASED.headers)])
    today = f"{datetime.now(UTC):%Y-%m-%d}"
    assert re.match(
        f"Event e5 was kept for later, and cancelled by shop at {today} .* UTC: nobody was notified", said()
    )
    old = b'{"event_id":"e5","how":"cancelled"}'
    log.append([NewRecord("schedule", 0, b"e5", old, RELEASED.headers)])
    assert f"was kept for later, and cancelled at {today}" in said()
    assert not [value for value in read_all(log, "ledger") if b"e5" in value.value], "it leaves no decision"
    log.close()
