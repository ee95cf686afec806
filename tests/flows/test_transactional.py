"""The transactional flow as a process: what it decides, what it sends at once, and what a restart does with it."""

from __future__ import annotations

import json
import shutil
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

from helpers.feeding import System, kill, now_ms, token
from helpers.sandbox_process import Sandbox
from helpers.waiting import wait_for

from connectors.load import load_record
from connectors.sandbox.options import browser_address
from operators.laws import check_laws
from operators.transactional import HURRY_MS
from state.ledger import latest, ledger_table
from state.model.load import LoadReport


def outcomes(system: System) -> dict[str, tuple[str, str | None]]:
    return {event: (value["outcome"], value["reason"]) for (event, _), value in system.decisions().items()}


def laws_of_p0(system: System) -> dict[str, int]:
    """Mismatches of the laws that need no other owner's counts."""
    table, refused = ledger_table(system.read("ledger"))
    assert not refused
    report = check_laws(latest(table), settled_ms=0)
    return {law.name: len(law.mismatches) for law in report.laws if law.name != "3"}


def event_id(record: Any) -> str:
    return str(json.loads(record.value)["event_id"])


def test_a_code_reaches_each_device_by_the_provider_of_its_platform(system: System, sandbox: Sandbox) -> None:
    android, laptop = "f:" + "A" * 140, browser_address(sandbox.directory / "sandbox", "laptop")
    system.feed([
        system.endpoint("u9", "push", "d1", token("iphone")),
        system.endpoint("u9", "push", "d2", android, platform="android"),
        system.endpoint("u9", "push", "d3", laptop, platform="web"),
    ])  # fmt: skip
    with system.flow("transactional"):
        system.feed([system.p0("u9")])
        wait_for(lambda: len(system.deliveries()) == 3)
    assert {(r["provider"], r["outcome"]) for r in system.deliveries().values()} == {
        ("apns", "DELIVERED"), ("fcm", "DELIVERED"), ("webpush", "DELIVERED"),
    }  # fmt: skip
    reached = [("apns", token("iphone")), ("fcm", android), ("webpush", "laptop")]
    assert [len(sandbox.to(provider, name)) for provider, name in reached] == [1, 1, 1]


def test_a_code_goes_to_push_and_sms_together_and_stands_on_ledger_and_inbox(system: System, sandbox: Sandbox) -> None:
    system.feed([
        system.endpoint("u1", "push", "d1", token("p0a")),
        system.endpoint("u1", "sms", "s", "+14155550101"),
        system.preference("u1", {"master": False}),
    ])  # fmt: skip
    otp, reset = system.p0("u1"), system.p0("u1", "password_reset")
    with system.flow("transactional"):
        system.feed([otp, reset])
        wait_for(lambda: len(system.deliveries()) == 4)
        wait_for(lambda: sum(c["emitted"] for c in system.counts("transactional").values()) == 4)
        wait_for(lambda: not any(c["in_flight"] for c in system.counts("transactional").values()))
    assert laws_of_p0(system) == {"1": 0, "1 pending": 0, "2": 0, "2 emissions": 0}
    assert set(outcomes(system).values()) == {("EMITTED", None)}
    assert len(sandbox.to("apns", token("p0a"))) == 2
    assert len(sandbox.to("twilio", "+14155550101")) == 2
    decision = system.decisions()[event_id(reset), "u1"]
    assert (decision["channels"], decision["inbox"]) == (["push", "sms"], True)
    assert (decision["preference_version"], decision["endpoint_version"]) == (0, 1)
    (row,) = system.values("inbox")
    assert (row["op"], row["event_id"]) == ("add", event_id(reset))
    emissions = [value for value in system.values("ledger") if value["kind"] == "emission"]
    assert [emission["deliveries"] for emission in emissions] == [2, 2]
    (counts,) = system.counts("transactional").values()
    assert (counts["resolved"], counts["inbox_items"], counts["fallbacks"], counts["offset"]) == (2, 1, 0, 1)


