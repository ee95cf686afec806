"""`carillon mail intake`: what a returned mail says reaches the log once, and only if we sent the mail it is about."""

from __future__ import annotations

import json
import smtplib
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from helpers.callers import user_call
from helpers.flow_bench import PARTITIONS, Bench
from helpers.gateway import Gateway, running
from helpers.gateway_process import LINK_KEYS
from typer.testing import CliRunner, Result

from connectors.gateway.records import endpoint_record
from connectors.log import NewRecord
from connectors.providers.email.feedback_loop import FeedbackOptions
from flows.cli import app
from flows.commands.mail_intake import MailIntake
from flows.commands.mail_listen import mail_server_options
from flows.commands.output import Output
from flows.config.access import LINK_KEY_FILE
from flows.config.settings import Settings
from flows.process.run_files import Running, write_running
from state.model.bounce_address import BounceAddresses
from state.model.errors import ConfigurationError
from state.model.receipt import ReferenceKeys, SentDelivery
from state.model.unsubscribe import LinkKeys, Unsubscription
from state.model.work import EndpointWork


@pytest.fixture
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with running(tmp_path_factory.mktemp("gateway")) as gateway:
        yield gateway


KEY, BASE, REGISTERED = b"k" * 32, "bounce@ours.example", 1_700_000_000_000
ADDRESSES = BounceAddresses(BASE, [KEY])


def registered(user: str, at: int = REGISTERED, state: str = "active") -> NewRecord:
    endpoint = {"address": f"{user}@there.example", "state": state}
    return endpoint_record(user, "email", "m", endpoint, at, lambda _topic: PARTITIONS)


def bounce(to: str, said: str = "550 5.1.1 no such user") -> str:
    head = f"From: MAILER-DAEMON@mx.there.example\nTo: {to}\nSubject: failure notice\n\n"
    return f"{head}<other@there.example>:\n{said}\n"


def to(user: str, at: int = REGISTERED, key: bytes = KEY) -> str:
    return BounceAddresses(BASE, [key]).of(user, "m", at)


@pytest.fixture
def system(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.chdir(bench.directory)
    (bench.directory / LINK_KEY_FILE).write_bytes(KEY)
    (bench.directory / "carillon.toml").write_text(
        '[providers.smtp]\nhost = "localhost"\nsender = "news@ours.example"\n'
        f'bounce_address = "{BASE}"\n[limits]\ngone_per_h = 3\n'
    )
    return bench


def run(system: Bench, *arguments: str) -> Result:
    data = ["--data", str(system.directory), "--json"]
    return CliRunner().invoke(app, ["mail", "intake", *arguments, *data], catch_exceptions=False)


def done(result: Result) -> list[str]:
    return [json.loads(line)["done"] for line in result.output.splitlines()]


def gone(system: Bench) -> list[dict[str, Any]]:
    bodies = [json.loads(record.value) for record in system.read("endpoints")]
    return [body for body in bodies if "gone_at" in body]


def test_a_hard_bounce_retires_what_its_mail_was_sent_to_once(system: Bench, tmp_path: Path) -> None:
    system.log.append([registered("ann"), registered("bob")])
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "1").write_text(bounce(to("ann")))
    (tmp_path / "new" / "2").write_text(bounce(to("bob"), "552 5.2.2 mailbox full"))
    (tmp_path / "new" / "3").write_text(bounce(to("ann")))
    first, second = run(system, str(tmp_path)), run(system, str(tmp_path))
    assert (first.exit_code, done(first)) == (0, ["retired", "nothing", "gone_before"])
    assert (second.exit_code, done(second)) == (0, ["gone_before", "nothing", "gone_before"])
    assert gone(system) == [
        {"user": "ann", "channel": "email", "id": "m", "state": "invalid", "gone_at": REGISTERED}
    ]  # fmt: skip


def returned_mail(said: str, emission: str, key: bytes = KEY) -> str:
    sent = SentDelivery("ann", emission, "email", "m", REGISTERED)
    reference = ReferenceKeys([key]).sign(sent)
    head = f"From: news@ours.example\nMessage-ID: <{emission}@ours.example>\nX-Carillon-Reference: {reference}"
    return f"{bounce(to('ann'), said)}\n--- Below this line is a copy of the message.\n\n{head}\n\nHi\n"


