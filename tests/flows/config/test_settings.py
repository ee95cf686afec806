"""The configuration: strict, documented, secrets never printed."""

import dataclasses
import json
import re
import subprocess
import sys
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from helpers.places import ROOT

from flows.config.access import senders_in_force
from flows.config.credentials import development_credentials
from flows.config.options import EnvironmentText, example, format_duration, load, masked, parse_duration
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


def test_the_configuration_in_the_page_on_ones_own_providers_is_one(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "first-notification.md").read_text()
    (text,) = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    secrets = dict.fromkeys(re.findall(r"export (CARILLON_\w+)=", page), "secret")
    providers = settings_of(tmp_path, text, **secrets).providers
    assert all((providers.apns, providers.fcm, providers.smtp, providers.twilio))


def test_a_value_of_a_type_in_the_environment_is_read_as_in_the_file() -> None:
    variables = {"WINDOW_MS": "5000", "CHANNELS": '["push"]', "CATEGORY": "social"}
    settings = load_settings(environment={f"CARILLON_TYPES__LIKE__{key}": text for key, text in variables.items()})
    assert settings.types["like"] == {"window_ms": 5000, "channels": ["push"], "category": "social"}
    assert settings.registry().profile("like").window_ms == 5000
    assert type(settings.types["like"]["category"]) is str, "it goes into the decision log"


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
        ("[types.like]\nschema = '{'", "types.like.schema"),
        ("[types.like]\nwindow_mss = 5", "types.like"),
        ('[types.otp]\nklass = "P1"', "types.otp.klass"),
        ("[types.mention]\nmail_wait_ms = 900_000", "types.mention.mail_wait_ms"),
        ("[types.like]\nmail_wait_ms = 900_000", "types.like.mail_wait_ms"),
        ("[types.maintenance]\nmail_wait_ms = -1", "types.maintenance.mail_wait_ms"),
        ('[senders.shop]\nkey = "short"', "senders.shop.key"),
        ('[senders.campaigns]\nkey = "0123456789abcdef"', "senders.campaigns: is the name under which"),
        ('[senders.campaign-tests]\nkey = "0123456789abcdef"', "senders.campaign-tests"),
        ('[senders.shop]\nkey = "0123456789abcdef"\nkey_before = "short"', "senders.shop.key_before"),
        (
            '[senders.shop]\nkey = "0123456789abcdef"\nkey_before = "0123456789abcdef"',
            "senders.shop.key_before: is also",
        ),
        ("[limits]\nuser_writes_per_s = 0", "limits.user_writes_per_s"),
        ('[senders.shop]\nrole = "ops"', "senders.shop.key"),
        ('[senders.shop]\nkey = "0123456789abcdef"\nrole = "king"', "senders.shop.role"),
        ('[senders.a]\nkey = "0123456789abcdef"\n[senders.b]\nkey = "0123456789abcdef"', "senders.b.key"),
        ("[log]\npartitions = 7", "log.partitions"),
        ('[providers.apns]\nteam_id = "ABCDEFGHIJ"', "providers.apns"),
        ('[providers.webhook]\nsecret = "short"', "providers.webhook.secret"),
        ('[providers.webhook]\nsecret_before = "short"', "providers.webhook.secret_before"),
        ("[providers.chat]\nrate_per_s = 0", "providers.chat.rate_per_s"),
        ("[providers.chat]\np0_share = 0.95", "providers.chat.p0_share"),
        ('[limits]\ntoken_age_max = "7d"', "limits.token_age_max"),
        ('[sms.destinations."49"]\nprice = 0.1', "sms.destinations: '49'"),
        ('[sms.destinations."+49"]\nprice = -0.1', "sms.destinations.+49"),
        ("[sms]\nblock_per_h = -1", "sms.block_per_h"),
        ("[providers.smpp]\nport = 0", "providers.smpp.port"),
        ('[egress]\nprivate_networks = ["10.0.0.7/8"]', "egress.private_networks"),
        ("[egress]\nports = [443, true]", "egress.ports"),
        ("[lanes", "TOML"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, named: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(named)):
        settings_of(tmp_path, text)


def test_a_list_of_numbers_is_read_from_the_environment_too(tmp_path: Path) -> None:
    assert settings_of(tmp_path, "", CARILLON_EGRESS__PORTS="443, 9000").egress.ports == (443, 9000)
    with pytest.raises(ConfigurationError, match=r"egress\.ports"):
        settings_of(tmp_path, "", CARILLON_EGRESS__PORTS="443,http")


def test_an_unknown_variable_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"lanes\.epok"):
        settings_of(tmp_path, "", CARILLON_LANES__EPOK="1s")


CANARY = "canary-0123456789abcdef"
SECRETS = f"""
[gateway]
user_secret = "{CANARY}-of-users-which-is-long-enough"
[senders.shop]
key = "{CANARY}"
[redis]
url = "redis://:{CANARY}@127.0.0.1/0"
[kafka.client_settings]
"security.protocol" = "SASL_SSL"
"sasl.password" = "{CANARY}"
"ssl.key.pem" = "{CANARY}"
[providers.twilio]
account_sid = "AC1"
auth_token = "{CANARY}"
sender = "+15005550006"
[providers.webhook]
secret = "{CANARY}{CANARY}"
secret_before = "{CANARY}{CANARY}"
[providers.smtp]
host = "127.0.0.1"
username = "carillon"
password = "{CANARY}"
sender = "from@example.com"
"""