def test_a_code_that_takes_the_first_channel_passes_over_what_other_processes_say_is_away(
    system: System, sandbox: Sandbox
) -> None:
    (system.directory / "carillon.toml").write_text('[types.otp]\npolicy = "first"\n')
    system.feed([
        system.endpoint("u1", "push", "d1", token("away1")),
        system.endpoint("u1", "sms", "s", "+14155550102"),
        load_record(LoadReport("deliver/0", 0, 0.0, ("push/*",))),
    ])  # fmt: skip
    passing = system.p0("u1")
    with system.flow("transactional"):
        system.feed([passing])
        wait_for(lambda: len(system.deliveries()) == 1)
        system.feed([load_record(LoadReport("deliver/0", 0, 0.0))])
        pushed: list[str] = []

        def is_pushed() -> bool:
            code = system.p0("u1")
            system.feed([code])
            pushed.append(event_id(code))
            wait_for(lambda: (pushed[-1], "u1") in system.decisions())
            return bool(system.decisions()[pushed[-1], "u1"]["channels"] == ["push"])

        wait_for(is_pushed)
    decision = system.decisions()[event_id(passing), "u1"]
    assert (decision["channels"], decision["reason"]) == (["sms"], "passed_over push")
    assert system.decisions()[pushed[-1], "u1"]["reason"] is None


def test_decisions_of_p0_by_the_rules(system: System, sandbox: Sandbox) -> None:
    """What was acknowledged before an event binds it; what ends it is on the record."""
    system.feed([
        system.endpoint("u1", "push", "d1", token("rules1")),
        system.endpoint("u2", "push", "d1", token("rules2"), state="invalid"),
        system.endpoint("u3", "push", "d1", token("rules3")),
    ])  # fmt: skip
    given = {
        "sent": system.p0("u1"),
        "nowhere": system.p0("u2"),
        "own address": system.p0("u2", to={"email": "new@example.com"}),
        "late": system.p0("u1", ingested_at=now_ms() - 700_000),
        "again": system.p0("u1", event_id="p0_1"),
        "keyed": system.p0("u1", idempotency_key="k"),
        "keyed again": system.p0("u1", idempotency_key="k"),
        "retraction": system.p0("u1", "security_alert", retracts=True),
        "not p0": system.p0("u1", "like", priority="P1"),
    }
    with system.flow("transactional"):
        system.feed(list(given.values()))
        wait_for(lambda: len(system.decisions()) == 6)
        wait_for(lambda: len(system.deliveries()) == 3)  # a switch stops also what is decided and not yet sent
        system.kill_switch("sender", "accounts")
        stopped = system.p0("u3")
        system.feed([stopped])
        wait_for(lambda: len(system.decisions()) == 7)
        wait_for(lambda: system.values("dead_letters"))
    found = outcomes(system)
    assert found[event_id(given["sent"])] == ("EMITTED", None)
    assert found[event_id(given["nowhere"])] == ("SUPPRESSED", "no_channel")
    assert found[event_id(given["own address"])] == ("EMITTED", None)
    assert found[event_id(given["late"])] == ("EXPIRED", None)
    assert found[event_id(given["keyed"])] == ("EMITTED", None)
    assert event_id(given["keyed again"]) not in found
    assert found[event_id(given["retraction"])] == ("SUPPRESSED", "retraction")
    assert found[event_id(stopped)] == ("SUPPRESSED", "kill_switch")
    assert {record["outcome"] for record in system.deliveries().values()} == {"DELIVERED"}
    assert len(sandbox.to("apns", token("rules1"))) == 2
    assert len(sandbox.to("smtp", "new@example.com")) == 1
    (letter,) = system.values("dead_letters")
    assert letter["stage"] == "transactional"


def test_a_preference_and_an_endpoint_acknowledged_before_bind(system: System, sandbox: Sandbox) -> None:
    """Ten times: endpoint, at once the event; and the endpoint is known every time."""
    with system.flow("transactional"):
        time.sleep(1.0)
        for number in range(10):
            system.feed([system.endpoint(f"bind{number}", "push", "d1", token(f"bind{number}"))])
            system.feed([system.p0(f"bind{number}")])
        wait_for(lambda: len(system.deliveries()) == 10)
    assert set(outcomes(system).values()) == {("EMITTED", None)}


