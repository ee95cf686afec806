"""`carillon check`: every configured thing is tried, what does not answer is named, secrets are not."""

import socket
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from helpers.sandbox_process import running_sandbox
from helpers.up import carillon

from connectors.admission.options import RedisOptions
from connectors.inbox.options import InboxRedisOptions
from connectors.log.kafka.options import KafkaOptions
from connectors.providers.email.options import SesOptions, SmtpOptions
from connectors.providers.options import TwilioOptions, WebPushOptions
from connectors.providers.push.webpush_token import application_key
from connectors.providers.sms.smpp_options import SmppOptions
from connectors.sandbox.certificates import SandboxFiles, make_certificates
from connectors.sandbox.options import sandbox_options
from flows.commands.check import check, check_ends
from flows.config.options import masked
from flows.config.settings import BrokerOptions, GatewayTable, InboxOptions, ProviderOptions, SenderOptions, Settings
from flows.process.run_files import Running, write_running
from flows.up.ports import any_port
from infra.services import start_redis
from state.model.secret import Secret

CANARY = "canary-secret-0123456789"


def findings(settings: Settings) -> dict[str, tuple[bool, str]]:
    return {finding.what: (finding.ok, finding.detail) for finding in check(settings)}


def test_a_fresh_directory_is_fine_and_stays_untouched(tmp_path: Path) -> None:
    found = findings(Settings(data_dir=tmp_path / "new"))
    assert all(ok for ok, _ in found.values())
    assert list(tmp_path.iterdir()) == []


def test_a_type_that_offers_text_messages_and_may_send_none_is_warned_of(tmp_path: Path) -> None:
    types: dict[str, dict[str, Any]] = {
        "order": {"channels": ["sms", "in_app"]},
        "code": {"channels": ["sms"], "klass": "P0"},
    }
    found = findings(Settings(data_dir=tmp_path, types=types))
    assert found["type order"][0]
    assert "warning: of class P1" in found["type order"][1]
    assert "type code" not in found


def test_redis_that_does_not_answer_is_named_without_its_password(tmp_path: Path) -> None:
    url = f"redis://:{CANARY}@127.0.0.1:{any_port('127.0.0.1')}/0"
    settings = Settings(data_dir=tmp_path, redis=RedisOptions(url))
    ok, detail = findings(settings)["redis"]
    assert not ok
    assert CANARY not in detail + str(masked(settings))


def test_a_redis_that_keeps_inboxes_must_answer_and_evict_nothing(tmp_path: Path, redis_url: str) -> None:
    def found(url: str) -> tuple[bool, str]:
        table = InboxOptions(store="redis", redis=InboxRedisOptions(url))
        return findings(Settings(data_dir=tmp_path, inbox=table))["inbox"]

    assert found(redis_url) == (True, "kept in Redis, which answers")
    port = any_port("127.0.0.1")
    ok, detail = found(f"redis://:{CANARY}@127.0.0.1:{port}/0")
    assert (ok, CANARY in detail) == (False, False)
    assert f"127.0.0.1:{port}" in detail
    evicts, full = ("100mb", "allkeys-lru"), ("600kb", "noeviction")
    for (most, policy), fault in (
        (evicts, "may evict keys; set maxmemory-policy noeviction"),
        (full, "has no memory left, so it takes nothing more; raise maxmemory"),
    ):
        server = start_redis("--maxmemory", most, "--maxmemory-policy", policy)
        try:
            assert found(server.url) == (False, f"redis: {fault}")
        finally:
            server.stop()
    replica = start_redis("--replicaof", "127.0.0.1", str(port))
    try:
        ok, detail = found(replica.url)
        assert (ok, "read only replica" in detail) == (False, True), "it answers, and takes nothing"
    finally:
        replica.stop()