def options_in(value: object) -> Iterator[object]:
    """The settings, and every table inside them."""
    yield value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            yield from options_in(getattr(value, field.name))
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from options_in(each) if dataclasses.is_dataclass(each) else ()


def test_no_secret_is_in_what_is_printed_or_logged(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, SECRETS)
    assert settings.senders["shop"].key.reveal() == CANARY
    assert CANARY in settings.kafka.client_settings["sasl.password"]
    shown_of_kafka = masked(settings)["kafka"]["client_settings"]
    assert shown_of_kafka == {"security.protocol": "SASL_SSL", "sasl.password": "***", "ssl.key.pem": "***"}
    shown = [str(masked(settings)), f"{settings}"]
    shown += [repr(each) for each in options_in(settings) if not isinstance(each, str | Mapping)]
    log = tmp_path / "log"
    program = [sys.executable, "-c", _LOGS_ALL, str(tmp_path / "carillon.toml"), str(log)]
    done = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    shown += [done.stderr, log.read_text()]
    assert [text for text in shown if CANARY in text] == []
    assert done.returncode == 1
    assert log.read_text().count("senders") >= 2, "the settings were logged"
    assert "ZeroDivisionError" in log.read_text()


_LOGS_ALL = """
import logging, sys
from pathlib import Path
import structlog
from flows.config.settings import load_settings
from flows.process.logs import configure_logs
configure_logs("test", file=Path(sys.argv[2]))
def fail(settings):
    secret = settings.senders["shop"].key.reveal()
    return 1 / 0
settings = load_settings(environment={}, file=Path(sys.argv[1]))
structlog.get_logger("one").info("as an event", settings=settings)
logging.getLogger("two").info("in a text: %s", settings)
try:
    fail(settings)
except ZeroDivisionError:
    structlog.get_logger("three").exception("with its frames")
fail(settings)
"""


@pytest.mark.parametrize(
    "wrong",
    [
        f'[senders.a]\nkey = "{CANARY}"\n[senders.b]\nkey = "{CANARY}"', f'[senders.a]\nkey = "{CANARY}.x"',
        f'[senders.a]\nkey = ["{CANARY}"]', f'[redis]\nurl = 5\nsecret = "{CANARY}"', f'[gateway]\nport = "{CANARY}"',
        f'[redis]\nurl = "{CANARY}', f'[providers.smtp]\npassword = "{CANARY}"', f'[senders.a]\nkey = "{CANARY[:9]}"',
    ],
)  # fmt: skip
def test_no_refusal_repeats_a_secret(tmp_path: Path, wrong: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        settings_of(tmp_path, wrong)
    assert CANARY[:9] not in "".join(traceback.format_exception(refused.value))


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
    keys = [number for number, line in enumerate(lines) if re.match(r"#\w+ = ", line)]
    assert len(keys) > 60
    assert [lines[number] for number in keys if not lines[number - 1].startswith("# ")] == [], "no words above it"


def test_credentials_are_made_once_and_private(tmp_path: Path) -> None:
    first = development_credentials(tmp_path)
    assert development_credentials(tmp_path) == first
    assert (tmp_path / "credentials.json").stat().st_mode & 0o777 == 0o600
    assert len(set(first.keys.values())) == 6
    assert [path.name for path in tmp_path.iterdir()] == ["credentials.json"]


def test_credentials_of_an_earlier_version_go_on_without_a_second_person(tmp_path: Path) -> None:
    first = development_credentials(tmp_path)
    earlier = {name: key for name, key in first.keys.items() if name != "admin"}
    content = json.dumps({"keys": earlier, "user_secret": first.user_secret})
    (tmp_path / "credentials.json").write_text(content)
    assert set(senders_in_force(Settings(data_dir=tmp_path))) == set(earlier)


def test_damaged_credentials_are_named(tmp_path: Path) -> None:
    (tmp_path / "credentials.json").write_text('{"keys": {}, "user_secret": "x"}')
    with pytest.raises(ConfigurationError, match="producer"):
        development_credentials(tmp_path)


def test_a_broken_link_is_no_missing_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert load_settings(environment={}) == Settings()
    file = tmp_path / "carillon.toml"
    for target in (tmp_path / "gone.toml", file):  # nowhere, and in a circle
        file.unlink(missing_ok=True)
        file.symlink_to(target)
        with pytest.raises(ConfigurationError, match=r"carillon\.toml: cannot be read"):
            load_settings(environment={})


@dataclass(frozen=True, kw_only=True)
class _OfAPackage:
    caller: str
    rate: float = 1.0
    hosts: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class _Installed:
    installed: Mapping[str, Mapping[str, object]]


def test_the_package_says_of_what_kind_its_options_are_also_in_the_environment() -> None:
    """A telephone number looks like a number."""
    given = {"caller": EnvironmentText("4930123456"), "rate": EnvironmentText("2.5"), "hosts": EnvironmentText("a, b")}
    loaded = load(_Installed, {"installed": {"voice": given}}, where="providers")
    options = load(_OfAPackage, loaded.installed["voice"], where="providers.installed.voice")
    assert options == _OfAPackage(caller="4930123456", rate=2.5, hosts=("a", "b"))