def test_an_unanswered_code_is_sent_again_under_the_same_id(system: System, sandbox: Sandbox) -> None:
    """The answer was lost; two codes beat none."""
    device = "rst-" + "q" * 30
    system.feed([system.endpoint("u1", "push", "d1", device)])
    with system.flow("transactional"):
        system.feed([system.p0("u1")])
        wait_for(lambda: len(sandbox.to("apns", device)) >= 2)
    first, second, *_ = sandbox.to("apns", device)
    assert first["id"] == second["id"]


def test_after_kill_9_open_codes_go_out_again_and_nothing_is_decided_twice(system: System, sandbox: Sandbox) -> None:
    system.feed([system.endpoint(f"k{n}", "push", "d1", f"slow100-{n:03}".ljust(40, "0")) for n in range(40)])
    process = system.start("transactional")
    system.feed([system.p0(f"k{n}") for n in range(20)])
    wait_for(lambda: sum(v["state"] == "answer" for v in system.values("attempts")) >= 1)
    kill(process)
    open_intents: set[str] = set()
    for value in system.values("attempts"):
        (open_intents.add if value["state"] == "intent" else open_intents.discard)(value["key"])
    system.feed([system.p0(f"k{n}") for n in range(20, 40)])
    with system.flow("transactional"):
        wait_for(lambda: len(system.deliveries()) == 40)
    deliveries = system.deliveries()
    assert {record["outcome"] for record in deliveries.values()} == {"DELIVERED"}
    seen: dict[str, int] = {}
    for entry in sandbox.journal("apns"):
        seen[str(entry["id"])] = seen.get(str(entry["id"]), 0) + 1
    assert seen.keys() == {record["provider_id"] for record in deliveries.values()}
    assert sum(times - 1 for times in seen.values()) <= len(open_intents)
    told: dict[tuple[str, str], set[tuple[str, int]]] = {}
    for value in system.values("ledger"):
        if value["kind"] == "decision":
            states = told.setdefault((value["event_id"], value["user"]), set())
            states.add((value["outcome"], value["decided_at"]))
    assert len(told) == 40
    assert all(len(states) == 1 for states in told.values())
    assert laws_of_p0(system)["1"] == 0


def test_without_its_state_the_flow_goes_by_the_ledger_and_sends_nothing_again(
    system: System, sandbox: Sandbox
) -> None:
    system.feed([system.endpoint("u1", "push", "d1", token("gone1"))])
    old = now_ms() - 7_000_000
    keyed, nowhere = system.p0("u1", idempotency_key="k"), system.p0("u2")
    early = system.p0("u1", ingested_at=old, ttl_ms=86_400_000, idempotency_key="j")
    repeat = system.p0("u1", ingested_at=old + 60_000, ttl_ms=86_400_000, idempotency_key="j")
    with system.flow("transactional"):
        system.feed([early, repeat, keyed, nowhere])
        wait_for(lambda: len(system.decisions()) == 3)
        wait_for(lambda: sum(c["resolved"] - c["in_flight"] for c in system.counts("transactional").values()) == 3)
        wait_for(lambda: len(system.deliveries()) == 2)
    before, records = system.decisions(), system.values("ledger")
    assert {value["outcome"] for value in before.values()} == {"EMITTED", "SUPPRESSED"}
    shutil.rmtree(system.directory / "state" / "transactional")
    system.feed([
        system.endpoint("u1", "push", "d2", token("gone2")),
        system.endpoint("u1", "sms", "s", "+14155550121"),
        system.endpoint("u2", "push", "d1", token("gone3")),
    ])  # fmt: skip
    system.feed([system.p0("u1", idempotency_key="k"), system.p0("u1", event_id=event_id(keyed))])
    new = system.p0("u2")
    for _ in range(2):  # the second start has a store again
        with system.flow("transactional"):
            if event_id(new) not in outcomes(system):
                system.feed([new])
            wait_for(lambda: len(system.decisions()) == 4)
            wait_for(lambda: sum(c["resolved"] - c["in_flight"] for c in system.counts("transactional").values()) == 4)
            wait_for(lambda: len(system.deliveries()) == 3)
            time.sleep(0.5)
    assert {key: value for key, value in system.decisions().items() if key in before} == before
    assert [v["kind"] for v in system.values("ledger")[len(records) :]].count("decision") <= 2
    assert len(sandbox.to("apns", token("gone1"))) == 2
    assert not sandbox.to("apns", token("gone2"))
    assert not sandbox.to("twilio", "+14155550121")
    assert len(sandbox.to("apns", token("gone3"))) == 1
    assert sum(c["emitted"] for c in system.counts("transactional").values()) == 3
    assert laws_of_p0(system) == {"1": 0, "1 pending": 0, "2": 0, "2 emissions": 0}


