"""`carillon check`: every configured thing is tried, what does not answer is named, secrets are not."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from helpers.up import carillon

from connectors.admission.options import RedisOptions
from connectors.log.kafka.log import KafkaOptions
from connectors.providers.sms.twilio import TwilioOptions
from connectors.sandbox.certificates import SandboxFiles, make_certificates
from flows.commands.check import check, check_certificates
from flows.config.options import masked
from flows.config.settings import BrokerOptions, ProviderOptions, Settings
from flows.up.ports import any_port

CANARY = "canary-secret-0123456789"


def findings(settings: Settings) -> dict[str, tuple[bool, str]]:
    return {finding.what: (finding.ok, finding.detail) for finding in check(settings)}


def test_a_fresh_directory_is_fine_and_stays_untouched(tmp_path: Path) -> None:
    found = findings(Settings(data_dir=tmp_path / "new"))
    assert all(ok for ok, _ in found.values())
    assert list(tmp_path.iterdir()) == []


def test_redis_that_does_not_answer_is_named_without_its_password(tmp_path: Path) -> None:
    url = f"redis://:{CANARY}@127.0.0.1:{any_port('127.0.0.1')}/0"
    settings = Settings(data_dir=tmp_path, redis=RedisOptions(url))
    ok, detail = findings(settings)["redis"]
    assert not ok
    assert CANARY not in detail + str(masked(settings))


def test_kafka_that_does_not_answer_is_named(tmp_path: Path) -> None:
    kafka = BrokerOptions(deadline=timedelta(seconds=1), bootstrap=f"127.0.0.1:{any_port('127.0.0.1')}")
    assert isinstance(kafka, KafkaOptions)
    ok, detail = findings(Settings(data_dir=tmp_path, profile="kafka", kafka=kafka))["log"]
    assert not ok
    assert detail.startswith("kafka: ")


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


def test_a_certificate_that_ends_soon_is_a_finding(tmp_path: Path) -> None:
    sandbox = SandboxFiles(tmp_path)
    make_certificates(sandbox)
    assert check_certificates("ca", sandbox.ca, datetime.now(UTC)).ok
    late = check_certificates("ca", sandbox.ca, datetime.now(UTC) + timedelta(days=3645))
    assert not late.ok
    assert "valid until" in late.detail
    assert not check_certificates("ca", tmp_path / "missing.pem", datetime.now(UTC)).ok


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
