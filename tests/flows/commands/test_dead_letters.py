"""`carillon dead-letters`: what was set aside is told once, given back once, refused with a reason."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, Literal

import orjson
import pytest
from helpers.flow_bench import PARTITIONS, Bench, user_in_group
from helpers.places import ROOT
from helpers.records import decision, delivery
from typer.testing import CliRunner

from connectors.audit import decode_act
from connectors.log import NewRecord
from flows.cli import app
from flows.process.open import clock_ms
from flows.steps.dead_letters import dead_letter
from state.model.dead_letter import DeadLetter, encode_letter, failed_delivery_id
from state.model.keys import key_group, partition_of_group
from state.model.work import EventWork, PreferenceWork, TickWork, encode_work

CONTENT = "the content of it"
_DEADLY = """
import os, signal, sys
from pathlib import Path
from helpers.flow_bench import Bench, seconds
import flows.steps.sequence.source as steps

sequence_event = steps.sequence_event
def deadly(state, registry, event, *accepted):
    if event.event_id == "killer":
        os.kill(os.getpid(), signal.SIGKILL)
    return sequence_event(state, registry, event, *accepted)
steps.sequence_event = deadly
bench = Bench.__new__(Bench)
bench.directory = Path(sys.argv[1])
from helpers.flow_bench import Clock
bench.clock = Clock()
bench.sequence(seconds(1.5))
"""


def asked(bench: Bench, *arguments: str, code: int = 0) -> list[dict[str, Any]]:
    """What a subcommand prints with --json; never content."""
    done = CliRunner().invoke(app, ["dead-letters", *arguments, "--data", str(bench.directory), "--json"])
    assert done.exit_code == code, (done.output, done.exception)
    assert CONTENT not in done.output
    return [orjson.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def events(bench: Bench) -> list[str]:
    return [work.event.event_id for _, _, work in bench.work() if isinstance(work, EventWork)]


def file_letter(bench: Bench, place: tuple[str, int, int], stage: str, group: int | None = None) -> str:
    """A letter about a record that is in the log, as the stage would write it."""
    (record,) = [r for r in bench.read(place[0]) if (r.partition, r.offset) == place[1:]]
    letter = dead_letter(record, ValueError(), stage=stage, at=clock_ms(), partitions=PARTITIONS, group=group)
    bench.append(letter, letter)  # twice, as around a crash
    return str(orjson.loads(letter.value)["id"])


def test_one_that_ended_the_process_is_skipped_and_given_back_when_the_cause_is_fixed(bench: Bench) -> None:
    bench.append(bench.event("before", target="u1"), bench.event("killer", target="u1", object="k"))
    bench.append(bench.event("after", target="u1", object="a"))
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"}
    for start in range(6):
        done = subprocess.run(
            [sys.executable, "-c", _DEADLY, str(bench.directory)],
            env=environment, capture_output=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == (-signal.SIGKILL if start < 5 else 0), done.stderr[-2000:]
    assert events(bench) == ["before", "after"]
    (letter,) = asked(bench, "list")
    assert (letter["kind"], letter["event_id"], letter["stage"], letter["status"]) == (
        "killed", "killer", "sequence", "open",
    )  # fmt: skip
    (given,) = asked(bench, "retry", letter["id"])
    assert given["retried"]
    assert given["to"][:2] == letter["source"][:2]
    bench.sequence()
    assert events(bench) == ["before", "after", "killer"]
    assert asked(bench, "list") == []
    (refused,) = asked(bench, "retry", letter["id"], code=1)
    assert "already" in refused["reason"]
    assert asked(bench, "retry", "--all") == []
    asked(bench, "retry", "--again", letter["id"])
    bench.sequence()
    assert events(bench) == ["before", "after", "killer"], "its event_id is known"
    (shown,) = asked(bench, "list", "--all")
    assert (shown["status"], len(shown["actions"])) == ("retried", 2)


def test_a_malformed_one_fails_again_and_is_a_letter_of_its_own(bench: Bench) -> None:
    value = orjson.dumps({"event_id": "bad", "type": "like", "sender_id": "s", "payload": {"text": CONTENT}, "to": 5})
    bench.append(NewRecord("events.p1", 1, b"u1", value, (("schema", b"event/1+json"), ("lane", b"p1"))))
    bench.sequence()
    (letter,) = asked(bench)
    (shown,) = asked(bench, "show", letter["id"])
    assert shown["record"]["bytes"] == len(value)
    assert shown["record"]["schema"] == "event/1+json"
    assert shown["letter"] == [1, 0]
    plain = CliRunner().invoke(app, ["dead-letters", "show", letter["id"], "--data", str(bench.directory)])
    assert "does not decode" in plain.output
    assert CONTENT not in plain.output
    asked(bench, "retry", letter["id"])
    bench.sequence()
    (second,) = asked(bench)
    assert second["source"] == ["events.p1", 1, 1]
    assert [each["id"] for each in asked(bench, "--all")] == [letter["id"], second["id"]]
    again = bench.read("events.p1")[1]
    assert (again.value, again.key) == (value, b"u1")
    assert dict(again.headers) == {
        "schema": b"event/1+json", "lane": b"p1", "again": letter["id"].encode(),
    }  # fmt: skip
    asked(bench, "discard", second["id"], "--reason", "its sender is gone")
    noted = [decode_act(record) for record in bench.read("audit")]
    assert [(act.act, act.role, act.reason) for act in noted] == [
        ("retry_letter", "command line", None), ("discard_letter", "command line", "its sender is gone"),
    ]  # fmt: skip
    assert asked(bench) == []
    (refused,) = asked(bench, "discard", second["id"], code=1)
    assert "already" in refused["reason"]
    asked(bench, "show", "sequence/events.p1/1/77", code=1)
    asked(bench, "retry", "sequence/events.p1/1/77", code=1)


def test_what_decide_set_aside_goes_through_retries_to_its_group(bench: Bench) -> None:
    user = user_in_group(70)
    bench.append(bench.event("e1", target=user, payload={"text": CONTENT}))
    bench.sequence()
    ((partition, offset, _),) = bench.work()
    name = file_letter(bench, ("work", partition, offset), "decide", 70)
    (letter,) = asked(bench, "--stage", "decide", "--sender", "s")
    assert (letter["id"], letter["group"], letter["event_id"]) == (name, 70, "e1")
    assert asked(bench, "--stage", "deliver") == asked(bench, "--sender", "other") == []
    (given,) = asked(bench, "retry", "--all", "--stage", "decide")
    assert given["to"][:2] == ["retries", 1]
    bench.sequence()
    bench.lose("sequence")
    bench.sequence()
    assert events(bench) == ["e1", "e1"]
    assert bench.work()[1][2].src == ("retries", 1, 0, 70)


def test_what_was_true_then_does_not_take_the_place_of_what_is_true_now(bench: Bench) -> None:
    user = user_in_group(70)
    bench.append(bench.preference(user, master=False), bench.setting("reads", user, user=user))
    bench.sequence()
    setting = file_letter(bench, ("preferences", 1, 0), "sequence")
    read = file_letter(bench, ("reads", 1, 0), "sequence")
    ((partition, offset, _),) = [entry for entry in bench.work() if isinstance(entry[2], PreferenceWork)]
    work = file_letter(bench, ("work", partition, offset), "decide", 70)
    bench.append(bench.preference(user, master=True))
    for name, reason in ((setting, "newer record"), (work, "newer record"), (read, "mark as read")):
        (refused,) = asked(bench, "retry", name, code=1)
        assert reason in refused["reason"]
    bench.sequence()
    assert [w.doc["master"] for _, _, w in bench.work() if isinstance(w, PreferenceWork)] == [False, True]


def test_what_cannot_be_given_back_is_refused_with_the_reason(bench: Bench) -> None:
    source = ("deliver.push", 5, 9)
    failed = DeadLetter(
        id=failed_delivery_id("deliver", source, "m/u1/push/p"), source=source, kind="failed", error="gave_up",
        event_id="e", sender_id="s", type="like", stage="deliver", at=clock_ms(),
    )  # fmt: skip
    bench.append(NewRecord("dead_letters", 1, b"u1", encode_letter(failed), (("schema", b"dead/1+json"),)))
    bench.append(NewRecord("dead_letters", 1, b"u1", b"{", (("schema", b"dead/1+json"),)))
    listed = asked(bench)
    assert [each.get("status") for each in listed] == ["final", None]
    assert listed[1] == {"unreadable": 1}
    (refused,) = asked(bench, "retry", failed.id, code=1)
    assert "final" in refused["reason"]
    assert "a new event_id and a new idempotency_key" in refused["reason"]
    assert asked(bench, "retry", "--all") == []

    bench.append(bench.event("old", target="u1"))
    partition = partition_of_group(key_group("u1"), PARTITIONS)
    gone = file_letter(bench, ("events.p1", partition, 0), "sequence")
    tick = NewRecord("work", 0, b"", encode_work(TickWork(stamp=1)), (("schema", b"work/1+json"),))
    bench.append(tick)
    ticking = file_letter(bench, ("work", 0, 0), "decide", 3)
    (refused,) = asked(bench, "retry", ticking, code=1)
    assert "tick" in refused["reason"]
    letters = bench.read("dead_letters")
    bench.log.maintain(clock_ms() + 7 * 86_400_000 + 1)
    bench.append(*(NewRecord("dead_letters", r.partition, r.key, r.value, r.headers) for r in letters))
    (refused,) = asked(bench, "retry", gone, code=1)
    assert "no longer retains" in refused["reason"]


@pytest.mark.parametrize("kind", ["raised", "killed"])
def test_a_delivery_that_raised_or_killed_is_final_and_all_leaves_it_out(
    bench: Bench, kind: Literal["raised", "killed"]
) -> None:
    source = ("deliver.push", 5, 9)
    poison = DeadLetter(
        id=failed_delivery_id("deliver", source, "m/u1/push/p"), source=source, kind=kind, error="ValueError",
        event_id="e", sender_id="s", type="like", stage="deliver", at=clock_ms(),
    )  # fmt: skip
    bench.append(NewRecord("dead_letters", 1, b"u1", encode_letter(poison), (("schema", b"dead/1+json"),)))
    assert [each["status"] for each in asked(bench, "--all")] == ["final"]
    assert asked(bench, "retry", "--all") == []
    (refused,) = asked(bench, "retry", poison.id, code=1)
    assert "final" in refused["reason"]
    plain = CliRunner().invoke(app, ["dead-letters", "show", poison.id, "--data", str(bench.directory)])
    assert "posts again" in plain.output


def test_a_delivery_whose_address_is_gone_has_no_letter_and_is_listed_all_the_same(bench: Bench) -> None:
    now = clock_ms()
    gone = {"emission_id": "em1", "first_event_id": "e1", "reason": "Unregistered"}
    bench.append(
        decision("u1", "e1", "EMITTED", ("d", 5, 0), emission_id="em1", sender_id="shop", decided_at=now),
        *[delivery("u1", outcome="DEAD_LETTER", device=device, at=now, **gone) for device in ("phone", "tablet")],
        delivery("u1", outcome="DEAD_LETTER", device="old", at=now - 8 * 86_400_000, **gone),
        delivery("u1", outcome="FELL_BACK", device="watch", at=now, **gone),
    )
    source = ("deliver.push", 5, 9)
    written = DeadLetter(
        id=failed_delivery_id("deliver", source, "em1/u1/push/tablet"), source=source, kind="failed",
        error="Unregistered", event_id="e1", sender_id="shop", type="like", stage="deliver", at=now + 1,
    )  # fmt: skip
    bench.append(NewRecord("dead_letters", 1, b"u1", encode_letter(written), (("schema", b"dead/1+json"),)))
    listed = asked(bench, "--sender", "shop")
    made = listed[0]
    assert [each["id"] for each in listed] == [made["id"], written.id], "each delivery once"
    assert (made["status"], made["kind"], made["error"]) == ("final", "failed", "Unregistered")
    assert (made["event_id"], made["type"], made["stage"], made["at"]) == ("e1", "like", "deliver", now)
    assert asked(bench, "--sender", "other") == []
    (shown,) = asked(bench, "show", made["id"])
    assert (shown["letter"], shown["record"]["schema"]) == (None, "delivery/1+json")
    (refused,) = asked(bench, "retry", made["id"], code=1)
    assert "final" in refused["reason"]
    asked(bench, "discard", made["id"])
    assert [each["id"] for each in asked(bench)] == [written.id]
    assert [each["status"] for each in asked(bench, "--all")] == ["discarded", "final"]


def test_a_refusal_repeats_nothing_of_what_does_not_decode(bench: Bench) -> None:
    value = orjson.dumps({"k": CONTENT})
    bench.append(NewRecord("work", 0, b"", value, (("schema", b"work/1+json"),)))
    (refused,) = asked(bench, "retry", file_letter(bench, ("work", 0, 0), "decide", 3), code=1)
    assert "left out" in refused["reason"]


def test_pages_go_on_by_their_cursor_with_the_same_filters(bench: Bench) -> None:
    bench.append(*[bench.event(f"e{number}", target="u1", object=str(number)) for number in range(5)])
    partition = partition_of_group(key_group("u1"), PARTITIONS)
    names = [file_letter(bench, ("events.p1", partition, number), "sequence") for number in range(5)]
    asked(bench, "discard", names[3])
    *page, onward = asked(bench, "list", "--newest", "2", "--stage", "sequence")
    assert [each["id"] for each in page] == [names[2], names[4]]
    last = asked(bench, "list", "--newest", "2", "--stage", "sequence", "--cursor", onward["cursor"])
    assert [each["id"] for each in last] == names[:2]
    assert len(asked(bench, "list", "--newest", "5", "--all")) == 5
    assert asked(bench, "list", "--newest", "5", "--stage", "inbox") == []
    asked(bench, "list", "--cursor", onward["cursor"], code=2)
    asked(bench, "list", "--newest", "2", "--cursor", "1-2", code=2)
    asked(bench, "list", "--newest", "2", "--cursor", "x", code=2)


@pytest.mark.parametrize(
    "arguments",
    [["retry"], ["retry", "x", "--all"], ["discard"], ["retry", "x", "--stage", "s"], ["--all", "show", "x"]],
)
def test_wrong_usage_is_2(bench: Bench, arguments: list[str]) -> None:
    asked(bench, *arguments, code=2)


def test_a_directory_without_a_system_is_no_empty_system(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["dead-letters", "--data", str(tmp_path / "typo")])
    assert done.exit_code == 1