def test_without_its_state_the_flow_resumes_what_attempts_knows(system: System, sandbox: Sandbox) -> None:
    device = token("gone")
    system.feed([system.endpoint("u1", "push", "d1", device)])
    sandbox.steering().put("apns", "hang")
    try:
        process = system.start("transactional")
        system.feed([system.p0("u1")])
        wait_for(lambda: system.counts("transactional"))
        wait_for(lambda: system.values("attempts"))
        kill(process)
    finally:
        sandbox.steering().lift()
    assert not system.deliveries()
    shutil.rmtree(system.directory / "state" / "transactional")
    system.feed([system.endpoint("u1", "push", "d2", token("later"))])
    with system.flow("transactional"):
        wait_for(system.deliveries)
        wait_for(lambda: not any(c["in_flight"] for c in system.counts("transactional").values()))
    (delivery,) = system.deliveries().values()
    assert delivery["outcome"] == "DELIVERED"
    assert {entry["id"] for entry in sandbox.to("apns", device)} == {delivery["provider_id"]}
    assert not sandbox.to("apns", token("later"))
    assert len([v for v in system.values("ledger") if v["kind"] == "decision"]) == 1
    assert laws_of_p0(system) == {"1": 0, "1 pending": 0, "2": 0, "2 emissions": 0}


def test_push_first_sends_the_text_only_when_no_provider_takes_the_push_in_time(
    system: System, sandbox: Sandbox
) -> None:
    """The timer outlives a kill -9: decided before, due after it."""
    (system.directory / "carillon.toml").write_text('[types.otp]\npolicy = "push_first"\n')
    never, soon, gone = "503-" + "v" * 30, token("soon"), "gone-" + "w" * 30
    for user, device, phone in (("n", never, "+14155550111"), ("s", soon, "+14155550112"), ("g", gone, "+14155550113")):
        system.feed([system.endpoint(user, "push", "d1", device), system.endpoint(user, "sms", "s", phone)])
    process = system.start("transactional")
    system.feed([system.p0("first")])
    wait_for(system.decisions)  # it has started
    began = now_ms()
    system.feed([system.p0("n"), system.p0("s"), system.p0("g")])
    wait_for(lambda: sandbox.to("twilio", "+14155550113"))
    wait_for(lambda: len(sandbox.to("apns", never)) >= 2)
    kill(process)
    is_due = now_ms() - began >= HURRY_MS
    assert is_due or not sandbox.to("twilio", "+14155550111"), "a dead token is no reason to wait"
    with system.flow("transactional"):
        wait_for(lambda: sandbox.to("twilio", "+14155550111"))
        time.sleep(0.5)
    sms = {record["user"]: record for record in system.deliveries().values() if record["channel"] == "sms"}
    assert sms.keys() == {"n", "g"}
    assert sms["n"]["outcome"] == "DELIVERED"
    assert sms["n"]["attempts"][0]["at"] - began >= HURRY_MS
    assert not sandbox.to("twilio", "+14155550112")
    assert len(sandbox.to("twilio", "+14155550111")) == 1


def kept_decisions(path: Path) -> list[tuple[bytes, bytes, bytes, int]]:
    if not path.exists():
        return []
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10)) as file:
        tables = file.execute("SELECT 1 FROM sqlite_master WHERE name = 'decision'").fetchall()
        return file.execute("SELECT event, deliveries, used, done FROM decision").fetchall() if tables else []