def outcomes(system: Bench) -> list[tuple[str, str, str, str]]:
    bodies = [json.loads(record.value) for record in system.read("outcomes")]
    return [(body["emission_id"], body["outcome"], body["reason"], body["provider_id"]) for body in bodies]


def test_bounces_are_counted_once_for_a_delivery_however_often_they_are_read(system: Bench, tmp_path: Path) -> None:
    system.log.append([registered("ann")])
    for number, (said, emission) in enumerate(
        [("552 5.2.2 mailbox full", "em_1"), ("552 5.2.2 mailbox full", "em_1"), ("550 5.1.1 no such user", "em_2")]
    ):
        (tmp_path / f"{number}.eml").write_text(returned_mail(said, emission))
    (tmp_path / "8.eml").write_text(returned_mail("552 5.2.2 mailbox full", "em_3", key=b"x" * 32))
    (tmp_path / "9.eml").write_text(returned_mail("452 4.2.2 mailbox full; message delayed, will keep trying", "em_4"))
    files = [str(file) for file in sorted(tmp_path.glob("*.eml"))]
    for _ in range(2):
        run(system, *files)
    assert sorted(outcomes(system)) == [
        ("em_1", "soft_bounced", "full/5.2.2", "<em_1@ours.example>"),
        ("em_2", "bounced", "user_unknown/5.1.1", "<em_2@ours.example>"),
    ]
    assert len(gone(system)) == 1


def test_sequence_hands_the_verdict_on(system: Bench, tmp_path: Path) -> None:
    system.log.append([registered("ann")])
    (tmp_path / "1.eml").write_text(bounce(to("ann")))
    assert done(run(system, str(tmp_path / "1.eml"))) == ["retired"]
    system.sequence()
    endpoints = [work for _, _, work in system.work() if isinstance(work, EndpointWork)]
    assert [(work.user, work.channel, work.id, work.gone_at) for work in endpoints][-1] == (
        "ann", "email", "m", REGISTERED,
    )  # fmt: skip


def test_who_registered_again_stays(system: Bench, tmp_path: Path) -> None:
    system.log.append([registered("ann"), registered("ann", REGISTERED + 1)])
    (tmp_path / "1.eml").write_text(bounce(to("ann")))
    assert done(run(system, str(tmp_path / "1.eml"))) == ["gone_before"]
    assert gone(system) == []


@pytest.mark.parametrize(
    "address", ["ann@there.example", BASE, to("ann", key=b"x" * 32), to("cas"), to("ann")[:-20] + "@other.example"]
)
def test_a_bounce_of_what_was_not_sent_changes_nothing(address: str, system: Bench, tmp_path: Path) -> None:
    system.log.append([registered("ann")])
    (tmp_path / "1.eml").write_text(bounce(address))
    assert done(run(system, str(tmp_path / "1.eml"))) == ["not_ours"]
    assert gone(system) == []


def test_more_in_an_hour_than_the_limit_wait_for_somebody_who_looks(system: Bench, tmp_path: Path) -> None:
    users = [f"u{number}" for number in range(5)]
    system.log.append([registered(user) for user in users])
    box = tmp_path / "box"
    box.write_text("\n".join(f"From x Sat Nov 28 10:00:00 2026\n{bounce(to(user))}" for user in users))
    first, second = run(system, str(box)), run(system, str(box))
    assert (first.exit_code, done(first)) == (1, ["retired"] * 3 + ["withheld"] * 2)
    assert (second.exit_code, done(second)) == (1, ["gone_before"] * 3 + ["withheld"] * 2)
    assert done(run(system, str(box), "--believe-all")) == ["gone_before"] * 3 + ["retired"] * 2
    assert sorted(each["user"] for each in gone(system)) == users


@contextmanager
def listening(directory: Path) -> Iterator[tuple[subprocess.Popen[str], smtplib.SMTP]]:
    """The intake as a mail server, and a client that is connected; it is ended behind this."""
    command = [sys.executable, "-m", "flows.cli", "mail", "intake", "--listen", "127.0.0.1:0", "--json"]
    started = subprocess.Popen([*command, "--data", str(directory)], stdout=subprocess.PIPE, text=True)
    with started as process:
        assert process.stdout is not None
        try:
            port = int(json.loads(process.stdout.readline())["listening"].rpartition(":")[2])
            with smtplib.SMTP("127.0.0.1", port, timeout=90) as client:
                client.ehlo()
                yield process, client
        finally:
            process.terminate()


