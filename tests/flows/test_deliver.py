"""The deliver flow as a process, against the sandbox providers: what arrives, what is tried again, what is stopped."""

from __future__ import annotations

import email
import email.policy
import hashlib
import time

from helpers.feeding import Device, System, addresses, now_ms, token
from helpers.obeying import wait_until_obeyed
from helpers.sandbox_process import Sandbox
from helpers.waiting import wait_for

from connectors.sandbox.options import browser_address
from connectors.sandbox.ports import read_ports


def test_push_sms_and_mail_arrive_and_stand_on_the_ledger(system: System, sandbox: Sandbox) -> None:
    system.feed([
        system.emission("u1", "push", [("d1", token(1)), ("d2", token(2))]),
        system.emission("u2", "sms", [("p", "+14155550100")], type="otp", payload={"code": "123456"}),
        system.emission("u3", "email", [("m", "u3@example.com")], type="newsletter", priority="P2", locale="de",
                        category="marketing"),
    ])  # fmt: skip
    with system.flow("deliver"):
        wait_for(lambda: len(system.deliveries()) == 4)
        wait_for(lambda: sum(counts["accepted"] for counts in system.counts("deliver").values()) == 4)
    deliveries = system.deliveries()
    assert {record["outcome"] for record in deliveries.values()} == {"DELIVERED"}
    assert {entry["to"] for entry in sandbox.journal("apns")} == {token(1), token(2)}
    assert [entry["to"] for entry in sandbox.journal("twilio")] == ["+14155550100"]
    (mail,) = sandbox.journal("smtp")
    seen = {str(entry["id"]) for name in ("apns", "twilio", "smtp") for entry in sandbox.journal(name)}
    assert seen == {record["provider_id"] for record in deliveries.values()}
    assert all(len(record["attempts"]) == 1 for record in deliveries.values())
    path = sandbox.directory / "sandbox" / "mail" / f"{hashlib.sha256(str(mail['id']).encode()).hexdigest()[:40]}.eml"
    message = email.message_from_bytes(path.read_bytes(), policy=email.policy.default)
    assert message["To"] == "u3@example.com"
    assert [part.get_content_type() for part in message.walk()][1:] == ["text/plain", "text/html"]
    assert "Newsletter" in str(message["Subject"])
    for counts in system.counts("deliver").values():
        assert counts["in_flight"] == 0


def test_each_device_of_a_user_is_reached_by_the_provider_of_its_platform(system: System, sandbox: Sandbox) -> None:
    android = "f:" + "A" * 140
    devices: list[Device] = [
        ("d1", token(1)),
        ("d2", android, "android"),
        ("d3", "gone-f", "Android"),
        ("d4", token(4), None),
        ("d5", browser_address(sandbox.directory / "sandbox", "laptop"), "web"),
        ("d6", browser_address(sandbox.directory / "sandbox", "gone-w"), "web"),
    ]
    system.feed([system.emission("u1", "push", devices)])
    with system.flow("deliver"):
        wait_for(lambda: len(system.deliveries()) == 6)
        wait_for(lambda: len(system.read("endpoints")) == 2)
    found = {r["device"]: (r["provider"], r["outcome"], r["reason"]) for r in system.deliveries().values()}
    assert found == {
        "d1": ("apns", "DELIVERED", None), "d2": ("fcm", "DELIVERED", None),
        "d3": ("fcm", "DEAD_LETTER", "UNREGISTERED"), "d4": ("apns", "DELIVERED", None),
        "d5": ("webpush", "DELIVERED", None), "d6": ("webpush", "DEAD_LETTER", "status 410"),
    }  # fmt: skip
    assert {entry["to"] for entry in sandbox.journal("apns")} == {token(1), token(4)}
    assert {entry["to"] for entry in sandbox.journal("fcm")} == {android, "gone-f"}
    assert {entry["to"] for entry in sandbox.journal("webpush")} == {"laptop", "gone-w"}
    verdicts = {(verdict["id"], verdict["state"]) for verdict in system.values("endpoints")}
    assert verdicts == {("d3", "invalid"), ("d6", "invalid")}


