"""Dead letters of a running system: listed, explained, given back and discarded, and the books still balance."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from helpers.up import Up, carillon, running
from helpers.waiting import wait_for

from connectors.log import NewRecord
from connectors.log.embedded.log import EmbeddedLog
from flows.commands.ledger import ledger_reader
from flows.process.open import clock_ms
from state.model.dead_letter import LETTER_SCHEMA, DeadLetter, encode_letter, letter_id
from state.model.event import EVENT, RawEvent, resolve
from state.model.keys import key_group, partition_of_group
from state.model.registry import load_registry
from state.model.work import EventWork, encode_work

USER = "u1"
GROUP = key_group(USER)
EVENT_HEADERS = (("schema", b"event/1+json"),)
WORK = (("schema", b"work/1+json"),)


@contextmanager
def _log(directory: Path) -> Iterator[EmbeddedLog]:
    log = EmbeddedLog(directory, clock=clock_ms)
    yield log
    log.close()


def _letters(system: Up, *arguments: str) -> list[dict[str, Any]]:
    done = system.carillon("dead-letters", *arguments, "--json")
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def _skipped_by_decide(directory: Path, event_id: str) -> str:
    """A record of the decision log that decide found to end its process, before its state was lost."""
    with _log(directory) as log:
        partition = partition_of_group(GROUP, log.partitions("work"))
        raw = RawEvent(event_id=event_id, type="mention", actor="x", target=USER, object=event_id, sender_id="s")
        event = resolve(raw, load_registry(), ingested_at=clock_ms())
        accepted = NewRecord("events.p1", partition, USER.encode(), EVENT.encode(event), EVENT_HEADERS)
        (place,) = log.append([accepted])
        came_from = ("events.p1", partition, place, GROUP)
        work = EventWork(g=GROUP, stamp=clock_ms(), src=came_from, event=event, users=[USER])
        (offset,) = log.append([NewRecord("work", partition, b"%d" % GROUP, encode_work(work), WORK)])
        source = ("work", partition, offset)
        letter = DeadLetter(
            id=letter_id("decide", source, GROUP), source=source, group=GROUP, kind="killed", error="it did",
            event_id=event_id, sender_id="s", type="mention", stage="decide", at=clock_ms(),
        )  # fmt: skip
        headers = (("schema", LETTER_SCHEMA),)
        log.append([NewRecord("dead_letters", partition, b"%d" % GROUP, encode_letter(letter), headers)])
    return letter.id


def _decided(system: Up, event_id: str) -> list[dict[str, Any]]:
    with _log(system.directory) as log:
        history = ledger_reader(system.directory, log).history(event_id, USER)
    return [state.record for state in history if state.record["kind"] == "decision"]


def _explained(system: Up, event_id: str) -> list[dict[str, Any]]:
    done = system.carillon("explain", "--event", event_id, "--user", USER, "--json")
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_dead_letters_of_a_running_system(tmp_path: Path) -> None:
    assert carillon("topics", "create", "--data", str(tmp_path)).returncode == 0
    skipped, never = (_skipped_by_decide(tmp_path, event_id) for event_id in ("skipped", "never"))
    with running(tmp_path) as system:
        path = f"/v1/users/{USER}/endpoints/push/phone"
        assert system.call("PUT", path, {"platform": "ios", "address": "ab" * 32})[0] in (200, 201, 204)
        with _log(tmp_path) as log:
            bad = b'{"event_id":"bad","type":"mention","sender_id":"s","target":"u1","ttl_ms":"soon"}'
            mine = partition_of_group(GROUP, log.partitions("events.p1"))
            log.append([NewRecord("events.p1", mine, b"u1", bad, EVENT_HEADERS) for _ in range(2)])
            first, second = (f"sequence/events.p1/{mine}/{offset}" for offset in (2, 3))
        system.post({"event_id": "good", "type": "mention", "actor": "y", "target": USER, "object": "g"})
        wait_for(lambda: bool(_decided(system, "good")), what="the decision of a sound event")
        found = {letter["id"]: letter for letter in _letters(system)}
        assert sorted(found) == [skipped, never, first, second]
        assert _decided(system, "skipped") == []

        (explained,) = _explained(system, "skipped")
        assert "decide" in explained["explanation"]
        assert skipped in explained["explanation"]
        _letters(system, "discard", first)
        (given,) = _letters(system, "retry", skipped)
        assert given["to"][0] == "retries"
        wait_for(lambda: bool(_decided(system, "skipped")), what="the decision of what was given back")
        wait_for(lambda: len(system.provider("apns")) == 2, what="its push")
        (again,) = _letters(system, "retry", "--all", "--stage", "sequence")
        assert again["id"] == second
        wait_for(lambda: any(each["source"] == again["to"] for each in _letters(system)), what="the second letter")

        kinds = [each["kind"] for each in _explained(system, "skipped")]
        assert kinds[:2] == ["dead_letter", "decision"]
        assert "retried" in _explained(system, "skipped")[0]["explanation"]
        assert len(_decided(system, "skipped")) == 1
        assert system.stop() == 0
        assert _decided(system, "never") == []
        checked = system.carillon("ledger", "--check")
        assert checked.returncode == 0, checked.stdout
        assert len(system.provider("apns")) == 2