def test_as_a_mail_server_it_answers_what_is_on_the_log_and_sends_the_rest_away(system: Bench) -> None:
    users = [f"u{number}" for number in range(5)]
    system.log.append([registered(user) for user in users])
    with listening(system.directory) as (process, client):
        said = []
        for user in users:
            client.mail("")
            assert client.rcpt(to(user))[0] == 250
            said.append(client.data(bounce("news@ours.example"))[0])  # only the envelope says whose it is
        client.mail("")
        said.append(client.rcpt(to("ann", key=b"x" * 32))[0])
        client.quit()
        process.terminate()
        output, _ = process.communicate(timeout=90)
    assert (process.returncode, said) == (0, [250] * 3 + [451] * 2 + [550])
    assert [each["user"] for each in gone(system)] == users[:3]
    assert [json.loads(line)["done"] for line in output.splitlines()] == ["retired"] * 3 + ["withheld"] * 2


@pytest.mark.parametrize("arguments", [[], ["x.eml", "--listen", "127.0.0.1:0"]])
def test_it_reads_files_or_listens(arguments: list[str], system: Bench) -> None:
    result = run(system, *arguments)
    assert result.exit_code == 2
    assert "--listen" in result.output


@pytest.mark.parametrize("address", ["2525", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:99999", ":25"])
def test_an_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(ConfigurationError, match="host and a port"):
        mail_server_options(address, None, None)


def test_a_certificate_that_cannot_be_used_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.pem").write_text("")
    for name in ("empty.pem", "none.pem"):
        with pytest.raises(ConfigurationError, match=name):
            mail_server_options("127.0.0.1:0", tmp_path / name, None)


def test_without_an_address_for_bounces_it_refuses(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "1.eml").write_text(bounce(to("ann")))
    result = CliRunner().invoke(app, ["mail", "intake", str(tmp_path), "--data", str(bench.directory)])
    assert result.exit_code == 1
    assert "providers.smtp.bounce_address" in str(result.exception)


def complaint(sent: str, kind: str = "abuse") -> str:
    head = 'From: fbl@there.example\nSubject: complaint\nContent-Type: multipart/report; boundary="b"'
    report = f"Content-Type: message/feedback-report\n\nFeedback-Type: {kind}\nVersion: 1\nUser-Agent: x\n"
    return f"{head}\n\n--b\n\nA complaint.\n--b\n{report}\n--b\nContent-Type: message/rfc822\n\n{sent}\n\nHi\n--b--\n"


def unsubscribed(gateway: Gateway, user: str) -> Any:
    return user_call(gateway, "GET", "/v1/preferences", user=user).json.get("unsubscribed")


def intake(gateway: Gateway, url: str | None, path: Path) -> bool:
    addresses = BounceAddresses(BASE, LINK_KEYS)
    settings = Settings(data_dir=gateway.directory)
    links, references = LinkKeys(LINK_KEYS), ReferenceKeys(LINK_KEYS)
    return MailIntake(settings, gateway.log, addresses, links, references, Output(as_json=True), lambda: url).run(
        [path]
    )


def test_a_complaint_switches_off_what_the_link_of_its_mail_would(gateway: Gateway, tmp_path: Path) -> None:
    user, file = uuid4().hex, tmp_path / "1.eml"
    token = LinkKeys(LINK_KEYS).sign(Unsubscription(user, "email", ("social",), 1))
    folded = f"List-Unsubscribe: <https://notify.example/v1/unsubscribe/{token[:50]}\n {token[50:]}>"
    file.write_text(complaint(f"From: news@ours.example\n{folded}"))
    assert not intake(gateway, None, file)
    assert not intake(gateway, "http://127.0.0.1:9", file)
    assert unsubscribed(gateway, user) is None
    assert intake(gateway, f"http://127.0.0.1:{gateway.port}", file)
    assert intake(gateway, f"http://127.0.0.1:{gateway.port}", file)
    assert unsubscribed(gateway, user) == {"email": ["social"]}


def test_who_listens_finds_a_gateway_that_started_later(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(gateway.directory)
    (gateway.directory / LINK_KEY_FILE).write_bytes(LINK_KEYS[0])
    (gateway.directory / "carillon.toml").write_text(
        f'[providers.smtp]\nhost = "localhost"\nsender = "news@ours.example"\nbounce_address = "{BASE}"\n'
    )
    user = uuid4().hex
    token = LinkKeys(LINK_KEYS).sign(Unsubscription(user, "email", ("social",), 1))
    mail = complaint(f"From: news@ours.example\nList-Unsubscribe: <https://notify.example/v1/unsubscribe/{token}>")
    address = BounceAddresses(BASE, LINK_KEYS).of(user, "m", 7)
    with listening(gateway.directory) as (_, client):
        said = []
        for url in (None, "http://127.0.0.1:9", f"http://127.0.0.1:{gateway.port}"):
            if url is not None:
                write_running(gateway.directory, Running(url, url, "embedded", {"gateway": 1}))
            client.mail("")
            assert client.rcpt(address)[0] == 250
            said.append(client.data(mail)[0])
    assert said == [451, 451, 250]
    assert unsubscribed(gateway, user) == {"email": ["social"]}


def test_a_complaint_without_a_link_ends_marketing_and_those_of_servers_end_nothing(
    gateway: Gateway, tmp_path: Path
) -> None:
    user, file = uuid4().hex, tmp_path / "1.eml"
    gateway.log.append([endpoint_record(user, "email", "m", {"address": "a@b.example"}, 7, gateway.log.partitions)])
    address = BounceAddresses(BASE, LINK_KEYS).of(user, "m", 7)
    for kind, expected in (("auth-failure", None), ("not-spam", None), ("abuse", {"email": ["marketing"]})):
        file.write_text(complaint(f"Return-Path: <{address}>\nFrom: news@ours.example", kind))
        assert intake(gateway, f"http://127.0.0.1:{gateway.port}", file)
        assert unsubscribed(gateway, user) == expected


def test_feedback_is_taken_at_its_own_address_and_nothing_but_complaints_of_ours_counts(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(gateway.directory)
    (gateway.directory / LINK_KEY_FILE).write_bytes(LINK_KEYS[0])
    (gateway.directory / "carillon.toml").write_text(
        f'[providers.smtp]\nhost = "localhost"\nsender = "news@ours.example"\nbounce_address = "{BASE}"\n'
        '[mail]\nfeedback_address = "fbl@ours.example"\nfeedback_per_h = 4\n'
    )
    url, user, other = f"http://127.0.0.1:{gateway.port}", uuid4().hex, uuid4().hex
    write_running(gateway.directory, Running(url, url, "embedded", {"gateway": 1}))
    gateway.log.append([endpoint_record(user, "email", "m", {"address": "a@b.example"}, 7, gateway.log.partitions)])
    address = BounceAddresses(BASE, LINK_KEYS).of(user, "m", 7)

    def reference(key: bytes) -> str:
        return ReferenceKeys([key]).sign(SentDelivery(other, "em_1", "email", "m", 7))

    mails = [
        bounce(address),
        complaint(f"From: a@b.example\nX-Carillon-Reference: {reference(b'x' * 32)}"),
        complaint(f"Return-Path: <{address}>\nFrom: news@ours.example"),
        complaint(f"From: news@ours.example\nX-Carillon-Reference: {reference(LINK_KEYS[0])}"),
    ]
    with listening(gateway.directory) as (process, client):
        for mail in mails:
            client.mail("reports@there.example")
            assert client.rcpt("FBL@ours.example")[0] == 250
            assert client.data(mail)[0] == 250
        client.mail("reports@there.example")
        assert client.rcpt("fbl@ours.example")[0] == 452, "one more than the bound"
        assert client.rcpt("fbl+x@ours.example")[0] == 550
        assert client.rcpt(address)[0] == 250, "bounces have no such bound"
        client.quit()
        process.terminate()
        output, _ = process.communicate(timeout=90)
    done = [json.loads(line)["done"] for line in output.splitlines()]
    assert done == ["nothing", "not_ours", "unsubscribed", "unsubscribed"]
    assert [unsubscribed(gateway, each) for each in (user, other)] == [{"email": ["marketing"]}] * 2
    assert all("gone_at" not in json.loads(record.value) for record in gateway.records("endpoints"))


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        (FeedbackOptions("fbl"), "mail.feedback_address"),
        (FeedbackOptions("fbl@ours.example", 0), "mail.feedback_per_h"),
        (FeedbackOptions(), None),
    ],
)
def test_an_address_for_feedback_is_one(options: FeedbackOptions, fault: str | None) -> None:
    assert [each.partition(":")[0] for each in options.faults()] == ([fault] if fault else [])
