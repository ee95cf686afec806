"""The configuration: strict, documented, secrets never printed."""

import re
from datetime import timedelta
from pathlib import Path

import pytest
from helpers.places import ROOT

from flows.config.credentials import development_credentials
from flows.config.options import example, format_duration, masked, parse_duration
from flows.config.settings import Settings, load_settings
from state.model.errors import ConfigurationError


def settings_of(tmp_path: Path, text: str, **variables: str) -> Settings:
    file = tmp_path / "carillon.toml"
    file.write_text(text)
    return load_settings(environment=variables, file=file)


def test_defaults_need_no_file() -> None:
    settings = load_settings(environment={})
    assert settings.profile == "embedded"
    assert settings.registry().profile("otp").pinned


def test_environment_wins_over_the_file(tmp_path: Path) -> None:
    text = '[lanes]\nepoch = "1s"\np1_per_epoch = 7\n'
    settings = settings_of(tmp_path, text, CARILLON_LANES__EPOCH="250ms", CARILLON_PROFILE="kafka", OTHER="x")
    assert settings.lanes.epoch == timedelta(milliseconds=250)
    assert settings.lanes.p1_per_epoch == 7
    assert settings.profile == "kafka"


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("color = 1", "color"),
        ("[lanes]\nepok = 1", "lanes.epok"),
        ('[lanes]\nepoch = "soon"', "lanes.epoch"),
        ("[lanes]\nepoch = 5", "lanes.epoch"),
        ('[lanes]\np1_per_epoch = "5"', "lanes.p1_per_epoch"),
        ("[gateway]\nport = true", "gateway.port"),
        ('profile = "cloud"', "profile"),
        ("[types.like]\nwindow_mss = 5", "types.like"),
        ('[types.otp]\nklass = "P1"', "types.otp.klass"),
        ('[senders.shop]\nkey = "short"', "senders.shop.key"),
        ('[senders.shop]\nrole = "ops"', "senders.shop.key"),
        ('[senders.shop]\nkey = "0123456789abcdef"\nrole = "king"', "senders.shop.role"),
        ('[senders.a]\nkey = "0123456789abcdef"\n[senders.b]\nkey = "0123456789abcdef"', "senders.b.key"),
        ("[log]\npartitions = 7", "log.partitions"),
        ('[providers.apns]\nteam_id = "ABCDEFGHIJ"', "providers.apns"),
        ("[lanes", "TOML"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, named: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(named)):
        settings_of(tmp_path, text)


def test_an_unknown_variable_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"lanes\.epok"):
        settings_of(tmp_path, "", CARILLON_LANES__EPOK="1s")


def test_no_secret_is_printed(tmp_path: Path) -> None:
    canary = "canary-0123456789abcdef"
    settings = settings_of(
        tmp_path,
        f'[senders.shop]\nkey = "{canary}"\n[redis]\nurl = "redis://:{canary}@127.0.0.1/0"\n'
        f'[providers.twilio]\naccount_sid = "AC1"\nauth_token = "{canary}"\nsender = "+15005550006"\n',
    )
    assert settings.senders["shop"].key.reveal() == canary
    for text in (str(masked(settings)),):
        assert canary not in text


@pytest.mark.parametrize("text", ["1ms", "1500ms", "10s", "5min", "2h", "1d", "36h"])
def test_durations_read_back(text: str) -> None:
    duration = parse_duration(text, "key")
    assert parse_duration(format_duration(duration), "key") == duration


def test_the_example_file_is_current_and_loads(tmp_path: Path) -> None:
    text = (ROOT / "carillon.example.toml").read_text(encoding="utf-8")
    assert text.endswith("\n".join(example(Settings)) + "\n"), (
        "run: python -m flows.config.example > carillon.example.toml"
    )
    settings_of(tmp_path, text)


def test_every_key_is_documented() -> None:
    lines = list(example(Settings))
    for line, before in zip(lines[1:], lines, strict=False):
        if line.startswith("#") and "=" in line and not line.startswith("# "):
            assert before.startswith("# "), f"{line} has no words above it"


def test_credentials_are_made_once_and_private(tmp_path: Path) -> None:
    first = development_credentials(tmp_path)
    assert development_credentials(tmp_path) == first
    assert (tmp_path / "credentials.json").stat().st_mode & 0o777 == 0o600
    assert len(set(first.keys.values())) == 5
    assert [path.name for path in tmp_path.iterdir()] == ["credentials.json"]


def test_damaged_credentials_are_named(tmp_path: Path) -> None:
    (tmp_path / "credentials.json").write_text('{"keys": {}, "user_secret": "x"}')
    with pytest.raises(ConfigurationError, match="producer"):
        development_credentials(tmp_path)