def test_webhooks_and_chats_arrive_and_one_that_is_gone_is_retired(system: System, sandbox: Sandbox) -> None:
    ports = read_ports(sandbox.directory / "sandbox")
    hooks, chats = f"https://127.0.0.1:{ports.webhook}/", f"https://127.0.0.1:{ports.chat}/T/B/"
    system.feed([
        system.emission("u1", "webhook", [("h1", hooks + "a"), ("h2", hooks + "gone-a"), ("h3", hooks + "503x1-a")]),
        system.emission("u2", "chat", [("c1", chats + "x")], priority="P2"),
        system.emission("u3", "webhook", [("h1", "https://169.254.169.254/latest")]),
    ])  # fmt: skip
    with system.flow("deliver"):
        wait_for(lambda: len(system.deliveries()) == 5)
        wait_for(lambda: system.read("endpoints"))
    found = {(r["user"], r["device"]): (r["provider"], r["outcome"], r["reason"]) for r in system.deliveries().values()}
    assert found == {
        ("u1", "h1"): ("webhook", "DELIVERED", None), ("u1", "h2"): ("webhook", "DEAD_LETTER", "status 410"),
        ("u1", "h3"): ("webhook", "DELIVERED", None), ("u2", "c1"): ("chat", "DELIVERED", None),
        ("u3", "h1"): ("webhook", "DEAD_LETTER", "address not allowed"),
    }  # fmt: skip
    (verdict,) = system.values("endpoints")
    assert (verdict["user"], verdict["id"], verdict["state"]) == ("u1", "h2", "invalid")
    first, second = sandbox.to("webhook", hooks + "503x1-a")
    assert (first["id"], first["body_sha256"]) == (second["id"], second["body_sha256"])
    assert len(sandbox.to("chat", chats + "x")) == 1


def test_failures_are_tried_again_within_the_budget_then_fall_back(system: System, sandbox: Sandbox) -> None:
    rest = [{"channel": "email", "devices": addresses([("m", "falls@example.com")])}]
    system.feed([
        system.emission("u1", "push", [("d1", "500x1-" + "a" * 30)]),
        system.emission("u2", "push", [("d1", "bad-" + "b" * 30)], rest=rest),
        system.emission("u3", "push", [("d1", "bad-" + "c" * 30)]),
        system.emission("u4", "push", [("d1", "503-" + "d" * 30)], priority="P2", rest=rest),
    ])  # fmt: skip
    with system.flow("deliver"):
        wait_for(lambda: len(system.deliveries()) == 6)
        wait_for(lambda: sum(counts["fallbacks"] for counts in system.counts("deliver").values()) == 2)
    by_user = {(record["user"], record["channel"]): record for record in system.deliveries().values()}
    retried = by_user["u1", "push"]
    assert retried["outcome"] == "DELIVERED"
    assert [attempt["answer"] for attempt in retried["attempts"]] == ["failed: InternalServerError", "sent"]
    assert retried["attempts"][1]["at"] - retried["attempts"][0]["at"] >= 600
    first, second = sandbox.to("apns", "500x1-" + "a" * 30)
    assert first["id"] == second["id"]
    assert by_user["u2", "push"]["outcome"] == "FELL_BACK"
    assert by_user["u2", "push"]["fell_back_to"] == "email"
    assert by_user["u2", "email"]["outcome"] == "DELIVERED"
    assert (by_user["u3", "push"]["outcome"], by_user["u3", "push"]["reason"]) == ("DEAD_LETTER", "BadDeviceToken")
    assert by_user["u4", "push"]["outcome"] == "FELL_BACK"
    assert len(by_user["u4", "push"]["attempts"]) == 2, "P2 has one retry"
    assert by_user["u4", "email"]["outcome"] == "DELIVERED"


def test_a_410_retires_the_token_as_of_the_providers_time(system: System, sandbox: Sandbox) -> None:
    before = now_ms()
    system.feed([system.emission("u1", "push", [("d1", "gone-" + "a" * 30), ("d2", token(2))])])
    with system.flow("deliver"):
        wait_for(lambda: len(system.deliveries()) == 2)
        wait_for(lambda: system.read("endpoints"))
    (record,) = system.read("endpoints")
    assert record.key == b"u1\0push\0d1\0gone"
    (verdict,) = system.values("endpoints")
    assert (verdict["user"], verdict["channel"], verdict["id"], verdict["state"]) == ("u1", "push", "d1", "invalid")
    assert before <= verdict["gone_at"] <= now_ms()
    assert {r["outcome"] for r in system.deliveries().values()} == {"DEAD_LETTER", "DELIVERED"}
    assert not system.values("dead_letters"), "a retired token is no alarm"


def test_what_is_late_expires_and_is_never_sent(system: System, sandbox: Sandbox) -> None:
    system.feed([system.emission("u1", "push", [("d1", token(1))], valid_until=now_ms() - 1)])
    with system.flow("deliver"):
        wait_for(system.deliveries)
    (record,) = system.deliveries().values()
    assert (record["outcome"], record["attempts"]) == ("EXPIRED", [])
    assert not sandbox.journal("apns")