def test_kafka_that_does_not_answer_is_named(tmp_path: Path) -> None:
    kafka = BrokerOptions(deadline=timedelta(seconds=1), bootstrap=f"127.0.0.1:{any_port('127.0.0.1')}")
    assert isinstance(kafka, KafkaOptions)
    begun = time.monotonic()
    found = findings(Settings(data_dir=tmp_path, profile="kafka", kafka=kafka))
    assert found[f"broker {kafka.bootstrap}"] == (False, "Connection refused")
    ok, detail = found["log"]
    assert not ok
    assert detail.startswith("kafka: no Kafka broker can be reached")
    assert time.monotonic() - begun < 8


def test_a_command_without_brokers_names_the_address_and_the_remedy_quickly(tmp_path: Path) -> None:
    broker = f"127.0.0.1:{any_port('127.0.0.1')}"
    begun = time.monotonic()
    carillon("topics", "create", "--data", str(tmp_path / "other"))
    as_long_as_any, begun = time.monotonic() - begun, time.monotonic()
    done = carillon(
        "topics", "create", "--data", str(tmp_path),
        environment={"CARILLON_PROFILE": "kafka", "CARILLON_KAFKA__BOOTSTRAP": broker},
    )  # fmt: skip
    assert done.returncode == 1
    assert f"{broker}: Connection refused" in done.stderr
    assert "CARILLON_KAFKA__BOOTSTRAP=HOST:PORT" in done.stderr
    assert "_TRANSPORT" not in done.stderr
    assert time.monotonic() - begun < 8 + as_long_as_any, "it was twelve seconds"


def test_a_broker_that_takes_connections_and_says_nothing_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        broker = f"127.0.0.1:{silent.getsockname()[1]}"
        environment = {"CARILLON_PROFILE": "kafka", "CARILLON_KAFKA__BOOTSTRAP": broker}
        done = carillon("topics", "create", "--data", str(tmp_path), environment=environment)
    assert done.returncode == 1
    assert f"{broker}: takes connections and does not answer" in done.stderr
    assert "_TRANSPORT" not in done.stderr


def test_the_profile_is_that_of_the_configuration_once_the_system_was_stopped(tmp_path: Path) -> None:
    write_running(tmp_path, Running("http://a", "http://b", "embedded", {}))
    broker = f"127.0.0.1:{any_port('127.0.0.1')}"
    environment = {"CARILLON_PROFILE": "kafka", "CARILLON_KAFKA__BOOTSTRAP": broker}
    done = carillon("check", "--data", str(tmp_path), environment=environment)
    assert done.returncode == 1
    assert f"FAIL broker {broker}: Connection refused" in done.stdout


def test_a_configured_provider_is_tried_also_while_the_sandbox_is_down(tmp_path: Path) -> None:
    relay = SmtpOptions(host="127.0.0.1", port=any_port("127.0.0.1"), security="none", sender="a@example.com")
    found = findings(Settings(data_dir=tmp_path, providers=ProviderOptions(smtp=relay)))
    assert not found["provider email (smtp)"][0]
    assert [what for what in found if what.startswith("sandbox")] == [
        "sandbox push",
        "sandbox push to Android",
        "sandbox push to browsers",
        "sandbox sms",
        "sandbox webhook",
        "sandbox chat",
    ]


def test_certificates_that_cannot_be_read_are_a_finding_with_their_key(tmp_path: Path) -> None:
    files = SandboxFiles(tmp_path / "sandbox")
    make_certificates(files)
    files.ports.write_text('{"apns": 1, "twilio": 1, "smtp": 1, "fcm": 1, "ses": 1, "smpp": 1}')
    sandbox = sandbox_options(files.directory)
    (tmp_path / "none.pem").write_text("nothing\n")
    for file in (tmp_path / "missing.pem", tmp_path / "none.pem"):
        for name in ("apns", "fcm", "twilio", "smpp", "smtp", "ses"):
            options = replace(getattr(sandbox, name), ca_file=file)
            if name == "smtp":
                options = replace(options, security="starttls")
            found = findings(Settings(data_dir=tmp_path / "data", providers=ProviderOptions(**{name: options})))
            finding = next(value for what, value in found.items() if what.endswith(f"({name})"))
            remedy = f"providers.{name}.ca_file: {file} cannot be read; name a PEM file of certificates"
            assert finding == (False, remedy)


