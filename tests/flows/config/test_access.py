"""Which keys sign links to unsubscribe: one for all processes of a directory, or those that are configured."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from connectors.gateway.options import hash_key
from flows.config.access import LINK_KEY_FILE, gateway_options, link_keys, service_keys
from flows.config.settings import GatewayTable, SenderOptions, Settings, load_settings
from state.model.errors import ConfigurationError
from state.model.secret import Secret

PRESENT, BEFORE = "p" * 32, "b" * 32


def settings(directory: Path, present: str | None = None, before: str | None = None) -> Settings:
    table = GatewayTable(
        unsubscribe_secret=None if present is None else Secret(present),
        unsubscribe_secret_before=None if before is None else Secret(before),
    )
    return Settings(data_dir=directory, gateway=table)


def test_processes_that_start_together_agree_on_one_key(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(lambda _: link_keys(settings(tmp_path)), range(40)))
    (keys,) = found
    assert [len(key) for key in keys] == [32]
    assert (tmp_path / LINK_KEY_FILE).stat().st_mode & 0o777 == 0o600


def test_a_configured_secret_signs_and_every_earlier_one_still_counts(tmp_path: Path) -> None:
    given = settings(tmp_path, PRESENT, BEFORE)
    assert link_keys(given) == (PRESENT.encode(), BEFORE.encode())
    assert not (tmp_path / LINK_KEY_FILE).exists()
    (kept,) = link_keys(settings(tmp_path))
    assert link_keys(given) == (PRESENT.encode(), BEFORE.encode(), kept)


def test_gateways_have_the_configured_secret_in_common(tmp_path: Path) -> None:
    given, own = (
        gateway_options(each, "ordinary") for each in (settings(tmp_path, PRESENT, BEFORE), settings(tmp_path))
    )
    assert [each.secret_of_all for each in (given, own)] == [PRESENT.encode(), b""]
    assert [each.secret_of_all_before for each in (given, own)] == [BEFORE.encode(), b""]


def test_a_senders_key_and_the_one_before_are_taken(tmp_path: Path) -> None:
    sender = SenderOptions(key=Secret("n" * 16), key_before=Secret("b" * 16), role="ops")
    given = Settings(data_dir=tmp_path, senders={"ann": sender})
    assert [(key.sender_id, key.role, key.key_sha256) for key in service_keys(given)] == [
        ("ann", "ops", hash_key("b" * 16)), ("ann", "ops", hash_key("n" * 16)),
    ]  # fmt: skip
    table = GatewayTable(user_secret=Secret("now"), user_secret_before=Secret("before"))
    users = gateway_options(Settings(data_dir=tmp_path, gateway=table), "p0").users
    assert (users.key, users.key_before) == ("now", "before")
    assert "before'" not in repr(users)


def test_only_the_ordinary_gateway_knows_them(tmp_path: Path) -> None:
    given = settings(tmp_path)
    assert gateway_options(given, "p0").link_keys == ()
    ordinary = gateway_options(given, "ordinary")
    assert ordinary.link_keys == link_keys(given)
    assert repr(link_keys(given)[0]) not in repr(ordinary)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("public_url", "http://notify.example"),
        ("public_url", "notify.example"),
        ("public_url", "https://"),
        ("public_url", "https://notify.example/?a=b"),
        ("public_url", "HTTPS://notify.example"),
        ("public_url", "https://notify.example/a b"),
        ("public_url", "https://notify.example/a,b"),
        ("public_url", "https://notify.example/ä"),
        ("allowed_origins", "*"),
        ("allowed_origins", "https://www.example.org/"),
        ("allowed_origins", "https://WWW.example.org"),
        ("allowed_origins", "www.example.org"),
        ("unsubscribe_secret", "short"),
        ("unsubscribe_secret_before", "short"),
    ],
)
def test_what_cannot_be_is_refused_by_its_option(tmp_path: Path, name: str, value: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"^gateway\.{name}: "):
        load_settings(data_dir=tmp_path, environment={f"CARILLON_GATEWAY__{name.upper()}": value})