def test_a_kill_switch_that_was_on_before_the_start_stops_everything_it_names(system: System, sandbox: Sandbox) -> None:
    system.kill_switch("type", "like")
    system.feed([
        system.emission("u1", "push", [("d1", token(1))]),
        system.emission("u1", "push", [("d1", token(2))], type="reply"),
    ])  # fmt: skip
    with system.flow("deliver"):
        wait_for(lambda: len(system.deliveries()) == 2)
    outcomes = {record["type"]: (record["outcome"], record["reason"]) for record in system.deliveries().values()}
    assert outcomes == {"like": ("SUPPRESSED", "kill_switch"), "reply": ("DELIVERED", None)}
    assert [entry["to"] for entry in sandbox.journal("apns")] == [token(2)]


def test_a_kill_switch_stops_sends_while_they_wait_and_its_lifting_lets_them_go(
    system: System, sandbox: Sandbox
) -> None:
    """One delivery waits for its retry, a minute away, when the switch comes; another comes after it was lifted."""
    with system.flow("deliver"):
        sandbox.steering().put("apns", "503", retry_after_s=60)
        try:
            system.feed([system.emission("u1", "push", [("d1", token(1))])])
            wait_for(lambda: len(sandbox.to("apns", token(1))) == 1)
            system.kill_switch("channel", "push")
            wait_for(system.deliveries)
        finally:
            sandbox.steering().lift()
        system.kill_switch("channel", "push", on=False)
        wait_until_obeyed(system.directory, system.log)
        system.feed([system.emission("u2", "push", [("d1", token(2))])])
        wait_for(lambda: len(system.deliveries()) == 2)
    outcomes = {r["user"]: (r["outcome"], r["reason"]) for r in system.deliveries().values()}
    assert outcomes == {"u1": ("SUPPRESSED", "kill_switch"), "u2": ("DELIVERED", None)}
    assert len(sandbox.to("apns", token(1))) == 1


def test_repeated_records_and_keys_are_sent_once(system: System, sandbox: Sandbox) -> None:
    record = system.emission("u1", "push", [("d1", token(1))])
    again = system.emission("u1", "push", [("d1", token(1))], emission_id="em_" + "1".zfill(32))
    with system.flow("deliver"):
        system.feed([record, record])
        wait_for(system.deliveries)
        time.sleep(1.0)
        system.feed([again, record])
        system.feed([system.emission("u1", "push", [("d2", token(2))])])
        wait_for(lambda: len(system.deliveries()) == 2)
    assert len(sandbox.to("apns", token(1))) == 1


def test_a_timeout_after_the_send_ends_as_unknown_and_is_not_sent_again(system: System, sandbox: Sandbox) -> None:
    system.feed([system.emission("u1", "push", [("d1", "rst-" + "a" * 30)])])
    with system.flow("deliver"):
        wait_for(system.deliveries)
        time.sleep(1.0)
    (record,) = system.deliveries().values()
    assert record["outcome"] == "UNKNOWN"
    assert len(sandbox.to("apns", "rst-" + "a" * 30)) == 1


def test_a_malformed_record_becomes_a_dead_letter_and_the_rest_goes_on(system: System, sandbox: Sandbox) -> None:
    good = system.emission("u1", "push", [("d1", token(1))])
    bad = good._replace(value=b'{"user": 7}', headers=(("schema", b"emission/1+json"), ("seq", b"d:1:999:0")))
    system.feed([bad, good])
    with system.flow("deliver"):
        wait_for(lambda: system.deliveries() and system.values("dead_letters"))
    (letter,) = system.values("dead_letters")
    assert letter["source"][0] == "deliver.push"


def test_a_provider_that_has_too_much_is_left_alone_as_long_as_it_says(system: System, sandbox: Sandbox) -> None:
    """Whoever else is to be reached by it waits, other providers' go; the simulated FCM asks for twelve seconds."""
    phones = [f"f:{number:060}" for number in range(10)]
    refused = "429x1-" + "g" * 20
    with system.flow("deliver"):
        system.feed([system.emission("u0", "push", [("d", refused, "android")])])
        said = system.output("deliver")
        wait_for(lambda: "answer" in {each["state"] for each in system.values("attempts")}, what=said)
        system.feed([system.emission(f"u{n}", "push", [("d", at, "android")]) for n, at in enumerate(phones)])
        system.feed([system.emission("other", "push", [("d", token("iphone"))])])
        wait_for(lambda: len(system.deliveries()) == 12, what=system.output("deliver"))
    first, *later = sorted(int(str(entry["ts"])) for entry in sandbox.journal("fcm"))
    assert len(later) == 11
    assert later[0] - first >= 12_000 - 50
    (iphone,) = sandbox.to("apns", token("iphone"))
    assert int(str(iphone["ts"])) < later[0]
    assert {record["outcome"] for record in system.deliveries().values()} == {"DELIVERED"}
