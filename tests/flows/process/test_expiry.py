"""When credentials end: certificates of chosen dates, and a clock that the test turns."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import structlog
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from helpers.feeding import System
from helpers.waiting import wait_for
from prometheus_client import REGISTRY
from structlog.typing import EventDict

from connectors.console.figures import Figures
from connectors.providers.email.options import SmtpOptions
from connectors.providers.options import EgressOptions
from flows.config.settings import ProviderOptions, Settings
from flows.process.expiry import ExpiryWatch, credential_ends
from flows.process.run_files import ready_file

NOW = datetime(2027, 1, 1, tzinfo=UTC)
SMTP, EGRESS, SITE, KEY = "providers.smtp.ca_file", "egress.ca_file", "expires.site", "expires.apns key"


def certificate(file: Path, *ends: datetime) -> Path:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "relay")])
    year = timedelta(days=365)
    made = [
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), end - year, end)
        .sign(key, hashes.SHA256())
        .public_bytes(Encoding.PEM)
        for end in ends
    ]  # fmt: skip
    file.write_bytes(b"".join(made))
    return file


def settings_of(directory: Path) -> Settings:
    """Something ends in 61 days by its first certificate, something in 15, and something long ago."""
    first = certificate(directory / "smtp.pem", NOW + timedelta(days=900), NOW + timedelta(days=61))
    egress = EgressOptions(ca_file=certificate(directory / "egress.pem", NOW + timedelta(days=15)))
    smtp = SmtpOptions(host="localhost", sender="a@example.com", ca_file=first)
    expires = {"apns key": "2027-02-01", "site": str(certificate(directory / "site.pem", NOW - timedelta(days=1)))}
    return Settings(data_dir=directory, providers=ProviderOptions(smtp=smtp), egress=egress, expires=expires)


@pytest.fixture
def said() -> Iterator[list[EventDict]]:
    with structlog.testing.capture_logs() as lines:
        yield lines


def alerts(said: list[EventDict]) -> list[tuple[str, int]]:
    found = [(line["credential"], line["threshold_days"]) for line in said if line["event"] == "credential_expires"]
    assert all(line["log_level"] == "error" for line in said)
    said.clear()
    return sorted(found)


def milliseconds(at: datetime) -> int:
    return int(at.timestamp() * 1000)


def test_one_alert_for_each_threshold_also_when_each_look_is_a_restart(tmp_path: Path, said: list[EventDict]) -> None:
    settings, found = settings_of(tmp_path), []
    for hour in range(24 * 75):
        ExpiryWatch(settings, tmp_path / "gateway").look(milliseconds(NOW + timedelta(hours=hour)))
        found += [(hour // 24, *each) for each in alerts(said)]
    assert found == [
        (0, EGRESS, 30), (0, KEY, 60), (0, SITE, 7), (1, EGRESS, 14), (1, KEY, 30), (1, SMTP, 60),
        (8, EGRESS, 7), (17, KEY, 14), (24, KEY, 7), (31, SMTP, 30), (47, SMTP, 14), (54, SMTP, 7),
    ]  # fmt: skip


def test_what_is_renewed_is_silent_until_its_own_time(tmp_path: Path, said: list[EventDict]) -> None:
    settings = settings_of(tmp_path)
    watch = ExpiryWatch(settings, tmp_path)
    watch.look(milliseconds(NOW))
    assert (EGRESS, 30) in alerts(said)
    certificate(tmp_path / "egress.pem", NOW + timedelta(days=365))
    watch.look(milliseconds(NOW))
    assert alerts(said) == []
    watch.look(milliseconds(NOW + timedelta(days=365 - 60)))
    assert (EGRESS, 60) in alerts(said)


def test_what_was_said_is_said_again_where_its_file_is_damaged(tmp_path: Path, said: list[EventDict]) -> None:
    watch = ExpiryWatch(settings_of(tmp_path), tmp_path)
    watch.look(milliseconds(NOW))
    first = alerts(said)
    (tmp_path / "expiry.json").write_text("{")
    watch.look(milliseconds(NOW))
    assert alerts(said) == first


def test_the_metric_and_the_page_have_the_days(tmp_path: Path, said: list[EventDict]) -> None:
    ExpiryWatch(settings_of(tmp_path), tmp_path).look(milliseconds(NOW))
    left = REGISTRY.get_sample_value("carillon_credential_expires_in_days", {"credential": SMTP})
    assert left == 61
    shown = {each.name: each.days for each in Figures(None).read().expiring}
    assert (shown[EGRESS], shown[SITE], shown.get(SMTP)) == (15, -1, None)


def test_a_file_without_certificates_is_told_and_stops_nothing(tmp_path: Path, said: list[EventDict]) -> None:
    settings = settings_of(tmp_path)
    (tmp_path / "smtp.pem").write_text("none")
    assert credential_ends(settings)[SMTP] is None
    ExpiryWatch(settings, tmp_path).look(milliseconds(NOW))
    assert [line["credential"] for line in said if line["event"] == "credential_end_unknown"] == [SMTP]


def test_a_gateway_that_is_restarted_does_not_repeat_it(system: System) -> None:
    (system.directory / "carillon.toml").write_text('[expires]\nsite = "2020-01-01"\n')
    output, kept = system.directory / "gateway.out", system.directory / "state" / "gateway" / "expiry.json"
    for start in (1, 2):
        with output.open("ab") as out:
            ready = ready_file(system.directory, "gateway")
            ready.unlink(missing_ok=True)
            command = [sys.executable, "-m", "flows.gateway", "ordinary"]
            process = subprocess.Popen(command, stdout=out, stderr=out, env=system.environment())
        wait_for(lambda ready=ready: ready.exists() and kept.exists(), what=f"start {start}")
        process.terminate()
        assert process.wait(40) == 0
    assert output.read_text().count("credential_expires") == 1