def test_the_decision_log_keeps_event_addresses_and_what_was_read(system: System, sandbox: Sandbox) -> None:
    system.feed([system.endpoint("u1", "push", "d1", token("kept"))])
    record = system.p0("u1")
    with system.flow("transactional"):
        system.feed([record])
        path = system.directory / "state" / "transactional" / f"p{record.partition:03}" / "lane.sqlite"
        wait_for(lambda: [done for *_, done in kept_decisions(path)] == [1], what="the decision to be kept as done")
    ((event, deliveries, used, _),) = kept_decisions(path)
    assert event == record.value
    assert token("kept").encode() in deliveries
    assert f'"endpoints/{record.partition}":1'.encode() in used


def test_p0_is_fast_enough_to_be_sane(system: System, sandbox: Sandbox) -> None:
    """No measurement: that is bench/delivery.py. Nothing here polls for seconds: who does is slow each time, and a busy
    machine is not.
    """
    system.feed([system.endpoint("u1", "push", "d1", token("fast"))])

    def median_ms(count: int) -> int:
        names = set[str]()
        for _ in range(count):
            code = system.p0("u1")
            names.add(event_id(code))
            system.feed([code])
            time.sleep(0.05)
        wait_for(lambda: names <= {record["first_event_id"] for record in system.deliveries().values()})
        at = {r["first_event_id"]: r["attempts"][0]["at"] for r in system.deliveries().values()}
        accepted = {event: value["ingested_at"] for (event, _), value in system.decisions().items()}
        latencies = sorted(at[name] - accepted[name] for name in names)
        print(f"accepted to intent, ms: {latencies}")
        return int(latencies[count // 2])

    with system.flow("transactional"):
        median_ms(1)  # it has started
        assert any(median_ms(20) < 500 for _ in range(10))


def test_a_code_goes_through_an_smsc_whose_receipt_is_heard_and_too_many_do_not_go(
    system: System, sandbox: Sandbox
) -> None:
    """[providers.smpp] and [sms] in the configuration are all that it takes."""
    smpp = sandbox.options.smpp
    (system.directory / "carillon.toml").write_text(
        f'[providers.smpp]\nhost = "127.0.0.1"\nport = {smpp.port}\nca_file = "{smpp.ca_file}"\n'
        f'system_id = "{smpp.system_id}"\npassword = "{smpp.password}"\nsender = "{smpp.sender}"\n'
        '[sms]\nothers_allowed = false\n[sms.destinations."+1415"]\nprice = 0.01\nper_h = 1\n'
    )
    for user, number in (("s1", "+14155550181"), ("s2", "+14155550182"), ("s3", "+16505550183")):
        system.feed([system.endpoint(user, "sms", "s", number)])
    first, others = system.p0("s1"), [system.p0("s2"), system.p0("s3")]
    with system.flow("transactional"):
        system.feed([first])
        wait_for(lambda: len(system.deliveries()) == 1, what=system.output("transactional"))
        system.feed(others)
        wait_for(lambda: len(system.deliveries()) == 3, what=system.output("transactional"))
        wait_for(lambda: system.values("outcomes"), what=system.output("transactional"))
    ends = {(record["user"], record["outcome"], record["reason"]) for record in system.deliveries().values()}
    assert ends == {
        ("s1", "DELIVERED", None), ("s2", "SUPPRESSED", "sms_limit"), ("s3", "SUPPRESSED", "sms_destination"),
    }  # fmt: skip
    (heard,) = system.values("outcomes")
    (sent,) = (record for record in system.deliveries().values() if record["user"] == "s1")
    assert (heard["outcome"], heard["provider"], heard["user"]) == ("delivered", "smpp", "s1")
    assert (heard["emission_id"], heard["first_event_id"]) == (sent["emission_id"], event_id(first))
    assert [entry["to"] for entry in sandbox.journal("smpp")] == ["+14155550181"]
    assert sandbox.journal("twilio") == []