def test_why_there_is_no_connection_is_said(tmp_path: Path) -> None:
    with running_sandbox(tmp_path) as sandbox:
        given = sandbox_options(sandbox.directory / "sandbox")
        providers = ProviderOptions(
            apns=replace(given.apns, ca_file=None),
            fcm=replace(given.fcm, ca_file=None),
            twilio=replace(given.twilio, origin=given.twilio.origin.replace("http:", "https:")),
            webpush=given.webpush,
        )
        egress = replace(given.egress, ca_file=None)
        found = findings(Settings(data_dir=tmp_path / "data", providers=providers, egress=egress))
    distrusted = "the certificate is not trusted: name the file of its authority as ca_file"
    assert found["provider push (apns)"] == (False, f"{given.apns.origin}: no connection ({distrusted})")
    ok, detail = found["provider push to Android (fcm)"]
    assert not ok
    assert detail.endswith(f"access token: no connection: {distrusted}")
    ok, detail = found["provider sms (twilio)"]
    assert not ok
    assert "no connection (it " in detail
    assert "TLS" in detail
    ok, detail = found["provider push to browsers (webpush)"]
    assert not ok
    assert "no connection (" in detail
    assert "self-signed certificate" in detail or "unable to get local issuer certificate" in detail


def test_what_browsers_subscribe_with_is_named(tmp_path: Path) -> None:
    file, key = tmp_path / "vapid.pem", ec.generate_private_key(ec.SECP256R1())
    options = WebPushOptions(signing_key=file, subject="mailto:ops@example.com", hosts=("127.0.0.1:1",))
    settings = Settings(data_dir=tmp_path, providers=ProviderOptions(webpush=options))
    assert findings(settings)["key push to browsers"] == (
        False, f"providers.webpush.signing_key: {file} cannot be read (No such file or directory)",
    )  # fmt: skip
    file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    found = findings(settings)
    ok, detail = found["key push to browsers"]
    assert ok
    assert detail.endswith(f"the applicationServerKey {application_key(key)}")
    assert found["provider push to browsers (webpush)"] == (False, "https://127.0.0.1:1: address not allowed")


def test_what_signs_mails_is_named_with_what_dns_must_say(tmp_path: Path) -> None:
    relay = SmtpOptions(host="127.0.0.1", port=any_port("127.0.0.1"), security="none", sender="a@example.com")
    file = tmp_path / "key.pem"
    signing = replace(relay, dkim_key=file, dkim_selector="mail1")

    def signature(smtp: SmtpOptions) -> tuple[bool, str]:
        return findings(Settings(data_dir=tmp_path, providers=ProviderOptions(smtp=smtp)))["signature email"]

    assert signature(relay)[0]
    assert "not signed" in signature(relay)[1]
    assert not signature(signing)[0]
    assert signature(signing)[1].startswith(f"providers.smtp.dkim_key: {file} cannot be read")
    file.write_bytes(Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    assert signature(signing)[0]
    assert "mail1._domainkey.example.com the TXT record v=DKIM1; k=ed25519; p=" in signature(signing)[1]


def test_mails_that_nobody_could_leave_are_told(tmp_path: Path) -> None:
    relay = SmtpOptions(host="127.0.0.1", port=any_port("127.0.0.1"), security="none", sender="a@example.com")
    table = GatewayTable(public_url="https://notify.example/")

    def links(**changes: Any) -> tuple[bool, str]:
        return findings(Settings(data_dir=tmp_path, **changes))["links to unsubscribe"]

    assert links()[0]
    assert "the sandbox" in links()[1]
    assert "set it before you send newsletters" in links(providers=ProviderOptions(smtp=relay))[1]
    assert links(providers=ProviderOptions(smtp=relay), gateway=table)[0]
    assert str(tmp_path / "unsubscribe.key") in links(gateway=table)[1]
    given = replace(table, unsubscribe_secret=Secret(CANARY * 2))
    assert (
        links(gateway=given)[1] == "below https://notify.example/v1/unsubscribe/, signed by gateway.unsubscribe_secret"
    )
    assert not (tmp_path / "unsubscribe.key").exists()


def test_a_key_without_a_name_in_dns_and_a_backlog_that_would_never_go_are_faults() -> None:
    relay = SmtpOptions(host="127.0.0.1", security="none", sender="a@example.com")
    assert not list(relay.faults())
    assert not list(replace(relay, backlog_share=1).faults())
    for wrong, key in (
        (replace(relay, dkim_key=Path("key.pem")), "dkim_selector"),
        (replace(relay, dkim_key=Path("key.pem"), dkim_selector="a; b"), "dkim_selector"),
        (replace(relay, dkim_key=Path("key.pem"), dkim_selector="a", dkim_domain="b c"), "dkim_domain"),
        (replace(relay, dkim_selector="a"), "dkim_key"),
        (replace(relay, backlog_share=0), "backlog_share"),
        (replace(relay, backlog_share=1.01), "backlog_share"),
        (replace(relay, rate_per_s=0.0), "rate_per_s"),
        (replace(relay, rate_per_s=float("inf")), "rate_per_s"),
    ):
        (fault,) = wrong.faults()
        assert fault.startswith(f"providers.smtp.{key}: ")


def test_what_checks_sessions_and_who_may_send_has_a_line_each(tmp_path: Path) -> None:
    senders = {name: SenderOptions(key=Secret(f"{CANARY}-{name}")) for name in ("shop", "blog")}
    table = GatewayTable(user_secret=Secret(CANARY), user_algorithms=("RS256",), host="198.51.100.7")
    found = findings(Settings(data_dir=tmp_path, senders=senders, gateway=table))
    assert {what for what in found if what.startswith("sender ")} == {"sender shop", "sender blog"}
    assert not found["gateway.user_secret"][0]
    assert not found["gateway.host"][0]
    assert CANARY not in str(found)
    (tmp_path / "credentials.json").write_text("{}")
    assert not findings(Settings(data_dir=tmp_path))["development credentials"][0]


def test_a_change_from_a_secret_to_a_key_pair_is_fine_and_a_key_of_no_algorithm_is_not(tmp_path: Path) -> None:
    public = ec.generate_private_key(ec.SECP256R1()).public_key()
    pem = Secret(public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode())

    def fine(before: Secret | None, *algorithms: str) -> list[bool]:
        table = GatewayTable(user_secret=pem, user_secret_before=before, user_algorithms=algorithms)
        found = findings(Settings(data_dir=tmp_path, gateway=table))
        assert CANARY not in str(found)
        return [fit for what, (fit, _) in found.items() if what.startswith("gateway.user_secret")]

    assert fine(Secret(CANARY), "HS256", "ES256") == [True, True]
    assert fine(Secret(CANARY), "ES256") == [True, False]
    assert fine(None, "HS256", "ES256") == [False]


def test_all_faults_of_a_configuration_are_shown_at_once(tmp_path: Path) -> None:
    wrong = {
        "GATEWAY__PORT": "70000", "GATEWAY__P0_PORT": "-1", "GATEWAY__HOST": "300.1.1.1", "LOG__PARTITIONS": "7",
        "KAFKA__BOOTSTRAP": "broker:99999", "REDIS__URL": "redis://x:99999", "NONSENSE": "1", "EXPORTS__EVERY": "soon",
        "PROVIDERS__SMTP__PORT": "0", "PROVIDERS__TWILIO__ORIGIN": "https://x:70000", "SENDERS__SHOP__ROLE": "king",
    }  # fmt: skip
    for command in ("check", "up"):
        done = carillon(
            command, "--data", str(tmp_path), environment={f"CARILLON_{name}": value for name, value in wrong.items()}
        )
        assert done.returncode == 1
        assert "Traceback" not in done.stderr
        keys = {line.strip().partition(":")[0] for line in done.stderr.splitlines()[1:]}
        assert keys == {
            *(name.lower().replace("__", ".") for name in wrong), "providers.smtp.host", "providers.smtp.sender",
            *(f"providers.twilio.{name}" for name in ("account_sid", "auth_token", "sender")), "senders.shop.key",
        }  # fmt: skip


def test_a_provider_that_does_not_answer_is_named_without_its_secret(tmp_path: Path) -> None:
    sandbox = SandboxFiles(tmp_path / "sandbox")
    make_certificates(sandbox)
    sandbox.ports.write_text('{"apns": 1, "twilio": 1, "smtp": 1}')
    twilio = TwilioOptions(
        origin=f"http://127.0.0.1:{any_port('127.0.0.1')}", account_sid="AC1", auth_token=CANARY, sender="+15005550006"
    )
    running = tmp_path / "run" / "processes.json"
    running.parent.mkdir()
    running.write_text('{"url": "", "p0_url": "", "profile": "embedded", "processes": {"sandbox": 1}}')
    settings = Settings(data_dir=tmp_path, providers=ProviderOptions(twilio=twilio))
    found = findings(settings)
    ok, detail = found["provider sms (twilio)"]
    assert not ok
    assert CANARY not in detail + str(masked(settings)) + repr(replace(settings))


def test_an_smsc_that_does_not_answer_is_named_with_its_address_and_what_happened(tmp_path: Path) -> None:
    port = any_port("127.0.0.1")
    smpp = SmppOptions(host="127.0.0.1", port=port, security="none", system_id="us", password=CANARY[:8], sender="us")
    found = findings(Settings(data_dir=tmp_path, providers=ProviderOptions(smpp=smpp)))
    ok, detail = found["provider sms by SMPP (smpp)"]
    assert not ok
    assert detail.startswith(f"127.0.0.1:{port}: no connection (ConnectionRefusedError: ")
    assert CANARY[:8] not in detail


def test_a_certificate_that_ends_soon_is_a_finding(tmp_path: Path) -> None:
    sandbox = SandboxFiles(tmp_path)
    make_certificates(sandbox)
    expires = {"site": str(sandbox.ca), "key": "2027-03-01", "gone": str(tmp_path / "missing.pem")}
    settings = Settings(data_dir=tmp_path, expires=expires)
    found = [check_ends(settings, at) for at in (datetime(2027, 1, 1, tzinfo=UTC), datetime(2027, 2, 20, tzinfo=UTC))]
    assert [{each.what.removeprefix("end of expires."): each.ok for each in findings} for findings in found] == [
        {"site": True, "key": True, "gone": False},
        {"site": True, "key": False, "gone": False},
    ]


def test_exit_codes(tmp_path: Path) -> None:
    assert carillon("check", "--data", str(tmp_path)).returncode == 0
    bad = carillon(
        "check", "--data", str(tmp_path), environment={"CARILLON_REDIS__URL": f"redis://:{CANARY}@127.0.0.1:1/0"}
    )
    assert bad.returncode == 1
    assert CANARY not in bad.stdout + bad.stderr
    wrong = carillon("check", "--data", str(tmp_path), environment={"CARILLON_REDIS__ADRESS": "x"})
    assert wrong.returncode == 1
    assert "redis.adress" in wrong.stderr


def test_mail_by_ses_alone_is_mail_and_nothing_stands_in_for_a_relay(tmp_path: Path) -> None:
    amazon = SesOptions(
        region="eu-west-1", access_key_id="AKID", secret_access_key="secret", sender="a@example.com",
        endpoint=f"https://127.0.0.1:{any_port('127.0.0.1')}",
    )  # fmt: skip
    found = findings(Settings(data_dir=tmp_path, providers=ProviderOptions(ses=amazon)))
    why = "no connection (nothing listens there)"
    assert found["provider email by SES (ses)"] == (False, f"{amazon.origin}: {why}")
    assert "providers.ses.dkim_key" in found["signature email by SES"][1]
    assert not {"provider email", "sandbox email"} & found.keys()
